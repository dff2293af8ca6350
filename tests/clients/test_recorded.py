"""Requests of clients that do not run here, byte for byte as they were recorded, and what those clients need of the answer.

recorded.jsonl holds name, version, head and body of each. What the clients need was seen when they were recorded: OpenAI's
for .NET and what is built on it fail on floats where they asked for base64, and show `message`, `type` and `code` of an
error; OllamaSharp needs an error that is a text.
"""

import base64
import json
import math
import socket
from array import array
from pathlib import Path

import pytest

from conftest import QUERY_PROMPT, TINY, Server, app_root, bits, close
from program import Answer, Handler

RECORDED = [json.loads(line) for line in Path(__file__).with_name("recorded.jsonl").read_text().splitlines()]


def send(port, head, body):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"{head}\r\n\r\n{body}".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536) or pytest.fail("closed")
        told, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = told.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(rest) < int(headers["content-length"]):
            rest += connection.recv(65536) or pytest.fail("cut off")
    return Answer(int(status.split()[1]), headers, rest)


@pytest.fixture(params=RECORDED, ids=lambda recorded: recorded["name"])
def recorded(request):
    return request.param


def is_ollama(recorded):
    return "/api/embed " in recorded["head"]


def texts_of(body):
    given = body["input"]
    return [given] if isinstance(given, str) else given


def expected(server, body):
    prompt = QUERY_PROMPT or "" if body.get("input_type") == "query" else ""
    vectors = server.vectors([prompt + text for text in texts_of(body)])
    if "dimensions" not in body:
        return vectors
    cut = [vector[: body["dimensions"]] for vector in vectors]
    return [[number / math.hypot(*vector) for number in vector] for vector in cut]


def openai_vectors(answer, body):
    rows = answer["data"]
    assert answer["object"] == "list" and [row["index"] for row in rows] == list(range(len(texts_of(body))))
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
    vectors = [row["embedding"] for row in rows]
    # Asked for or not: absence means numbers.
    if body.get("encoding_format") == "base64":
        return [array("f", base64.b64decode(vector, validate=True)) for vector in vectors]
    return vectors


def test_answers(server, recorded):
    body = json.loads(recorded["body"])
    answer = send(server.handler.port, recorded["head"], recorded["body"])
    assert answer.headers["content-type"].startswith("application/json")
    if not isinstance(texts_of(body)[0], str):
        assert answer.status == 400
        openai_error(answer.json, "invalid_request_error")
        return
    given = answer.ok().json
    found = given["embeddings"] if is_ollama(recorded) else openai_vectors(given, body)
    if "dimensions" in body:
        close(found, expected(server, body))
    else:
        assert bits(found) == bits(expected(server, body))


def openai_error(document, kind):
    error = document["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert error["type"] == kind and error["code"] and error["message"] and len(error["message"]) < 1000


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Its model has another name than the recorded one."""
    root = app_root(tmp_path_factory.mktemp("stranger"), another=TINY)
    with Handler(root) as handler:
        yield Server(handler)


def test_errors(stranger, recorded):
    if not isinstance(texts_of(json.loads(recorded["body"]))[0], str):
        return
    if '"model"' not in recorded["body"]:
        pytest.skip("names no model")
    answer = send(stranger.handler.port, recorded["head"], recorded["body"])
    assert answer.status == 404
    told = answer.json
    if is_ollama(recorded):
        assert isinstance(told["error"], str) and "another" in told["error"]
    else:
        openai_error(told, "invalid_request_error")
        assert "another" in told["error"]["message"]


def test_overload(narrow):
    good = [recorded for recorded in RECORDED if isinstance(texts_of(json.loads(recorded["body"]))[0], str)]
    with narrow.busy():
        answers = [(recorded, send(narrow.handler.port, recorded["head"], recorded["body"])) for recorded in good]
    for recorded, answer in answers:
        assert answer.status in (429, 503) and 1 <= int(answer.headers["retry-after"]) <= 60, recorded["name"]
        error = answer.json["error"]
        if is_ollama(recorded):
            assert isinstance(error, str)
        else:
            assert error["code"] and error["message"] and error["type"] in ("server_error", "rate_limit_error"), error
