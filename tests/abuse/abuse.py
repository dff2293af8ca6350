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
from target import START_SECONDS, Target, Unusable, cgroup, lay_models

PEAK_MIB = 1024
PROBE_MS = 100


def bystanders(port):
    program = Path(__file__).with_name("bystanders.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, program, str(port)], **pipes)
    process.stdout.readline()
    return process


def run(attack, size):
    """One attack on a program of its own."""
    with tempfile.TemporaryDirectory(prefix="score-abuse-") as folder:
        temporary = Path(folder)
        lay_models(temporary / "models")
        env = dict(attack.env)
        if attack.redis:
            env["REDIS_URL"] = attacks.listening(attack.redis)
        target = Target(temporary, env, subprocess.PIPE if attack.is_mute else None)
        try:
            wait_until_ready(target)
            others = bystanders(target.port)
            attack.run(target, size)
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


def faults(found):
    """What the promise does not allow."""
    if found["ended"] is not None:
        yield f"ended: {found['ended']}"
    if found["peak_mib"] > PEAK_MIB:
        yield "memory"
    if found["failed"]:
        yield f"client: {found['first_failure']}"
    if found["probe_failures"] or found["probe_p99_ms"] > PROBE_MS:
        yield "probe"
    if found["panics"]:
        yield f"{found['panics']} panics"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="only at the size of the reports, not at twice that")
    parser.add_argument("--only", default="", help="attacks whose name holds this text")
    options = parser.parse_args()
    group = cgroup()
    print("memory is bounded by", "a control group" if group else "a sampler, since there is no control group")
    if group:
        group.remove()
    print(f"{'attack':<30}{'size':>5}{'peak MiB':>10}{'probe p99':>11}{'max ms':>8}{'requests':>10}{'failed':>8}  verdict")
    bad = 0
    for attack in attacks.ATTACKS:
        if options.only not in attack.name:
            continue
        for size in (1,) if options.short else (1, 2):
            found = run(attack, size)
            wrong = list(faults(found))
            bad += bool(wrong)
            print(
                f"{attack.name:<30}{size:>5}{found['peak_mib']:>10.0f}{found['probe_p99_ms']:>11.1f}"
                f"{found['probe_max_ms']:>8.0f}{found['requests']:>10}{found['failed']:>8}  {'; '.join(wrong) or 'ok'}",
                flush=True,
            )
    if bad:
        sys.exit(f"error: {bad} attacks do more than they may")


if __name__ == "__main__":
    main()
