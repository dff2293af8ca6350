// Request bodies: one input in each dialect and format of the table, which the server's crate `wire` has too, and in the
// forms of the APIs for texts.

import { shapeOf } from "./arrays.ts";
import { type Values, cellsOf, fieldsOf, valuesOf } from "./fields.ts";
import { isObject, layOut, parse } from "./json.ts";
import { type Model, type TensorSpec } from "./model.ts";
import { TABLE } from "./table.ts";
import { FORMS, type TextForm, taskOf } from "./text_forms.ts";

/** A row of the table, or a form of an API for texts, named by its label. */
export type Dialect = string;

/** The dialect in which a page starts, and the one that can ask for all outputs. */
export const FIRST: Dialect = "Azure ML: data";
export const PROTOCOL: Dialect = "Open Inference Protocol: inputs";

export function sampleValues(model: Model): Values | null {
  const data = model.sample_request?.data;
  if (data === undefined) return null;
  const fields = fieldsOf(model);
  if (fields && Array.isArray(data) && data.every(isObject)) return valuesOf(fields, data.map((row) => cellsOf(fields, row)));
  const [only, ...others] = model.inputs;
  return only && others.length === 0 ? { [only.name]: data } : (data as Values);
}

/** The dialects in which a model's sample can be written, of the content types that it takes. */
export function offered(model: Model, accepted: string[]): Dialect[] {
  const values = sampleValues(model) ?? {};
  const fits = ({ label, type }: (typeof TABLE)[number]) =>
    (type === "application/json" || accepted.includes(type)) && write(label, model, values) !== null;
  const form = formOfTexts(model);
  return [...(form ? [form.label] : []), ...TABLE.filter(fits).map(({ label }) => label)];
}

function formOfTexts(model: Model): TextForm | null {
  const task = taskOf(model);
  return task && FORMS[task];
}

/** The dialect that shows all that the model answers, and is the shortest of those that do. */
export function preferred(model: Model): Dialect {
  const form = formOfTexts(model);
  if (form) return form.label;
  const answers = model.answers_with;
  // A map or a sequence is two tensors, of which the other bears a name within its own.
  const belongs = (name: string) => answers.some((own) => name === own || name.startsWith(`${own}.`));
  return model.outputs.every(({ name }) => belongs(name)) ? FIRST : PROTOCOL;
}

const row = (label: Dialect) => TABLE.find((row) => row.label === label);

export const typeOf = (label: Dialect): string => row(label)?.type ?? "application/json";

/** Where requests in that dialect go, below the path of all. */
export function pathOf(label: Dialect, model: Model): string {
  const form = formOfTexts(model);
  const name = encodeURIComponent(model.name);
  return form?.label === label ? form.path(name) : `/${name}`;
}

/** The member of an answer that holds the results in that dialect. */
export const memberOfAnswer = (label: Dialect): string | null => row(label)?.under ?? null;

/** The values in a dialect; `null` if the dialect cannot say them. */
export function write(label: Dialect, model: Model, values: Values): string | null {
  try {
    const form = formOfTexts(model);
    if (form?.label === label) return layOut(form.body(model.name, values));
    const body = filled(row(label)?.sample, model, values);
    const perLine = model.picture?.width;
    // All outputs, whichever the model answers with: the page has room for them.
    const outputs = model.outputs.map(({ name }) => ({ name }));
    if (label === PROTOCOL) return layOut({ ...(body as object), outputs }, perLine);
    return typeof body === "string" ? body : layOut(body, perLine);
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
      return model.inputs.map((input) => tensor(input, values[input.name]));
    case "$table":
      return csv(model, values);
    default:
      throw new Error(`the page cannot write ${word}`);
  }
}

function tensor({ name, datatype }: TensorSpec, nested: unknown): unknown {
  return { name, shape: shapeOf(nested), datatype, data: [nested].flat(Infinity) };
}

/** A row's value of a column; one value alone is that of every row, as the query of a ranking. */
const at = (column: unknown[], row: number): unknown => column[column.length === 1 ? 0 : row];

/** Columns as rows. */
function records(columns: Values): Values[] {
  const entries = Object.entries(columns).map(([name, rows]): [string, unknown[]] => {
    if (!Array.isArray(rows)) throw new Error(`${name} has no rows`);
    return [name, rows];
  });
  const count = Math.max(0, ...entries.map(([, rows]) => rows.length));
  return Array.from({ length: count }, (_, row) => Object.fromEntries(entries.map(([name, rows]) => [name, at(rows, row)])));
}

function csv(model: Model, values: Values): string {
  if (model.inputs.some(({ shape }) => (shape?.length ?? 1) > 2)) throw new Error("a line has no axes of its own");
  const columns = model.inputs.map(({ name }) => values[name] as unknown[]);
  const length = Math.max(0, ...columns.map((column) => column.length));
  const lines = Array.from({ length }, (_, row) => {
    const cells = columns.flatMap((column) => [at(column, row)].flat(Infinity));
    return cells.map(cell).join(",");
  });
  const [only, ...others] = model.inputs;
  const header = only && others.length > 0 ? [model.inputs.map(({ name }) => cell(name)).join(",")] : [];
  return [...header, ...lines, ""].join("\n");
}

function cell(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The dialect that a JSON text is written in: what it is not is told by the server. */
export function dialectOf(text: string): Dialect {
  try {
    const document = parse(text) as Values;
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
