"""Starts the built handler on model folders, and speaks its dialects with nothing but the standard library and numpy."""

import ctypes
import json
import math
import re
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort

from program import PROGRAM, ROOT, Handler  # The tests take these from here.

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# The Open Inference Protocol's name of a type, numpy's, and how ONNX Runtime's Python package writes it.
TYPES = {
    "BOOL": (np.dtype(bool), "tensor(bool)"),
    "INT8": (np.dtype(np.int8), "tensor(int8)"),
    "INT16": (np.dtype(np.int16), "tensor(int16)"),
    "INT32": (np.dtype(np.int32), "tensor(int32)"),
    "INT64": (np.dtype(np.int64), "tensor(int64)"),
    "UINT8": (np.dtype(np.uint8), "tensor(uint8)"),
    "UINT16": (np.dtype(np.uint16), "tensor(uint16)"),
    "UINT32": (np.dtype(np.uint32), "tensor(uint32)"),
    "UINT64": (np.dtype(np.uint64), "tensor(uint64)"),
    "FP16": (np.dtype(np.float16), "tensor(float16)"),
    "BF16": (BFLOAT16, "tensor(bfloat16)"),
    "FP32": (np.dtype(np.float32), "tensor(float)"),
    "FP64": (np.dtype(np.float64), "tensor(double)"),
    "BYTES": (np.dtype(object), "tensor(string)"),
}
DATATYPE_OF = {dtype: name for name, (dtype, _) in TYPES.items()}


def datatype_of(array):
    return "BYTES" if array.dtype.kind in "OUST" else DATATYPE_OF[array.dtype]


# --- models ---


def save(app_root, name, model, options=None):
    """Puts a model into its folder. Strings and paths are copied."""
    folder = Path(app_root) / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, (str, Path)):
        content = Path(model).read_bytes()
    else:
        content = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    if options is not None:
        (folder / "model.toml").write_text(options)
    return str(folder / "model.onnx")


def graph_model(nodes, inputs, outputs, initializers=(), opset=21):
    """A model of few nodes; inputs and outputs are (name, ONNX type, shape)."""
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "graph", [make(*i) for i in inputs], [make(*o) for o in outputs], list(initializers)
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)


def identity(datatype, shape):
    element = onnx_type(datatype)
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    return graph_model([node], [("x", element, shape)], [("y", element, shape)])


def onnx_type(datatype):
    return onnx.TensorProto.STRING if datatype == "BYTES" else onnx.helper.np_dtype_to_tensor_dtype(TYPES[datatype][0])


def session(model):
    """ONNX Runtime's own Python package, on one thread, as the handler runs it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not isinstance(model, (str, bytes)):
        model = model.SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model_session, inputs):
    """All outputs by name. Goes by way of the runtime's own values where the package does not take the type."""
    names = [output.name for output in model_session.get_outputs()]
    types = [given.type for given in model_session.get_inputs() + model_session.get_outputs()]
    if not any("bfloat16" in type for type in types):
        return dict(zip(names, model_session.run(None, inputs)))
    values = {}
    for name, array in inputs.items():
        if array.dtype == BFLOAT16:
            bits = np.ascontiguousarray(array).view(np.uint16)
            values[name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.TensorProto.BFLOAT16)
        else:
            values[name] = ort.OrtValue.ortvalue_from_numpy(array)
    return {name: from_ort(value) for name, value in zip(names, model_session.run_with_ort_values(None, values))}


def from_ort(value):
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    count = math.prod(value.shape())
    raw = ctypes.string_at(value.data_ptr(), count * 2)
    return np.frombuffer(raw, dtype=BFLOAT16).reshape(value.shape())


# --- dialects ---


def element(value):
    """One element as JSON: NaN and infinities are strings."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def plain(array):
    """An array as Python values, the 16-bit floats widened."""
    array = np.asarray(array)
    return array.astype(np.float64) if array.dtype == BFLOAT16 else array


def nested(array):
    def walk(value):
        return [walk(item) for item in value] if isinstance(value, list) else element(value)

    return walk(plain(array).tolist())


def flat(array):
    return nested(np.asarray(array).reshape(-1))


def to_bytes(array):
    if datatype_of(array) != "BYTES":
        return np.ascontiguousarray(array).tobytes()
    texts = [text if isinstance(text, bytes) else str(text).encode() for text in np.asarray(array).reshape(-1).tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def from_bytes(raw, datatype, shape):
    if datatype != "BYTES":
        return np.frombuffer(raw, dtype=TYPES[datatype][0]).reshape(shape)
    texts, place = [], 0
    while place < len(raw):
        (length,) = struct.unpack_from("<I", raw, place)
        texts.append(raw[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return np.array(texts, dtype=object).reshape(shape)


def from_values(values, datatype, shape=None):
    """A flat list of JSON values as an array."""
    dtype = TYPES[datatype][0]
    if datatype in ("FP16", "BF16", "FP32", "FP64"):
        values = [float(value.replace("Infinity", "inf")) if isinstance(value, str) else value for value in values]
    if datatype == "BOOL":
        assert all(isinstance(value, bool) for value in values), "expected true or false"
    elif "INT" in datatype:
        assert all(isinstance(value, int) and not isinstance(value, bool) for value in values), "expected whole numbers"
    array = np.empty(len(values), dtype=object)
    array[:] = values
    array = array.astype(np.float64).astype(dtype) if datatype == "BF16" else array.astype(dtype)
    return array if shape is None else array.reshape(shape)


def binary_body(inputs, outputs=None):
    """A request of the binary tensor extension, as (body, headers); inputs that are empty travel the same way."""
    raws = {name: to_bytes(array) for name, array in inputs.items()}
    request = {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatype_of(array),
                "parameters": {"binary_data_size": len(raws[name])},
            }
            for name, array in inputs.items()
        ],
    }
    if outputs is None:
        request["parameters"] = {"binary_data_output": True}
    else:
        request["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    head = json.dumps(request).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return head + b"".join(raws.values()), headers


def open_inference_body(inputs, as_nested=False):
    return {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatype_of(array),
                "data": nested(array) if as_nested else flat(array),
            }
            for name, array in inputs.items()
        ]
    }


def open_inference_outputs(answer):
    """The outputs of an Open Inference answer, by name."""
    length = answer.headers.get("inference-header-content-length")
    head = answer.body if length is None else answer.body[: int(length)]
    rest = b"" if length is None else answer.body[int(length) :]
    outputs = {}
    for output in json.loads(head)["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[output["name"]] = from_values(output["data"], output["datatype"], output["shape"])
        else:
            outputs[output["name"]] = from_bytes(rest[:size], output["datatype"], output["shape"])
            rest = rest[size:]
    assert not rest, f"{len(rest)} bytes belong to no output"
    return outputs


def infer_binary(handler, model, inputs, outputs=None):
    body, headers = binary_body(inputs, outputs)
    answer = handler.send("POST", f"/v2/models/{model}/infer", body, headers).ok()
    return open_inference_outputs(answer)


def infer_json(handler, model, inputs, as_nested=False):
    answer = handler.post(f"/v2/models/{model}/infer", open_inference_body(inputs, as_nested)).ok()
    return open_inference_outputs(answer)


def as_given(value, expected):
    """Nested JSON as an array of the expected type; its nesting has to be the one numpy would write."""

    def lengths(item):
        return [len(item)] + (lengths(item[0]) if item else []) if isinstance(item, list) else []

    def walk(item, level):
        if level == len(found):
            assert not isinstance(item, list), "nested deeper in some places"
            return [item]
        assert isinstance(item, list) and len(item) == found[level], "nested unevenly"
        return [leaf for part in item for leaf in walk(part, level + 1)]

    found = lengths(value)
    assert found == lengths(plain(expected).tolist()), f"nested {found} instead of {list(expected.shape)}"
    return from_values(walk(value, 0), datatype_of(expected), expected.shape)


# --- comparison ---


def texts(array):
    flat_array = np.asarray(array, dtype=object).reshape(-1)
    return [item.decode() if isinstance(item, bytes) else str(item) for item in flat_array]


def difference(got, expected, rtol=0.0, atol=0.0):
    """What differs, or None."""
    expected = np.asarray(expected)
    if got.shape != expected.shape:
        return f"shape {got.shape} instead of {expected.shape}"
    if datatype_of(expected) == "BYTES":
        return None if texts(got) == texts(expected) else f"{texts(got)[:5]} instead of {texts(expected)[:5]}"
    if got.dtype != expected.dtype:
        return f"type {got.dtype} instead of {expected.dtype}"
    wide = (lambda a: a.astype(np.float64)) if expected.dtype.kind in "fV" else (lambda a: a)
    try:
        if rtol or atol:
            np.testing.assert_allclose(wide(got), wide(expected), rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(wide(got), wide(expected))
    except AssertionError as error:
        return re.sub(r"\s+", " ", str(error)).strip()
    return None


def assert_same(got, expected, rtol=0.0, atol=0.0):
    """Outputs by name are those that were expected, bit for bit if no tolerance is given."""
    assert set(got) == set(expected), f"outputs {sorted(got)} instead of {sorted(expected)}"
    for name, array in expected.items():
        different = difference(got[name], array, rtol, atol)
        assert different is None, f"output {name!r}: {different}"
