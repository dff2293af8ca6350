// What test_npm.py says of the server under test, and comparisons.

import assert from "node:assert/strict";

export const { MODEL, ROOT, TASKS } = process.env;
export const SCORE = `${ROOT}/api/score`;
export const OPENAI = `${SCORE}/v1`;

export const TEXTS = ["The ferry leaves at noon.", "käse 🧀", "NUL \0 in it", "e\u0301 \u202e שלום", "line\nbreak\r\n", "the cat"];

/** By the plainest route, which other tests hold to what onnxruntime gives in Python. */
export async function vectors(texts) {
  const body = JSON.stringify({ data: texts });
  const answer = await fetch(`${SCORE}/${MODEL}`, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.equal(answer.status, 200);
  return answer.json();
}

/** As float32, in which base64 and decimal digits are the same numbers. */
const bits = (rows) => rows.map((row) => [...Float32Array.from(row)]);

export function same(found, expected) {
  assert.deepEqual(bits(found), bits(expected));
}

export function norm(vector) {
  return Math.hypot(...vector);
}
