"""numpy's files, raw bytes, pandas' CSV, Pillow's pictures, gzip: what these tools write is understood, and back."""

import gzip
import io
import json
import zlib

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto, helper
from PIL import Image

import harness
from harness import TYPES, Handler, difference

NUMBERS = [name for name in TYPES if name != "BYTES"]
NUMPY = [name for name in NUMBERS if name != "BF16"]


def table_model():
    """Columns of several types, each handed back."""
    columns = {"price": "FP32", "count": "INT64", "name": "BYTES", "code": "BYTES", "flag": "BOOL"}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in columns]
    inputs = [(name, harness.onnx_type(ty), ["n", 1]) for name, ty in columns.items()]
    outputs = [(f"{name}_out", harness.onnx_type(ty), ["n", 1]) for name, ty in columns.items()]
    return harness.graph_model(nodes, inputs, outputs)


def mixing(datatype):
    """Something whose result shows the order of the elements: the transposed input times the input's own cells."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    element = harness.onnx_type(datatype)
    weights = helper.make_tensor("w", element, [3, 2], [1, 2, 3, 4, 5, 6])
    return harness.graph_model([node], [("x", element, ["n", 3])], [("y", element, ["n", 2])], [weights])


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    root = tmp_path_factory.mktemp("formats")
    for name in TYPES:
        harness.save(root, f"matrix_{name}", harness.identity(name, ["a", "b"]))
        harness.save(root, f"rows_{name}", harness.identity(name, ["a", 3]))
        harness.save(root, f"cube_{name}", harness.identity(name, ["a", "b", "c"]))
        harness.save(root, f"scalar_{name}", harness.identity(name, []))
    harness.save(root, "mixing", mixing("FP32"))
    harness.save(root, "table", table_model())
    harness.save(root, "mnist", harness.ROOT / "models/mnist/model.onnx", 'outputs = ["label"]\n')
    harness.save(root, "mnist_all", harness.ROOT / "models/mnist/model.onnx")
    for name, layout in (("chw", ["n", 3, "h", "w"]), ("hwc", ["n", "h", "w", 3]), ("grey", ["n", "h", "w"])):
        harness.save(root, f"picture_{name}", harness.identity("UINT8", layout))
    with Handler(root) as running:
        yield running


def extremes(datatype):
    """The values of a type at which writing and reading go wrong first."""
    dtype = TYPES[datatype][0]
    if datatype == "BYTES":
        return np.array(["", " ", "ä🧀", 'a "b" \\ /', "\n\t\x7f\u2028", "NaN"], dtype=object)
    if datatype == "BOOL":
        return np.array([True, False, False, True, True, False])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([info.min, info.max, 0, 1, info.max - 1, info.min + 1], dtype=dtype)
    info = harness.ml_dtypes.finfo(dtype)
    return np.array([info.max, info.min, info.smallest_subnormal, -0.0, 0.1, np.nan, np.inf, -np.inf, info.tiny], dtype=dtype)


def same_bits(got, expected):
    assert difference(got, expected) is None, difference(got, expected)
    if expected.dtype != object:
        not_a_number = np.isnan(expected.astype(np.float64)) if expected.dtype.kind in "fV" else np.zeros(expected.shape, bool)
        kept = ~not_a_number
        assert got[kept].tobytes() == expected[kept].tobytes(), "differs in bits (the sign of zero?)"


@pytest.mark.parametrize("datatype", TYPES)
def test_extreme_values_in_every_dialect(handler, datatype):
    x = extremes(datatype).reshape(-1, 3)
    name = f"matrix_{datatype}"
    same_bits(harness.infer_json(handler, name, {"x": x})["y"], x)
    same_bits(harness.infer_json(handler, name, {"x": x}, as_nested=True)["y"], x)
    same_bits(harness.infer_binary(handler, name, {"x": x})["y"], x)
    for wrap, member in (
        (lambda v: {"data": v}, None),
        (lambda v: {"data": {"x": v}}, None),
        (lambda v: {"input_data": v}, None),
        (lambda v: {"input_data": {"columns": ["p", "q", "r"], "data": v}}, None),
        (lambda v: {"Inputs": {"data": v}}, "Results"),
        (lambda v: {"instances": v}, "predictions"),
    ):
        answer = handler.post(f"/{name}", wrap(harness.nested(x))).ok().json
        same_bits(harness.as_given(answer[member] if member else answer, x), x)


@pytest.mark.parametrize("datatype", TYPES)
def test_scalars(handler, datatype):
    for value in extremes(datatype):
        x = np.array(value, dtype=TYPES[datatype][0])
        same_bits(harness.infer_binary(handler, f"scalar_{datatype}", {"x": x})["y"], x)
        answer = handler.post(f"/scalar_{datatype}", {"data": harness.nested(x)}).ok().json
        same_bits(harness.as_given(answer, x), x)


def test_a_text_that_the_runtime_would_cut_short_is_refused(handler):
    """ONNX Runtime's C interface takes strings up to the first NUL."""
    x = np.array([["a\0b"]], dtype=object)
    for body in ({"data": harness.nested(x)}, harness.open_inference_body({"x": x})):
        answer = handler.post("/matrix_BYTES", body)
        assert answer.status == 400 and "NUL" in answer.body.decode()


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def post_npy(handler, model, body):
    answer = handler.post(f"/{model}", body, "application/x-npy", accept="application/x-npy").ok()
    assert answer.headers["content-type"] == "application/x-npy"
    return np.load(io.BytesIO(answer.body), allow_pickle=False)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("datatype", NUMPY)
def test_npy(handler, datatype, order):
    values = extremes(datatype)
    matrix = np.array(np.resize(values, (4, 5)), order=order)
    same_bits(post_npy(handler, f"matrix_{datatype}", npy(matrix)), matrix)
    cube = np.array(np.resize(values, (2, 3, 4)), order=order)
    same_bits(post_npy(handler, f"cube_{datatype}", npy(cube)), cube)
    turned = np.ascontiguousarray(cube).transpose(2, 0, 1)
    same_bits(post_npy(handler, f"cube_{datatype}", npy(turned)), turned)
    empty = np.array(matrix[:0], order=order)
    same_bits(post_npy(handler, f"matrix_{datatype}", npy(empty)), empty)
    column = np.array(matrix[:, :1], order=order)
    same_bits(post_npy(handler, f"matrix_{datatype}", npy(column)), column)


@pytest.mark.parametrize("datatype", NUMPY)
def test_npy_of_a_scalar_of_other_versions_and_of_the_other_byte_order(handler, datatype):
    values = extremes(datatype)
    scalar = np.array(values[0])
    same_bits(post_npy(handler, f"scalar_{datatype}", npy(scalar)), scalar)
    matrix = np.resize(values, (2, 3))
    for version in ((1, 0), (2, 0), (3, 0)):
        same_bits(post_npy(handler, f"matrix_{datatype}", npy(matrix, version=version)), matrix)
    swapped = matrix.astype(matrix.dtype.newbyteorder(">"))
    same_bits(post_npy(handler, f"matrix_{datatype}", npy(swapped)), matrix)


def test_npy_of_another_type_is_refused_by_name(handler):
    answer = handler.post("/matrix_FP32", npy(np.zeros((1, 3))), "application/x-npy")
    assert answer.status == 400 and "<f8" in answer.body.decode()
    answer = handler.post("/matrix_BYTES", npy(np.array([["a"]])), "application/x-npy")
    assert answer.status == 400
    answer = handler.post("/matrix_BYTES", {"data": [["a"]]}, accept="application/x-npy")
    assert answer.status == 400


@pytest.mark.parametrize("order", "CF")
def test_npy_is_what_onnxruntime_computes(handler, order):
    x = np.array(np.random.default_rng(0).normal(size=(50, 3)), dtype=np.float32, order=order)
    expected = harness.run(harness.session(mixing("FP32")), {"x": x})["y"]
    got = post_npy(handler, "mixing", npy(x))
    assert difference(got, expected, 1e-6, 1e-6) is None
    answer = handler.post("/mixing", npy(x), "application/x-npy").ok()
    np.testing.assert_allclose(answer.json, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_raw_bytes(handler, datatype):
    x = np.resize(extremes(datatype), (3, 3))
    answer = handler.post(f"/rows_{datatype}", x.tobytes(), "application/octet-stream").ok()
    same_bits(harness.as_given(answer.json, x), x)
    answer = handler.post(f"/rows_{datatype}", x.tobytes() + b"\x01", "application/octet-stream")
    assert answer.status == 400
    if datatype != "BF16":
        answer = handler.post(
            f"/rows_{datatype}", x.tobytes(), "application/octet-stream", accept="application/x-npy"
        ).ok()
        same_bits(np.load(io.BytesIO(answer.body)), x)


# --- tables ---


def frame():
    return pd.DataFrame(
        {
            "price": np.array([1.5, -2.25, 1e30, 1e-30, 0.1], dtype=np.float32),
            "count": [1, -(2**63), 2**63 - 1, 0, 5],
            "name": ["plain", "comma, inside", 'a "quote"', "two\nlines", "ä🧀"],
            "code": ["A1", "B2", "x", "y", "z"],
        }
    )


def post_csv(handler, table, **options):
    body = table.to_csv(**{"index": False} | options).encode()
    return handler.post("/table", body, "text/csv")


def check_table(answer, table):
    columns = answer.ok().json
    for name in table:
        got = [row[0] for row in columns[f"{name}_out"]]
        if name == "price":
            got = harness.from_values(got, "FP32")
            assert difference(got, table[name].to_numpy(np.float32)) is None
        else:
            assert got == table[name].tolist(), name


def test_csv_by_pandas(handler):
    table = frame().assign(flag=[True, False, True, True, False])
    written = table.assign(flag=["true", "false", "true", "true", "false"])
    check_table(post_csv(handler, written), table)
    check_table(post_csv(handler, written, header=False), table)
    check_table(post_csv(handler, written, lineterminator="\r\n"), table)
    check_table(post_csv(handler, written[["flag", "name", "price", "code", "count"]]), table)
    check_table(post_csv(handler, written, quoting=2), table)


def test_csv_with_truth_values_as_pandas_writes_them(handler):
    """pandas writes True and False."""
    table = frame().assign(flag=[True, False, True, True, False])
    check_table(post_csv(handler, table), table)


def test_csv_with_texts_that_look_like_numbers(handler):
    """A column of strings may hold digits, as postcodes and classes do."""
    table = frame().assign(flag=True, code=["12", "007", "true", "1e5", "-3.50"])
    written = table.assign(flag="true")
    check_table(post_csv(handler, written), table)


def test_csv_with_spaces_around_a_text(handler):
    """A string arrives as it was written (RFC 4180: spaces are part of a field)."""
    table = frame().assign(flag=True, name=[" in front", "behind ", " ", "\ttab", "plain"])
    check_table(post_csv(handler, table.assign(flag="true")), table)


def test_csv_with_infinities_as_pandas_writes_them(handler):
    """pandas writes inf and -inf; missing numbers as it is told."""
    table = frame().assign(flag=True)
    table["price"] = np.array([np.inf, -np.inf, 0.5, 1, 2], dtype=np.float32)
    check_table(post_csv(handler, table.assign(flag="true")), table)


def test_csv_of_a_matrix(handler):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    expected = harness.run(harness.session(mixing("FP32")), {"x": x})["y"]
    for header in (False, ["a", "b", "c"]):
        body = pd.DataFrame(x).to_csv(index=False, header=header).encode()
        answer = handler.post("/mixing", body, "text/csv").ok()
        np.testing.assert_allclose(answer.json, expected, rtol=1e-6, atol=1e-6)
    # pandas numbers columns without names; such a header could as well be a row.
    body = pd.DataFrame(x).to_csv(index=False).encode()
    refusal = handler.post("/mixing", body, "text/csv")
    assert refusal.status == 400 and "header=present" in refusal.json["error"]["message"]
    answer = handler.post("/mixing", body, "text/csv; header=present").ok()
    np.testing.assert_allclose(answer.json, expected, rtol=1e-6, atol=1e-6)


def test_csv_as_excel_writes_it_in_europe(handler):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    body = pd.DataFrame(x).to_csv(index=False, header=False, sep=";", decimal=",")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        answer = handler.post("/rows_FP32", body.encode(encoding), "text/csv").ok()
        assert np.array_equal(np.array(answer.json, dtype=np.float32), x)


def test_csv_of_numpy(handler):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    file = io.StringIO()
    np.savetxt(file, x, delimiter=",")
    answer = handler.post("/rows_FP32", file.getvalue().encode(), "text/csv").ok()
    assert np.array_equal(np.array(answer.json, dtype=np.float32), x)


# --- pictures ---


def digits():
    """The sample digits, with what the model says about them."""
    data = json.loads((harness.ROOT / "examples/mnist/digits.json").read_text())["data"]
    return np.array(data, dtype=np.float32)


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_pictures_of_digits(handler):
    pixels = np.round(digits() * 255).astype(np.uint8)
    runtime = harness.session(str(harness.ROOT / "models/mnist/model.onnx"))
    expected = harness.run(runtime, {"x": pixels.astype(np.float32) / 255})["label"]
    for row, label in zip(pixels, expected):
        image = Image.fromarray(row.reshape(28, 28))
        for mode in ("L", "RGB", "RGBA", "LA", "P"):
            answer = handler.post("/mnist", encoded(image.convert(mode), "PNG"), "image/png").ok()
            assert answer.json == [label], mode
    answer = handler.post("/mnist_all", encoded(image, "PNG"), "image/png").ok().json
    assert answer["label"] == [expected[-1]]


def test_pictures_keep_their_pixels(handler):
    random = np.random.default_rng(0)
    for height, width in ((1, 1), (5, 9), (64, 48)):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        body = encoded(Image.fromarray(pixels), "PNG")
        answer = handler.post("/picture_hwc", body, "image/png", accept="application/x-npy").ok()
        assert np.array_equal(np.load(io.BytesIO(answer.body))[0], pixels)
        answer = handler.post("/picture_chw", body, "image/png", accept="application/x-npy").ok()
        assert np.array_equal(np.load(io.BytesIO(answer.body))[0], pixels.transpose(2, 0, 1))
        grey = pixels[:, :, 0]
        answer = handler.post("/picture_grey", encoded(Image.fromarray(grey), "PNG"), "image/png").ok()
        assert np.array_equal(answer.json, grey[np.newaxis])


def test_jpeg_is_near_what_pillow_reads(handler):
    y, x = np.mgrid[0:48, 0:64]
    pixels = np.stack([x * 4, y * 5, (x + y) * 2], axis=-1).astype(np.uint8)
    body = encoded(Image.fromarray(pixels), "JPEG", quality=90, subsampling=0)
    answer = handler.post("/picture_hwc", body, "image/jpeg", accept="application/x-npy").ok()
    got = np.load(io.BytesIO(answer.body))[0].astype(int)
    expected = np.asarray(Image.open(io.BytesIO(body))).astype(int)
    assert np.abs(got - expected).max() <= 3


# --- gzip ---


def bodies():
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    text = pd.DataFrame(x).to_csv(index=False, header=False)
    return x, [
        (json.dumps({"data": x.tolist()}).encode(), "application/json"),
        (npy(x), "application/x-npy"),
        (text.encode(), "text/csv"),
        (x.tobytes(), "application/octet-stream"),
    ]


@pytest.mark.parametrize("index", range(4), ids=["json", "npy", "csv", "raw"])
def test_gzip(handler, index):
    x, all_bodies = bodies()
    body, content_type = all_bodies[index]
    two_members = gzip.compress(body[:50]) + gzip.compress(body[50:])
    for packed in (gzip.compress(body), gzip.compress(body, 1), two_members):
        answer = handler.post("/rows_FP32", packed, content_type, content_encoding="gzip").ok()
        np.testing.assert_allclose(answer.json, x, rtol=1e-6)
    cut = gzip.compress(body)[:-9]
    assert handler.post("/rows_FP32", cut, content_type, content_encoding="gzip").status == 400


def test_gzip_of_binary_tensors(handler):
    """The header says where the JSON ends in the unpacked body, as Triton's client counts."""
    x, _ = bodies()
    body, headers = harness.binary_body({"x": x})
    headers["content-encoding"] = "gzip"
    answer = handler.send("POST", "/v2/models/rows_FP32/infer", gzip.compress(body), headers).ok()
    same_bits(harness.open_inference_outputs(answer)["y"], x)


def test_other_encodings_are_refused_in_words(handler):
    x, _ = bodies()
    packed = zlib.compress(json.dumps({"data": x.tolist()}).encode())
    answer = handler.post("/rows_FP32", packed, content_encoding="deflate")
    assert answer.status in (400, 415), answer.body
