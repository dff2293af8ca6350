//! Error texts for bodies that cannot be read.

use std::collections::BTreeSet;

use score::{ModelSignature, ScoreError};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::body::invalid;
use crate::body::is_object;
use crate::json::bounded;
use crate::unlike;

/// The error for a body that is not a JSON object.
pub(crate) fn not_an_object(body: &[u8], signature: &ModelSignature) -> ScoreError {
    match serde_json::from_slice::<IgnoredAny>(body) {
        Err(error) => malformed(body, signature, &error),
        Ok(_) => {
            let advice = advice(body, signature);
            invalid(&format!(
                "expected a JSON object such as {{\"data\": [...]}}{advice}"
            ))
        }
    }
}

/// The end of an error text: what a body that is not a JSON object looks like.
pub(crate) fn advice(body: &[u8], signature: &ModelSignature) -> String {
    let advice = unlike::advice(body, signature);
    advice
        .map(|advice| format!("; {advice}"))
        .unwrap_or_default()
}

/// The error for a body that is not valid JSON.
pub(crate) fn malformed(
    body: &[u8],
    signature: &ModelSignature,
    error: &serde_json::Error,
) -> ScoreError {
    // Python's json module writes these words, which JSON does not have.
    let has = |word: &[u8]| body.windows(word.len()).any(|window| window == word);
    let hint = if is_object(body) && (has(b"NaN") || has(b"Infinity")) {
        "; write NaN and infinities as strings: \"NaN\", \"Infinity\", \"-Infinity\"".to_owned()
    } else {
        advice(body, signature)
    };
    invalid(&format!("the body is not valid JSON: {error}{hint}"))
}

/// The end of an error text for `{"inputs": {"data": ...}}`, where Azure ML's `Inputs` is meant.
pub(crate) fn lower_case_inputs(value: &RawValue) -> String {
    let mut members = BTreeSet::new();
    let read = bounded::each_name(value.get(), "", &mut members);
    match members.len() {
        1 if read.is_ok() && members.contains("data") => {
            "; Azure ML's form is {\"Inputs\": {\"data\": ...}}, with a capital I".to_owned()
        }
        _ => String::new(),
    }
}
