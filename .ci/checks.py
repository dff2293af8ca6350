"""Every check of this repository, in about 18 minutes on two cores: most of them go to compiling and to waiting.

So what only waits runs while the tests are compiled, and what only compiles runs while the tests wait. What runs beside the
other stages writes to a file, which is shown if it fails.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "target/ci"
START = time.monotonic()
# A stage that hangs ends with what it has written, before the whole machine is taken away after 30 minutes.
LIMIT_SECONDS = 28 * 60
# What is told to end may still write where it hangs.
GRACE_SECONDS = 5
# Takes a core only while nothing else wants it.
IDLE = ["chrt", "--idle", "0"] if shutil.which("chrt") else ["nice", "-n", "19"]
# All that scripts/setup.sh is asked for by the stages: two of them cannot install packages at once.
PACKAGES = """
    redis-server=redis-server faketime=faketime libnss_wrapper.so=libnss-wrapper python3-config=python3-dev node=nodejs npm=npm
    chromium=chromium prometheus=prometheus promtool=prometheus openssl=openssl vgdb=valgrind
"""


class Failed(Exception):
    """A stage was not successful; the text says which one."""


class Stage:
    """A command that runs for so many seconds at most."""

    running = set()

    def __init__(self, name, seconds, *command):
        self.name, self.seconds, self.command = name, seconds, command

    def run(self, output=None, prefix=()):
        """In a session of its own, which ends with it: processes that it leaves behind hold up nothing."""
        print(f"ci: {self.name}", flush=True)
        start = time.monotonic()
        limit = max(1, min(self.seconds, START + LIMIT_SECONDS - start))
        process = subprocess.Popen(
            [*prefix, *self.command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        Stage.running.add(process.pid)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
            raise Failed(f"{self.name}: STOPPED, since it was not done after {limit:.0f} s") from None
        finally:
            left = end_session(process.pid)
            Stage.running.discard(process.pid)
            process.wait()
        seconds = time.monotonic() - start
        if status:
            raise Failed(f"{self.name}: FAILED with exit code {status} after {seconds:.0f} s")
        note = f"; it left {', '.join(left)} behind" if left else ""
        print(f"ci: {self.name}: {seconds:.0f} s{note}", flush=True)


class Lane(threading.Thread):
    """Stages, one after another, beside the others."""

    def __init__(self, name, *stages, prefix=()):
        super().__init__(name=name, daemon=True)
        self.log, self.stages, self.prefix, self.failure = LOGS / f"{name}.log", stages, prefix, None
        self.start()

    def run(self):
        try:
            with self.log.open("wb") as output:
                for stage in self.stages:
                    stage.run(output, self.prefix)
        except BaseException as failure:
            # With any failure, the lane's other stages did not run.
            self.failure = failure

    def check(self):
        """Fails, with all output, if one of its stages has failed."""
        if self.failure:
            print(self.log.read_text(errors="replace"), flush=True)
            raise self.failure

    def done(self):
        self.join()
        self.check()


def end_session(session):
    """Ends all that still runs in a session: the names of the programs."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            before, after = stat.read_text(errors="replace").rsplit(")", 1)
            state, _, _, found, *_ = after.split()
            if found == str(session) and state != "Z":
                os.kill(int(stat.parent.name), signal.SIGKILL)
                names.append(before.partition("(")[2])
    return names


def main():
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    # Nothing is compiled twice, so what would help with that is not written.
    os.environ["CARGO_INCREMENTAL"] = "0"
    lanes = []

    def run(*stages):
        for stage in stages:
            stage.run()
            for lane in lanes:
                lane.check()

    run(Stage("packages", 300, "scripts/setup.sh", *PACKAGES.split()))
    messaging = Lane("messaging", Stage("packages of the tests", 300, "scripts/setup-messaging.sh"))
    deployment = Lane(
        "deployment",
        Stage("infra-check", 240, "make", "infra-check"),
        Stage("deploy-check-short", 720, "make", "deploy-check-short"),
    )
    lanes += [messaging, deployment]
    run(
        Stage("packages of the page", 120, "scripts/build-page.sh", "--check"),
        Stage("ONNX Runtime", 120, "scripts/fetch-onnxruntime.sh"),
        Stage("tests are compiled", 720, "cargo", "test", "--workspace", "--locked", "--no-run"),
    )
    messaging.done()
    # `make test` has built the program with the features that tests need: without them it would be built once more.
    os.environ["SCORE_HANDLER"] = str(ROOT / "target/debug/handler")
    idle = Lane("idle", Stage("build", 1200, "make", "build"), Stage("lint", 1200, "make", "lint"), prefix=IDLE)
    lanes.append(idle)
    run(
        Stage("test", 840, "make", "test"),
        Stage("test-clients", 420, "make", "test-clients"),
        Stage("test-page", 360, "make", "test-page"),
        Stage("test-observability", 180, "make", "test-observability"),
        Stage("test-wheel", 120, "make", "test-wheel"),
    )
    deployment.done()
    idle.done()
    # These measure, so nothing runs beside them.
    run(Stage("bench-guard", 240, "make", "bench-guard"), Stage("abuse-short", 300, "make", "abuse-short"))
    print(f"ci: all checks have passed after {time.monotonic() - START:.0f} s")


def ended(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, ended)
    try:
        main()
    except (Failed, KeyboardInterrupt) as reason:
        print(f"ci: {str(reason) or 'interrupted'}", flush=True)
        sys.exit(1)
    finally:
        for session in list(Stage.running):
            end_session(session)
