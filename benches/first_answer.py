#!/usr/bin/env python3
"""Measures how long it takes to a first answer, in a fresh clone and in fresh venvs, beside BentoML and Azure ML's inference server.

first_answer.py [PART ...], the parts being clone, wheel, own, text, bentoml, azureml. Needs the wheel of `make wheel` and, for text, the model of
`scripts/make-minilm.sh`. Packages are downloaded each time; crates are taken from cargo's own cache. Prints a table: seconds by the clock, and
seconds of processor time, which say more where the machine has other work.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "target/first-answer"
PORT = "7599"
PIP = "pip install --quiet --no-cache-dir --disable-pip-version-check"
IRIS = b'{"data": [[5.1, 3.5, 1.4, 0.2]]}'
TEXT = b'{"data": ["The ferry leaves at noon."]}'

TRAIN = """
import pickle
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
pickle.dump(LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True)), open("iris.pkl", "wb"))
"""

# The entry script of Azure ML, and the service class of BentoML's quickstart.
SCORE = """
import json
import pickle

def init():
    global model
    model = pickle.load(open("iris.pkl", "rb"))

def run(body):
    return model.predict(json.loads(body)["data"]).tolist()
"""
SERVICE = """
import pickle
import bentoml
import numpy as np

@bentoml.service
class Iris:
    def __init__(self):
        self.model = pickle.load(open("iris.pkl", "rb"))

    @bentoml.api
    def predict(self, data: np.ndarray) -> np.ndarray:
        return self.model.predict(data)
"""


class Clock:
    """Time by the clock and processor time of the commands that have ended."""

    def __init__(self):
        self.rows = []

    def measure(self, what, do):
        started, used = time.monotonic(), processor_seconds()
        do()
        self.rows.append((what, time.monotonic() - started, processor_seconds() - used))
        print("%-60s %7.1f s  %7.1f s of processor time" % self.rows[-1], flush=True)

    def run(self, what, command, folder=WORK, **variables):
        environment = {**os.environ, **variables}
        self.measure(what, lambda: subprocess.run(command, shell=True, check=True, cwd=folder, env=environment, stdout=sys.stderr))

    def serve(self, what, command, path, body, folder=WORK, **variables):
        self.measure(what, lambda: answer(command, path, body, folder, {**os.environ, **variables}))


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def answer(command, path, body, folder, environment):
    """Starts a server and asks it until it answers."""
    log = (WORK / "server.log").open("wb")
    server = subprocess.Popen(command, shell=True, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", body, {"content-type": "application/json"})
    try:
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    reply.read()
                return
            except ConnectionError:
                pass
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionError):
                    raise
            if server.poll() is not None:
                sys.exit(f"{command} ended: {log.name}")
            time.sleep(0.02)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGINT)
            server.wait(timeout=30)


def clone(clock):
    folder = WORK / "clone"
    build = f"git clone --quiet --local {ROOT} clone && clone/scripts/build.sh --quick"
    clock.run("make run: clone and build", build, CARGO_TARGET_DIR=str(folder / "target"))
    seven = (ROOT / "examples/mnist/seven.json").read_bytes()
    clock.serve("make run: first answer", "scripts/run.sh", "/api/score", seven, folder, SCORE_PORT=PORT)


def venv(clock, name, packages):
    clock.run(f"{name}: venv, pip install {packages}", f"python3 -m venv {name} && {name}/bin/{PIP} {packages}")


def wheel_file():
    [file] = (ROOT / "dist").glob("score_onnx-*.whl")
    return file


def wheel(clock):
    venv(clock, "wheel", wheel_file())
    clock.serve(
        "wheel: first answer of the sample model",
        f"wheel/bin/score-onnx serve {ROOT}/models/mnist --port {PORT}",
        "/api/score",
        (ROOT / "examples/mnist/seven.json").read_bytes(),
    )


def text(clock):
    venv(clock, "text", wheel_file())
    model = ROOT / "target/minilm/models/minilm"
    clock.serve("text: first vector", f"text/bin/score-onnx serve {model} --port {PORT}", "/api/score", TEXT)


def trained(name):
    subprocess.run([WORK / name / "bin/python", "-c", TRAIN], check=True, cwd=WORK)


def own(clock):
    venv(clock, "own", f"scikit-learn skl2onnx pandas {wheel_file()}")
    trained("own")
    shutil.rmtree(WORK / "models", ignore_errors=True)
    clock.run("own: conversion by tools/to_onnx.py", f"own/bin/python {ROOT}/tools/to_onnx.py iris.pkl --out models/iris")
    clock.serve("own: first answer", f"own/bin/score-onnx serve models/iris --port {PORT}", "/api/score", IRIS)


def bentoml(clock):
    venv(clock, "bentoml", "scikit-learn bentoml")
    trained("bentoml")
    (WORK / "service.py").write_text(SERVICE)
    command = f"bentoml/bin/bentoml serve service:Iris --port {PORT}"
    clock.serve("bentoml: first answer", command, "/predict", IRIS, BENTOML_HOME=str(WORK / "home"), BENTOML_DO_NOT_TRACK="True")


def azureml(clock):
    venv(clock, "azureml", "scikit-learn azureml-inference-server-http")
    trained("azureml")
    (WORK / "score.py").write_text(SCORE)
    clock.serve("azureml: first answer", f"azureml/bin/azmlinfsrv --entry_script score.py --port {PORT}", "/score", IRIS)


PARTS = {part.__name__: part for part in (clone, wheel, own, text, bentoml, azureml)}


def main(names):
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    clock = Clock()
    for name in names or PARTS:
        PARTS[name](clock)


main(sys.argv[1:])
