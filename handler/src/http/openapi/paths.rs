//! Paths and their operations.

use score::ModelMetadata;
use serde_json::{Map, Value, json};

use super::schema::{open, reference};
use super::{bodies, header_references};
use crate::app::Models;
use crate::http::route::PREFIX;
use crate::metrics;

/// How a path writes its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// As the Open Inference Protocol has it.
    Protocol,
}

impl Form {
    /// A name in the components that differs from form to form.
    pub(super) fn name(self, name: &str) -> String {
        match self {
            Self::Plain => name.to_owned(),
            Self::Protocol => format!("Protocol{name}"),
        }
    }
}

/// What may go wrong: status, name in the components, when.
pub(super) const PROBLEMS: [(u16, &str, &str); 7] = [
    (
        400,
        "Invalid",
        "Malformed, or does not fit the model; all rows are scored or none.",
    ),
    (404, "NotFound", "No such model or path."),
    (405, "MethodNotAllowed", "The path does not take this method."),
    (413, "TooLarge", "Larger than `SCORE_MAX_BODY_BYTES`."),
    (415, "UnsupportedType", "Of a type that is not understood."),
    (500, "Internal", "Failed inside the server."),
    (
        503,
        "Unavailable",
        "Models are still being loaded, or too much work is waiting; or this model could not be loaded.",
    ),
];
const OF_SCORING: [u16; 7] = [400, 404, 405, 413, 415, 500, 503];
const OF_ASKING: [u16; 2] = [404, 503];

/// All paths: those without a model's name, those of each model, those of the server.
pub(super) fn paths(models: &Models, loaded: &[&ModelMetadata]) -> Map<String, Value> {
    let unnamed = unnamed(models).map(|operations| (PREFIX.to_owned(), operations));
    let named = loaded.iter().flat_map(|metadata| of_model(metadata));
    let server = of_server().into_iter();
    let server = server.map(|(path, operation)| (path, json!({ "get": operation })));
    unnamed.into_iter().chain(named).chain(server).collect()
}

/// The path without a name is for the default model; without one it lists all. `None` if the default is broken.
fn unnamed(models: &Models) -> Option<Value> {
    if models.default_name().is_none() {
        let answer = bodies::json(reference("Models"));
        let get = Get::new("describe", "What all models expect", answer);
        return Some(json!({ "get": get.operation() }));
    }
    let metadata = models.get(None).ok()?.metadata();
    Some(json!({
        "post": scoring("score", "Score with the default model", metadata, Form::Plain),
        "get": describing("describe", "What the default model expects", metadata),
    }))
}

fn of_model(metadata: &ModelMetadata) -> [(String, Value); 4] {
    let name = &metadata.name;
    let id = |verb: &str| format!("{verb}_{name}");
    let v2 = format!("{PREFIX}/v2/models/{name}");
    let protocol = Get {
        model: Some(name),
        form: Form::Protocol,
        problems: &OF_ASKING,
        ..Get::new(&id("metadata"), "Metadata of the model", bodies::json(reference("ProtocolModel")))
    };
    let ready = Get {
        model: Some(name),
        form: Form::Protocol,
        problems: &OF_ASKING,
        ..Get::new(&id("ready"), "Whether the model is loaded", flag("ready"))
    };
    let score = scoring(&id("score"), "Score", metadata, Form::Plain);
    let describe = describing(&id("describe"), "What the model expects", metadata);
    let infer = scoring(&id("infer"), "Score in the Open Inference Protocol", metadata, Form::Protocol);
    [
        (format!("{PREFIX}/{name}"), json!({ "post": score, "get": describe })),
        (format!("{v2}/infer"), json!({ "post": infer })),
        (format!("{v2}/ready"), json!({ "get": ready.operation() })),
        (v2, json!({ "get": protocol.operation() })),
    ]
}

fn of_server() -> [(String, Value); 6] {
    let names = ["name", "version"].map(|name| (name, json!({ "type": "string" })));
    let figures = json!({ metrics::CONTENT_TYPE: { "schema": { "type": "string" } } });
    let document = bodies::json(json!({ "type": "object" }));
    let protocol = |id, summary, answer| Get {
        form: Form::Protocol,
        ..Get::new(id, summary, answer)
    };
    let ready = Get {
        problems: &[503],
        ..protocol("ready", "Whether models are loaded", flag("ready"))
    };
    let all = [
        ("/v2", protocol("server", "Name and version of the server", bodies::json(open(names, 2)))),
        ("/v2/health/live", protocol("live", "Whether the process lives", flag("live"))),
        ("/v2/health/ready", ready),
        ("/metrics", Get::new("metrics", "Figures for Prometheus", figures)),
        (
            "/openapi.json",
            Get {
                problems: &[503],
                ..Get::new("openapi", "This document", document)
            },
        ),
    ];
    all.map(|(path, get)| (format!("{PREFIX}{path}"), get.operation()))
}

fn flag(name: &str) -> Value {
    bodies::json(open([(name, json!({ "type": "boolean" }))], 1))
}
