"""A handler under a short load with a Redis beside it, and a Prometheus that scrapes it."""

import base64
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "conformance"))
from program import PROGRAM, ROOT, Process, free_port

METRICS = "/api/score/metrics"


def wait_until(holds, what, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except (OSError, http.client.HTTPException, ValueError):
            # The port is not open yet, or the answer is not JSON.
            pass
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


class Handler:
    def __init__(self, port):
        self.port = port

    def send(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type"), answer.read().decode()
        finally:
            connection.close()

    def put_under_load(self, seconds):
        """Hits, misses, mistakes and messages, some of each in every second."""
        digits = json.loads((ROOT / "examples/mnist/digits.json").read_text())["data"]
        end = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < end:
            turn += 1
            known = [digits[turn % 50]]
            fresh = [[(turn + i) % 256 for i in range(784)]]
            for rows in (known, known, fresh, known + fresh):
                assert self.send("POST", "/api/score", json.dumps({"data": rows}))[0] == 200
            assert self.send("POST", "/api/score/mnist", "{")[0] == 400
            body = base64.b64encode(json.dumps({"data": known}).encode()).decode()
            envelope = {"Data": {"message": json.dumps([body])}, "Metadata": {}}
            assert self.send("POST", "/score_queue", json.dumps(envelope))[0] == 200
            time.sleep(0.02)


class Prometheus:
    def __init__(self, port):
        self.port = port

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def query(self, expression):
        answer = self.ask("query", query=expression)
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        return answer["data"]["result"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("observability")


@pytest.fixture(scope="session")
def handler(folder):
    port, redis = free_port(), free_port()
    store = ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | {
        "SCORE_PORT": str(port),
        "FUNCTIONS_APP_ROOT_PATH": str(ROOT),
        "REDIS_URL": f"redis://127.0.0.1:{redis}",
        # So that Redis is asked too.
        "SCORE_L1_BYTES": "4096",
        "SCORE_ENVELOPES": "on",
    }
    with (
        Process(store, folder, folder / "redis.log"),
        Process([str(PROGRAM)], folder, folder / "handler.log", environment) as program,
    ):
        started = Handler(port)
        try:
            wait_until(lambda: started.send("GET", "/api/score/v2/health/ready")[0] == 200, "the handler is ready")
            wait_until(lambda: "score_cache_redis_up 1" in started.send("GET", METRICS)[2], "Redis is connected")
            yield started
        finally:
            print(program.log()[-2000:])


@pytest.fixture(scope="session")
def prometheus(folder, handler):
    """It has scraped the handler before, during and after a load."""
    port = free_port()
    (folder / "prometheus.yml").write_text(
        f"""
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: score
    metrics_path: {METRICS}
    static_configs:
      - targets: ["127.0.0.1:{handler.port}"]
"""
    )
    subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], check=True, capture_output=True)
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"]
    with Process([*command, f"--web.listen-address=127.0.0.1:{port}"], folder, folder / "prometheus.log") as program:
        started = Prometheus(port)
        try:
            wait_until(lambda: started.query("up"), "Prometheus has scraped the handler")
            handler.put_under_load(5)
            time.sleep(1.5)
            yield started
        finally:
            print(program.log()[-2000:])
