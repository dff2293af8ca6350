//! Bodies by content type, with an example request of each model.

use score::ModelMetadata;
use serde_json::{Value, json};
use wire::describe::plain;
use wire::schema::reference;
use wire::{FORMATS, protocol_sample, sample_request};

use super::{Form, header_references};

const BINARY: &str = "application/octet-stream";

/// JSON of that schema.
pub(super) fn json(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// Which of a model's requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Those at its own path.
    Own,
    /// Those of the Open Inference Protocol.
    Protocol,
}

impl Part {
    pub(super) const ALL: [Self; 2] = [Self::Own, Self::Protocol];

    /// The names of the request and the answer among the components for bodies.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Own => ("request", "answer"),
            Self::Protocol => ("protocol", "protocol"),
        }
    }

    /// The names of their schemas.
    fn schemas(self) -> (&'static str, &'static str) {
        match self {
            Self::Own => ("request", "answer"),
            Self::Protocol => ("protocol_request", "protocol_answer"),
        }
    }
}

/// The schemas of a model, by the part of their name after the model's.
pub(super) fn schemas(metadata: &ModelMetadata, form: Form) -> Vec<(&'static str, Value)> {
    match form {
        Form::Plain => plain::schemas(metadata),
        Form::All => wire::describe::schemas(metadata),
    }
}

/// Whether the document has such requests of the model.
pub(super) fn has(metadata: &ModelMetadata, part: Part, form: Form) -> bool {
    match (part, form) {
        (Part::Protocol, Form::Plain) => plain::has_protocol(metadata),
        (Part::Protocol | Part::Own, _) => true,
    }
}

/// A body of JSON; in the whole document, also in any other format.
pub(super) fn request(metadata: &ModelMetadata, part: Part, form: Form) -> Value {
    let (request, _) = part.schemas();
    let mut content = json(reference(&format!("{}.{request}", metadata.name)));
    let example = match (part, form) {
        (Part::Own, Form::Plain) => plain::sample(metadata),
        (Part::Own, Form::All) => sample_request(metadata),
        (Part::Protocol, Form::Plain) => protocol_sample(metadata).map(flat),
        (Part::Protocol, Form::All) => protocol_sample(metadata),
    };
    if let Some(example) = example {
        content["application/json"]["example"] = example;
    }
    match (part, form) {
        (_, Form::Plain) => {}
        (Part::Own, Form::All) => {
            for format in FORMATS {
                if let Some(description) = format.described(metadata) {
                    for ty in format.content_types {
                        content[*ty] = other(description.clone());
                    }
                }
            }
        }
        (Part::Protocol, Form::All) => {
            content[BINARY] = other(
                "JSON whose inputs have a parameter `binary_data_size` instead of data, then the bytes of these inputs; \
                 `Inference-Header-Content-Length` tells where."
                    .to_owned(),
            );
        }
    }
    json!({ "required": true, "content": content })
}

/// The same request with the data of each tensor in one list.
fn flat(mut request: Value) -> Value {
    let inputs = request["inputs"].as_array_mut().into_iter().flatten();
    for input in inputs {
        let mut data = input["data"].take();
        while let Value::Array(items) = &data
            && items.iter().any(Value::is_array)
        {
            let items = items.iter().filter_map(Value::as_array);
            data = items.flatten().cloned().collect();
        }
        input["data"] = match data {
            Value::Array(_) => data,
            scalar => json!([scalar]),
        };
    }
    request
}

/// The answer to such a request.
pub(super) fn answer(metadata: &ModelMetadata, part: Part, form: Form) -> Value {
    let (_, answer) = part.schemas();
    let mut content = json(reference(&format!("{}.{answer}", metadata.name)));
    let mut headers = vec!["X-Cache", "Server-Timing", "X-Request-Id"];
    if form == Form::All {
        headers.push("Inference-Header-Content-Length");
        content[BINARY] = other(
            "In the Open Inference Protocol: JSON, then the outputs wanted as bytes.".to_owned(),
        );
        for format in FORMATS {
            if let (Some(ty), Some(description)) = (
                format.content_types.first(),
                format.answer_described(metadata),
            ) {
                content[*ty] = other(description.to_owned());
            }
        }
    }
    json!({
        "description": "The scores, in the dialect of the request.",
        "headers": header_references(&headers),
        "content": content,
    })
}

/// A body that is not JSON.
fn other(description: String) -> Value {
    json!({ "schema": { "type": "string", "format": "binary", "description": description } })
}
