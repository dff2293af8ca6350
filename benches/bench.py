#!/usr/bin/env python3
"""Measures bin/handler beside the least it could cost and beside what else one might use. See benches/README.md."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, WORK, BenchError
from measure.kinds import AZUREML, LIMIT, LIMIT_NAME, NODE, OTHER, OURS
from measure.processes import Processes, stolen
from measure.report import memory_by_kind, run_seconds, show, summarize
from measure.rounds import CLIENTS, Bench
from measure.scenarios import cells
from measure.targets import compare, judge

# What the figures of the start are called among the rows.
START = "start"


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
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="only rows with TEXT in their name, or start"
    )
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one of score, limit, node, azureml, other",
    )
    parser.add_argument("--against", type=Path, help="another handler to measure beside it, without what --set sets")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.json and docs/performance.svg")
    return parser.parse_args()


def check(options):
    """What has to be there."""
    if not sys.platform.startswith("linux"):
        sys.exit("error: the CPU time of another process is read in Linux's way")
    for program, remedy in ((options.handler, "make build"), (LIMIT, "cargo build --release -p limit")):
        if not os.access(program, os.X_OK):
            sys.exit(f"error: {program} is not there; run {remedy}")
    if not shutil.which("redis-server"):
        sys.exit("error: redis-server is not there; make bench installs it")


def processor():
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def publish(result):
    """The figures without those of single rounds, and a picture of them."""
    sys.path.append(str(WORK / "python"))
    from measure.plot import draw

    details = ("rounds", "starts", "remarks", "memory", "compared", "kernel")
    short = json.loads(json.dumps(result), object_pairs_hook=lambda pairs: {k: v for k, v in pairs if k not in details})
    (ROOT / "docs/performance.json").write_text(json.dumps(rounded(short), indent=1) + "\n")
    draw(short, ROOT / "docs/performance.svg")


def rounded(value):
    """Without digits that say nothing."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main():
    options = read_options()
    check(options)
    if options.publish and (options.only or options.server or options.against or options.set):
        sys.exit("error: only a whole run with default settings is published")
    options.handler = options.handler.resolve()
    columns = options.server or [OURS, LIMIT_NAME, NODE, AZUREML]
    if options.against:
        options.against = options.against.resolve()
        columns = options.server or [OURS, OTHER]
    wanted = cells(options.only, columns)
    with_start = not options.only or START in options.only
    if not wanted and not with_start:
        sys.exit("error: no row has that in its name")
    program = options.handler.stat()
    load, (steal, ticks) = os.getloadavg()[0], stolen()
    processes = Processes()
    try:
        with tempfile.TemporaryDirectory(prefix="score-bench-") as temporary:
            try:
                bench = Bench(options, processes, temporary, wanted)
                start = bench.measure_starts(columns) if with_start else {}
                rounds = [bench.measure_round(number) for number in range(options.rounds if wanted else 0)]
                bench.end()
            finally:
                processes.end_all()
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    steal, ticks = stolen()[0] - steal, stolen()[1] - ticks
    if options.handler.stat().st_mtime_ns != program.st_mtime_ns:
        bench.remarks.append("the program was replaced while it was measured: the measurements are of two builds")
    figures = [one.figures for one in rounds]
    result = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": processor(),
            "kernel": platform.release(),
            "load_at_start": load,
            "stolen_percent": 100 * steal / ticks,
        },
        "settings": dict(options.set),
        "clients": CLIENTS,
        "start": start,
        "run_seconds": run_seconds(rounds),
        "cells": summarize(wanted, figures),
        "targets": judge(rounds, start, not (options.only or options.server or options.against)),
        "compared": compare(figures),
        "memory": memory_by_kind(rounds),
        "remarks": bench.remarks,
    }
    show(result)
    out = ROOT / "target/bench.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    if options.publish:
        publish(result)
    for remark in bench.remarks:
        print(f"remark: {remark}", file=sys.stderr)
    if bench.failures:
        sys.exit(f"error: {bench.failures} answers were not as expected")


if __name__ == "__main__":
    main()
