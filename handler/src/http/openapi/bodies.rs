//! Bodies by content type, with an example request of each model.

use score::ModelMetadata;
use serde_json::{Value, json};
use wire::schema::reference;
use wire::{FORMATS, protocol_sample, sample_request};

use super::header_references;

const BINARY: &str = "application/octet-stream";

/// JSON of that schema.
pub(super) fn json(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// A body in any dialect or format.
pub(super) fn request(metadata: &ModelMetadata) -> Value {
    let mut content = json(reference(&format!("{}.request", metadata.name)));
    if let Some(example) = sample_request(metadata) {
        content["application/json"]["example"] = example;
    }
    for format in FORMATS {
        if let Some(description) = format.described(metadata) {
            for ty in format.content_types {
                content[*ty] = plain(description.clone());
            }
        }
    }
    json!({ "required": true, "content": content })
}

/// A body in the Open Inference Protocol.
pub(super) fn protocol_request(metadata: &ModelMetadata) -> Value {
    let mut content = json(reference(&format!("{}.protocol_request", metadata.name)));
    if let Some(example) = protocol_sample(metadata) {
        content["application/json"]["example"] = example;
    }
    content[BINARY] = plain(
        "JSON whose inputs have a parameter `binary_data_size` instead of data, then the bytes of these inputs; \
         `Inference-Header-Content-Length` tells where."
            .to_owned(),
    );
    json!({ "required": true, "content": content })
}

/// The answer of which the model's schema `part` tells.
pub(super) fn answer(metadata: &ModelMetadata, part: &str) -> Value {
    let mut content = json(reference(&format!("{}.{part}", metadata.name)));
    content[BINARY] =
        plain("In the Open Inference Protocol: JSON, then the outputs wanted as bytes.".to_owned());
    for format in FORMATS {
        if let (Some(ty), Some(description)) = (
            format.content_types.first(),
            format.answer_described(metadata),
        ) {
            content[*ty] = plain(description.to_owned());
        }
    }
    let headers = [
        "X-Cache",
        "Server-Timing",
        "X-Request-Id",
        "Inference-Header-Content-Length",
    ];
    json!({
        "description": "The scores, in the dialect of the request.",
        "headers": header_references(&headers),
        "content": content,
    })
}

/// A body that no schema describes further.
fn plain(description: String) -> Value {
    json!({ "schema": { "description": description } })
}
