// One client against a server that refuses at first: overload.mjs CLIENT prints the status of each answer, then "done".

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { OpenAIEmbeddings } from "@langchain/openai";
import { embed } from "ai";
import OpenAI from "openai";

import { MODEL, OPENAI } from "./server.mjs";

const original = globalThis.fetch;
globalThis.fetch = async (...call) => {
  const answer = await original(...call);
  console.log(answer.status, answer.headers.get("retry-after"));
  return answer;
};

const clients = {
  openai: () => new OpenAI({ baseURL: OPENAI, apiKey: "none" }).embeddings.create({ model: MODEL, input: "hello" }),
  langchain: () => new OpenAIEmbeddings({ model: MODEL, apiKey: "none", configuration: { baseURL: OPENAI } }).embedQuery("hello"),
  "ai-sdk": () => {
    const model = createOpenAICompatible({ name: "score", baseURL: OPENAI }).textEmbeddingModel(MODEL);
    return embed({ model, value: "hello" });
  },
};

await clients[process.argv[2]]();
console.log("done");
