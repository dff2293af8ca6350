"""Writes the small text models that the tests load, into text/ beside this file: one transformer layer of 8 numbers with
random weights, a WordPiece tokenizer with 120 tokens, and the files that sentence-transformers or transformers leave. tiny has
no head; rank is a cross-encoder, label a classifier, tag a token classifier, sparse a masked language model.

Run:    pip install onnx numpy onnxruntime transformers && python make_text_model.py
Writes: text/{tiny,rank,label,tag,sparse}/ and text/pooled.onnx, which is tiny with its pooling, the same bytes every time, and
        text/{tiny,heads}.json: what onnxruntime, tokenizers
        and the pipelines of transformers give for a few texts
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

TEXT = Path(__file__).resolve().parent / "text"
WIDTH, HEADS, POSITIONS, MAX_TOKENS = 8, 2, 64, 32
WORDS = "the a of and to in it is was for on with he she they cat dog bird house river invoice late order lost found paid blue red"
ENDINGS = "s ed ing er ly un re able"
LABELS = {
    "rank": ["LABEL_0"], "label": ["negative", "neutral", "positive"], "tag": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
}


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


def model(size, head=None):
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
    name, shape = "last_hidden_state", ["batch", "tokens", WIDTH]
    if head:
        name = "logits"
        first = op("Gather", x, const("first", np.int64(0)), axis=1)
        if head == "sparse":
            x, shape = linear(x, "head", outputs=size), ["batch", "tokens", size]
        elif head == "tag":
            x, shape = linear(x, "head", outputs=5), ["batch", "tokens", 5]
        else:
            outputs = len(LABELS[head])
            x, shape = linear(first, "head", outputs=outputs), ["batch", outputs]
    nodes.append(h.make_node("Identity", [x], [name]))
    names = ("input_ids", "attention_mask", "token_type_ids")
    graph = h.make_graph(
        nodes,
        "tiny",
        [h.make_tensor_value_info(each, T.INT64, ["batch", "tokens"]) for each in names],
        [h.make_tensor_value_info(name, T.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    new = h.make_model(graph, producer_name="make_text_model.py", opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(new)
    return new


def pooled(tiny):
    """The model with one vector for each text beside those of its tokens, as sentence-transformers exports it."""
    new = onnx.ModelProto()
    new.CopyFrom(tiny)
    graph = new.graph
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last"))
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "tokens"))
    graph.node.extend([
        h.make_node("Cast", ["attention_mask"], ["seen"], to=T.FLOAT),
        h.make_node("Unsqueeze", ["seen", "last"], ["seen_each"]),
        h.make_node("Mul", ["token_embeddings", "seen_each"], ["seen_vectors"]),
        h.make_node("ReduceSum", ["seen_vectors", "tokens"], ["sum"], keepdims=0),
        h.make_node("ReduceSum", ["seen", "tokens"], ["count"], keepdims=1),
        h.make_node("Div", ["sum", "count"], ["sentence_embedding"]),
    ])
    graph.node[-7].output[0] = graph.output[0].name = "token_embeddings"
    graph.output.append(h.make_tensor_value_info("sentence_embedding", T.FLOAT, ["batch", WIDTH]))
    onnx.checker.check_model(new)
    return new


def write(name, value):
    file = TEXT / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def session(folder):
    ran = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

    def run(encoding):
        feed = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
        (outputs,) = ran.run(None, {name: np.array([row], np.int64) for name, row in feed.items()})
        return outputs[0]

    return run


def expected(made, run):
    """Vectors as they are answered: mean over the tokens, then scaled to length 1."""
    rows = []
    for text in ["The cat is lost.", "", "the blue house on the river and the red dog", "NUL \0 and käse 🧀", "invoice " * 40]:
        encoding = made.encode(text)
        mean = run(encoding).mean(0)
        vector = [float(value) for value in mean / np.linalg.norm(mean)]
        rows.append({"text": text, "tokens": len(encoding.ids), "cut": bool(encoding.overflowing), "vector": vector})
    return rows


TEXTS = [
    "The cat is lost.", "", "he paid the invoice in the blue house", "käse 🧀 the river", "日本語 the cats", "e\u0301 was found, 👩‍👩‍👧‍👦!",
    "invoice late paid " * 30,
]


def row(text, encoding):
    return {"text": text, "tokens": len(encoding.ids), "cut": bool(encoding.overflowing)}


def expected_of_heads(made):
    ranks, labels, tags, sparse = (session(TEXT / name) for name in ("rank", "label", "tag", "sparse"))
    found = {"rank": [], "label": [], "tag": [], "sparse": []}
    for query in ["who found the cat?", "", "house " * 40]:
        for text in TEXTS:
            encoding = made.encode(query, text)
            logit = float(ranks(encoding)[0])
            found["rank"].append({"query": query, **row(text, encoding), "logit": logit})
    for text in TEXTS:
        encoding = made.encode(text)
        found["label"].append({**row(text, encoding), "logits": [float(value) for value in labels(encoding)]})
        weights = np.log1p(np.maximum(sparse(encoding), 0)).max(0)
        weights = [{"index": int(index), "value": float(weights[index])} for index in np.flatnonzero(weights)]
        found["sparse"].append({**row(text, encoding), "weights": weights})
        logits = tags(encoding)
        each = [[round(float(value), 5) for value in token] for token in logits]
        found["tag"].append({**row(text, encoding), "logits": each, "entities": entities(made, logits, encoding, text)})
    return found


def entities(made, logits, encoding, text):
    """What the pipeline of transformers makes of these logits, by the name of the strategy."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    from transformers import PreTrainedTokenizerFast
    from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

    pipeline = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
    pipeline.tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")
    config = SimpleNamespace(id2label=dict(enumerate(LABELS["tag"])))
    pipeline.model = SimpleNamespace(config=config)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    scores = shifted / shifted.sum(-1, keepdims=True)
    found = {}
    for strategy in AggregationStrategy:
        pieces = pipeline.gather_pre_entities(
            text, np.array(encoding.ids), scores, encoding.offsets, np.array(encoding.special_tokens_mask), strategy
        )
        all_of_them = pipeline.aggregate(pieces, strategy)
        kept = [entity for entity in all_of_them if "O" not in (entity.get("entity"), entity.get("entity_group"))]
        found[strategy.value] = [{**entity, "score": float(entity["score"])} for entity in kept]
    return found


def write_folder(name, made, size, config, head=None):
    folder = TEXT / name
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"), pretty=False)
    onnx.save(model(size, head), folder / "model.onnx")
    write(f"{name}/config.json", {
        **config, "hidden_size": WIDTH, "max_position_embeddings": POSITIONS, "model_type": "bert",
        "pad_token_id": 0, "position_embedding_type": "absolute", "vocab_size": size,
    })


def write_heads(made, size):
    names = {"rank": "SequenceClassification", "label": "SequenceClassification", "tag": "TokenClassification", "sparse": "MaskedLM"}
    for name, kind in names.items():
        labels = dict(enumerate(LABELS.get(name, [])))
        config = {"architectures": [f"BertFor{kind}"]}
        if labels:
            config |= {"id2label": labels, "label2id": {label: number for number, label in labels.items()}}
        if name == "rank":
            config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "4.1.0"}
        write_folder(name, made, size, config, name)
        write(f"{name}/tokenizer_config.json", {"model_max_length": MAX_TOKENS, "pad_token": "[PAD]", "unk_token": "[UNK]"})


def main():
    vocabulary = tokens()
    made = tokenizer(vocabulary)
    write_folder("tiny", made, len(vocabulary), {"architectures": ["BertModel"]})
    onnx.save(pooled(onnx.load(TEXT / "tiny/model.onnx")), TEXT / "pooled.onnx")
    write("tiny/tokenizer_config.json", {"model_max_length": POSITIONS, "pad_token": "[PAD]", "tokenizer_class": "BertTokenizer"})
    write("tiny/sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    write("tiny/config_sentence_transformers.json", {"prompts": {"query": "it is "}, "default_prompt_name": None})
    write("tiny/1_Pooling/config.json", {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True})
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    write("tiny/modules.json", [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(kinds)
    ])
    write_heads(made, len(vocabulary))
    made.no_padding()
    made.enable_truncation(MAX_TOKENS)
    write("tiny.json", expected(made, session(TEXT / "tiny")))
    found = expected_of_heads(made).items()
    lines = [f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]" for name, rows in found]
    (TEXT / "heads.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(sum(file.stat().st_size for file in TEXT.rglob("*") if file.is_file()), "bytes")


main()
