import type { Call } from "../snippets.ts";
import { ENCODING, VARIABLE, isLarge, literal } from "./words.ts";

export function csharp({ url, contentType, body, withKey }: Call): string {
  const large = isLarge(body);
  const bytes = "file" in body ? `File.ReadAllBytes(${literal(body.file)})` : `Encoding.UTF8.GetBytes(${rawString(body.text)})`;
  const packed = [
    "using var packed = new MemoryStream();",
    `using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, true)) gzip.Write(${bytes});`,
  ];
  const encoding = `body.Headers.TryAddWithoutValidation(${ENCODING.map(literal).join(", ")});`;
  const key = [
    `var key = Environment.GetEnvironmentVariable("${VARIABLE}");`,
    'client.DefaultRequestHeaders.Add("x-functions-key", key);',
  ];
  return [
    ...(large ? ["using System.IO.Compression;"] : []),
    ...("file" in body ? [] : ["using System.Text;", ""]),
    "using var client = new HttpClient();",
    ...(withKey ? key : []),
    ...(large ? packed : []),
    // Not JsonContent, which is sent in chunks, and those a host that forwards refuses.
    `using var body = new ByteArrayContent(${large ? "packed.ToArray()" : bytes});`,
    // Not MediaTypeHeaderValue, which refuses parameters.
    `body.Headers.TryAddWithoutValidation("content-type", ${literal(contentType)});`,
    ...(large ? [encoding] : []),
    `using var answer = await client.PostAsync(${literal(url)}, body);`,
    "Console.WriteLine(await answer.Content.ReadAsStringAsync());",
  ].join("\n");
}

/** A raw string literal, fenced by more quotes than stand side by side in the text. */
function rawString(text: string): string {
  const runs = [...text.matchAll(/"+/g)].map(([run]) => run.length);
  const fence = '"'.repeat(Math.max(2, ...runs) + 1);
  return `${fence}\n${text}\n${fence}`;
}
