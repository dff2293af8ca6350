import { Exact, isObject, parse } from "../json.ts";
import type { TensorSpec } from "../model.ts";
import type { Call } from "../snippets.ts";
import { ENCODING, VARIABLE, hasHugeNumbers, isLarge, literal } from "./words.ts";

const LINE = 88;

export function python({ url, contentType, body, withKey }: Call): string {
  const large = isLarge(body);
  const document = "text" in body && !large && contentType === "application/json" ? readable(body.text) : undefined;
  const headers = [
    ...(document === undefined ? [`"content-type": ${literal(contentType)}`] : []),
    ...(large ? [ENCODING.map(literal).join(": ")] : []),
    ...(withKey ? [`"x-functions-key": os.environ["${VARIABLE}"]`] : []),
  ];
  return [
    ...(large ? ["import gzip"] : []),
    ...(withKey ? ["import os"] : []),
    ...(large || withKey ? [""] : []),
    "import requests",
    "",
    document === undefined ? `body = ${bytes(body, large)}` : `body = ${expression(document)}`,
    "answer = requests.post(",
    `    ${literal(url)},`,
    ...(document === undefined ? ["    data=body,"] : ["    json=body,"]),
    ...(headers.length > 0 ? [`    headers={${headers.join(", ")}},`] : []),
    ")",
    'print(answer.headers.get("x-cache"), answer.text)',
  ].join("\n");
}

function bytes(body: Call["body"], large: boolean): string {
  if ("file" in body) return `open(${literal(body.file)}, "rb").read()`;
  const plain = /"""|\\|"$|\r/.test(body.text) ? null : `"""${body.text}"""`;
  const text = `${plain ?? literal(body.text)}.encode()`;
  return large ? `gzip.compress(${text})` : text;
}

/** The document of a JSON text that says the same as a literal; numbers that would be written otherwise stay as text. */
function readable(text: string): unknown {
  if (hasHugeNumbers(text)) return undefined;
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

/** A value as Python writes it. */
export function expression(value: unknown, indent = ""): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return literal(value);
  if (typeof value === "number" || value instanceof Exact) return String(value);
  const isList = Array.isArray(value);
  const inner = `${indent}    `;
  const items = isList
    ? value.map((item) => expression(item, inner))
    : Object.entries(isObject(value) ? value : {}).map(([name, item]) => `${literal(name)}: ${expression(item, inner)}`);
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  const short = `${open}${items.join(", ")}${close}`;
  if (indent.length + short.length <= LINE && !short.includes("\n")) return short;
  return `${open}\n${filled(items, inner)}\n${indent}${close}`;
}

/** Items on lines, as many on each as fit. */
function filled(items: string[], indent: string): string {
  const lines: string[] = [];
  for (const item of items) {
    const last = lines.at(-1);
    if (last !== undefined && !last.includes("\n") && !item.includes("\n") && last.length + item.length + 3 <= LINE) {
      lines[lines.length - 1] = `${last} ${item},`;
    } else lines.push(`${indent}${item},`);
  }
  return lines.join("\n");
}

export function openai({ embeddings, withKey }: Call): string {
  if (!embeddings) return "";
  const { baseUrl, model, texts } = embeddings;
  const key = withKey ? `, default_headers={"x-functions-key": os.environ["${VARIABLE}"]}` : "";
  return [
    ...(withKey ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${literal(baseUrl)}, api_key="none"${key})`,
    `answer = client.embeddings.create(model=${literal(model)}, input=${expression(texts)})`,
    "for row in answer.data:",
    "    print(len(row.embedding), row.embedding[:4])",
  ].join("\n");
}

const ARRAYS: Record<string, string> = {
  BOOL: "np.bool_",
  BYTES: "np.object_",
  FP16: "np.float16",
  FP32: "np.float32",
  FP64: "np.float64",
};

function arrayType(datatype: string): string {
  return ARRAYS[datatype] ?? `np.${datatype.toLowerCase()}`;
}

export function tritonclient({ tensors, withKey }: Call): string {
  if (!tensors) return "";
  const { server, prefix, isSecure, model, inputs, values } = tensors;
  const key = withKey ? `, headers={"x-functions-key": os.environ["${VARIABLE}"]}` : "";
  const one = (input: TensorSpec, index: number): string[] => [
    `array = np.array(${expression(values[input.name])}, dtype=${arrayType(input.datatype)})`,
    `inputs.append(http.InferInput(${literal(input.name)}, array.shape, ${literal(input.datatype)}))`,
    `inputs[${index}].set_data_from_numpy(array)`,
  ];
  return [
    ...(withKey ? ["import os", ""] : []),
    "import numpy as np",
    "import tritonclient.http as http",
    "",
    `client = http.InferenceServerClient(${literal(server + prefix)}${isSecure ? ", ssl=True" : ""})`,
    "inputs = []",
    ...inputs.flatMap(one),
    `answer = client.infer(${literal(model)}, inputs${key})`,
    'for output in answer.get_response()["outputs"]:',
    '    print(output["name"], answer.as_numpy(output["name"]))',
  ].join("\n");
}
