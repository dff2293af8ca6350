"""How each client is told the key of a handler that has keys of its own."""

import httpx
import numpy as np
import ollama
import openai
import pytest
import tritonclient.http as triton
from azure.ai.inference import EmbeddingsClient
from azure.core.credentials import AzureKeyCredential
from huggingface_hub import InferenceClient
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from program import Handler

from conftest import MODEL, TINY, Server, app_root

KEY = "key-of-the-tests-0123456789"
HEADER = {"x-functions-key": KEY}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    root = app_root(tmp_path_factory.mktemp("keyed"), **{MODEL: TINY})
    with Handler(root, {"SCORE_API_KEYS": KEY}) as handler:
        yield Server(handler)


def openai_embed(server, **options):
    client = openai.OpenAI(base_url=server.openai, **options)
    return client.embeddings.create(model=MODEL, input="a").data[0].embedding


def azure_openai_embed(server, key):
    client = openai.AzureOpenAI(azure_endpoint=server.score, api_key=key, api_version="2024-10-21")
    return client.embeddings.create(model=MODEL, input="a").data[0].embedding


def langchain_embed(server, key):
    options = {"base_url": server.openai, "api_key": key, "check_embedding_ctx_length": False}
    return OpenAIEmbeddings(model=MODEL, **options).embed_query("a")


def inference_embed(server, key):
    with EmbeddingsClient(endpoint=server.score, credential=AzureKeyCredential(key)) as client:
        return client.embed(input=["a"], model=MODEL).data[0].embedding


def llama_index_embed(server, key):
    return TextEmbeddingsInference(model_name=MODEL, base_url=server.score, auth_token=key).get_text_embedding("a")


def ollama_embed(server, headers):
    return ollama.Client(host=server.score, headers=headers).embed(model=MODEL, input="a").embeddings[0]


def hub_embed(server, **options):
    return InferenceClient(model=f"{server.score}/embed", **options).feature_extraction("a")[0]


def triton_embed(server, headers):
    client = triton.InferenceServerClient(f"127.0.0.1:{server.handler.port}/api/score")
    text = triton.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array([b"a"], dtype=object))
    return client.infer(MODEL, [text], headers=headers).as_numpy("embedding")[0]


EMBED = {
    "openai": lambda server: openai_embed(server, api_key=KEY),
    "openai, header": lambda server: openai_embed(server, api_key="none", default_headers=HEADER),
    "openai, query": lambda server: openai_embed(server, api_key="none", default_query={"code": KEY}),
    "AzureOpenAI": lambda server: azure_openai_embed(server, KEY),
    "langchain": lambda server: langchain_embed(server, KEY),
    "azure-ai-inference": lambda server: inference_embed(server, KEY),
    "llama-index": lambda server: llama_index_embed(server, KEY),
    "ollama": lambda server: ollama_embed(server, {"Authorization": f"Bearer {KEY}"}),
    "ollama, header": lambda server: ollama_embed(server, HEADER),
    "huggingface_hub": lambda server: hub_embed(server, token=KEY),
    "huggingface_hub, header": lambda server: hub_embed(server, headers=HEADER),
    "tritonclient": lambda server: triton_embed(server, {"Authorization": f"Bearer {KEY}"}),
}


@pytest.mark.parametrize("client", EMBED)
def test_the_right_key(keyed, client):
    assert len(EMBED[client](keyed)) == 8


def test_a_wrong_key_is_the_clients_own_exception(keyed):
    with pytest.raises(openai.AuthenticationError) as caught:
        openai_embed(keyed, api_key="wrong")
    assert caught.value.code and "key" in caught.value.message
    with pytest.raises(ollama.ResponseError) as caught:
        ollama_embed(keyed, {})
    assert caught.value.status_code == 401 and "key" in caught.value.error
    answer = httpx.post(f"{keyed.score}/embed", json={"inputs": "a"})
    assert answer.status_code == 401 and isinstance(answer.json()["error"], str)
