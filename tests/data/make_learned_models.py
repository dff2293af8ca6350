"""Writes small models that scikit-learn and LightGBM have learned, into learned/ beside this file, with their own answers.

Run:    pip install scikit-learn==1.9.1 skl2onnx==1.20.0 lightgbm==4.7.0 onnxmltools==1.16.0 && python make_learned_models.py
Writes: learned/<name>.onnx, and learned/answers.json: for each model rows and what the library that learned it predicts
"""

import json
from pathlib import Path

import lightgbm
import numpy as np
import onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType as Floats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

OUT = Path(__file__).resolve().parent / "learned"
OPSETS = {"": 18, "ai.onnx.ml": 3}
RANDOM = np.random.default_rng(0)
ANSWERS = {}


def save(name, model, rows, labels, probabilities):
    (OUT / f"{name}.onnx").write_bytes(model.SerializeToString())
    ANSWERS[name] = {
        "rows": rows.tolist(),
        "label": (labels + 0 if labels.dtype == bool else labels).tolist(),
        "probabilities": np.round(probabilities, 5).tolist(),
    }


def from_sklearn(name, pipeline, types, rows, fitted):
    model = to_onnx(pipeline, initial_types=types, target_opset=OPSETS, options={id(pipeline): {"zipmap": False}})
    save(name, model, rows, fitted.predict(rows), fitted.predict_proba(rows))


def categories():
    """Values that the encoder has not seen are refused (handle_unknown="error") or have no effect ("ignore")."""
    table = np.array(RANDOM.choice(["red", "green", "blue"], (200, 2)), object)
    table[:, 1] = RANDOM.choice(["S", "M", "L", "XL"], 200)
    kinds = np.where((table[:, 0] == "red") ^ (table[:, 1] == "S"), "keep", "sell")
    rows = np.array([["red", "S"], ["red", "XL"], ["blue", "S"], ["green", "M"]], object)
    for name, unknown in (("categories", "error"), ("categories_unknown", "ignore")):
        pipeline = make_pipeline(OneHotEncoder(handle_unknown=unknown), LogisticRegression()).fit(table, kinds)
        if unknown == "ignore":
            rows = np.vstack([rows, [["violet", "S"]]])
        from_sklearn(name, pipeline, [("x", StringTensorType([None, 2]))], rows, pipeline)
    numbers = RANDOM.integers(10, 15, (200, 2))
    pipeline = make_pipeline(OrdinalEncoder(), LogisticRegression()).fit(numbers, numbers[:, 0] > 12)
    rows = np.array([[10, 14], [13, 11], [14, 10]])
    from_sklearn("ordinals", pipeline, [("x", Int64TensorType([None, 2]))], rows, pipeline)


def words():
    """The converter fills up the shorter texts of a run with a word that the vectorizer does not know."""
    texts = [f"{how} {what}" for how in ("good", "great", "bad", "awful") for what in ("film", "plot", "acting")]
    texts = RANDOM.choice(texts, 90)
    kinds = np.array([text.startswith("g") for text in texts])
    rows = np.array(["a GOOD film with a good plot", "awful acting", "great"])
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, kinds)
    from_sklearn("words", pipeline, [("text", StringTensorType([None, 1]))], rows, pipeline)


def trees():
    """LightGBM's converter declares the labels as [1]."""
    x = RANDOM.normal(size=(300, 3)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = lightgbm.LGBMClassifier(n_estimators=4, num_leaves=6, verbose=-1).fit(x, y)
    onnx = onnxmltools.convert_lightgbm(model, initial_types=[("x", Floats([None, 3]))], zipmap=False, target_opset=15)
    save("lightgbm", onnx, x[:4], model.predict(x[:4]), model.predict_proba(x[:4]))


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    categories()
    words()
    trees()
    (OUT / "answers.json").write_text(json.dumps(ANSWERS, indent=1) + "\n")
