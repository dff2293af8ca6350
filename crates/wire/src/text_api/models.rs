//! The list of models, in one answer for several clients.
//!
//! Source: "Models" in OpenAI's API reference; KServe's V1 protocol, whose list is `models` and whose model has `name` and
//! `ready`; "Model status API" of TensorFlow Serving, whose model has `model_version_status`.

use serde_json::{Value, json};

use super::{About, Operation, Served, Tell};
use crate::schema::open;

/// All models.
pub(super) const MODELS: Operation = Operation::Tell(Tell {
    about: About::All,
    write: |models| {
        let names: Vec<&str> = models.iter().map(|model| &*model.metadata.name).collect();
        let items: Vec<Value> = models.iter().map(item).collect();
        json!({ "object": "list", "data": items, "models": names })
    },
    answer_schema: || {
        let members = [
            ("object", json!({ "const": "list" })),
            ("data", json!({ "type": "array", "items": item_schema() })),
            (
                "models",
                json!({ "type": "array", "items": { "type": "string" } }),
            ),
        ];
        open(members, 3)
    },
});

/// One model.
pub(super) const MODEL: Operation = Operation::Tell(Tell {
    about: About::Any,
    write: |models| models.first().map_or(Value::Null, item),
    answer_schema: item_schema,
});

fn item(model: &Served<'_>) -> Value {
    let (name, version) = (&model.metadata.name, &model.metadata.version);
    json!({
        "id": name,
        "object": "model",
        "created": model.since,
        "owned_by": "score",
        "name": name,
        "ready": true,
        "model_version_status": [{
            "version": version,
            "state": "AVAILABLE",
            "status": { "error_code": "OK", "error_message": "" },
        }],
    })
}

fn item_schema() -> Value {
    let text = || json!({ "type": "string" });
    let status = [("error_code", text()), ("error_message", text())];
    let version = [
        ("version", text()),
        ("state", text()),
        ("status", open(status, 2)),
    ];
    let members = [
        ("id", text()),
        ("object", json!({ "const": "model" })),
        ("created", json!({ "type": "integer", "minimum": 0 })),
        ("owned_by", text()),
        ("name", text()),
        ("ready", json!({ "type": "boolean" })),
        (
            "model_version_status",
            json!({ "type": "array", "items": open(version, 3) }),
        ),
    ];
    open(members, 7)
}
