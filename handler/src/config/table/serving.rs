//! Models, and how the program serves.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::super::ReadyWhen;
use super::super::setting::Fallback::{Described, Value};
use super::super::setting::{
    Setting, Typed, address, choice, number, optional_number, optional_path, optional_time, path,
    port, text, time,
};
use super::{Group, settings};

settings! { MODELS, "Models":
    MODEL_DIR: PathBuf = path(Setting {
        name: "SCORE_MODEL_DIR",
        aliases: &["AZUREML_MODEL_DIR"],
        default: Value("models"),
        meaning: "The folder of the model folders. A relative path starts at the app root. Azure ML sets the second name.",
        see: "models.md",
        ..Setting::USUAL
    });
    DEFAULT_MODEL: Option<String> = text("the name of a model", Setting {
        name: "SCORE_DEFAULT_MODEL",
        default: Described("the only model"),
        meaning: "The model for requests that do not name one.",
        ..Setting::USUAL
    });
    VERSIONS: usize = number("versions", 1, Setting {
        name: "SCORE_VERSIONS",
        default: Value("1"),
        meaning: "How many versions of a model are served, those with the highest numbers. The highest one answers requests \
                  that name none. `versions` in model.toml has the last word.",
        see: "models.md#versions",
        ..Setting::USUAL
    });
    RELOAD: bool = choice(Setting {
        name: "SCORE_RELOAD",
        default: Value("off"),
        meaning: "`on` watches the folder of models: what is new there is loaded beside what is served, and takes over when it \
                  is ready.",
        see: "models.md#new-models-without-a-restart",
        ..Setting::USUAL
    });
    RELOAD_INTERVAL: Duration = time(Setting {
        name: "SCORE_RELOAD_INTERVAL",
        default: Value("5s"),
        applies: "with `SCORE_RELOAD=on`",
        meaning: "How often the folder is looked at. What has changed is loaded when two looks in a row find it the same.",
        see: "models.md#new-models-without-a-restart",
        ..Setting::USUAL
    });
    READY: ReadyWhen = choice(Setting {
        name: "SCORE_READY",
        default: Value("any"),
        meaning: "When `GET /api/health/ready` says so: `any` when loading has ended and at least one model serves, `all` when \
                  all models do.",
        see: "operations.md#health",
        ..Setting::USUAL
    });
    CUSTOM_OPS: bool = choice(Setting {
        name: "SCORE_CUSTOM_OPS",
        default: Value("off"),
        meaning: "`on` loads the libraries of operators that `custom_ops` in model.toml names. They are native code and run \
                  with all rights of the process.",
        see: "models.md",
        ..Setting::USUAL
    });
    RUNTIME_LIBRARY: Option<PathBuf> = optional_path(Setting {
        name: "ORT_DYLIB_PATH",
        default: Described("beside the program"),
        meaning: "The shared library of ONNX Runtime, version 1.24 or newer. Without the setting the handler looks for it \
                  beside the program, in the app root and in the app root's folder `bin`.",
        ..Setting::USUAL
    });
    SESSIONS: Option<usize> = optional_number("sessions", 1, Setting {
        name: "SCORE_SESSIONS",
        default: Described("by size"),
        meaning: "Sessions of each model; each computes one run at a time on one thread. By size: one session for each core, \
                  and for models of 64 MiB or more a single session that uses all cores, because every session holds a copy \
                  of the weights.",
        ..Setting::USUAL
    });
    LOAD_TIMEOUT: Duration = time(Setting {
        name: "SCORE_LOAD_TIMEOUT",
        default: Value("30s"),
        meaning: "How long a request waits for models that are still loading.",
        ..Setting::USUAL
    });
}

settings! { LISTENING, "Listening":
    PORT: u16 = port(Setting {
        name: "SCORE_PORT",
        default: Value("7071"),
        applies: "without a Functions host",
        meaning: "The port to listen on. A Functions host chooses the port itself.",
        ..Setting::USUAL
    });
    BIND: Option<IpAddr> = address(Setting {
        name: "SCORE_BIND",
        default: Value("127.0.0.1"),
        applies: "without a Functions host",
        meaning: "The address to listen on; `0.0.0.0` for all IPv4 addresses of the machine.",
        ..Setting::USUAL
    });
    BIND_TIMEOUT: Duration = time(Setting {
        name: "SCORE_BIND_TIMEOUT",
        default: Value("5s"),
        meaning: "How long the start waits for a port that another process still holds.",
        ..Setting::USUAL
    });
    DRAIN_TIMEOUT: Duration = time(Setting {
        name: "SCORE_DRAIN_TIMEOUT",
        default: Value("800ms"),
        meaning: "How long requests may take to finish after SIGTERM or SIGINT.",
        ..Setting::USUAL
    });
    DRAIN_DELAY: Option<Duration> = optional_time(Setting {
        name: "SCORE_DRAIN_DELAY",
        default: Described("none"),
        applies: "without a Functions host",
        meaning: "How long the program goes on serving after SIGTERM or SIGINT while it says that it is not ready, so that load \
                  balancers stop sending requests first.",
        see: "operations.md#health",
        ..Setting::USUAL
    });
    THREADS: Option<usize> = optional_number("threads", 1, Setting {
        name: "SCORE_THREADS",
        default: Described("number of cores"),
        meaning: "Threads that read requests and write answers. A connection stays on one of them.",
        ..Setting::USUAL
    });
    MAX_CONNECTIONS: Option<usize> = optional_number("connections", 1, Setting {
        name: "SCORE_MAX_CONNECTIONS",
        default: Described("2048, or fewer"),
        meaning: "Open connections. At the limit, the one that has gone longest without a complete request is closed for a new \
                  one. It has to stay 128 below the number of files that the process may open (`ulimit -n`); the default is \
                  2,048 or, where fewer files are allowed, that much.",
        ..Setting::USUAL
    });
    HEADER_TIMEOUT: Duration = time(Setting {
        name: "SCORE_HEADER_TIMEOUT",
        default: Value("20s"),
        meaning: "How long path, query and headers of a request may take from their first byte; then the connection is closed.",
        ..Setting::USUAL
    });
    BODY_TIMEOUT: Duration = time(Setting {
        name: "SCORE_BODY_TIMEOUT",
        default: Value("5s"),
        meaning: "How long the sender of a body may pause, or fall behind `SCORE_MIN_RATE`, before the request is refused with \
                  status 408. The whole body has to come within `SCORE_TIMEOUT`.",
        ..Setting::USUAL
    });
    SEND_TIMEOUT: Duration = time(Setting {
        name: "SCORE_SEND_TIMEOUT",
        default: Value("30s"),
        meaning: "How long a client may take nothing of an answer, or fall behind `SCORE_MIN_RATE`, before the connection is \
                  closed.",
        ..Setting::USUAL
    });
    MIN_RATE: u64 = number("bytes per second", 1, Setting {
        name: "SCORE_MIN_RATE",
        default: Value("240"),
        meaning: "How fast bodies have to come and answers have to be taken. The time in which the handler does not read does \
                  not count.",
        ..Setting::USUAL
    });
    PAGE: bool = choice(Setting {
        name: "SCORE_PAGE",
        default: Value("on"),
        meaning: "Whether browsers get the page where a person can try a model.",
        ..Setting::USUAL
    });
    ENVELOPES: bool = choice(Setting {
        name: "SCORE_ENVELOPES",
        default: Value("off"),
        applies: "without a Functions host",
        meaning: "For tests alone: `on` takes the envelopes that a Functions host would send (`POST /score_queue` with `Host: \
                  127.0.0.1:<port>`) from every caller that reaches the port.",
        ..Setting::USUAL
    });
}
