"""Writes the small text model that the tests load, into text/tiny/ beside this file: one transformer layer of 8 numbers with
random weights, a WordPiece tokenizer with 120 tokens, and the files that sentence-transformers leaves.

Run:    pip install onnx numpy onnxruntime tokenizers && python make_text_model.py
Writes: text/tiny/, the same bytes every time, and text/tiny.json: what onnxruntime and tokenizers give for a few texts
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

OUT = Path(__file__).resolve().parent / "text" / "tiny"
WIDTH, HEADS, POSITIONS, MAX_TOKENS = 8, 2, 64, 32
WORDS = "the a of and to in it is was for on with he she they cat dog bird house river invoice late order lost found paid blue red"
ENDINGS = "s ed ing er ly un re able"


def tokens():
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    parts = [*special, *letters, *(f"##{c}" for c in letters), *".,?!-'", *WORDS.split()]
    parts += [f"##{ending}" for ending in ENDINGS.split()]
    return {token: number for number, token in enumerate(dict.fromkeys(parts))}


def tokenizer(vocabulary):
    new = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    new.normalizer = normalizers.BertNormalizer(lowercase=True)
    new.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    new.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    new.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    # As many folders have it, and of no effect: the folder's other files say what counts.
    new.enable_padding(length=16, pad_id=0, pad_token="[PAD]")
    new.enable_truncation(16)
    return new


def model(size):
    random = np.random.default_rng(19)
    constants, nodes = {}, []

    def weight(name, *shape):
        constants[name] = random.normal(0, 0.6, shape).astype(np.float32)
        return name

    def const(name, array):
        constants[name] = np.asarray(array)
        return name

    def op(kind, *inputs, **attributes):
        name = f"{kind}_{len(nodes)}"
        nodes.append(h.make_node(kind, inputs, [name], **attributes))
        return name

    def linear(x, name, outputs=WIDTH, inputs=WIDTH):
        return op("Add", op("MatMul", x, weight(f"{name}.weight", inputs, outputs)), weight(f"{name}.bias", outputs))

    def norm(x, name):
        return op("LayerNormalization", x, weight(f"{name}.scale", WIDTH), weight(f"{name}.shift", WIDTH), axis=-1)

    words = op("Gather", weight("words", size, WIDTH), "input_ids")
    types = op("Gather", weight("types", 2, WIDTH), "token_type_ids")
    axis = const("axis1", np.array([1]))
    length = op("Shape", "input_ids", start=1, end=2)
    where = op("Slice", weight("positions", 1, POSITIONS, WIDTH), const("zero", np.array([0])), length, axis)
    x = norm(op("Add", op("Add", words, types), where), "embedded")
    mask = op("Unsqueeze", op("Cast", "attention_mask", to=T.FLOAT), const("axes12", np.array([1, 2])))
    hidden = op("Mul", op("Sub", const("one", np.float32(1)), mask), const("low", np.float32(np.finfo(np.float32).min)))
    split = const("split", np.array([0, 0, HEADS, WIDTH // HEADS]))
    query, key, value = (
        op("Transpose", op("Reshape", linear(x, name), split), perm=order)
        for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
    )
    attention = op("Softmax", op("Add", op("MatMul", query, key), hidden), axis=-1)
    joined = op("Transpose", op("MatMul", attention, value), perm=[0, 2, 1, 3])
    x = norm(op("Add", linear(op("Reshape", joined, const("join", np.array([0, 0, WIDTH]))), "out"), x), "attended")
    wide = op("Tanh", linear(x, "wide", outputs=16))
    x = norm(op("Add", linear(wide, "narrow", inputs=16), x), "done")
    nodes.append(h.make_node("Identity", [x], ["last_hidden_state"]))
    names = ("input_ids", "attention_mask", "token_type_ids")
    graph = h.make_graph(
        nodes,
        "tiny",
        [h.make_tensor_value_info(name, T.INT64, ["batch", "tokens"]) for name in names],
        [h.make_tensor_value_info("last_hidden_state", T.FLOAT, ["batch", "tokens", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    new = h.make_model(graph, producer_name="make_text_model.py", opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(new)
    return new


def write(name, value):
    file = OUT / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def expected(made, file):
    """Vectors as they are answered: mean over the tokens, then scaled to length 1."""
    made.no_padding()
    made.enable_truncation(MAX_TOKENS)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    rows = []
    for text in ["The cat is lost.", "", "the blue house on the river and the red dog", "NUL \0 and käse 🧀", "invoice " * 40]:
        encoding = made.encode(text)
        feed = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
        (tokens,) = session.run(None, {name: np.array([row], np.int64) for name, row in feed.items()})
        mean = tokens[0].mean(0)
        vector = [float(value) for value in mean / np.linalg.norm(mean)]
        rows.append({"text": text, "tokens": len(encoding.ids), "cut": bool(encoding.overflowing), "vector": vector})
    return rows


def main():
    vocabulary = tokens()
    made = tokenizer(vocabulary)
    OUT.mkdir(parents=True, exist_ok=True)
    made.save(str(OUT / "tokenizer.json"), pretty=False)
    onnx.save(model(len(vocabulary)), OUT / "model.onnx")
    write("config.json", {
        "architectures": ["BertModel"], "hidden_size": WIDTH, "max_position_embeddings": POSITIONS, "model_type": "bert",
        "pad_token_id": 0, "position_embedding_type": "absolute", "vocab_size": len(vocabulary),
    })
    write("tokenizer_config.json", {"model_max_length": POSITIONS, "pad_token": "[PAD]", "tokenizer_class": "BertTokenizer"})
    write("sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    write("config_sentence_transformers.json", {"prompts": {"query": "it is "}, "default_prompt_name": None})
    write("1_Pooling/config.json", {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True})
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    write("modules.json", [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(kinds)
    ])
    write("../tiny.json", expected(made, OUT / "model.onnx"))
    print(sum(file.stat().st_size for file in OUT.rglob("*") if file.is_file()), "bytes")


main()
