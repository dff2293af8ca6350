//! Bodies into named tensors and back, in the dialect the caller speaks.

mod azure_ml;
mod careful;
mod element;
mod fast;
mod open_inference;
mod write;

use score::{InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub(crate) use azure_ml::sample_request;
use open_inference::Asked;
pub(crate) use open_inference::MODEL_VERSION;

/// What a body said.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The tensors, in the order given.
    pub(crate) inputs: Vec<NamedTensor>,
    /// How to answer.
    pub(crate) dialect: Dialect,
}

/// The dialect a request is written in; its answer is written in the same.
#[derive(Debug)]
pub(crate) enum Dialect {
    /// `{"data": ...}`, answered with the bare result, as Azure ML's entry scripts do.
    AzureMl,
    /// `{"inputs": [...]}` of the Open Inference Protocol.
    OpenInference(Asked),
}

/// Why a body cannot be read.
#[derive(Debug)]
pub(crate) enum PayloadError {
    /// It is malformed or does not fit the model.
    Invalid(ScoreError),
    /// It is of a type that is not understood.
    UnsupportedType(String),
}

impl From<ScoreError> for PayloadError {
    fn from(error: ScoreError) -> Self {
        Self::Invalid(error)
    }
}

/// The members that tell dialects apart. Values stay text until the model says how to read them.
#[derive(Deserialize)]
struct TopLevel<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    inputs: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    outputs: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Keeps `null` as a value: it is a mistake to be named, not an absent member.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a body.
///
/// # Errors
/// [`PayloadError`] naming the place, what was found and what was expected.
pub(crate) fn decode(
    body: &[u8],
    content_type: Option<&str>,
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Decoded, PayloadError> {
    expect_json(body, content_type)?;
    if let [spec] = &signature.inputs[..]
        && let Some(tensor) = fast::read_data(body, spec)
    {
        let name = spec.name.clone();
        spec.check(&tensor, "data")?;
        return Ok(Decoded {
            inputs: vec![NamedTensor { name, tensor }],
            dialect: Dialect::AzureMl,
        });
    }
    let top: TopLevel<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(body, &error))?;
    match (top.data, top.inputs) {
        (Some(data), None) => Ok(Decoded {
            inputs: azure_ml::read(data, signature, max_nesting)?,
            dialect: Dialect::AzureMl,
        }),
        (None, Some(inputs)) => Ok(Decoded {
            inputs: open_inference::read(inputs, signature, max_nesting)?,
            dialect: Dialect::OpenInference(Asked::read(top.id, top.outputs, signature)?),
        }),
        (Some(_), Some(_)) => Err(ScoreError::InvalidInput {
            target: None,
            message: "give either \"data\" or \"inputs\", not both".to_owned(),
        }
        .into()),
        (None, None) => Err(ScoreError::InvalidInput {
            target: None,
            message: format!(
                "expected {{\"data\": ...}} or {{\"inputs\": [...]}}; the model takes {}",
                signature.describe_inputs()
            ),
        }
        .into()),
    }
}

/// Writes the answer.
///
/// # Errors
/// [`ScoreError::Internal`] if the result cannot be written, which nothing a caller sends can cause.
pub(crate) fn encode(
    dialect: &Dialect,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> Result<Vec<u8>, ScoreError> {
    let written = match dialect {
        Dialect::AzureMl => azure_ml::write(metadata, response),
        Dialect::OpenInference(asked) => open_inference::write(asked, metadata, response),
    };
    written.map_err(|error| ScoreError::Internal(format!("the answer cannot be written: {error}")))
}

/// Many clients send JSON without saying so, so the body's first character counts more than its declared type.
fn expect_json(body: &[u8], content_type: Option<&str>) -> Result<(), PayloadError> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let declared = content_type.unwrap_or("application/json");
    match first {
        Some(b'{') => Ok(()),
        None => Err(invalid("the body is empty; expected a JSON object").into()),
        // The host drops Content-Encoding on the way, so a compressed body shows only here.
        Some(0x1f) if body.get(1) == Some(&0x8b) => Err(PayloadError::UnsupportedType(
            "the body is gzip-compressed; send it uncompressed".to_owned(),
        )),
        Some(_) if is_json_or_text(declared) => {
            serde_json::from_slice::<IgnoredAny>(body).map_err(|error| malformed(body, &error))?;
            Err(invalid("expected a JSON object such as {\"data\": [...]}").into())
        }
        Some(_) => Err(PayloadError::UnsupportedType(format!(
            "content type {declared:?} is not understood; send application/json"
        ))),
    }
}

fn is_json_or_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence.ends_with("json")
        || essence == "text/plain"
        || essence == "application/x-www-form-urlencoded"
}

fn invalid(message: &str) -> ScoreError {
    ScoreError::InvalidInput {
        target: None,
        message: message.to_owned(),
    }
}

fn malformed(body: &[u8], error: &serde_json::Error) -> ScoreError {
    // Python's json module writes these words, which JSON does not have.
    let has = |word: &[u8]| body.windows(word.len()).any(|window| window == word);
    let hint = if has(b"NaN") || has(b"Infinity") {
        "; write NaN and infinities as strings: \"NaN\", \"Infinity\", \"-Infinity\""
    } else {
        ""
    };
    invalid(&format!("the body is not valid JSON: {error}{hint}"))
}

#[cfg(test)]
mod tests;
