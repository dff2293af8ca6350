// Several rows as a table, a page of rows at a time: ten thousand may be pasted.

import { oneLine } from "./arrays.ts";
import { byId, element } from "./dom.ts";
import type { Field } from "./fields.ts";

const ROWS_A_PAGE = 10;
/** With many columns a page has fewer rows. */
const CELLS_A_PAGE = 1500;
const MAX_OPTIONS = 500;

export class Grid {
  rows: string[][] = [];
  private fields: Field[] = [];
  private start = 0;

  constructor(private readonly changed: () => void) {
    byId("grid").addEventListener("input", ({ target }) => this.take(target));
    byId("grid-earlier").addEventListener("click", () => this.turn(-1));
    byId("grid-later").addEventListener("click", () => this.turn(1));
    byId("add-row").addEventListener("click", () => this.add(this.rows.at(-1) ?? []));
    byId("empty-rows").addEventListener("click", () => this.set(this.rows.slice(0, 1)));
  }

  build(fields: Field[]): void {
    this.fields = fields;
    const lists = fields.flatMap(({ choices }, index) =>
      choices.length > 0 ? [element("datalist", { id: `known-${index}` }, ...choices.slice(0, MAX_OPTIONS).map((value) => element("option", { value })))] : [],
    );
    byId("known").replaceChildren(...lists);
  }

  set(rows: string[][]): void {
    this.rows = rows;
    this.start = 0;
    this.show();
    this.changed();
  }

  add(row: string[]): void {
    this.rows.push([...row]);
    this.start = Math.floor((this.rows.length - 1) / this.length) * this.length;
    this.show();
    this.changed();
    this.control(this.rows.length - 1, 0)?.focus();
  }

  /** Writes cells over those from this one on; rows that are not there yet are added. */
  fill(row: number, field: number, cells: string[][]): void {
    cells.forEach((line, down) => {
      const at = (this.rows[row + down] ??= [...(this.rows.at(-1) ?? [])]);
      line.slice(0, this.fields.length - field).forEach((cell, along) => (at[field + along] = cell));
    });
    this.show();
    this.changed();
  }

  /** Points to the cell that cannot be sent. */
  mark(row: number | null, field = 0): void {
    for (const marked of byId("grid").querySelectorAll("[aria-invalid]")) marked.removeAttribute("aria-invalid");
    if (row === null) return;
    if (row < this.start || row >= this.start + this.length) {
      this.start = Math.floor(row / this.length) * this.length;
      this.show();
    }
    this.control(row, field)?.setAttribute("aria-invalid", "true");
  }

  private get length(): number {
    return Math.max(1, Math.min(ROWS_A_PAGE, Math.floor(CELLS_A_PAGE / Math.max(1, this.fields.length))));
  }

  private control(row: number, field: number): HTMLInputElement | null {
    return byId("grid").querySelector(`[data-row="${row}"][data-field="${field}"]`);
  }

  private turn(pages: number): void {
    this.start = Math.max(0, Math.min(this.start + pages * this.length, this.rows.length - 1));
    this.show();
  }

  private take(target: EventTarget | null): void {
    if (!(target instanceof HTMLInputElement)) return;
    const row = this.rows[Number(target.dataset["row"])];
    if (row) row[Number(target.dataset["field"])] = target.value;
    this.changed();
  }

  private remove(row: number): void {
    this.rows.splice(row, 1);
    this.start = Math.min(this.start, Math.max(0, this.rows.length - 1));
    this.show();
    this.changed();
    this.control(Math.min(row, this.rows.length - 1), 0)?.focus();
  }

  private show(): void {
    const end = Math.min(this.start + this.length, this.rows.length);
    const shown = this.rows.slice(this.start, end).map((row, index) => this.line(row, this.start + index));
    const names = this.fields.map(({ name }) => element("th", { scope: "col" }, element("bdi", {}, name)));
    const head = element("tr", {}, element("th", { scope: "col" }, "#"), ...names, element("td", {}));
    byId("grid").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...shown)));
    const isLong = this.rows.length > this.length;
    byId("grid-pages").hidden = !isLong;
    byId("grid-shown").textContent = `Rows ${this.start + 1} to ${end} of ${this.rows.length.toLocaleString("en")}`;
    byId<HTMLButtonElement>("grid-earlier").disabled = this.start === 0;
    byId<HTMLButtonElement>("grid-later").disabled = end >= this.rows.length;
  }

  private line(row: string[], at: number): HTMLElement {
    const inputs = this.fields.map((field, index) => {
      const known: Record<string, string> = field.choices.length > 0 ? { list: `known-${index}` } : {};
      const input = element("input", { type: "text", "aria-label": `${field.name}, row ${at + 1}`, dir: "auto", autocomplete: "off", spellcheck: "false", ...known });
      input.dataset["row"] = String(at);
      input.dataset["field"] = String(index);
      input.value = field.kind === "nested" ? oneLine(row[index] ?? "") : (row[index] ?? "");
      return element("td", { class: field.kind }, input);
    });
    const away = element("button", { type: "button", class: "icon", "aria-label": `Remove row ${at + 1}` }, "×");
    away.disabled = this.rows.length === 1;
    away.addEventListener("click", () => this.remove(at));
    return element("tr", {}, element("th", { scope: "row" }, String(at + 1)), ...inputs, element("td", {}, away));
  }
}
