"""Clients that are generated from the served OpenAPI document, each to a scored digit.

NSwag and Kiota need .NET; what they stumbled over is checked on the document itself (tests/openapi.rs).
"""

import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from program import Handler

from conftest import ROOT, TINY, Server

SOURCES = ROOT / "tests/clients/typescript"
# Where scripts/test-clients.sh has installed the packages.
FOLDER = ROOT / "target/clients/typescript"
DIGITS = ROOT / "examples/mnist"
COLUMNS = '[inputs.x]\ncolumns = ["age", "sepal length (cm)", "class"]\n'


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A picture classifier, an own tabular model whose columns have names, and a text model."""
    root = tmp_path_factory.mktemp("generators")
    shutil.copytree(ROOT / "models/mnist", root / "models/mnist")
    shutil.copytree(TINY, root / "models/minilm")
    (root / "models/table").mkdir()
    shutil.copy(ROOT / "tests/data/models/affine.onnx", root / "models/table/model.onnx")
    (root / "models/table/model.toml").write_text(COLUMNS)
    with Handler(root, {"SCORE_DEFAULT_MODEL": "mnist"}) as handler:
        yield Server(handler)


@pytest.fixture(scope="module")
def document(models, tmp_path_factory):
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(models.handler.get("/openapi.json").ok().body)
    return path


def run(command, folder, **environment):
    ran = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]
    return ran.stdout + ran.stderr


def read(name, member):
    return json.loads((DIGITS / f"{name}.json").read_text())[member][:3]


def test_openapi_python_client(models, document, tmp_path, monkeypatch):
    config = tmp_path / "config.yaml"
    config.write_text("post_hooks: []\n")
    output = tmp_path / "generated_score"
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", document, "--config", config]
    told = run([*command, "--meta", "none", "--output-path", output], tmp_path)
    assert "WARNING" not in told and "warning" not in told.lower(), told
    monkeypatch.syspath_prepend(str(tmp_path))
    generated = importlib.import_module("generated_score")
    call = lambda name: importlib.import_module(f"generated_score.api.{name}")  # noqa: E731
    body = importlib.import_module("generated_score.models")

    client = generated.Client(base_url=models.root)
    digits, labels = read("digits", "data"), read("labels", "scikit_learn")
    assert call("mnist.score_mnist").sync(client=client, body=body.MnistRequest(data=digits)) == labels
    assert call("mnist.score").sync(client=client, body=body.MnistRequest(data=digits)) == labels
    tensor = body.MnistProtocolRequestInputsItem(name="x", datatype="FP32", shape=[1, 784], data=digits[0])
    inferred = call("mnist.infer_mnist").sync(client=client, body=body.MnistProtocolRequest(inputs=[tensor]))
    assert inferred.outputs[0].data[0] == labels[0]
    row = body.TableRow(age=1, sepal_length_cm=2, class_=3)
    assert call("table.score_table").sync(client=client, body=body.TableRequest(data=[row])) == [[3, 5, 7]]
    embedded = call("open_ai.embeddings").sync(client=client, body=body.EmbeddingsBody(model="minilm", input_=["hello"]))
    assert len(embedded.data[0].embedding) == 8
    assert call("mnist.describe_mnist").sync(client=client).rows.treated == "independent"
    wrong = call("mnist.score_mnist").sync_detailed(client=client, body=body.MnistRequest(data=[[1.0]]))
    assert (wrong.status_code, wrong.parsed.error.code) == (400, "invalid_input")


def test_typescript_clients(models, document):
    """openapi-typescript with openapi-fetch, and hey-api: generated, compiled strictly together, and run."""
    shutil.copy(document, FOLDER / "openapi.json")
    for stale in ("built", "hey-api"):
        shutil.rmtree(FOLDER / stale, ignore_errors=True)
    run(["node_modules/.bin/openapi-typescript", "openapi.json", "-o", "schema.ts"], FOLDER)
    run(["node_modules/.bin/openapi-ts"], FOLDER)
    run(["node_modules/.bin/tsc", "--project", "."], FOLDER)
    for client in ("openapi-typescript", "hey-api-client"):
        run(["node", f"built/{client}.js"], FOLDER, ROOT=models.root, DIGITS=str(DIGITS))
