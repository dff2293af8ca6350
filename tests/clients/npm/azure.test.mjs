// Azure OpenAI by the package openai, and Azure.AI.Inference's package.

import assert from "node:assert/strict";
import { test } from "node:test";

import ModelClient, { isUnexpected } from "@azure-rest/ai-inference";
import { AzureKeyCredential } from "@azure/core-auth";
import { AzureOpenAIEmbeddings } from "@langchain/openai";
import { AzureOpenAI } from "openai";

import { MODEL, SCORE, TEXTS, same, vectors } from "./server.mjs";

test("AzureOpenAI", async () => {
  const client = new AzureOpenAI({ endpoint: SCORE, apiKey: "none", apiVersion: "2024-10-21" });
  const { data } = await client.embeddings.create({ model: MODEL, input: TEXTS });
  same(data.map(({ embedding }) => embedding), await vectors(TEXTS));
  await assert.rejects(client.embeddings.create({ model: "unknown", input: "a" }), (error) => {
    assert.equal(error.status, 404);
    assert.match(error.message, new RegExp(MODEL));
    return true;
  });
});

test("LangChain with AzureOpenAI", async () => {
  const embedder = new AzureOpenAIEmbeddings({
    azureOpenAIApiKey: "none",
    azureOpenAIBasePath: `${SCORE}/openai/deployments`,
    azureOpenAIApiDeploymentName: MODEL,
    azureOpenAIApiVersion: "2024-10-21",
    stripNewLines: false,
  });
  same(await embedder.embedDocuments(TEXTS), await vectors(TEXTS));
});

test("Azure.AI.Inference", async () => {
  const client = ModelClient(SCORE, new AzureKeyCredential("none"), { allowInsecureConnection: true });
  const answer = await client.path("/embeddings").post({ body: { model: MODEL, input: TEXTS } });
  assert.ok(!isUnexpected(answer), JSON.stringify(answer.body));
  same(answer.body.data.map(({ embedding }) => embedding), await vectors(TEXTS));
  const refused = await client.path("/embeddings").post({ body: { model: "unknown", input: TEXTS } });
  assert.equal(refused.status, "404");
  assert.ok(isUnexpected(refused) && refused.body.error.code && refused.body.error.message.includes(MODEL));
});
