// A model's columns as fields of a form, and what is written in them as values.

import { type ArrayForm, readArray, writeArray } from "./arrays.ts";
import { isObject, stringify } from "./json.ts";
import type { InputSpec, Model } from "./model.ts";
import { type Decimal, decimalOf, exactly, plain, wordOf } from "./numbers.ts";

/** What is typed into a field: `nested` is an array of what one row has of an input of several axes, or of many columns. */
export type Kind = "number" | "whole" | "truth" | "text" | "nested";

export interface Field {
  input: string;
  /** The column of a matrix; null if a row has one value of the input. */
  column: number | null;
  /** Other names that its column may have in a table. */
  aliases: string[];
  /** Whether the input has no rows: all of it is in the field. */
  isWhole: boolean;
  /** What is nested. */
  array: ArrayForm;
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
/** Of more columns without names, the numbers stand in one field. */
const MAX_NAMELESS = 64;
/** Longer arrays can be sent as files. */
const MAX_VALUES = 50_000;
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
  const { name, datatype, shape, missing, columns } = spec;
  if (shape === null) return null;
  const [rows, ...inner] = shape;
  const elements = kindOf(datatype);
  const isWhole = rows === undefined || rows > 1;
  const array = { shape: isWhole ? shape : inner, elements };
  const choices = (column: number) => (spec.categories?.[column] ?? []).map(String);
  // A column of a matrix is called otherwise than the matrix.
  const aliases = inner.reduce((product, length) => product * length, 1) === 1 ? (spec.aliases ?? []) : [];
  const field: Field = { input: name, column: null, name, aliases, kind: elements, isWhole, array, choices: [], mayMiss: missing === "nan" };
  if (array.shape.length === 0) return [{ ...field, name: columns?.[0] ?? name, choices: choices(0) }];
  const [width = 0, ...others] = inner;
  if (isWhole || others.length > 0 || width < 0 || isNameless(spec, width, elements)) {
    const values = array.shape.reduce((product, length) => product * Math.max(1, length), 1);
    return values > MAX_VALUES ? null : [{ ...field, kind: "nested" }];
  }
  return Array.from({ length: width }, (_, column) => {
    const own = columns?.[column] ?? (width === 1 ? name : `${name}[${column}]`);
    return { ...field, column, name: own, choices: choices(column) };
  });
}

/** Whether a row is many numbers of which nothing tells one from another. */
function isNameless({ columns = [], categories = [] }: InputSpec, width: number, elements: ArrayForm["elements"]): boolean {
  const areNumbers = elements === "number" || elements === "whole";
  return width > MAX_NAMELESS && areNumbers && columns.length === 0 && categories.every((known) => known === null);
}

/** How many rows the values have; null if the model has none that the page knows of. */
export function rowCount(model: Model, fields: Field[], values: Values): number | null {
  if (model.inputs.length === 0) return 1;
  const counts = fields.map((field) => (field.isWhole ? 1 : ((values[field.input] as unknown[] | undefined)?.length ?? 1)));
  return counts.length === 0 ? null : Math.max(...counts);
}

function kindOf(datatype: string): ArrayForm["elements"] {
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
        if (field.isWhole) values[field.input] = value;
        else if (field.column === null) all[at] = value;
        else (all[at] as unknown[]).push(value);
      } catch (error) {
        throw wrongCell(at, index, field, cell, error, rows.length > 1 ? `Row ${at + 1}, ` : "");
      }
    });
  });
  return values;
}

function wrongCell(row: number, at: number, { name, kind }: Field, cell: string, error: unknown, where = ""): WrongCell {
  const said = cell.trim() === "" || kind === "nested" ? "" : ` ${JSON.stringify(cell.slice(0, 60))}`;
  return new WrongCell(row, at, `${where}${name}:${said} ${(error as Error).message}.`);
}

/** Throws `WrongCell` if a row has a word for a switch that turns it neither on nor off. */
export function checkSwitches(fields: Field[], row: string[]): void {
  fields.forEach((field, index) => {
    const cell = row[index] ?? "";
    try {
      if (field.kind === "truth") truth(cell.trim());
    } catch (error) {
      throw wrongCell(0, index, field, cell, error);
    }
  });
}

/** One cell's value. */
function read(field: Field, cell: string, decimal: Decimal): unknown {
  const text = cell.trim();
  switch (field.kind) {
    case "text":
      return cell;
    case "nested":
      return readArray(text, field.array);
    case "truth":
      return truth(text);
    case "whole":
    case "number": {
      const word = field.kind === "number" ? wordOf(text) : undefined;
      if (field.mayMiss && MISSING.has(text.toLowerCase())) return null;
      if (text === "") throw new Error(field.kind === "number" ? "is empty; write NaN if the value is not known" : "is empty");
      return word ?? exactly(plain(text, decimal, field.kind === "whole"));
    }
  }
}

/** Throws, in words that follow the text, if it is neither. */
function truth(text: string): boolean {
  if (/^(true|yes|y|on|1|1\.0)$/i.test(text)) return true;
  if (/^(false|no|n|off|0|0\.0)$/i.test(text)) return false;
  throw new Error(text === "" ? "is empty; write true or false" : "is neither true nor false");
}

/** The rows that hold these values; null if they do not fit the fields. */
export function rowsOf(fields: Field[], values: Values): string[][] | null {
  const inputs = fields.filter(({ isWhole }) => !isWhole).map(({ input }) => values[input]);
  if (!inputs.every(Array.isArray)) return null;
  const count = inputs.length === 0 ? 1 : Math.max(...inputs.map((rows) => (rows as unknown[]).length));
  return Array.from({ length: count }, (_, at) =>
    fields.map((field) => {
      const own = field.isWhole ? values[field.input] : (values[field.input] as unknown[])[at];
      return write(field, field.column === null ? own : (own as unknown[] | undefined)?.[field.column]);
    }),
  );
}

/** A value as it is typed. */
export function write(field: Field, value: unknown): string {
  if (field.kind === "nested") return writeArray(value, field.array);
  if (value === null || value === undefined) return "";
  return Array.isArray(value) || isObject(value) ? stringify(value) : String(value);
}

/** The cells of a sample: a list of all values, or an object by the names of columns or inputs. */
export function cellsOf(fields: Field[], sample: unknown): string[] {
  const [alone, ...others] = fields;
  // The list is all that the one field holds.
  if (alone?.kind === "nested" && others.length === 0 && Array.isArray(sample)) return [write(alone, sample)];
  const flat: unknown[] = Array.isArray(sample) ? sample : [sample];
  return fields.map((field, index) => {
    if (!isObject(sample)) return write(field, flat[index]);
    if (field.name in sample) return write(field, sample[field.name]);
    const own = sample[field.input];
    return write(field, field.column !== null && Array.isArray(own) ? own[field.column] : own);
  });
}
