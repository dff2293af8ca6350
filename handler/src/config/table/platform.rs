//! Logs, traces, and what the platform sets.

use std::path::PathBuf;
use std::time::Duration;

use super::super::LogFormat;
use super::super::setting::Fallback::{Described, Value};
use super::super::setting::{
    Kind, Secret, Setting, Typed, choice, log_filter, optional_port, path, text, time,
};
use super::{Group, settings};

settings! { LOGS, "Logs":
    LOG: LogFormat = choice(Setting {
        name: "SCORE_LOG",
        default: Value("text"),
        meaning: "The form of log lines: `text` for people, `json` for one JSON object per line.",
        see: "observability.md",
        ..Setting::USUAL
    });
    LOG_SLOW: Duration = time(Setting {
        name: "SCORE_LOG_SLOW",
        default: Value("1s"),
        meaning: "Requests, messages and blobs that take this long or longer are logged with the time of each step.",
        ..Setting::USUAL
    });
    LOG_FILTER: String = log_filter(Setting {
        name: "SCORE_LOG_FILTER",
        kind: Kind::Text("filter directives such as info or score=debug"),
        default: Value("info"),
        meaning: "Which events are logged, in the syntax of `RUST_LOG`. It adds to `info`: `debug` has a line for each \
                  request, `redis_store=debug` more about Redis alone, and a level without a name, such as `warn`, replaces \
                  `info`. Events of libraries appear only where the filter names the library, as in `fred=debug`.",
        ..Setting::USUAL
    });
}

settings! { TRACES, "Traces":
    OTLP_ENDPOINT: Option<String> = text("an http or https URL", Setting {
        name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        aliases: &["OTEL_EXPORTER_OTLP_ENDPOINT"],
        meaning: "The collector that receives traces. `/v1/traces` is appended to the second one. Without either no traces \
                  are made.",
        see: "observability.md#traces",
        secret: Secret::InAddress,
        ..Setting::USUAL
    });
    OTLP_PROTOCOL: Option<String> = of_traces("http/protobuf", Setting {
        name: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        aliases: &["OTEL_EXPORTER_OTLP_PROTOCOL"],
        default: Described("http/protobuf"),
        meaning: "The protocol to the collector. With another one the log has a warning and no traces are exported.",
        ..Setting::USUAL
    });
    OTLP_TIMEOUT: Option<String> = of_traces("milliseconds", Setting {
        name: "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        aliases: &["OTEL_EXPORTER_OTLP_TIMEOUT"],
        default: Described("10000"),
        meaning: "How long one request to the collector may take, in milliseconds and without a unit.",
        ..Setting::USUAL
    });
    OTLP_HEADERS: Option<String> = of_traces("a list such as name=value,name=value", Setting {
        name: "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        aliases: &["OTEL_EXPORTER_OTLP_HEADERS"],
        meaning: "Headers of the requests to the collector, such as an API key.",
        secret: Secret::Whole,
        ..Setting::USUAL
    });
    OTEL_SDK_DISABLED: Option<String> = of_traces("true or false", Setting {
        name: "OTEL_SDK_DISABLED",
        default: Described("false"),
        meaning: "`true` exports no traces.",
        ..Setting::USUAL
    });
    OTEL_TRACES_EXPORTER: Option<String> = of_traces("otlp or none", Setting {
        name: "OTEL_TRACES_EXPORTER",
        default: Described("otlp"),
        meaning: "`none` exports no traces.",
        ..Setting::USUAL
    });
    OTEL_TRACES_SAMPLER: Option<String> = of_traces("the name of a sampler", Setting {
        name: "OTEL_TRACES_SAMPLER",
        default: Described("parentbased_always_on"),
        meaning: "Which traces are exported: `always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`, \
                  which follows the sender's decision.",
        ..Setting::USUAL
    });
    OTEL_TRACES_SAMPLER_ARG: Option<String> = of_traces("a ratio from 0 to 1", Setting {
        name: "OTEL_TRACES_SAMPLER_ARG",
        default: Described("1"),
        applies: "with a sampler by ratio",
        meaning: "The share of traces that are exported.",
        ..Setting::USUAL
    });
    OTEL_SERVICE_NAME: Option<String> = of_traces("text", Setting {
        name: "OTEL_SERVICE_NAME",
        default: Described("score"),
        meaning: "The name of the service in every span.",
        ..Setting::USUAL
    });
    OTEL_RESOURCE_ATTRIBUTES: Option<String> = of_traces("a list such as name=value,name=value", Setting {
        name: "OTEL_RESOURCE_ATTRIBUTES",
        meaning: "Further attributes of the service in every span.",
        ..Setting::USUAL
    });
    OTEL_BSP_SCHEDULE_DELAY: Option<String> = of_traces("milliseconds", Setting {
        name: "OTEL_BSP_SCHEDULE_DELAY",
        default: Described("5000"),
        meaning: "The time between two batches of spans, in milliseconds and without a unit.",
        ..Setting::USUAL
    });
    OTEL_BSP_MAX_QUEUE_SIZE: Option<String> = of_traces("a number of spans", Setting {
        name: "OTEL_BSP_MAX_QUEUE_SIZE",
        default: Described("2048"),
        meaning: "How many spans wait to be exported; further ones are dropped.",
        ..Setting::USUAL
    });
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: Option<String> = of_traces("a number of spans", Setting {
        name: "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        default: Described("512"),
        meaning: "How many spans one batch holds.",
        ..Setting::USUAL
    });
    OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: Option<String> = of_traces("a number of attributes", Setting {
        name: "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        default: Described("128"),
        meaning: "How many attributes one span holds.",
        ..Setting::USUAL
    });
    OTEL_SPAN_LINK_COUNT_LIMIT: Option<String> = of_traces("a number of links", Setting {
        name: "OTEL_SPAN_LINK_COUNT_LIMIT",
        default: Described("128"),
        meaning: "How many links one span holds.",
        ..Setting::USUAL
    });
}

settings! { PLATFORM, "Set by the platform":
    HOST_PORT: Option<u16> = optional_port(Setting {
        name: "FUNCTIONS_CUSTOMHANDLER_PORT",
        aliases: &["FUNCTIONS_HTTPWORKER_PORT"],
        applies: "under a Functions host",
        meaning: "The port on which the host expects the handler, always on 127.0.0.1. The second name comes from older hosts.",
        ..Setting::USUAL
    });
    APP_ROOT: PathBuf = path(Setting {
        name: "FUNCTIONS_APP_ROOT_PATH",
        default: Value("."),
        meaning: "The folder of host.json, of the function folders and of the models.",
        ..Setting::USUAL
    });
    CORE_TOOLS: Option<String> = text("text", Setting {
        name: "FUNCTIONS_CORETOOLS_ENVIRONMENT",
        applies: "under a Functions host",
        meaning: "Set by `func start`, whose envelopes are framed differently from those of a host on Azure.",
        ..Setting::USUAL
    });
    IDENTITY_ENDPOINT: Option<String> = text("a URL", Setting {
        name: "IDENTITY_ENDPOINT",
        applies: "with `REDIS_AUTH=entra`",
        meaning: "Where an app with a managed identity gets its tokens. Without it the sign-in of `az` or `azd` is used.",
        secret: Secret::InAddress,
        ..Setting::USUAL
    });
    IDENTITY_HEADER: Option<String> = text("text", Setting {
        name: "IDENTITY_HEADER",
        applies: "with `REDIS_AUTH=entra`",
        meaning: "The secret by which the app proves its identity to that endpoint.",
        secret: Secret::Whole,
        ..Setting::USUAL
    });
    SSL_CERT_FILE: Option<String> = text("a path", Setting {
        name: "SSL_CERT_FILE",
        default: Described("the system's certificates"),
        applies: "with Redis and TLS, with large blobs, and with an https collector",
        meaning: "A PEM file that replaces the certificate authorities of the system.",
        ..Setting::USUAL
    });
    SSL_CERT_DIR: Option<String> = text("a path", Setting {
        name: "SSL_CERT_DIR",
        default: Described("the system's certificates"),
        applies: "with Redis and TLS, with large blobs, and with an https collector",
        meaning: "A folder of PEM files that replaces the certificate authorities of the system.",
        ..Setting::USUAL
    });
}

/// A variable of OpenTelemetry's specification that matters where traces are exported.
const fn of_traces(form: &'static str, setting: Setting) -> Typed<Option<String>> {
    let applies = match setting.applies.is_empty() {
        true => "with a collector",
        false => setting.applies,
    };
    text(form, Setting { applies, ..setting })
}
