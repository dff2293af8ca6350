"""The Python package openai and what is built on it."""

import asyncio
import math
import threading

import openai
import pytest
from langchain_openai import OpenAIEmbeddings

from conftest import MODEL, REFERENCE, bits, close

TEXTS = ["The ferry leaves at noon.", "", "käse 🧀", "NUL \0 in it", "e\u0301 \u202e שלום", "  blanks  ", "line\nbreak\r\n", "the cat"]


def client_of(server, **options):
    return openai.OpenAI(base_url=server.openai, api_key="none", **options)


def embeddings(answer):
    assert answer.object == "list" and [row.index for row in answer.data] == list(range(len(answer.data)))
    assert all(row.object == "embedding" for row in answer.data)
    return [row.embedding for row in answer.data]


def test_vectors_are_those_of_python(server):
    texts, expected = zip(*REFERENCE)
    found = embeddings(client_of(server).embeddings.create(model=MODEL, input=list(texts)))
    if len(found[0]) == len(expected[0]):
        close(found, expected, 1e-5)
    close(found, server.vectors(texts))


@pytest.mark.parametrize("encoding", [openai.omit, "base64", "float"])
def test_every_form_is_the_same_vector_on_misses_and_hits(server, encoding):
    texts = [f"{text} by Python, {encoding}" for text in TEXTS]
    for cache in ("MISS", "HIT"):
        raw = client_of(server).embeddings.with_raw_response.create(model=MODEL, input=texts, encoding_format=encoding)
        assert raw.headers["x-cache"] == cache
        answer = raw.parse()
        found = embeddings(answer)
        if encoding == "base64":
            assert all(isinstance(vector, str) for vector in found)
            found = embeddings(client_of(server).embeddings.create(model=MODEL, input=texts))
        assert bits(found) == bits(server.vectors(texts))
        assert answer.model == MODEL and answer.usage.total_tokens == answer.usage.prompt_tokens > len(texts)


def test_half_known_texts_and_repeated_ones_keep_their_order(server):
    client = client_of(server)
    texts = [f"case {number}" for number in range(40)]
    client.embeddings.create(model=MODEL, input=texts[::3])
    mixed = texts[::-1] + texts[:5] + [texts[7]] * 3
    raw = client.embeddings.with_raw_response.create(model=MODEL, input=mixed)
    assert raw.headers["x-cache"].startswith("PARTIAL")
    assert bits(embeddings(raw.parse())) == bits(server.vectors(mixed))


@pytest.mark.parametrize("text", ["hello", ["hello"]])
def test_one_text_with_few_dimensions(server, text):
    (found,) = embeddings(client_of(server).embeddings.create(model=MODEL, input=text, dimensions=4, user="u-1"))
    (whole,) = server.vectors(["hello"])
    norm = math.hypot(*whole[:4])
    close([found], [[number / norm for number in whole[:4]]])


@pytest.mark.parametrize(
    "given, error, param, said",
    [
        ({"input": []}, openai.BadRequestError, "input", "found none"),
        ({"input": [[101, 7592, 102]]}, openai.BadRequestError, "input", "check_embedding_ctx_length=False"),
        ({"input": [101, 7592, 102]}, openai.BadRequestError, "input", "check_embedding_ctx_length=False"),
        ({"input": "a", "dimensions": 0}, openai.BadRequestError, "dimensions", "dimensions"),
        ({"input": "a", "dimensions": 100_000}, openai.BadRequestError, "dimensions", "100000"),
        ({"input": "a", "encoding_format": "int8"}, openai.BadRequestError, "encoding_format", "base64"),
        ({"input": [None]}, openai.BadRequestError, "input", "null"),
    ],
)
def test_errors_are_the_clients_own_exceptions(server, given, error, param, said):
    with pytest.raises(error) as caught:
        client_of(server).embeddings.create(**{"model": MODEL, **given})
    told = caught.value
    assert (told.param, told.type) == (param, "invalid_request_error")
    assert told.code and said in told.message, told.message
    assert told.message.startswith(f"Error code: {told.status_code} - ")


def test_an_unknown_model_is_answered_with_those_there_are(server):
    with pytest.raises(openai.NotFoundError) as caught:
        client_of(server).embeddings.create(model="text-embedding-3-small", input="a")
    assert caught.value.type == "invalid_request_error" and caught.value.code and MODEL in caught.value.message


def test_models(server):
    client = client_of(server)
    (model,) = client.models.list().data
    assert (model.id, model.object) == (MODEL, "model") and model.owned_by and model.created >= 0
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("unknown")


def test_the_root_is_as_good_without_a_host(server):
    client = openai.OpenAI(base_url=f"{server.root}/v1", api_key="none")
    assert bits(embeddings(client.embeddings.create(model=MODEL, input=TEXTS))) == bits(server.vectors(TEXTS))


def test_unknown_members_are_passed_over(server):
    extra = {"priority": 1, "truncate_prompt_tokens": None, "drop_params": True, "metadata": {"a": [1]}}
    (found,) = embeddings(client_of(server).embeddings.create(model=MODEL, input="hello", extra_body=extra))
    close([found], server.vectors(["hello"]))


def test_overload_is_repeated_by_the_client(narrow):
    client = client_of(narrow, max_retries=3)
    with narrow.busy() as release:
        with pytest.raises(openai.APIStatusError) as caught:
            client_of(narrow, max_retries=0).embeddings.create(model=MODEL, input="hello")
        assert caught.value.status_code in (429, 503) and int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.code and "Retry" not in caught.value.type
        threading.Timer(0.1, release).start()
        raw = client.embeddings.with_raw_response.create(model=MODEL, input="hello")
    assert raw.retries_taken >= 1 and bits(embeddings(raw.parse())) == bits(narrow.vectors(["hello"]))


def test_many_at_once(server):
    async def ask():
        async with openai.AsyncOpenAI(base_url=server.openai, api_key="none") as client:
            texts = [[f"text {number % 17}", f"other {number}"] for number in range(100)]
            answers = await asyncio.gather(*(client.embeddings.create(model=MODEL, input=pair) for pair in texts))
            return texts, [embeddings(answer) for answer in answers]

    texts, found = asyncio.run(ask())
    flat = server.vectors([text for pair in texts for text in pair])
    assert bits(vector for pair in found for vector in pair) == bits(flat)


def test_langchain(server):
    embedder = OpenAIEmbeddings(model=MODEL, base_url=server.openai, api_key="none", check_embedding_ctx_length=False)
    close(embedder.embed_documents(TEXTS), server.vectors(TEXTS))
    close([embedder.embed_query("hello")], server.vectors(["hello"]))
    small = OpenAIEmbeddings(
        model=MODEL, base_url=server.openai, api_key="none", check_embedding_ctx_length=False, dimensions=4, chunk_size=3
    )
    assert [len(vector) for vector in small.embed_documents(TEXTS)] == [4] * len(TEXTS)
