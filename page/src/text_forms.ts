// The request that people send to a text model of each task, in the form of the API that they know best for it.

import type { Values } from "./fields.ts";
import { isObject } from "./json.ts";
import type { Model } from "./model.ts";

export type TextTask = "embedding" | "sparse" | "classify" | "tag" | "rerank";

export interface TextForm {
  label: string;
  /** Below the path of all. */
  path: (model: string) => string;
  body: (model: string, values: Values) => unknown;
}

/** The inputs of a text model; the query stands alone beside the texts that are ranked for it. */
export const TEXT = "text";
export const QUERY = "query";

const texts = (values: Values): string[] => values[TEXT] as string[];
/** Each in a list of its own: two texts in one would be a pair. */
const alone = (values: Values): string[][] => texts(values).map((text) => [text]);

export const FORMS: Record<TextTask, TextForm> = {
  embedding: {
    label: "OpenAI: embeddings",
    path: () => "/v1/embeddings",
    body: (model, values) => ({ model, input: texts(values) }),
  },
  sparse: {
    label: "text-embeddings-inference: embed_sparse",
    path: (model) => `/${model}/embed_sparse`,
    body: (_, values) => ({ inputs: texts(values) }),
  },
  classify: {
    label: "text-embeddings-inference: predict",
    path: (model) => `/${model}/predict`,
    body: (_, values) => ({ inputs: alone(values) }),
  },
  tag: {
    label: "Hugging Face: token classification",
    path: (model) => `/pipeline/token-classification/${model}`,
    body: (_, values) => ({ inputs: texts(values) }),
  },
  rerank: {
    label: "text-embeddings-inference: rerank",
    path: (model) => `/${model}/rerank`,
    body: (_, values) => ({ query: (values[QUERY] as string[])[0] ?? "", texts: texts(values) }),
  },
};

/** The task of a model whose input the page writes as texts; null for tables, pictures and pairs of texts to classify. */
export function taskOf({ text, inputs }: Model): TextTask | null {
  const task = text?.task;
  if (task === "rerank") return task;
  const known = task === "embedding" || task === "sparse" || task === "classify" || task === "tag";
  return known && inputs.length === 1 ? task : null;
}

/** A text's place in a ranking. */
export interface Ranked {
  index: number;
  score: number;
}

/** Whether an answer is a ranking. */
export function readRanking(document: unknown): Ranked[] | null {
  const isRanked = (item: unknown) => isObject(item) && typeof item["index"] === "number" && typeof item["score"] === "number";
  return Array.isArray(document) && document.length > 0 && document.every(isRanked) ? document : null;
}

/** A part of a text, by code points. */
export interface Entity {
  entity_group: string;
  score: number;
  start: number;
  end: number;
}

/** For each text its entities, if an answer is that. */
export function readEntities(document: unknown): Entity[][] | null {
  const isEntity = (item: unknown) => isObject(item) && typeof item["start"] === "number" && typeof item["entity_group"] === "string";
  const isRow = (row: unknown) => Array.isArray(row) && row.every(isEntity);
  return Array.isArray(document) && document.length > 0 && document.every(isRow) ? document : null;
}
