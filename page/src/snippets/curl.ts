import type { Call } from "../snippets.ts";
import { ENCODING, VARIABLE, isLarge } from "./words.ts";

/** A word that a shell reads as it is. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

export function curl({ url, contentType, body, withKey }: Call): string {
  // Raw, as a text may begin with the @ that stands for a file.
  const data = "file" in body ? `--data-binary ${quoted(`@${body.file}`)}` : `--data-raw ${quoted(body.text)}`;
  const large = "text" in body && isLarge(body);
  const lines = [
    ...(large ? [`printf %s ${quoted(body.text)} | gzip | curl ${quoted(url)}`] : [`curl ${quoted(url)}`]),
    `-H ${quoted(`content-type: ${contentType}`)}`,
    ...(withKey ? [`-H "x-functions-key: $${VARIABLE}"`] : []),
    ...(large ? [`-H ${quoted(ENCODING.join(": "))}`, "--data-binary @-"] : [data]),
  ];
  return lines.join(" \\\n  ");
}
