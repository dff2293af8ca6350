// The client of @hey-api/openapi-ts.

import assert from "node:assert/strict";

import { baseUrl, digits, labels, told } from "./expected.js";
import { client } from "./hey-api/client.gen.js";
import { describeMnist, embeddings, inferMnist, scoreMnist, scoreTable } from "./hey-api/index.js";

client.setConfig({ baseUrl });

const scored: number[] = told(await scoreMnist({ body: { data: digits } }));
assert.deepEqual(scored, labels);

const tensor = { name: "x", datatype: "FP32", shape: [1, 784], data: digits[0]! };
const inferred = told(await inferMnist({ body: { inputs: [tensor] } }));
const first: number | undefined = inferred.outputs[0]?.data[0];
assert.equal(first, labels[0]);

const row = { age: 1, "sepal length (cm)": 2, class: 3 };
const rows: number[][] = told(await scoreTable({ body: { data: [row] } }));
assert.deepEqual(rows, [[3, 5, 7]]);

const embedded = told(await embeddings({ body: { model: "minilm", input: ["hello"] } }));
const vector: number[] | undefined = embedded.data[0]?.embedding;
assert.equal(vector?.length, 8);

assert.equal(told(await describeMnist()).rows?.treated, "independent");

const wrong = await scoreMnist({ body: { data: [[1]] } });
assert.equal(wrong.response?.status, 400);
