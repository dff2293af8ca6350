"""Ollama's own package."""

import ollama
import pytest

from conftest import MODEL, bits

TEXTS = ["The ferry leaves at noon.", "käse 🧀", "the cat"]


@pytest.fixture(params=["/api/score", "/"], ids=["prefix", "root"])
def client(server, request):
    return ollama.Client(host=server.root + request.param)


def test_embed(server, client):
    answer = client.embed(model=MODEL, input=TEXTS, truncate=True, options={"num_ctx": 256}, keep_alive="5m")
    assert bits(answer.embeddings) == bits(server.vectors(TEXTS))
    assert answer.model == MODEL and answer.prompt_eval_count > 3 and answer.total_duration > 0
    (small,) = client.embed(model=MODEL, input="the cat", dimensions=4).embeddings
    assert len(small) == 4
    # Ollama's names have a tag.
    assert client.embed(model=f"{MODEL}:latest", input="the cat").embeddings[0]


def test_the_older_form(server, client):
    answer = client.embeddings(model=MODEL, prompt="the cat")
    assert bits([answer.embedding]) == bits(server.vectors(["the cat"]))


@pytest.mark.parametrize(
    "given, status, said",
    [
        ({"model": "unknown", "input": "a"}, 404, MODEL),
        ({"model": MODEL, "input": "invoice " * 4000, "truncate": False}, 400, "tokens"),
        ({"model": MODEL, "input": "a", "dimensions": 100_000}, 400, "100000"),
    ],
)
def test_errors(client, given, status, said):
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed(**given)
    assert caught.value.status_code == status and said in caught.value.error


def test_overload(narrow):
    with narrow.busy():
        with pytest.raises(ollama.ResponseError) as caught:
            ollama.Client(host=narrow.score).embed(model=MODEL, input="a")
    assert caught.value.status_code in (429, 503) and "requests" in caught.value.error
