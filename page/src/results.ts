// The rows of an answer as a table, from which one is chosen to be seen in full.

import type { Column } from "./columns.ts";
import { byId, element } from "./dom.ts";

const MAX_ROWS = 100;

export function showTable(columns: Column[], text: (column: Column, row: number) => string, chosen: (row: number) => void): void {
  const count = Math.max(0, ...columns.map(({ rows }) => rows.length));
  const names = columns.map(({ name }) => element("th", { scope: "col" }, element("bdi", {}, name)));
  const head = element("tr", {}, element("th", { scope: "col" }, "row"), ...names);
  const buttons: HTMLButtonElement[] = [];
  const rows = Array.from({ length: Math.min(count, MAX_ROWS) }, (_, row) => {
    const button = element("button", { type: "button", class: "icon", "aria-pressed": String(row === 0), "aria-label": `Show row ${row + 1}` }, String(row + 1));
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      chosen(row);
    });
    buttons.push(button);
    const cells = columns.map((column) => element("td", { dir: "auto" }, text(column, row)));
    return element("tr", {}, element("th", { scope: "row" }, button), ...cells);
  });
  const place = byId("table");
  place.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  if (count > MAX_ROWS) place.append(element("p", { class: "quiet" }, `The first ${MAX_ROWS} of ${count.toLocaleString("en")} rows.`));
  place.hidden = false;
}
