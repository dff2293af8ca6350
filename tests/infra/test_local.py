"""What helps on a developer's machine: the notification for blobs, the dev container, the editor's tasks and requests."""

import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AZ = """#!/bin/sh
echo "$@" >>"$0.log"
case $* in *"blob url"*) echo "http://127.0.0.1:10000/devstoreaccount1/incoming/a%20b.json" ;; esac
"""


@pytest.fixture
def host():
    received = []

    class Host(BaseHTTPRequestHandler):
        status = 202

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(Host.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Host, f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()


def run(tmp_path, address, *arguments):
    az = tmp_path / "az"
    az.write_text(AZ)
    az.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SCORE_LOCAL": address, "LANG": "C.UTF-8", "no_proxy": "127.0.0.1"}
    return subprocess.run([ROOT / "infra/local-blob.sh", *arguments], env=environment, capture_output=True, text=True)


def test_the_notification_is_the_one_of_event_grid(tmp_path, host):
    _, address, received = host
    blob = tmp_path / "a b.json"
    blob.write_text('{"data": []}')
    result = run(tmp_path, address, blob)
    assert result.returncode == 0, result.stderr
    ((path, headers, (event,)),) = received
    assert path == "/runtime/webhooks/blobs?functionName=Host.Functions.score_blob"
    assert headers["aeg-event-type"] == "Notification" and headers["content-type"] == "application/json"
    assert event["subject"] == "/blobServices/default/containers/incoming/blobs/a b.json"
    assert event["eventType"] == "Microsoft.Storage.BlobCreated" and event["data"]["contentLength"] == 12
    assert event["data"]["url"] == "http://127.0.0.1:10000/devstoreaccount1/incoming/a%20b.json"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["eventTime"])
    calls = (tmp_path / "az.log").read_text()
    assert "--connection-string UseDevelopmentStorage=true" in calls and "--overwrite" in calls


def test_a_host_that_does_not_take_it_is_an_error(tmp_path, host):
    handler, address, _ = host
    blob = tmp_path / "seven.json"
    blob.write_text("{}")
    handler.status = 404
    assert "answered 404" in run(tmp_path, address, blob).stderr
    assert "answered 000" in run(tmp_path, "http://127.0.0.1:9", blob).stderr
    assert "no such file" in run(tmp_path, address, tmp_path / "nowhere").stderr


def test_tasks_and_the_container_run_what_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    tasks = json.loads((ROOT / ".vscode/tasks.json").read_text())["tasks"]
    made = {task["command"].split()[1] for task in tasks if task.get("command", "").startswith("make ")}
    assert {"run", "test"} <= made <= targets
    labels = {task["label"] for task in tasks}
    assert all(set(task.get("dependsOn", [])) <= labels for task in tasks)
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert (ROOT / container["postCreateCommand"].split()[0]).is_file() and "azurite" in container["onCreateCommand"]
    assert container["postAttachCommand"] == "make run" and "azurite" in container["postStartCommand"]


def test_requests_name_files_that_exist():
    path = ROOT / "examples/test.http"
    files = re.findall(r"^< (\S+)$", path.read_text(), re.MULTILINE)
    assert files and all((path.parent / file).is_file() for file in files)


def test_the_front_matter_of_the_template():
    """What galleries of azd templates read; azd init --template copies the repository."""
    readme = (ROOT / "README.md").read_text()
    front = re.match(r"<!--\n---\n(.*?)\n---\n-->\n", readme, re.DOTALL)
    assert front, "README.md has no front matter in a comment at its top"
    for word in ("page_type: sample", "azure-functions", "azdeveloper", "bicep", "rust", "urlFragment:"):
        assert word in front.group(1), word
