//! Bodies into named tensors and back, in the dialect the caller speaks.

mod azure_ml;
mod careful;
mod element;
mod fast;
mod npy;
mod open_inference;
mod raw;
mod table;
mod tabular;
mod write;

use score::{InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tabular::Context;

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
    Data,
    /// `{"Inputs": ...}`, answered with `{"Results": ...}`.
    Inputs,
    /// `{"input_data": ...}` of MLflow, answered with the bare result.
    InputData,
    /// `{"instances": [...]}` of TensorFlow Serving, answered with `{"predictions": [...]}`.
    Instances,
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
    #[serde(borrow, default, deserialize_with = "present", rename = "Inputs")]
    azure_inputs: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    input_data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    instances: Option<&'a RawValue>,
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
        && let Some((member, tensor)) = fast::read_body(body, spec)
    {
        let name = spec.name.clone();
        spec.check(&tensor, member)?;
        return Ok(Decoded {
            inputs: vec![NamedTensor { name, tensor }],
            dialect: match member {
                "instances" => Dialect::Instances,
                _ => Dialect::Data,
            },
        });
    }
    let top: TopLevel<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(body, &error))?;
    let rows = |target, value| {
        let context = Context {
            signature,
            max_nesting,
            target,
        };
        tabular::read(context, value)
    };
    let (inputs, dialect) = match top.only_dialect(signature)? {
        ("data", value) => (rows("data", value)?, Dialect::Data),
        ("instances", value) => (rows("instances", value)?, Dialect::Instances),
        ("Inputs", value) => (
            azure_ml::read_inputs(value, signature, max_nesting)?,
            Dialect::Inputs,
        ),
        ("input_data", value) => (
            azure_ml::read_input_data(value, signature, max_nesting)?,
            Dialect::InputData,
        ),
        (_, value) => (
            open_inference::read(value, signature, max_nesting)?,
            Dialect::OpenInference(Asked::read(top.id, top.outputs, signature)?),
        ),
    };
    Ok(Decoded { inputs, dialect })
}

impl<'a> TopLevel<'a> {
    /// The one member that says which dialect this is.
    fn only_dialect(
        &self,
        signature: &ModelSignature,
    ) -> Result<(&'static str, &'a RawValue), ScoreError> {
        let all = [
            ("data", self.data),
            ("instances", self.instances),
            ("Inputs", self.azure_inputs),
            ("input_data", self.input_data),
            ("inputs", self.inputs),
        ];
        let mut given = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        match (given.next(), given.next()) {
            (Some(only), None) => Ok(only),
            (Some((one, _)), Some((other, _))) => Err(invalid(&format!(
                "give either {one:?} or {other:?}, not both"
            ))),
            (None, _) => Err(invalid(&format!(
                "expected {{\"data\": ...}} or {{\"inputs\": [...]}}; the model takes {}",
                signature.describe_inputs()
            ))),
        }
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
        Dialect::Data | Dialect::InputData => azure_ml::write(metadata, response),
        Dialect::Inputs => azure_ml::write_under("Results", metadata, response),
        Dialect::Instances => azure_ml::write_predictions(metadata, response),
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
