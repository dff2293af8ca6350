// The types of openapi-typescript with openapi-fetch.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";

import { baseUrl, digits, labels, told } from "./expected.js";
import type { paths } from "./schema.js";

const client = createClient<paths>({ baseUrl });

const scored: number[] = told(await client.POST("/api/score/mnist", { body: { data: digits } }));
assert.deepEqual(scored, labels);

const tensor = { name: "x", datatype: "FP32", shape: [1, 784], data: digits[0]! };
const inferred = told(await client.POST("/api/score/v2/models/mnist/infer", { body: { inputs: [tensor] } }));
const first: number | undefined = inferred.outputs[0]?.data[0];
assert.equal(first, labels[0]);

const row = { age: 1, "sepal length (cm)": 2, class: 3 };
const rows: number[][] = told(await client.POST("/api/score/table", { body: { data: [row] } }));
assert.deepEqual(rows, [[3, 5, 7]]);

const embedded = told(await client.POST("/api/score/v1/embeddings", { body: { model: "minilm", input: ["hello"] } }));
const vector: number[] | undefined = embedded.data[0]?.embedding;
assert.equal(vector?.length, 8);

const wrong = await client.POST("/api/score/mnist", { body: { data: [[1]] } });
assert.equal(wrong.response.status, 400);
const code: string | undefined = wrong.error && "code" in wrong.error.error ? wrong.error.error.code : undefined;
assert.equal(code, "invalid_input");
