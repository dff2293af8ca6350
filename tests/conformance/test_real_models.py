"""Models that other projects ship in their Python packages: several inputs, scalars, pictures of any size."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import harness
from harness import Handler, assert_same, infer_binary, infer_json


def packaged(package, pattern):
    """A file of an installed package, which need not be importable without what it depends on."""
    folder = Path(importlib.util.find_spec(package).origin).parent
    (found,) = folder.glob(pattern)
    return found


FILES = {
    "magika": ("magika", "models/standard*/model.onnx"),
    "silero": ("silero_vad", "data/silero_vad.onnx"),
    "silero_16k": ("silero_vad", "data/silero_vad_16k_op15.onnx"),
    "silero_ifless": ("silero_vad", "data/silero_vad_op18_ifless.onnx"),
    "text_detection": ("rapidocr", "models/*_det_*.onnx"),
    "text_recognition": ("rapidocr", "models/*_rec_*.onnx"),
    "text_direction": ("rapidocr", "models/*_cls_*.onnx"),
}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    files = {name: harness.save(root, name, packaged(*where)) for name, where in FILES.items()}
    with Handler(root) as handler:
        yield handler, {name: harness.session(file) for name, file in files.items()}


def both_ways(served, name, inputs, ask=infer_binary):
    handler, sessions = served
    expected = harness.run(sessions[name], inputs)
    assert_same(ask(handler, name, inputs), expected, **CLOSE)
    return expected


def file_features(content):
    """What magika looks at: the first and the last 1024 bytes, padded with 256."""
    first, last = list(content[:1024].lstrip()), list(content[-1024:].rstrip())
    row = first + [256] * (1024 - len(first)) + [256] * (1024 - len(last)) + last
    return np.array(row, dtype=np.int32)


def test_kinds_of_files(served):
    handler, sessions = served
    contents = [Path(__file__).read_bytes(), (harness.ROOT / "README.md").read_bytes(),
                (harness.ROOT / "Cargo.toml").read_bytes(), (harness.ROOT / "handler/src/lib.rs").read_bytes()]
    x = np.stack([file_features(content) for content in contents])
    outputs = both_ways(served, "magika", {"bytes": x})["target_label"]
    assert len(set(outputs.argmax(axis=1))) == len(contents)
    both_ways(served, "magika", {"bytes": x}, infer_json)
    answer = handler.post("/magika", {"data": x.tolist()}).ok().json
    np.testing.assert_allclose(answer, outputs, **CLOSE)
    answer = handler.post("/magika", x.tobytes(), "application/octet-stream").ok().json
    np.testing.assert_allclose(answer, outputs, **CLOSE)


def speech(samples):
    """Something with the pitch and the syllables of a voice."""
    t = np.arange(samples) / 16000
    voice = sum(np.sin(2 * np.pi * 120 * harmonic * t) / harmonic for harmonic in range(1, 20))
    noise = np.random.default_rng(0).normal(size=samples) * 0.01
    return (0.1 * voice * (1 + np.sin(2 * np.pi * 4 * t)) + noise).astype(np.float32)


@pytest.mark.parametrize("ask", [infer_binary, infer_json])
@pytest.mark.parametrize("name", ["silero", "silero_16k", "silero_ifless"])
def test_voice_activity_with_a_state_and_a_scalar(served, name, ask):
    state = np.zeros((2, 1, 128), dtype=np.float32)
    rate = np.array(16000, dtype=np.int64)
    for window in speech(576 * 10).reshape(10, 1, 576):
        outputs = both_ways(served, name, {"input": window, "state": state, "sr": rate}, ask)
        state = outputs["stateN"]


def test_voice_activity_as_an_object(served):
    handler, sessions = served
    inputs = {
        "input": speech(576).reshape(1, 576),
        "state": np.zeros((2, 1, 128), dtype=np.float32),
        "sr": np.array(16000, dtype=np.int64),
    }
    expected = harness.run(sessions["silero"], inputs)
    body = {"data": {name: harness.nested(array) for name, array in inputs.items()}}
    answer = handler.post("/silero", body).ok().json
    for name, array in expected.items():
        np.testing.assert_allclose(harness.as_given(answer[name], array), array, **CLOSE)


def picture(width, height, text="conformance 1234"):
    """A line of text as the OCR models take it: channels first, from -1 to 1."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((4, height // 4), text, fill="black", font_size=height // 2)
    values = np.asarray(image, dtype=np.float32) / 127.5 - 1
    return np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])


@pytest.mark.parametrize("width, height", [(320, 96), (96, 160)])
def test_text_detection(served, width, height):
    both_ways(served, "text_detection", {"x": picture(width, height)})


@pytest.mark.parametrize("width", [160, 320])
def test_text_recognition(served, width):
    both_ways(served, "text_recognition", {"x": picture(width, 48)})


def test_text_recognition_of_several_lines(served):
    lines = [picture(200, 48, text) for text in ("one", "two", "three")]
    both_ways(served, "text_recognition", {"x": np.concatenate(lines)})


def test_text_direction(served):
    x = np.concatenate([picture(192, 48), picture(192, 48)[:, :, ::-1, ::-1]])
    both_ways(served, "text_direction", {"x": x})
    both_ways(served, "text_direction", {"x": x}, infer_json)
