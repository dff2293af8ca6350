// OpenAI's embeddings as one would write them in Node: a cluster of workers, fastify, the tokenizers of transformers.js,
// onnxruntime-node, ioredis; a key for each text.
//   PORT=8080 MODEL=model.onnx TOKENIZER=tokenizer.json REDIS=127.0.0.1:6379 node server.js

import cluster from "node:cluster";
import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";

import { Tokenizer } from "@huggingface/tokenizers";
import fastify from "fastify";
import { Redis } from "ioredis";
import ort from "onnxruntime-node";

const MAX_TOKENS = 256;
const RUN_ROWS = 8;
const TTL_SECONDS = 86_400;
// Before the vector: the number of tokens.
const COUNT_BYTES = 4;
const { PORT, MODEL, TOKENIZER, REDIS } = process.env;

if (cluster.isPrimary) {
  for (let worker = 0; worker < availableParallelism(); worker++) cluster.fork();
  cluster.on("exit", () => process.exit(1));
} else {
  await serve();
}

async function serve() {
  const model = await load();
  const redis = connect(REDIS);
  const app = fastify({ bodyLimit: 32 << 20 });
  const input = { anyOf: [{ type: "string" }, { type: "array", minItems: 1, items: { type: "string" } }] };
  const properties = { input, model: { type: "string" }, encoding_format: { enum: ["float", "base64"] } };
  const schema = { body: { type: "object", required: ["input"], properties } };
  app.get("/", async () => "");
  app.post("/v1/embeddings", { schema }, async ({ body }, reply) => {
    const texts = typeof body.input === "string" ? [body.input] : body.input;
    const keys = texts.map((text) => `node:${hash("sha256", text, "base64")}`);
    const entries = await lookUp(redis, keys);
    const unknown = entries.flatMap((entry, at) => (entry === null ? [at] : []));
    if (unknown.length > 0) {
      const fresh = await model.embed(unknown.map((at) => texts[at]));
      unknown.forEach((at, index) => (entries[at] = fresh[index]));
      remember(redis, unknown.map((at) => [keys[at], entries[at]]));
    }
    const known = texts.length - unknown.length;
    const partial = known > 0 ? `PARTIAL; hits=${known}, rows=${texts.length}` : "MISS";
    const cache = unknown.length === 0 ? "HIT" : partial;
    return reply.header("x-cache", cache).type("application/json").send(answer(entries, body));
  });
  await app.listen({ port: Number(PORT), host: "127.0.0.1" });
}

async function load() {
  const json = (file) => JSON.parse(readFileSync(file, "utf8"));
  const tokenizer = new Tokenizer(json(TOKENIZER), json(join(dirname(TOKENIZER), "tokenizer_config.json")));
  const session = await ort.InferenceSession.create(MODEL, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionProviders: ["cpu"],
  });
  // One run at a time in each worker, as there is a core for each.
  let last = Promise.resolve();
  const inTurn = (rows) => (last = last.catch(() => {}).then(() => run(session, rows)));
  return { embed: (texts) => embed(tokenizer, inTurn, texts) };
}

/** Texts of like length together. */
async function embed(tokenizer, inTurn, texts) {
  const rows = texts.map((text) => cut(tokenizer.encode(text).ids));
  const order = rows.map((_, at) => at).sort((a, b) => rows[a].length - rows[b].length);
  const entries = new Array(rows.length);
  for (let first = 0; first < order.length; first += RUN_ROWS) {
    const some = order.slice(first, first + RUN_ROWS);
    const fresh = await inTurn(some.map((at) => rows[at]));
    some.forEach((at, index) => (entries[at] = fresh[index]));
  }
  return entries;
}

function cut(ids) {
  return ids.length > MAX_TOKENS ? [...ids.slice(0, MAX_TOKENS - 1), ids.at(-1)] : ids;
}

async function run(session, rows) {
  const longest = Math.max(...rows.map((row) => row.length));
  const [ids, mask, types] = [0, 0, 0].map(() => new BigInt64Array(rows.length * longest));
  rows.forEach((row, at) =>
    row.forEach((id, column) => {
      ids[at * longest + column] = BigInt(id);
      mask[at * longest + column] = 1n;
    }),
  );
  const tensor = (data) => new ort.Tensor("int64", data, [rows.length, longest]);
  const feed = { input_ids: tensor(ids), attention_mask: tensor(mask), token_type_ids: tensor(types) };
  const { last_hidden_state: hidden } = await session.run(feed);
  const width = hidden.dims[2];
  return rows.map((row, at) => pool(hidden.data.subarray(at * longest * width), row.length, width));
}

/** The mean over the tokens, scaled to length 1. */
function pool(hidden, tokens, width) {
  const vector = new Float32Array(width);
  for (let token = 0; token < tokens; token++)
    for (let column = 0; column < width; column++) vector[column] += hidden[token * width + column];
  let squares = 0;
  for (let column = 0; column < width; column++) {
    vector[column] /= tokens;
    squares += vector[column] ** 2;
  }
  const norm = Math.max(Math.sqrt(squares), 1e-12);
  const entry = Buffer.alloc(COUNT_BYTES + width * 4);
  entry.writeUInt32LE(tokens);
  vector.forEach((number, column) => entry.writeFloatLE(number / norm, COUNT_BYTES + column * 4));
  return entry;
}

function connect(address) {
  const [host, port] = address.split(":");
  const redis = new Redis({
    host,
    port: Number(port),
    // Commands of the same turn of the event loop travel together.
    enableAutoPipelining: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 500,
    commandTimeout: 2000,
  });
  redis.on("error", () => {});
  return redis;
}

async function lookUp(redis, keys) {
  try {
    return keys.length === 1 ? [await redis.getBuffer(keys[0])] : await redis.mgetBuffer(keys);
  } catch {
    return keys.map(() => null);
  }
}

/** Behind the answer; a later miss makes up for a failure. */
function remember(redis, entries) {
  const writes = redis.pipeline();
  for (const [key, entry] of entries) writes.set(key, entry, "EX", TTL_SECONDS);
  writes.exec().catch(() => {});
}

/** Written by hand: the vectors are most of it. */
function answer(entries, { model = "", encoding_format: format = "float" }) {
  const base64 = (entry) => `"${entry.toString("base64", COUNT_BYTES)}"`;
  const written = format === "base64" ? base64 : (entry) => `[${floats(entry).join()}]`;
  const data = entries.map((entry, index) => `{"object":"embedding","index":${index},"embedding":${written(entry)}}`);
  const tokens = entries.reduce((sum, entry) => sum + entry.readUInt32LE(), 0);
  const usage = `{"prompt_tokens":${tokens},"total_tokens":${tokens}}`;
  return `{"object":"list","data":[${data.join()}],"model":${JSON.stringify(model)},"usage":${usage}}`;
}

function floats(entry) {
  const bytes = entry.buffer.slice(entry.byteOffset + COUNT_BYTES, entry.byteOffset + entry.length);
  return new Float32Array(bytes);
}
