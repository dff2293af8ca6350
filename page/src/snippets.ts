// The same call as code. The Functions key never stands in it: it is read from the environment.

export const LANGUAGES = { curl: "curl", openai: "Python with openai", python: "Python", csharp: "C#" } as const;
export type Language = keyof typeof LANGUAGES;

export interface Call {
  url: string;
  contentType: string;
  /** The text of the body, or the name of the file that holds it. */
  body: { text: string } | { file: string };
  withKey: boolean;
  /** The same for OpenAI's client, for models that answer vectors of texts. */
  embeddings: { baseUrl: string; model: string; texts: string[] };
}

const VARIABLE = "FUNCTIONS_KEY";

/** A text of so many characters, some hundred rows, is sent compressed: the Functions host takes longer to read it as it is
 * than all the rest takes, and not far above it is too long for a word of a shell. */
const LARGE = 100_000;
const isLarge = (body: Call["body"]): boolean => "text" in body && body.text.length > LARGE;
const ENCODING = ["content-encoding", "gzip"] as const;

export function snippet(language: Language, call: Call): string {
  switch (language) {
    case "curl":
      return curl(call);
    case "openai":
      return openai(call);
    case "python":
      return python(call);
    case "csharp":
      return csharp(call);
  }
}

/** A word that a shell reads as it is. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function curl({ url, contentType, body, withKey }: Call): string {
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

/** A string that both Python and C# read as it is; to C# there are more ends of lines than JSON escapes. */
const literal = (text: string): string =>
  JSON.stringify(text).replace(/[\u0085\u2028\u2029]/g, (end) => `\\u${end.charCodeAt(0).toString(16).padStart(4, "0")}`);

function python({ url, contentType, body, withKey }: Call): string {
  const plain = "text" in body && !/"""|\\|"$/.test(body.text) ? `"""${body.text}"""` : null;
  const data = "file" in body ? `open(${literal(body.file)}, "rb").read()` : `${plain ?? literal(body.text)}.encode()`;
  const key = withKey ? `, "x-functions-key": os.environ["${VARIABLE}"]` : "";
  const large = isLarge(body);
  const encoding = large ? `, ${ENCODING.map(literal).join(": ")}` : "";
  return [
    ...(large ? ["import gzip"] : []),
    ...(withKey ? ["import os"] : []),
    "import urllib.request",
    "",
    `body = ${large ? `gzip.compress(${data})` : data}`,
    `headers = {"content-type": ${literal(contentType)}${encoding}${key}}`,
    `request = urllib.request.Request(${literal(url)}, body, headers)`,
    "with urllib.request.urlopen(request) as answer:",
    "    print(answer.headers[\"x-cache\"], answer.read().decode())",
  ].join("\n");
}

function openai({ embeddings: { baseUrl, model, texts }, withKey }: Call): string {
  const key = withKey ? `, default_headers={"x-functions-key": os.environ["${VARIABLE}"]}` : "";
  return [
    ...(withKey ? ["import os"] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${literal(baseUrl)}, api_key="none"${key})`,
    `answer = client.embeddings.create(model=${literal(model)}, input=[${texts.map(literal).join(", ")}])`,
    "for row in answer.data:",
    "    print(len(row.embedding), row.embedding[:4])",
  ].join("\n");
}

function csharp({ url, contentType, body, withKey }: Call): string {
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
