// The answer: what it says, as bars, vectors or a table; its times; and as it came.

import { shapeOf } from "./arrays.ts";
import { type Bars, type Column, columnsFor, readBars, readColumns, readDocument, readVectors } from "./columns.ts";
import { byId, element, show } from "./dom.ts";
import { Exact, isObject, stringify } from "./json.ts";
import type { Model } from "./model.ts";
import { showTable } from "./results.ts";
import { showEntities, showRanking } from "./readings.ts";
import { readEntities, readRanking } from "./text_forms.ts";
import { showVectors } from "./texts.ts";
import { showTimes } from "./times.ts";

export interface Answered {
  text: string;
  headers: Headers;
  /** From sending to the last byte, seen from here. */
  milliseconds: number;
  /** The member that holds the results in the dialect of the request. */
  under: string | null;
  /** What was asked for, if it was written as texts. */
  texts: string[] | null;
  /** How many rows were sent; null if the page does not know. */
  rows: number | null;
}

/** What is remembered of an answer. */
export interface Told {
  label: string;
  cache: string | null;
}

/** Longer lists without names are vectors rather than classes. */
const MAX_CLASSES = 100;
/** From so many classes on, only the first are shown. */
const MANY_CLASSES = 12;
const FIRST_CLASSES = 10;
/** Of a longer text, or a list written as one, the beginning is shown. */
const MAX_CHARACTERS = 1000;

/** Shows it, and tells what it said. */
export function showAnswer(model: Model, answered: Answered): Told {
  const { text, headers, milliseconds, under } = answered;
  const document = readDocument(text);
  const columns = columnsFor(readColumns(document, model.answers_with, under), answered.texts ? null : answered.rows, model);
  const count = Math.max(0, ...columns.map(({ rows }) => rows.length));
  const cache = headers.get("x-cache");
  emptyAnswer();
  const reading = showReading(model, document, columns, answered);
  const label = reading ?? showRow(model, columns, count, 0);
  if (reading === null && count > 1) {
    const named = answered.texts ? [{ name: "text", rows: answered.texts }, ...columns] : columns;
    const chosen = (row: number): void => void showRow(model, columns, count, row);
    showTable(named, (column, row) => inShort(model, column, row), chosen);
  }
  if (reading !== null) headline(label);
  showFacts(cache, `${counted(answered.rows ?? count, "row")}, ${milliseconds.toFixed(1)} ms`, headers.get("x-truncated"));
  showTimes(headers.get("server-timing"), milliseconds);
  byId("raw").textContent = text;
  byId("raw-part").hidden = false;
  return { label: reading === null && count > 1 ? firstLabels(model, columns, count) : label, cache };
}

/** Vectors, rankings and entities have views of their own; tells what is seen, or null if it is none of these. */
function showReading(model: Model, document: unknown, columns: Column[], { texts }: Answered): string | null {
  const ranking = readRanking(document);
  if (ranking) {
    showRanking(ranking, texts);
    return counted(ranking.length, "text");
  }
  const entities = model.text?.task === "tag" ? readEntities(document) : null;
  if (entities) {
    showEntities(entities, texts);
    const found = entities.flat().length;
    return found === 1 ? "1 entity" : `${found.toLocaleString("en")} entities`;
  }
  const vectors = vectorsOf(model, columns);
  if (!vectors) return null;
  const named = (name: string) => columns.find((column) => column.name === name)?.rows ?? tokensOf(document, name);
  showVectors(vectors, { noun: model.text ? "text" : "row", texts, tokens: named("tokens"), truncated: named("truncated") });
  return counted(vectors.length, "vector");
}

/** What the answer says first, and which of several outputs says it. */
function headline(label: string, output = ""): void {
  byId("label-of").textContent = output;
  byId("label").textContent = label;
  byId("label").classList.toggle("long", label.length > 24);
}

const FIRST_LABELS = 3;

function firstLabels(model: Model, columns: Column[], count: number): string {
  const labels = Array.from({ length: Math.min(count, FIRST_LABELS) }, (_, row) => labelOf(model, columns, row, barsOf(columns, row)));
  return labels.join(", ") + (count > FIRST_LABELS ? ` and ${count - FIRST_LABELS} more` : "");
}

const counted = (count: number, noun: string): string => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** No answer, and why: none stays beside an error that came after it. */
export function clearAnswer(why = "Nothing sent yet."): void {
  emptyAnswer();
  headline("");
  byId("answer-state").textContent = why;
  byId("answer").classList.add("empty");
}

function emptyAnswer(): void {
  for (const id of ["bars", "table", "vectors", "ranking", "spans", "outputs", "timing", "reading", "marks"]) byId(id).replaceChildren();
  byId("table").hidden = true;
  byId("raw-part").hidden = true;
  byId("answer-state").textContent = "";
  byId("answer").classList.remove("empty");
}

/** The rows as vectors, for embeddings and for other lists that are too long for bars. */
function vectorsOf(model: Model, columns: Column[]): number[][] | null {
  const rows = readVectors(columns);
  if (!rows || model.labels) return null;
  const isLong = (rows[0]?.length ?? 0) > MAX_CLASSES;
  return model.text?.task === "embedding" || (isLong && columns.length === 1) ? rows : null;
}

/** OpenAI's form tells the tokens of all texts together. */
function tokensOf(document: unknown, name: string): unknown[] {
  const usage = isObject(document) ? document["usage"] : null;
  const data = isObject(document) ? document["data"] : null;
  const isOne = Array.isArray(data) && data.length === 1;
  return name === "tokens" && isOne && isObject(usage) ? [usage["prompt_tokens"]] : [];
}

/** Shows one row of the answer, and tells what it says in a word. */
function showRow(model: Model, columns: Column[], count: number, row: number): string {
  const bars = barsOf(columns, row);
  const scalar = columns.find(({ rows }) => scalarOf(rows[row]) !== undefined);
  const label = labelOf(model, columns, row, bars);
  headline(label, columns.length > 1 ? scalar?.name : undefined);
  byId("reading").replaceChildren(element("strong", {}, label));
  showBars(model, bars, count > 1 ? `row ${row + 1}` : "");
  const drawn = new Set([bars?.name, scalar?.name]);
  const rest = columns.filter(({ name, rows }) => !drawn.has(name) && rows.length > row);
  byId("outputs").replaceChildren(
    ...rest.flatMap((column) => [element("dt", {}, column.name), element("dd", { dir: "auto" }, cellText(model, column, row))]),
  );
  return label;
}

/** What is drawn as bars: shares rather than other numbers. */
function barsOf(columns: Column[], row: number): Bars | null {
  const found = columns.map((column) => readBars(column, row)).filter((bars) => bars !== null);
  return found.find(({ areShares }) => areShares) ?? found[0] ?? null;
}

function labelOf(model: Model, columns: Column[], row: number, bars: Bars | null): string {
  const scalar = columns.map(({ rows }) => scalarOf(rows[row])).find((found) => found !== undefined);
  if (scalar !== undefined) return named(model, scalar);
  if (!bars) return columns.length === 0 ? "An empty answer" : inWords(columns[0]?.rows[row]);
  if (model.text?.task === "sparse") return counted(bars.values.length, "word");
  const best = bars.values.indexOf(largestOf(bars.values));
  return bars.areShares || model.labels || bars.names ? (classNames(model, bars)[best] ?? "") : `${bars.values.length} numbers`;
}

/** What neither a word nor bars can show. */
function inWords(value: unknown): string {
  if (!Array.isArray(value)) return "Answered";
  const [length = 0, ...inner] = shapeOf(value);
  if (length === 0) return "Empty";
  return inner.length > 0 ? counted(length, "item") : counted(length, "value");
}

/** Numbers that are none are not the largest. */
const largestOf = (values: number[]): number => values.reduce((most, value) => (value > most ? value : most), -Infinity);

type Scalar = number | string | boolean | Exact;

/** A row's one value; undefined if it has several. */
function scalarOf(value: unknown): Scalar | undefined {
  const only: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value;
  const isScalar = typeof only === "number" || typeof only === "string" || typeof only === "boolean" || only instanceof Exact;
  return isScalar ? only : undefined;
}

/** A class by its name, and numbers short enough to read. */
function named(model: Model, value: Scalar): string {
  if (value === "") return "empty text";
  if (typeof value !== "number") return cut(String(value));
  return model.labels?.[value] ?? shortNumber(value);
}

/** All of it stands in the answer as it came. */
const cut = (text: string): string => (text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS)}…` : text);

/** No digit before the point is lost. */
function shortNumber(value: number): string {
  if (Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  return String(Number(Math.abs(value) < 1000 ? value.toPrecision(5) : value.toFixed(2)));
}

/** A row in a table: of shares, only the largest. */
function inShort(model: Model, column: Column, row: number): string {
  const bars = readBars(column, row);
  if (!bars?.areShares) return cellText(model, column, row);
  const best = bars.values.indexOf(largestOf(bars.values));
  return `${classNames(model, bars)[best]} ${((bars.values[best] ?? 0) * 100).toFixed(1)} %`;
}

function cellText(model: Model, { rows }: Column, row: number): string {
  const value = rows[row];
  const scalar = scalarOf(value);
  if (scalar !== undefined) return named(model, scalar);
  if (Array.isArray(value)) return value.length === 0 ? "empty" : cut(listed(value.slice(0, MAX_CHARACTERS).map(inText), value.length));
  if (isObject(value)) return cut(Object.entries(value).map(([name, item]) => `${name}: ${inText(item)}`).join(", "));
  return value === undefined ? "" : stringify(value);
}

const listed = (shown: string[], count: number): string => shown.join(", ") + (count > shown.length ? ", …" : "");

function inText(value: unknown): string {
  if (typeof value === "number") return shortNumber(value);
  if (Array.isArray(value)) return `[${value.slice(0, MAX_CHARACTERS).map(inText).join(", ")}]`;
  return typeof value === "string" ? value : stringify(value);
}

function classNames(model: Model, { name, names, values }: Bars): string[] {
  const known = model.outputs.find((output) => output.name === name)?.labels ?? model.text?.labels ?? model.labels;
  // A map may have the numbers of classes for names.
  const numbers = names ?? values.map((_, index) => String(index));
  return numbers.map((number) => (/^\d+$/.test(number) ? known?.[Number(number)] : undefined) ?? number);
}

function showBars(model: Model, bars: Bars | null, which: string): void {
  const place = byId("bars");
  if (!bars) {
    place.replaceChildren();
    return;
  }
  const names = classNames(model, bars);
  const largest = bars.areShares ? 1 : largestOf(bars.values.map(Math.abs).filter(Number.isFinite)) || 1;
  const best = largestOf(bars.values);
  const all = bars.values.map((value, index) => ({ value, name: names[index] ?? "" }));
  const isMany = all.length >= MANY_CLASSES;
  // Numbers that are none come last.
  const sorted = isMany ? [...all].sort((a, b) => order(b.value) - order(a.value)) : all;
  const items = (count: number) =>
    sorted.slice(0, count).map(({ value, name }) => {
      const fill = element("span", { class: "fill" });
      fill.style.width = `${Math.min(1, Math.abs(value) / largest || 0) * 100}%`;
      const text = bars.areShares ? `${(value * 100).toFixed(1)} %` : shortNumber(value);
      return element(
        "li",
        value === best ? { class: "best" } : {},
        element("bdi", { class: "class" }, name),
        element("span", { class: "track", "aria-hidden": "true" }, fill),
        element("span", { class: "value" }, text),
      );
    });
  const list = element("ul", { class: "bars" }, ...items(isMany ? FIRST_CLASSES : all.length));
  place.replaceChildren(element("h3", {}, [bars.name, which].filter((part) => part !== "").join(", ")), list);
  if (!isMany) return;
  const more = element("button", { type: "button", class: "plain" }, `Show all ${all.length}`);
  more.addEventListener("click", () => {
    list.replaceChildren(...items(all.length));
    more.remove();
  });
  place.append(more);
}

const order = (value: number): number => (Number.isNaN(value) ? -Infinity : value);

function showFacts(cache: string | null, words: string, cut: string | null): void {
  const marks: Node[] = [];
  if (cache) {
    const kind = { class: cache.startsWith("HIT") ? "badge hit" : "badge" };
    marks.push(element("span", { ...kind, id: "cache", title: "The header X-Cache" }, cache));
    byId("reading").append(element("span", kind, cache));
  }
  marks.push(element("span", { class: "quiet" }, words));
  if (cut) marks.push(element("span", { class: "badge" }, `${cut} cut to the model's limit`));
  byId("marks").replaceChildren(...marks);
}

export function showError(message: string | null): void {
  show(byId("error"), message);
  const body = byId("body");
  if (message === null) body.removeAttribute("aria-invalid");
  else body.setAttribute("aria-invalid", "true");
}
