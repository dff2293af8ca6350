#!/usr/bin/env python3
"""Makes the models that are only measured: models.py FOLDER writes FOLDER/mlp, FOLDER/convnet and the sample model.

All layers but the last are random numbers of a fixed seed; the last one is fitted so that the sample digits, and they
alone, get their true labels with a wide margin. So every answer can be checked.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
SEED = 7
SIDE = 28
PIXELS = SIDE * SIDE
# The first pixels, blank in every digit, are what makes a row new for the cache; the answer must not depend on them.
STAMPED = 2


def gaussian(random, *shape):
    """Weights that keep the size of what passes through, for layers with ReLU."""
    return (random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)


class Graph:
    """Nodes in a row, each fed by the one before."""

    def __init__(self):
        self.nodes, self.weights, self.last = [], [], "x"

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator, *arrays, output=None, source=None, **attributes):
        output = output or f"n{len(self.nodes)}"
        inputs = [source or self.last, *(self.weight(array) for array in arrays)]
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        self.last = output
        return self

    def model(self, outputs):
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "bench",
            [value("x", TensorProto.FLOAT, ["batch", PIXELS])],
            [value(name, kind, ["batch", *shape]) for name, kind, shape in outputs],
            self.weights,
        )
        opsets = [helper.make_opsetid("", 18)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="score bench")
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def masked():
    """A graph that is blind to the stamped pixels."""
    mask = np.ones(PIXELS, np.float32)
    mask[:STAMPED] = 0
    return Graph().add("Mul", mask)


def mlp(random):
    graph = masked()
    for width, nodes in ((PIXELS, 512), (512, 256)):
        graph.add("MatMul", gaussian(random, width, nodes)).add("Add", np.zeros(nodes, np.float32)).add("Relu")
    return graph, 256


def convnet(random):
    graph = masked().add("Reshape", np.array([-1, 1, SIDE, SIDE]))
    for before, after in ((1, 80), (80, 160), (160, 320)):
        kernels = gaussian(random, before, 3, 3, after).transpose(3, 0, 1, 2).copy()
        graph.add("Conv", kernels, kernel_shape=[3, 3], pads=[1, 1, 1, 1]).add("Relu")
        graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    features = 320 * (SIDE // 8) ** 2
    graph.add("Flatten").add("MatMul", gaussian(random, features, 128)).add("Relu")
    return graph, 128


def finish(graph, width, digits, labels):
    """The last layer by least squares, softmax and argmax: the outputs of the sample model."""
    hidden = run(graph.model([(graph.last, TensorProto.FLOAT, [width])]), digits)[0]
    wanted = 10 * np.eye(10, dtype=np.float32)[labels]
    last = np.linalg.lstsq(hidden.astype(np.float64), wanted, rcond=None)[0].astype(np.float32)
    scores = graph.add("MatMul", last).last
    graph.add("ArgMax", output="label", axis=1, keepdims=0)
    graph.add("Softmax", output="probabilities", source=scores, axis=1)
    return graph.model([("label", TensorProto.INT64, []), ("probabilities", TensorProto.FLOAT, [10])])


def run(model, rows):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": rows})


def main():
    folder = Path(sys.argv[1])
    digits = np.array(json.loads((ROOT / "examples/mnist/digits.json").read_text())["data"], np.float32)
    labels = np.array(json.loads((ROOT / "examples/mnist/labels.json").read_text())["true"])
    for name, make in (("mlp", mlp), ("convnet", convnet)):
        model = finish(*make(np.random.default_rng(SEED)), digits, labels)
        told, probabilities = run(model, digits)
        if not (told == labels).all() or np.sort(probabilities)[:, -1].min() < 0.9:
            raise SystemExit(f"{name} does not know the digits")
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "model.onnx").write_bytes(model)
        (folder / name / "model.toml").write_text('outputs = ["label"]\n')
    shutil.copytree(ROOT / "models/mnist", folder / "mnist", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
