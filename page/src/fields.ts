// A model's columns as fields of a form, and what is written in them as values.

import { Exact, isObject, parse, stringify } from "./json.ts";
import type { InputSpec, Model } from "./model.ts";
import { type Decimal, decimalOf, plain, wordOf } from "./numbers.ts";

/** What is typed into a field: `nested` is JSON for what one row has of an input of several axes. */
export type Kind = "number" | "whole" | "truth" | "text" | "nested";

export interface Field {
  input: string;
  /** The column of a matrix; null if a row has one value of the input. */
  column: number | null;
  name: string;
  kind: Kind;
  /** The values that the model knows, where it says so. */
  choices: string[];
  mayMiss: boolean;
}

/** Nested values by input name. */
export type Values = Record<string, unknown>;

/** A cell that cannot be sent. */
export class WrongCell extends Error {
  constructor(
    readonly row: number,
    readonly field: number,
    message: string,
  ) {
    super(message);
  }
}

/** More columns than these are no form. */
const MAX_FIELDS = 1000;
const MISSING = new Set(["", "na", "n/a", "null", "none", "nan", "<na>", "#n/a"]);

/** The fields of a row; null if the model has no rows, or more columns than a form has room for. */
export function fieldsOf(model: Model): Field[] | null {
  const fields = model.inputs.map(ofInput);
  const all = fields.flatMap((own) => own ?? []);
  return fields.includes(null) || all.length === 0 || all.length > MAX_FIELDS ? null : all;
}

/** Whether a request may hold several rows. */
export const takesSeveralRows = (model: Model): boolean => model.inputs.every(({ shape }) => (shape?.[0] ?? 1) < 0);

function ofInput(spec: InputSpec): Field[] | null {
  const { name, datatype, shape, missing } = spec;
  if (shape === null || shape.length === 0 || (shape[0] ?? 0) > 1) return null;
  const field = { input: name, mayMiss: missing === "nan", kind: kindOf(datatype) };
  const choices = (column: number) => (spec.categories?.[column] ?? []).map(String);
  const [, width = 1] = shape;
  if (shape.length > 2 || width < 0) return [{ ...field, column: null, name, kind: "nested", choices: [] }];
  if (shape.length === 1) return [{ ...field, column: null, name: spec.columns?.[0] ?? name, choices: choices(0) }];
  return Array.from({ length: width }, (_, column) => {
    const own = spec.columns?.[column] ?? (width === 1 ? name : `${name}[${column}]`);
    return { ...field, column, name: own, choices: choices(column) };
  });
}

function kindOf(datatype: string): Kind {
  if (datatype === "BOOL") return "truth";
  if (datatype === "BYTES") return "text";
  return /^U?INT/.test(datatype) ? "whole" : "number";
}

/** Whether a row can be read as values, but for cells that are empty. */
export function looksLikeData(fields: Field[], row: string[]): boolean {
  const readable = (field: Field, index: number): boolean => {
    const cell = row[index] ?? "";
    if (field.kind === "text" || MISSING.has(cell.trim().toLowerCase())) return true;
    try {
      read(field, cell, null);
      return true;
    } catch (error) {
      return error instanceof Error && error.message.startsWith("may be");
    }
  };
  return fields.every(readable);
}

/**
 * What the rows say, by input.
 *
 * Throws `WrongCell` at the first cell that says nothing the model takes.
 */
export function valuesOf(fields: Field[], rows: string[][]): Values {
  const numbers = fields.flatMap(({ kind }, index) => (kind === "number" ? [index] : []));
  // Rows come from one spreadsheet; what is typed into fields one by one speaks for itself alone.
  const decimal = rows.length < 2 ? null : decimalOf((function* () {
    for (const row of rows) for (const index of numbers) yield row[index] ?? "";
  })());
  // Inputs may be called as members of every object are.
  const values = Object.create(null) as Values;
  for (const { input } of fields) values[input] ??= rows.map(() => []);
  rows.forEach((row, at) => {
    fields.forEach((field, index) => {
      const cell = row[index] ?? "";
      const all = values[field.input] as unknown[];
      try {
        const value = read(field, cell, decimal);
        if (field.column === null) all[at] = value;
        else (all[at] as unknown[]).push(value);
      } catch (error) {
        const said = cell.trim() === "" ? "" : ` ${JSON.stringify(cell.slice(0, 60))}`;
        const where = rows.length > 1 ? `Row ${at + 1}, ${field.name}` : field.name;
        throw new WrongCell(at, index, `${where}:${said} ${(error as Error).message}.`);
      }
    });
  });
  return values;
}

/** One cell's value. */
function read(field: Field, cell: string, decimal: Decimal): unknown {
  const text = cell.trim();
  switch (field.kind) {
    case "text":
      return cell;
    case "nested":
      if (text === "") throw new Error("is empty");
      return nested(text);
    case "truth":
      return truth(text);
    case "whole":
    case "number": {
      const word = field.kind === "number" ? wordOf(text) : undefined;
      if (field.mayMiss && MISSING.has(text.toLowerCase())) return null;
      if (text === "") throw new Error(field.kind === "number" ? "is empty; write NaN if the value is not known" : "is empty");
      return word ?? number(plain(text, decimal, field.kind === "whole"));
    }
  }
}

/** A number where that says the same, else its digits. */
function number(digits: string): unknown {
  const value = Number(digits);
  return String(value) === digits ? value : new Exact(digits);
}

function nested(text: string): unknown {
  try {
    return parse(text);
  } catch {
    throw new Error("is not JSON");
  }
}

function truth(text: string): boolean {
  if (/^(true|yes|y|on|1|1\.0)$/i.test(text)) return true;
  if (/^(false|no|n|off|0|0\.0|)$/i.test(text)) return false;
  throw new Error("is neither true nor false");
}

/** The rows that hold these values; null if they do not fit the fields. */
export function rowsOf(fields: Field[], values: Values): string[][] | null {
  const [first] = fields;
  const all = first && values[first.input];
  if (!Array.isArray(all)) return null;
  return all.map((_, at) =>
    fields.map((field) => {
      const own = (values[field.input] as unknown[] | undefined)?.[at];
      const value = field.column === null ? own : (own as unknown[] | undefined)?.[field.column];
      return write(field, value);
    }),
  );
}

/** A value as it is typed. */
export function write(field: Field, value: unknown): string {
  if (field.kind === "nested") return value === undefined ? "" : stringify(value);
  if (value === null || value === undefined) return "";
  return Array.isArray(value) || isObject(value) ? stringify(value) : String(value);
}

/** The cells of a sample: a list of all values, or an object by the names of columns or inputs. */
export function cellsOf(fields: Field[], sample: unknown): string[] {
  const flat: unknown[] = Array.isArray(sample) ? sample : [sample];
  return fields.map((field, index) => {
    if (!isObject(sample)) return write(field, flat[index]);
    if (field.name in sample) return write(field, sample[field.name]);
    const own = sample[field.input];
    return write(field, field.column !== null && Array.isArray(own) ? own[field.column] : own);
  });
}
