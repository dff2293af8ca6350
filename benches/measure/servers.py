"""Servers that run, and the Redis they share."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import ROOT, BenchError
from .client import ask, connect
from .kinds import KINDS, Place
from .processes import cpu_seconds, family, memory, wait_for

FOREIGN = ("SCORE_", "REDIS_", "FUNCTIONS_", "AZUREML_", "ORT_", "OTEL_", "MODEL_")
SETTLE_SECONDS = 5


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
        # Bound and not listening: refuses connections, and no other process gets the port.
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
        place = Place(self.options, port, f"127.0.0.1:{self.redis_port}", f"127.0.0.1:{self.dead.getsockname()[1]}")
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
            refusal = KINDS[server.kind].refusal
            if refusal and refusal in log.read_text(errors="replace"):
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
