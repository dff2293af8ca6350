// The npm package openai and what is built on it, and the AI SDK.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { OpenAIEmbeddings } from "@langchain/openai";
import { embed, embedMany } from "ai";
import OpenAI from "openai";

import { MODEL, OPENAI, TEXTS, norm, same, vectors } from "./server.mjs";

const client = new OpenAI({ baseURL: OPENAI, apiKey: "none" });
const rows = ({ data }) => {
  data.forEach(({ index }, place) => assert.equal(index, place));
  return data.map(({ embedding }) => embedding);
};

for (const encoding_format of [undefined, "float"]) {
  test(`openai, ${encoding_format ?? "base64 on its own"}`, async () => {
    const texts = TEXTS.map((text) => `${text} ${encoding_format}`);
    for (const cache of ["MISS", "HIT"]) {
      const { data, response } = await client.embeddings.create({ model: MODEL, input: texts, encoding_format }).withResponse();
      assert.equal(response.headers.get("x-cache"), cache);
      same(rows(data), await vectors(texts));
      assert.ok(data.usage.prompt_tokens > texts.length);
    }
  });
}

test("openai, base64 as asked for", async () => {
  const { data } = await client.embeddings.create({ model: MODEL, input: TEXTS, encoding_format: "base64" });
  const decoded = data.map(({ embedding }) => new Float32Array(Uint8Array.from(Buffer.from(embedding, "base64")).buffer));
  same(decoded, await vectors(TEXTS));
});

test("openai, one text of few dimensions", async () => {
  const [vector, ...others] = rows(await client.embeddings.create({ model: MODEL, input: "hello", dimensions: 4, user: "u-1" }));
  assert.equal(others.length, 0);
  assert.equal(vector.length, 4);
  assert.ok(Math.abs(norm(vector) - 1) < 1e-6);
});

for (const [given, status, said] of [
  [{ input: [] }, 400, /found none/],
  [{ input: [101, 7592] }, 400, /check_embedding_ctx_length=False/],
  [{ input: "a", dimensions: 100_000 }, 400, /100000/],
  [{ input: "a", model: "text-embedding-3-small" }, 404, new RegExp(MODEL)],
]) {
  test(`openai, ${JSON.stringify(given)}`, async () => {
    const ask = client.embeddings.create({ model: MODEL, ...given });
    await assert.rejects(ask, (error) => {
      assert.equal(error.status, status);
      assert.equal(error.type, "invalid_request_error");
      assert.equal(typeof error.code, "string");
      assert.match(error.message, said);
      return true;
    });
  });
}

test("LangChain", async () => {
  const embedder = new OpenAIEmbeddings({
    model: MODEL,
    apiKey: "none",
    configuration: { baseURL: OPENAI },
    stripNewLines: false,
    batchSize: 4,
  });
  same(await embedder.embedDocuments(TEXTS), await vectors(TEXTS));
  same([await embedder.embedQuery("hello")], await vectors(["hello"]));
});

test("AI SDK", async () => {
  const headers = { "x-functions-key": "none" };
  const compatible = createOpenAICompatible({ name: "score", baseURL: OPENAI, headers }).textEmbeddingModel(MODEL);
  const plain = createOpenAI({ baseURL: OPENAI, apiKey: "none" }).embedding(MODEL);
  for (const model of [compatible, plain]) {
    const one = await embed({ model, value: "hello" });
    same([one.embedding], await vectors(["hello"]));
    assert.ok(one.usage.tokens > 1);
    const many = await embedMany({ model, values: TEXTS });
    same(many.embeddings, await vectors(TEXTS));
  }
  const unknown = createOpenAICompatible({ name: "score", baseURL: OPENAI }).textEmbeddingModel("unknown");
  await assert.rejects(embed({ model: unknown, value: "a" }), (error) => {
    assert.equal(error.statusCode, 404);
    assert.match(error.message, new RegExp(MODEL));
    return true;
  });
});
