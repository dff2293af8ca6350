// Request bodies: one input in each dialect that the page can write, which are some of those the server reads.

import type { Model } from "./model.ts";

export const DIALECTS = {
  data: "Azure ML: data",
  inputs: "Azure ML: Inputs",
  instances: "TensorFlow Serving: instances",
  v2: "Open Inference V2",
  csv: "CSV",
} as const;
export type Dialect = keyof typeof DIALECTS;

/** Nested values by input name. */
export type Values = Record<string, unknown>;

const LINE = 100;

export function sampleValues(model: Model): Values | null {
  const data = model.sample_request?.data;
  if (data === undefined) return null;
  const [only, ...others] = model.inputs;
  return only && others.length === 0 ? { [only.name]: data } : (data as Values);
}

export function write(dialect: Dialect, model: Model, values: Values): string {
  const [only, ...others] = model.inputs;
  const rows = only && others.length === 0 ? values[only.name] : values;
  switch (dialect) {
    case "data":
      return layOut({ data: rows });
    case "inputs":
      return layOut({ Inputs: { data: rows } });
    case "instances":
      return layOut({ instances: rows });
    case "v2":
      return layOut(openInference(model, values));
    case "csv":
      return csv(model, values);
  }
}

/** All outputs, whichever the model answers with: the page has room for them. */
function openInference(model: Model, values: Values): unknown {
  const inputs = model.inputs.map(({ name, datatype }) => {
    const nested = values[name];
    return { name, shape: shapeOf(nested), datatype, data: [nested].flat(Infinity) };
  });
  return { inputs, outputs: model.outputs.map(({ name }) => ({ name })) };
}

function csv(model: Model, values: Values): string {
  const columns = model.inputs.map(({ name }) => values[name] as unknown[]);
  const length = columns[0]?.length ?? 0;
  const lines = Array.from({ length }, (_, row) => {
    const cells = columns.flatMap((column) => [column[row]].flat(Infinity));
    return cells.map(cell).join(",");
  });
  const [only, ...others] = model.inputs;
  const header = only && others.length > 0 ? [model.inputs.map(({ name }) => cell(name)).join(",")] : [];
  return [...header, ...lines, ""].join("\n");
}

function cell(value: unknown): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The dialect that a JSON text is written in: what it is not is told by the server. */
export function dialectOf(text: string): Dialect {
  try {
    const document = JSON.parse(text);
    if ("Inputs" in document) return "inputs";
    if ("instances" in document) return "instances";
    if ("inputs" in document) return "v2";
  } catch {
    // Not JSON, or not an object.
  }
  return "data";
}

function shapeOf(nested: unknown): number[] {
  return Array.isArray(nested) ? [nested.length, ...shapeOf(nested[0])] : [];
}

/** A flat list as nested ones. */
export function nest(flat: number[], shape: number[]): unknown {
  let nested: unknown[] = flat;
  for (const length of shape.slice(1).reverse()) {
    const rows = [];
    for (let start = 0; start < nested.length; start += length) rows.push(nested.slice(start, start + length));
    nested = rows;
  }
  return nested;
}

/** JSON for people: indented, but with numbers side by side. */
export function layOut(value: unknown, indent = ""): string {
  const short = JSON.stringify(value) ?? "null";
  if (value === null || typeof value !== "object" || indent.length + short.length <= LINE) return short;
  const inner = `${indent} `;
  if (!Array.isArray(value)) {
    const members = Object.entries(value).map(([name, v]) => `${inner}${JSON.stringify(name)}: ${layOut(v, inner)}`);
    return `{\n${members.join(",\n")}\n${indent}}`;
  }
  const items = value.map((item) => layOut(item, inner));
  if (value.some((item) => item !== null && typeof item === "object")) {
    return `[\n${items.map((item) => inner + item).join(",\n")}\n${indent}]`;
  }
  return `[\n${fillLines(items, inner, value.length)}\n${indent}]`;
}

/** As many per line as a picture is wide, if it may be one; else as fit. */
function fillLines(items: string[], indent: string, count: number): string {
  const side = Math.sqrt(count);
  const perLine = Number.isInteger(side) && side >= 8 ? side : 20;
  const lines = [];
  for (let start = 0; start < items.length; start += perLine) {
    lines.push(indent + items.slice(start, start + perLine).join(","));
  }
  return lines.join(",\n");
}
