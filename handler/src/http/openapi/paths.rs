//! Paths and their operations.

use score::ModelMetadata;
use serde_json::{Map, Value, json};
use wire::error_form::{self, ErrorForm, Refusal, RefusalKind};
use wire::schema::{open, reference};

use super::{bodies, header_references, texts};
use crate::http::metrics;
use crate::http::route::{PREFIX, Paths};
use crate::models::Models;

/// A name in the components that differs from form to form.
pub(super) fn name_in(form: &ErrorForm, name: &str) -> String {
    format!("{}{name}", form.name)
}

/// The status of a kind of problem, which differs from form to form.
fn status_in(form: &ErrorForm, kind: RefusalKind, status: u16) -> u16 {
    (form.status)(&Refusal {
        kind,
        status,
        code: "",
        message: "",
        target: None,
        request_id: "",
    })
}

/// What may go wrong: status, kind, name in the components, when.
pub(super) const PROBLEMS: [(u16, RefusalKind, &str, &str); 9] = [
    (
        400,
        RefusalKind::Invalid,
        "Invalid",
        "Malformed, or does not fit the model; all rows are scored or none.",
    ),
    (
        404,
        RefusalKind::NotFound,
        "NotFound",
        "No such model or path, or no features under a key.",
    ),
    (
        405,
        RefusalKind::Other,
        "MethodNotAllowed",
        "The path does not take this method.",
    ),
    (
        408,
        RefusalKind::Other,
        "TooSlow",
        "The body came too slowly.",
    ),
    (
        413,
        RefusalKind::TooLarge,
        "TooLarge",
        "Larger than `SCORE_MAX_BODY_BYTES`.",
    ),
    (
        415,
        RefusalKind::Other,
        "UnsupportedType",
        "Of a type that is not understood.",
    ),
    (
        422,
        RefusalKind::Unavailable,
        "FeaturesInvalid",
        "What is stored under a key does not fit the model.",
    ),
    (
        500,
        RefusalKind::Internal,
        "Internal",
        "Failed inside the server.",
    ),
    (
        503,
        RefusalKind::Busy,
        "Unavailable",
        "Models are still being loaded, or too much work is waiting; or this model could not be loaded; or features cannot be read.",
    ),
];
pub(super) const OF_SCORING: &[u16] = &[400, 404, 405, 408, 413, 415, 500, 503];
/// For a model that also takes keys.
const OF_SCORING_BY_KEY: &[u16] = &[400, 404, 405, 408, 413, 415, 422, 500, 503];
pub(super) const OF_ASKING: &[u16] = &[404, 503];

/// All paths: those without a model's name, those of each model, those of the server.
pub(super) fn paths(models: &Models, loaded: &[&ModelMetadata]) -> Map<String, Value> {
    let unnamed = unnamed(models).map(|operations| (PREFIX.to_owned(), operations));
    let named = loaded.iter().flat_map(|metadata| of_model(metadata));
    unnamed
        .into_iter()
        .chain(named)
        .chain(of_server())
        .chain(texts::paths(models, loaded))
        .collect()
}

/// The path without a name is for the default model; without one it lists all. `None` if the default is broken.
fn unnamed(models: &Models) -> Option<Value> {
    if models.default_name().is_none() {
        let describe = Operation::at(PREFIX, "describe", "What all models expect");
        let content = bodies::json(reference("Models"));
        return Some(json!({ "get": describe.asking(content, &[503]) }));
    }
    let metadata = models.get(None).ok()?.metadata();
    let score = Operation::at(PREFIX, "score", "Score with the default model");
    let describe = Operation::at(PREFIX, "describe", "What the default model expects");
    Some(json!({ "post": score.scoring(metadata), "get": describe.describing(metadata) }))
}

fn of_model(metadata: &ModelMetadata) -> [(String, Value); 4] {
    let name = &metadata.name;
    let own = format!("{PREFIX}/{name}");
    let v2 = format!("{PREFIX}/v2/models/{name}");
    let (infer, ready) = (format!("{v2}/infer"), format!("{v2}/ready"));
    let at = |path: &str, verb, summary| Operation::at(path, &format!("{verb}_{name}"), summary);
    let score = at(&own, "score", "Score").scoring(metadata);
    let describe = at(&own, "describe", "What the model expects").describing(metadata);
    let score_v2 = at(&infer, "infer", "Score in the Open Inference Protocol").scoring(metadata);
    let is_ready = at(&ready, "ready", "Whether the model is loaded").of(name);
    let is_ready = is_ready.asking(flag("ready"), OF_ASKING);
    let about = at(&v2, "metadata", "Inputs and outputs of the model").of(name);
    let about = about.asking(bodies::json(reference("ProtocolModel")), OF_ASKING);
    [
        (own, json!({ "post": score, "get": describe })),
        (infer, json!({ "post": score_v2 })),
        (ready, json!({ "get": is_ready })),
        (v2, json!({ "get": about })),
    ]
}

fn of_server() -> [(String, Value); 5] {
    let get = |path, id, summary, content, problems| {
        let path = format!("{PREFIX}/{path}");
        let operation = Operation::at(&path, id, summary).asking(content, problems);
        (path, json!({ "get": operation }))
    };
    let names = ["name", "version"].map(|name| (name, json!({ "type": "string" })));
    let about = bodies::json(open(names, 2));
    let text = json!({ "schema": { "type": "string" } });
    let lines = json!({ metrics::OPEN_METRICS: text, metrics::PLAIN: text });
    let document = bodies::json(json!({ "type": "object" }));
    let (live, ready) = (flag("live"), flag("ready"));
    let (is_live, is_ready) = (
        "Whether the process is running",
        "Whether models are loaded",
    );
    [
        get("v2", "server", "Name and version of the server", about, &[]),
        get("v2/health/live", "live", is_live, live, &[]),
        get("v2/health/ready", "ready", is_ready, ready, &[503]),
        get("metrics", "metrics", "Metrics for Prometheus", lines, &[]),
        get("openapi.json", "openapi", "This document", document, &[503]),
    ]
}

fn flag(name: &str) -> Value {
    bodies::json(open([(name, json!({ "type": "boolean" }))], 1))
}

/// What GET or POST does on one path.
pub(super) struct Operation<'a> {
    id: String,
    summary: &'static str,
    /// The group in which readers see it: a model's name.
    tag: &'a str,
    form: &'static ErrorForm,
}

impl<'a> Operation<'a> {
    /// One of the server as a whole, with errors in the form of its path.
    pub(super) fn at(path: &str, id: &str, summary: &'static str) -> Self {
        Self {
            id: id.to_owned(),
            summary,
            tag: "server",
            form: Paths::BelowPrefix.error_form(path),
        }
    }

    pub(super) fn of(self, model: &'a str) -> Self {
        Self { tag: model, ..self }
    }

    /// A GET answered with this content.
    pub(super) fn asking(self, content: Value, problems: &[u16]) -> Value {
        let answer = json!({
            "description": self.summary,
            "headers": header_references(&["X-Request-Id"]),
            "content": content,
        });
        self.with(answer, problems)
    }

    fn describing(self, metadata: &'a ModelMetadata) -> Value {
        let content = bodies::json(reference("Model"));
        self.of(&metadata.name).asking(content, OF_ASKING)
    }

    /// A POST that scores.
    fn scoring(self, metadata: &'a ModelMetadata) -> Value {
        let name = &metadata.name;
        let component = |kind: &str, part: &str| json!({ "$ref": format!("#/components/{kind}/{name}.{part}") });
        let (request, answer, parameters): (_, _, &[&str]) = match *self.form == error_form::TEXT {
            true => ("protocol", "protocol", &["CacheControl", "JsonLength"]),
            false => ("request", "answer", &["CacheControl"]),
        };
        let parameters = parameters.iter();
        let parameters: Vec<Value> = parameters
            .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
            .collect();
        let answer = component("responses", answer);
        let problems = match metadata.options.features {
            Some(_) => OF_SCORING_BY_KEY,
            None => OF_SCORING,
        };
        let mut operation = self.of(name).with(answer, problems);
        operation["description"] =
            format!("The model takes {}.", metadata.signature.describe_inputs()).into();
        operation["parameters"] = parameters.into();
        operation["requestBody"] = component("requestBodies", request);
        operation
    }

    pub(super) fn with(self, answer: Value, problems: &[u16]) -> Value {
        let mut responses = Map::from_iter([("200".to_owned(), answer)]);
        for (status, kind, name, _) in PROBLEMS {
            if problems.contains(&status) {
                let name = name_in(self.form, name);
                let response = json!({ "$ref": format!("#/components/responses/{name}") });
                let other = match kind {
                    RefusalKind::Invalid => RefusalKind::Empty,
                    kind => kind,
                };
                for kind in [kind, other] {
                    let status = status_in(self.form, kind, status);
                    responses.insert(status.to_string(), response.clone());
                }
            }
        }
        json!({
            "operationId": self.id,
            "summary": self.summary,
            "tags": [self.tag],
            "responses": responses,
        })
    }
}
