"""Makes a model folder of all-MiniLM-L6-v2 from its weights: make.py FOLDER OUT

FOLDER holds model.safetensors and the tokenizer, as sentence-transformers leaves them. OUT gets the same model for ONNX
Runtime. Needs onnx and numpy alone: the layers of BERT are written out below.

The weights lie in a file of their own beside model.onnx. ONNX Runtime maps it, so a session opens in half the time and
takes half the memory.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

KEPT = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json",
]


def read_safetensors(file):
    """All tensors of a file. The format: 8 bytes with the length of a JSON header, the header, the data."""
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in ("F32", "I64"):
            raise SystemExit(f"{file}: tensor {name} is {entry['dtype']}; expected F32")
        kind = np.float32 if entry["dtype"] == "F32" else np.int64
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[start + begin : start + end], kind).reshape(entry["shape"])
    return tensors


class Bert:
    """The graph of one BERT model while it is written."""

    def __init__(self, weights, config):
        self.weights, self.config = weights, config
        self.nodes, self.constants = [], {}

    def const(self, name, array):
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def weight(self, name):
        return self.const(name, self.weights[name])

    def op(self, kind, *inputs, **attributes):
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def linear(self, x, name):
        matrix = self.const(f"{name}.weight.T", self.weights[f"{name}.weight"].T)
        return self.op("Add", self.op("MatMul", x, matrix), self.weight(f"{name}.bias"))

    def norm(self, x, name):
        epsilon = self.config["layer_norm_eps"]
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)

    def embeddings(self):
        words = self.op("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids")
        types = self.op("Gather", self.weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
        numbers = self.const("numbers", np.arange(self.config["max_position_embeddings"])[None])
        length = self.op("Shape", "input_ids", start=1, end=2)
        there = self.op("Slice", numbers, self.const("zero", [0]), length, self.const("axis", [1]))
        places = self.op("Gather", self.weight("embeddings.position_embeddings.weight"), there)
        return self.norm(self.op("Add", self.op("Add", words, types), places), "embeddings.LayerNorm")

    def mask(self):
        mask = self.op("Cast", "attention_mask", to=T.FLOAT)
        mask = self.op("Unsqueeze", mask, self.const("axes", [1, 2]))
        lowest = self.const("lowest", np.float32(np.finfo(np.float32).min))
        return self.op("Mul", self.op("Sub", self.const("one", np.float32(1)), mask), lowest)

    def layer(self, x, mask, name):
        width, heads = self.config["hidden_size"], self.config["num_attention_heads"]
        split = self.const("split", [0, 0, heads, width // heads])
        turned = {}
        for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            heads_of = self.op("Reshape", self.linear(x, f"{name}.attention.self.{part}"), split)
            turned[part] = self.op("Transpose", heads_of, perm=order)
        scale = self.const("scale", np.float32(1 / np.sqrt(width // heads)))
        scores = self.op("Mul", self.op("MatMul", turned["query"], turned["key"]), scale)
        share = self.op("Softmax", self.op("Add", scores, mask), axis=-1)
        seen = self.op("Transpose", self.op("MatMul", share, turned["value"]), perm=[0, 2, 1, 3])
        seen = self.op("Reshape", seen, self.const("join", [0, 0, width]))
        seen = self.op("Add", self.linear(seen, f"{name}.attention.output.dense"), x)
        x = self.norm(seen, f"{name}.attention.output.LayerNorm")
        wide = self.linear(x, f"{name}.intermediate.dense")
        half = self.op("Mul", wide, self.const("half", np.float32(0.5)))
        bend = self.op("Erf", self.op("Mul", wide, self.const("root", np.float32(1 / np.sqrt(2)))))
        wide = self.op("Mul", half, self.op("Add", bend, self.const("one", np.float32(1))))
        out = self.op("Add", self.linear(wide, f"{name}.output.dense"), x)
        return self.norm(out, f"{name}.output.LayerNorm")

    def body(self):
        """The vectors of the tokens."""
        x, mask = self.embeddings(), self.mask()
        for number in range(self.config["num_hidden_layers"]):
            x = self.layer(x, mask, f"encoder.layer.{number}")
        return x

    def model(self):
        return self.with_output(self.body(), "last_hidden_state", ["batch", "tokens", self.config["hidden_size"]])

    def with_output(self, x, output, shape):
        self.nodes.append(helper.make_node("Identity", [x], [output]))
        names = ("input_ids", "attention_mask", "token_type_ids")
        graph = helper.make_graph(
            self.nodes,
            "bert",
            [helper.make_tensor_value_info(name, T.INT64, ["batch", "tokens"]) for name in names],
            [helper.make_tensor_value_info(output, T.FLOAT, shape)],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def read_config(folder):
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
        raise SystemExit(f"{folder}: expected a BERT model with the activation gelu")
    return config


def save(model, out):
    onnx.checker.check_model(model)
    out.mkdir(parents=True, exist_ok=True)
    weights = out / "model.onnx.data"
    weights.unlink(missing_ok=True)
    onnx.save(model, out / "model.onnx", save_as_external_data=True, location=weights.name, size_threshold=1024)


def main(folder, out):
    config = read_config(folder)
    save(Bert(read_safetensors(folder / "model.safetensors"), config).model(), out)
    for name in KEPT:
        if (folder / name).is_file():
            (out / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, out / name)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
