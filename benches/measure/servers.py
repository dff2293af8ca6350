"""What is measured: how each server is started and asked."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import ROOT, WORK, BenchError
from .client import ask, connect
from .processes import cpu_seconds, family, memory, wait_for

LIMIT = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/limit"
LIBRARY = ROOT / "bin/libonnxruntime.so.1"
SAMPLE_MODELS = ROOT / "models"
# The three models side by side; of one of them alone the sample folder is enough.
ALL_MODELS = WORK / "models"
PEERS = ROOT / "benches/peers"
FOREIGN = ("SCORE_", "REDIS_", "FUNCTIONS_", "AZUREML_", "ORT_", "OTEL_", "MODEL_")
SETTLE_SECONDS = 5


@dataclass(frozen=True)
class Place:
    """What a server is told when it starts."""

    options: object
    port: int
    redis: str
    dead: str


def model_file(model):
    return (SAMPLE_MODELS if model == "mnist" else ALL_MODELS) / model / "model.onnx"


def handler(other=False, **settings):
    """The handler, or the other one it is compared with; `redis` and `dead` in a setting stand for addresses."""

    def start(place):
        env = {
            name: value.format(redis=f"redis://{place.redis}", dead=f"redis://{place.dead}")
            for name, value in settings.items()
        }
        every = {"SCORE_MODEL_DIR": str(ALL_MODELS), "SCORE_DEFAULT_MODEL": "mnist"} if ALL_MODELS.exists() else {}
        env = {"REDIS_URL": f"redis://{place.redis}", "SCORE_PORT": str(place.port), **every, **env}
        if other:
            return [str(place.options.against)], env
        return [str(place.options.handler)], {**env, **dict(place.options.set)}

    return start


def limit(mode, model="mnist"):
    def start(place):
        redis = ["--redis", place.redis] if mode == "redis" else []
        command = [str(LIMIT), "serve", "--mode", mode, "--port", str(place.port), *redis]
        return [*command, "--model", str(model_file(model)), "--library", str(LIBRARY)], {}

    return start


def node(model="mnist", **env):
    def start(place):
        more = {name: value.format(redis=place.redis) for name, value in env.items()}
        command = ["node", str(WORK / "node/server.js")]
        return command, {"PORT": str(place.port), "MODEL": str(model_file(model)), **more}

    return start


def azureml(model="mnist", **env):
    def start(place):
        more = {name: value.format(redis=place.redis) for name, value in env.items()}
        command = [sys.executable, str(PEERS / "azureml/serve.py"), str(place.port)]
        return command, {
            "PYTHONPATH": str(WORK / "azureml"),
            "AML_APP_ROOT": str(PEERS / "azureml"),
            "AZUREML_ENTRY_SCRIPT": str(PEERS / "azureml/score.py"),
            "MODEL_FILE": str(model_file(model)),
            **more,
        }

    return start


@dataclass(frozen=True)
class Kind:
    """One way to serve."""

    # Whose column its figures belong to.
    who: str
    # Of a Place: command and environment.
    command: Callable
    # The models it answers for.
    models: tuple = ("mnist",)
    # Log lines that are as they should be.
    quiet: tuple = (" INFO ",)
    # Whether it may refuse to start: a setting that this build does not know.
    optional: bool = False
    # Whether its answers say what became of the look-up.
    tells_cache: bool = True
    # Whether it answers with blanks between the labels.
    spaced: bool = False
    # Processes beside the one that is started.
    workers: int = 0
    @property
    def lasts(self):
        """Whether it stays for all rounds, because its code gets faster as it runs."""
        return self.workers > 0

    # Counters of its metrics that have to stay 0.
    counters: tuple = ()


OURS, OTHER, LIMIT_NAME, NODE, AZUREML = "score", "other", "limit", "node", "azureml"
TALKS = ("",)
EVERY = ("mnist", "mlp", "convnet")
SOUND = ("score_cache_damaged_total", "score_cache_redis_errors_total", "score_cache_dropped_writes_total")


def handlers(who, other=False):
    """The kinds of handler by name."""
    no_l1 = {"SCORE_L1_BYTES": "0"}
    down = handler(other, **no_l1, REDIS_URL="{dead}")
    auto = handler(other, **no_l1, SCORE_CACHE_POLICY="auto")
    return {
        "l1": Kind(who, handler(other), EVERY, counters=SOUND),
        "redis": Kind(who, handler(other, **no_l1), EVERY, counters=SOUND),
        "off": Kind(who, handler(other, SCORE_CACHE_POLICY="off"), EVERY),
        "down": Kind(who, down, quiet=(" INFO ", "redis cannot be used")),
        "auto": Kind(who, auto, EVERY, optional=True, counters=SOUND),
    }


KINDS = {
    **handlers(OURS),
    **{f"{OTHER} {name}": kind for name, kind in handlers(OTHER, other=True).items()},
    "limit l1": Kind(LIMIT_NAME, limit("l1")),
    "limit redis": Kind(LIMIT_NAME, limit("redis")),
    "limit run": Kind(LIMIT_NAME, limit("run")),
    "limit redis mlp": Kind(LIMIT_NAME, limit("redis", "mlp"), ("mlp",)),
    "limit redis convnet": Kind(LIMIT_NAME, limit("redis", "convnet"), ("convnet",)),
    "node": Kind(NODE, node(REDIS="{redis}"), workers=2),
    "node off": Kind(NODE, node(), workers=2),
    "node mlp": Kind(NODE, node("mlp", REDIS="{redis}"), ("mlp",), workers=2),
    "node convnet": Kind(NODE, node("convnet", REDIS="{redis}"), ("convnet",), workers=2),
    "azureml": Kind(AZUREML, azureml(REDIS_ADDRESS="{redis}"), quiet=TALKS, tells_cache=False, spaced=True, workers=2),
    "azureml off": Kind(AZUREML, azureml(), quiet=TALKS, tells_cache=False, spaced=True, workers=2),
}


class Refused(BenchError):
    """A server that does not start with these settings."""


@dataclass
class Server:
    kind: str
    process: subprocess.Popen
    port: int
    log: Path
    pids: list = field(default_factory=list)

    def memory(self):
        return memory(self.pids)

    def settled_cpu(self):
        """Its CPU time as soon as it idles."""
        give_up = time.monotonic() + SETTLE_SECONDS
        last = cpu_seconds(self.pids)
        while time.monotonic() < give_up:
            time.sleep(0.02)
            now = cpu_seconds(self.pids)
            if now - last < 0.0005:
                return now
            last = now
        raise BenchError(f"server {self.kind!r} is still busy {SETTLE_SECONDS} s after the last answer")


class Servers:
    """Starts and ends them, and the Redis they share."""

    def __init__(self, options, processes, temporary):
        self.options, self.processes, self.temporary = options, processes, Path(temporary)
        self.remarks = []
        # Bound and not listening: refuses connections, and nobody else gets the port.
        self.dead = socket.socket()
        self.dead.bind(("127.0.0.1", 0))
        self.redis_port = self.start_redis()

    def spawn(self, command, log, env=None):
        def make():
            with open(log, "wb") as out:
                return subprocess.Popen(
                    command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
                )

        return self.processes.start(make)

    def start_redis(self):
        port, log = free_port(), self.temporary / "redis.log"
        command = f"redis-server --bind 127.0.0.1 --port {port} --appendonly no --dir {self.temporary} --save".split()
        process = self.spawn([*command, ""], log)
        wait_for(process, log, lambda: redis_command(port, "PING") == b"+PONG\r\n")
        return port

    def flush(self):
        redis_command(self.redis_port, "FLUSHALL")

    def begin(self, kind, settings=None):
        """A server that has been started and need not be up yet."""
        port, log = free_port(), self.temporary / f"{kind}.log"
        place = Place(
            self.options, port, f"127.0.0.1:{self.redis_port}", f"127.0.0.1:{self.dead.getsockname()[1]}"
        )
        command, more = KINDS[kind].command(place)
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        process = self.spawn(command, log, {**env, **more, **(settings or {})})
        return Server(kind, process, port, log)

    def up(self, server, request):
        """Waits for it, polling gently: when it answered GET /, and when it gave the first right score."""
        process, log, port = server.process, server.log, server.port
        alive_request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        try:
            connection = wait_for(process, log, lambda: connect(port), pause=0.0003)
        except BenchError as error:
            if KINDS[server.kind].optional and process.poll() is not None:
                self.processes.end(process)
                raise Refused(str(error)) from error
            raise
        with connection:
            answer = ask(connection, alive_request)
            alive = time.perf_counter()
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise BenchError("GET / is not answered with 200")
        # On a connection of its own, as not every server keeps one.
        with connect(port) as connection:
            answer = ask(connection, request.pieces[0])
            scored = time.perf_counter()
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(request.answer_end):
            raise BenchError(f"the first score of {server.kind!r} is wrong: {answer!r}")
        wait_for(process, log, lambda: len(family(process.pid)) > KINDS[server.kind].workers)
        server.pids = family(process.pid)
        return alive, scored

    def end(self, server):
        self.processes.end(server.process)
        quiet = KINDS[server.kind].quiet
        lines = server.log.read_text(errors="replace").splitlines()
        trouble = [line for line in lines if not any(text in line for text in quiet)]
        self.remarks += [f"log of {server.kind!r}: {line}" for line in trouble[:5]]
        server.log.unlink()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def redis_command(port, command):
    with connect(port) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(100)


def score_path(kind, form, model):
    """Where a server takes a request."""
    if form == "envelope":
        return "/score-http"
    if form.startswith("V2"):
        return f"/api/score/v2/models/{model}/infer"
    if KINDS[kind].who == AZUREML:
        return "/score"
    if KINDS[kind].who in (OURS, OTHER) and model != "mnist":
        return f"/api/score/{model}"
    return "/api/score"
