"""Clients of Triton, KServe V1, TensorFlow Serving and MLflow. The packages of KServe and MLflow bring most of a data
scientist's environment along, so their requests were recorded (servers.jsonl); TensorFlow Serving's documentation calls it by requests."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
from open_inference.openapi.client import InferenceRequest, OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
import tritonclient.http as triton
from program import Handler
from tritonclient.utils import InferenceServerException

from conftest import ROOT, TINY, Server
from test_recorded import send

COLUMNS = '[inputs.x]\ncolumns = ["age", "sepal length (cm)", "class"]\n'
RECORDED = {
    recorded["name"]: recorded
    for recorded in map(json.loads, Path(__file__).with_name("servers.jsonl").read_text().splitlines())
}
ROWS = [[1, 2, 3], [0, 0, 0]]
SCORES = [[3, 5, 7], [1, 1, 1]]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """`table` answers 2x + 1 and is the default; `words` takes texts; `mixed` has columns of several types."""
    root = tmp_path_factory.mktemp("servers")
    for name, file in [("table", "affine"), ("mixed", "mixed")]:
        (root / "models" / name).mkdir(parents=True)
        shutil.copy(ROOT / f"tests/data/models/{file}.onnx", root / "models" / name / "model.onnx")
    (root / "models/table/model.toml").write_text(COLUMNS)
    shutil.copytree(TINY, root / "models/words")
    with Handler(root, {"SCORE_DEFAULT_MODEL": "table"}) as handler:
        yield Server(handler)


@pytest.fixture(params=["", "/api/score"], ids=["root", "prefix"])
def client(table, request):
    return triton.InferenceServerClient(f"127.0.0.1:{table.handler.port}{request.param}")


def test_triton_reads_configuration_statistics_and_index(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("table", "1")
    assert not client.is_model_ready("nothing")
    config = client.get_model_config("table")
    assert config["max_batch_size"] > 0 and config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    before = client.get_inference_statistics("table")["model_stats"][0]
    infer(client, np.float32)
    after = client.get_inference_statistics("table", "1")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 2
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 1
    assert [model["name"] for model in client.get_inference_statistics()["model_stats"]] == ["mixed", "table", "words"]
    assert {model["state"] for model in client.get_model_repository_index()} == {"READY"}
    for refused in (lambda: client.get_model_config("nothing"), lambda: client.load_model("table")):
        with pytest.raises(InferenceServerException) as caught:
            refused()
        assert caught.value.status() == "404" or "404" in str(caught.value)


TYPES = {np.float32: "FP32", np.float64: "FP64", np.int64: "INT64", np.uint8: "UINT8", np.float16: "FP16"}


def infer(client, dtype, binary=True, rows=ROWS):
    rows = np.array(rows, dtype)
    x = triton.InferInput("x", list(rows.shape), TYPES[dtype])
    x.set_data_from_numpy(rows, binary_data=binary)
    return client.infer("table", [x]).as_numpy("y").tolist()


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("dtype", TYPES, ids=TYPES.values())
def test_numpys_own_types_need_no_cast(client, dtype, binary):
    if dtype is np.float16 and not binary:
        pytest.skip("the client sends no FP16 as JSON")
    assert infer(client, dtype, binary) == SCORES


def test_what_would_be_rounded_twice_or_wrapped_is_told_with_the_cast(client):
    for dtype, value in [(np.int64, 2**24 + 1), (np.float64, 1e300)]:
        with pytest.raises(InferenceServerException, match="float32"):
            infer(client, dtype, rows=[[1, 2, value]])
    with pytest.raises(InferenceServerException, match=r"\.astype\(\"float32\"\)"):
        infer(client, np.int64, rows=[[1, 2, 2**24 + 1]])


@pytest.mark.parametrize("prefix", ["", "/api/score"])
def test_the_open_inference_protocols_own_client(table, prefix):
    client = OpenInferenceClient(base_url=table.root + prefix)
    for check in (client.check_server_liveness, client.check_server_readiness):
        assert check() is None
    assert client.check_model_readiness("table") is None
    assert client.read_model_metadata("table").inputs[0].shape == [-1, 3]
    assert "binary_tensor_data" in client.read_server_metadata().extensions
    for datatype in ["FP32", "FP64"]:
        x = {"name": "x", "shape": [2, 3], "datatype": datatype, "data": ROWS}
        answer = client.model_infer("table", request=InferenceRequest(id="42", inputs=[x], outputs=[{"name": "y"}]))
        assert answer.id == "42" and answer.outputs[0].shape == [2, 3]
        assert np.reshape(answer.outputs[0].data.__root__, (2, 3)).tolist() == SCORES
    with pytest.raises(ApiError) as caught:
        client.model_infer("nothing", request=InferenceRequest(inputs=[]))
    assert caught.value.status_code == 404 and "there is no model" in caught.value.body["error"]


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_requests_of_kserve_and_mlflow(table, name):
    recorded = RECORDED[name]
    answer = send(table.handler.port, recorded["head"], recorded["body"])
    assert answer.status == 200, answer.body
    if name == "kserve-v1-live":
        assert answer.json["status"].lower() == "alive"
    elif name == "kserve-v1-ready":
        assert answer.json["ready"] is True
    elif name == "mlflow-ping":
        assert answer.body == b"\n"
    elif name == "mlflow-version":
        assert answer.body.count(b".") == 2
    else:
        # The frame has its columns in another order than the model.
        assert answer.json["predictions"] == SCORES


def post(table, path, **body):
    return requests.post(f"{table.root}/{path}", timeout=60, **body)


# What its documentation, its tutorials and reports about it send.
TENSORFLOW_SERVING = {
    "row format": {"json": {"instances": ROWS}},
    "signature_name": {"json": {"signature_name": "serving_default", "instances": ROWS}},
    "named rows": {"json": {"instances": [{"x": row} for row in ROWS]}},
    "data without a content type": {"data": json.dumps({"instances": ROWS})},
    "a form's content type": {
        "data": json.dumps({"instances": ROWS}),
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    },
    "numbers as floats": {"json": {"instances": [[float(value) for value in row] for row in ROWS]}},
}


@pytest.mark.parametrize("sent", TENSORFLOW_SERVING)
@pytest.mark.parametrize("path", ["v1/models/table:predict", "api/score/v1/models/table/versions/1:predict"])
def test_tensorflow_serving(table, path, sent):
    answer = post(table, path, **TENSORFLOW_SERVING[sent])
    assert (answer.status_code, answer.json()) == (200, {"predictions": SCORES})


def test_tensorflow_serving_in_columns_and_with_bytes(table):
    answer = post(table, "v1/models/table:predict", json={"signature_name": "serving_default", "inputs": ROWS})
    assert answer.json() == {"outputs": SCORES}
    text = base64.b64encode("käse".encode()).decode()
    row = {"a": [1, 2], "b": [3], "c": {"b64": text}, "d": True, "e": [0, 0], "f": 4}
    answer = post(table, "v1/models/mixed:predict", json={"instances": [row, row]})
    assert [row["echo"] for row in answer.json()["predictions"]] == ["käse", "käse"]
    answer = post(table, "v1/models/words:predict", json={"instances": [{"b64": text}, "käse"]})
    first, second = answer.json()["predictions"]
    assert first == second and len(first) == 8


def test_tensorflow_servings_errors_are_texts(table):
    for path, status in [
        ("v1/models/table:classify", 400),
        ("v1/models/table/versions/9:predict", 404),
        ("v1/models/nothing:predict", 404),
    ]:
        answer = post(table, path, json={"instances": ROWS})
        assert answer.status_code == status and isinstance(answer.json()["error"], str), path
    answer = requests.get(f"{table.root}/v1/models/table/metadata", timeout=60).json()
    inputs = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert inputs["x"]["dtype"] == "DT_FLOAT" and inputs["x"]["tensor_shape"]["dim"][1]["size"] == "3"


# MLflow 1 and 2, Amazon SageMaker's clients, and curl lines of its documentation.
MLFLOW = {
    "split": ("application/json", {"dataframe_split": {"columns": ["class", "age", "sepal length (cm)"], "data": [[3, 1, 2]]}}),
    "records": ("application/json", {"dataframe_records": [{"class": 3, "age": 1, "sepal length (cm)": 2}]}),
    "charset": ("application/json; charset=UTF-8", {"inputs": [[1, 2, 3]]}),
    "instances": ("application/json", {"instances": [[1, 2, 3]]}),
    "tensor by name": ("application/json", {"inputs": {"x": [[1, 2, 3]]}}),
    "params": ("application/json", {"inputs": [[1, 2, 3]], "params": {"temperature": 0.5}}),
    "MLflow 1, split": (
        "application/json; format=pandas-split",
        {"columns": ["class", "age", "sepal length (cm)"], "index": [0], "data": [[3, 1, 2]]},
    ),
    "csv": ("text/csv", "class,age,sepal length (cm)\n3,1,2\n"),
    "csv with a charset": ("text/csv; charset=utf-8", "class,age,sepal length (cm)\r\n3,1,2\r\n"),
}


@pytest.mark.parametrize("sent", MLFLOW)
def test_mlflow(table, sent):
    kind, body = MLFLOW[sent]
    body = body if isinstance(body, str) else json.dumps(body)
    answer = post(table, "invocations", data=body, headers={"content-type": kind})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    # Bodies that are not MLflow's own JSON have the bare result.
    assert (told["predictions"] if isinstance(told, dict) else told) == [[3, 5, 7]]


def test_mlflows_errors_have_a_code_and_a_message(table):
    for kind, body, status in [
        ("application/json", '{"inputs": [[1, 2]]}', 400),
        ("application/json", '{"dataframe_split": {"columns": ["age"], "data": [[1]]}}', 400),
        ("application/json; format=pandas-records", '[{"age": 1}]', 400),
        ("application/x-what", "1", 415),
    ]:
        answer = post(table, "invocations", data=body, headers={"content-type": kind})
        told = answer.json()
        assert (answer.status_code, told["error_code"]) == (status, "BAD_REQUEST"), answer.text
        assert isinstance(told["message"], str)
