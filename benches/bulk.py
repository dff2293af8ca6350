#!/usr/bin/env python3
"""Compares `handler score` with a loop of pandas and onnxruntime over the same rows: bulk.py [--rows N] [--rounds N].

Both score a file of cheap rows with the same logistic regression, one after the other in each round, in an order that
changes. Prints medians of seconds, CPU seconds and peak memory, and writes target/bench-bulk.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target/bench/bulk-files"
LOOP = ROOT / "benches/peers/bulk/loop.py"
COLUMNS, CLASSES, SEED = 28, 3, 7


def write_model(path):
    """A logistic regression, as skl2onnx writes one."""
    random = np.random.default_rng(SEED)
    classifier = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "raw"],
        domain="ai.onnx.ml",
        classlabels_ints=list(range(CLASSES)),
        coefficients=random.standard_normal(CLASSES * COLUMNS).tolist(),
        intercepts=[0.0] * CLASSES,
        multi_class=1,
        post_transform="SOFTMAX",
    )
    normalizer = helper.make_node("Normalizer", ["raw"], ["probabilities"], domain="ai.onnx.ml", norm="L1")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [classifier, normalizer],
        "logistic regression",
        [value("x", TensorProto.FLOAT, [None, COLUMNS])],
        [value("label", TensorProto.INT64, [None]), value("probabilities", TensorProto.FLOAT, [None, CLASSES])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="score bench"), path)


def write_rows(rows):
    """The same rows as CSV with a header, and as a JSON array in each line."""
    random = np.random.default_rng(SEED)
    with open(WORK / "rows.csv", "w") as table, open(WORK / "rows.jsonl", "w") as lines:
        table.write(",".join(f"f{index}" for index in range(COLUMNS)) + "\n")
        for _ in range(rows):
            row = ",".join("%.4g" % value for value in random.random(COLUMNS))
            table.write(row + "\n")
            lines.write(f"[{row}]\n")


def measured(command, environment):
    """Seconds, CPU seconds and peak MB of a program."""
    begin = time.monotonic()
    with open(WORK / "said.txt", "w") as said:
        child = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{(WORK / 'said.txt').read_text()}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / 1024}


def commands(handler, kind):
    source, model = WORK / f"rows.{kind}", WORK / "model.onnx"
    results = WORK / f"handler.{kind}"
    return {
        "handler": [handler, "score", "--in", source, "--out", results, "--model", model, "--force"],
        "pandas": [sys.executable, LOOP, kind, model, source, WORK / f"pandas.{kind}"],
    }


def check(kind, rows):
    """Both have found the same labels."""
    if kind == "csv":
        ours = [line.split(",")[1] for line in (WORK / "handler.csv").read_text().splitlines()[1:]]
        theirs = [line.split(",")[0] for line in (WORK / "pandas.csv").read_text().splitlines()[1:]]
    else:
        ours = [json.loads(line)["result"]["label"] for line in open(WORK / "handler.jsonl")]
        theirs = [json.loads(line)["label"] for line in open(WORK / "pandas.jsonl")]
    if ours != theirs or len(ours) != rows:
        sys.exit(f"{kind}: the labels differ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--handler", type=Path, default=ROOT / "bin/handler")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "models").mkdir(exist_ok=True)
    write_model(WORK / "model.onnx")
    write_rows(arguments.rows)
    (WORK / "none.jsonl").write_text("")
    environment = {**os.environ, "SCORE_MODEL_DIR": str(WORK / "models")}
    environment.pop("REDIS_URL", None)
    idle = [arguments.handler, "score", "--in", WORK / "none.jsonl", "--out", WORK / "none.out.jsonl"]
    idle += ["--model", WORK / "model.onnx", "--force"]
    found = {"rows": arguments.rows, "idle": measured(idle, environment)}
    for kind in ("jsonl", "csv"):
        runs = {"handler": [], "pandas": []}
        for round_number in range(arguments.rounds):
            for name in sorted(runs, reverse=round_number % 2 == 1):
                runs[name].append(measured(commands(arguments.handler, kind)[name], environment))
        check(kind, arguments.rows)
        ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(runs["handler"], runs["pandas"])]
        found[kind] = {**runs, "ratio": statistics.median(ratios)}
    (ROOT / "target/bench-bulk.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"{arguments.rows} rows of {COLUMNS} columns; idle {found['idle']['mb']:.0f} MB")
    print("| file | program | s | CPU s | peak MB | rows/s |\n|---|---|---|---|---|---|")
    for kind in ("jsonl", "csv"):
        for name in ("handler", "pandas"):
            seconds, cpu, mb = (statistics.median(run[key] for run in found[kind][name]) for key in ("seconds", "cpu", "mb"))
            print(f"| {kind} | {name} | {seconds:.2f} | {cpu:.2f} | {mb:.0f} | {arguments.rows / seconds:,.0f} |")
    for kind in ("jsonl", "csv"):
        ratio = found[kind]["ratio"]
        print(f"{kind}: {ratio:.1f} times as fast; the target of 2 is {'reached' if ratio >= 2 else 'missed'}")


if __name__ == "__main__":
    main()
