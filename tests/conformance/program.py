"""Starts the built handler on a folder with models, and asks it over HTTP, with nothing but the standard library."""

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("SCORE_HANDLER", ROOT / "target/debug/handler"))
RUNTIME = Path(os.environ.get("ORT_DYLIB_PATH", ROOT / "bin/libonnxruntime.so.1"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A program with its output in a file; it ends with the block."""

    def __init__(self, command, folder, log_file, environment=None):
        self.command, self.folder, self.environment = command, folder, environment
        self.log_file = Path(log_file)

    def __enter__(self):
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def alive(self):
        return self.process.poll() is None

    def log(self):
        return self.log_file.read_text(errors="replace")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body, parse_constant=no_json)

    def ok(self):
        assert self.status == 200, f"status {self.status}: {self.body[:600]!r}"
        return self


def no_json(word):
    """Python's own parser takes NaN and Infinity, which are not JSON."""
    raise AssertionError(f"the answer is not JSON: it holds {word}")


class Handler(Process):
    """The handler on a port of its own, in an app root with `models/`."""

    def __init__(self, app_root, settings=None, patience=120):
        app_root = Path(app_root)
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LC_ALL", "LOCPATH") if key in os.environ}
        environment = kept | {
            "SCORE_MODEL_DIR": "models",
            "SCORE_SESSIONS": "1",
            "FUNCTIONS_APP_ROOT_PATH": str(app_root),
            "ORT_DYLIB_PATH": str(RUNTIME),
            **(settings or {}),
        }
        super().__init__([str(PROGRAM)], app_root, app_root / "log.txt", environment)
        self.patience = patience
        self.local = threading.local()

    def __enter__(self):
        # Between the probe and the start another process may take the port.
        for _ in range(5):
            self.port = free_port()
            self.environment["SCORE_PORT"] = str(self.port)
            super().__enter__()
            if self._wait_until_ready():
                return self
            self.__exit__()
        raise AssertionError(f"the handler did not start:\n{self.log()[-3000:]}")

    def _wait_until_ready(self):
        deadline = time.monotonic() + 300
        while self.alive() and time.monotonic() < deadline:
            try:
                if self.get("/v2/health/ready").status == 200:
                    return True
            except OSError:
                self.local.connection = None
            time.sleep(0.05)
        return False

    @property
    def url(self):
        return f"127.0.0.1:{self.port}/api/score"

    def send(self, method, path, body=None, headers=None):
        """One request below /api/score, on this thread's connection."""
        for attempt in (1, 2):
            connection = getattr(self.local, "connection", None)
            fresh = connection is None
            if fresh:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
                self.local.connection = connection
            try:
                connection.request(method, f"/api/score{path}", body=body, headers=headers or {})
                response = connection.getresponse()
                return Answer(response.status, response.headers, response.read())
            except (http.client.HTTPException, OSError):
                connection.close()
                self.local.connection = None
                # A kept connection may have been closed meanwhile; a new one has no excuse.
                if fresh or attempt == 2:
                    raise
        return None

    def get(self, path=""):
        return self.send("GET", path)

    def post(self, path, body, content_type="application/json", **headers):
        headers = {"content-type": content_type} | {k.replace("_", "-"): v for k, v in headers.items()}
        if not isinstance(body, bytes):
            body = json.dumps(body, allow_nan=False).encode()
        return self.send("POST", path, body, headers)
