#!/usr/bin/env python3
"""Measures embeddings of texts by bin/handler beside others, with the same model and Redis. See benches/README.md."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import processor
from measure import ROOT, BenchError
from measure.client import ask, connect
from measure.kinds import KINDS
from measure.processes import Processes, stolen
from measure.report import show, summarize
from measure.rounds import summarize_starts
from measure.scenarios import Cell
from measure.texts import SCENARIOS, TextBench, judge, request


def read_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handler", type=Path, default=ROOT / "bin/handler", help="the program to measure")
    parser.add_argument("--seconds", type=float, default=1, help="length of a cell in each round (1)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each cell is measured (3)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="only rows with TEXT in their name")
    parser.add_argument("--set", type=lambda text: text.split("=", 1), action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--memory", type=int, metavar="TEXTS", help="only the memory while so many texts are embedded")
    return parser.parse_args()


def measure_memory(options):
    """Anonymous MiB after every tenth of the texts, of 1 to 256 tokens each, from 8 connections."""
    processes = Processes()
    with tempfile.TemporaryDirectory(prefix="score-bench-") as temporary:
        try:
            bench = TextBench(options, processes, temporary, [])
            server = bench.servers.begin("texts l1")
            bench.servers.up(server, bench.known_rows("texts l1", "minilm")[0])
            print(f"{'texts':>10}{'RSS MiB':>11}{'anon. MiB':>11}")
            for done in range(0, options.memory, options.memory // 10):
                with ThreadPoolExecutor(8) as callers:
                    list(callers.map(lambda number: embed_one(bench, server, number), range(done, done + options.memory // 10)))
                rss, anonymous = server.memory()
                print(f"{done + options.memory // 10:>10}{rss:>11.1f}{anonymous:>11.1f}", flush=True)
        finally:
            processes.end_all()


def embed_one(bench, server, number):
    text = " ".join(["tea"] * (number * 97 % 254 + 1)) + f" {number}"
    with connect(server.port) as connection:
        answer = ask(connection, request(bench.path(server.kind), [text], 0, "base64").pieces[0])
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise BenchError(answer.decode(errors="replace"))


def measure(options):
    wanted = [
        Cell(scenario, kind, concurrency)
        for scenario in SCENARIOS
        if not options.only or any(text in scenario.title for text in options.only)
        for kind, concurrencies in scenario.kinds.items()
        for concurrency in concurrencies
    ]
    load, (steal, ticks) = os.getloadavg()[0], stolen()
    processes = Processes()
    with tempfile.TemporaryDirectory(prefix="score-bench-") as temporary:
        try:
            bench = TextBench(options, processes, temporary, wanted)
            starts = {} if options.only else bench.measure_starts()
            rounds = [bench.measure_round(number) for number in range(options.rounds)]
            bench.end()
        finally:
            processes.end_all()
    steal, ticks = stolen()[0] - steal, stolen()[1] - ticks
    machine = {"cores": os.cpu_count(), "processor": processor(), "load_at_start": load}
    result = {
        "machine": {**machine, "stolen_percent": 100 * steal / ticks},
        "start": {who: summarize_starts(starts) for who, starts in starts.items()},
        "run_seconds": {},
        "cells": summarize(wanted, [one.figures for one in rounds]),
        "targets": judge(rounds, starts, not options.only),
        "compared": [],
        "memory": {kind: rounds[-1].memory[kind] for kind in rounds[-1].memory},
    }
    return bench, result


def main():
    options = read_options()
    options.handler = options.handler.resolve()
    options.against = None
    try:
        if options.memory:
            return measure_memory(options)
        bench, result = measure(options)
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    show(result, SCENARIOS)
    print(f"\n{'memory at the end':<40}{'RSS MiB':>11}{'anon. MiB':>11}")
    for kind, memory in result["memory"].items():
        print(f"{KINDS[kind].who:<10}{kind:<30}" + "".join(f"{memory[name]:>11.1f}" for name in ("rss_mib", "anonymous_mib")))
    (ROOT / "target/bench-text.json").write_text(json.dumps(result, indent=1) + "\n")
    for remark in bench.remarks:
        print(f"remark: {remark}", file=sys.stderr)
    if bench.failures:
        sys.exit(f"error: {bench.failures} answers were not as expected")


if __name__ == "__main__":
    main()
