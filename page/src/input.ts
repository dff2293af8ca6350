// What is to be sent: drawn, typed into a form or a table, written as texts or as a request, or a file.

import { nest, rowsIn } from "./arrays.ts";
import { type Dialect, dialectOf, memberOfAnswer, offered, pathOf, preferred, sampleValues, typeOf, write } from "./body.ts";
import { byId, element, fillSelect, show } from "./dom.ts";
import { Board, preview } from "./drawing.ts";
import { type Field, type Values, WrongCell, checkSwitches, fieldsOf, rowCount, takesSeveralRows, valuesOf } from "./fields.ts";
import { contentType, isNumbersFile, isTextFile, pickable, startOf, takeDrops } from "./files.ts";
import { Form } from "./form.ts";
import { Grid } from "./grid.ts";
import type { Model } from "./model.ts";
import { takePastes } from "./paste.ts";
import { type Grey, scale, toValues } from "./picture.ts";
import { firstRow, sampleButtons, sampleRows, sampleTexts } from "./samples.ts";
import { QUERY, TEXT, taskOf } from "./text_forms.ts";
import { readTexts, textsOfFile, writeTexts } from "./texts.ts";

/** Larger pictures are too much for an editor; they can be sent as files. */
const MAX_DRAWN_SIDE = 64;
/** MNIST's size, whose pictures are prepared in a way of their own. */
const MNIST_SIDE = 28;

const MODES = {
  draw: ["Draw", "drawing"],
  picture: ["Picture", "picture"],
  texts: ["Texts", "writing"],
  form: ["Form", "form"],
  table: ["Table", "rows"],
  body: ["Request", "writing-body"],
} as const;
export type Mode = keyof typeof MODES;

/** A request as it goes out. */
export interface Outgoing {
  path: string;
  type: string;
  body: string | File;
  /** The member of the answer that holds the results. */
  under: string | null;
  /** What was asked for, if it was written as texts. */
  texts: string[] | null;
  /** The values, unless they stand in a file or a typed body. */
  values: Values | null;
  /** How many rows that is; null where the server alone knows. */
  rows: number | null;
  /** In a few words. */
  short: string;
}

export class Input {
  private model: Model | null = null;
  private fields: Field[] = [];
  private mode: Mode = "body";
  private values: Values | null = null;
  private drawn: Values | null = null;
  private attached: File | null = null;
  /** What was typed, or read from a file, in a dialect: no other one writes over it. */
  private readonly typed = new Map<Dialect, string>();
  private readonly board = new Board((grey) => this.draw(grey));
  private readonly form = new Form(() => this.edited());
  private readonly grid = new Grid(() => this.edited());
  private readonly body = byId<HTMLTextAreaElement>("body");
  private readonly texts = byId<HTMLTextAreaElement>("texts");
  private readonly query = byId<HTMLTextAreaElement>("query");
  private readonly dialect = byId<HTMLSelectElement>("dialect");
  private readonly file = byId<HTMLInputElement>("file");

  /** `changed` is called when something else would be sent, `complete` when it was chosen as a whole. */
  constructor(
    private readonly changed: () => void,
    private readonly complete: (soon: boolean) => void,
  ) {
    for (const own of [this.texts, this.query]) own.addEventListener("input", () => this.edited());
    this.body.addEventListener("input", () => {
      this.typed.set(this.chosen, this.body.value);
      this.changed();
    });
    this.dialect.addEventListener("change", () => {
      this.detach();
      this.writeBody();
    });
    byId("sample").addEventListener("click", () => this.useSample());
    this.file.addEventListener("change", () => {
      const [chosen] = this.file.files ?? [];
      if (chosen) void this.attach(chosen);
    });
    byId("detach").addEventListener("click", () => {
      this.detach();
      this.changed();
      byId("send").focus();
    });
    takeDrops(byId("request"), (dropped) => void this.attach(dropped));
    takePastes(this.grid, () => this.fields, (rows, note) => this.take(rows, note));
  }

  present(model: Model, accepted: string[]): void {
    this.model = model;
    this.mode = "body";
    this.fields = fieldsOf(model) ?? [];
    this.typed.clear();
    this.drawn = null;
    this.values = sampleValues(model);
    fillSelect(this.dialect, offered(model, accepted).map((name) => [name, name]), preferred(model));
    this.form.build(this.fields);
    this.grid.build(this.fields);
    this.board.clear();
    if (model.picture && isDrawn(model)) this.see(null);
    const samples = sampleRows(model, this.fields);
    const row = samples[0] ?? firstRow(this.fields, this.values);
    this.form.row = row;
    this.grid.set([row]);
    this.texts.value = sampleTexts(model)[0] ?? "";
    this.query.value = "";
    byId("query-part").hidden = taskOf(model) !== "rerank";
    this.offerSamples(model, samples);
    this.file.accept = pickable(accepted, model, holdsArray(model, this.fields));
    byId("hint").textContent = hint(accepted, model, this.fields);
    this.show(modesOf(model, this.fields)[0] ?? "body");
  }

  /**
   * What is to be sent now.
   *
   * Throws, in words for people, if it cannot be.
   */
  outgoing(): Outgoing {
    const { model, attached } = this;
    if (!model) throw new Error("No model.");
    if (attached) {
      const path = pathOf("Azure ML: data", model);
      return { path, type: contentType(attached), body: attached, under: null, texts: null, values: null, rows: null, short: attached.name };
    }
    if (this.mode === "picture") throw new Error("Choose a picture first, or drop one here.");
    const [dialect, typed] = [this.chosen, this.mode === "body" ? this.typed.get(this.chosen) : undefined];
    const call = { path: pathOf(dialect, model), type: typeOf(dialect), under: memberOfAnswer(dialect) };
    if (typed !== undefined) return { ...call, body: typed, texts: null, values: null, rows: null, short: typed.trim().replace(/\s+/g, " ") };
    const values = this.mode === "body" ? this.values : this.read();
    const body = values && write(dialect, model, values);
    if (values === null || body === null) throw new Error("There is nothing to send yet; write a request.");
    const texts = taskOf(model) ? (values[TEXT] as string[]) : null;
    return { ...call, body, texts, values, rows: rowCount(model, this.fields, values), short: this.words(values, texts) };
  }

  /** Points to what cannot be sent. */
  mark(error: unknown): void {
    const wrong = error instanceof WrongCell ? error : null;
    this.form.mark(wrong && this.mode === "form" ? wrong.field : null);
    this.grid.mark(wrong && this.mode === "table" ? wrong.row : null, wrong?.field);
    if (wrong && this.mode === "form") this.form.focus(wrong.field);
  }

  /** A way back to what is to be sent now. */
  remember(): () => void {
    const { mode, attached, drawn } = this;
    const [row, rows, dialect] = [this.form.row, this.grid.rows.map((own) => [...own]), this.chosen];
    const [texts, query] = [this.texts.value, this.query.value];
    const typed = mode === "body" ? (this.typed.get(dialect) ?? this.body.value) : null;
    return () => {
      this.detach();
      this.form.row = row;
      this.grid.set(rows.map((own) => [...own]));
      [this.texts.value, this.query.value, this.drawn, this.dialect.value] = [texts, query, drawn, dialect];
      this.show(mode);
      if (typed !== null) this.type(dialect, typed);
      if (attached) void this.attach(attached);
      else this.complete(false);
    };
  }

  private get chosen(): Dialect {
    return this.dialect.value as Dialect;
  }

  private show(mode: Mode): void {
    const modes = this.model ? modesOf(this.model, this.fields) : [];
    if (mode === "body" && this.mode !== "body") this.keep();
    if (mode !== "body") this.typed.clear();
    this.mode = mode;
    const tabs = modes.map((own) => {
      const tab = element("button", { type: "button", "aria-pressed": String(own === mode) }, MODES[own][0]);
      tab.addEventListener("click", () => {
        this.detach();
        // One row goes along.
        if (own === "table" && this.mode === "form" && this.grid.rows.length === 1) this.grid.set([this.form.row]);
        this.show(own);
        byId("modes").querySelector<HTMLElement>("[aria-pressed=true]")?.focus();
      });
      return tab;
    });
    byId("modes").replaceChildren(...tabs);
    byId("modes").hidden = tabs.length < 2;
    for (const own of Object.keys(MODES) as Mode[]) byId(MODES[own][1]).hidden = own !== mode || this.attached !== null;
    byId("samples-part").hidden = mode === "body" || byId("samples").childElementCount === 0;
    byId("hint").hidden = mode === "body";
    show(byId("note"), null);
    if (mode === "body") this.writeBody();
    else this.changed();
  }

  /** Takes what the editors say into the request, as far as they can be read. */
  private keep(): void {
    try {
      this.values = this.read();
    } catch {
      this.values = this.model && sampleValues(this.model);
    }
  }

  private read(): Values | null {
    const { model, mode } = this;
    if (!model) return null;
    if (mode === "draw") return this.drawn ?? sampleValues(model);
    if (mode === "texts") {
      const query = taskOf(model) === "rerank" ? { [QUERY]: [this.query.value] } : {};
      return { ...query, [TEXT]: readTexts(this.texts.value) };
    }
    return valuesOf(this.fields, mode === "table" ? this.grid.rows : [this.form.row]);
  }

  private words(values: Values, texts: string[] | null): string {
    if (values[QUERY] && texts) return `${values[QUERY]}: ${texts.length} texts`;
    if (texts) return texts.length > 1 ? `${texts.length} texts: ${texts[0]}` : (texts[0] ?? "");
    if (this.mode === "draw") return "a drawing";
    if (this.mode === "table" && this.grid.rows.length > 1) return `${this.grid.rows.length} rows`;
    const [row = []] = this.mode === "table" ? this.grid.rows : [this.form.row];
    return this.mode === "body" ? Object.keys(values).join(", ") : row.join(", ");
  }

  private edited(): void {
    show(byId("note"), null);
    this.mark(null);
    this.changed();
  }

  private writeBody(): void {
    const { model, values } = this;
    if (!model) return;
    const written = values ? (write(this.chosen, model, values) ?? "") : "";
    this.body.value = this.typed.get(this.chosen) ?? written;
    this.body.placeholder = values ? "" : "The model's rows are too large for a sample.";
    this.changed();
  }

  private useSample(): void {
    this.detach();
    this.values = this.model && sampleValues(this.model);
    this.typed.delete(this.chosen);
    this.writeBody();
  }

  private type(dialect: Dialect, text: string): void {
    this.dialect.value = dialect;
    this.typed.set(dialect, text);
    this.writeBody();
  }

  private offerSamples(model: Model, rows: string[][]): void {
    const buttons = taskOf(model)
      ? sampleButtons(sampleTexts(model), (text) => text, (text) => {
          this.texts.value = text;
          this.edited();
          this.complete(false);
        })
      : sampleButtons(isDrawn(model) ? [] : rows, (row) => row.join(", "), (row) => this.takeSample(row));
    byId("samples").replaceChildren(...buttons);
  }

  private takeSample(row: string[]): void {
    if (this.mode === "table") this.grid.add(row);
    else this.form.row = row;
    this.edited();
    this.complete(false);
  }

  private take(rows: string[][], note: string): void {
    const isOne = rows.length === 1 && this.mode === "form";
    if (!isOne && this.model && !takesSeveralRows(this.model)) throw new Error("The model takes one row at a time.");
    if (isOne) {
      const [row = []] = rows;
      checkSwitches(this.fields, row);
      this.form.row = row;
    }
    else {
      this.grid.set(rows);
      this.show("table");
    }
    this.edited();
    show(byId("note"), note === "" ? null : note);
  }

  /** Numbers of a file, as if they were pasted. */
  private takeArray(field: Field, text: string): void {
    const rows = rowsIn(text, field.array);
    this.take((rows ?? [text.trim()]).map((row) => [row]), "");
    if (!rows) this.show("form");
  }

  private draw(grey: Grey | null): void {
    const { model } = this;
    const [input] = model?.inputs ?? [];
    if (!model?.picture || !input) return;
    const picture = this.see(grey);
    this.drawn = { [input.name]: nest(toValues(picture, model.picture, input.datatype), model.picture.shape) };
    this.detach();
    this.show("draw");
    if (grey) this.complete(true);
  }

  /** What the model gets of a drawing. */
  private see(grey: Grey | null): Grey {
    const { width = 0, height = 0, channels } = this.model?.picture ?? {};
    const asMnist = channels === 1 && width === MNIST_SIDE && height === MNIST_SIDE;
    const picture = grey ? scale(grey, width, height, asMnist) : { width, height, shades: new Float64Array(width * height) };
    preview(picture);
    return picture;
  }

  private async attach(chosen: File): Promise<void> {
    this.detach();
    const asked = this.model;
    const type = contentType(chosen);
    const array = asked && holdsArray(asked, this.fields) ? arrayOf(this.fields, chosen) : null;
    const isRead = type === "application/json" || array !== null || (isTextFile(chosen) && asked !== null && taskOf(asked) !== null);
    const text = isRead ? await chosen.text() : "";
    const start = isRead ? null : await startOf(chosen);
    if (asked === null || asked !== this.model) return;
    if (type === "application/json") {
      this.show("body");
      this.type(dialectOf(text), text);
    } else if (array) {
      this.takeArray(array, text);
    } else if (isRead) {
      this.texts.value = writeTexts(textsOfFile(text));
      this.show("texts");
    } else this.hold(chosen, type, start);
    this.complete(false);
  }

  /** Shows the file that is sent as it is. */
  private hold(chosen: File, type: string, start: string | null): void {
    this.attached = chosen;
    byId("attached-name").textContent = `${chosen.name}, ${type}, ${chosen.size.toLocaleString("en")} bytes`;
    show(byId("attached-start"), start);
    byId("attached").hidden = false;
    for (const own of Object.keys(MODES) as Mode[]) byId(MODES[own][1]).hidden = true;
    const picture = byId<HTMLImageElement>("preview");
    if (type.startsWith("image/")) {
      picture.classList.toggle("small", this.model !== null && isDrawn(this.model));
      picture.src = URL.createObjectURL(chosen);
      picture.hidden = false;
    }
    this.changed();
  }

  private detach(): void {
    this.attached = null;
    this.file.value = "";
    const picture = byId<HTMLImageElement>("preview");
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.removeAttribute("src");
    picture.hidden = true;
    byId("attached").hidden = true;
    byId(MODES[this.mode][1]).hidden = false;
  }
}

function isDrawn({ picture }: Model): boolean {
  return picture !== undefined && Math.max(picture.width, picture.height) <= MAX_DRAWN_SIDE;
}

/** Whether there is one field, of numbers. */
function holdsArray(model: Model, [field, ...others]: Field[]): boolean {
  return !taskOf(model) && !model.picture && field?.kind === "nested" && others.length === 0;
}

/** The field that a file of numbers is for; null if the server reads the lines itself. */
function arrayOf([field]: Field[], file: File): Field | null {
  const isTable = field?.array.shape.length === 1 && !field.isWhole && contentType(file) === "text/csv";
  return field && isNumbersFile(file) && !isTable ? field : null;
}

function modesOf(model: Model, fields: Field[]): Mode[] {
  if (taskOf(model)) return ["texts", "body"];
  if (model.picture) return [isDrawn(model) ? "draw" : "picture", "body"];
  if (fields.length === 0) return ["body"];
  return takesSeveralRows(model) ? ["form", "table", "body"] : ["form", "body"];
}

function hint(accepted: string[], model: Model, fields: Field[]): string {
  const isArray = holdsArray(model, fields);
  const ends = pickable(accepted, model, isArray).replaceAll(".", "").split(",").filter((end) => end !== "");
  const takesRows = fields.length > 0 && takesSeveralRows(model) && !taskOf(model) && !model.picture;
  const pasted = isArray ? "Paste numbers from a spreadsheet or a notebook, or drop" : takesRows ? "Paste rows from a spreadsheet, or drop" : "Drop";
  return ends.length > 0 ? `${pasted} a file here: ${ends.join(", ")}` : "";
}
