"""The answer to a row does not depend on the rows it comes with, on their order, on who else asks, or on the cache."""

import random
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import harness
from harness import Handler

ROWS = 10_000
CALLERS = 8
N = "N"


class Net:
    """Nodes and weights of a small classifier."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator, *inputs, outputs=1, **attributes):
        names = [f"{operator}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def dense(self, x, width, out):
        """A product of 8-bit integers with one scale for the whole of x, as quantize_dynamic writes it."""
        q, scale, zero = self.add("DynamicQuantizeLinear", x, outputs=3)
        matrix = self.weight(self.random.integers(0, 255, (width, out), dtype=np.uint8))
        product = self.add("MatMulInteger", q, matrix, zero, self.weight(np.uint8(127)))
        scales = self.add("Mul", scale, self.weight(np.float32(0.01)))
        return self.add("Mul", self.add("Cast", product, to=T.FLOAT), scales)

    def static_dense(self, x, width, out):
        """The same with a scale that was found once, when the model was quantized."""
        scale, zero = self.weight(np.float32(0.05)), self.weight(np.uint8(128))
        x = self.add("DequantizeLinear", self.add("QuantizeLinear", x, scale, zero), scale, zero)
        return self.add("MatMul", x, self.weight(self.random.standard_normal((width, out)).astype(np.float32)))

    def end(self, scores, inputs):
        self.nodes.append(helper.make_node("ArgMax", [scores], ["label"], axis=1, keepdims=0))
        self.nodes.append(helper.make_node("Softmax", [scores], ["probabilities"], axis=1))
        outputs = [("label", T.INT64, [N]), ("probabilities", T.FLOAT, [N, None])]
        return harness.graph_model(self.nodes, inputs, outputs, self.weights, opset=17)


def embedded(net, ids):
    return net.add("Gather", net.weight(net.random.standard_normal((200, 16)).astype(np.float32) ** 3), ids)


def tokens(random):
    net = Net(1)
    most = net.add("ReduceMax", net.add("Tanh", net.dense(embedded(net, "ids"), 16, 24)), axes=[1], keepdims=0)
    head = net.weight(net.random.standard_normal((24, 3)).astype(np.float32))
    model = net.end(net.add("MatMul", most, head), [("ids", T.INT64, [N, 12])])
    return model, {"ids": random.integers(0, 200, (ROWS, 12))}


def masked_tokens(random):
    net = Net(2)
    mask = net.add("Unsqueeze", net.add("Cast", "mask", to=T.FLOAT), net.weight(np.array([2])))
    kept = net.add("Mul", net.dense(embedded(net, "ids"), 16, 24), mask)
    mean = net.add("ReduceMean", kept, axes=[1], keepdims=0)
    inputs = [("ids", T.INT64, [N, 12]), ("mask", T.INT64, [N, 12])]
    rows = {"ids": random.integers(0, 200, (ROWS, 12)), "mask": random.integers(0, 2, (ROWS, 12))}
    return net.end(net.dense(mean, 24, 3), inputs), rows


def pictures(random):
    net = Net(3)
    flat = net.add("Flatten", net.add("Cast", "x", to=T.FLOAT))
    hidden = net.add("Relu", net.dense(flat, 256, 20))
    # Bright and dark ones, so that one changes the scale of the others.
    rows = random.integers(0, 256, (ROWS, 16, 16)) // random.integers(1, 64, (ROWS, 1, 1))
    return net.end(net.dense(hidden, 20, 4), [("x", T.UINT8, [N, 16, 16])]), {"x": rows.astype(np.uint8)}


def whole_numbers(element, width):
    def make(random):
        net = Net(width)
        scores = net.dense(net.add("Cast", "x", to=T.FLOAT), width, 3)
        rows = random.integers(-100, 100, (ROWS, width)) * 10 ** random.integers(0, 4, (ROWS, 1))
        dtype = np.int64 if element == T.INT64 else np.int32
        return net.end(scores, [("x", element, [N, width])]), {"x": rows.astype(dtype)}

    return make


def static(random):
    net = Net(6)
    scores = net.static_dense(net.add("Relu", net.static_dense("x", 8, 16)), 16, 3)
    return net.end(scores, [("x", T.FLOAT, [N, 8])]), {"x": random.standard_normal((ROWS, 8)).astype(np.float32)}


MODELS = {
    "tokens": (tokens, "alone"),
    "masked_tokens": (masked_tokens, "alone"),
    "pictures": (pictures, "alone"),
    "int64_table": (whole_numbers(T.INT64, 32), "alone"),
    "int32_table": (whole_numbers(T.INT32, 5), "alone"),
    "static": (static, "independent"),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("rows")
    made = {}
    for name, (make, mode) in MODELS.items():
        model, rows = make(np.random.default_rng(7))
        onnx.checker.check_model(model, full_check=True)
        harness.save(root, name, model)
        made[name] = (harness.session(model), rows, mode)
    with Handler(root, {"SCORE_SESSIONS": "2"}) as handler:
        yield handler, made


def one_by_one(session, rows):
    """What each row gets by itself, in ONNX Runtime's own package."""
    results = [session.run(None, {name: array[i : i + 1] for name, array in rows.items()}) for i in range(ROWS)]
    return [np.concatenate([result[place] for result in results]) for place in range(2)]


def company(seed):
    """Every row once, in random order and random groups."""
    shuffled = list(range(ROWS))
    order = random.Random(seed)
    order.shuffle(shuffled)
    groups = []
    while shuffled:
        size = order.choice([1, 1, 2, 3, 7, 20, 64])
        groups.append(shuffled[:size])
        del shuffled[:size]
    return groups


def ask_all(handler, name, rows, groups, headers):
    """Answers to all rows, asked for by several callers at once."""
    label, probabilities = np.zeros(ROWS, np.int64), [None] * ROWS
    waiting, problems = list(groups), []

    def call():
        while waiting and not problems:
            try:
                group = waiting.pop()
            except IndexError:
                return
            body, sent = harness.binary_body({n: a[group] for n, a in rows.items()})
            answer = handler.send("POST", f"/v2/models/{name}/infer", body, sent | headers)
            if answer.status != 200:
                problems.append(answer.body[:300])
                return
            outputs = harness.open_inference_outputs(answer)
            label[group] = outputs["label"]
            for place, row in enumerate(group):
                probabilities[row] = outputs["probabilities"][place]

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    [caller.start() for caller in callers]
    [caller.join() for caller in callers]
    assert not problems, problems
    return label, np.stack(probabilities)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_gets_the_same_answer_in_any_company(served, name, say):
    handler, made = served
    session, rows, mode = made[name]
    document = handler.get(f"/{name}").ok().json
    assert document["rows"]["treated"] == mode, document["rows"]
    assert document["rows"]["because"] == "proved from the graph"
    labels, probabilities = one_by_one(session, rows)
    runs = {
        "cache off": {"cache-control": "no-store"},
        "cache on": {},
        "cache on, again": {},
    }
    for seed, (run, headers) in enumerate(runs.items()):
        got_labels, got = ask_all(handler, name, rows, company(seed), headers)
        other_labels = int((got_labels != labels).sum())
        other_bits = int((got.view(np.uint32) != probabilities.view(np.uint32)).any(axis=1).sum())
        say(f"{name}, {run}: {other_labels} of {ROWS} labels differ, {other_bits} rows in some bit")
        assert other_labels == 0
        if mode == "alone":
            assert other_bits == 0
        np.testing.assert_allclose(got, probabilities, rtol=1e-4, atol=1e-6)
