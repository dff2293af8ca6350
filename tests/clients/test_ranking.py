"""Clients of rerankers and classifiers, against what onnxruntime and transformers' pipelines give in Python."""

import base64
import json
import math
from array import array
from pathlib import Path

import cohere
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from infinity_client import Client
from infinity_client.api.default import classify, embeddings, rerank
from infinity_client.models import ClassifyInput, OpenAIEmbeddingInputText, RerankInput
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from rerankers import Reranker
from rerankers.models.api_rankers import APIRanker

from conftest import HEADS, MODEL, TINY, bits, close
from test_recorded import send

QUERY = HEADS["rank"][0]["query"]
PAIRS = [row for row in HEADS["rank"] if row["query"] == QUERY]
TEXTS = [row["text"] for row in PAIRS]
SCORES = [1 / (1 + math.exp(-row["logit"])) for row in PAIRS]
BEST = sorted(range(len(SCORES)), key=lambda at: -SCORES[at])
RECORDED = [json.loads(line) for line in Path(__file__).with_name("recorded_cohere.jsonl").read_text().splitlines()]


def labels(row):
    """Names and scores, the best first."""
    powers = [math.exp(logit) for logit in row["logits"]]
    scored = zip(["negative", "neutral", "positive"], [power / sum(powers) for power in powers])
    return sorted(scored, key=lambda label: -label[1])


def ranked(found, top=None):
    """Places and scores as they must be."""
    assert [index for index, _ in found] == BEST[:top]
    close([[score for _, score in found]], [[SCORES[at] for at in BEST[:top]]])


@pytest.fixture(params=[cohere.Client, cohere.ClientV2], ids=["v1", "v2"])
def co(tasks, request):
    return request.param(api_key="none", base_url=tasks.score)


def test_cohere_rerank(co):
    answer = co.rerank(model="reranker", query=QUERY, documents=TEXTS)
    ranked([(result.index, result.relevance_score) for result in answer.results])
    assert answer.meta.billed_units.search_units == 1
    answer = co.rerank(model="reranker", query=QUERY, documents=TEXTS, top_n=2)
    ranked([(result.index, result.relevance_score) for result in answer.results], 2)


def test_cohere_documents(tasks):
    client = cohere.Client(api_key="none", base_url=tasks.score)
    documents = [{"text": text, "title": "t"} for text in TEXTS]
    answer = client.rerank(model="reranker", query=QUERY, documents=documents, return_documents=True)
    assert [result.document.text for result in answer.results] == [TEXTS[at] for at in BEST]


def test_cohere_errors(co):
    with pytest.raises(cohere.BadRequestError) as caught:
        co.rerank(model="reranker", query="", documents=["a"])
    assert "query" in caught.value.body["message"]
    with pytest.raises(cohere.NotFoundError) as caught:
        co.rerank(model="rerank-v3.5", query="q", documents=["a"])
    assert "reranker" in caught.value.body["message"]
    with pytest.raises(cohere.BadRequestError) as caught:
        co.rerank(model=MODEL, query="q", documents=["a"])
    assert "reranker" in caught.value.body["message"]


def test_cohere_embed(tasks):
    texts = ["the cat", "käse 🧀"]
    expected = tasks.vectors(texts)
    first = cohere.Client(api_key="none", base_url=tasks.score)
    answer = first.embed(texts=texts, model=MODEL, input_type="search_document")
    assert bits(answer.embeddings) == bits(expected)
    second = cohere.ClientV2(api_key="none", base_url=tasks.score)
    types = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    answer = second.embed(texts=texts, model=MODEL, input_type="search_document", embedding_types=types)
    assert bits(answer.embeddings.float_) == bits(expected)
    for at, vector in enumerate(expected):
        scale = 127 / max(map(abs, vector))
        assert all(abs(value * scale - number) <= 0.5001 for value, number in zip(vector, answer.embeddings.int8[at]))
        assert answer.embeddings.uint8[at] == [number + 128 for number in answer.embeddings.int8[at]]
        # As numpy's packbits(vector > 0) of the eight numbers.
        byte = sum((value > 0) << 7 - bit for bit, value in enumerate(vector))
        assert answer.embeddings.ubinary[at] == [byte] and answer.embeddings.binary[at] == [byte - 128]
        assert array("f", base64.b64decode(answer.embeddings.base64[at])) == array("f", vector)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["name"])
def test_recorded_requests_of_coheres_packages(tasks, recorded):
    body = json.loads(recorded["body"])
    answer = send(tasks.handler.port, recorded["head"], recorded["body"])
    if body.get("query") == "":
        assert answer.status == 400 and answer.json.keys() == {"message"}
        return
    if body.get("output_dimension", 0) > 8:
        # The model has fewer dimensions than the one that was asked for when this was recorded.
        assert answer.status == 400 and "output_dimension" not in answer.json
        return
    given = answer.ok().json
    assert given["id"]
    if "documents" in body:
        scores = [result["relevance_score"] for result in given["results"]]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == min(body.get("top_n", len(body["documents"])), len(body["documents"]))
        assert given["meta"]["billed_units"]["search_units"] == 1
    else:
        assert given["texts"] == body["texts"]
        typed = "embedding_types" in body
        assert given["response_type"] == ("embeddings_by_type" if typed else "embeddings_floats")
        vectors = given["embeddings"]["float"] if typed else given["embeddings"]
        prompt = json.loads((TINY / "config_sentence_transformers.json").read_text())["prompts"]["query"]
        prompt = prompt if body["input_type"] == "search_query" else ""
        assert bits(vectors) == bits(tasks.vectors([prompt + text for text in body["texts"]]))


def test_infinity_client(tasks):
    with Client(base_url=tasks.score) as client:
        answer = rerank.sync(client=client, body=RerankInput(query=QUERY, documents=TEXTS, return_documents=True))
        ranked([(result.index, result.relevance_score) for result in answer.results])
        assert [result.document for result in answer.results] == [TEXTS[at] for at in BEST]
        answer = rerank.sync(client=client, body=RerankInput(query=QUERY, documents=TEXTS, model="reranker", top_n=1))
        ranked([(result.index, result.relevance_score) for result in answer.results], 1)
        rows = HEADS["label"]
        body = ClassifyInput(input_=[row["text"] for row in rows])
        answer = classify.sync(client=client, body=body)
        for found, row in zip(answer.data, rows, strict=True):
            assert [label.label for label in found] == [name for name, _ in labels(row)]
            close([[label.score for label in found]], [[score for _, score in labels(row)]])
        assert answer.usage.total_tokens == sum(row["tokens"] for row in rows)
        answer = embeddings.sync(client=client, body=OpenAIEmbeddingInputText(input_=TEXTS))
        assert bits([item.embedding for item in answer.data]) == bits(tasks.vectors(TEXTS))


def test_llama_index(tasks):
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    reranker = TextEmbeddingInference(base_url=tasks.score, top_n=3)
    found = reranker.postprocess_nodes(nodes, QueryBundle(QUERY))
    assert [node.node.get_content() for node in found] == [TEXTS[at] for at in BEST[:3]]
    close([[node.score for node in found]], [[SCORES[at] for at in BEST[:3]]])


def test_rerankers(tasks):
    models = [
        Reranker("text-embeddings-inference", api_key="none", url=f"{tasks.score}/rerank", verbose=0),
        APIRanker("reranker", "none", "cohere", url=f"{tasks.score}/v1/rerank"),
        APIRanker("reranker", "none", "jina", url=f"{tasks.score}/v1/rerank"),
    ]
    for model in models:
        found = model.rank(query=QUERY, docs=TEXTS)
        ranked([(result.doc_id, result.score) for result in found.results])


@pytest.mark.parametrize("path", ["/pipeline/text-classification", "/pipeline/text-classification/classifier"])
def test_text_classification(tasks, path):
    client = InferenceClient(model=tasks.score + path, token="none")
    for row in HEADS["label"]:
        found = client.text_classification(row["text"])
        assert [label.label for label in found] == [name for name, _ in labels(row)]
        close([[label.score for label in found]], [[score for _, score in labels(row)]])
    (best,) = client.text_classification(HEADS["label"][0]["text"], top_k=1, function_to_apply="none")
    close([[best.score]], [[max(HEADS["label"][0]["logits"])]])


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_token_classification(tasks, strategy):
    client = InferenceClient(model=f"{tasks.score}/pipeline/token-classification", token="none")
    for row in HEADS["tag"]:
        found = client.token_classification(row["text"], aggregation_strategy=strategy, ignore_labels=["O"])
        expected = row["entities"][strategy]
        for entity, wanted in zip(found, expected, strict=True):
            assert (entity.start, entity.end, entity.word) == (wanted["start"], wanted["end"], wanted["word"])
            assert (entity.entity or entity.entity_group) == wanted.get("entity", wanted.get("entity_group"))
            close([[entity.score]], [[wanted["score"]]], 1e-5)
    with pytest.raises(HfHubHTTPError) as caught:
        client.token_classification("a", aggregation_strategy="median")
    assert "average" in str(caught.value)


def test_sparse_vectors(tasks):
    rows = HEADS["sparse"]
    found = tasks.handler.post("/embed_sparse", {"inputs": [row["text"] for row in rows]}).ok().json
    for vector, row in zip(found, rows, strict=True):
        assert [weight["index"] for weight in vector] == [weight["index"] for weight in row["weights"]]
        close([[weight["value"] for weight in vector]], [[weight["value"] for weight in row["weights"]]], 1e-5)
