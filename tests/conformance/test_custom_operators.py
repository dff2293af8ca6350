"""A model with operators of onnxruntime-extensions, whose library lies beside it."""

import shutil
import subprocess
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import onnx
import pytest

import harness
from harness import Handler

# The package's library is one for Python: without Python around it, it finds Python's functions here.
PYTHON_LIBRARY = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("INSTSONAME")


def library():
    (found,) = [file for file in distribution("onnxruntime-extensions").files if file.name.endswith(".so")]
    return found.locate()


def upper():
    text = onnx.TensorProto.STRING
    node = onnx.helper.make_node("StringUpper", ["x"], ["y"], domain="ai.onnx.contrib")
    model = harness.graph_model([node], [("x", text, ["n"])], [("y", text, ["n"])])
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.contrib", 1))
    return model


@pytest.fixture
def app(tmp_path):
    harness.save(tmp_path, "upper", upper(), 'custom_ops = "operators.so"')
    shutil.copy(library(), tmp_path / "models/upper/operators.so")
    harness.save(tmp_path, "same", harness.identity("FP32", ["n"]))
    return tmp_path


ALLOWED = {"SCORE_CUSTOM_OPS": "on", "LD_PRELOAD": str(PYTHON_LIBRARY)}


def test_the_operators_compute_where_the_setting_allows_it(app):
    with Handler(app, ALLOWED) as handler:
        for cache in ("MISS", "HIT"):
            answer = handler.post("/upper", {"data": ["straße", "Ünnecessary", ""]}).ok()
            assert answer.json[1:] == ["ÜNNECESSARY", ""] and answer.headers["x-cache"] == cache
    with Handler(app) as handler:
        answer = handler.post("/upper", {"data": ["a"]})
        assert answer.status == 503 and b"SCORE_CUSTOM_OPS=on" in answer.body
        assert handler.post("/same", {"data": [1]}).ok().json == [1]


def test_the_library_is_packaged_and_checked(app):
    def package(*arguments):
        command = [harness.PROGRAM, "package", "--model", app / "models/upper", "--trigger", "http", "--out", app / "out"]
        environment = {"ORT_DYLIB_PATH": str(harness.RUNTIME), **ALLOWED}
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)

    done = package("--allow-glibc", "9.0")
    assert done.returncode == 0, done.stderr
    assert (app / "out/models/upper/operators.so").read_bytes() == library().read_bytes()
    assert "SCORE_CUSTOM_OPS" in (app / "out/app-settings.json").read_text()
