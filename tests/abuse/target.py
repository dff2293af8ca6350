"""The program under attack: bin/handler with its default settings, inside a bounded amount of memory."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    "mnist": ROOT / "models/mnist",
    "identity": "identity_float32",
    "wide": "identity_float64",
    "texts": "identity_string",
    "named": "identity_float32",
    "keyed": "identity_float32",
    "pixels": "pixels",
}
OPTIONS = {
    "pixels": '[inputs.pixel_values]\nlayout = "chw"\n',
    "named": '[inputs.x]\ncolumns = ["a0", "a1"]\n',
    "keyed": '[features]\nprefix = "features:"\nformat = "raw"\n',
}
START_SECONDS = 30
SAMPLE_SECONDS = 0.02
# What infra/main.bicep gives an instance.
LIMIT_BYTES = 2 << 30


class Unusable(Exception):
    """The attack cannot be run here."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def lay_models(folder):
    """The folder of models that every attack finds."""
    for name, source in MODELS.items():
        if isinstance(source, Path):
            shutil.copytree(source, folder / name)
        else:
            (folder / name).mkdir(parents=True)
            shutil.copy(ROOT / f"tests/data/models/{source}.onnx", folder / name / "model.onnx")
    for name, options in OPTIONS.items():
        (folder / name / "model.toml").write_text(options)


class Cgroup:
    """A control group of either version, whose members end when they take more memory than it allows."""

    V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")

    def __init__(self, name):
        is_v1 = (self.V1 / "memory.limit_in_bytes").exists()
        self.folder = (self.V1 if is_v1 else self.V2) / name
        limit = "memory.limit_in_bytes" if is_v1 else "memory.max"
        self.folder.mkdir()
        try:
            (self.folder / limit).write_text(str(LIMIT_BYTES))
        except OSError:
            self.remove()
            raise

    def take(self, pid):
        (self.folder / "cgroup.procs").write_text(str(pid))

    def remove(self):
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def cgroup():
    """A control group, or `None` where there can be none: then a sampler keeps the limit."""
    try:
        return Cgroup(f"score-abuse-{os.getpid()}-{time.monotonic_ns()}")
    except OSError:
        return None


class Target:
    """A running handler."""

    def __init__(self, temporary, env=(), stdout=None):
        self.port, self.peak, self.failure = free_port(), 0, None
        self.log = temporary / "handler.log"
        self.group = cgroup()
        self.body_bytes = int(dict(env).get("SCORE_MAX_BODY_BYTES", 32 << 20))
        settings = {name: value for name, value in os.environ.items() if not name.startswith(("SCORE_", "REDIS_"))}
        settings |= {
            "SCORE_PORT": str(self.port),
            "SCORE_MODEL_DIR": str(temporary / "models"),
            "SCORE_DEFAULT_MODEL": "mnist",
            "SCORE_ENVELOPES": "on",
            "FUNCTIONS_APP_ROOT_PATH": str(ROOT),
            **dict(env),
        }
        out = stdout if stdout is not None else self.log.open("ab")
        self.process = subprocess.Popen([ROOT / "bin/handler"], env=settings, stdout=out, stderr=out)
        if self.group:
            self.group.take(self.process.pid)
        self.sampler = threading.Thread(target=self.sample, daemon=True)
        self.sampler.start()

    def sample(self):
        """Follows the anonymous memory, and ends the program at the limit if no control group does."""
        status = Path(f"/proc/{self.process.pid}/status")
        while self.process.poll() is None:
            with contextlib.suppress(OSError, StopIteration, IndexError):
                line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
                anonymous = int(line.split()[1]) << 10
                self.peak = max(self.peak, anonymous)
                if anonymous > LIMIT_BYTES and not self.group:
                    self.process.kill()
            time.sleep(SAMPLE_SECONDS)

    def connect(self, timeout=10):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def is_alive(self):
        return self.process.poll() is None

    def end(self):
        """Stops it as the host does; what it ended with before that."""
        ended_with = self.process.poll()
        if ended_with is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                ended_with = "deaf to SIGTERM"
                self.process.kill()
                self.process.wait()
        self.sampler.join()
        if self.group:
            self.group.remove()
        return ended_with
