// Arrays of several axes as people paste them: JSON, cells of a spreadsheet, or what NumPy, PyTorch and R print.

import { isObject, parse, stringify } from "./json.ts";
import { type Decimal, decimalOf, exactly, plain, wordOf } from "./numbers.ts";

/** What an array is to become. */
export interface ArrayForm {
  /** Axes of free length are negative. */
  shape: number[];
  elements: "number" | "whole" | "truth" | "text";
}

const holdsNumbers = ({ elements }: ArrayForm): boolean => elements === "number" || elements === "whole";

/**
 * What a text says, in lists within lists.
 *
 * Throws, in words that follow a name, if it is no such array.
 */
export function readArray(text: string, form: ArrayForm): unknown {
  const document = jsonOf(text);
  if (document !== undefined) return Array.isArray(document) ? shaped(document, form.shape) : wrong(form);
  if (text.trim() === "") throw new Error("is empty");
  return holdsNumbers(form) ? reshape(numbersIn(text, form), form.shape) : wrong(form);
}

function wrong(form: ArrayForm): never {
  throw new Error(`is not a list as JSON writes it, of ${words(form)}`);
}

function jsonOf(text: string): unknown {
  try {
    const document = parse(text);
    // One number alone is a list of one.
    return Array.isArray(document) || isObject(document) ? document : undefined;
  } catch {
    return undefined;
  }
}

function shaped(list: unknown[], shape: number[]): unknown {
  const depth = shapeOf(list).length;
  if (depth === 1 && shape.length > 1) return reshape(list, shape);
  // A whole request of one row.
  return depth === shape.length + 1 && list.length === 1 ? list[0] : list;
}

function reshape(flat: unknown[], shape: number[]): unknown {
  const free = shape.filter((length) => length < 0).length;
  if (free > 1) throw new Error("has several axes whose lengths are free; write it as JSON");
  const each = shape.filter((length) => length >= 0).reduce((product, length) => product * length, 1);
  const fits = free === 1 ? each > 0 && flat.length % each === 0 : flat.length === each;
  if (!fits) throw new Error(`has ${counted(flat.length)}; the model takes ${free === 1 ? `a multiple of ${each}` : each} (${axes(shape)})`);
  return nest(flat, shape.map((length) => (length < 0 ? flat.length / each : length)));
}

const counted = (count: number): string => (count === 1 ? "1 number" : `${count} numbers`);
/** Lengths as `24 × 7`; those of free axes are question marks. */
export const axes = (shape: number[]): string => shape.map((length) => (length < 0 ? "?" : String(length))).join(" × ");

/** What the array is, in words. */
export function words({ shape, elements }: ArrayForm): string {
  const names = { number: "numbers", whole: "whole numbers", truth: "true or false", text: "texts" };
  return `${axes(shape)} ${names[elements]}`;
}

/** The brackets and names around numbers that are printed: `array([[1., 2.]], dtype=float32)`, `c(1, 2)`. */
const AROUND = /\b[a-z_][\w.]*\s*\(|,\s*(?:dtype|device|grad_fn)\s*=\s*[^\s,)]+|[[\](){}]/gi;

function numbersIn(text: string, { elements }: ArrayForm): unknown[] {
  const { cells, mayGroup } = cellsIn(text.replace(AROUND, " "));
  const decimal: Decimal = mayGroup ? decimalOf(cells) : ".";
  return cells.map((cell, at) => {
    try {
      const word = elements === "number" ? wordOf(cell) : undefined;
      return word ?? exactly(plain(cell, decimal, elements === "whole"));
    } catch (error) {
      throw new Error(`number ${at + 1}, ${JSON.stringify(cell.slice(0, 40))}, ${cell.trim() === "" ? "is empty" : (error as Error).message}`);
    }
  });
}

/** The cells of a text, without a first line of names; commas within cells are possible only where others separate them. */
function cellsIn(text: string): { cells: string[]; mayGroup: boolean } {
  const separator = text.includes("\t") ? /\t/ : text.includes(";") ? /;/ : /[\s,]+/;
  const mayGroup = separator.source !== "[\\s,]+";
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const split = lines.map((line) => line.trim().split(separator).filter((cell) => mayGroup || cell !== ""));
  const isNamed = (cell: string) => !/\d/.test(cell) && wordOf(cell) === undefined && cell.trim() !== "";
  const [first = []] = split;
  return { cells: (split.length > 1 && first.every(isNamed) ? split.slice(1) : split).flat(), mayGroup };
}

/** The texts of several rows, of which each line holds one, or each list in a list; null if it is a single row. */
export function rowsIn(text: string, form: ArrayForm): string[] | null {
  const [width = -1, ...others] = form.shape;
  if (others.length > 0 || width < 0 || !holdsNumbers(form)) return null;
  const document = jsonOf(text);
  if (Array.isArray(document)) {
    const [rows = 0, inner] = shapeOf(document);
    return rows > 1 && inner === width ? document.map((row) => writeArray(row, form)) : null;
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const isRow = (line: string): boolean => {
    try {
      return numbersIn(line, form).length === width;
    } catch {
      return false;
    }
  };
  const [first = "", ...rest] = lines;
  const rows = isRow(first) ? lines : rest;
  return rows.length > 1 && rows.every(isRow) ? rows : null;
}

/** Numbers as lines of cells, anything else as JSON. */
export function writeArray(value: unknown, form: ArrayForm): string {
  if (value === undefined) return "";
  const { shape } = form;
  if (!Array.isArray(value) || !holdsNumbers(form) || shapeOf(value).length !== shape.length || shape.length > 2) return stringify(value);
  const line = (cells: unknown): string => (cells as unknown[]).map((cell) => (cell === null ? "NaN" : String(cell))).join(", ");
  return shape.length === 1 ? line(value) : value.map(line).join("\n");
}

/** The same on one line. */
export const oneLine = (text: string): string => text.replace(/\s*\r?\n/g, text.includes("\t") ? "\t" : text.includes(";") ? ";" : " ");

/** An array of that form to begin with; axes of free length have one element. */
export function zeros({ shape, elements }: ArrayForm): unknown {
  const zero = { number: 0, whole: 0, truth: false, text: "" }[elements];
  return shape.reduceRight<unknown>((inner, length) => new Array(length < 0 ? 1 : length).fill(inner), zero);
}

export function shapeOf(nested: unknown): number[] {
  return Array.isArray(nested) ? [nested.length, ...shapeOf(nested[0])] : [];
}

/** A flat list as nested ones. */
export function nest(flat: unknown[], shape: number[]): unknown {
  let nested = flat;
  for (const length of shape.slice(1).reverse()) {
    const rows = [];
    for (let start = 0; start < nested.length; start += length) rows.push(nested.slice(start, start + length));
    nested = rows;
  }
  return nested;
}
