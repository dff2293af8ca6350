"""Serves models with the installed wheel as a user does: check.py PATH_OF_SCORE_ONNX"""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests/data/models"
COMMAND = Path(sys.argv[1]).absolute()
HERE = Path(tempfile.mkdtemp(prefix="a folder "))


def run(*arguments, command=COMMAND, **variables):
    # An address that nothing listens at: the program asks no proxy.
    environment = {"PATH": os.environ["PATH"], "https_proxy": "http://127.0.0.1:1", **variables}
    return subprocess.run([command, *arguments], cwd=HERE, env=environment, capture_output=True, text=True, timeout=60)


def answer(model, body, command=(COMMAND,)):
    """What the model answers, served by one command; and that Ctrl-C ends it as a whole."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    child = subprocess.Popen([*command, "serve", model, "--port", str(port)], cwd=HERE, stdout=subprocess.PIPE, text=True)
    try:
        for line in child.stdout:
            if "ready: http://127.0.0.1:" in line:
                break
        else:
            raise AssertionError("it ended")
        name = Path(model).stem
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/score/{name}", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            result = json.load(reply)
        seconds = time.monotonic() - started
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 0
    with socket.socket() as left:
        assert left.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED, "a child was left behind"
    print(f"{model}: answered {seconds:.2f} s after the start")
    return result


def serves():
    shutil.copy(MODELS / "affine.onnx", HERE / "a file.onnx")
    said = run("serve", "a file.onnx")
    assert said.returncode == 1 and "a model's name may hold letters" in said.stderr, said
    shutil.copy(MODELS / "affine.onnx", HERE / "affine.onnx")
    body = {"data": [[1.0, 2.0, 3.0]]}
    assert answer("affine.onnx", body) == [[3.0, 5.0, 7.0]]
    (HERE / "folder").mkdir()
    shutil.copy(MODELS / "affine.onnx", HERE / "folder/any.onnx")
    assert answer("folder", body, (COMMAND.with_name("python"), "-m", "score_onnx")) == [[3.0, 5.0, 7.0]]
    shutil.copytree(ROOT / "tests/data/text/tiny", HERE / "tiny")
    link = HERE / "link"
    link.symlink_to(COMMAND)
    [vector] = answer("tiny", {"data": ["The ferry leaves at noon."]}, (link,))
    assert len(vector) > 3


def refuses():
    for arguments, code, reason in [
        (["serve", "nowhere.onnx"], 1, "there is no such file or folder"),
        (["serve", "--prot", "1"], 2, "a similar argument exists: '--port'"),
        (["--nothing"], 2, "Usage: score-onnx"),
    ]:
        said = run(*arguments)
        assert said.returncode == code and reason in said.stderr, said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = run("serve", "affine.onnx", "--port", port, SCORE_BIND_TIMEOUT="1ms")
    assert said.returncode == 1 and "another port is chosen by SCORE_PORT, or by --port" in said.stderr, said
    said = run("serve", "affine.onnx", ORT_DYLIB_PATH="/nowhere.so")
    assert said.returncode == 1 and "/nowhere.so" in said.stderr, said
    assert run("settings").returncode == 0


def tells_why_it_cannot_start():
    """With the package in a folder of its own, without onnxruntime, and with programs of other systems."""
    [package] = COMMAND.parent.parent.glob("lib/python*/site-packages/score_onnx")
    alone = HERE / "alone"
    shutil.copytree(package, alone / "score_onnx")
    python = Path(sys.base_prefix, "bin/python3")

    def said(program=None):
        if program is not None:
            (alone / "score_onnx/handler").write_bytes(program)
        return run("-m", "score_onnx", "serve", "affine.onnx", command=python, PYTHONPATH=str(alone), PYTHONNOUSERSITE="1")

    missing = run("-S", "-m", "score_onnx", "serve", "affine.onnx", command=python, PYTHONPATH=str(alone))
    assert missing.returncode == 1 and "pip install 'onnxruntime>=1.24'" in missing.stderr, missing
    assert "built for another processor" in said(b"\x7fELF of another processor").stderr
    assert "this system has no glibc" in said(b"#!/lib/ld-musl-x86_64.so.1\n").stderr
    (alone / "score_onnx/handler").chmod(0o644)
    assert "mode 755" in said().stderr and said().returncode == 1


serves()
refuses()
tells_why_it_cannot_start()
shutil.rmtree(HERE)
