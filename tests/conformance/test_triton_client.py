"""NVIDIA's Triton client, unchanged, with the public path as its base URL."""

import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

import harness
from harness import Handler, assert_same


def calculator():
    """Two inputs and three outputs: the sum, the product, and for each row which of them is larger."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Mul", ["a", "b"], ["product"]),
        helper.make_node("Greater", ["sum", "product"], ["sum_is_larger"]),
    ]
    inputs = [("a", TensorProto.FLOAT, ["n", 4]), ("b", TensorProto.FLOAT, ["n", 4])]
    outputs = [("sum", TensorProto.FLOAT, ["n", 4]), ("product", TensorProto.FLOAT, ["n", 4])]
    return harness.graph_model(nodes, inputs, [*outputs, ("sum_is_larger", TensorProto.BOOL, ["n", 4])])


def halves():
    """FP16 in, FP16 out."""
    node = helper.make_node("Exp", ["x"], ["y"])
    return harness.graph_model([node], [("x", TensorProto.FLOAT16, ["n", 3])], [("y", TensorProto.FLOAT16, ["n", 3])])


def shouting():
    """Strings in, strings out."""
    node = helper.make_node("StringConcat", ["x", "x"], ["y"])
    return harness.graph_model([node], [("x", TensorProto.STRING, ["n", 2])], [("y", TensorProto.STRING, ["n", 2])])


MODELS = {"calculator": calculator(), "halves": halves(), "shouting": shouting()}


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    root = tmp_path_factory.mktemp("triton")
    for name, model in MODELS.items():
        harness.save(root, name, model)
    harness.save(root, "mnist", harness.ROOT / "models/mnist/model.onnx")
    with Handler(root) as running:
        yield running


@pytest.fixture
def client(handler):
    with triton.InferenceServerClient(url=handler.url, concurrency=8) as made:
        yield made


def given(name, array, binary):
    made = triton.InferInput(name, list(array.shape), harness.datatype_of(array))
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def outputs_of(result, names):
    """Triton's client hands strings of JSON over as they are and those of binary data as bytes."""
    found = {name: result.as_numpy(name) for name in names}
    return {n: np.array(harness.texts(a), dtype=object).reshape(a.shape) if a.dtype == object else a for n, a in found.items()}


def numbers(rows=5, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(rows, 4)).astype(np.float32) for name in "ab"}


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("calculator")
    assert not client.is_model_ready("no_model")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    metadata = client.get_model_metadata("calculator")
    assert metadata["name"] == "calculator" and metadata["versions"] == ["1"]
    assert metadata["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": [-1, 4]}
    assert [output["datatype"] for output in metadata["outputs"]] == ["FP32", "FP32", "BOOL"]
    with pytest.raises(InferenceServerException, match="no_model"):
        client.get_model_metadata("no_model")


def test_a_version_may_be_named(client):
    """The protocol's optional /versions/{version}."""
    version = client.get_model_metadata("calculator")["versions"][0]
    assert client.is_model_ready("calculator", version)
    assert client.get_model_metadata("calculator", version)["name"] == "calculator"
    inputs = numbers()
    tensors = [given(name, array, True) for name, array in inputs.items()]
    result = client.infer("calculator", tensors, model_version=version)
    np.testing.assert_array_equal(result.as_numpy("sum"), inputs["a"] + inputs["b"])
    assert not client.is_model_ready("calculator", "4711")


@pytest.mark.parametrize("binary_out", [False, True], ids=["json_out", "binary_out"])
@pytest.mark.parametrize("binary_in", [False, True], ids=["json_in", "binary_in"])
def test_infer(client, binary_in, binary_out):
    inputs = numbers()
    expected = harness.run(harness.session(MODELS["calculator"]), inputs)
    tensors = [given(name, array, binary_in) for name, array in inputs.items()]
    asked = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in expected]
    result = client.infer("calculator", tensors, outputs=asked, request_id="42")
    assert result.get_response()["id"] == "42"
    assert_same(outputs_of(result, expected), expected)


def test_requested_outputs_and_their_order(client):
    inputs = numbers()
    tensors = [given("a", inputs["a"], True), given("b", inputs["b"], False)]
    asked = [
        triton.InferRequestedOutput("sum_is_larger", binary_data=False),
        triton.InferRequestedOutput("sum", binary_data=True),
    ]
    result = client.infer("calculator", tensors, outputs=asked)
    response = result.get_response()
    assert [output["name"] for output in response["outputs"]] == ["sum_is_larger", "sum"]
    np.testing.assert_array_equal(result.as_numpy("sum"), inputs["a"] + inputs["b"])
    np.testing.assert_array_equal(
        result.as_numpy("sum_is_larger"), inputs["a"] + inputs["b"] > inputs["a"] * inputs["b"]
    )
    # Without a wish all outputs come, which the client asks for as binary data.
    result = client.infer("calculator", tensors)
    assert len(result.get_response()["outputs"]) == 3
    np.testing.assert_array_equal(result.as_numpy("product"), inputs["a"] * inputs["b"])
    with pytest.raises(InferenceServerException, match="quotient"):
        client.infer("calculator", tensors, outputs=[triton.InferRequestedOutput("quotient")])


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_strings(client, binary):
    words = np.array([["a", "ä🧀"], ["", 'quote " and \\'], ["\n", "\u2028"]], dtype=object)
    result = client.infer(
        "shouting", [given("x", words, binary)], outputs=[triton.InferRequestedOutput("y", binary_data=binary)]
    )
    assert_same(outputs_of(result, ["y"]), {"y": words + words})


def test_half_floats(client):
    x = np.array([[0.1, -2.5, 11.5], [np.inf, -np.inf, np.nan]], dtype=np.float16)
    result = client.infer("halves", [given("x", x, True)])
    assert_same({"y": result.as_numpy("y")}, harness.run(harness.session(MODELS["halves"]), {"x": x}))


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_compressed_requests(client, binary):
    inputs = numbers(100)
    tensors = [given(name, array, binary) for name, array in inputs.items()]
    result = client.infer(
        "calculator", tensors, request_compression_algorithm="gzip", response_compression_algorithm="gzip"
    )
    np.testing.assert_array_equal(result.as_numpy("sum"), inputs["a"] + inputs["b"])


def test_many_at_once(client):
    runtime = harness.session(MODELS["calculator"])
    pending = []
    for seed in range(200):
        inputs = numbers(1 + seed % 7, seed)
        tensors = [given(name, array, seed % 2 == 0) for name, array in inputs.items()]
        pending.append((inputs, client.async_infer("calculator", tensors)))
    for inputs, request in pending:
        expected = harness.run(runtime, inputs)
        assert_same(outputs_of(request.get_result(), expected), expected)


def test_a_real_model(client):
    model = harness.ROOT / "models/mnist/model.onnx"
    runtime = harness.session(str(model))
    spec = client.get_model_metadata("mnist")["inputs"][0]
    shape = [3 if length < 0 else length for length in spec["shape"]]
    x = np.random.default_rng(1).random(shape, dtype=np.float32)
    result = client.infer("mnist", [given(spec["name"], x, True)])
    expected = harness.run(runtime, {spec["name"]: x})
    assert_same(outputs_of(result, [o["name"] for o in result.get_response()["outputs"]]), expected, 1e-5, 1e-6)


def test_errors_are_the_clients_own_exceptions(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("calculator", [given("a", np.zeros((1, 4), np.float32), True)])
    assert '"b" is missing' in caught.value.message() and "400" in str(caught.value.status())
    with pytest.raises(InferenceServerException):
        client.infer("no_model", [given("a", np.zeros((1, 4), np.float32), True)])
