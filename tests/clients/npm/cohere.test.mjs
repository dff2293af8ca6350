// Cohere's package.

import assert from "node:assert/strict";
import { test } from "node:test";

import { CohereClient, CohereClientV2 } from "cohere-ai";

import { MODEL, TASKS } from "./server.mjs";

const options = { environment: TASKS, token: "none", maxRetries: 0 };
const documents = ["The cat is lost.", "käse 🧀 the river", "he paid the invoice"];

for (const Client of [CohereClient, CohereClientV2]) {
  const client = new Client(options);

  test(`${Client.name} ranks`, async () => {
    const asked = { model: "reranker", query: "who found the cat?", documents };
    const all = await client.rerank(asked);
    const scores = all.results.map((result) => result.relevanceScore);
    assert.deepEqual(scores, [...scores].sort((a, b) => b - a));
    assert.deepEqual(all.results.map((result) => result.index).sort(), [0, 1, 2]);
    const best = await client.rerank({ ...asked, topN: 1 });
    assert.deepEqual(best.results, all.results.slice(0, 1));
    assert.equal(all.meta.billedUnits.searchUnits, 1);
  });

  test(`${Client.name} embeds`, async () => {
    const answer = await client.embed({ model: MODEL, texts: documents, inputType: "search_document", embeddingTypes: ["float", "int8"] });
    assert.equal(answer.embeddings.float.length, 3);
    assert.equal(Math.max(...answer.embeddings.int8[0].map(Math.abs)), 127);
    assert.deepEqual(answer.texts, documents);
  });

  test(`${Client.name} shows errors`, async () => {
    await assert.rejects(client.rerank({ model: MODEL, query: "q", documents: ["a"] }), (error) => {
      assert.equal(error.statusCode, 400);
      assert.match(error.body.message, /reranker/);
      return true;
    });
  });
}
