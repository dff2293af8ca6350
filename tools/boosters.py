"""The estimators of other libraries that to_onnx.py takes: LightGBM, XGBoost and CatBoost."""

import tempfile
from importlib import import_module
from pathlib import Path

import onnx
from skl2onnx import update_registered_converter
from sklearn.pipeline import Pipeline

# Estimators of other libraries: module, class, the module of the converter in onnxmltools, its function, and skl2onnx's shapes.
BOOSTERS = [
    ("lightgbm", "LGBMClassifier", "lightgbm.operator_converters.LightGbm", "convert_lightgbm", "LightGbm"),
    ("lightgbm", "LGBMRegressor", "lightgbm.operator_converters.LightGbm", "convert_lightgbm", "LightGbm"),
    ("xgboost", "XGBClassifier", "xgboost.operator_converters.XGBoost", "convert_xgboost", "XGBoost"),
    ("xgboost", "XGBRegressor", "xgboost.operator_converters.XGBoost", "convert_xgboost", "XGBoost"),
]


class Mistake(Exception):
    """What is wrong, in one line."""


def first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def steps(estimator):
    return [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]


def is_catboost(estimator):
    return type(estimator).__module__.split(".")[0] == "catboost"


def register(estimator):
    """Tells skl2onnx of the converters of onnxmltools that this model needs."""
    last = steps(estimator)[-1]
    for package, name, module, function, shapes in BOOSTERS:
        if type(last).__name__ != name or type(last).__module__.split(".")[0] != package:
            continue
        try:
            converter = getattr(import_module(f"onnxmltools.convert.{module}"), function)
            from onnxmltools.convert.common import data_types  # noqa: F401, registers its types
            from skl2onnx.common.shape_calculator import (
                calculate_linear_classifier_output_shapes,
                calculate_linear_regressor_output_shapes,
            )
        except ImportError as error:
            raise Mistake(f"{name} needs a converter: pip install onnxmltools ({first_line(error)})") from error
        if package == "xgboost":  # whose converter takes no names; what the pickle has stays as it is
            last.get_booster().feature_names = None
        classifier = name.endswith("Classifier")
        calculator = calculate_linear_classifier_output_shapes if classifier else calculate_linear_regressor_output_shapes
        options = {"nocl": [True, False], "zipmap": [True, False, "columns"]} if classifier else {}
        if package == "lightgbm" and not classifier:
            options = {"split": None}
        update_registered_converter(type(last), shapes + name, calculator, converter, options=options)


def catboost_to_onnx(estimator):
    """As CatBoost writes it; probabilities come as a list of maps, whose values are numbered by class."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        estimator.save_model(str(path), format="onnx", export_parameters={"onnx_graph_name": "model"})
        model = onnx.load(path)
    graph = model.graph
    maps = [node for node in graph.node if node.op_type == "ZipMap"]
    for node in maps:  # a matrix instead, as the other converters write it
        graph.node.remove(node)
        kept = [output for output in graph.output if output.name not in node.output]
        del graph.output[:]
        matrix = onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, [None, len(estimator.classes_)])
        graph.output.extend([*kept, matrix])
    graph.input[0].name, old = "x", graph.input[0].name
    for node in graph.node:
        node.input[:] = ["x" if name == old else name for name in node.input]
    return model
