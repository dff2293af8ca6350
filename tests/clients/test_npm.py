"""Node.js packages: each `*.test.mjs` beside their package-lock.json runs in Node.js' own test runner."""

import os
import subprocess

import pytest

from conftest import MODEL, ROOT

SOURCES = ROOT / "tests/clients/npm"
# Where scripts/test-clients.sh has installed the packages, and copied the tests to.
FOLDER = ROOT / "target/clients/npm"


def environment(server, tasks=None):
    more = {"TASKS": tasks.score} if tasks else {}
    return {**os.environ, **more, "ROOT": server.root, "MODEL": MODEL, "TOKENIZERS_PARALLELISM": "false"}


@pytest.mark.parametrize("file", sorted(path.name for path in SOURCES.glob("*.test.mjs")))
def test_npm(server, tasks, file):
    command = ["node", "--test", "--test-reporter=tap", file]
    ran = subprocess.run(command, cwd=FOLDER, env=environment(server, tasks), capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]


@pytest.mark.parametrize("client", ["openai", "langchain", "ai-sdk"])
def test_overload_is_repeated_by_the_client(narrow, client):
    command = ["node", "overload.mjs", client]
    with narrow.busy() as release, subprocess.Popen(
        command, cwd=FOLDER, env=environment(narrow), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as ran:
        first = ran.stdout.readline().split()
        release()
        rest = ran.stdout.read()
    assert first[0] in ("429", "503") and int(first[1]) >= 1, [first, rest]
    assert rest.endswith("done\n"), rest
