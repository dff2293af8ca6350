// Rows that are pasted from a spreadsheet into the form or the table.

import { showError } from "./answer.ts";
import { byId } from "./dom.ts";
import { type Field, looksLikeData } from "./fields.ts";
import type { Grid } from "./grid.ts";
import { arrange, cells, isSheet } from "./sheet.ts";

/** Calls `taken` with the rows in the order of the fields; what does not fit is told as an error. */
export function takePastes(grid: Grid, fields: () => Field[], taken: (rows: string[][], note: string) => void): void {
  const paste = (event: ClipboardEvent): void => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    const all = fields();
    const target = event.target as HTMLElement;
    const cell = target.closest<HTMLElement>("[data-row]");
    const own = all[Number(cell?.dataset["field"] ?? target.id.replace("field-", ""))];
    if (!isSheet(text, own?.kind === "text" && cell === null, all.length)) return;
    event.preventDefault();
    try {
      const sheet = cells(text, all.length);
      const isBlock = cell !== null && (sheet[0]?.length ?? 0) < all.length;
      if (isBlock) grid.fill(Number(cell.dataset["row"]), Number(cell.dataset["field"]), sheet);
      else {
        const names = all.map(({ name }) => name);
        const { rows, note } = arrange(sheet, names, (row) => looksLikeData(all, row));
        taken(rows, note);
      }
      showError(null);
    } catch (error) {
      showError((error as Error).message);
    }
  };
  for (const id of ["fields", "grid"]) byId(id).addEventListener("paste", paste);
}
