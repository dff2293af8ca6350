"""tools/to_onnx.py from outside: what it converts is served, and the handler answers as scikit-learn does."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from harness import ROOT, Handler

CONVERTER = ROOT / "tools/to_onnx.py"


def passengers(rows=150):
    random = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "sex": random.choice(["male", "female"], rows),
            "port": random.choice(["S", "C", "Q, é"], rows),
            "age": random.integers(1, 80, rows) / 2,
            "siblings": random.integers(0, 5, rows),
        }
    )
    answer = np.where((table["sex"] == "female") ^ (random.random(rows) < 0.2), "lived", "died")
    return table, answer


def by_column():
    words = OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer([("words", words, ["sex", "port"]), ("numbers", StandardScaler(), ["age", "siblings"])])


DIGITS, DIGIT = load_digits(return_X_y=True)
DIABETES, PROGRESS = load_diabetes(return_X_y=True, scaled=False)
PASSENGERS, FATES = passengers()
IRIS, IRIS_KINDS = load_iris(return_X_y=True, as_frame=True)
# Thresholds may be values of training, and are rounded to 32 bits in ONNX, so these have no more.
CURVES = pd.DataFrame(np.random.default_rng(3).normal(size=(300, 4)).astype(np.float32), columns=list("abcd"))
CURVE_KINDS = (CURVES["a"] > CURVES["b"] * CURVES["c"]).astype(int)
AWKWARD = PASSENGERS.rename(columns={"sex": "sex (m/f)", "port": "home.port", "age": "age-in-years", "siblings": "年"})


def by_awkward_column():
    words = OneHotEncoder(handle_unknown="ignore")
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([("words", words, ["sex (m/f)", "home.port"]), ("numbers", numbers, ["age-in-years"])])


def with_holes(table, share=0.1):
    return table.mask(np.random.default_rng(7).random(table.shape) < share)


def converted(*arguments):
    return subprocess.run(
        [sys.executable, CONVERTER, *map(str, arguments)], capture_output=True, text=True, timeout=300, env=os.environ
    )


def refused(*arguments):
    """The one line on standard error, of a run that fails."""
    ran = converted(*arguments)
    assert ran.returncode == 1, (ran.stdout, ran.stderr)
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The handler on what the converter made of some estimators."""
    root = tmp_path_factory.mktemp("app")
    estimators = {
        "digits": (LogisticRegression(max_iter=2000).fit(DIGITS, DIGIT), DIGITS, {"header": False}),
        "passengers": (
            make_pipeline(by_column(), LogisticRegression(max_iter=500)).fit(PASSENGERS, FATES), PASSENGERS, {}
        ),
        "diabetes": (RandomForestRegressor(20, random_state=0).fit(DIABETES, PROGRESS), DIABETES, {"header": False}),
        "iris": (make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, IRIS_KINDS), None, {}),
        "awkward": (
            make_pipeline(by_awkward_column(), LogisticRegression(max_iter=500)).fit(AWKWARD, FATES), AWKWARD, {}
        ),
        "holes": (HistGradientBoostingClassifier(max_iter=20).fit(with_holes(CURVES), CURVE_KINDS), CURVES, {}),
    }
    for name, (estimator, rows, form) in estimators.items():
        pickled = root / f"{name}.pkl"
        if name == "diabetes":
            joblib.dump(estimator, pickled, compress=3)
        else:
            pickled.write_bytes(pickle.dumps(estimator))
        arguments = [pickled, "--out", root / "models" / name]
        if rows is not None:
            pd.DataFrame(rows).to_csv(root / f"{name}.csv", index=False, **form)
            arguments += ["--sample", root / f"{name}.csv"]
        ran = converted(*arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert not ran.stderr, ran.stderr
        print(ran.stdout)
    with Handler(root) as handler:
        yield handler, {name: estimator for name, (estimator, *_) in estimators.items()}


# --- other libraries, texts, labels, samples ---

REVIEWS = pd.DataFrame(
    {
        "review": np.random.default_rng(9).choice(["good film", "bad film", "great plot", "awful plot", "no plot"], 120),
        "stars": np.random.default_rng(8).integers(1, 6, 120) * 1.0,
    }
)
PRAISE = np.where(REVIEWS["review"].str.match("good|great"), "praise", "blame")
GRADES = np.array(["low", "middle", "high"])[np.digitize(CURVES["a"], [-0.5, 0.5])]


def boosters():
    """Estimators of other libraries, each with its rows and its target."""
    import catboost
    import lightgbm
    import xgboost

    numbers = np.digitize(CURVES["a"], [-0.5, 0.5])
    return {
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=9, verbose=-1).fit(CURVES, GRADES),
        "lightgbm_numbers": lightgbm.LGBMRegressor(n_estimators=9, verbose=-1).fit(CURVES, CURVES["d"]),
        "xgboost": xgboost.XGBClassifier(n_estimators=9).fit(CURVES, numbers),
        "xgboost_numbers": xgboost.XGBRegressor(n_estimators=9).fit(CURVES, CURVES["d"]),
        "catboost": catboost.CatBoostClassifier(iterations=9, verbose=0).fit(CURVES, numbers),
        "catboost_numbers": catboost.CatBoostRegressor(iterations=9, verbose=0).fit(CURVES, CURVES["d"]),
    }


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    """The handler on other libraries' models, and on models of texts."""
    root = tmp_path_factory.mktemp("more")
    words = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(REVIEWS["review"], PRAISE)
    table = ColumnTransformer([("words", TfidfVectorizer(), "review"), ("stars", StandardScaler(), ["stars"])])
    estimators = {name: (estimator, CURVES) for name, estimator in boosters().items()}
    estimators["words"] = (words, REVIEWS[["review"]])
    estimators["table"] = (make_pipeline(table, LogisticRegression()).fit(REVIEWS, PRAISE), REVIEWS)
    estimators["truth"] = (LogisticRegression().fit(CURVES, CURVES["a"] > 0), CURVES)
    for name, (estimator, rows) in estimators.items():
        (root / f"{name}.pkl").write_bytes(pickle.dumps(estimator))
        rows.to_csv(root / f"{name}.csv", index=False)
        named = ["--labels", "low,middle,high"] if name in ("xgboost", "catboost") else []
        out = ["--out", root / "models" / name, "--sample", root / f"{name}.csv", *named]
        ran = converted(root / f"{name}.pkl", *out)
        assert ran.returncode == 0 and not ran.stderr, ran.stdout + ran.stderr
    with Handler(root) as handler:
        yield handler, {name: estimator for name, (estimator, _) in estimators.items()}


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost"])
def test_boosted_classifiers_of_other_libraries(more, name):
    handler, models = more
    expected = np.ravel(models[name].predict(CURVES))
    if name != "lightgbm":
        expected = np.array(["low", "middle", "high"])[expected]
    rows = CURVES.to_dict(orient="records")
    assert handler.post(f"/{name}", {"data": rows}).ok().json == expected.tolist()
    again = handler.post(f"/{name}", {"data": rows[3:5]}).ok()
    assert again.headers["x-cache"] == "HIT" and again.json == expected[3:5].tolist()


@pytest.mark.parametrize("name", ["lightgbm_numbers", "xgboost_numbers", "catboost_numbers"])
def test_boosted_regressors_of_other_libraries(more, name):
    handler, models = more
    answer = handler.post(f"/{name}", {"data": CURVES.to_numpy().tolist()}).ok().json
    np.testing.assert_allclose(np.ravel(answer), models[name].predict(CURVES), atol=1e-5)
    holes = with_holes(CURVES, 0.3)
    rows = holes.astype(object).where(holes.notna(), None).to_dict(orient="records")
    answer = handler.post(f"/{name}", {"data": rows}).ok().json
    np.testing.assert_allclose(np.ravel(answer), models[name].predict(holes), atol=1e-5)


def test_texts_are_rows_of_one_column_or_columns_of_a_table(more):
    handler, models = more
    expected = models["words"].predict(REVIEWS["review"]).tolist()
    assert handler.post("/words", {"data": REVIEWS[["review"]].to_numpy().tolist()}).ok().json == expected
    assert handler.post("/words", {"data": [["good film"]]}).ok().headers["x-cache"] == "HIT"
    expected = models["table"].predict(REVIEWS).tolist()
    assert handler.post("/table", {"data": REVIEWS.to_dict(orient="records")}).ok().json == expected


def test_probabilities_have_the_names_of_classes(more):
    handler, models = more
    model = models["words"]
    document = handler.get("/words").ok().json
    assert document["outputs"][1]["labels"] == ["blame", "praise"]
    truth = handler.post("/truth", {"data": CURVES.to_numpy().tolist()}).ok().json
    assert truth == [str(one) for one in models["truth"].predict(CURVES)]
    assert document["outputs"][1]["shape"] == [-1, 2] and model.classes_.tolist() == ["blame", "praise"]


def test_the_first_rows_of_the_sample_are_the_models_samples(more):
    handler, _ = more
    document = handler.get("/table").ok().json
    assert document["samples"] == REVIEWS.head(5).to_dict(orient="records")
    assert document["sample_request"] == {"data": [document["samples"][0]]}
    numbers = handler.get("/lightgbm").ok().json["samples"]
    assert numbers == [pytest.approx(row) for row in CURVES.head(5).to_dict(orient="records")]
    assert handler.post("/table", document["sample_request"]).ok()


def test_a_classifier_answers_its_labels(served):
    handler, models = served
    answer = handler.post("/digits", {"data": DIGITS.tolist()}).ok().json
    assert answer == models["digits"].predict(DIGITS).tolist()


def test_mixed_columns_are_inputs_by_name(served):
    handler, models = served
    expected = models["passengers"].predict(PASSENGERS).tolist()
    for data in (PASSENGERS.to_dict(orient="records"), PASSENGERS.to_dict(orient="list"), PASSENGERS.to_numpy().tolist()):
        assert handler.post("/passengers", {"data": data}).ok().json == expected
    first = handler.post("/passengers", {"data": PASSENGERS.to_dict(orient="records")[:1]}).ok().json
    assert first == expected[:1]


def test_probabilities_are_there_to_ask_for(served):
    handler, models = served
    inputs = [
        {"name": name, "shape": [len(PASSENGERS), 1], "data": PASSENGERS[name].tolist(), "datatype": datatype}
        for name, datatype in (("sex", "BYTES"), ("port", "BYTES"), ("age", "FP32"), ("siblings", "INT64"))
    ]
    body = {"inputs": inputs, "outputs": [{"name": "probabilities"}]}
    (output,) = handler.post("/v2/models/passengers/infer", body).ok().json["outputs"]
    got = np.reshape(output["data"], output["shape"])
    np.testing.assert_allclose(got, models["passengers"].predict_proba(PASSENGERS), atol=1e-5)


def test_a_regressor_answers_its_numbers(served):
    handler, models = served
    answer = handler.post("/diabetes", {"data": DIABETES.tolist()}).ok().json
    np.testing.assert_allclose(np.ravel(answer), models["diabetes"].predict(DIABETES), rtol=1e-5)


def test_numeric_columns_are_one_matrix_and_no_sample_is_needed(served):
    handler, models = served
    answer = handler.post("/iris", {"data": IRIS.to_numpy().tolist()}).ok().json
    assert answer == models["iris"].predict(IRIS).tolist()


def test_columns_of_a_matrix_keep_their_names(served):
    handler, models = served
    expected = models["iris"].predict(IRIS).tolist()
    backwards = IRIS[IRIS.columns[::-1]]
    assert handler.post("/iris", {"data": backwards.to_dict(orient="records")}).ok().json == expected
    split = {"columns": list(backwards.columns), "data": backwards.to_numpy().tolist()}
    assert handler.post("/iris", {"input_data": split}).ok().json == expected
    csv = handler.post("/iris", backwards.to_csv(index=False).encode(), "text/csv")
    assert csv.ok().json == expected


def test_names_that_are_no_identifiers_keep_working(served):
    handler, models = served
    expected = models["awkward"].predict(AWKWARD).tolist()
    assert handler.post("/awkward", {"data": AWKWARD.to_dict(orient="records")}).ok().json == expected
    csv = handler.post("/awkward", AWKWARD.to_csv(index=False).encode(), "text/csv")
    assert csv.ok().json == expected


def test_missing_values_are_taken_where_the_estimator_takes_them(served):
    handler, models = served
    holes = with_holes(CURVES, 0.3)
    expected = models["holes"].predict(holes).tolist()
    rows = holes.astype(object).where(holes.notna(), None).to_dict(orient="records")
    assert handler.post("/holes", {"data": rows}).ok().json == expected
    csv = handler.post("/holes", holes.to_csv(index=False).encode(), "text/csv")
    assert csv.ok().json == expected
    years = AWKWARD.assign(**{"age-in-years": None}).to_dict(orient="records")
    assert len(handler.post("/awkward", {"data": years}).ok().json) == len(AWKWARD)
    refusal = handler.post("/iris", {"data": [[None, 1, 2, 3]]})
    assert refusal.status == 400 and "missing" in refusal.json["error"]["message"]


# --- what is refused ---


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pipeline.pkl").write_bytes(
        pickle.dumps(make_pipeline(by_column(), LogisticRegression(max_iter=500)).fit(PASSENGERS, FATES))
    )
    (tmp_path / "matrix.pkl").write_bytes(pickle.dumps(LogisticRegression(max_iter=2000).fit(DIGITS, DIGIT)))
    return tmp_path


def pickled(folder, thing):
    path = folder / "thing.pkl"
    path.write_bytes(pickle.dumps(thing))
    return path


def test_files_that_hold_no_fitted_estimator(folder):
    out = ["--out", folder / "models/m"]
    assert refused(folder / "none.pkl", *out).endswith("none.pkl: no such file")
    (folder / "text.pkl").write_text("this is no pickle")
    assert "cannot be read as a pickle or joblib file" in refused(folder / "text.pkl", *out)
    (folder / "cut.pkl").write_bytes((folder / "matrix.pkl").read_bytes()[:500])
    assert "cannot be read as a pickle or joblib file" in refused(folder / "cut.pkl", *out)
    assert "holds a dict, expected a scikit-learn estimator" in refused(pickled(folder, {"a": 1}), *out)
    assert "LogisticRegression that is not fitted" in refused(pickled(folder, LogisticRegression()), *out)
    assert "StandardScaler, which has no predict()" in refused(pickled(folder, StandardScaler().fit(DIGITS)), *out)
    assert not (folder / "models").exists()


def test_samples_that_do_not_fit(folder):
    out = ["--out", folder / "models/m", "--sample", folder / "sample.csv"]
    assert refused(folder / "matrix.pkl", *out).endswith("sample.csv: No such file or directory")
    (folder / "sample.csv").write_text("1,2,3\n4,5,6\n")
    assert refused(folder / "matrix.pkl", *out).endswith("has 3 columns, the model takes 64")
    (folder / "sample.csv").write_text("")
    assert "cannot be read as CSV" in refused(folder / "matrix.pkl", *out)
    (folder / "sample.csv").write_text("sex,port,age,fate\nmale,S,3,lived\n")
    message = refused(folder / "pipeline.pkl", *out)
    assert message.endswith("(sex, port, age, siblings): it lacks siblings and has also fate")
    (folder / "sample.csv").write_text("sex,port,age,siblings\nmale,,3,1\nmale,S,3,1\n")
    assert "column 'port' of the sample has empty cells" in refused(folder / "pipeline.pkl", *out)
    assert not (folder / "models").exists()


def test_a_header_is_no_row(folder):
    for header in (True, False, [f"p{number}" for number in range(64)]):
        pd.DataFrame(DIGITS[:9]).to_csv(folder / "sample.csv", index=False, header=header)
        ran = converted(folder / "matrix.pkl", "--out", folder / "models/m", "--sample", folder / "sample.csv")
        assert ran.returncode == 0, ran.stderr
        assert "label  against predict() on 9 rows: equal" in ran.stdout


def test_models_that_need_a_sample_or_have_no_converter(folder):
    out = ["--out", folder / "models/m"]
    assert "give rows by --sample" in refused(folder / "pipeline.pkl", *out)
    unknown = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression(max_iter=500)).fit(DIGITS, DIGIT)
    assert "skl2onnx" in refused(pickled(folder, unknown), *out)


def test_answers_that_differ_are_an_error_and_write_nothing(folder):
    ran = converted(folder / "matrix.pkl", "--out", folder / "models/m", "--tolerance", "1e-12")
    assert ran.returncode == 1
    assert "probabilities  against predict_proba() on 256 rows: within" in ran.stdout and "WRONG" in ran.stdout
    assert ran.stderr == "error: the converted model does not agree with scikit-learn; nothing was written\n"
    assert not (folder / "models").exists()


def test_a_model_toml_that_is_there_stays(folder):
    model = folder / "models/m"
    model.mkdir(parents=True)
    (model / "model.toml").write_text("# mine\n")
    for _ in range(2):
        ran = converted(folder / "matrix.pkl", "--out", model)
        assert ran.returncode == 0, ran.stderr
    assert (model / "model.toml").read_text() == "# mine\n"
    assert sorted(path.name for path in Path(model).iterdir()) == ["model.onnx", "model.toml"]


def test_labels_that_do_not_fit_the_classes(folder):
    out = ["--out", folder / "models/m", "--labels", "a,b"]
    assert "--labels has 2 names, and the model knows 10 classes" in refused(folder / "matrix.pkl", *out)
    fitted = LogisticRegression().fit(CURVES, np.where(CURVES["a"] > 0, "up", "down"))
    assert "numbered from 0" in refused(pickled(folder, fitted), *out)
    regressor = RandomForestRegressor(2).fit(DIABETES, PROGRESS)
    assert "--labels is for classifiers" in refused(pickled(folder, regressor), *out)
