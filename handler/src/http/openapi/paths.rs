//! Paths and their operations.

use score::ModelMetadata;
use serde_json::{Map, Value, json};
use warp::http::Method;
use wire::error_form::{ErrorForm, Refusal, RefusalKind};
use wire::schema::reference;

use super::bodies::{self, Part};
use super::{Form, header_references, protocols, texts};
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
pub(super) const PROBLEMS: [(u16, RefusalKind, &str, &str); 11] = [
    (
        400,
        RefusalKind::Invalid,
        "Invalid",
        "Malformed, or does not fit the model; all rows are scored or none.",
    ),
    (
        401,
        RefusalKind::Other,
        "Unauthorized",
        "Without a key, or with none of this server's.",
    ),
    (
        403,
        RefusalKind::Other,
        "Forbidden",
        "By a name that is not one of this server's, or for a page of another site.",
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
pub(super) fn paths(models: &Models, loaded: &[&ModelMetadata], form: Form) -> Map<String, Value> {
    let unnamed = unnamed(models).map(|operations| (PREFIX.to_owned(), operations));
    let named = loaded.iter().flat_map(|metadata| of_model(metadata, form));
    unnamed
        .into_iter()
        .chain(named)
        .chain(of_server(form))
        .chain(protocols::of_server(models, form))
        .chain(texts::paths(models, loaded, form))
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
    let score = score.scoring(metadata, Part::Own);
    Some(json!({ "post": score, "get": describe.describing(metadata) }))
}

fn of_model(metadata: &ModelMetadata, form: Form) -> Vec<(String, Value)> {
    let name = &metadata.name;
    let own = format!("{PREFIX}/{name}");
    let at = |verb, summary| Operation::at(&own, &format!("{verb}_{name}"), summary);
    let score = at("score", "Score").scoring(metadata, Part::Own);
    let describe = at("describe", "What the model expects").describing(metadata);
    let mut paths = protocols::of_model(metadata, form);
    paths.push((own, json!({ "post": score, "get": describe })));
    paths
}

fn of_server(form: Form) -> [(String, Value); 2] {
    let get = |path, id, summary, content, problems| {
        let path = format!("{PREFIX}/{path}");
        let operation = Operation::at(&path, id, summary).asking(content, problems);
        (path, json!({ "get": operation }))
    };
    // Without parameters, behind which generators do not look for text.
    let types =
        [metrics::PLAIN, metrics::OPEN_METRICS].map(|ty| ty.split(';').next().unwrap_or(ty));
    let types = types.iter().take(if form == Form::All { 2 } else { 1 });
    let lines = types.map(|ty| ((*ty).to_owned(), json!({ "schema": { "type": "string" } })));
    let lines = Value::Object(lines.collect());
    let document = bodies::json(json!({ "type": "object", "additionalProperties": true }));
    [
        get("metrics", "metrics", "Metrics for Prometheus", lines, &[]),
        get("openapi.json", "openapi", "This document", document, &[503]),
    ]
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
    pub(super) fn scoring(self, metadata: &'a ModelMetadata, part: Part) -> Value {
        let name = &metadata.name;
        let component = |kind: &str, part: &str| json!({ "$ref": format!("#/components/{kind}/{name}.{part}") });
        let (request, answer) = part.names();
        let parameters: &[&str] = match part {
            Part::Protocol => &["CacheControl", "JsonLength"],
            Part::Own => &["CacheControl"],
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
        add_problems(&mut responses, self.form, problems);
        json!({
            "operationId": self.id,
            "summary": self.summary,
            "tags": [self.tag],
            "responses": responses,
        })
    }
}

fn add_problems(responses: &mut Map<String, Value>, form: &ErrorForm, problems: &[u16]) {
    for (status, kind, name, _) in PROBLEMS {
        if problems.contains(&status) {
            let name = name_in(form, name);
            let response = json!({ "$ref": format!("#/components/responses/{name}") });
            let other = match kind {
                RefusalKind::Invalid => RefusalKind::Empty,
                kind => kind,
            };
            for kind in [kind, other] {
                let status = status_in(form, kind, status);
                responses.insert(status.to_string(), response.clone());
            }
        }
    }
}

/// Adds to each operation how callers are refused there.
pub(super) fn add_refusals(
    paths: &mut Map<String, Value>,
    refusals: impl Fn(&Method, &str) -> Vec<u16>,
) {
    for (path, operations) in paths {
        let form = Paths::BelowPrefix.error_form(path);
        for (method, name) in [(Method::GET, "get"), (Method::POST, "post")] {
            let responses = operations.pointer_mut(&format!("/{name}/responses"));
            if let Some(responses) = responses.and_then(Value::as_object_mut) {
                add_problems(responses, form, &refusals(&method, path));
            }
        }
    }
}
