#!/usr/bin/env python3
"""Measures rerankings by a handler beside FastAPI, with the same cross-encoder and Redis: benches/rank.py [--handler FILE].

scripts/make-heads.sh and scripts/setup-bench.sh make what it needs. Compare within one run only; times of the handler and of its
peer alternate. CPU time is that of a server with its workers, without Redis.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, WORK
from measure.processes import Processes, cpu_seconds, family
from measure.servers import free_port

QUERY = "when does the morning ferry leave the island harbour today"
WORDS = "river market engine lantern valley copper window station paper garden bridge winter signal harbour meadow".split()


def document(number, tokens=100):
    """A text of so many tokens, no two alike."""
    digits = " ".join(f"{number:06d}")
    return " ".join([*(WORDS[(number * 7 + at) % len(WORDS)] for at in range(tokens - 6)), digits])


class Server:
    def __init__(self, processes, command, env, path, health):
        self.port, self.path = int(env["PORT"]), path
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.process = processes.start(lambda: subprocess.Popen(command, env=os.environ | env, stdout=subprocess.DEVNULL))
        give_up = time.monotonic() + 60
        while True:
            try:
                if self.get(health) == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > give_up or self.process.poll() is not None:
                sys.exit(f"error: {command[0]} does not answer")
            time.sleep(0.05)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().status

    def ask(self, body, path=None):
        self.connection.request("POST", path or self.path, json.dumps(body), {"content-type": "application/json"})
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            sys.exit(f"error: {answer.status} {content[:300]!r}")
        return json.loads(content)

    def rank(self, numbers):
        body = {"model": "reranker", "query": QUERY, "documents": [document(number) for number in numbers]}
        start = time.perf_counter()
        answer = self.ask(body)
        return time.perf_counter() - start, answer["results"]

    def cpu(self):
        """Seconds of all its threads and workers."""
        return cpu_seconds(family(self.process.pid))


def seconds_of_single_runs(model, count):
    """The median CPU time of single runs of one pair on one thread, by ONNX Runtime alone."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), options, providers=["CPUExecutionProvider"])
    seconds = []
    for number in range(count):
        pair = tokenizer.encode(QUERY, document(number))
        feed = {"input_ids": [pair.ids], "attention_mask": [pair.attention_mask], "token_type_ids": [pair.type_ids]}
        start = time.thread_time()
        session.run(None, feed)
        seconds.append(time.thread_time() - start)
    return statistics.median(seconds), len(pair.ids)


def cpu_of(server, calls, ask):
    start = server.cpu()
    for _ in range(calls):
        ask()
    return (server.cpu() - start) / calls


def start_all(processes, options, folder):
    redis, ours, theirs = free_port(), free_port(), free_port()
    quiet = {"stdout": subprocess.DEVNULL}
    processes.start(lambda: subprocess.Popen(["redis-server", "--port", str(redis), "--save", "", "--dir", folder], **quiet))
    models = Path(folder) / "models"
    models.mkdir()
    for name, source in ("reranker", options.models / "reranker"), ("minilm", ROOT / "target/minilm/models/minilm"):
        (models / name).symlink_to(source.resolve())
    env = {
        "PORT": str(ours), "SCORE_PORT": str(ours), "SCORE_MODEL_DIR": str(models), "REDIS_URL": f"redis://127.0.0.1:{redis}",
        "SCORE_L1_BYTES": "0", "RUST_LOG": "warn",
    }
    handler = Server(processes, [str(options.handler)], env, "/api/score/v2/rerank", "/api/health/ready")
    reranker = options.models / "reranker"
    env = {
        "PORT": str(theirs), "REDIS": f"127.0.0.1:{redis}", "MODEL": str(reranker / "model.onnx"),
        "TOKENIZER": str(reranker / "tokenizer.json"), "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(WORK / "texts-fastapi"), os.environ.get("PYTHONPATH", "")]),
    }
    arguments = f"-m uvicorn app:app --app-dir {ROOT}/benches/peers/texts/rerank --port {theirs} --workers 2 --log-level warning --timeout-keep-alive 600"
    peer = Server(processes, [sys.executable, *arguments.split()], env, "/v2/rerank", "/")
    return handler, peer


def measure(options, handler, peer):
    fresh = iter(range(1, 10**6))

    def new(count):
        return [next(fresh) for _ in range(count)]

    for server in (handler, peer):
        # The trial of shared runs goes on behind answers.
        for _ in range(15):
            server.rank(new(1))
    seconds, worked, tokens = [], [], 0
    rounds = {name: [] for name in ("100 new", "90 of 100 known", "40 new", "peer 100 new", "peer 90 of 100 known", "peer 40 new")}
    for _ in range(options.rounds):
        for server, prefix in (handler, ""), (peer, "peer "):
            known = new(100)
            rounds[f"{prefix}100 new"].append(server.rank(known)[0])
            time.sleep(0.2)
            rounds[f"{prefix}90 of 100 known"].append(server.rank(known[:90] + new(10))[0])
            before = server.cpu()
            rounds[f"{prefix}40 new"].append(server.rank(new(40))[0])
            if server is handler:
                worked.append(server.cpu() - before)
        one, tokens = seconds_of_single_runs(options.models / "reranker", 40)
        seconds.append(one)
    time.sleep(0.5)
    mine = {result["index"]: result["relevance_score"] for result in handler.rank(range(2, 22))[1]}
    other = {result["index"]: result["relevance_score"] for result in peer.rank(range(2, 22))[1]}
    worst = max(abs(mine[at] - other[at]) for at in mine)
    middle = {name: statistics.median(times) for name, times in rounds.items()}
    for name, time_taken in middle.items():
        print(f"{name:24}{time_taken * 1e3:10.1f} ms")
    ratio = statistics.median(a / b for a, b in zip(rounds["90 of 100 known"], rounds["100 new"]))
    limit = statistics.median(40 * one / 2 / taken for one, taken in zip(seconds, rounds["40 new"]))
    print(f"scores differ from the peer's by at most {worst:.1e}")
    print(f"90 of 100 known / none known: {ratio:.3f} (meant: at most 0.15)")
    work = statistics.median(40 * one / cpu for one, cpu in zip(seconds, worked))
    print(f"limit of two cores / 40 pairs of {tokens} tokens: {limit:.2f} (meant: at least 0.85); by CPU time {work:.2f}")
    for name in ("100 new", "90 of 100 known", "40 new"):
        quotient = statistics.median(b / a for a, b in zip(rounds[name], rounds[f"peer {name}"]))
        print(f"{name}: the peer takes {quotient:.2f} times as long")


def measure_hits(handler, peer):
    documents, calls = list(range(2, 18)), 2000
    texts = [document(number) for number in documents]
    embed = {"model": "minilm", "input": texts, "encoding_format": "base64"}
    rank = {"model": "reranker", "query": QUERY, "documents": texts}
    for _ in range(3):
        handler.ask(rank), peer.ask(rank), handler.ask(embed, "/api/score/v1/embeddings")
        time.sleep(0.3)
    embeddings = cpu_of(handler, calls, lambda: handler.ask(embed, "/api/score/v1/embeddings"))
    pairs, others = cpu_of(handler, calls, lambda: handler.ask(rank)), cpu_of(peer, calls, lambda: peer.ask(rank))
    print(f"CPU of 16 hits: embeddings {embeddings * 1e6:.0f} us, pairs {pairs * 1e6:.0f} us, the peer's pairs {others * 1e6:.0f} us")
    print(f"pairs for a second of CPU / embeddings: {embeddings / pairs:.2f} (meant: at least 0.8)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--handler", type=Path, default=ROOT / "bin/handler", help="the program to measure")
    parser.add_argument("--models", type=Path, default=ROOT / "target/heads/models", help="the folder with the folder reranker")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    processes = Processes()
    with tempfile.TemporaryDirectory(prefix="score-bench-") as folder:
        try:
            handler, peer = start_all(processes, options, folder)
            measure(options, handler, peer)
            measure_hits(handler, peer)
        finally:
            processes.end_all()


if __name__ == "__main__":
    main()
