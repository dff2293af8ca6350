#!/usr/bin/env python3
"""Counts the instructions of bin/handler per request and compares them with benches/instructions.json.

Instructions, not time: on any machine and however busy it is, the same program needs the same number of them.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure import ROOT, BenchError
from measure.bodies import FORMS, Digits
from measure.client import ask, connect
from measure.processes import Processes, wait_for
from measure.servers import FOREIGN, Servers, free_port

STORED = ROOT / "benches/instructions.json"
# A figure is the median of so many stretches of so many requests.
STRETCHES, REQUESTS, WARM_UP = 7, 30, 60
# The program is fifty times slower here, and it loads the model.
PATIENCE_SECONDS = 60
# One thread for requests and one for the model, so that the way through is always the same.
ALONE = {"SCORE_THREADS": "1", "SCORE_SESSIONS": "1", "REDIS_TIMEOUT": "10s"}


@dataclass(frozen=True)
class Case:
    """One kind of request."""

    name: str
    form: str
    rows: int
    # What the answers must say of the cache.
    cache: str
    # Whether each request is a new one.
    new: bool = False
    # Whether results are remembered in Redis, and nowhere else.
    redis: bool = False


CASES = [
    Case("1 row, octet-stream, in process", "octet-stream", 1, "HIT"),
    Case("1 row, JSON, in process", "JSON", 1, "HIT"),
    Case("64 rows, JSON, in process", "JSON", 64, "HIT"),
    Case("1 row, JSON, computed", "JSON", 1, "MISS", new=True),
    Case("1 row, JSON, in Redis", "JSON", 1, "HIT", redis=True),
]


def read_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handler", type=Path, default=ROOT / "bin/handler", help="the program to measure")
    parser.add_argument("--update", action="store_true", help=f"write {STORED.relative_to(ROOT)} instead of comparing")
    return parser.parse_args()


def check(options):
    """What has to be there."""
    if not os.access(options.handler, os.X_OK):
        sys.exit(f"error: {options.handler} is not there; run make build")
    for program in ("valgrind", "vgdb", "redis-server"):
        if not shutil.which(program):
            sys.exit(f"error: {program} is not there; make bench-guard installs it")


class Guard:
    def __init__(self, options, processes, temporary):
        self.options, self.processes, self.temporary = options, processes, Path(temporary)
        self.servers = Servers(options, processes, temporary)
        self.digits = Digits()

    def measure(self, case):
        """Instructions per request, of each stretch."""
        log, port = self.temporary / "handler.log", free_port()
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        env.update(ALONE, SCORE_PORT=str(port))
        if case.redis:
            env.update(REDIS_URL=f"redis://127.0.0.1:{self.servers.redis_port}", SCORE_L1_BYTES="0")
        counter = Counter(self.temporary)
        process = self.servers.spawn([*counter.command, str(self.options.handler)], log, env)
        counter.pid = process.pid
        with wait_for(process, log, lambda: connect(port), seconds=PATIENCE_SECONDS) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            requests = self.requests(case)
            next(ask_all(connection, requests, 1))
            counter.start()
            for _ in ask_all(connection, requests, WARM_UP):
                pass
            stretches = [self.stretch(case, counter, connection, requests) for _ in range(STRETCHES)]
        self.processes.end(process)
        return stretches

    def requests(self, case):
        """The same request again and again, or ever new ones, with what their answers end with."""
        request = self.digits.request("/api/score", case.form, "mnist", 0, case.rows, case.rows if case.new else 0)
        stamp = FORMS[case.form].stamp
        for number in itertools.count(1):
            yield stamp(number).join(request.pieces), request.answer_end

    def stretch(self, case, counter, connection, requests):
        said = f"\r\nx-cache: {case.cache}\r\n".encode()
        counter.take()
        for answer in ask_all(connection, requests, REQUESTS):
            if said not in answer:
                raise BenchError(f"{case.name}: an answer is not a {case.cache}: {answer[:500]!r}")
        return counter.take() / REQUESTS


def ask_all(connection, requests, count):
    """The answers to the next `count` requests."""
    for request, end in itertools.islice(requests, count):
        answer = ask(connection, request)
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(end):
            raise BenchError(f"a wrong answer: {answer[:500]!r}")
        yield answer


class Counter:
    """Valgrind's callgrind, told by vgdb what to do.

    It pretends to be one and the same processor everywhere, so the libraries that choose code by it choose the same.
    """

    def __init__(self, temporary):
        self.pid = None
        self.out = temporary / "callgrind"
        self.prefix = f"--vgdb-prefix={temporary}/vgdb"
        self.command = [
            *("valgrind", "--tool=callgrind", "--instr-atstart=no", "--quiet"),
            *(f"--callgrind-out-file={self.out}", self.prefix),
        ]

    def tell(self, *words):
        command = ["vgdb", self.prefix, f"--pid={self.pid}", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(command)}: {done.stdout}")

    def start(self):
        """Before that, nothing is counted and the program runs faster."""
        self.tell("instrumentation", "on")

    def take(self):
        """Instructions of all threads since this was called last."""
        self.tell("dump")
        dumps = list(self.out.parent.glob(f"{self.out.name}.*"))
        if len(dumps) != 1:
            raise BenchError(f"callgrind wrote {len(dumps)} files instead of one")
        total = re.search(r"^totals: (\d+)$", dumps[0].read_text(), re.MULTILINE)
        dumps[0].unlink()
        return int(total[1])


def compare(found, stored):
    """Prints a line for each case; how many are worse than they may be."""
    tolerance, worse = stored["tolerance_percent"], 0
    print(f"{'instructions per request':<36}{'stored':>11}{'now':>11}{'':>9}{'spread':>9}")
    for name, stretches in found.items():
        now, before = statistics.median(stretches), stored["instructions"].get(name)
        spread = 100 * (max(stretches) - min(stretches)) / now
        if before is None:
            print(f"{name:<36}{'-':>11}{now:>11.0f}{'':>9}{spread:>7.2f} %  NOT STORED: --update")
            worse += 1
            continue
        change = 100 * (now / before - 1)
        verdict = ""
        if change > tolerance:
            verdict, worse = f"  WORSE by more than {tolerance} %", worse + 1
        elif change < -tolerance:
            verdict = "  better: --update keeps it so"
        print(f"{name:<36}{before:>11}{now:>11.0f}{change:>+7.2f} %{spread:>7.2f} %{verdict}")
    return worse


def update(found, stored):
    """To four digits, so that what did not change shows no difference."""
    figures = {name: int(float(f"{statistics.median(stretches):.4g}")) for name, stretches in found.items()}
    STORED.write_text(json.dumps({**stored, "instructions": figures}, indent=2) + "\n")


def main():
    options = read_options()
    check(options)
    options.handler = options.handler.resolve()
    stored = json.loads(STORED.read_text())
    processes = Processes()
    try:
        with tempfile.TemporaryDirectory(prefix="score-guard-") as temporary:
            try:
                guard = Guard(options, processes, temporary)
                found = {case.name: guard.measure(case) for case in CASES}
            finally:
                processes.end_all()
    except (BenchError, OSError) as error:
        sys.exit(f"error: {error}")
    worse = compare(found, stored)
    if options.update:
        update(found, stored)
    elif worse:
        sys.exit("error: if that is the price of something worth it: python3 benches/guard.py --update")


if __name__ == "__main__":
    main()
