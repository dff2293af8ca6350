#!/usr/bin/env python3
"""Attacks bin/handler in every way that is known, beside an ordinary client and the host's probe, and prints a table.

Exits with 1 if the program ends, takes more than 1 GiB, makes an ordinary request fail or keeps the probe waiting.
"""

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attacks
import formula
import memory
from target import START_SECONDS, Target, Unusable, cgroup, lay_models

PEAK_MIB = 1024
PROBE_MS = 100
# Machines of CI are shared, so that the short form tells a probe that is kept waiting from a machine that is busy.
SHORT_PROBE_MS = 1000
# So long the others ask at least, so that there are enough probes to tell a percentile of them.
LEAST_SECONDS = 3
# How often an attack is tried again for which only times were too long: the machine may have been busy.
TRIES = 3


def bystanders(port):
    program = Path(__file__).with_name("bystanders.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, program, str(port)], **pipes)
    process.stdout.readline()
    return process


def tried(attack, size, probe_ms):
    """One attack, and what was wrong; again if only times were."""
    for _ in range(TRIES):
        found = run(attack, size)
        wrong = dict(faults(found, probe_ms))
        if set(wrong) - {"client", "probe"} or not wrong:
            break
    return found, wrong


def run(attack, size, settings=()):
    """One attack on a program of its own."""
    with tempfile.TemporaryDirectory(prefix="score-abuse-") as folder:
        temporary = Path(folder)
        lay_models(temporary / "models")
        env = {**attack.env, **dict(settings)}
        if attack.redis:
            env["REDIS_URL"] = attacks.listening(attack.redis)
        target = Target(temporary, env, subprocess.PIPE if attack.is_mute else None)
        try:
            wait_until_ready(target)
            others, end = bystanders(target.port), time.monotonic() + LEAST_SECONDS
            attack.run(target, size)
            time.sleep(max(0, end - time.monotonic()))
            seen, _ = others.communicate("\n", timeout=60)
        finally:
            ended = target.end()
        log = target.log.read_text(errors="replace") if target.log.exists() else ""
        return {**json.loads(seen), "ended": ended, "peak_mib": target.peak / (1 << 20), "panics": log.count("panicked")}


def wait_until_ready(target):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and target.is_alive():
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=5)
            connection.request("GET", "/api/health/ready")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise Unusable("the handler did not become ready")


def faults(found, probe_ms):
    """What the promise does not allow."""
    if found["ended"] is not None:
        yield "ended", f"ended: {found['ended']}"
    if found["peak_mib"] > PEAK_MIB:
        yield "memory", "memory"
    if found["failed"]:
        yield "client", f"client: {found['first_failure']}"
    if found["probe_failures"] or found["probe_p99_ms"] > probe_ms:
        yield "probe", "probe"
    if found["panics"]:
        yield "panics", f"{found['panics']} panics"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="without the attacks that take long")
    parser.add_argument("--size", type=int, default=1, help="2 for twice the number of everything")
    parser.add_argument("--formula", action="store_true", help="compare peaks with the formula of docs/settings.md")
    parser.add_argument("--only", default="", help="attacks whose name holds this text")
    options = parser.parse_args()
    if options.formula:
        return formula.compare(run, options.only)
    group = cgroup()
    print("memory is bounded by", "a control group" if group else "a sampler, since there is no control group")
    if group:
        group.remove()
    print(f"{'attack':<30}{'size':>5}{'peak MiB':>10}{'probe p99':>11}{'max ms':>8}{'requests':>10}{'failed':>8}  verdict")
    bad = 0
    for attack in attacks.ATTACKS + memory.ATTACKS:
        if options.only not in attack.name or (options.short and attack.is_long):
            continue
        found, wrong = tried(attack, options.size, SHORT_PROBE_MS if options.short else PROBE_MS)
        bad += bool(wrong)
        print(
            f"{attack.name:<30}{options.size:>5}{found['peak_mib']:>10.0f}{found['probe_p99_ms']:>11.1f}"
            f"{found['probe_max_ms']:>8.0f}{found['requests']:>10}{found['failed']:>8}  {'; '.join(wrong.values()) or 'ok'}",
            flush=True,
        )
    if bad:
        sys.exit(f"error: {bad} attacks do more than they may")


if __name__ == "__main__":
    main()
