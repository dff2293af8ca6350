"""The kinds of server that are measured: how each is started and asked."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import ROOT, WORK

LIMIT = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/limit"
LIBRARY = ROOT / "bin/libonnxruntime.so.1"
SAMPLE_MODELS = ROOT / "models"
# The three models side by side; of one of them alone the sample folder is enough.
ALL_MODELS = WORK / "models"
PEERS = ROOT / "benches/peers"


@dataclass(frozen=True)
class Place:
    """What a server is told when it starts."""

    options: object
    port: int
    redis: str
    dead: str


def model_file(model):
    return (SAMPLE_MODELS if model == "mnist" else ALL_MODELS) / model / "model.onnx"


def handler(other=False, **settings):
    """The handler, or the other one it is compared with; `redis` and `dead` in a setting stand for addresses."""

    def start(place):
        env = {
            name: value.format(redis=f"redis://{place.redis}", dead=f"redis://{place.dead}")
            for name, value in settings.items()
        }
        every = {"SCORE_MODEL_DIR": str(ALL_MODELS), "SCORE_DEFAULT_MODEL": "mnist"} if ALL_MODELS.exists() else {}
        # A machine that stands still for a moment is no news; the usual budget would turn a hit into a miss then.
        every["REDIS_TIMEOUT"] = "2s"
        every["SCORE_ENVELOPES"] = "on"
        env = {"REDIS_URL": f"redis://{place.redis}", "SCORE_PORT": str(place.port), **every, **env}
        if other:
            return [str(place.options.against)], env
        return [str(place.options.handler)], {**env, **dict(place.options.set)}

    return start


def limit(mode, model="mnist"):
    def start(place):
        redis = ["--redis", place.redis] if mode == "redis" else []
        command = [str(LIMIT), "serve", "--mode", mode, "--port", str(place.port), *redis]
        return [*command, "--model", str(model_file(model)), "--library", str(LIBRARY)], {}

    return start


def node(model="mnist", **env):
    def start(place):
        more = {name: value.format(redis=place.redis) for name, value in env.items()}
        command = ["node", str(WORK / "node/server.js")]
        return command, {"PORT": str(place.port), "MODEL": str(model_file(model)), **more}

    return start


def azureml(model="mnist", **env):
    def start(place):
        more = {name: value.format(redis=place.redis) for name, value in env.items()}
        command = [sys.executable, str(PEERS / "azureml/serve.py"), str(place.port)]
        return command, {
            "PYTHONPATH": str(WORK / "azureml"),
            "AML_APP_ROOT": str(PEERS / "azureml"),
            "AZUREML_ENTRY_SCRIPT": str(PEERS / "azureml/score.py"),
            "MODEL_FILE": str(model_file(model)),
            **more,
        }

    return start


@dataclass(frozen=True)
class Kind:
    """One way to serve."""

    # Whose column its figures belong to.
    who: str
    # Of a Place: command and environment.
    command: Callable
    # The models it answers for.
    models: tuple = ("mnist",)
    # Log lines that are as they should be.
    quiet: tuple = (" INFO ",)
    # What its log says if this build does not know the setting it is about, which is no failure.
    refusal: str | None = None
    # Whether its answers say what became of the look-up.
    tells_cache: bool = True
    # Whether it answers with blanks between the labels.
    spaced: bool = False
    # Processes beside the one that is started.
    workers: int = 0
    # Counters of its metrics that have to stay 0.
    counters: tuple = ()

    @property
    def lasts(self):
        """Whether it stays for all rounds, because its code gets faster as it runs."""
        return self.workers > 0


OURS, OTHER, LIMIT_NAME, NODE, AZUREML = "score", "other", "limit", "node", "azureml"
TALKS = ("",)
EVERY = ("mnist", "mlp", "convnet")
SOUND = ("score_cache_damaged_total", "score_cache_redis_errors_total", "score_cache_dropped_writes_total")


def handlers(who, other=False):
    """The kinds of handler by name."""
    no_l1 = {"SCORE_L1_BYTES": "0"}
    down = handler(other, **no_l1, REDIS_URL="{dead}")
    auto = handler(other, **no_l1, SCORE_CACHE_POLICY="auto")
    return {
        "l1": Kind(who, handler(other), EVERY, counters=SOUND),
        "redis": Kind(who, handler(other, **no_l1), EVERY, counters=SOUND),
        "off": Kind(who, handler(other, SCORE_CACHE_POLICY="off"), EVERY),
        "down": Kind(who, down, quiet=(" INFO ", "redis cannot be used")),
        "auto": Kind(who, auto, EVERY, refusal="setting SCORE_CACHE_POLICY", counters=SOUND),
    }


KINDS = {
    **handlers(OURS),
    **{f"{OTHER} {name}": kind for name, kind in handlers(OTHER, other=True).items()},
    "limit l1": Kind(LIMIT_NAME, limit("l1")),
    "limit redis": Kind(LIMIT_NAME, limit("redis")),
    "limit run": Kind(LIMIT_NAME, limit("run")),
    "limit mlp": Kind(LIMIT_NAME, limit("redis", "mlp"), ("mlp",)),
    "limit convnet": Kind(LIMIT_NAME, limit("redis", "convnet"), ("convnet",)),
    "node": Kind(NODE, node(REDIS="{redis}"), workers=2),
    "node off": Kind(NODE, node(), workers=2),
    "node mlp": Kind(NODE, node("mlp", REDIS="{redis}"), ("mlp",), workers=2),
    "node convnet": Kind(NODE, node("convnet", REDIS="{redis}"), ("convnet",), workers=2),
    "azureml": Kind(AZUREML, azureml(REDIS_ADDRESS="{redis}"), quiet=TALKS, tells_cache=False, spaced=True, workers=2),
    "azureml off": Kind(AZUREML, azureml(), quiet=TALKS, tells_cache=False, spaced=True, workers=2),
}


def score_path(kind, form, model):
    """Where a server takes a request."""
    if form == "envelope":
        return "/score_http"
    if form.startswith("V2"):
        return f"/api/score/v2/models/{model}/infer"
    if KINDS[kind].who == AZUREML:
        return "/score"
    if KINDS[kind].who in (OURS, OTHER) and model != "mnist":
        return f"/api/score/{model}"
    return "/api/score"
