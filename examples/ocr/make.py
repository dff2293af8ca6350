"""Makes a model that reads a line of text in a picture: make.py ONNX_FILE FOLDER

ONNX_FILE is the recogniser of PP-OCRv4 (Apache-2.0) as the package rapidocr-onnxruntime has it. Its output is how likely each of 6,625
characters is in each of 40 steps from left to right; the model made here has the text itself as its output.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

STEPS, WIDTH, HEIGHT = 40, 320, 48

OPTIONS = f"""\
# Grey, black or coloured letters on a light ground; a picture is scaled to this size.
[inputs.x]
size = [{WIDTH}, {HEIGHT}]
mean = 0.5
std = 0.5
"""


class Graph:
    """The graph of a model, and nodes behind what it has."""

    def __init__(self, graph):
        self.graph = graph

    def integers(self, name, *values):
        self.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def strings(self, name, *values):
        tensor = helper.make_tensor(name, TensorProto.STRING, [len(values)], [value.encode() for value in values])
        self.graph.initializer.append(tensor)
        return name

    def add(self, operator, inputs, output, **attributes):
        self.graph.node.append(helper.make_node(operator, inputs, [output], **attributes))
        return output


def add_text(graph, probabilities, characters):
    zero, one, two = (graph.integers(name, value) for name, value in (("zero", 0), ("one", 1), ("two", 2)))
    best = graph.add("ArgMax", [probabilities], "best", axis=2, keepdims=0)
    # The same character in the next step is the same letter, unless "no letter" lies between them.
    last = graph.add("Slice", [best, zero, graph.integers("minus_one", -1), one], "all_but_last")
    none = graph.add("Mul", [graph.add("Slice", [best, zero, one, one], "first"), zero], "no_letter")
    before = graph.add("Concat", [none, last], "before", axis=1)
    new = graph.add("Where", [graph.add("Equal", [best, before], "again"), zero, best], "new")
    letters = graph.add("Gather", [graph.strings("characters", "", *characters, " "), new], "letters", axis=0)
    # Neighbours are joined until one text is left, which takes a power of two.
    rows = graph.add("Shape", [best], "rows", start=0, end=1)
    shape = graph.add("Concat", [rows, graph.integers("missing", 64 - STEPS)], "shape", axis=0)
    line = graph.add("Concat", [letters, graph.add("Expand", [graph.strings("nothing", ""), shape], "rest")], "line", axis=1)
    end = graph.integers("end", 64)
    for parts in (32, 16, 8, 4, 2, 1):
        left = graph.add("Slice", [line, zero, end, one, two], f"left_{parts}")
        right = graph.add("Slice", [line, one, end, one, two], f"right_{parts}")
        line = graph.add("StringConcat", [left, right], f"line_{parts}")
    return graph.add("Squeeze", [line, one], "text")


def main(source, folder):
    model = onnx.load(source)
    characters = {entry.key: entry.value for entry in model.metadata_props}["character"].splitlines()
    # StringConcat came with version 20.
    model = version_converter.convert_version(model, 20)
    text = add_text(Graph(model.graph), model.graph.output[0].name, characters)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(text, TensorProto.STRING, ["N"]))
    [picture] = model.graph.input
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(picture.name, TensorProto.FLOAT, ["N", 3, HEIGHT, WIDTH]))
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "model.toml").write_text(OPTIONS)


main(Path(sys.argv[1]), Path(sys.argv[2]))
