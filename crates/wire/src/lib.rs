//! Bodies into named tensors and back, in the dialect the caller speaks.

pub mod accept;
mod dialect;
mod format;
mod json;
mod refusal;
mod rows;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod unlike;

use score::{InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use dialect::azure_ml::{sample_request, sample_shape};
pub use dialect::keys::{HashReader, MAX_KEY_BYTES, Unfit, no_rows, read_rows};
pub use dialect::open_inference::{Asked, protocol_tensor_document, tensor_document};
use dialect::{azure_ml, keys, open_inference};
pub use format::image::{picture_document, picture_in_words};
use format::{Format, charset, csv, gzip, image, npy, raw};
pub use format::{is_packed, is_raw};
use json::nested;
use refusal::{advice, amended, malformed, not_an_object};
use rows::tabular::{self, Context};

/// What a body holds.
#[derive(Debug)]
pub enum Body {
    /// The rows themselves.
    Rows(Decoded),
    /// The keys under which the rows lie.
    Keys(Vec<String>),
}

impl Body {
    /// The rows, if they are in it.
    pub fn rows(self) -> Option<Decoded> {
        match self {
            Self::Rows(decoded) => Some(decoded),
            Self::Keys(_) => None,
        }
    }
}

/// What a body said.
#[derive(Debug)]
pub struct Decoded {
    /// The tensors, in the order given.
    pub inputs: Vec<NamedTensor>,
    /// How to answer.
    pub dialect: Dialect,
    /// Whether its columns have names that nothing could be compared with, so that their order counted.
    pub by_position: bool,
}

/// The dialect a request is written in; its answer is written in the same.
#[derive(Debug)]
pub enum Dialect {
    /// `{"data": ...}`, answered with the bare result, as Azure ML's entry scripts do.
    Data,
    /// `{"Inputs": ...}`, answered with `{"Results": ...}`.
    Inputs,
    /// `{"input_data": ...}` of MLflow, answered with the bare result.
    InputData,
    /// `{"instances": [...]}` of TensorFlow Serving, answered with `{"predictions": [...]}`.
    Instances,
    /// `{"keys": [...]}`, answered with the bare result. The rows are not the caller's, so no error may quote them.
    Keys,
    /// `{"inputs": [...]}` of the Open Inference Protocol.
    OpenInference(Asked),
}

/// Why a body cannot be read.
#[derive(Debug)]
pub enum PayloadError {
    /// It is malformed or does not fit the model.
    Invalid(ScoreError),
    /// It is of a type that is not understood.
    UnsupportedType(String),
    /// It is larger than the limit once it is unpacked.
    TooLarge,
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
    keys: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    outputs: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    parameters: Option<&'a RawValue>,
}

/// Keeps `null` as a value: alone it is a mistake to be named, not an absent member.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// What the request's headers say about its body and the answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared<'a> {
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`, which does not survive the way through the host.
    pub content_encoding: Option<&'a str>,
    /// `Inference-Header-Content-Length`: where JSON ends and binary tensors begin.
    pub json_bytes: Option<usize>,
    /// The shape of a raw tensor, such as `1,784`, if its sender names it.
    pub shape: Option<&'a str>,
    /// Likewise its element type, such as `FP32` or `float32`.
    pub datatype: Option<&'a str>,
    /// Whether a body that is no JSON object may be one inside a wrapping, as clients of queues make them.
    pub wrapped: bool,
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, after decompression.
    pub max_bytes: usize,
    /// Arrays within arrays.
    pub max_nesting: usize,
    /// Keys, unless `max_rows` of the model counts.
    pub max_rows: usize,
}

/// Reads a body.
///
/// # Errors
/// [`PayloadError`] naming the place, what was found and what was expected.
pub fn decode(
    body: &[u8],
    declared: Declared<'_>,
    metadata: &ModelMetadata,
    limits: Limits,
) -> Result<Body, PayloadError> {
    let signature = &metadata.signature;
    let inflated = gzip::inflate(body, declared, signature, limits.max_bytes)?;
    let body = inflated.as_deref().unwrap_or(body);
    let text = charset::to_utf8(body, declared)?;
    let body = &text[..];
    if body.len() > limits.max_bytes {
        return Err(PayloadError::TooLarge);
    }
    let mut by_position = false;
    let format = match Format::of(body, declared) {
        Ok(format) => format,
        Err(error) => return unwrapped(body, declared, metadata, limits, error),
    };
    let inputs = match format {
        Format::Json if declared.wrapped && !is_object(body) => {
            let error = not_an_object(body, signature);
            return unwrapped(body, declared, metadata, limits, error.into());
        }
        Format::Json => return decode_json(body, declared.json_bytes, metadata, limits),
        Format::Raw => raw::read(body, declared, signature).map_err(|error| {
            let advice = || [unlike::advice_on_raw(body), gzip::advice(body)].concat();
            amended(error, advice)
        })?,
        Format::Npy => npy::read(body, signature)?,
        Format::Table(form) => {
            let read = csv::read(context(metadata, limits, "body"), body, form)?;
            by_position = read.by_position;
            read.inputs
        }
        Format::Picture => image::read(body, metadata)?,
    };
    Ok(Body::Rows(Decoded {
        inputs,
        dialect: Dialect::Data,
        by_position,
    }))
}

/// Reads a message that is no JSON object once more without its wrapping; gives the error if it has none.
fn unwrapped(
    body: &[u8],
    declared: Declared<'_>,
    metadata: &ModelMetadata,
    limits: Limits,
    error: PayloadError,
) -> Result<Body, PayloadError> {
    if declared.wrapped
        && let Some(inner) = unlike::unwrap(body)
    {
        return decode(&inner, Declared::default(), metadata, limits);
    }
    match error {
        PayloadError::UnsupportedType(message) => {
            let advice = advice(body, &metadata.signature);
            Err(PayloadError::UnsupportedType(message + &advice))
        }
        error => Err(error),
    }
}

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

fn context<'a>(metadata: &'a ModelMetadata, limits: Limits, target: &'a str) -> Context<'a> {
    Context {
        signature: &metadata.signature,
        options: &metadata.options.inputs,
        max_nesting: limits.max_nesting,
        target,
    }
}

fn decode_json(
    body: &[u8],
    json_bytes: Option<usize>,
    metadata: &ModelMetadata,
    limits: Limits,
) -> Result<Body, PayloadError> {
    let signature = &metadata.signature;
    let (body, binary) = match json_bytes {
        None => (body, &[][..]),
        Some(length) => body
            .split_at_checked(length)
            .ok_or_else(|| invalid("Inference-Header-Content-Length is larger than the body"))?,
    };
    if !is_object(body) {
        return Err(not_an_object(body, signature).into());
    }
    if let [spec] = &signature.inputs[..]
        && let Some((member, tensor)) = nested::read_body(body, spec)
    {
        let name = spec.name.clone();
        spec.check(&tensor, member)?;
        return Ok(Body::Rows(Decoded {
            inputs: vec![NamedTensor { name, tensor }],
            dialect: match member {
                "instances" => Dialect::Instances,
                _ => Dialect::Data,
            },
            by_position: false,
        }));
    }
    if let Some(read) = open_inference::fast::read(body, signature) {
        let asked = Asked::read(read.id, read.outputs, read.parameters, metadata)?;
        if !binary.is_empty() {
            return Err(open_inference::left_over(binary).into());
        }
        return Ok(Body::Rows(Decoded {
            inputs: read.inputs,
            dialect: Dialect::OpenInference(asked),
            by_position: false,
        }));
    }
    let top: TopLevel<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(body, signature, &error))?;
    let at = |target| context(metadata, limits, target);
    let rows = |target, value| tabular::read(at(target), value);
    let mut by_position = false;
    let (inputs, dialect) = match top.only_dialect(body, signature)? {
        ("keys", list) => {
            let max_keys = metadata.options.max_rows.unwrap_or(limits.max_rows);
            return Ok(Body::Keys(keys::keys(list, max_keys)?));
        }
        ("data", value) => (rows("data", value)?, Dialect::Data),
        ("instances", value) => (rows("instances", value)?, Dialect::Instances),
        ("Inputs", value) => (azure_ml::read_inputs(at("Inputs"), value)?, Dialect::Inputs),
        ("input_data", value) => {
            let inputs = azure_ml::read_input_data(at("input_data"), value, &mut by_position)?;
            (inputs, Dialect::InputData)
        }
        (_, value) => (
            open_inference::read(at("inputs"), value, binary)
                .map_err(|error| amended(error, || refusal::lower_case_inputs(value)))?,
            Dialect::OpenInference(Asked::read(top.id, top.outputs, top.parameters, metadata)?),
        ),
    };
    Ok(Body::Rows(Decoded {
        inputs,
        dialect,
        by_position,
    }))
}

/// The members that say which dialect a body is.
const DIALECTS: &[&str] = &[
    "data",
    "instances",
    "Inputs",
    "input_data",
    "inputs",
    "keys",
];

impl<'a> TopLevel<'a> {
    /// The one member that says which dialect this is. One that is null counts as absent: many serializers write
    /// unset members so.
    fn only_dialect(
        &self,
        body: &[u8],
        signature: &ModelSignature,
    ) -> Result<(&'static str, &'a RawValue), ScoreError> {
        let values = [
            self.data,
            self.instances,
            self.azure_inputs,
            self.input_data,
            self.inputs,
            self.keys,
        ];
        let all = DIALECTS.iter().zip(values);
        let mut given = all.clone().filter_map(|(name, value)| {
            let value = value.filter(|value| value.get() != "null")?;
            Some((*name, value))
        });
        match (given.next(), given.next()) {
            (Some(only), None) => return Ok(only),
            (Some((one, _)), Some((other, _))) => {
                return Err(invalid(&format!(
                    "give either {one:?} or {other:?}, not both"
                )));
            }
            (None, _) => {}
        }
        let takes = signature.describe_inputs();
        if let Some((name, _)) = all.clone().find(|(_, value)| value.is_some()) {
            let message = format!("{name} is null; expected rows; the model takes {takes}");
            return Err(ScoreError::invalid(*name, message));
        }
        let expected = "expected {\"data\": ...} or {\"inputs\": [...]}";
        Err(invalid(&match unlike::other_case(body, DIALECTS) {
            Some(found) => format!("{found}; {expected}; the model takes {takes}"),
            None => format!("{expected}; the model takes {takes}"),
        }))
    }
}

/// A written answer.
#[derive(Debug)]
pub struct Encoded {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Their type.
    pub content_type: &'static str,
    /// Where JSON ends and binary tensors begin, if there are any.
    pub json_bytes: Option<usize>,
}

impl Encoded {
    fn json(body: Vec<u8>) -> Self {
        Self {
            body,
            content_type: "application/json",
            json_bytes: None,
        }
    }
}

/// Writes the answer; as npy if the caller accepts that.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the outputs cannot be written as the caller wants them.
pub fn encode(
    dialect: &Dialect,
    accept: Option<&str>,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> Result<Encoded, ScoreError> {
    let wants_npy = accept.is_some_and(|types| accept::names(types, npy::CONTENT_TYPE));
    let written = match dialect {
        Dialect::OpenInference(asked) => {
            return open_inference::write(asked, metadata, response).map_err(|e| unwritten(&e));
        }
        _ if wants_npy => return npy::answer(metadata, response),
        Dialect::Data | Dialect::InputData | Dialect::Keys => azure_ml::write(metadata, response),
        Dialect::Inputs => azure_ml::write_under("Results", metadata, response),
        Dialect::Instances => azure_ml::write_predictions(metadata, response),
    };
    written.map(Encoded::json).map_err(|e| unwritten(&e))
}

fn unwritten(error: &serde_json::Error) -> ScoreError {
    ScoreError::Internal(format!("the answer cannot be written: {error}"))
}

fn invalid(message: &str) -> ScoreError {
    ScoreError::InvalidInput {
        target: None,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;
