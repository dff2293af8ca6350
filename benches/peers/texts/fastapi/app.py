"""OpenAI's embeddings as one would write them in Python: FastAPI, tokenizers, onnxruntime, redis.asyncio; a key for each text.

MODEL=model.onnx TOKENIZER=tokenizer.json REDIS=127.0.0.1:6379 uvicorn app:app --workers 2

SORT=off runs texts in the order given, RUN_ROWS=32 so many at once, padded to the longest of them; THREADS=2 runs the model on
two threads.
"""

import asyncio
import base64
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Literal

import numpy as np
import onnxruntime
import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field
from redis.asyncio import Redis
from redis.exceptions import RedisError
from tokenizers import Tokenizer

MAX_TOKENS = 256
TTL_SECONDS = 86_400
RUN_ROWS = int(os.environ.get("RUN_ROWS", 8))
SORT = os.environ.get("SORT") != "off"
THREADS = int(os.environ.get("THREADS", 1))
# Before the vector: the number of tokens.
COUNT_BYTES = 4


class Request(BaseModel):
    input: str | list[str] = Field(min_length=1)
    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"


class Model:
    """Runs on a thread of its own, so that requests whose texts are all known need not wait."""

    def __init__(self):
        self.tokenizer = Tokenizer.from_file(os.environ["TOKENIZER"])
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.thread = ThreadPoolExecutor(1)

    async def embed(self, texts):
        rows = [self.tokenizer.encode(text).ids for text in texts]
        order = sorted(range(len(rows)), key=lambda at: len(rows[at])) if SORT else range(len(rows))
        found = [b""] * len(rows)
        loop = asyncio.get_running_loop()
        for first in range(0, len(rows), RUN_ROWS):
            some = order[first : first + RUN_ROWS]
            entries = await loop.run_in_executor(self.thread, self.run, [rows[at] for at in some])
            for at, entry in zip(some, entries):
                found[at] = entry
        return found

    def run(self, rows):
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self.session.run(None, feed)
        sums = np.einsum("rth,rt->rh", hidden, mask.astype(np.float32))
        means = sums / mask.sum(1, keepdims=True, dtype=np.float32)
        vectors = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return [len(row).to_bytes(COUNT_BYTES, "little") + vector.tobytes() for row, vector in zip(rows, vectors)]


class Memory:
    def __init__(self):
        host, port = os.environ["REDIS"].split(":")
        self.redis = Redis(host=host, port=int(port), socket_connect_timeout=0.5, socket_timeout=2, max_connections=64)
        self.writes = set()

    @staticmethod
    def key(text):
        return f"fastapi:{RUN_ROWS}:{THREADS}:".encode() + hashlib.sha256(text.encode()).digest()

    async def look_up(self, keys):
        try:
            return [await self.redis.get(keys[0])] if len(keys) == 1 else await self.redis.mget(keys)
        except (RedisError, OSError):
            return [None] * len(keys)

    def remember(self, entries):
        """Behind the answer; a later miss makes up for a failure."""
        task = asyncio.create_task(self.write(entries))
        self.writes.add(task)
        task.add_done_callback(self.writes.discard)

    async def write(self, entries):
        try:
            async with self.redis.pipeline(transaction=False) as pipe:
                for key, entry in entries:
                    pipe.set(key, entry, ex=TTL_SECONDS)
                await pipe.execute()
        except (RedisError, OSError):
            pass


@asynccontextmanager
async def lifespan(app):
    app.state.model, app.state.memory = Model(), Memory()
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def alive():
    return Response()


@app.post("/v1/embeddings")
async def embeddings(request: Request):
    model, memory = app.state.model, app.state.memory
    texts = [request.input] if isinstance(request.input, str) else request.input
    keys = [memory.key(text) for text in texts]
    entries = await memory.look_up(keys)
    unknown = [at for at, entry in enumerate(entries) if entry is None]
    if unknown:
        for at, entry in zip(unknown, await model.embed([texts[at] for at in unknown])):
            entries[at] = entry
        memory.remember([(keys[at], entries[at]) for at in unknown])
    if request.encoding_format == "base64":
        vectors = [base64.b64encode(entry[COUNT_BYTES:]).decode() for entry in entries]
    else:
        vectors = [np.frombuffer(entry, np.float32, offset=COUNT_BYTES) for entry in entries]
    tokens = sum(int.from_bytes(entry[:COUNT_BYTES], "little") for entry in entries)
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    known = len(texts) - len(unknown)
    cache = "HIT" if not unknown else f"PARTIAL; hits={known}, rows={len(texts)}" if known else "MISS"
    content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json", headers={"x-cache": cache})
