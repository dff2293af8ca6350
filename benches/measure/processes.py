"""Child processes: started, watched, and ended in every case."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from . import BenchError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Processes:
    """Everything that was started, so that it can be ended in every case."""

    def __init__(self):
        self.running = []
        self.starting = False
        self.signal = None
        for number in SIGNALS:
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
        # Its workers too; itself first, so that it starts no new ones.
        for pid in family(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait = process.wait if isinstance(process, subprocess.Popen) else process.join
        wait()
        self.running.remove(process)

    def end_all(self):
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for process in list(self.running):
            self.end(process)


def family(pid):
    """A process and its workers, the process first."""
    pids = [pid]
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                pids += map(int, children.read_text().split())
    return pids


def cpu_seconds(pids):
    """User and system time of all their threads: the sum in /proc/PID/stat, without its 10 ms ticks."""
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def memory(pids):
    """Resident and anonymous MiB of all of them together."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return [
        sum(int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) for text in texts) / 1024 for name in ("VmRSS", "RssAnon")
    ]


def wait_for(process, log, attempt, pause=0.01, seconds=10):
    """What `attempt` gives as soon as it gives something."""
    give_up = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ConnectionError):
            outcome = attempt()
            if outcome:
                return outcome
        if process.poll() is not None or time.monotonic() > give_up:
            raise BenchError(f"{process.args[0]} does not come up: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(pause)


def stolen():
    """Ticks of CPU time that the machine's host took away so far, and ticks in all."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)
