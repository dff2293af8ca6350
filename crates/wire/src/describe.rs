//! Requests and answers of one model in every dialect, as JSON Schemas for an OpenAPI document.

pub mod plain;

use score::ModelMetadata;
use serde_json::{Value, json};

use crate::dialect::DIALECTS;
use crate::dialect::open_inference::schema::{protocol_answer, protocol_request};
use crate::schema::any_of;
use crate::schema::parts::{Parts, result, rows};

/// The components of one model, by the part of their name after the model's.
pub fn schemas(metadata: &ModelMetadata) -> Vec<(&'static str, Value)> {
    let signature = &metadata.signature;
    let parts = Parts::of(metadata);
    vec![
        ("rows", rows(signature)),
        ("request", request(&parts)),
        ("result", result(metadata)),
        ("answer", answer(&parts)),
        ("protocol_request", protocol_request(signature)),
        ("protocol_answer", protocol_answer(metadata)),
    ]
}

/// A JSON body in any dialect.
fn request(parts: &Parts<'_>) -> Value {
    let forms = DIALECTS.iter();
    let forms = forms.filter_map(|dialect| (dialect.request_schema)(parts));
    json!({ "oneOf": forms.collect::<Vec<_>>() })
}

/// A JSON answer in any dialect.
fn answer(parts: &Parts<'_>) -> Value {
    let mut forms: Vec<Value> = Vec::new();
    for dialect in DIALECTS {
        let form = (dialect.answer_schema)(parts);
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    any_of(forms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::open_inference::OPEN_INFERENCE;
    use crate::samples::passengers;
    use crate::schema::reference;

    #[test]
    fn a_request_is_of_one_dialect() {
        let metadata = crate::samples::metadata(passengers());
        let request = request(&Parts::of(&metadata));
        let forms = request["oneOf"].as_array().unwrap();
        // No keys, because no model.toml says where rows are stored; no texts, because other things are taken.
        assert_eq!(forms.len(), DIALECTS.len() - 2);
        for (form, dialect) in forms.iter().zip(DIALECTS) {
            if std::ptr::eq(*dialect, &OPEN_INFERENCE) {
                assert_eq!(*form, reference("m.protocol_request"));
            } else {
                assert_eq!(form["required"], json!([dialect.member]));
            }
        }
    }
}
