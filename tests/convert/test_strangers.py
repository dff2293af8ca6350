"""Models as other people train them, which tools/to_onnx.py has to take."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from test_to_onnx import CONVERTER, converted

IRIS, KINDS = load_iris(return_X_y=True)
DIABETES, PROGRESS = load_diabetes(return_X_y=True)
TISSUE, GROWTH = load_breast_cancer(return_X_y=True)
RANDOM = np.random.default_rng(4)
TITANIC = pd.DataFrame(
    {
        "age": RANDOM.integers(1, 80, 120),
        "fare": RANDOM.normal(30, 9, 120).round(2),
        "sex": RANDOM.choice(["male", "female"], 120),
    }
)
LIVED = np.where(TITANIC["sex"] == "female", "yes", "no")
TEXTS = pd.DataFrame({"text": RANDOM.choice(["good film", "bad film", "great plot", "awful plot"], 120)})
PRAISE = np.where(TEXTS["text"].str.match("good|great"), "praise", "blame")


def columns(numbers):
    filled = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([("n", filled, numbers), ("c", OneHotEncoder(handle_unknown="ignore"), ["sex"])])


def of_numbers():
    def trees():
        return RandomForestClassifier(9, random_state=0)

    chosen = ColumnTransformer([("n", StandardScaler(), make_column_selector(dtype_include=np.number))])
    soft = VotingClassifier([("a", LogisticRegression(max_iter=900)), ("b", RandomForestClassifier(5))], voting="soft")
    return {
        # Thresholds are values of the table, which float32 moves.
        "hist gradient boosting": (HistGradientBoostingRegressor().fit(DIABETES, PROGRESS), DIABETES),
        "k-means of float64": (KMeans(3, n_init=1, random_state=0).fit(IRIS), IRIS),
        "scaler before trees": (make_pipeline(StandardScaler(), RandomForestRegressor(9)).fit(TISSUE, GROWTH), TISSUE),
        "outputs of several sizes": (
            MultiOutputClassifier(LogisticRegression(max_iter=900)).fit(IRIS, np.c_[KINDS, KINDS > 1]), IRIS
        ),
        "soft voting": (soft.fit(IRIS, KINDS), IRIS),
        "linear svc": (LinearSVC().fit(IRIS, KINDS), IRIS),
        "tf-idf before linear svc": (make_pipeline(TfidfVectorizer(), LinearSVC()).fit(TEXTS["text"], PRAISE), TEXTS),
        "whole numbers beside floats": (make_pipeline(columns(["age", "fare"]), trees()).fit(TITANIC, LIVED), TITANIC),
        "whole numbers alone": (make_pipeline(columns(["age"]), trees()).fit(TITANIC, LIVED), TITANIC),
        "columns by kind": (make_pipeline(chosen, trees()).fit(TITANIC, LIVED), TITANIC),
    }


MODELS = of_numbers()


@pytest.mark.parametrize("name", MODELS)
def test_is_converted(tmp_path, name):
    estimator, rows = MODELS[name]
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(estimator))
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False, header=isinstance(rows, pd.DataFrame))
    ran = converted(tmp_path / "model.pkl", "--out", tmp_path / "m", "--sample", tmp_path / "rows.csv")
    assert ran.returncode == 0 and not ran.stderr, ran.stdout + ran.stderr
    assert (tmp_path / "m/model.onnx").is_file()


def test_samples_have_the_digits_of_the_sample(tmp_path):
    estimator, rows = MODELS["linear svc"]
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(estimator))
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False, header=False)
    assert converted(tmp_path / "model.pkl", "--out", tmp_path / "m", "--sample", tmp_path / "rows.csv").returncode == 0
    assert (tmp_path / "m/samples.json").read_text().split() == "[ [ 5.1, 3.5, 1.4, 0.2 ], [ 4.9, 3.0, 1.4, 0.2 ], [ 4.7, 3.2, 1.3, 0.2 ], [ 4.6, 3.1, 1.5, 0.2 ], [ 5.0, 3.6, 1.4, 0.2 ] ]".split()


@pytest.mark.parametrize("name", ["linear svc", "tf-idf before linear svc", "whole numbers alone"])
def test_only_tables_need_pandas(tmp_path, name):
    estimator, rows = MODELS[name]
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(estimator))
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False, header=isinstance(rows, pd.DataFrame))
    (tmp_path / "without").mkdir()
    (tmp_path / "without/pandas.py").write_text("raise ImportError('none here')\n")
    path = os.pathsep.join([str(tmp_path / "without"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, CONVERTER, tmp_path / "model.pkl", "--out", tmp_path / "m", "--sample", tmp_path / "rows.csv"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": path})
    if name == "whole numbers alone":
        assert ran.returncode == 1 and "knows its columns by name (age, fare, sex): pip install pandas" in ran.stderr
    else:
        assert ran.returncode == 0 and not ran.stderr, ran.stdout + ran.stderr


def test_a_lightgbm_model_takes_the_names_of_its_table(tmp_path):
    import lightgbm

    rows = load_iris(as_frame=True).data
    estimator = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(rows, KINDS)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(estimator))
    rows.to_csv(tmp_path / "rows.csv", index=False)
    assert converted(tmp_path / "model.pkl", "--out", tmp_path / "m", "--sample", tmp_path / "rows.csv").returncode == 0
    assert 'columns = ["sepal length (cm)", "sepal width (cm)",' in (tmp_path / "m/model.toml").read_text()
    assert '"sepal length (cm)": 5.1' in (tmp_path / "m/samples.json").read_text()
