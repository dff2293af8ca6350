// What test_generators.py says of the server, and comparisons.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const baseUrl = process.env.ROOT!;
const read = (name: string) => JSON.parse(readFileSync(`${process.env.DIGITS}/${name}.json`, "utf8"));
export const digits: number[][] = read("digits").data.slice(0, 3);
export const labels: number[] = read("labels").scikit_learn.slice(0, 3);

/** The answer that the type says is there. */
export function told<T>(answer: { data?: T; error?: unknown; response?: Response }): T {
  assert.equal(answer.error, undefined, JSON.stringify(answer.error));
  assert.ok(answer.data !== undefined, `status ${answer.response?.status}`);
  return answer.data;
}
