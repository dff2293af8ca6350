"""The measuring itself: starts, and rounds of all cells."""

import contextlib
import multiprocessing
import os
import statistics
import subprocess
import time
from dataclasses import dataclass

from . import BenchError
from .bodies import FORMS, Digits
from .client import ask, client, connect
from .kinds import KINDS, LIBRARY, LIMIT, OTHER, SAMPLE_MODELS, model_file, score_path
from .servers import Refused, Servers

# How often each kind is started for the figures of the start: the slow ones not so often.
STARTS = {"l1": 15, f"{OTHER} l1": 15, "limit redis": 15, "node": 3, "azureml": 3}
# Client processes at high concurrency; on two cores one is enough and leaves the rest to the server.
CLIENTS = max(1, min(4, (os.cpu_count() or 1) // 2))


@dataclass(frozen=True)
class Round:
    # By cell.
    figures: dict
    # By kind of server.
    memory: dict
    # By model: seconds of one run of one row on one core.
    run_seconds: dict


class Bench:
    def __init__(self, options, processes, temporary, cells):
        self.options, self.processes, self.cells = options, processes, cells
        self.servers = Servers(options, processes, temporary)
        self.digits = Digits()
        self.next_number = 1
        self.failures = 0
        self.remarks = self.servers.remarks
        # Kinds that did not start with their settings.
        self.refused = {}
        # Servers that stay for all rounds.
        self.lasting = {}

    def known_rows(self, kind, model):
        """One request for each row that is known before a round."""
        return self.digits.requests(score_path(kind, "JSON", model), "JSON", model, rows=1, new=0)

    # --- starts

    def measure_starts(self, wanted):
        """Measurements by column: medians over starts with the sample model alone, in turn."""
        runs = {kind: [] for kind in STARTS if KINDS[kind].who in wanted}
        for number in range(max(STARTS.values())):
            for kind, so_far in runs.items():
                if number < STARTS[kind]:
                    so_far.append(self.measure_start(kind))
        return {KINDS[kind].who: summarize_starts(starts) for kind, starts in runs.items()}

    def measure_start(self, kind):
        # So that the first score is computed.
        self.servers.flush()
        request = self.known_rows(kind, "mnist")[0]
        begin = time.perf_counter()
        server = self.servers.begin(kind, {"SCORE_MODEL_DIR": str(SAMPLE_MODELS)})
        alive, scored = self.servers.up(server, request)
        rss, anonymous = server.memory()
        self.servers.end(server)
        return {
            "alive_ms": (alive - begin) * 1e3,
            "scored_ms": (scored - begin) * 1e3,
            "rss_mib": rss,
            "anonymous_mib": anonymous,
        }

    # --- rounds

    def measure_round(self, number):
        """All cells once, in an order that differs from round to round."""
        self.servers.flush()
        turn = number * len(self.cells) // self.options.rounds
        order = (self.cells[turn:] + self.cells[:turn])[:: -1 if number % 2 else 1]
        models = sorted({cell.scenario.model for cell in self.cells})
        figures, memory, run_seconds = {}, {}, {model: self.seconds_of_one_run(model) for model in models}
        with contextlib.ExitStack() as stack:
            running = self.start_all(stack)
            for cell in order:
                if cell.kind in running:
                    figures[cell.key] = self.measure_cell(running[cell.kind], cell)
            for kind, server in running.items():
                rss, anonymous = server.memory()
                memory[kind] = {"rss_mib": rss, "anonymous_mib": anonymous}
                self.look_for_trouble(kind, server)
        return Round(figures, memory, run_seconds)

    def seconds_of_one_run(self, model):
        command = [LIMIT, "time", "--library", LIBRARY, "--model", model_file(model)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def end(self):
        for server in self.lasting.values():
            self.servers.end(server)

    def start_all(self, stack):
        running = {}
        for kind in dict.fromkeys(cell.kind for cell in self.cells):
            if kind in self.lasting:
                running[kind] = self.lasting[kind]
            elif kind not in self.refused:
                running[kind] = self.servers.begin(kind)
                if not KINDS[kind].lasts:
                    stack.callback(self.servers.end, running[kind])
        for kind, server in list(running.items()):
            try:
                if kind not in self.lasting:
                    self.servers.up(server, self.known_rows(kind, KINDS[kind].models[0])[0])
            except Refused as refused:
                self.refused[kind] = str(refused)
                del running[kind]
        self.lasting.update((kind, server) for kind, server in running.items() if KINDS[kind].lasts)
        for kind, server in running.items():
            models = {c.scenario.model for c in self.cells if c.kind == kind and c.scenario.new < c.scenario.rows}
            for model in models:
                self.remember_known_rows(server, model)
        return running

    def remember_known_rows(self, server, model):
        give_up = time.monotonic() + 10
        for request in self.known_rows(server.kind, model):
            while not self.is_remembered(server, request):
                if time.monotonic() > give_up:
                    raise BenchError(f"server {server.kind!r} does not remember rows")
                time.sleep(0.002)

    def is_remembered(self, server, request):
        with connect(server.port) as connection:
            answer = ask(connection, request.pieces[0])
        return b"\r\nx-cache: HIT\r\n" in answer or not KINDS[server.kind].tells_cache

    def requests(self, server, cell):
        """What the connections of a cell ask for in turn, and what makes of a number the bytes that make a row new."""
        scenario = cell.scenario
        path = score_path(cell.kind, scenario.form, scenario.model)
        rows = {"rows": scenario.rows, "new": scenario.new, "spaced": KINDS[cell.kind].spaced}
        # The handler takes envelopes only where they are addressed to its own port.
        host = f"localhost:{server.port}"
        requests = self.digits.requests(path, scenario.form, scenario.model, **rows, host=host)
        return requests, FORMS[scenario.form].stamp

    def measure_cell(self, server, cell):
        scenario, concurrency = cell.scenario, cell.concurrency
        requests, stamp = self.requests(server, cell)
        cache = None
        if scenario.cache and KINDS[cell.kind].tells_cache:
            line = '"x-cache":"{}"' if scenario.form == "envelope" else "\r\nx-cache: {}\r\n"
            cache = line.format(scenario.cache).encode()
        clients = min(CLIENTS, concurrency)
        with contextlib.ExitStack() as stack:
            pipes = []
            for index in range(clients):
                connections = concurrency // clients + (index < concurrency % clients)
                numbers = iter(range(self.next_number + index, 100_000_000, clients))
                load = (server.port, connections, requests, stamp, cache, numbers)
                pipes.append(self.start_client(stack, load))
            for pipe in pipes:
                received(pipe, cell.key)
            cpu = server.settled_cpu()
            for pipe in pipes:
                pipe.send("go")
            reports = [received(pipe, cell.key) for pipe in pipes]
            # What is still written to Redis behind the answers belongs to them.
            done = time.perf_counter()
            cpu = server.settled_cpu() - cpu
            settle = time.perf_counter() - done
        latencies = sorted(latency for report in reports for latency in report[0])
        count = len(latencies)
        if scenario.new:
            # The warm-ups took numbers too; ample room for them.
            self.next_number += 3 * count + 50_000
        failures = sum(report[1] for report in reports)
        if failures:
            self.failures += failures
            example = next(report[2][0] for report in reports if report[2])
            self.remarks.append(f"{cell.key}: {failures} failures, such as {example!r}")
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

    def start_client(self, stack, load):
        fork = multiprocessing.get_context("fork")
        pipe, far = fork.Pipe()
        worker = fork.Process(target=client, args=(far, self.options.seconds, load), daemon=True)

        def make():
            worker.start()
            return worker

        self.processes.start(make)
        stack.callback(self.processes.end, worker)
        far.close()
        return pipe

    def look_for_trouble(self, kind, server):
        """What the handler counted and should not have."""
        counters = KINDS[kind].counters
        if not counters:
            return
        with connect(server.port) as connection:
            text = ask(connection, b"GET /api/score/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").decode()
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name in counters and value != "0":
                self.remarks.append(f"server {kind!r}: {name} is {value}")


def summarize_starts(starts):
    median = {name: statistics.median(start[name] for start in starts) for name in starts[0]}
    return {**median, "starts": starts}


def received(pipe, name):
    """What a client process says."""
    try:
        report = pipe.recv()
    except EOFError:
        report = "a client process ended early"
    if isinstance(report, str):
        raise BenchError(f"{name}: {report}")
    return report


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]
