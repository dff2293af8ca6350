// Cells copied from a spreadsheet, or written with commas or semicolons between them.

/** Whether what is pasted is cells rather than a text for the field that it is pasted into. */
export function isSheet(text: string, intoText: boolean, width: number): boolean {
  if (text.includes("\t")) return true;
  const lines = text.trim().split(/\r?\n/);
  if (intoText || (width === 1 && lines.length === 1)) return false;
  return lines.length > 1 || (width > 1 && cells(text, width)[0]?.length === width);
}

/** The cells of a text for so many columns; a quoted one may hold what separates others. */
export function cells(text: string, width: number): string[][] {
  const separator = separatorOf(text, width);
  const rows: string[][] = [];
  let [row, cell, quoted] = [[] as string[], "", false];
  const endRow = (): void => {
    row.push(cell);
    if (row.some((found) => found.trim() !== "")) rows.push(row);
    [row, cell] = [[], ""];
  };
  for (let at = 0; at < text.length; at++) {
    const sign = text[at] ?? "";
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (text[at + 1] === '"') cell += text[++at];
      else quoted = false;
    } else if (sign === '"' && cell === "") quoted = true;
    else if (sign === separator) {
      row.push(cell);
      cell = "";
    } else if (sign === "\n") endRow();
    else if (sign !== "\r" || text[at + 1] !== "\n") cell += sign;
  }
  if (cell !== "" || row.length > 0) endRow();
  return rows;
}

/** Spreadsheets copy with tabs; where commas stand in numbers, files have semicolons between cells. Of one column alone
 * each line is a cell. */
function separatorOf(text: string, width: number): string {
  if (text.includes("\t") || width === 1) return "\t";
  const [first = ""] = text.split("\n", 1);
  return first.includes(";") ? ";" : ",";
}

export interface Columns {
  rows: string[][];
  /** What was done that the person should know. */
  note: string;
}

/** A column by its name, and by others that a table may have for it. */
export interface Named {
  name: string;
  aliases: string[];
}

/**
 * The cells in the order of the model's columns: by the names in a first line that holds some, else by position.
 *
 * Throws if they do not fit.
 */
export function arrange(sheet: string[][], columns: Named[], looksLikeData: (row: string[]) => boolean): Columns {
  const [first = [], ...rest] = sheet;
  const key = (name: string) => name.trim().toLowerCase();
  const header = first.map(key);
  const names = columns.map(({ name }) => name);
  const known = columns.map(({ name, aliases }) => [name, ...aliases].map(key));
  const places = known.map((own) => own.map((name) => header.indexOf(name)).find((place) => place >= 0) ?? -1);
  if (places.some((place) => place >= 0)) {
    const absent = names.filter((_, index) => (places[index] ?? -1) < 0);
    if (absent.length > 0) throw new Error(`What was pasted has no column ${list(absent)}; its first line names ${list(first)}.`);
    const extra = first.filter((name) => name.trim() !== "" && !known.flat().includes(key(name)));
    const rows = rest.map((row) => places.map((place) => row[place] ?? ""));
    return { rows, note: extra.length > 0 ? `Left out, as the model has no such column: ${list(extra)}.` : "" };
  }
  const isHeader = rest.length > 0 && !looksLikeData(first) && rest.slice(0, 1).every(looksLikeData);
  const rows = isHeader ? rest : sheet;
  const wrong = rows.findIndex((row) => row.length !== names.length);
  if (wrong >= 0) {
    const found = rows[wrong]?.length ?? 0;
    throw new Error(`Row ${wrong + 1} of what was pasted has ${found} cells; the model takes ${names.length}: ${list(names)}.`);
  }
  return { rows, note: isHeader ? "The first line was taken for names; the columns were filled in their order." : "" };
}

const MAX_NAMES = 6;

const list = (names: string[]): string =>
  names.slice(0, MAX_NAMES).join(", ") + (names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : "");
