// Request bodies: one input in each dialect and format of the table, which the server's crate `wire` has too.

import type { Model } from "./model.ts";
import { TABLE } from "./table.ts";

/** A row of the table, named by its label. */
export type Dialect = (typeof TABLE)[number]["label"];

/** The dialect in which a page starts, and the one that can ask for all outputs. */
export const FIRST: Dialect = "Azure ML: data";
export const PROTOCOL: Dialect = "Open Inference Protocol: inputs";

/** Nested values by input name. */
export type Values = Record<string, unknown>;

const LINE = 100;

export function sampleValues(model: Model): Values | null {
  const data = model.sample_request?.data;
  if (data === undefined) return null;
  const [only, ...others] = model.inputs;
  return only && others.length === 0 ? { [only.name]: data } : (data as Values);
}

/** The dialects in which a model's sample can be written, of the content types that it takes. */
export function offered(model: Model, accepted: string[]): Dialect[] {
  const values = sampleValues(model) ?? {};
  const fits = ({ label, type }: (typeof TABLE)[number]) =>
    (type === "application/json" || accepted.includes(type)) && write(label, model, values) !== null;
  return TABLE.filter(fits).map(({ label }) => label);
}

const row = (label: Dialect) => TABLE.find((row) => row.label === label);

export const typeOf = (label: Dialect): string => row(label)?.type ?? "application/json";

/** The member of an answer that holds the results in that dialect. */
export const memberOfAnswer = (label: Dialect): string | null => row(label)?.under ?? null;

/** The values in a dialect; `null` if the dialect cannot say them. */
export function write(label: Dialect, model: Model, values: Values): string | null {
  try {
    const body = filled(row(label)?.sample, model, values);
    // All outputs, whichever the model answers with: the page has room for them.
    const outputs = model.outputs.map(({ name }) => ({ name }));
    if (label === PROTOCOL) return layOut({ ...(body as object), outputs });
    return typeof body === "string" ? body : layOut(body);
  } catch {
    return null;
  }
}

/** A sample with values in place of the words that begin with `$`. */
function filled(sample: unknown, model: Model, values: Values): unknown {
  if (typeof sample === "string") return part(sample, model, values);
  const members = Object.entries(sample ?? {}).map(([name, value]) => [name, filled(value, model, values)]);
  return Object.fromEntries(members);
}

function part(word: string, model: Model, values: Values): unknown {
  const names = model.inputs.map(({ name }) => name);
  const alone = names.length === 1;
  const only = values[names[0] ?? ""];
  const all = Object.fromEntries(names.map((name) => [name, values[name]]));
  switch (word) {
    case "$rows":
      return alone ? only : all;
    case "$columns":
      return all;
    case "$list":
      return alone ? only : records(all);
    case "$records":
      return records(all);
    case "$names":
      return alone ? [] : names;
    case "$cells":
      return alone ? only : records(all).map((record) => Object.values(record));
    case "$tensors":
      return model.inputs.map(({ name, datatype }) => {
        const nested = values[name];
        return { name, shape: shapeOf(nested), datatype, data: [nested].flat(Infinity) };
      });
    case "$table":
      return csv(model, values);
    default:
      throw new Error(`the page cannot write ${word}`);
  }
}

/** Columns as rows. */
function records(columns: Values): Values[] {
  const entries = Object.entries(columns).map(([name, rows]): [string, unknown[]] => {
    if (!Array.isArray(rows)) throw new Error(`${name} has no rows`);
    return [name, rows];
  });
  const count = entries[0]?.[1].length ?? 0;
  return Array.from({ length: count }, (_, at) => Object.fromEntries(entries.map(([name, rows]) => [name, rows[at]])));
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
    const document: Values = JSON.parse(text);
    const known = TABLE.filter(({ sample }) => typeof sample === "object" && (Object.keys(sample)[0] ?? "") in document);
    const form = formOf(document["inputs"]);
    const [first] = known.length === 1 ? known : known.filter(({ sample }) => "inputs" in Object(sample) && Object(sample).inputs === form);
    if (first) return first.label;
  } catch {
    // Not JSON, or not an object.
  }
  return FIRST;
}

/** Which of the dialects with the member `inputs` a value of it belongs to. */
function formOf(inputs: unknown): string {
  if (!Array.isArray(inputs)) return "$columns";
  return Object(inputs[0]).datatype === undefined ? "$list" : "$tensors";
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
