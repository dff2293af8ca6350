"""Clients of Azure OpenAI and Azure AI Foundry, and what Azure AI Search sends."""

import base64
from array import array

import openai
import pytest
from azure.ai.inference import EmbeddingsClient
from azure.ai.inference.models import EmbeddingInputType
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.search.documents.indexes.models import (
    InputFieldMappingEntry,
    OutputFieldMappingEntry,
    WebApiSkill,
    WebApiVectorizer,
    WebApiVectorizerParameters,
)
from langchain_openai import AzureOpenAIEmbeddings

from conftest import MODEL, QUERY_PROMPT, bits, close, until

TEXTS = ["The ferry leaves at noon.", "käse 🧀", "the cat"]


def azure_openai(server, **options):
    return openai.AzureOpenAI(azure_endpoint=server.score, api_key="none", api_version="2024-10-21", **options)


def test_azure_openai(server):
    # The deployment is in the path, or the model's name takes its part.
    for client, name in [(azure_openai(server), MODEL), (azure_openai(server, azure_deployment=MODEL), "gpt-any")]:
        answer = client.embeddings.create(model=name, input=TEXTS)
        assert bits(row.embedding for row in answer.data) == bits(server.vectors(TEXTS))
    with pytest.raises(openai.NotFoundError) as caught:
        azure_openai(server).embeddings.create(model="unknown", input="a")
    assert caught.value.code and MODEL in caught.value.message


def test_azure_openai_without_versions(server):
    client = openai.OpenAI(base_url=f"{server.score}/openai/v1/", api_key="none", default_headers={"api-key": "none"})
    answer = client.embeddings.create(model=MODEL, input=TEXTS, extra_query={"api-version": "preview"})
    assert bits(row.embedding for row in answer.data) == bits(server.vectors(TEXTS))


def test_langchain_with_azure_openai(server):
    embedder = AzureOpenAIEmbeddings(
        azure_endpoint=server.score,
        api_key="none",
        api_version="2024-10-21",
        azure_deployment=MODEL,
        check_embedding_ctx_length=False,
    )
    close(embedder.embed_documents(TEXTS), server.vectors(TEXTS))


@pytest.fixture(params=["/api/score", "/api/score/v1", ""], ids=["prefix", "v1", "root"])
def inference(server, request):
    with EmbeddingsClient(endpoint=server.root + request.param, credential=AzureKeyCredential("none")) as client:
        yield client


def test_azure_ai_inference(server, inference):
    answer = inference.embed(input=TEXTS, model=MODEL)
    assert [row.index for row in answer.data] == [0, 1, 2] and answer.usage.total_tokens > 3
    assert bits(row.embedding for row in answer.data) == bits(server.vectors(TEXTS))
    packed = inference.embed(input=TEXTS, model=MODEL, encoding_format="base64", dimensions=4)
    assert [len(array("f", base64.b64decode(row.embedding))) for row in packed.data] == [4] * 3


def test_azure_ai_inference_asks_for_the_models_prompt(server, inference):
    query = inference.embed(input=["lost"], model=MODEL, input_type=EmbeddingInputType.QUERY)
    if QUERY_PROMPT:
        assert bits(row.embedding for row in query.data) == bits(server.vectors([f"{QUERY_PROMPT}lost"]))
    # No prompt has that name: the text is taken as it is.
    plain = inference.embed(input=["lost"], model=MODEL, input_type=EmbeddingInputType.DOCUMENT)
    assert bits(row.embedding for row in plain.data) == bits(server.vectors(["lost"]))


def test_errors_of_azure_ai_inference(inference):
    for given, code in [({"input": [], "model": MODEL}, 400), ({"input": ["a"], "model": "unknown"}, 404)]:
        with pytest.raises(HttpResponseError) as caught:
            inference.embed(**given)
        assert caught.value.status_code == code and caught.value.error.code and caught.value.error.message


SKILL = {
    "name": "embed",
    "context": "/document/pages/*",
    "inputs": [InputFieldMappingEntry(name="text", source="/document/pages/*")],
    "outputs": [OutputFieldMappingEntry(name="vector", target_name="vector")],
    "http_headers": {"x-functions-key": "none"},
    "batch_size": 100,
}


def records_of(skill, texts):
    """What the indexer makes of a skill's definition: each record has the inputs by their names."""
    (field,) = skill.inputs
    values = [{"recordId": f"r{number}", "data": {field.name: text}} for number, text in enumerate(texts)]
    return {"values": values}


def ask(server, uri, headers, body):
    path = uri.removeprefix(server.score)
    return server.handler.post(path, body, "application/json; charset=utf-8", **headers)


@pytest.mark.parametrize("path", ["skill", f"skill/{MODEL}"])
def test_a_skill_of_azure_ai_search(server, path):
    skill = WebApiSkill(uri=f"{server.score}/{path}", **SKILL)
    body = records_of(skill, TEXTS)
    body["values"][1]["data"] = {"text": None}
    body["values"].append({"recordId": "far", "data": {"text": "invoice " * 4000, "language": "en"}})
    answer = ask(server, skill.uri, skill.http_headers, body).ok().json
    assert [value["recordId"] for value in answer["values"]] == ["r0", "r1", "r2", "far"]
    (output,) = skill.outputs
    good = [value for value in answer["values"] if not value["errors"]]
    assert [value["recordId"] for value in good] == ["r0", "r2", "far"]
    assert bits(value["data"][output.name] for value in good[:2]) == bits(server.vectors([TEXTS[0], TEXTS[2]]))
    assert "text" in answer["values"][1]["errors"][0]["message"]
    assert [bool(value["warnings"]) for value in answer["values"]] == [False, False, False, True]
    assert isinstance(answer["values"][3]["warnings"][0]["message"], str)


def test_a_vectorizer_of_azure_ai_search(server):
    parameters = WebApiVectorizerParameters(url=f"{server.score}/skill", http_method="POST", http_headers={})
    vectorizer = WebApiVectorizer(vectorizer_name="minilm", web_api_parameters=parameters)
    body = {"values": [{"recordId": "0", "data": {"text": "where is the cat"}}]}
    url = vectorizer.web_api_parameters.url
    (value,) = ask(server, url, {}, body).ok().json["values"]
    assert bits([value["data"]["vector"]]) == bits(server.vectors(["where is the cat"]))


def test_an_indexer_asks_again_while_there_is_too_much_work(narrow):
    skill = WebApiSkill(uri=f"{narrow.score}/skill", **SKILL)
    body = records_of(skill, ["a", "b"])
    with narrow.busy() as release:
        refused = ask(narrow, skill.uri, skill.http_headers, body)
        assert refused.status == 503 and int(refused.headers["retry-after"]) >= 1
        release()
    # The request that was held is still being answered.
    until(lambda: ask(narrow, skill.uri, skill.http_headers, body).status != 503, "a request is taken")
    assert len(ask(narrow, skill.uri, skill.http_headers, body).ok().json["values"]) == 2
