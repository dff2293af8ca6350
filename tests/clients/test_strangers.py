"""What people do with these clients and did not mean to, or were not told otherwise: from reports about other servers."""

import json
import urllib.error
import urllib.request

import ollama
import openai
import pytest

from conftest import MODEL, bits

TEXTS = ["The ferry leaves at noon.", "the cat"]


def post(url, body, **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("base", ["/api/score/v1/", "/api/score", "/api/score/", "/v1", "/v1/", "/api/score/openai/v1"])
def test_base_urls_with_and_without_version_and_slash(server, base):
    client = openai.OpenAI(base_url=server.root + base, api_key="sk-none")
    answer = client.embeddings.create(model=MODEL, input=TEXTS)
    assert bits(row.embedding for row in answer.data) == bits(server.vectors(TEXTS))


def test_a_base_url_with_the_whole_path_is_told_what_is_there(server):
    client = openai.OpenAI(base_url=f"{server.openai}/embeddings", api_key="none")
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model=MODEL, input="a")
    assert "/v1/embeddings/embeddings" in caught.value.message and caught.value.code


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"])
def test_curl_without_a_content_type(server, kind):
    headers = {"content-type": kind} if kind else {}
    for path, member in [("/api/score/v1/embeddings", "data"), ("/api/embed", "embeddings")]:
        status, answer = post(server.root + path, {"model": MODEL, "input": TEXTS}, **headers)
        assert status == 200 and len(answer[member]) == 2, answer


def test_null_and_foreign_members(server):
    body = {"model": MODEL, "input": TEXTS, "encoding_format": None, "dimensions": None, "user": None, "task": "retrieval", "late": {}}
    status, answer = post(f"{server.openai}/embeddings", body)
    assert status == 200 and bits(row["embedding"] for row in answer["data"]) == bits(server.vectors(TEXTS))


@pytest.mark.parametrize(
    "given",
    [
        {"input": None},
        {"input": ["a", 1]},
        {"input": ["a", ["b"]]},
        {"input": {"text": "a"}},
        {"input": [{"type": "text", "text": "a"}]},
        {"input": 7},
        {"input": True},
        {"input": "a", "encoding_format": "md5"},
        {"input": "a", "encoding_format": ["float"]},
        {"input": "a", "dimensions": -1},
        {"input": "a", "dimensions": 1.5},
        {"input": "a", "dimensions": "8"},
        {"input": "a", "model": 7},
    ],
)
def test_wrong_types_are_told(server, given):
    for path in ("/v1/embeddings", "/api/embed"):
        status, answer = post(f"{server.root}{path}", {"model": MODEL, **given})
        if path == "/api/embed" and "encoding_format" in given:
            assert status == 200, "Ollama has no such member"
            continue
        told = answer["error"] if path == "/api/embed" else answer["error"]["message"]
        assert status in (400, 422) and isinstance(told, str), (path, status, answer)
        assert next(iter(given.keys() & {"encoding_format", "dimensions", "model"}), "input") in told, told


@pytest.mark.parametrize("body", [b"", b"input=a", b"[1]", b'"a"', b"\xff\xfe", b'{"input": "\xff"}', b'{"input": "\\ud800"}', b'{"input": "a"'])
def test_what_is_no_json_is_told(server, body):
    for path, is_text in [("/v1/embeddings", False), ("/api/embed", True), ("/embed", True)]:
        status, answer = post(f"{server.root}{path}", body, **{"content-type": "application/json"})
        assert status in (400, 422) and isinstance(answer["error"], str) == is_text, (path, status, answer)


def test_a_mark_of_byte_order_is_passed_over(server):
    body = b"\xef\xbb\xbf" + json.dumps({"model": MODEL, "input": TEXTS}).encode() + b"\r\n"
    status, answer = post(f"{server.openai}/embeddings", body, **{"content-type": "application/json"})
    assert status == 200 and len(answer["data"]) == 2


def test_ollamas_other_paths_are_refused_in_its_form(server):
    client = ollama.Client(host=server.score)
    for ask in (client.list, lambda: client.show(MODEL), lambda: client.generate(model=MODEL, prompt="a")):
        with pytest.raises(ollama.ResponseError) as caught:
            ask()
        assert caught.value.status_code in (404, 405) and "{" not in caught.value.error, caught.value.error


def test_a_megabyte_of_text_is_cut(server):
    raw = openai.OpenAI(base_url=server.openai, api_key="none").embeddings.with_raw_response.create(
        model=MODEL, input=["word " * 200_000, "short"]
    )
    assert raw.headers["x-truncated"] == "1" and len(raw.parse().data) == 2
