"""What is meant to be reached, judged by ratios within rounds."""

import os
import statistics
from dataclasses import dataclass
from typing import Callable

from .kinds import AZUREML, LIMIT_NAME, NODE, OTHER, OURS

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Target:
    text: str
    at_most: bool
    bound: float
    # Of one round: the ratio. A missing cell is a KeyError.
    ratio: Callable


def quotient(figure, of, to):
    """One figure of two cells, each given as title, column and connections."""
    return lambda one: one.figures[of][figure] / one.figures[to][figure]


def against(figure, title, concurrency, who):
    return quotient(figure, (title, OURS, concurrency), (title, who, concurrency))


def ours(figure, of, to, concurrency):
    return quotient(figure, (of, OURS, concurrency), (to, OURS, concurrency))


def convnet_to_cores(one):
    most = CORES / one.run_seconds["convnet"]
    return one.figures["convnet, 1 row, miss", OURS, 32]["requests_per_second"] / most


def targets():
    listed = []

    def at_most(bound, text, ratio):
        listed.append(Target(text, True, bound, ratio))

    def at_least(bound, text, ratio):
        listed.append(Target(text, False, bound, ratio))

    for path in ("L1 hit", "Redis hit", "miss"):
        for concurrency in (1, 32):
            ratio = against("cpu_us", f"1 row, {path}", concurrency, LIMIT_NAME)
            at_most(1.15, f"CPU per request, {path}, c={concurrency}, to the limit", ratio)
    at_most(1.2, "p50, Redis hit, c=1, to the limit", against("p50_ms", "1 row, Redis hit", 1, LIMIT_NAME))
    for who, bound in ((NODE, 3), (AZUREML, 25)):
        ratio = against("requests_per_second", "1 row, Redis hit", 32, who)
        at_least(bound, f"req/s, Redis hit, c=32, to {who}", ratio)
    at_least(5, "rows/s, 64 rows, all hits, c=8, to node", against("requests_per_second", "64 rows, all hits", 8, NODE))
    at_least(0.9, "req/s, miss to Redis hit, c=32", ours("requests_per_second", "1 row, miss", "1 row, Redis hit", 32))
    at_least(0.85, f"convnet: req/s, miss, c=32, to {CORES} cores / one run's time", convnet_to_cores)
    ratio = against("requests_per_second", "MLP, 1 row, miss", 32, LIMIT_NAME)
    at_least(1.5, "MLP: req/s, miss, c=32, to the limit, which does not batch", ratio)
    ratio = ours("p50_ms", "MLP, 64 rows, half hits", "MLP, 64 rows, no hit", 1)
    at_most(0.6, "MLP: p50, 64 rows, half hits to no hit, c=1", ratio)
    for name, prefix in (("logistic regression", ""), ("MLP", "MLP, "), ("convnet", "convnet, ")):
        ratio = ours("p50_ms", f"{prefix}1 row, miss, policy auto", f"{prefix}1 row, no cache", 1)
        at_most(1.05, f"{name}: p50, policy auto at hit rate 0 to no cache, c=1", ratio)
    at_most(1.02, "p50, Redis down to no cache, c=1", ours("p50_ms", "1 row, Redis down", "1 row, no cache", 1))
    ratio = ours("cpu_us", "64 rows, no cache", "64 rows, no cache, V2 binary", 1)
    at_least(5, "CPU per request, 64 rows, no cache, JSON to V2 binary, c=1", ratio)
    return listed


def judge(rounds, starts, everything):
    """Each target with the median of its ratios and the range that holds the middle half of them.

    If `everything` was measured, a target without figures is one that this build cannot be asked about.
    """
    judged = judge_rounds(targets(), rounds, everything)
    for bound, figure, text in (
        (1.2, "scored_ms", "exec to the first correct score, to the limit"),
        (1.3, "rss_mib", "resident memory after it, to the limit"),
    ):
        if {OURS, LIMIT_NAME} <= starts.keys():
            pairs = zip(starts[OURS]["starts"], starts[LIMIT_NAME]["starts"])
            ratios = [one[figure] / other[figure] for one, other in pairs]
            judged.append(judgement(Target(text, True, bound, None), ratios))
    return judged


def judge_rounds(listed, rounds, everything):
    judged = []
    for target in listed:
        try:
            ratios = [target.ratio(one) for one in rounds]
        except KeyError:
            ratios = []
        if ratios or everything:
            judged.append(judgement(target, ratios))
    return judged


def judgement(target, ratios):
    found = {"target": target.text, "bound": ("<= " if target.at_most else ">= ") + f"{target.bound:g}"}
    if not ratios:
        return found
    middle = middle_half(ratios)
    median = middle["median"]
    return {**found, **middle, "reached": median <= target.bound if target.at_most else median >= target.bound}


def middle_half(ratios):
    """The median, and the range that holds the middle half."""
    ratios = sorted(ratios)
    return {
        "median": statistics.median(ratios),
        "low": ratios[len(ratios) // 4],
        "high": ratios[-1 - len(ratios) // 4],
    }


def compare(rounds):
    """The handler to the other one, cell by cell."""
    compared = []
    for title, who, concurrency in rounds[0] if rounds else ():
        other = title, OTHER, concurrency
        if who != OURS or not all(other in figures for figures in rounds):
            continue
        ratios = {
            figure: middle_half(
                [figures[title, OURS, concurrency][figure] / figures[other][figure] for figures in rounds]
            )
            for figure in ("requests_per_second", "p50_ms", "cpu_us")
        }
        compared.append({"scenario": title, "concurrency": concurrency, **ratios})
    return compared
