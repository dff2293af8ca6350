import { isObject, layOut, parse } from "../json.ts";
import type { Call } from "../snippets.ts";
import { ENCODING, VARIABLE, hasHugeNumbers, isLarge, literal } from "./words.ts";

export function javascript({ url, contentType, body, withKey }: Call): string {
  const large = isLarge(body);
  const headers = [
    `"content-type": ${literal(contentType)}`,
    ...(large ? [ENCODING.map(literal).join(": ")] : []),
    ...(withKey ? [`"x-functions-key": process.env.${VARIABLE}`] : []),
  ];
  const sent = large ? "new Uint8Array(await new Response(packed).arrayBuffer())" : "body";
  return [
    ...("file" in body ? ['import { readFile } from "node:fs/promises";', ""] : []),
    `const body = ${value(body, contentType)};`,
    ...(large ? ['const packed = new Blob([body]).stream().pipeThrough(new CompressionStream("gzip"));'] : []),
    `const answer = await fetch(${literal(url)}, {`,
    '  method: "POST",',
    `  headers: { ${headers.join(", ")} },`,
    `  body${sent === "body" ? "" : `: ${sent}`},`,
    "});",
    'console.log(answer.headers.get("x-cache"), await answer.text());',
  ].join("\n");
}

function value(body: Call["body"], contentType: string): string {
  if ("file" in body) return `await readFile(${literal(body.file)})`;
  const { text } = body;
  if (contentType !== "application/json" || isLarge(body) || hasHugeNumbers(text)) return literal(text);
  try {
    const document = JSON.parse(text) as unknown;
    // As an object only where that says the same: JavaScript rounds large numbers, and `__proto__` is no member like others.
    const same = isObject(document) && layOut(document) === layOut(parse(text)) && !text.includes("__proto__");
    return same ? `JSON.stringify(${layOut(document)})` : literal(text);
  } catch {
    return literal(text);
  }
}
