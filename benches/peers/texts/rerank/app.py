"""Cohere's rerank as one would write it in Python: FastAPI, tokenizers, onnxruntime, redis.asyncio; a key for each pair.

MODEL=model.onnx TOKENIZER=tokenizer.json REDIS=127.0.0.1:6379 uvicorn app:app --workers 2

Pairs run sorted by length, RUN_ROWS at once.
"""

import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import onnxruntime
import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field
from redis.asyncio import Redis
from tokenizers import Tokenizer

MAX_TOKENS = 512
TTL_SECONDS = 86_400
RUN_ROWS = int(os.environ.get("RUN_ROWS", 4))
THREADS = int(os.environ.get("THREADS", 1))


class Request(BaseModel):
    model: str = ""
    query: str
    documents: list[str] = Field(min_length=1)
    top_n: int | None = None


class Model:
    """Runs on a thread of its own, so that requests whose pairs are all known need not wait."""

    def __init__(self):
        self.tokenizer = Tokenizer.from_file(os.environ["TOKENIZER"])
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.thread = ThreadPoolExecutor(1)

    async def score(self, query, documents):
        pairs = [self.tokenizer.encode(query, document) for document in documents]
        order = sorted(range(len(pairs)), key=lambda at: len(pairs[at].ids))
        found = [0.0] * len(pairs)
        loop = asyncio.get_running_loop()
        for first in range(0, len(pairs), RUN_ROWS):
            some = order[first : first + RUN_ROWS]
            scores = await loop.run_in_executor(self.thread, self.run, [pairs[at] for at in some])
            for at, score in zip(some, scores):
                found[at] = float(score)
        return found

    def run(self, pairs):
        shape = len(pairs), max(len(pair.ids) for pair in pairs)
        ids, mask, types = (np.zeros(shape, np.int64) for _ in range(3))
        for at, pair in enumerate(pairs):
            length = len(pair.ids)
            ids[at, :length], mask[at, :length], types[at, :length] = pair.ids, 1, pair.type_ids
        (logits,) = self.session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})
        return 1 / (1 + np.exp(-logits[:, 0]))


class Memory:
    def __init__(self):
        host, port = os.environ["REDIS"].split(":")
        self.redis = Redis(host=host, port=int(port), max_connections=64)
        self.writes = set()

    @staticmethod
    def key(query, document):
        pair = f"{len(query)}:{query}{document}"
        return b"rerank:" + hashlib.sha256(pair.encode()).digest()

    def remember(self, entries):
        """Behind the answer."""
        task = asyncio.create_task(self.write(entries))
        self.writes.add(task)
        task.add_done_callback(self.writes.discard)

    async def write(self, entries):
        async with self.redis.pipeline(transaction=False) as pipe:
            for key, score in entries:
                pipe.set(key, score, ex=TTL_SECONDS)
            await pipe.execute()


@asynccontextmanager
async def lifespan(app):
    app.state.model, app.state.memory = Model(), Memory()
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def alive():
    return Response()


@app.post("/v2/rerank")
async def rerank(request: Request):
    model, memory = app.state.model, app.state.memory
    keys = [memory.key(request.query, document) for document in request.documents]
    scores = [None if entry is None else float(entry) for entry in await memory.redis.mget(keys)]
    unknown = [at for at, score in enumerate(scores) if score is None]
    if unknown:
        for at, score in zip(unknown, await model.score(request.query, [request.documents[at] for at in unknown])):
            scores[at] = score
        memory.remember([(keys[at], scores[at]) for at in unknown])
    order = sorted(range(len(scores)), key=lambda at: -scores[at])[: request.top_n]
    results = [{"index": at, "relevance_score": scores[at]} for at in order]
    return Response(orjson.dumps({"results": results}), media_type="application/json")
