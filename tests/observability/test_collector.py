"""Spans reach a collector over TLS, whose certificate is checked."""

import http.server
import json
import os
import signal
import ssl
import subprocess
import threading

import pytest
from conftest import Handler, wait_until
from program import PROGRAM, ROOT, Process, free_port


class Collector(http.server.ThreadingHTTPServer):
    def __init__(self, certificate, key):
        super().__init__(("127.0.0.1", 0), Taker)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.taken = []

    def handle_error(self, *_):
        """Who does not trust the certificate breaks off."""


class Taker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector(tmp_path):
    names = ["-subj", "/CN=collector", "-addext", "subjectAltName=DNS:localhost"]
    # One that may sign others would not be taken for a server's.
    names += ["-addext", "basicConstraints=critical,CA:FALSE"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    server = Collector(tmp_path / "certificate.pem", tmp_path / "key.pem")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("trusted", [True, False])
def test_spans_travel_over_tls_to_whom_the_certificate_names(tmp_path, collector, trusted):
    port = free_port()
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | {
        "SCORE_PORT": str(port),
        "FUNCTIONS_APP_ROOT_PATH": str(ROOT),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
    }
    if trusted:
        environment["SSL_CERT_FILE"] = str(tmp_path / "certificate.pem")
    row = json.loads((ROOT / "examples/mnist/digits.json").read_text())["data"][0]
    with Process([str(PROGRAM)], tmp_path, tmp_path / "handler.log", environment) as program:
        handler = Handler(port)
        wait_until(lambda: handler.send("GET", "/api/score/v2/health/ready")[0] == 200, "the handler is ready")
        assert handler.send("POST", "/api/score", json.dumps({"data": [row]}))[0] == 200
        if trusted:
            wait_until(lambda: any(b"inference" in body for _, _, body in collector.taken), "spans came")
            assert {taken[:2] for taken in collector.taken} == {("/v1/traces", "application/x-protobuf")}
        else:
            wait_until(lambda: "traces cannot be exported" in program.log(), "the log says it")
            assert not collector.taken
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(10) == 0
