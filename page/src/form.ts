// One row as a form: a labelled field for each of the model's columns.

import { words as describeArray } from "./arrays.ts";
import { byId, element } from "./dom.ts";
import type { Field } from "./fields.ts";

/** From so many fields on there is a box to find one. */
const MANY = 16;
/** Of so many known values all are offered in a list; of more, those that fit what is typed. */
const MAX_OPTIONS = 30;
const NO_CHOICE = "–";

type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

export class Form {
  private controls: Control[] = [];
  private labels: HTMLElement[] = [];

  constructor(changed: () => void) {
    const place = byId("fields");
    place.addEventListener("input", changed);
    place.addEventListener("change", changed);
    byId("find").addEventListener("input", () => this.find(byId<HTMLInputElement>("find").value));
  }

  build(fields: Field[]): void {
    this.controls = fields.map((field, index) => control(field, index));
    this.labels = fields.map((field, index) => labelled(field, index, this.controls[index]));
    byId("fields").replaceChildren(...this.labels);
    byId("fields").classList.toggle("alone", fields.length === 1);
    byId("fields").classList.toggle("few", fields.length > 1 && fields.length < 5);
    const find = byId<HTMLInputElement>("find");
    find.value = "";
    byId("find-part").hidden = fields.length < MANY;
  }

  get row(): string[] {
    return this.controls.map((own) => (own instanceof HTMLInputElement && own.type === "checkbox" ? String(own.checked) : own.value));
  }

  set row(cells: string[]) {
    this.controls.forEach((own, index) => {
      const cell = cells[index] ?? "";
      if (own instanceof HTMLInputElement && own.type === "checkbox") own.checked = /^\s*(true|yes|y|on|1|1\.0)\s*$/i.test(cell);
      else {
        if (own instanceof HTMLSelectElement) offer(own, cell);
        own.value = cell;
      }
    });
    this.mark(null);
  }

  /** Points to the field that cannot be sent. */
  mark(wrong: number | null): void {
    this.controls.forEach((own, index) => {
      if (index === wrong) own.setAttribute("aria-invalid", "true");
      else own.removeAttribute("aria-invalid");
    });
  }

  focus(index: number): void {
    this.find("");
    this.controls[index]?.focus();
  }

  private find(typed: string): void {
    const words = typed.trim().toLowerCase();
    for (const label of this.labels) label.hidden = words !== "" && !(label.dataset["name"] ?? "").includes(words);
  }
}

function labelled(field: Field, index: number, own: Control | undefined): HTMLElement {
  const id = `field-${index}`;
  const label = element("label", { for: id }, element("bdi", {}, field.name));
  const words = field.kind === "nested" ? describeArray(field.array) : field.mayMiss ? "may be empty" : null;
  const hint = words === null ? [] : [element("span", { class: "quiet" }, words)];
  const kind = own instanceof HTMLInputElement && own.type === "checkbox" ? "field truth" : "field";
  const made = element("div", { class: kind }, element("span", { class: "name" }, label, ...hint), ...(own ? [own] : []));
  made.dataset["name"] = field.name.toLowerCase();
  return made;
}

function control(field: Field, index: number): Control {
  const id = { id: `field-${index}`, autocomplete: "off", spellcheck: "false", "aria-describedby": "error" };
  if (field.kind === "truth") return element("input", { ...id, type: "checkbox", role: "switch" });
  if (field.choices.length > 0 && field.choices.length <= MAX_OPTIONS) {
    const select = element("select", id, ...field.choices.map((choice) => option(choice)));
    return select;
  }
  if (field.kind === "text" && field.choices.length === 0) return element("textarea", { ...id, rows: "1", dir: "auto", class: "prose" });
  if (field.kind === "nested") {
    const [first = 1, ...others] = field.array.shape;
    const isMatrix = others.length > 0 && first !== 1;
    const lines = isMatrix && first > 0 ? Math.max(2, Math.min(12, first)) : 6;
    // The rows of a matrix stay on lines of their own.
    return element("textarea", { ...id, rows: String(lines), ...(isMatrix ? { wrap: "off" } : {}) });
  }
  const typed = { ...id, type: "text", dir: "auto", inputmode: field.kind === "number" ? "decimal" : field.kind === "whole" ? "numeric" : "text" };
  return element("input", typed);
}

const option = (value: string): HTMLOptionElement => element("option", { value }, value === "" ? NO_CHOICE : value);

/** A value that the model does not know can be sent too. */
function offer(select: HTMLSelectElement, value: string): void {
  if (![...select.options].some((own) => own.value === value)) select.append(option(value));
}
