// Rows that are pasted from a spreadsheet into the form or the table.

import { showError } from "./answer.ts";
import { oneLine, rowsIn } from "./arrays.ts";
import { byId } from "./dom.ts";
import { type Field, looksLikeData } from "./fields.ts";
import type { Grid } from "./grid.ts";
import { arrange, cells, isSheet } from "./sheet.ts";

function attempt(act: () => void): void {
  try {
    act();
    showError(null);
  } catch (error) {
    showError((error as Error).message);
  }
}

/** Calls `taken` with the rows in the order of the fields; what does not fit is told as an error. */
export function takePastes(grid: Grid, fields: () => Field[], taken: (rows: string[][], note: string) => void): void {
  /** Several lines of numbers are rows where a row is one line; else they belong to the one field. */
  const pasteArray = (event: ClipboardEvent, text: string, own: Field, cell: HTMLElement | null): void => {
    const rows = fields().length === 1 ? rowsIn(text, own.array) : null;
    if (cell === null && rows === null) return;
    if (cell !== null && !text.includes("\n")) return;
    event.preventDefault();
    if (cell) grid.fill(Number(cell.dataset["row"]), Number(cell.dataset["field"]), (rows ?? [oneLine(text)]).map((row) => [row]));
    else attempt(() => taken((rows ?? []).map((row) => [row]), ""));
  };
  const paste = (event: ClipboardEvent): void => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    const all = fields();
    const target = event.target as HTMLElement;
    const cell = target.closest<HTMLElement>("[data-row]");
    const own = all[Number(cell?.dataset["field"] ?? target.id.replace("field-", ""))];
    if (own?.kind === "nested") {
      pasteArray(event, text, own, cell);
      return;
    }
    if (!isSheet(text, own?.kind === "text" && cell === null, all.length)) return;
    event.preventDefault();
    attempt(() => {
      const sheet = cells(text, all.length);
      const isBlock = cell !== null && (sheet[0]?.length ?? 0) < all.length;
      if (isBlock) grid.fill(Number(cell.dataset["row"]), Number(cell.dataset["field"]), sheet);
      else {
        const { rows, note } = arrange(sheet, all, (row) => looksLikeData(all, row));
        taken(rows, note);
      }
    });
  };
  for (const id of ["fields", "grid"]) byId(id).addEventListener("paste", paste);
}
