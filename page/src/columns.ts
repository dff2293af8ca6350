// What came back, whichever the dialect: outputs with a value for each row.

import { isObject, parse } from "./json.ts";
import type { Model } from "./model.ts";

/** One output: a value for each row. */
export interface Column {
  name: string;
  rows: unknown[];
}

/** The answer as JSON, or as the text that it is. */
export function readDocument(text: string): unknown {
  try {
    return parse(text);
  } catch {
    return text;
  }
}

/** All dialects come down to columns of rows. */
export function readColumns(document: unknown, outputs: string[], under: string | null): Column[] {
  if (isObject(document)) {
    if (isEmbeddings(document)) return [{ name: "embedding", rows: document.data.map(({ embedding }) => embedding) }];
    if (isOpenInference(document["outputs"])) return document["outputs"].map(openInferenceColumn);
    // An output may be called as a wrapper is; then all outputs are here, and nothing is wrapped.
    const isBare = outputs.every((name) => Object.hasOwn(document, name));
    const [wrapped] = [under, "Results", "predictions"].filter((name) => name !== null && Object.hasOwn(document, name));
    if (wrapped && (wrapped === under || !isBare)) return readColumns(document[wrapped], outputs, null);
    return Object.entries(document).map(([name, rows]) => ({ name, rows: Array.isArray(rows) ? rows : [rows] }));
  }
  const isRow = (value: unknown) => isObject(value) && Object.keys(value).every((name) => outputs.includes(name));
  if (Array.isArray(document) && document.length > 0 && document.every(isRow)) {
    return outputs.map((name) => ({ name, rows: document.map((row) => row[name]) }));
  }
  const rows = Array.isArray(document) ? document : [document];
  const [only = "result", ...others] = outputs;
  const isScored = rows.length > 0 && rows.every((row) => scored(row) !== row);
  return [{ name: isScored ? "scores" : others.length === 0 ? only : "result", rows }];
}

/**
 * The columns of an answer to so many rows, if that is known. An output that has another number of them is one value: a
 * sequence, or what a model without rows answers. Numbers that JSON cannot write come as words, and become numbers.
 */
export function columnsFor(columns: Column[], rows: number | null, model: Model): Column[] {
  return columns.map(({ name, rows: own }) => {
    const isText = model.outputs.some((output) => output.name === name && output.datatype === "BYTES");
    const read = isText ? own : own.map(withWords);
    return { name, rows: rows === null || own.length === rows ? read : [read] };
  });
}

const WORDS: Record<string, number> = { NaN: Number.NaN, Infinity, "-Infinity": -Infinity };

function withWords(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withWords);
  if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([name, own]) => [name, withWords(own)]));
  return typeof value === "string" ? (WORDS[value] ?? value) : value;
}

function isEmbeddings(document: Record<string, unknown>): document is { data: { embedding: unknown }[] } {
  const { object, data } = document;
  return object === "list" && Array.isArray(data) && data.every((item) => isObject(item) && "embedding" in item);
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

/** Numbers that are drawn as bars: one for each class. */
export interface Bars {
  name: string;
  /** Names of their own, where the output has them. */
  names: string[] | null;
  values: number[];
  areShares: boolean;
}

/** An output whose row is a list of numbers, a map to numbers, or the best of its classes with their scores. */
export function readBars({ name, rows }: Column, row: number): Bars | null {
  const own = scored(rows[row]);
  const names = isObject(own) ? Object.keys(own) : null;
  const values = isObject(own) ? Object.values(own) : own;
  if (!Array.isArray(values) || values.length < 2) return null;
  if (!values.every((value) => typeof value === "number")) return null;
  const sum = values.reduce((total, value) => total + value, 0);
  const areShares = values.every((value) => value >= 0) && Math.abs(sum - 1) < 0.01;
  return { name, names, values, areShares };
}

/** `[{"label": "cat", "score": 0.9}]`, or the words of a sparse vector, as a map; anything else as it is. */
function scored(row: unknown): unknown {
  if (!Array.isArray(row) || row.length === 0) return row;
  const pairs = row.map((item) => {
    if (!isObject(item)) return null;
    if ("label" in item && typeof item["score"] === "number") return [String(item["label"]), item["score"]];
    return "index" in item && typeof item["value"] === "number" ? [`word ${item["index"]}`, item["value"]] : null;
  });
  return pairs.every((pair) => pair !== null) ? Object.fromEntries(pairs) : row;
}

/** The rows of an output that are lists of numbers, if all are. */
export function readVectors(columns: Column[]): number[][] | null {
  const isVector = (row: unknown): row is number[] => Array.isArray(row) && row.every((value) => typeof value === "number");
  const rows = columns.find(({ rows: [first] }) => isVector(first))?.rows ?? [];
  return rows.length > 0 && rows.every(isVector) ? rows : null;
}
