"""Pipelines of scikit-learn, converted by skl2onnx as its documentation does, answer as scikit-learn does."""

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingRegressor, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import harness
from harness import Handler

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
NAMES = np.array(load_iris().target_names)
MATRIX = [("X", FloatTensorType([None, 4]))]


def passengers(rows=120):
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "sex": random.choice(["male", "female"], rows),
            "port": random.choice(["S", "C", "Q", "é, \"x\""], rows),
            "age": random.integers(1, 80, rows).astype(np.float32),
            "fare": random.gamma(2, 15, rows).astype(np.float32),
            "siblings": random.integers(0, 5, rows),
        }
    )
    table["survived"] = ((table["sex"] == "female") ^ (random.random(rows) < 0.2)).astype(int)
    return table


TABLE = passengers()
FEATURES = TABLE.drop(columns="survived")
COLUMNS = [
    ("sex", StringTensorType([None, 1])),
    ("port", StringTensorType([None, 1])),
    ("age", FloatTensorType([None, 1])),
    ("fare", FloatTensorType([None, 1])),
    ("siblings", Int64TensorType([None, 1])),
]
OPSETS = {"": 18, "ai.onnx.ml": 3}
TEXTS = ["the cat sat on the mat", "dogs chase cats", "stocks fell on Monday", "markets and stocks rose"] * 10
TOPICS = ["pets", "pets", "money", "money"] * 10


def pipelines():
    by_column = ColumnTransformer(
        [("words", OneHotEncoder(handle_unknown="ignore"), ["sex", "port"]),
         ("numbers", StandardScaler(), ["age", "fare", "siblings"])]
    )
    matrix = {
        "numbered": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, Y),
        "named": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, NAMES[Y]),
        "forest": RandomForestClassifier(10, random_state=0).fit(X, NAMES[Y]),
        "neighbours": KNeighborsClassifier(3).fit(X, Y),
        "outliers": IsolationForest(n_estimators=10, random_state=0).fit(X),
        "regression": GradientBoostingRegressor(n_estimators=10, random_state=0).fit(X, X[:, 3] * 2),
        "several": MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(X, np.stack([Y, (Y > 0) * 1], axis=1)),
    }
    for name, pipeline in matrix.items():
        yield name, pipeline, to_onnx(pipeline, initial_types=MATRIX, target_opset=OPSETS)
    zipped = {"zipmap": False}
    pipeline = matrix["named"]
    yield "columns_of_numbers", pipeline, to_onnx(pipeline, initial_types=MATRIX, target_opset=OPSETS, options=zipped)
    pipeline = make_pipeline(by_column, LogisticRegression(max_iter=500)).fit(FEATURES, TABLE["survived"])
    yield "passengers", pipeline, to_onnx(pipeline, initial_types=COLUMNS, target_opset=OPSETS)
    for name, lowercase in (("topics", True), ("topics_as_written", False)):
        pipeline = make_pipeline(TfidfVectorizer(lowercase=lowercase), LogisticRegression()).fit(TEXTS, TOPICS)
        words = [("text", StringTensorType([None, 1]))]
        yield name, pipeline, to_onnx(pipeline, initial_types=words, target_opset=OPSETS)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("scikit")
    models = {}
    for name, pipeline, model in pipelines():
        models[name] = pipeline
        harness.save(root, name, model)
    with Handler(root) as handler:
        yield handler, models


def check(answer, pipeline, x, values=None):
    """Labels and probabilities, as ZipMap gives them, are scikit-learn's."""
    values = x if values is None else values
    labels = pipeline.predict(values)
    assert answer["output_label"] == labels.tolist()
    rows = answer["output_probability"]
    assert all(list(row) == sorted(str(c) for c in pipeline.classes_) for row in rows)
    got = [[row[str(c)] for c in pipeline.classes_] for row in rows]
    np.testing.assert_allclose(got, pipeline.predict_proba(values), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["numbered", "named", "forest", "neighbours"])
def test_a_classifier_answers_labels_and_maps(served, name):
    handler, models = served
    rows = X[::3]
    for _ in ("computed", "remembered"):
        check(handler.post(f"/{name}", {"data": rows.tolist()}).ok().json, models[name], rows)
    answer = handler.post(f"/{name}", {"Inputs": {"data": rows.tolist()}}).ok().json
    check(answer["Results"], models[name], rows)
    answer = handler.post(f"/{name}", {"instances": rows.tolist()}).ok().json
    by_row = answer["predictions"]
    assert len(by_row) == len(rows)
    turned = {output: [row[output] for row in by_row] for output in by_row[0]}
    check(turned, models[name], rows)


def test_maps_in_the_open_inference_protocol(served):
    handler, models = served
    for name, pipeline in (("numbered", models["numbered"]), ("named", models["named"])):
        for outputs in (harness.infer_json(handler, name, {"X": X}), harness.infer_binary(handler, name, {"X": X})):
            assert harness.texts(outputs["output_label"]) == harness.texts(pipeline.predict(X))
            expected = pipeline.predict_proba(X)
            np.testing.assert_allclose(outputs["output_probability"], expected, rtol=1e-4, atol=1e-5)
            keys = harness.texts(outputs["output_probability.keys"][0])
            assert keys == harness.texts(pipeline.classes_)


def test_without_zipmap_probabilities_are_a_matrix(served):
    handler, models = served
    answer = handler.post("/columns_of_numbers", {"data": X.tolist()}).ok().json
    pipeline = models["columns_of_numbers"]
    assert answer["label"] == pipeline.predict(X).tolist()
    np.testing.assert_allclose(answer["probabilities"], pipeline.predict_proba(X), rtol=1e-4, atol=1e-5)


def test_rows_as_objects(served):
    handler, models = served
    answer = handler.post("/passengers", {"data": FEATURES.to_dict(orient="records")}).ok().json
    check(answer, models["passengers"], FEATURES)


def test_rows_as_arrays_in_the_models_order(served):
    handler, models = served
    answer = handler.post("/passengers", {"data": FEATURES.to_numpy().tolist()}).ok().json
    check(answer, models["passengers"], FEATURES)


def test_columns_as_an_object(served):
    handler, models = served
    answer = handler.post("/passengers", {"data": FEATURES.to_dict(orient="list")}).ok().json
    check(answer, models["passengers"], FEATURES)
    columns = {name: [[value] for value in FEATURES[name].tolist()] for name in FEATURES}
    check(handler.post("/passengers", {"data": columns}).ok().json, models["passengers"], FEATURES)


def test_a_table_as_mlflow_sends_it(served):
    handler, models = served
    shuffled = FEATURES[["fare", "sex", "siblings", "age", "port"]]
    split = shuffled.to_dict(orient="split")
    answer = handler.post("/passengers", {"input_data": split}).ok().json
    check(answer, models["passengers"], FEATURES)
    del split["index"]
    check(handler.post("/passengers", {"input_data": split}).ok().json, models["passengers"], FEATURES)


@pytest.mark.parametrize("member", ["data", "WebServiceInput0", "input1"])
def test_a_table_as_azure_sends_it(served, member):
    handler, models = served
    rows = FEATURES.to_dict(orient="records")
    body = {"Inputs": {member: rows}, "GlobalParameters": {}}
    answer = handler.post("/passengers", body).ok().json
    assert list(answer) == ["Results"]
    check(answer["Results"], models["passengers"], FEATURES)


def test_a_table_as_csv(served):
    handler, models = served
    body = FEATURES.to_csv(index=False).encode()
    check(handler.post("/passengers", body, "text/csv").ok().json, models["passengers"], FEATURES)
    body = FEATURES.to_csv(index=False, header=False).encode()
    check(handler.post("/passengers", body, "text/csv; charset=utf-8").ok().json, models["passengers"], FEATURES)


def test_regression_and_outliers(served):
    handler, models = served
    answer = handler.post("/regression", {"data": X.tolist()}).ok().json
    np.testing.assert_allclose(np.ravel(answer), models["regression"].predict(X), rtol=1e-4)
    answer = handler.post("/outliers", {"data": X.tolist()}).ok().json
    assert np.ravel(answer["label"]).tolist() == models["outliers"].predict(X).tolist()
    np.testing.assert_allclose(np.ravel(answer["scores"]), models["outliers"].decision_function(X), atol=1e-5)


def test_several_targets(served):
    """Probabilities come as a sequence of matrices, one for each target."""
    handler, models = served
    pipeline = models["several"]
    answer = handler.post("/several", {"data": X.tolist()}).ok().json
    assert answer["label"] == pipeline.predict(X).tolist()
    expected = pipeline.predict_proba(X)
    assert len(answer["probabilities"]) == len(expected)
    for got, wanted in zip(answer["probabilities"], expected):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def ask_for_topics(served, name):
    handler, models = served
    texts = [*TEXTS[:4], "Cats and dogs", "Monday's stocks"]
    for body in ({"data": texts}, {"data": [[text] for text in texts]}, {"Inputs": {"data": texts}}):
        answer = handler.post(f"/{name}", body).ok().json
        check(answer.get("Results", answer), models[name], texts)
    split = {"columns": ["text"], "index": list(range(len(texts))), "data": [[text] for text in texts]}
    check(handler.post(f"/{name}", {"input_data": split}).ok().json, models[name], texts)


def test_texts(served):
    ask_for_topics(served, "topics_as_written")


def test_texts_in_lower_case(served):
    """Lower case is a matter of the locale en_US.UTF-8; the handler takes C.UTF-8 where that is missing."""
    ask_for_topics(served, "topics")
