//! Classification as infinity takes and answers it. Its ranking has the path of text-embeddings-inference's.
//!
//! Source: `ClassifyInput` and `ClassifyResult` of infinity (`fastapi_schemas/pymodels.py`).

use std::io::Write as _;

use serde::de::MapAccess;
use serde_json::{Value, json};

use super::read::{Member, Members, read_texts};
use super::tei::labels_schema;
use super::vectors::{array, text};
use super::{
    Answered, End, Labels, Operation, Take, TextApi, TextError, TextRequest, TextRoute, Write,
};
use crate::body::Limits;
use crate::error_form;
use crate::schema::open;

/// The name that its clients send for a model unless they are told one.
pub(super) const UNNAMED: &str = "default/not-specified";

/// infinity's API.
pub(super) static INFINITY: TextApi = TextApi {
    name: "infinity",
    section: "classification",
    purpose: "classification",
    errors: &error_form::OPENAI,
    guest: false,
    routes: &[TextRoute {
        path: &["classify"],
        named: Some(End::Front),
        id: "classify",
        summary: "The scores of labels for texts, as infinity answers them",
        operation: Operation::Take(Take {
            sample: r#"{"input": ["The ferry leaves at noon."]}"#,
            names_model: true,
            budget: None,
            read: read_classify,
            writes: &[Write::Labels(write_labels)],
            request_schema,
            answer_schema,
        }),
    }],
};

fn read_classify(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    read_texts::<Request>(body, limits, "input")
}

struct Request;

impl Members for Request {
    const EXPECTED: &'static str = r#"an object such as {"model": "name", "input": ["a text"]}"#;
    const NAMES: &'static [&'static str] = &["input", "model", "raw_scores"];

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        match member.name {
            "input" => request.texts = member.texts()?,
            "model" => request.model = member.model()?.filter(|name| name != UNNAMED),
            "raw_scores" => request.results.activation = member.raw_scores()?,
            _ => member.skip()?,
        }
        Ok(())
    }
}

fn write_labels(request: &TextRequest, answered: &Answered<'_, Labels<'_>>) -> Vec<u8> {
    let mut out = br#"{"object":"classify","id":"#.to_vec();
    text(answered.id, &mut out);
    out.extend(br#","model":"#);
    text(answered.model, &mut out);
    out.extend(br#","data":"#);
    let best = answered.results.best(request.results.top);
    array(best, &mut out, |labels, out| {
        // Writing to a vector cannot fail, here and below.
        let _ = serde_json::to_writer(out, &labels);
    });
    let tokens = answered.all_tokens();
    let _ = write!(
        out,
        r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
    );
    out
}

fn request_schema() -> Value {
    let text = || json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": text(), "minItems": 1 });
    let members = [
        ("input", json!({ "anyOf": [text(), texts] })),
        ("model", json!({ "type": ["string", "null"] })),
        ("raw_scores", json!({ "type": ["boolean", "null"] })),
    ];
    open(members, 1)
}

fn answer_schema() -> Value {
    let number = || json!({ "type": "integer", "minimum": 0 });
    let text = || json!({ "type": "string" });
    let usage = [("prompt_tokens", number()), ("total_tokens", number())];
    let data = json!({ "type": "array", "items": labels_schema() });
    let members = [
        ("object", json!({ "const": "classify" })),
        ("id", text()),
        ("model", text()),
        ("data", data),
        ("usage", open(usage, 2)),
    ];
    open(members, 5)
}
