"""Writes the small ONNX models the integration tests load, into models/ beside this file.

Run:    pip install -r ../../examples/mnist/requirements.txt && python make_models.py
Writes: models/<name>.onnx, the same bytes every time (models/README.md has a line on each)
Checks: every model is run in ONNX Runtime and its numbers are compared before it ends
"""

import time
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

OUT = Path(__file__).resolve().parent / "models"
OPSET = 18
IR_VERSION = 9
N = "batch"  # the dynamic axis 0

IDENTITY_TYPES = {
    "float16": T.FLOAT16,
    "bfloat16": T.BFLOAT16,
    "float32": T.FLOAT,
    "float64": T.DOUBLE,
    "int8": T.INT8,
    "int16": T.INT16,
    "int32": T.INT32,
    "int64": T.INT64,
    "uint8": T.UINT8,
    "uint16": T.UINT16,
    "uint32": T.UINT32,
    "uint64": T.UINT64,
    "bool": T.BOOL,
    "string": T.STRING,
}


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape)


def const(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def save(name, nodes, inputs, outputs, constants=(), opset=OPSET, checked=True):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(constants))
    model = helper.make_model(
        graph,
        producer_name="make_models.py",
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
    )
    write(name, model, checked)


def write(name, model, checked=True):
    if checked:
        onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    assert len(data) < 20_000, (name, len(data))
    (OUT / f"{name}.onnx").write_bytes(data)


def affine(name, factor, columns=3):
    save(
        name,
        [
            helper.make_node("Mul", ["x", "factor"], ["scaled"]),
            helper.make_node("Add", ["scaled", "one"], ["y"]),
        ],
        [value("x", T.FLOAT, N, columns)],
        [value("y", T.FLOAT, N, columns)],
        [const("factor", np.float32(factor)), const("one", np.float32(1))],
    )


def mixed():
    save(
        "mixed",
        [
            helper.make_node("Cast", ["b"], ["b_float"], to=T.FLOAT),
            helper.make_node("Add", ["a", "b_float"], ["sum"]),
            helper.make_node("Identity", ["c"], ["echo"]),
            helper.make_node("Squeeze", ["b", "axis_1"], ["b_flat"]),
            helper.make_node("Greater", ["b_flat", "zero"], ["positive"]),
            helper.make_node("And", ["d", "positive"], ["both"]),
            helper.make_node("Mul", ["e", "half"], ["wide"]),
            helper.make_node("Mul", ["f", "two"], ["twice"]),
            helper.make_node("Add", ["b", "one"], ["next"]),
        ],
        [
            value("a", T.FLOAT, N, 2),
            value("b", T.INT64, N, 1),
            value("c", T.STRING, N),
            value("d", T.BOOL, N),
            value("e", T.DOUBLE, N, 2),
            value("f", T.INT32, N),
        ],
        [
            value("sum", T.FLOAT, N, 2),
            value("echo", T.STRING, N),
            value("both", T.BOOL, N),
            value("wide", T.DOUBLE, N, 2),
            value("twice", T.INT32, N),
            value("next", T.INT64, N, 1),
        ],
        [
            const("axis_1", np.array([1], np.int64)),
            const("zero", np.int64(0)),
            const("one", np.int64(1)),
            const("half", np.float64(0.5)),
            const("two", np.int32(2)),
        ],
    )


def identities():
    for name, kind in IDENTITY_TYPES.items():
        save(
            f"identity_{name}",
            [helper.make_node("Identity", ["x"], ["y"])],
            [value("x", kind, N, 2)],
            [value("y", kind, N, 2)],
        )


def pictures():
    for name, kind, shape in [
        ("pixels", T.FLOAT, [N, "num_channels", "height", "width"]),
        ("whole_picture", T.UINT8, [3, 4, 6]),
    ]:
        save(
            name,
            [helper.make_node("Identity", ["pixel_values"], ["y"])],
            [value("pixel_values", kind, *shape)],
            [value("y", kind, *shape)],
        )


def centred():
    save(
        "centred",
        [
            helper.make_node("ReduceMean", ["x", "axis_0"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [value("x", T.FLOAT, N, 3)],
        [value("y", T.FLOAT, N, 3)],
        [const("axis_0", np.array([0], np.int64))],
    )


def random():
    # No seed attribute: ONNX Runtime picks one per process. Every run of a session draws new numbers,
    # but a second session in the same process repeats the first one's draws.
    save(
        "random",
        [
            helper.make_node("RandomNormalLike", ["x"], ["noise"], mean=0.0, scale=1.0),
            helper.make_node("Add", ["x", "noise"], ["y"]),
        ],
        [value("x", T.FLOAT, N, 3)],
        [value("y", T.FLOAT, N, 3)],
    )


def fixed():
    save(
        "fixed",
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [value("x", T.FLOAT, 1, 3)],
        [value("y", T.FLOAT, 1, 3)],
        [const("two", np.float32(2))],
    )


def scalar():
    save(
        "scalar",
        [helper.make_node("Mul", ["x", "x"], ["y"])],
        [value("x", T.FLOAT)],
        [value("y", T.FLOAT)],
    )


def quantized():
    # One scale for all rows of a run, as quantize_dynamic makes it.
    save(
        "quantized",
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], name="quantize"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
            helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0),
        ],
        [value("x", T.FLOAT, N, 3)],
        [value("y", T.FLOAT, N, 3), value("label", T.INT64, N)],
    )


def any_rank():
    # The checker wants a shape; ONNX Runtime and the format itself do not.
    def shapeless(name):
        return helper.make_tensor_value_info(name, T.FLOAT, None)

    double = [helper.make_node("Mul", ["x", "two"], ["y"])]
    save("any_rank", double, [shapeless("x")], [shapeless("y")], [const("two", np.float32(2))], checked=False)
    # ONNX Runtime's Conv ends the process when it meets a tensor with too few axes.
    convolve = [helper.make_node("Conv", ["x", "w"], ["y"])]
    weights = const("w", np.ones((1, 1, 2, 2), np.float32))
    save("any_rank_conv", convolve, [shapeless("x")], [shapeless("y")], [weights], checked=False)


def pieces():
    save(
        "pieces",
        [helper.make_node("SplitToSequence", ["x", "sizes"], ["parts"], axis=0)],
        [value("x", T.FLOAT, N)],
        [helper.make_tensor_sequence_value_info("parts", T.FLOAT, None)],
        [const("sizes", np.array([1, 2], np.int64))],
    )


def attention():
    # Every row looks at all others: axis 0 is a sequence.
    save(
        "attention",
        [
            helper.make_node("Transpose", ["x"], ["t"]),
            helper.make_node("MatMul", ["x", "t"], ["likeness"]),
            helper.make_node("Softmax", ["likeness"], ["weight"], axis=1),
            helper.make_node("MatMul", ["weight", "x"], ["y"]),
        ],
        [value("x", T.FLOAT, N, 4)],
        [value("y", T.FLOAT, N, 4)],
    )


def constant():
    save(
        "constant",
        [helper.make_node("Identity", ["two"], ["y"])],
        [],
        [value("y", T.FLOAT, 1)],
        [const("two", np.array([2], np.float32))],
    )


def tiny_float():
    save(
        "tiny_float",
        [helper.make_node("Cast", ["x"], ["y"], to=T.FLOAT8E4M3FN)],
        [value("x", T.FLOAT, N)],
        [value("y", T.FLOAT8E4M3FN, N)],
        opset=19,  # the first with such floats
    )


def custom_operator():
    # The checker takes operators of a domain it does not know for functions of the model, so it is left out.
    graph = helper.make_graph(
        [helper.make_node("StringUpper", ["x"], ["y"], domain="ai.onnx.contrib")],
        "custom_operator",
        [value("x", T.STRING, N)],
        [value("y", T.STRING, N)],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.contrib", 1)]
    model = helper.make_model(graph, producer_name="make_models.py", opset_imports=opsets, ir_version=IR_VERSION)
    (OUT / "custom_operator.onnx").write_bytes(model.SerializeToString(deterministic=True))


def external():
    # The weight lies in a file of its own, model.weights, as large models have it.
    weight = numpy_helper.from_array(np.array([7], np.float32), "weight")
    weight.ClearField("raw_data")
    weight.data_location = T.EXTERNAL
    for key, text in {"location": "model.weights", "offset": "0", "length": "4"}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, text
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "weight"], ["y"])],
        "external",
        [value("x", T.FLOAT, N)],
        [value("y", T.FLOAT, N)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    (OUT / "external.onnx").write_bytes(model.SerializeToString(deterministic=True))


def optional():
    save(
        "optional",
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [value("x", T.FLOAT, N), value("factor", T.FLOAT, 1)],
        [value("y", T.FLOAT, N)],
        [const("factor", np.array([10], np.float32))],
    )


def gather():
    save(
        "gather",
        [helper.make_node("Gather", ["table", "index"], ["y"], axis=0)],
        [value("index", T.INT64, N)],
        [value("y", T.FLOAT, N)],
        [const("table", np.array([10, 11, 12, 13, 14], np.float32))],
    )


SLOW_TURNS = 300  # about 40 ms on one thread of a current server CPU


def keras():
    # Keras exports such names; they are also the names of members in answers.
    save(
        "keras",
        [
            helper.make_node("Add", ["x", "one"], ["outputs"]),
            helper.make_node("Mul", ["x", "two"], ["predictions"]),
        ],
        [value("x", T.FLOAT, N, 2)],
        [value("outputs", T.FLOAT, N, 2), value("predictions", T.FLOAT, N, 2)],
        [const("one", np.float32(1)), const("two", np.float32(2))],
    )


def slow():
    # y = 2x + 0 * s, where s comes out of SLOW_TURNS products of 256x256 matrices which
    # start from min(max(max(x), 0), 1): the work depends on x, so nothing can fold it away.
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("MatMul", ["m", "step"], ["m_next"]),
        ],
        "turn",
        [value("i", T.INT64), value("go_on", T.BOOL), value("m", T.FLOAT, 256, 256)],
        [value("still", T.BOOL), value("m_next", T.FLOAT, 256, 256)],
    )
    save(
        "slow",
        [
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Clip", ["top", "zero", "one"], ["start"]),
            helper.make_node(
                "ConstantOfShape", ["side"], ["step"], value=helper.make_tensor("v", T.FLOAT, [1], [1 / 256])
            ),
            helper.make_node("Mul", ["step", "start"], ["m_0"]),
            helper.make_node("Loop", ["turns", "", "m_0"], ["m_last"], body=body),
            helper.make_node("ReduceMax", ["m_last"], ["s"], keepdims=0),
            helper.make_node("Mul", ["s", "zero"], ["nothing"]),
            helper.make_node("Mul", ["x", "two"], ["twice"]),
            helper.make_node("Add", ["twice", "nothing"], ["y"]),
        ],
        [value("x", T.FLOAT, N, 4)],
        [value("y", T.FLOAT, N, 4)],
        [
            const("side", np.array([256, 256], np.int64)),
            const("turns", np.int64(SLOW_TURNS)),
            const("zero", np.float32(0)),
            const("one", np.float32(1)),
            const("two", np.float32(2)),
        ],
    )


def zipmap():
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    model = to_onnx(
        LogisticRegression(max_iter=1000).fit(x, y),
        initial_types=[("x", FloatTensorType([None, 4]))],
        target_opset={"": OPSET, "ai.onnx.ml": 3},
    )
    versions = {entry.domain: entry.version for entry in model.opset_import}
    del model.opset_import[:]  # the converter may name a domain twice
    model.opset_import.extend(helper.make_opsetid(d, v) for d, v in sorted(versions.items()))
    model.graph.name = "zipmap"
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = N
    write("zipmap", model)


def run(name, **inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(OUT / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def check():
    x = np.array([[1, 2, 3], [-4, 5.5, 0]], np.float32)
    assert (run("affine", x=x)[0] == 2 * x + 1).all()
    assert (run("affine_other", x=x)[0] == 3 * x + 1).all()
    wide = np.arange(56, dtype=np.float32).reshape(2, 28)
    assert (run("affine_wide", x=wide)[0] == 2 * wide + 1).all()

    a = np.array([[1, 2], [3, 4]], np.float32)
    b = np.array([[9007199254740992], [-1]], np.int64)
    c = np.array(["é", ""], object)
    d = np.array([True, True])
    e = np.array([[0.1, 1e300], [3, 4]], np.float64)
    f = np.array([21, -7], np.int32)
    total, echo, both, wide, twice, after = run("mixed", a=a, b=b, c=c, d=d, e=e, f=f)
    assert (total == a + b.astype(np.float32)).all() and (echo == c).all()
    assert both.tolist() == [True, False] and (wide == e * 0.5).all()
    assert twice.tolist() == [42, -14] and after.tolist() == [[9007199254740993], [0]]

    for name in IDENTITY_TYPES:
        if name == "bfloat16":  # NumPy has no such type: pass the bits
            bits = np.array([[1, -2], [0.5, 3]], ml_dtypes.bfloat16).view(np.uint16)
            ort = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, T.BFLOAT16)
            session = onnxruntime.InferenceSession(OUT / f"identity_{name}.onnx", providers=["CPUExecutionProvider"])
            (y,) = session.run_with_ort_values(None, {"x": ort})
            assert y.element_type() == T.BFLOAT16 and y.shape() == [2, 2]
            continue
        kind = {"string": object}.get(name, name)
        given = np.array([["a", "b"], ["c", "d"]] if name == "string" else [[1, 0], [0, 1]], kind)
        (y,) = run(f"identity_{name}", x=given)
        assert y.dtype == given.dtype and (y == given).all(), name

    (y,) = run("centred", x=x)
    assert np.allclose(y, x - x.mean(axis=0)) and not np.allclose(y[:1], run("centred", x=x[:1])[0])
    session = onnxruntime.InferenceSession(OUT / "random.onnx", providers=["CPUExecutionProvider"])
    draws = [session.run(None, {"x": x})[0].tobytes() for _ in range(20)]
    assert len(set(draws)) == len(draws)
    assert (run("fixed", x=x[:1])[0] == 2 * x[:1]).all()
    assert run("scalar", x=np.array(1.5, np.float32))[0] == 2.25
    for shape in [(), (0,), (3,), (2, 2), (1, 2, 1, 2)]:
        ones = np.ones(shape, np.float32)
        (y,) = run("any_rank", x=ones)
        assert y.shape == shape and (y == 2 * ones).all()
    assert run("any_rank_conv", x=np.ones((1, 1, 2, 2), np.float32))[0].tolist() == [[[[4]]]]
    parts = run("pieces", x=np.array([1, 2, 3], np.float32))[0]
    assert [part.tolist() for part in parts] == [[1], [2, 3]]
    ones = np.array([1, 2], np.float32)
    assert run("optional", x=ones)[0].tolist() == [10, 20]
    assert run("optional", x=ones, factor=np.array([3], np.float32))[0].tolist() == [3, 6]
    assert run("gather", index=np.array([4, 0]))[0].tolist() == [14, 10]
    try:
        run("gather", index=np.array([0, 5]))
        raise SystemExit("gather took an index out of range")
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument:
        pass
    added, doubled = run("keras", x=x[:, :2])
    assert (added == x[:, :2] + 1).all() and (doubled == 2 * x[:, :2]).all()
    labels, maps = run("zipmap", x=np.array([[5.1, 3.5, 1.4, 0.2]], np.float32))
    assert labels.tolist() == [0] and sorted(maps[0]) == [0, 1, 2]

    for threads in (1, 0):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(OUT / "slow.onnx", options, providers=["CPUExecutionProvider"])
        for rows in (1, 100):
            x = np.linspace(-5, 5, rows * 4, dtype=np.float32).reshape(rows, 4)
            session.run(None, {"x": x})
            start = time.perf_counter()
            for _ in range(5):
                (y,) = session.run(None, {"x": x})
                assert (y == 2 * x).all()
            spent = (time.perf_counter() - start) / 5 * 1000
            print(f"slow, {rows} rows, {threads or 'all'} threads: {spent:.0f} ms a run")


def main():
    OUT.mkdir(exist_ok=True)
    affine("affine", 2)
    affine("affine_other", 3)
    affine("affine_wide", 2, columns=28)
    mixed()
    identities()
    pictures()
    centred()
    random()
    fixed()
    scalar()
    quantized()
    any_rank()
    pieces()
    attention()
    constant()
    tiny_float()
    external()
    custom_operator()
    optional()
    gather()
    keras()
    slow()
    zipmap()
    check()


if __name__ == "__main__":
    main()
