//! Paths of the servers whose clients are served, from the table in `wire::dialect`.

use score::ModelMetadata;
use serde_json::{Value, json};
use wire::dialect::{MODEL, Operation as Work, PROTOCOLS, Protocol, ProtocolRoute};
use wire::schema::{open, reference};

use super::Form;
use super::bodies::{self, Part};
use super::paths::{OF_ASKING, Operation};
use crate::http::route::PREFIX;
use crate::models::Models;

/// The paths without a model's name. The first part of the document has those of the Open Inference Protocol alone.
pub(super) fn of_server(models: &Models, form: Form) -> Vec<(String, Value)> {
    let usual = models.get(None).ok().map(|scorer| scorer.metadata());
    let all = routes(form).filter(|(_, route)| !names_model(route));
    let all = all.filter_map(|(protocol, route)| {
        let path = format!("{PREFIX}/{}", route.template());
        let operation = Operation::at(&path, route.id, route.summary);
        let operations = match route.operation {
            work if work.scores() => scoring(protocol, operation, usual?, form)?,
            work => telling(work, operation),
        };
        Some((path, operations))
    });
    all.collect()
}

/// The paths of one model.
pub(super) fn of_model(metadata: &ModelMetadata, form: Form) -> Vec<(String, Value)> {
    let name = &metadata.name;
    let all = routes(form).filter(|(_, route)| names_model(route));
    let all = all.filter_map(|(protocol, route)| {
        let path = format!("{PREFIX}/{}", route.template().replace(MODEL, name));
        let id = format!("{}_{name}", route.id);
        let operation = Operation::at(&path, &id, route.summary).of(name);
        let operations = match route.operation {
            work if work.scores() => scoring(protocol, operation, metadata, form)?,
            work => telling(work, operation),
        };
        Some((path, operations))
    });
    all.collect()
}

fn names_model(route: &ProtocolRoute) -> bool {
    route.path.iter().any(|segment| segment.starts_with(MODEL))
}

/// The routes that are described: none that refuse, and none of a version, since a model has one.
fn routes(form: Form) -> impl Iterator<Item = (&'static Protocol, &'static ProtocolRoute)> {
    let protocols = PROTOCOLS
        .iter()
        .filter(move |protocol| form == Form::All || is_first(protocol));
    let all =
        protocols.flat_map(|protocol| protocol.routes.iter().map(move |route| (*protocol, route)));
    all.filter(move |(_, route)| {
        let plain = [
            Work::Score,
            Work::Server,
            Work::Live,
            Work::Ready,
            Work::Model,
            Work::ModelReady,
        ];
        route.is_documented() && (form == Form::All || plain.contains(&route.operation))
    })
}

fn is_first(protocol: &Protocol) -> bool {
    PROTOCOLS.first().is_some_and(|first| **first == *protocol)
}

/// A POST that scores; `None` if the model's tensors have no plain form.
fn scoring(
    protocol: &Protocol,
    operation: Operation<'_>,
    metadata: &ModelMetadata,
    form: Form,
) -> Option<Value> {
    let part = match is_first(protocol) {
        true => Part::Protocol,
        false => Part::Own,
    };
    bodies::has(metadata, part, form).then(|| json!({ "post": operation.scoring(metadata, part) }))
}

/// A GET, or the POST of the index.
fn telling(work: Work, operation: Operation<'_>) -> Value {
    let flag = |name: &str| bodies::json(open([(name, json!({ "type": "boolean" }))], 1));
    let text = |name| (name, json!({ "type": "string" }));
    let object = || bodies::json(json!({ "type": "object", "additionalProperties": true }));
    let (content, problems): (Value, &[u16]) = match work {
        Work::Live => (flag("live"), &[]),
        Work::Ready => (flag("ready"), &[503]),
        Work::ModelReady => (flag("ready"), OF_ASKING),
        Work::Model => (bodies::json(reference("ProtocolModel")), OF_ASKING),
        Work::Server => (bodies::json(open(["name", "version"].map(text), 2)), &[]),
        Work::Version => (
            json!({ "text/plain": { "schema": { "type": "string" } } }),
            &[],
        ),
        // An empty line.
        Work::Ping => (json!({}), &[503]),
        Work::Index => {
            let model = open(["name", "state", "version", "reason"].map(text), 2);
            (
                bodies::json(json!({ "type": "array", "items": model })),
                &[503],
            )
        }
        _ => (object(), OF_ASKING),
    };
    let method = if work.is_post() { "post" } else { "get" };
    json!({ method: operation.asking(content, problems) })
}
