"""Makes models with heads out of all-MiniLM-L6-v2, since no package has a ready one: heads.py FOLDER OUT

FOLDER holds model.safetensors and the tokenizer, as sentence-transformers leaves them. OUT gets three folders:

sentiment   two labels; a logistic regression of scikit-learn on the pooled vectors of the words that the lexicon of the package
            vaderSentiment (MIT) rates. Its accuracy on words that it has not seen is printed.
reranker    one score for a pair of texts; the weights of the head are made up from a seed, so its order means nothing
tagger      nine labels for each token (CoNLL-2003); made up as well

Needs numpy, onnx, onnxruntime, scikit-learn, tokenizers and vaderSentiment.
"""

import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from make import Bert, read_config, read_safetensors, save
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from tokenizers import Tokenizer

TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
SENTIMENTS = ["NEGATIVE", "POSITIVE"]
# Ratings go from -4 to 4; words near 0 are neither.
RATED = 1.0


class WithHead(Bert):
    """A BERT model whose output is logits."""

    def head(self, x, weight, bias):
        matrix = self.const("head.weight", weight.astype(np.float32))
        return self.op("Add", self.op("MatMul", x, matrix), self.const("head.bias", bias.astype(np.float32)))

    def of_mean(self, weight, bias):
        mask = self.op("Cast", "attention_mask", to=1)
        column = self.op("Unsqueeze", mask, self.const("last", [2]))
        axis = self.const("tokens", [1])
        total = self.op("ReduceSum", self.op("Mul", self.body(), column), axis, keepdims=0)
        mean = self.op("Div", total, self.op("ReduceSum", column, axis, keepdims=0))
        return self.with_output(self.head(mean, weight, bias), "logits", ["batch", len(bias)])

    def of_first(self, pooler, weight, bias):
        first = self.op("Gather", self.body(), self.const("first", [0]), axis=1)
        first = self.op("Squeeze", first, self.const("second axis", [1]))
        pooled = self.op("Tanh", self.op("MatMul", first, self.const("pooler.weight", pooler.astype(np.float32))))
        return self.with_output(self.head(pooled, weight, bias), "logits", ["batch", len(bias)])

    def of_tokens(self, weight, bias):
        return self.with_output(self.head(self.body(), weight, bias), "logits", ["batch", "tokens", len(bias)])


def rated_words():
    folder = Path(importlib.util.find_spec("vaderSentiment").origin).parent
    for line in (folder / "vader_lexicon.txt").read_text().splitlines():
        word, rating, *_ = line.split("\t")
        if abs(float(rating)) >= RATED and word.isalpha():
            yield word, int(float(rating) > 0)


def mean_vectors(model, tokenizer, texts):
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder))
        session = onnxruntime.InferenceSession(Path(folder) / "model.onnx", providers=["CPUExecutionProvider"])
        for start in range(0, len(texts), 64):
            batch = tokenizer.encode_batch(texts[start : start + 64])
            feed = {
                "input_ids": [one.ids for one in batch],
                "attention_mask": [one.attention_mask for one in batch],
                "token_type_ids": [one.type_ids for one in batch],
            }
            feed = {name: np.array(rows, np.int64) for name, rows in feed.items()}
            (tokens,) = session.run(None, feed)
            mask = feed["attention_mask"][..., None].astype(np.float32)
            yield from (tokens * mask).sum(1) / mask.sum(1)


def sentiment(weights, config, tokenizer):
    words, labels = zip(*rated_words())
    vectors = np.array(list(mean_vectors(Bert(weights, config).model(), tokenizer, list(words))))
    seen, unseen, seen_labels, unseen_labels = train_test_split(vectors, labels, test_size=0.2, random_state=20)
    fitted = LogisticRegression(max_iter=2000).fit(seen, seen_labels)
    print(f"sentiment: {len(words)} words, accuracy {fitted.score(unseen, unseen_labels):.3f} on words it has not seen")
    # Two logits whose difference is the one of the regression.
    weight = np.concatenate([np.zeros_like(fitted.coef_), fitted.coef_]).T
    return WithHead(weights, config).of_mean(weight, np.array([0, fitted.intercept_[0]]))


def write(folder, out, config, architecture, labels, more=None):
    out.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(folder / name, out / name)
    numbers = {str(number): label for number, label in enumerate(labels)}
    config = {**config, "architectures": [architecture], "id2label": numbers, **(more or {})}
    config["label2id"] = {label: int(number) for number, label in numbers.items()}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def main(folder, out):
    config, weights = read_config(folder), read_safetensors(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    width, made_up = config["hidden_size"], np.random.default_rng(20)
    save(sentiment(weights, config, tokenizer), out / "sentiment")
    write(folder, out / "sentiment", config, "BertForSequenceClassification", SENTIMENTS)
    pooler = made_up.normal(0, 0.1, (width, width))
    save(WithHead(weights, config).of_first(pooler, made_up.normal(0, 0.2, (width, 1)), np.zeros(1)), out / "reranker")
    kept = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "4.1.0"}}
    write(folder, out / "reranker", config, "BertForSequenceClassification", ["LABEL_0"], kept)
    save(WithHead(weights, config).of_tokens(made_up.normal(0, 0.5, (width, len(TAGS))), np.zeros(len(TAGS))), out / "tagger")
    write(folder, out / "tagger", config, "BertForTokenClassification", TAGS)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
