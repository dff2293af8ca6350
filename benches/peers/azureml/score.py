"""An entry script as Azure ML's inference server runs it, remembering each row's result in Redis."""

import hashlib
import json
import os

import numpy as np
import onnxruntime
import redis

COLUMNS = 784
TTL_SECONDS = 86_400


def init():
    global session, cache, prefix
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = os.environ["MODEL_FILE"]
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    prefix = f"azureml:{model}:"
    cache = None
    if address := os.environ.get("REDIS_ADDRESS"):
        host, port = address.split(":")
        cache = redis.Redis(host=host, port=int(port), socket_timeout=0.05, socket_connect_timeout=0.5)


def run(raw_data):
    rows = np.array(json.loads(raw_data)["data"], dtype=np.float32).reshape(-1, COLUMNS)
    if cache is None:
        return compute(rows)
    keys = [prefix + hashlib.sha256(row.tobytes()).hexdigest() for row in rows]
    labels = [look_up(key) for key in keys]
    unknown = [place for place, label in enumerate(labels) if label is None]
    if unknown:
        for place, label in zip(unknown, compute(rows[unknown])):
            labels[place] = label
            remember(keys[place], label)
    return labels


def compute(rows):
    return session.run(["label"], {"x": rows})[0].tolist()


def look_up(key):
    try:
        value = cache.get(key)
    except redis.RedisError:
        return None
    return None if value is None else int(value)


def remember(key, label):
    try:
        cache.set(key, label, ex=TTL_SECONDS)
    except redis.RedisError:
        pass
