"""Turns a fitted scikit-learn estimator into a model folder, and checks that both give the same answers.

Run:    pip install skl2onnx onnxruntime        # into the environment that trained the model: scikit-learn 1.2 or newer
        pip install pandas                      # too, if the model was trained on a table with names
        pip install onnxmltools                 # too, for LightGBM, XGBoost and CatBoost, also as the last step of a pipeline
        python tools/to_onnx.py model.pkl --out models/iris --sample sample.csv
Reads:  a pickle or joblib file, which runs code of its own when it is read: take only files that you trust;
        rows to compare on, as CSV; a header is needed if the estimator knows its columns by name
Writes: model.onnx; samples.json, the first rows of the sample; and model.toml unless there is one: the label as the answer
        of a classifier, labels, the names of columns, and whether missing values may be sent. Nothing if the answers differ
Exits:  0 if the answers agree, 1 if they do not or something is wrong, 2 if the arguments make no sense
"""

import argparse
import csv
import json
import os
import pickle
import re
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import onnx
import onnxruntime
import sklearn
from skl2onnx import to_onnx
from skl2onnx.common import tree_ensemble
from skl2onnx.common.data_types import BooleanTensorType, FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from agreement import compare, holed
from boosters import Mistake, catboost_to_onnx, first_line, is_catboost, register, steps

try:
    import pandas as pd
except ImportError:  # tables alone need it
    pd = None

OPSETS = {"": 18, "ai.onnx.ml": 3}
GENERATED_ROWS = 256
KNOWS_NAMES = "the model was trained on a table and knows its columns by name"
SAMPLES = 5
COLUMN_TYPES = {"b": (bool, BooleanTensorType), "i": (np.int64, Int64TensorType), "f": (np.float32, FloatTensorType)}
MODEL_TOML = """\
# The answer is the label; take this line out, or add "probabilities", for more.
outputs = ["label"]
"""


def with_whole_numbers(add_node):
    """protobuf takes no truth value for an integer any more, and skl2onnx gives one in histogram gradient boosting."""
    def add(*arguments, nodes_missing_value_tracks_true=False, **others):
        return add_node(*arguments, nodes_missing_value_tracks_true=int(nodes_missing_value_tracks_true), **others)
    return add


tree_ensemble.add_node = with_whole_numbers(tree_ensemble.add_node)

def load(path):
    """The fitted estimator in a pickle or joblib file."""
    if not path.is_file():
        raise Mistake(f"{path}: no such file")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(path)
        except ModuleNotFoundError as error:
            raise Mistake(f"{path} needs the Python module {error.name!r}, which is not installed") from error
        except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, ImportError) as error:
            raise Mistake(f"{path} cannot be read as a pickle or joblib file: {first_line(error)}") from error
    for warning in caught:
        # Before scikit-learn 1.3 it is a plain UserWarning, whose text has the version.
        written = getattr(warning.message, "original_sklearn_version", None)
        told = re.search(r"from version (\S+) when using version", str(warning.message))
        if written or told:
            written = written or told.group(1)
            print(f"warning: {path} was written by scikit-learn {written}, this is {sklearn.__version__}", file=sys.stderr)
            break
    if not isinstance(estimator, BaseEstimator) and not is_catboost(estimator):
        raise Mistake(f"{path} holds a {type(estimator).__name__}, expected a scikit-learn estimator")
    if not hasattr(estimator, "predict"):
        raise Mistake(f"{path} holds a {type(estimator).__name__}, which has no predict()")
    try:
        if is_catboost(estimator):
            return from_catboost(path, estimator)
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise Mistake(f"{path} holds a {type(estimator).__name__} that is not fitted") from error
    return estimator


def from_catboost(path, estimator):
    """CatBoost's own exporter takes numbers alone."""
    if not estimator.is_fitted():
        raise Mistake(f"{path} holds a {type(estimator).__name__} that is not fitted")
    if estimator.get_cat_feature_indices() or estimator.get_text_feature_indices():
        raise Mistake("CatBoost writes no ONNX for categorical or text features; encode them as numbers before, and fit again")
    return estimator


def columns_of(estimator):
    """The names that the estimator knows its columns by; none if it was fitted without."""
    if is_catboost(estimator):  # it numbers what has no names
        names = list(estimator.feature_names_)
        return [] if names == [str(number) for number in range(len(names))] else names
    return list(getattr(estimator, "feature_names_in_", []))


def width_of(estimator):
    if is_catboost(estimator):
        return len(estimator.feature_names_)
    return getattr(estimator, "n_features_in_", None)


def read_sample(path, estimator):
    """The rows of a CSV file as a table whose columns are the estimator's."""
    names = columns_of(estimator)
    if pd is None:
        return checked(path, read_without_pandas(path, names), estimator)
    try:
        table = pd.read_csv(path)
        if not names and numbers_only(list(table.columns)):
            table = pd.read_csv(path, header=None)
    except OSError as error:
        raise Mistake(f"{path}: {error.strerror or first_line(error)}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise Mistake(f"{path} cannot be read as CSV: {first_line(error)}") from error
    if table.empty:
        raise Mistake(f"{path} has no rows")
    given = {}
    if type(steps(estimator)[-1]).__module__.startswith("lightgbm"):  # which has underscores for spaces
        given = {str(name).replace(" ", "_"): str(name) for name in table.columns if name not in names}
        table = table.rename(columns={name: own for own, name in given.items()})
    if names:
        missing = [name for name in names if name not in table.columns]
        unknown = [name for name in table.columns if name not in names]
        if missing or unknown:
            parts = [f"{word} {', '.join(map(str, found))}" for word, found in (("lacks", missing), ("has also", unknown)) if found]
            raise Mistake(f"{path} does not have the model's columns ({', '.join(names)}): it {' and '.join(parts)}")
        table.attrs["given"] = [given.get(name, name) for name in names]
        return table[names]
    return checked(path, table, estimator)


def checked(path, table, estimator):
    """The same rows, if there are as many columns as the estimator takes."""
    if (expected := width_of(estimator)) is not None and table.shape[1] != expected:
        raise Mistake(f"{path} has {table.shape[1]} columns, the model takes {expected}")
    return table


def read_without_pandas(path, names):
    """The cells of a CSV file as a matrix of numbers, else of texts."""
    if names:
        raise Mistake(f"{KNOWS_NAMES} ({', '.join(names)}): pip install pandas")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except OSError as error:
        raise Mistake(f"{path}: {error.strerror or first_line(error)}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise Mistake(f"{path} cannot be read as CSV: {first_line(error)}") from error
    lines = lines[0 if lines and numbers_only(lines[0]) else 1:]
    if not lines:
        raise Mistake(f"{path} has no rows")
    if len({len(line) for line in lines}) > 1:
        raise Mistake(f"{path} cannot be read as CSV: its lines have different numbers of cells")
    try:
        return np.array([[float(cell or "nan") for cell in line] for line in lines])
    except ValueError:
        return np.array(lines, dtype=object)


def numbers_only(header):
    """Whether a first line is a row and no header. pandas puts .1, .2 behind what occurs twice when it reads."""
    if header == [str(number) for number in range(len(header))]:  # what pandas writes over columns without names
        return False
    try:
        return bool([float(".".join(name.split(".")[:2])) for name in header])
    except ValueError:
        return False


def generated(estimator):
    """Rows of random numbers, for estimators that say how many they take."""
    count = width_of(estimator)
    if count is None or selects_columns(estimator):
        raise Mistake("this model takes more than a row of numbers; give rows by --sample")
    random = np.random.default_rng(0)
    rows = random.normal(size=(GENERATED_ROWS, count)) * random.choice([0.1, 1, 10], size=(GENERATED_ROWS, 1))
    names = columns_of(estimator)
    if names and pd is None:
        raise Mistake(f"{KNOWS_NAMES}: pip install pandas")
    return pd.DataFrame(rows, columns=names) if names else rows


def selects_columns(estimator):
    return any(isinstance(step, ColumnTransformer) for step in steps(estimator))


def arguments(estimator, table, whole=True):
    """The rows for predict() as they are, and as ONNX gets them; what ONNX Runtime takes; and skl2onnx's types of it. Columns of
    whole numbers stay such unless the converter wants numbers of one kind."""
    if hasattr(steps(estimator)[0], "build_analyzer"):  # a vectorizer takes a list of texts
        if table.shape[1] != 1:
            raise Mistake(f"the sample has {table.shape[1]} columns, the model takes one column of texts")
        texts = (table if pd is None else table.to_numpy()).astype(str).astype(object)
        return [texts[:, 0].tolist()], {"text": texts}, [("text", StringTensorType([None, 1]))]
    if is_numeric(table) and not selects_columns(estimator):
        x = np.asarray(table, np.float32)
        given = [np.asarray(table, np.float64), x]
        # XGBoost refuses a table once its names are gone, see register()
        if columns_of(estimator) and not hasattr(steps(estimator)[-1], "get_booster"):
            given = [table, pd.DataFrame(x, columns=table.columns)]
        return given, {"x": x}, [("x", FloatTensorType([None, x.shape[1]]))]
    if not hasattr(estimator, "feature_names_in_"):
        raise Mistake("the sample holds texts, but the model does not know its columns by name; fit it on a DataFrame")
    rounded, types = table.copy(), []
    for name in table:
        kind = table[name].dtype.kind
        dtype, tensor = COLUMN_TYPES.get("f" if kind == "i" and not whole else kind, (object, StringTensorType))
        if dtype is object and table[name].isna().any():
            raise Mistake(f"column {name!r} of the sample has empty cells; ONNX has no missing texts")
        rounded[name] = table[name].astype(dtype)
        types.append((name, tensor([None, 1])))
    return [table, rounded], {name: column(rounded[name]) for name in rounded}, types


def is_numeric(table):
    return all(kind.kind in "bif" for kind in ([table.dtype] if isinstance(table, np.ndarray) else table.dtypes))


def column(series):
    return series.to_numpy().reshape(-1, 1)


def renamed(names, data):
    """The model's inputs by the column each is; skl2onnx changes names that are no identifiers, and keeps their order."""
    inputs = [value.name for value in onnx.load_from_string(data).graph.input]
    if len(inputs) != len(names):
        raise Mistake(f"skl2onnx has made other inputs ({', '.join(inputs)}) of the columns ({', '.join(names)})")
    columns = dict(zip(inputs, names))
    for name, old in columns.items():
        if name != old and old in inputs:
            raise Mistake(f"columns {old!r} and {columns[old]!r} cannot be told apart in ONNX; rename one and fit again")
    return columns


def classifies(estimator):
    if is_catboost(estimator):
        return hasattr(estimator, "predict_proba")
    return is_classifier(estimator)


class Converted:
    """The model as ONNX, what it was tried on, and what came of that. Columns of whole numbers stay such if `whole`."""

    def __init__(self, estimator, table, tolerance, whole=True):
        self.rows, feed, self.types = arguments(estimator, table, whole)
        self.data = convert(estimator, self.types)
        self.columns = renamed([name for name, _ in self.types], self.data)
        self.feed = {name: feed[old] for name, old in self.columns.items()}
        self.outputs = run(self.data, self.feed)
        self.found = list(compare(estimator, self.rows, self.outputs, tolerance))
        self.is_right = all(agrees for *_, agrees in self.found)

    @classmethod
    def of(cls, estimator, table, tolerance):
        """With whole numbers as floats where they stand beside others and the converter makes something else of that."""
        try:
            first, mistake = cls(estimator, table, tolerance), None
        except Mistake as error:
            first, mistake = None, error
        whole = any(isinstance(tensor, Int64TensorType) for _, tensor in arguments(estimator, table)[2])
        if whole and not (first and first.is_right):
            try:
                second = cls(estimator, table, tolerance, whole=False)
                if second.is_right:
                    return second
            except Mistake:  # what the first try says is nearer to the model
                pass
        if mistake:
            raise mistake
        return first


def from_sklearn(estimator, types):
    """Scalers divide as scikit-learn does: multiplied by the inverse, a row may fall on the other side of a tree's threshold."""
    scalers = {StandardScaler: {"div": "div"}}
    classifier = id(steps(estimator)[-1])
    matrix = {classifier: {"zipmap": False}} if classifies(estimator) else {}
    try:
        return to_onnx(estimator, initial_types=types, options={**scalers, **matrix}, target_opset=OPSETS)
    except NameError:  # LinearSVC has no such option, and gets it in a pipeline unless another one is given
        return to_onnx(estimator, initial_types=types, options={**scalers, classifier: {"nocl": False}}, target_opset=OPSETS)


def convert(estimator, types):
    """The model as ONNX, with probabilities as a matrix."""
    for step in steps(estimator):
        if hasattr(step, "flatten_transform"):  # of transform() alone, and unknown to skl2onnx
            step.flatten_transform = False
    try:
        register(estimator)
        model = catboost_to_onnx(estimator) if is_catboost(estimator) else from_sklearn(estimator, types)
    except Mistake:
        raise
    except (MissingConverter, MissingShapeCalculator) as error:
        raise Mistake(f"skl2onnx cannot convert this model: {first_line(error)}") from error
    except Exception as error:  # converters fail in their own ways
        raise Mistake(f"skl2onnx failed on this model ({type(error).__name__}): {first_line(error)}") from error
    versions = {entry.domain: entry.version for entry in model.opset_import}
    del model.opset_import[:]  # the converter may name a domain twice
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())
    return model.SerializeToString()


def run(data, feed):
    try:
        try:
            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        except Exception as error:
            if "locale" not in str(error):
                raise
            session = onnxruntime.InferenceSession(with_plain_locale(data), providers=["CPUExecutionProvider"])
        return dict(zip((output.name for output in session.get_outputs()), session.run(None, feed)))
    except Exception as error:  # the runtime's errors share no base class
        raise Mistake(f"ONNX Runtime refuses the converted model: {first_line(error)}") from error


def with_plain_locale(data):
    """The same model for systems without en_US.UTF-8; the rules for letters are those of C.UTF-8."""
    model = onnx.load_from_string(data)
    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            node.attribute.append(onnx.helper.make_attribute("locale", "C.UTF-8"))
    return model.SerializeToString()


def takes_missing(estimator, rows, feed, columns, data, tolerance):
    """The inputs whose values may be NaN: the estimator takes that in every column, and both answer the same."""
    for name, values in feed.items():
        if values.dtype != np.float32:
            continue
        count, width = max(len(values), values.shape[1] + 1), values.shape[1]
        chosen = np.arange(count) % len(values)
        holes = np.eye(count, width, dtype=bool)
        holes[width] = True  # and one row without any value
        some = {other: given[chosen] for other, given in feed.items()}
        some[name] = np.where(holes, np.nan, some[name]).astype(np.float32)
        tables = [holed(one, columns[name], chosen, holes) for one in rows]
        try:
            if all(agrees for *_, agrees in compare(estimator, tables, run(data, some), tolerance)):
                yield name
        except Mistake:  # one of the two refuses missing values
            continue


def labels_of(estimator, given):
    """Labels for the numbers that the model answers with, and the names of all classes; None where there is nothing to name."""
    if not classifies(estimator):
        if given:
            raise Mistake("--labels is for classifiers")
        return None, None
    classes = steps(estimator)[-1].classes_ if is_catboost(estimator) else estimator.classes_
    if any(np.ndim(one) for one in classes):  # several outputs
        return None, None
    classes = np.asarray(classes)
    if given:
        if len(given) != len(classes):
            raise Mistake(f"--labels has {len(given)} names, and the model knows {len(classes)} classes: {classes.tolist()}")
        if classes.tolist() != list(range(len(classes))):
            raise Mistake(f"--labels is for classes that are numbered from 0; this model's are {classes.tolist()}")
        return given, given
    if classes.dtype == bool:
        return [str(one) for one in classes], [str(one) for one in classes]
    if classes.dtype.kind in "OU":
        return None, [str(one) for one in classes]
    return None, None


def model_toml(estimator, outputs, labels, columns, missing):
    """What the server has to know beside the model: of every input the columns it is made of, a list if it is a matrix."""
    text = ""
    if classifies(estimator):
        label, *others = outputs
        text = MODEL_TOML.replace('"label"', quoted(label)).replace('"probabilities"', quoted((others or ["probabilities"])[0]))
        numbers, names = labels
        if numbers:
            text += f"labels = {quoted(numbers)}\n"
        if names and others:
            text += f"\n[output.{key(others[0])}]\nlabels = {quoted(names)}\n"
    for name, old in columns.items():
        lines = []
        if isinstance(old, list):
            lines.append(f"columns = {quoted(old)}")
        elif old != name:
            lines.append(f"aliases = {quoted([old])}")
        if name in missing:
            lines.append('missing = "nan"')
        if lines:
            text += "\n".join(["", f"[inputs.{key(name)}]", *lines, ""])
    return text.lstrip("\n")


def key(name):
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


def samples_json(feed, columns):
    """The first rows as they stand in {"data": [...]}."""
    rows = []
    for index in range(min(SAMPLES, len(next(iter(feed.values()))))):
        row = {}
        for name, values in feed.items():
            cells = [written(cell) for cell in values[index]]
            names = columns[name] if isinstance(columns[name], list) else None
            row[name] = cells if names is None and len(cells) > 1 else dict(zip(names, cells)) if names else cells[0]
        only = next(iter(row.values()))
        rows.append(only if len(row) == 1 and isinstance(only, (list, dict)) else [only] if len(row) == 1 else row)
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def written(cell):
    """A cell for JSON: numbers with the fewest digits that tell them apart from others of 32 bits."""
    if not isinstance(cell, np.floating):
        return cell.item() if isinstance(cell, np.generic) else cell
    return None if np.isnan(cell) else float(str(cell))


def quoted(names):
    """Strings of JSON are strings of TOML."""
    return json.dumps(names, ensure_ascii=False).replace("\x7f", "\\u007f")


def write(folder, data, options, samples):
    """By renames, so that a server that is just starting never reads half a model."""
    files = {folder / "samples.json": samples.encode()} if samples else {}
    files[folder / "model.onnx"] = data
    if options and not (folder / "model.toml").exists():
        files[folder / "model.toml"] = options.encode()
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(content)
        os.replace(new, path)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="pickle or joblib file of a fitted estimator")
    parser.add_argument("--out", type=Path, required=True, help="the model's folder, such as models/iris")
    parser.add_argument("--sample", type=Path, help="CSV file of rows to compare on; random numbers if not given")
    parser.add_argument("--labels", type=lambda text: text.split(","), help="names of classes that are numbered from 0: cat,dog,owl")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="for numbers, relative above 1 (default 1e-4)")
    options = parser.parse_args()

    estimator = load(options.model)
    labels = labels_of(estimator, options.labels)
    table = read_sample(options.sample, estimator) if options.sample else generated(estimator)
    names = columns_of(estimator)
    model = Converted.of(estimator, table, options.tolerance)
    feed, columns, told = model.feed, model.columns, model.columns
    if list(feed) == ["x"] and names and not selects_columns(estimator):
        columns, told = {"x": names}, {"x": table.attrs.get("given", names)}

    print(f"model    {' > '.join(type(step).__name__ for step in steps(estimator))}, scikit-learn {sklearn.__version__}")
    missing = list(takes_missing(estimator, model.rows, feed, columns, model.data, options.tolerance))
    for (name, old), (_, tensor) in zip(columns.items(), model.types):
        shape = ", ".join("N" if size is None else str(size) for size in tensor.shape)
        kind = type(tensor).__name__.removesuffix("TensorType").lower()
        also = f", also called {old!r}" if old != name and isinstance(old, str) else ""
        print(f"input    {name}  {kind} [{shape}]{also}{', values may be missing' if name in missing else ''}")
    for name, method, found, agrees in model.found:
        print(f"output   {name}  against {method}() on {len(table)} rows: {found}{'' if agrees else '  WRONG'}")
    if not model.is_right:
        raise Mistake("the converted model does not agree with scikit-learn; nothing was written")
    text = model_toml(estimator, list(model.outputs), labels, told, missing)
    samples = samples_json(feed, told) if options.sample else ""
    for path, content in write(options.out, model.data, text, samples).items():
        print(f"written  {path} ({len(content)} bytes)")


if __name__ == "__main__":
    onnxruntime.set_default_logger_severity(4)  # what it refuses is told once
    warnings.filterwarnings("ignore")
    try:
        main()
    except (Mistake, OSError) as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(1)
