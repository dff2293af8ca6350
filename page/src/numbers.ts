// Numbers as people and spreadsheets write them: "1,234.5", "1.234,5", "1 234,5", "5,1". What may mean two numbers is
// refused rather than guessed.

import { Exact } from "./json.ts";

/** The sign before the fraction; null where nothing written so far tells which it is. */
export type Decimal = "." | "," | null;

/** Between digits: spaces of any width, and apostrophes, group digits in some countries. */
const GROUPING_SPACE = /(?<=\d)[\s\u00a0\u2009\u202f'’](?=\d{3})/g;
const LIKE_A_NUMBER = /^[+-]?\d[\d.,]*$/;

/** What a cell tells of the sign before fractions. */
function told(cell: string): Decimal {
  const text = cell.trim().replace(GROUPING_SPACE, "");
  if (!LIKE_A_NUMBER.test(text)) return null;
  const signs = text.replace(/[^.,]/g, "");
  if (signs.includes(".") && signs.includes(",")) return signs.at(-1) as Decimal;
  const [sign] = signs;
  if (sign === undefined) return null;
  const other = sign === "." ? "," : ".";
  if (signs.length > 1) return other;
  const mayGroup = /^[+-]?[1-9]\d{0,2}[.,]\d{3}$/.test(text);
  return mayGroup ? null : (sign as Decimal);
}

/** What the cells of one table tell of it together; nothing if they disagree. */
export function decimalOf(cells: Iterable<string>): Decimal {
  let found: Decimal = null;
  for (const cell of cells) {
    const own = told(cell);
    if (own === null) continue;
    if (found !== null && found !== own) return null;
    found = own;
  }
  return found;
}

const WORDS: Record<string, string> = {
  nan: "NaN",
  inf: "Infinity",
  infinity: "Infinity",
  "+inf": "Infinity",
  "+infinity": "Infinity",
  "-inf": "-Infinity",
  "-infinity": "-Infinity",
};

/** The words for numbers that are none, as the server reads them. */
export const wordOf = (text: string): string | undefined => WORDS[text.trim().toLowerCase()];

/**
 * The number as JSON writes it, with all its digits.
 *
 * Throws, in words that follow the text, if it is no number or may be two.
 */
export function plain(cell: string, decimal: Decimal, isWhole: boolean): string {
  const text = cell.trim().replace(/^[−–]/, "-").replace(GROUPING_SPACE, "");
  const [sign] = decimal === null ? [told(text)] : [decimal];
  if (sign === null && /^[+-]?\d+,\d{3}$/.test(text)) throw new Error(ambiguous(text));
  if (sign === null && isWhole && /^[+-]?[1-9]\d{0,2}\.\d{3}$/.test(text)) throw new Error(ambiguous(text));
  const point = sign === "," ? commaAsPoint(text) : withoutGroups(text, ",");
  const found = /^([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d+))?$/i.exec(point);
  const [, minus = "", whole = "", fraction = "", power = ""] = found ?? [];
  if (!found || whole + fraction === "") throw new Error("is not a number");
  const head = (minus === "-" ? "-" : "") + (whole.replace(/^0+(?=\d)/, "") || "0");
  if (isWhole && power === "") {
    if (/[1-9]/.test(fraction)) throw new Error("is not a whole number");
    return head;
  }
  return head + (fraction === "" ? "" : `.${fraction}`) + (power === "" ? "" : `e${power}`);
}

/** A number where that says the same as its digits, else the digits. */
export function exactly(digits: string): number | Exact {
  const value = Number(digits);
  return String(value) === digits ? value : new Exact(digits);
}

function ambiguous(text: string): string {
  const grouped = text.replace(/[.,]/, "");
  return `may be ${text.replace(",", ".")} or ${grouped}; write one of them`;
}

function withoutGroups(text: string, sign: "." | ","): string {
  const grouped = sign === "," ? /^[+-]?\d{1,3}(,\d{3})+(?=$|\.|e)/i : /^[+-]?\d{1,3}(\.\d{3})+(?=$|,|e)/i;
  return text.replace(grouped, (whole) => whole.replaceAll(sign, ""));
}

const commaAsPoint = (text: string): string => {
  const joined = withoutGroups(text, ".");
  // A point that groups nothing is the fraction's own after all.
  return joined.includes(".") ? joined : joined.replace(",", ".");
};
