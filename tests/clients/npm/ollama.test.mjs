// Ollama's package.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Ollama } from "ollama";

import { MODEL, ROOT, SCORE, TEXTS, same, vectors } from "./server.mjs";

for (const host of [SCORE, ROOT]) {
  test(`embed at ${host.slice(ROOT.length) || "the root"}`, async () => {
    const client = new Ollama({ host });
    const { embeddings, model, prompt_eval_count } = await client.embed({ model: MODEL, input: TEXTS, truncate: true, keep_alive: "5m" });
    same(embeddings, await vectors(TEXTS));
    assert.equal(model, MODEL);
    assert.ok(prompt_eval_count > TEXTS.length);
    same([(await client.embeddings({ model: MODEL, prompt: "hello" })).embedding], await vectors(["hello"]));
    await assert.rejects(client.embed({ model: "unknown", input: "a" }), (error) => {
      assert.equal(error.status_code, 404);
      assert.match(error.message, new RegExp(MODEL));
      return true;
    });
  });
}
