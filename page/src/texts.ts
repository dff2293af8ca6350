// Texts for a model that takes them, and the vectors that it answers.

import { byId, element } from "./dom.ts";
import type { TextModel } from "./model.ts";

const MAX_VECTORS = 100;
const STRIP_HEIGHT = 28;

export function describeTexts({ tokenizer, max_tokens, truncate, pooling, dimensions, normalize, labels }: TextModel): string {
  const vector = dimensions === undefined ? [] : [`pooling ${pooling}`, `${dimensions} dimensions${normalize ? ", normalized" : ""}`];
  const named = labels && labels.length > 0 ? [`labels ${labels.join(", ")}`] : [];
  return [`${max_tokens} tokens at most (${tokenizer}), cut: ${truncate}`, ...vector, ...named].join("; ");
}

/** One text a line, or a JSON list where texts have line breaks of their own. */
export function readTexts(typed: string): string[] {
  try {
    const list: unknown = JSON.parse(typed);
    if (Array.isArray(list) && list.length > 0 && list.every((text) => typeof text === "string")) return list;
  } catch {
    // Lines, then.
  }
  const lines = typed.split(/\r?\n/).filter((line) => line.trim() !== "");
  return lines.length > 0 ? lines : [""];
}

export function writeTexts(texts: string[]): string {
  return texts.some((text) => text.includes("\n")) ? JSON.stringify(texts) : texts.join("\n");
}

/** The texts of a file: of JSON lines the member `text` or the string, else its lines. */
export function textsOfFile(content: string): string[] {
  const lines = content.split(/\r?\n/).filter((line) => line.trim() !== "");
  return lines.map((line) => {
    try {
      const value: unknown = JSON.parse(line);
      if (typeof value === "string") return value;
      const text = Object(value)["text"];
      return typeof text === "string" ? text : line;
    } catch {
      return line;
    }
  });
}

/** Compared with the first of the next answer. */
let last: number[] | null = null;

export function forgetVectors(): void {
  last = null;
}

const norm = (vector: number[]): number => Math.sqrt(vector.reduce((sum, number) => sum + number * number, 0));

function cosine(one: number[], other: number[]): number | null {
  const product = one.reduce((sum, number, index) => sum + number * (other[index] ?? 0), 0);
  const length = norm(one) * norm(other);
  return one.length === other.length && length > 0 ? product / length : null;
}

/** What else is told of each text. */
export interface TextFacts {
  texts: string[] | null;
  /** What one is where there is no text. */
  noun: string;
  tokens: unknown[];
  truncated: unknown[];
}

export function showVectors(rows: number[][], { texts, noun, tokens, truncated }: TextFacts): void {
  const items = rows.slice(0, MAX_VECTORS).map((vector, row) => {
    const before = rows[row - 1] ?? last;
    const near = before ? cosine(vector, before) : null;
    const facts: Node[] = [
      fact("dimensions", String(vector.length)),
      fact("norm", norm(vector).toFixed(4)),
      ...(tokens[row] === undefined ? [] : [fact("tokens", String(tokens[row]))]),
      ...(truncated[row] === true ? [element("span", { class: "badge" }, "cut to the model's limit")] : []),
    ];
    const name = element("bdi", { class: "text" }, texts?.[row] ?? `${noun} ${row + 1}`);
    return element("li", {}, name, strip(vector), element("div", { class: "facts" }, ...facts, ...(near === null ? [] : [nearness(near)])));
  });
  const more = rows.length - MAX_VECTORS;
  if (more > 0) items.push(element("li", { class: "quiet" }, `and ${more.toLocaleString("en")} more`));
  byId("vectors").replaceChildren(...items);
  last = rows.at(-1) ?? last;
}

const fact = (name: string, value: string): HTMLElement => element("span", {}, `${name} `, element("b", {}, value));

/** How near it is to the one before, as a number and as a bar. */
function nearness(cosine: number): HTMLElement {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${Math.max(0, Math.min(1, cosine)) * 100}%`;
  const bar = element("span", { class: "track small", "aria-hidden": "true" }, fill);
  return element("span", { class: "near" }, "cosine to the one before ", element("b", {}, cosine.toFixed(4)), bar);
}

/** A stripe for each number: one colour for those above 0, another below, stronger the further from it. */
function strip(vector: number[]): HTMLCanvasElement {
  const known = vector.filter(Number.isFinite);
  const least = known.reduce((a, b) => Math.min(a, b), Infinity);
  const most = known.reduce((a, b) => Math.max(a, b), -Infinity);
  const label = `Numbers from ${least.toPrecision(3)} to ${most.toPrecision(3)}`;
  const canvas = element("canvas", { class: "strip", role: "img", "aria-label": label });
  canvas.width = vector.length;
  canvas.height = STRIP_HEIGHT;
  const context = canvas.getContext("2d");
  const largest = Math.max(-least, most) || 1;
  vector.forEach((number, index) => {
    if (!context) return;
    context.fillStyle = `hsl(${number < 0 ? 24 : 244} 85% 60% / ${Math.abs(number) / largest || 0})`;
    context.fillRect(index, 0, 1, STRIP_HEIGHT);
  });
  return canvas;
}
