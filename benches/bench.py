#!/usr/bin/env python3
"""Measures bin/handler against a Redis of its own: start, cache paths, batches. See benches/README.md."""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STARTS = 15
KNOWN_ROWS = 100
BATCH = 64
WARM_UP_SECONDS = 0.15
STALL_SECONDS = 5
# Client processes at high concurrency; on two cores one is enough and leaves the rest to the server.
CLIENTS = max(1, min(4, (os.cpu_count() or 1) // 2))

# name: (handler, rows in a request, how many of them are new, X-Cache, concurrencies)
SCENARIOS = {
    "1 row, L1 hit": ("l1", 1, 0, "HIT", (1, 32)),
    "1 row, Redis hit": ("redis", 1, 0, "HIT", (1, 32)),
    "1 row, miss": ("redis", 1, 1, "MISS", (1, 32)),
    "1 row, no cache": ("off", 1, 1, "BYPASS", (1, 32)),
    "1 row, Redis down": ("down", 1, 1, "BYPASS", (1, 32)),
    "64 rows, all hits": ("redis", BATCH, 0, "HIT", (1, 8)),
    "64 rows, half hits": ("redis", BATCH, BATCH // 2, "PARTIAL; hits=32, rows=64", (1, 8)),
    "64 rows, no hit": ("redis", BATCH, BATCH, "MISS", (1, 8)),
    "64 rows, no cache": ("off", BATCH, BATCH, "BYPASS", (1, 8)),
}
RATIOS = [
    ("1 row, L1 hit", "1 row, no cache"),
    ("1 row, Redis hit", "1 row, no cache"),
    ("1 row, miss", "1 row, Redis hit"),
    ("1 row, miss", "1 row, no cache"),
    ("1 row, Redis down", "1 row, no cache"),
    ("64 rows, all hits", "64 rows, no cache"),
    ("64 rows, half hits", "64 rows, no cache"),
    ("64 rows, no hit", "64 rows, no cache"),
]
# Title, which end of the scenario's concurrencies, figure.
RATIO_COLUMNS = [
    ("req/s, many", -1, "requests_per_second"),
    ("p50, one", 0, "p50_ms"),
    ("CPU, one", 0, "cpu_us"),
    ("CPU, many", -1, "cpu_us"),
]


class BenchError(Exception):
    """Something that makes the figures worthless."""


class Processes:
    """Everything that was started, so that it can be ended whatever happens."""

    def __init__(self):
        self.running = []
        self.starting = False
        self.signal = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupted)

    def interrupted(self, number, _frame):
        # Not between a fork and the note of its id.
        self.signal = number
        if not self.starting:
            raise SystemExit(128 + number)

    def start(self, make):
        self.starting = True
        try:
            process = make()
            self.running.append(process)
        finally:
            self.starting = False
        if self.signal:
            raise SystemExit(128 + self.signal)
        return process

    def end(self, process):
        if process not in self.running:
            return
        process.kill()
        wait = process.wait if isinstance(process, subprocess.Popen) else process.join
        wait()
        self.running.remove(process)

    def end_all(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process in list(self.running):
            self.end(process)


# --- requests -------------------------------------------------------------------------------------------------------


class Rows:
    """The sample digits. Two corner pixels, blank in every digit, take a number that makes a row new."""

    def __init__(self):
        text = (ROOT / "examples/mnist/digits.json").read_text()
        self.rows = json.loads(text)["data"][:KNOWN_ROWS]
        labels = json.loads((ROOT / "examples/mnist/labels.json").read_text())
        self.labels = labels["scikit_learn"][:KNOWN_ROWS]

    def request(self, first, rows, new):
        """A request in pieces, `new` of its rows to be made new by joining it with a stamp, and the answer's end."""
        pieces, labels = [""], []
        for place in range(rows):
            digit = (first + place) % KNOWN_ROWS
            labels.append(self.labels[digit])
            pixels = ",".join(map(str, self.rows[digit][2:]))
            pieces[-1] += ",[" if place else '{"data":[['
            if place * new // rows != (place + 1) * new // rows:
                pieces.append("")
            else:
                pieces[-1] += stamp(0).decode()
            pieces[-1] += f",{pixels}]"
        pieces[-1] += "]}"
        pieces = [piece.encode() for piece in pieces]
        length = sum(map(len, pieces)) + (len(pieces) - 1) * len(stamp(0))
        pieces[0] = post_head(length) + pieces[0]
        answer = json.dumps(labels, separators=(",", ":")).encode()
        return pieces, b"\r\n\r\n" + answer

    def requests(self, rows, new):
        step = 1 if rows == 1 else KNOWN_ROWS // 4
        return [self.request(first, rows, new) for first in range(0, KNOWN_ROWS, step)]


def stamp(number):
    return b"0.%04d,0.%04d" % divmod(number, 10_000)


def post_head(length):
    return (
        "POST /api/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=STALL_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return connection


def whole(answer):
    """Whether these bytes are a whole answer."""
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if found and not length:
        raise BenchError(f"an answer without Content-Length: {head!r}")
    return bool(found) and len(body) >= int(length[1])


def ask(connection, request):
    """One request at leisure."""
    connection.sendall(request)
    answer = b""
    while not whole(answer):
        more = connection.recv(1 << 16)
        if not more:
            raise BenchError("the server closed the connection")
        answer += more
    return answer


# --- client ---------------------------------------------------------------------------------------------------------


class Load:
    """Keeps every connection busy with one request at a time and checks each answer."""

    def __init__(self, port, connections, requests, cache, numbers):
        self.requests, self.numbers = requests, numbers
        self.cache = b"\r\nx-cache: %s\r\n" % cache.encode()
        self.turn = 0
        self.epoll = select.epoll()
        self.sockets = {}
        for _ in range(connections):
            connection = connect(port)
            connection.setblocking(False)
            self.sockets[connection.fileno()] = connection
            self.epoll.register(connection.fileno(), select.EPOLLIN)

    def run(self, seconds):
        """Latencies in seconds, failures, and how long it took."""
        latencies, failures = array("d"), []
        unsent, expected, received, since = {}, {}, {}, {}
        clock, requests, cache = time.perf_counter, self.requests, self.cache

        def send(fd):
            pieces, expected[fd] = requests[self.turn % len(requests)]
            self.turn += 1
            request = stamp(next(self.numbers)).join(pieces) if len(pieces) > 1 else pieces[0]
            received[fd] = b""
            since[fd] = clock()
            push(fd, request)

        def push(fd, data):
            sent = self.sockets[fd].send(data)
            if sent < len(data):
                unsent[fd] = memoryview(data)[sent:]
                self.epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

        start = clock()
        end = start + seconds
        for fd in self.sockets:
            send(fd)
        waiting = len(self.sockets)
        while waiting:
            events = self.epoll.poll(STALL_SECONDS)
            if not events:
                raise BenchError(f"{waiting} requests had no answer within {STALL_SECONDS} s")
            for fd, event in events:
                if event & select.EPOLLOUT and fd in unsent:
                    self.epoll.modify(fd, select.EPOLLIN)
                    with contextlib.suppress(BlockingIOError):
                        push(fd, unsent.pop(fd))
                if not event & ~select.EPOLLOUT:
                    continue
                more = self.sockets[fd].recv(1 << 16)
                if not more:
                    raise BenchError("the server closed a connection")
                answer = received[fd] + more
                good = answer.startswith(b"HTTP/1.1 200 ") and cache in answer and answer.endswith(expected[fd])
                if not good and not whole(answer):
                    received[fd] = answer
                    continue
                now = clock()
                latencies.append(now - since[fd])
                if not good:
                    failures.append(answer.decode(errors="replace"))
                if now < end:
                    send(fd)
                else:
                    waiting -= 1
        return latencies, failures, clock() - start


def client(pipe, port, connections, requests, cache, numbers, seconds):
    """A client process: warms up, says so, waits for the word, works, reports."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    try:
        load = Load(port, connections, requests, cache, numbers)
        _, failures, _ = load.run(WARM_UP_SECONDS)
        pipe.send(None)
        pipe.recv()
        cpu = time.process_time()
        latencies, more, elapsed = load.run(seconds)
        failures += more
        pipe.send((latencies, len(failures), failures[:1], elapsed, time.process_time() - cpu))
    except (BenchError, OSError) as error:
        pipe.send(f"{type(error).__name__}: {error}")


# --- servers --------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, options, processes, temporary):
        self.options, self.processes, self.temporary = options, processes, Path(temporary)
        self.rows = Rows()
        self.next_number = 1
        self.failures = 0
        self.remarks = []
        # Bound and not listening: refuses connections, and nobody else gets the port.
        self.dead = socket.socket()
        self.dead.bind(("127.0.0.1", 0))
        self.redis_port = self.start_redis()
        redis, dead = (f"redis://127.0.0.1:{port}" for port in (self.redis_port, self.dead.getsockname()[1]))
        self.handlers = {
            "l1": {"REDIS_URL": redis},
            "redis": {"REDIS_URL": redis, "SCORE_L1_BYTES": "0"},
            "off": {"REDIS_URL": redis, "SCORE_CACHE_POLICY": "off"},
            "down": {"REDIS_URL": dead, "SCORE_L1_BYTES": "0"},
        }

    def spawn(self, command, log, env=None):
        with open(log, "wb") as out:
            make = lambda: subprocess.Popen(  # noqa: E731
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
            return self.processes.start(make)

    def start_redis(self):
        port, log = free_port(), self.temporary / "redis.log"
        command = f"redis-server --bind 127.0.0.1 --port {port} --appendonly no --dir {self.temporary} --save".split()
        process = self.spawn([*command, ""], log)
        wait_for(process, log, lambda: redis_command(port, "PING") == b"+PONG\r\n")
        return port

    def start_handler(self, kind):
        """Starts a handler and gives its figures up to the first score, polling gently."""
        port, log = free_port(), self.temporary / f"{kind}.log"
        foreign = ("SCORE_", "REDIS_", "FUNCTIONS_", "AZUREML_", "ORT_", "OTEL_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        env.update(self.handlers[kind], SCORE_PORT=str(port), **dict(self.options.set))
        [(pieces, answer_end)] = self.rows.requests(1, 0)[:1]
        begin = time.perf_counter()
        process = self.spawn([str(self.options.handler)], log, env)
        connection = wait_for(process, log, lambda: connect(port), pause=0.0003)
        with connection:
            if not ask(connection, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 200 "):
                raise BenchError("GET / is not answered with 200")
            alive = time.perf_counter()
            answer = ask(connection, pieces[0])
            scored = time.perf_counter()
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(answer_end):
            raise BenchError(f"the first score is wrong: {answer!r}")
        handler = Handler(kind, process, port, log)
        rss, anonymous = handler.memory()
        figures = {"alive_ms": (alive - begin) * 1e3, "scored_ms": (scored - begin) * 1e3}
        return handler, {**figures, "rss_mib": rss, "anonymous_mib": anonymous}

    def end(self, handler):
        self.processes.end(handler.process)
        trouble = [line for line in handler.log.read_text(errors="replace").splitlines() if " INFO " not in line]
        if handler.kind == "down":
            trouble = [line for line in trouble if "redis cannot be used" not in line]
        self.remarks += [f"log of handler {handler.kind!r}: {line}" for line in trouble[:5]]
        handler.log.unlink()

    def remember_known_rows(self, handler):
        give_up = time.monotonic() + 10
        with connect(handler.port) as connection:
            for (request,), _ in self.rows.requests(1, 0):
                while b"\r\nx-cache: HIT\r\n" not in ask(connection, request):
                    if time.monotonic() > give_up:
                        raise BenchError(f"handler {handler.kind!r} does not remember rows")
                    time.sleep(0.002)

    def measure_starts(self):
        runs = []
        for _ in range(STARTS):
            handler, figures = self.start_handler("l1")
            self.end(handler)
            runs.append(figures)
        return {name: statistics.median(run[name] for run in runs) for name in runs[0]}

    def measure_round(self, number):
        """All cells once, in an order that differs from round to round. Figures by (scenario, concurrency)."""
        redis_command(self.redis_port, "FLUSHALL")
        cells = cells_in_order()
        turn = number * len(cells) // self.options.rounds
        cells = (cells[turn:] + cells[:turn])[:: -1 if number % 2 else 1]
        with contextlib.ExitStack() as stack:
            handlers = {}
            for kind in self.handlers:
                handlers[kind], _ = self.start_handler(kind)
                stack.callback(self.end, handlers[kind])
            for kind in ("redis", "l1"):
                self.remember_known_rows(handlers[kind])
            figures = {cell: self.measure_cell(handlers, *cell) for cell in cells}
            for handler in handlers.values():
                rss, anonymous = handler.memory()
                counters = handler.counters()
                figures[handler.kind] = {"rss_mib": rss, "anonymous_mib": anonymous, **counters}
                for name in ("dropped_writes", "redis_errors", "damaged"):
                    if counters[name] and handler.kind != "down":
                        self.remarks.append(f"handler {handler.kind!r}: {counters[name]} {name}")
        return figures

    def measure_cell(self, handlers, name, concurrency):
        kind, rows, new, cache, _ = SCENARIOS[name]
        handler = handlers[kind]
        requests = self.rows.requests(rows, new)
        clients = min(CLIENTS, concurrency)
        pipes, workers = [], []
        fork = multiprocessing.get_context("fork")
        try:
            for index in range(clients):
                pipe, far = fork.Pipe()
                connections = concurrency // clients + (index < concurrency % clients)
                numbers = iter(range(self.next_number + index, 100_000_000, clients))
                arguments = (far, handler.port, connections, requests, cache, numbers, self.options.seconds)
                worker = fork.Process(target=client, args=arguments, daemon=True)

                def make(worker=worker):
                    worker.start()
                    return worker

                workers.append(self.processes.start(make))
                pipes.append(pipe)
                far.close()
            for pipe in pipes:
                received(pipe, name)
            cpu = handler.settled_cpu()
            for pipe in pipes:
                pipe.send("go")
            reports = [received(pipe, name) for pipe in pipes]
            # What is still written to Redis behind the answers belongs to them.
            done = time.perf_counter()
            cpu = handler.settled_cpu() - cpu
            settle = time.perf_counter() - done
        finally:
            for worker in workers:
                self.processes.end(worker)
        latencies = sorted(latency for report in reports for latency in report[0])
        count = len(latencies)
        # The warm-ups took numbers too; ample room for them.
        self.next_number += 3 * count + 100_000
        failures = sum(report[1] for report in reports)
        if failures:
            self.failures += failures
            example = next(report[2][0] for report in reports if report[2])
            self.remarks.append(f"{name}, c={concurrency}: {failures} failures, such as {example!r}")
        return {
            "requests": count,
            "failures": failures,
            "requests_per_second": count / max(report[3] for report in reports),
            "p50_ms": percentile(latencies, 0.5) * 1e3,
            "p99_ms": percentile(latencies, 0.99) * 1e3,
            "max_ms": latencies[-1] * 1e3,
            "cpu_us": cpu / count * 1e6,
            "client_cpu_us": sum(report[4] for report in reports) / count * 1e6,
            "settle_ms": settle * 1e3,
        }


class Handler:
    def __init__(self, kind, process, port, log):
        self.kind, self.process, self.port, self.log = kind, process, port, log

    def memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return [int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024 for name in ("VmRSS", "RssAnon")]

    def cpu(self):
        """User and system time of all its threads, in seconds: the sum in /proc/PID/stat, without its 10 ms ticks."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def settled_cpu(self):
        """Its CPU time as soon as it idles."""
        give_up = time.monotonic() + STALL_SECONDS
        last = self.cpu()
        while time.monotonic() < give_up:
            time.sleep(0.02)
            now = self.cpu()
            if now - last < 0.0005:
                return now
            last = now
        raise BenchError(f"handler {self.kind!r} is still busy {STALL_SECONDS} s after the last answer")

    def counters(self):
        with connect(self.port) as connection:
            text = ask(connection, b"GET /api/score/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").decode()
        found = re.findall(r"^score_cache_(\w+?)(?:_total)? (\d+)$", text, re.MULTILINE)
        return {name: int(value) for name, value in found}


def received(pipe, name):
    """What a client process says."""
    try:
        report = pipe.recv()
    except EOFError:
        report = "a client process ended early"
    if isinstance(report, str):
        raise BenchError(f"{name}: {report}")
    return report


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def redis_command(port, command):
    with connect(port) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(100)


def wait_for(process, log, attempt, pause=0.01):
    give_up = time.monotonic() + 10
    while True:
        with contextlib.suppress(ConnectionError):
            outcome = attempt()
            if outcome:
                return outcome
        if process.poll() is not None or time.monotonic() > give_up:
            raise BenchError(f"{process.args[0]} does not come up: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(pause)


def cells_in_order():
    """Scenario and concurrency; those that are compared with each other stand together."""
    cells = [(name, c) for name, (*_, concurrencies) in SCENARIOS.items() for c in concurrencies]
    return sorted(cells, key=lambda cell: (SCENARIOS[cell[0]][1], cell[1]))


def stolen():
    """Ticks of CPU time that the machine's host took away so far, and ticks in all."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


# --- results --------------------------------------------------------------------------------------------------------


def summarize(rounds):
    """Cells: medians over the rounds; only counts and the longest time are of all rounds together."""
    cells = []
    for name, concurrency in cells_in_order():
        runs = [figures[name, concurrency] for figures in rounds]
        cell = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        cell["requests"] = sum(run["requests"] for run in runs)
        cell["failures"] = sum(run["failures"] for run in runs)
        cell["max_ms"] = max(run["max_ms"] for run in runs)
        cells.append({"scenario": name, "concurrency": concurrency, **cell, "rounds": runs})
    return cells


def compare(rounds):
    """Each ratio within its round; the median over the rounds, and the range that holds the middle half of them."""
    ratios = []
    for one, other in RATIOS:
        for title, end, figure in RATIO_COLUMNS:
            each = [
                figures[one, SCENARIOS[one][4][end]][figure] / figures[other, SCENARIOS[other][4][end]][figure]
                for figures in rounds
            ]
            ratios.append(
                {
                    "of": one,
                    "to": other,
                    "figure": title,
                    "median": statistics.median(each),
                    "low": sorted(each)[len(each) // 4],
                    "high": sorted(each)[-1 - len(each) // 4],
                }
            )
    return ratios


def show(result):
    start, machine = result["start"], result["machine"]
    print(
        f"{machine['cores']} cores, load {machine['load_at_start']:.1f} at the start, "
        f"{machine['stolen_percent']:.1f} % of the CPU time taken by the machine's host"
    )
    print(
        f"start, median of {STARTS}: first 200 after {start['alive_ms']:.1f} ms, first score after "
        f"{start['scored_ms']:.1f} ms; then {start['rss_mib']:.1f} MiB resident, "
        f"{start['anonymous_mib']:.1f} MiB of it anonymous\n"
    )
    columns = ["requests", "req/s", "p50 ms", "p99 ms", "max ms", "CPU us", "client us"]
    print(f"{'scenario':<20}{'c':>3}" + "".join(f"{column:>11}" for column in columns))
    for cell in result["cells"]:
        values = [
            f"{cell['requests']}",
            f"{cell['requests_per_second']:.0f}",
            *(f"{cell[name]:.3f}" for name in ("p50_ms", "p99_ms")),
            f"{cell['max_ms']:.1f}",
            *(f"{cell[name]:.1f}" for name in ("cpu_us", "client_cpu_us")),
        ]
        print(f"{cell['scenario']:<20}{cell['concurrency']:>3}" + "".join(f"{value:>11}" for value in values))
    print(f"\n{'ratio (median, middle half of rounds)':<39}" + "".join(f"{title:>19}" for title, *_ in RATIO_COLUMNS))
    for place in range(0, len(result["ratios"]), len(RATIO_COLUMNS)):
        row = result["ratios"][place : place + len(RATIO_COLUMNS)]
        texts = [f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})" for ratio in row]
        other = row[0]["to"].split(", ")[1]
        print(f"{row[0]['of'] + ' / ' + other:<39}" + "".join(f"{text:>19}" for text in texts))
    print("\nresident (anonymous) MiB at the end of each round")
    for kind, memory in result["memory"].items():
        print(f"  {kind:<6}" + "  ".join(f"{m['rss_mib']:.1f} ({m['anonymous_mib']:.1f})" for m in memory))


def read_options():
    def setting(text):
        name, equals, value = text.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError("expected NAME=VALUE")
        return name, value

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handler", type=Path, default=ROOT / "bin/handler", help="the program to measure")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a cell in each round (0.3)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each cell is measured (9)")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a setting")
    return parser.parse_args()


def main():
    options = read_options()
    if not sys.platform.startswith("linux"):
        sys.exit("error: the CPU time of another process is read in Linux's way")
    if not os.access(options.handler, os.X_OK):
        sys.exit(f"error: {options.handler} is not there; run make build")
    if not shutil.which("redis-server"):
        sys.exit("error: redis-server is not there; make bench installs it")
    options.handler = options.handler.resolve()
    program = options.handler.stat()
    load, (steal, ticks) = os.getloadavg()[0], stolen()
    processes = Processes()
    try:
        with tempfile.TemporaryDirectory(prefix="score-bench-") as temporary:
            try:
                bench = Bench(options, processes, temporary)
                start = bench.measure_starts()
                rounds = [bench.measure_round(number) for number in range(options.rounds)]
            finally:
                processes.end_all()
    except (BenchError, OSError) as error:
        sys.exit(f"error: {error}")
    steal, ticks = stolen()[0] - steal, stolen()[1] - ticks
    if options.handler.stat().st_mtime_ns != program.st_mtime_ns:
        bench.remarks.append("the program was replaced while it was measured: the figures are of two builds")
    result = {
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "load_at_start": load,
            "stolen_percent": 100 * steal / ticks,
        },
        "settings": {name: value for name, value in options.set},
        "clients": CLIENTS,
        "start": start,
        "cells": summarize(rounds),
        "ratios": compare(rounds),
        "memory": {kind: [figures[kind] for figures in rounds] for kind in bench.handlers},
        "remarks": bench.remarks,
    }
    show(result)
    out = ROOT / "target/bench.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    for remark in bench.remarks:
        print(f"remark: {remark}", file=sys.stderr)
    if bench.failures:
        sys.exit(f"error: {bench.failures} answers were not as expected")


if __name__ == "__main__":
    main()
