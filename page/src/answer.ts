// The answer: headline, bars, table, times, and as it came.

import { byId, element, show } from "./dom.ts";
import type { Model } from "./model.ts";
import { type Vectors, embeds, showVectors } from "./texts.ts";

/** One output: a value for each row. */
interface Column {
  name: string;
  rows: unknown[];
}

export interface Answered {
  text: string;
  headers: Headers;
  /** From sending to the last byte, seen from here. */
  milliseconds: number;
  /** The member that holds the results in the dialect of the request. */
  under: string | null;
  /** What was asked for, if it was written as texts. */
  texts: string[] | null;
}

const MAX_TABLE_ROWS = 100;
const MAX_BARS = 100;

export function showAnswer(model: Model, { text, headers, milliseconds, under, texts }: Answered): void {
  const columns = readColumns(parse(text), model.answers_with, under);
  const vectors = embeds(model) ? readVectors(columns) : null;
  if (vectors) {
    emptyAnswer();
    const label = vectors.rows.length === 1 ? "1 vector" : `${vectors.rows.length} vectors`;
    writeHeadline(label, vectors.rows.length, headers.get("x-cache"), milliseconds);
    showVectors(vectors, texts);
    showRest(text, headers, milliseconds);
    return;
  }
  const candidates = columns.map(readBars).filter((found) => found !== null);
  const bars = candidates.find(({ areShares }) => areShares) ?? candidates[0] ?? null;
  showHeadline(model, columns, bars, headers.get("x-cache"), milliseconds);
  showBars(model, bars, columns[0]?.rows.length ?? 0);
  showTable(columns);
  showRest(text, headers, milliseconds);
}

function showRest(text: string, headers: Headers, milliseconds: number): void {
  showTiming(headers.get("server-timing"), milliseconds);
  byId("raw").textContent = text;
  byId("raw-part").hidden = false;
}

/** No answer, and why: none stays beside an error that came after it. */
export function clearAnswer(why = "Nothing sent yet."): void {
  emptyAnswer();
  byId("headline").replaceChildren(why);
}

function emptyAnswer(): void {
  for (const id of ["bars", "table", "vectors", "timing", "reading"]) byId(id).replaceChildren();
  byId("table").hidden = true;
  byId("raw-part").hidden = true;
}

/** The rows of numbers, with what else is told of them. */
function readVectors(columns: Column[]): Vectors | null {
  const isVector = (row: unknown): row is number[] => Array.isArray(row) && row.every((value) => typeof value === "number");
  const named = (name: string) => columns.find((column) => column.name === name)?.rows ?? [];
  const rows = (columns.find(({ rows: [first] }) => isVector(first))?.rows ?? []).filter(isVector);
  return rows.length > 0 ? { rows, tokens: named("tokens"), truncated: named("truncated") } : null;
}

/** Whole numbers beyond 2^53 stay as their digits, where the browser hands out the source: as numbers they were rounded. */
function parse(text: string): unknown {
  const exact = (_name: string, value: unknown, context?: { source?: string }): unknown => {
    const isRounded = Number.isInteger(value) && !Number.isSafeInteger(value);
    return isRounded && /^-?\d+$/.test(context?.source ?? "") ? context?.source : value;
  };
  try {
    return JSON.parse(text, exact);
  } catch {
    return text;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** All dialects come down to columns of rows. */
function readColumns(document: unknown, outputs: string[], under: string | null): Column[] {
  if (isObject(document)) {
    if (isOpenInference(document.outputs)) return document.outputs.map(openInferenceColumn);
    // An output may be called as a wrapper is; then all outputs are here, and nothing is wrapped.
    const isBare = outputs.every((name) => name in document);
    const [wrapped] = [under, "Results", "predictions"].filter((name) => name !== null && name in document);
    if (wrapped && (wrapped === under || !isBare)) return readColumns(document[wrapped], outputs, null);
    return Object.entries(document).map(([name, rows]) => ({ name, rows: Array.isArray(rows) ? rows : [rows] }));
  }
  const isRow = (value: unknown) => isObject(value) && Object.keys(value).every((name) => outputs.includes(name));
  if (Array.isArray(document) && document.length > 0 && document.every(isRow)) {
    return outputs.map((name) => ({ name, rows: document.map((row) => row[name]) }));
  }
  return [{ name: "result", rows: Array.isArray(document) ? document : [document] }];
}

interface OpenInferenceOutput {
  name: string;
  shape: number[];
  data?: unknown[];
}

/** Tensors with their shapes; the rows of an output that is called `outputs` are none. */
function isOpenInference(outputs: unknown): outputs is OpenInferenceOutput[] {
  const isTensor = (output: unknown) => isObject(output) && "name" in output && "datatype" in output && "shape" in output;
  return Array.isArray(outputs) && outputs.length > 0 && outputs.every(isTensor);
}

function openInferenceColumn({ name, shape, data = [] }: OpenInferenceOutput): Column {
  const count = shape[0] ?? 1;
  const perRow = shape.slice(1).reduce((product, length) => product * length, 1);
  const rows = Array.from({ length: count }, (_, row) =>
    shape.length > 1 ? data.slice(row * perRow, (row + 1) * perRow) : data[row],
  );
  return { name, rows };
}

interface Bars {
  name: string;
  /** Names of their own, where the output has them. */
  names: string[] | null;
  values: number[];
  areShares: boolean;
}

/** An output whose first row is a list of numbers, or a map to numbers. */
function readBars({ name, rows: [first] }: Column): Bars | null {
  const names = isObject(first) ? Object.keys(first) : null;
  const values = isObject(first) ? Object.values(first) : first;
  if (!Array.isArray(values) || values.length < 2 || values.length > MAX_BARS) return null;
  if (!values.every((value) => typeof value === "number")) return null;
  const sum = values.reduce((total, value) => total + value, 0);
  const areShares = values.every((value) => value >= 0) && Math.abs(sum - 1) < 0.01;
  return { name, names, values, areShares };
}

function classNames(model: Model, { names, values }: Bars): string[] {
  return names ?? values.map((_, index) => model.labels?.[index] ?? String(index));
}

function showHeadline(
  model: Model,
  columns: Column[],
  bars: Bars | null,
  cache: string | null,
  milliseconds: number,
): void {
  const [scalar] = columns.filter(({ rows: [first] }) => typeof first === "number" || typeof first === "string");
  const first = scalar?.rows[0];
  const likeliest = bars?.areShares ? classNames(model, bars)[bars.values.indexOf(Math.max(...bars.values))] : undefined;
  const label = typeof first === "number" ? (model.labels?.[first] ?? String(first)) : (first ?? likeliest ?? "answered");
  writeHeadline(String(label), columns[0]?.rows.length ?? 0, cache, milliseconds);
}

function writeHeadline(label: string, rows: number, cache: string | null, milliseconds: number): void {
  const parts: Node[] = [element("strong", { id: "label" }, label)];
  // Beside the board too, as a phone shows only one of the two.
  const beside: Node[] = [element("strong", {}, label)];
  if (cache) {
    const kind = { class: cache.startsWith("HIT") ? "badge hit" : "badge" };
    parts.push(element("span", { ...kind, id: "cache" }, `X-Cache: ${cache}`));
    beside.push(element("span", kind, cache));
  }
  byId("reading").replaceChildren(...beside);
  parts.push(element("span", { class: "quiet" }, `${rows} ${rows === 1 ? "row" : "rows"}, ${milliseconds.toFixed(1)} ms`));
  byId("headline").replaceChildren(...parts);
}

function showBars(model: Model, bars: Bars | null, rows: number): void {
  if (!bars) {
    byId("bars").replaceChildren();
    return;
  }
  const names = classNames(model, bars);
  const largest = bars.areShares ? 1 : Math.max(...bars.values.map(Math.abs)) || 1;
  const items = bars.values.map((value, index) => {
    const fill = element("span", { class: "fill" });
    fill.style.width = `${(Math.abs(value) / largest) * 100}%`;
    const text = bars.areShares ? `${(value * 100).toFixed(1)} %` : value.toPrecision(4);
    return element(
      "li",
      {},
      element("span", {}, names[index] ?? ""),
      element("span", { class: "track", "aria-hidden": "true" }, fill),
      element("span", { class: "value" }, text),
    );
  });
  const title = rows > 1 ? `${bars.name}, first of ${rows} rows` : bars.name;
  byId("bars").replaceChildren(element("h3", {}, title), element("ul", { class: "bars" }, ...items));
}

function showTable(columns: Column[]): void {
  const count = Math.max(0, ...columns.map(({ rows }) => rows.length));
  const head = element("tr", {}, ...["row", ...columns.map(({ name }) => name)].map((name) => element("th", { scope: "col" }, name)));
  const rows = Array.from({ length: Math.min(count, MAX_TABLE_ROWS) }, (_, row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, String(row)),
      ...columns.map(({ rows: values }) => element("td", {}, cellText(values[row]))),
    ),
  );
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
  const place = byId("table");
  place.replaceChildren(table);
  if (count > MAX_TABLE_ROWS) place.append(`The first ${MAX_TABLE_ROWS} of ${count} rows.`);
  place.hidden = false;
}

function cellText(value: unknown): string {
  if (Array.isArray(value)) return value.map(cellText).join(", ");
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(5)));
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

/** `decode;dur=0.17, cache;dur=0.07` as bars beside the whole round trip. */
function showTiming(header: string | null, milliseconds: number): void {
  const steps = (header ?? "").split(",").flatMap((part): [string, number][] => {
    const found = /^\s*([\w-]+);dur=([\d.]+)/.exec(part);
    return found ? [[found[1] ?? "", Number(found[2])]] : [];
  });
  const inServer = steps.reduce((sum, [, time]) => sum + time, 0);
  const elsewhere = Math.max(0, milliseconds - inServer);
  const longest = Math.max(...steps.map(([, time]) => time), 0.001);
  const items = steps.map(([name, time]) => {
    const fill = element("span", { class: "fill" });
    fill.style.width = `${(time / longest) * 100}%`;
    return element(
      "li",
      {},
      element("span", {}, name),
      element("span", { class: "track", "aria-hidden": "true" }, fill),
      element("span", { class: "value" }, `${time} ms`),
    );
  });
  const summary = `${inServer.toFixed(2)} ms in the server, ${elsewhere.toFixed(1)} ms network and page`;
  const place = byId("timing");
  if (steps.length === 0) place.replaceChildren();
  else {
    place.replaceChildren(
      element("h3", {}, "Times"),
      element("ul", { class: "bars" }, ...items),
      element("p", { class: "quiet" }, summary),
    );
  }
}

export function showError(message: string | null): void {
  show(byId("error"), message);
  const body = byId("body");
  if (message === null) body.removeAttribute("aria-invalid");
  else body.setAttribute("aria-invalid", "true");
}
