// Rows to begin with: those that came with the model, and one made from its signature.

import { zeros } from "./arrays.ts";
import { element } from "./dom.ts";
import { type Field, type Values, cellsOf, rowsOf, write } from "./fields.ts";
import { isObject } from "./json.ts";
import type { Model } from "./model.ts";

const MAX_SAMPLES = 12;
const MAX_CHARACTERS = 60;

/** The samples that came with the model, as cells of a form. */
export function sampleRows(model: Model, fields: Field[]): string[][] {
  return (model.samples ?? []).slice(0, MAX_SAMPLES).map((sample) => cellsOf(fields, sample));
}

/** The samples of a model that takes texts. */
export function sampleTexts(model: Model): string[] {
  const texts = (model.samples ?? []).map((sample) => {
    const own: unknown = isObject(sample) ? Object.values(sample)[0] : sample;
    return Array.isArray(own) ? own[0] : own;
  });
  return texts.filter((text): text is string => typeof text === "string").slice(0, MAX_SAMPLES);
}

/** What a form begins with. */
export function firstRow(fields: Field[], values: Values | null): string[] {
  const empty = { number: "0", whole: "0", truth: "false", text: "" };
  const [row] = (values && rowsOf(fields, values)) ?? [];
  return fields.map((field, index) => {
    const cell = row?.[index] ?? (field.kind === "nested" ? write(field, zeros(field.array)) : empty[field.kind]);
    const isKnown = field.choices.length === 0 || field.choices.includes(cell);
    return isKnown ? cell : (field.choices[0] ?? cell);
  });
}

/** A button for each sample, that says how it begins. */
export function sampleButtons<T>(samples: T[], words: (sample: T) => string, chosen: (sample: T) => void): HTMLElement[] {
  return samples.map((sample, index) => {
    const text = words(sample);
    const label = text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS)}…` : text;
    const button = element("button", { type: "button", title: text.slice(0, 400) }, element("bdi", {}, label || `Sample ${index + 1}`));
    button.addEventListener("click", () => chosen(sample));
    return button;
  });
}
