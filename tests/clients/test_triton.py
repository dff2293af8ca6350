"""Texts as BYTES of the Open Inference Protocol, by Triton's package."""

import numpy as np
import pytest
import tritonclient.http as triton

from conftest import MODEL, bits

TEXTS = ["The ferry leaves at noon.", "", "käse 🧀", "NUL \0 in it"]


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_texts_are_bytes(server, binary):
    client = triton.InferenceServerClient(f"127.0.0.1:{server.handler.port}/api/score")
    assert client.is_model_ready(MODEL)
    texts = triton.InferInput("text", [len(TEXTS)], "BYTES")
    texts.set_data_from_numpy(np.array([text.encode() for text in TEXTS], dtype=object), binary_data=binary)
    names = ["embedding", "tokens", "truncated"]
    asked = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer(MODEL, [texts], outputs=asked)
    assert bits(result.as_numpy("embedding")) == bits(server.vectors(TEXTS))
    assert result.as_numpy("tokens")[1] == 2 and not result.as_numpy("truncated").any()
