"""Texts: who is asked for embeddings of all-MiniLM-L6-v2, what they are asked, and what is meant to be reached."""

import base64
import json
import os
import random
import subprocess
import sys
import time
from array import array

from . import ROOT, WORK, BenchError
from .bodies import Request, framed
from .client import ask, connect
from .kinds import KINDS, NODE, OURS, SOUND, TALKS, Kind, handler
from .rounds import Bench
from .scenarios import Scenario
from .targets import Target, judge_rounds, judgement, quotient

MODELS = ROOT / "target/minilm/models"
FOLDER = MODELS / "minilm"
FASTAPI, PADDED, THREADS = "fastapi", "padded", "threads"
KNOWN_TEXTS = 64
STARTS = {"texts redis": 5, "texts node": 3, "texts fastapi": 3}
FILES = {"MODEL": str(FOLDER / "model.onnx"), "TOKENIZER": str(FOLDER / "tokenizer.json")}


def node(place):
    return ["node", str(WORK / "texts-node/server.js")], {**FILES, "PORT": str(place.port), "REDIS": place.redis}


def fastapi(workers=2, **env):
    def start(place):
        arguments = f"-m uvicorn app:app --app-dir {ROOT}/benches/peers/texts/fastapi --port {place.port} --workers {workers}"
        # By default it closes a connection that is idle for 5 s, as clients are until all are warm.
        arguments += " --timeout-keep-alive 600"
        command = [sys.executable, *arguments.split(), "--no-access-log", "--log-level", "warning"]
        python = {"PYTHONPATH": str(WORK / "texts-fastapi"), "PYTHONDONTWRITEBYTECODE": "1"}
        return command, {**python, **FILES, "REDIS": place.redis, **env}

    return start


def ours(**settings):
    return handler(SCORE_MODEL_DIR=str(MODELS), SCORE_DEFAULT_MODEL="minilm", SCORE_ENVELOPES="off", **settings)


MINILM = ("minilm",)
TEXT_KINDS = {
    "texts l1": Kind(OURS, ours(), MINILM, counters=SOUND),
    "texts redis": Kind(OURS, ours(SCORE_L1_BYTES="0"), MINILM, counters=SOUND),
    "texts node": Kind(NODE, node, MINILM, workers=2),
    "texts fastapi": Kind(FASTAPI, fastapi(), MINILM, quiet=TALKS, workers=2),
    # Batches as they are given, each text padded to the longest: what most servers do.
    "texts padded": Kind(PADDED, fastapi(RUN_ROWS="32", SORT="off"), MINILM, quiet=TALKS, workers=2),
    # One process that uses both cores for each run.
    "texts threads": Kind(THREADS, fastapi(1, THREADS="2"), MINILM, quiet=TALKS, workers=0),
}
KINDS.update(TEXT_KINDS)

PEERS = ("texts node", "texts fastapi")


def kinds(*names, concurrency):
    return dict.fromkeys(names, (concurrency,))


def scenario(title, rows, new, concurrency, *names, form="base64"):
    cache = "HIT" if not new else "MISS" if new == rows else f"PARTIAL; hits={rows - new}, rows={rows}"
    return Scenario(title, rows, new, cache, kinds(*names, concurrency=concurrency), "minilm", form)


SCENARIOS = [
    scenario("1 text, L1 hit", 1, 0, 32, "texts l1"),
    scenario("1 text, Redis hit", 1, 0, 32, "texts redis", *PEERS),
    scenario("16 texts, Redis hits", 16, 0, 32, "texts redis", *PEERS),
    scenario("16 texts, L1 hits, float", 16, 0, 32, "texts l1", form="float"),
    scenario("16 texts, Redis hits, float", 16, 0, 32, "texts redis", *PEERS, form="float"),
    scenario("1 text, miss", 1, 1, 32, "texts redis", *PEERS, "texts threads"),
    scenario("16 texts, miss", 16, 16, 1, "texts redis", *PEERS, "texts threads"),
    scenario("16 texts, half known", 16, 8, 1, "texts redis", *PEERS, "texts threads"),
    scenario("64 mixed texts, miss", 64, 64, 1, "texts redis", "texts padded", form="mixed"),
]

WHO = "The customer,A neighbour,Our supplier,The night shift,My colleague,The auditor,The new driver,A hospital".split(",")
DID = "ordered,lost,repaired,measured,returned,praised,photographed,insured".split(",")
WHAT = "a blue bicycle,the broken elevator,three boxes of tea,an invoice from March,a leaking roof,the heat pump".split(",")
WHERE = "near the railway station,before the contract was signed,for the third time this year,at half the price".split(",")


def stamp(number):
    return b"%08d" % number


def sentence(number):
    """About 20 tokens with the number that is put behind it."""
    picks = (WHO[number % 8], DID[number * 3 % 7], WHAT[number // 2 % 6], WHERE[number // 3 % 4])
    return " ".join(picks) + f", place {number}, case "


def of_mixed_lengths(count):
    made = random.Random(1)
    words = " ".join([*WHO, *DID, *WHAT, *WHERE]).split()
    return [" ".join(made.choice(words) for _ in range(made.randint(3, 60))) + ", case " for _ in range(count)]


def request(path, texts, new, form):
    """Every `rows / new`-th text ends with a number that makes it new."""
    rows, pieces = len(texts), [b""]
    for at, text in enumerate(texts):
        pieces[-1] += (b"," if at else b"") + b'"' + text.encode()
        if at * new // rows != (at + 1) * new // rows:
            pieces.append(b"")
        else:
            pieces[-1] += stamp(0)
        pieces[-1] += b'"'
    encoding = b"float" if form == "float" else b"base64"
    pieces = framed(b'{"model":"minilm","input":[', pieces, b'],"encoding_format":"%s"}' % encoding)
    length = sum(map(len, pieces)) + (len(pieces) - 1) * len(stamp(0))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    return Request(framed(head.encode(), pieces, b""), b"}}")


class TextBench(Bench):
    """The same rounds with texts instead of digits."""

    def path(self, kind):
        return "/api/score/v1/embeddings" if KINDS[kind].who == OURS else "/v1/embeddings"

    def known_rows(self, kind, model):
        return [request(self.path(kind), [sentence(number)], 0, "base64") for number in range(KNOWN_TEXTS)]

    def requests(self, server, cell):
        rows, new, form = cell.scenario.rows, cell.scenario.new, cell.scenario.form
        path = self.path(cell.kind)
        if form == "mixed":
            return [request(path, of_mixed_lengths(rows), new, form)], stamp
        known = [sentence(number) for number in range(KNOWN_TEXTS)]
        starts = range(0, KNOWN_TEXTS, max(1, rows // 4))
        return [request(path, (known[start:] + known)[:rows], new, form) for start in starts], stamp

    def seconds_of_one_run(self, model):
        """Tokenizer and model loaded, and one text run, by themselves."""
        env = {**os.environ, **FILES, "PYTHONPATH": str(WORK / "texts-fastapi")}
        command = [sys.executable, str(ROOT / "benches/measure/loading.py")]
        return float(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)

    def start_all(self, stack):
        running = super().start_all(stack)
        for kind, server in running.items():
            if KINDS[kind].who == OURS:
                self.wait_for_trial(server)
        vectors = {kind: self.vectors(server) for kind, server in running.items()}
        first = next(iter(vectors.values()))
        for kind, found in vectors.items():
            if max(abs(a - b) for a, b in zip(found, first, strict=True)) > 1e-5:
                raise BenchError(f"server {kind!r} gives other vectors")
        return running

    def wait_for_trial(self, server):
        """Until it knows whether texts may share runs: it tries that behind answers."""
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up:
            with connect(server.port) as connection:
                ask(connection, stamp(self.next_number).join(request(self.path(server.kind), [sentence(0)], 1, "base64").pieces))
                self.next_number += 1
                told = ask(connection, b"GET /api/score/minilm HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if json.loads(told.partition(b"\r\n\r\n")[2])["text"]["shared_runs"] is not None:
                return
        raise BenchError(f"server {server.kind!r} has not tried shared runs")

    def vectors(self, server):
        with connect(server.port) as connection:
            texts = [sentence(number) for number in range(8)]
            answer = ask(connection, request(self.path(server.kind), texts, 0, "base64").pieces[0])
        rows = json.loads(answer.partition(b"\r\n\r\n")[2])["data"]
        return array("f", b"".join(base64.b64decode(row["embedding"]) for row in rows))

    def measure_starts(self):
        runs = {kind: [] for kind in STARTS}
        for number in range(max(STARTS.values())):
            for kind, so_far in runs.items():
                if number < STARTS[kind]:
                    self.servers.flush()
                    loading = self.seconds_of_one_run("minilm")
                    begin = time.perf_counter()
                    server = self.servers.begin(kind)
                    alive, scored = self.servers.up(server, self.known_rows(kind, "minilm")[0])
                    rss, anonymous = server.memory()
                    self.servers.end(server)
                    figures = {"alive_ms": (alive - begin) * 1e3, "scored_ms": (scored - begin) * 1e3}
                    so_far.append({**figures, "rss_mib": rss, "anonymous_mib": anonymous, "loading_ms": loading * 1e3})
        return {KINDS[kind].who: starts for kind, starts in runs.items()}


def targets():
    def of(figure, title, who, concurrency):
        return lambda one: one.figures[title, who, concurrency][figure]

    def to(figure, title, *peers, concurrency=32, best=min):
        mine = of(figure, title, OURS, concurrency)
        return lambda one: mine(one) / best(of(figure, title, who, concurrency)(one) for who in peers)

    rate = "requests_per_second"
    hit, hits = "1 text, Redis hit", "16 texts, Redis hits"
    both = (NODE, FASTAPI)
    in_process = quotient("cpu_us", ("1 text, L1 hit", OURS, 32), (hit, NODE, 32))
    return [
        Target("CPU per request, 1 text, hit, c=32, to node", True, 0.4, to("cpu_us", hit, NODE)),
        Target("the same with L1, as by default", True, 0.4, in_process),
        Target("req/s, 1 text, hit, c=32, to node", False, 2, to(rate, hit, NODE)),
        Target("texts/s, 16 texts, hits, c=32, to node", False, 2, to(rate, hits, NODE)),
        Target("CPU per text, 16 texts, hits, float, c=32, to fastapi", True, 0.25, to("cpu_us", f"{hits}, float", FASTAPI)),
        Target("texts/s, 1 text, miss, c=32, to the best", False, 1.2, to(rate, "1 text, miss", *both, THREADS, best=max)),
        Target("p50, 16 texts, miss, c=1, to threads", True, 0.9, to("p50_ms", "16 texts, miss", THREADS, concurrency=1)),
        Target("p50, 16 texts, half known, c=1, to the best of node and fastapi", True, 0.55,
               to("p50_ms", "16 texts, half known", *both, concurrency=1)),
        Target("CPU per text, 64 mixed texts, to padded", True, 0.5, to("cpu_us", "64 mixed texts, miss", PADDED, concurrency=1)),
    ]


def judge(rounds, starts, everything):
    judged = judge_rounds(targets(), rounds, everything)
    if OURS in starts:
        ratios = [start["scored_ms"] / start["loading_ms"] for start in starts[OURS]]
        judged.append(judgement(Target("exec to the first vector, to loading tokenizer and model alone", True, 1.2, None), ratios))
    return judged
