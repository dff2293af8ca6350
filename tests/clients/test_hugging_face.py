"""Clients of text-embeddings-inference: huggingface_hub and LlamaIndex."""

import math

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

from conftest import MODEL, QUERY_PROMPT, bits, close

TEXTS = ["The ferry leaves at noon.", "käse 🧀", "the cat"]


@pytest.fixture(params=["/api/score/embed", f"/api/score/{MODEL}/embed", "/embed", "/"])
def hub(server, request):
    """The client posts to the address it is given, and adds no path."""
    return InferenceClient(model=server.root + request.param, token="none")


def test_feature_extraction(server, hub):
    assert bits(hub.feature_extraction(TEXTS)) == bits(server.vectors(TEXTS))
    assert bits(hub.feature_extraction("the cat")) == bits(server.vectors(["the cat"]))


def test_options_of_feature_extraction(server, hub):
    long = "cat " + "invoice " * 4000 + "dog"
    ends = [hub.feature_extraction(long, truncate=True, truncation_direction=side) for side in ("left", "right")]
    assert bits(ends[0]) != bits(ends[1])
    with pytest.raises(HfHubHTTPError) as caught:
        hub.feature_extraction(long, truncate=False)
    assert caught.value.response.status_code in (413, 422) and "tokens" in str(caught.value)
    (whole,) = hub.feature_extraction("the cat", normalize=False)
    (scaled,) = server.vectors(["the cat"])
    close([[number / math.hypot(*whole) for number in whole]], [scaled])
    if QUERY_PROMPT:
        query = hub.feature_extraction("lost", prompt_name="query")
        assert bits(query) == bits(server.vectors([f"{QUERY_PROMPT}lost"]))
    with pytest.raises(HfHubHTTPError) as caught:
        hub.feature_extraction("lost", prompt_name="nonsense")
    assert "nonsense" in str(caught.value)


def test_sentence_similarity(server, hub):
    found = hub.sentence_similarity("the cat", other_sentences=["the cat", "an invoice"])
    one, other = server.vectors(["the cat", "an invoice"])
    close([found], [[1, sum(a * b for a, b in zip(one, other))]], 1e-5)


def test_overload_is_no_503(narrow):
    """The package for JavaScript repeats a 503 at once and without end."""
    with narrow.busy():
        for path in ("/embed", f"/{MODEL}/embed", "/similarity"):
            body = {"inputs": "a"}
            if path == "/similarity":
                body = {"inputs": {"source_sentence": "a", "sentences": ["b"]}}
            answer = narrow.handler.post(path, body)
            assert answer.status == 429 and int(answer.headers["retry-after"]) >= 1
            assert isinstance(answer.json["error"], str) and isinstance(answer.json["error_type"], str)


def test_llama_index(server):
    embedder = TextEmbeddingsInference(model_name=MODEL, base_url=server.score, embed_batch_size=2, auth_token="none")
    assert bits(embedder.get_text_embedding_batch(TEXTS)) == bits(server.vectors(TEXTS))
    assert bits([embedder.get_query_embedding("the cat")]) == bits(server.vectors(["the cat"]))
