"""A handler with a text model under the name `minilm`, for clients that people use. Nothing here knows how it is written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "conformance"))
from program import ROOT, Handler, free_port

# So that programs that were started are also stopped when this process is told to end.
signal.signal(signal.SIGTERM, signal.default_int_handler)

TINY = ROOT / "tests/data/text/tiny"
MODEL = "minilm"
# Small models for the other tasks, by the names that recorded requests have.
TASKS = {"reranker": "rank", "classifier": "label", "tagger": "tag", "splade": "sparse", MODEL: "tiny"}
# What Python gives for them.
HEADS = json.loads((ROOT / "tests/data/text/heads.json").read_text())
# The folder's prompt for queries; none in that of another model.
PROMPTS = Path(os.environ.get("CLIENTS_MODEL", TINY)) / "config_sentence_transformers.json"
QUERY_PROMPT = json.loads(PROMPTS.read_text()).get("prompts", {}).get("query")
REFERENCE = [(row["text"], row["vector"]) for row in json.loads((ROOT / "tests/data/text/tiny.json").read_text())]


def app_root(folder, **models):
    for name, source in models.items():
        shutil.copytree(source, folder / "models" / name)
    return folder


def until(holds, what, seconds=60):
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


class Server:
    """Where it listens, and what it must answer."""

    def __init__(self, handler):
        self.handler = handler
        self.root = f"http://127.0.0.1:{handler.port}"
        self.score = f"{self.root}/api/score"
        self.openai = f"{self.score}/v1"

    def vectors(self, texts):
        """By the plainest route, which other tests hold to what onnxruntime gives in Python."""
        return self.handler.post(f"/{MODEL}", {"data": list(texts)}).ok().json


class Narrow(Server):
    """Takes one request at a time, and one waits as long as Redis is frozen."""

    def __init__(self, handler, redis):
        super().__init__(handler)
        self.redis = redis
        # Once something is found there, Redis is connected.
        until(lambda: handler.post("", {"data": ["first"]}).ok().headers["x-cache"] == "HIT", "Redis is connected")

    @contextmanager
    def busy(self):
        """Every request is refused until what this gives is called."""
        thaw = partial(self.redis.send_signal, signal.SIGCONT)
        self.redis.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            try:
                # Ends when the connection to Redis is given up; the look-up on the next one lasts for all of REDIS_TIMEOUT.
                self.handler.post("", {"data": ["given up"]})
                held = pool.submit(self.hold)
                until(lambda: held.done() or self.handler.post("", {}).status == 503, "a request is held")
                assert not held.done(), "no request is held"
                yield thaw
            finally:
                thaw()

    def hold(self):
        # Refused itself if it meets one of those that ask whether it is there.
        until(lambda: self.handler.post("", {"data": ["held"]}).status != 503, "a request is taken")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    root = app_root(tmp_path_factory.mktemp("app"), **{MODEL: os.environ.get("CLIENTS_MODEL", TINY)})
    with Handler(root, {"SCORE_SESSIONS": "2"}) as handler:
        yield Server(handler)


@pytest.fixture(scope="session")
def tasks(tmp_path_factory):
    """A model for each task."""
    models = {name: ROOT / "tests/data/text" / folder for name, folder in TASKS.items()}
    with Handler(app_root(tmp_path_factory.mktemp("tasks"), **models)) as handler:
        yield Server(handler)


@pytest.fixture(scope="session")
def narrow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrow")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as redis:
        try:
            settings = {"REDIS_URL": f"redis://127.0.0.1:{port}", "REDIS_TIMEOUT": "20s", "SCORE_L1_BYTES": "0"}
            root = app_root(folder, **{MODEL: TINY})
            with Handler(root, {"SCORE_MAX_REQUESTS": "1", **settings}) as handler:
                yield Narrow(handler, redis)
        finally:
            redis.send_signal(signal.SIGCONT)
            redis.terminate()


def bits(vectors):
    """As float32, in which base64 and decimal digits are the same numbers."""
    return [array("f", vector) for vector in vectors]


def close(found, expected, tolerance=1e-6):
    found, expected = [list(map(list, vectors)) for vectors in (found, expected)]
    assert [len(vector) for vector in found] == [len(vector) for vector in expected]
    worst = max(abs(a - b) for one, other in zip(found, expected) for a, b in zip(one, other))
    assert worst <= tolerance, f"differs by {worst}"
