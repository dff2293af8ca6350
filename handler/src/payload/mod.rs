//! Bodies into named tensors and back, in the dialect the caller speaks.

mod azure_ml;
mod careful;
mod element;
mod fast;
mod fast_inference;
mod features;
mod gzip;
mod npy;
mod numbers;
mod open_inference;
mod output;
mod picture;
mod raw;
mod refusal;
mod scan;
mod table;
mod tabular;
mod unlike;
mod write;

use score::{InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError};
use serde::Deserialize;
use serde_json::value::RawValue;
use tabular::Context;

pub(crate) use azure_ml::{sample_request, sample_shape};
pub(crate) use features::{HashReader, MAX_KEY_BYTES, Unfit, no_rows, read_rows};
use open_inference::Asked;
pub(crate) use open_inference::{protocol_tensor_document, tensor_document};
pub(crate) use picture::{picture_document, picture_in_words};
use refusal::{advice, amended, malformed, not_an_object};

/// What a body holds.
#[derive(Debug)]
pub(crate) enum Body {
    /// The rows themselves.
    Rows(Decoded),
    /// The keys under which the rows lie.
    Keys(Vec<String>),
}

impl Body {
    /// The rows, if they are in it.
    pub(crate) fn rows(self) -> Option<Decoded> {
        match self {
            Self::Rows(decoded) => Some(decoded),
            Self::Keys(_) => None,
        }
    }
}

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
    /// `{"keys": [...]}`, answered with the bare result. The rows are not the caller's, so no error may quote them.
    Keys,
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
pub(crate) struct Declared<'a> {
    /// `Content-Type`.
    pub(crate) content_type: Option<&'a str>,
    /// `Content-Encoding`, which does not survive the way through the host.
    pub(crate) content_encoding: Option<&'a str>,
    /// `Inference-Header-Content-Length`: where JSON ends and binary tensors begin.
    pub(crate) json_bytes: Option<usize>,
    /// The shape of a raw tensor, such as `1,784`, if its sender names it.
    pub(crate) shape: Option<&'a str>,
    /// Likewise its element type, such as `FP32` or `float32`.
    pub(crate) datatype: Option<&'a str>,
    /// Whether a body that is no JSON object may be one inside a wrapping, as clients of queues make them.
    pub(crate) wrapped: bool,
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes, after decompression.
    pub(crate) max_bytes: usize,
    /// Arrays within arrays.
    pub(crate) max_nesting: usize,
    /// Keys, unless `max_rows` of the model counts.
    pub(crate) max_rows: usize,
}

/// Reads a body.
///
/// # Errors
/// [`PayloadError`] naming the place, what was found and what was expected.
pub(crate) fn decode(
    body: &[u8],
    declared: Declared<'_>,
    metadata: &ModelMetadata,
    limits: Limits,
) -> Result<Body, PayloadError> {
    let (signature, max_nesting) = (&metadata.signature, limits.max_nesting);
    let inflated = gzip::inflate(body, declared, signature, limits.max_bytes)?;
    let body = inflated.as_deref().unwrap_or(body);
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
        Format::Csv => table::read(body, signature, max_nesting)?,
        Format::Picture => picture::read(body, metadata)?,
    };
    Ok(Body::Rows(Decoded {
        inputs,
        dialect: Dialect::Data,
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

const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// Whether a body may be much larger than it looks: pictures and what is compressed.
pub(crate) fn is_packed(body: &[u8]) -> bool {
    body.starts_with(gzip::MAGIC) || picture::begins_like_one(body)
}

/// Whether a content type says that a body is the bytes of a tensor.
pub(crate) fn is_raw(content_type: &str) -> bool {
    content_type.starts_with("application/octet-stream")
}

/// What a body is written in.
#[derive(Debug, PartialEq, Eq)]
enum Format {
    Json,
    Raw,
    Npy,
    Csv,
    Picture,
}

impl Format {
    /// Many clients do not say or do not know what they send, so where the first bytes leave no doubt they count more
    /// than the declared type.
    fn of(body: &[u8], declared: Declared<'_>) -> Result<Self, PayloadError> {
        let content_type = declared.content_type.unwrap_or("application/json");
        let essence = content_type.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        if declared.json_bytes.is_some() {
            return Ok(Self::Json);
        }
        // Raw tensors may begin with any bytes.
        if essence == "application/octet-stream" && !body.starts_with(NPY_MAGIC) {
            return Ok(Self::Raw);
        }
        if body.starts_with(NPY_MAGIC) {
            return Ok(Self::Npy);
        }
        if picture::begins_like_one(body) {
            return Ok(Self::Picture);
        }
        match essence.as_str() {
            "application/x-npy" => return Ok(Self::Npy),
            "text/csv" => return Ok(Self::Csv),
            "image/png" | "image/jpeg" | "image/webp" => return Ok(Self::Picture),
            _ => {}
        }
        let text = essence.ends_with("json")
            || matches!(
                essence.as_str(),
                "text/plain" | "application/x-www-form-urlencoded"
            );
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        match first {
            None => Err(invalid("the body is empty; expected a JSON object").into()),
            Some(b'{') => Ok(Self::Json),
            Some(_) if text => Ok(Self::Json),
            Some(_) => Err(PayloadError::UnsupportedType(format!(
                "content type {content_type:?} is not understood; send application/json, text/csv, \
                 application/octet-stream, application/x-npy, image/png, image/jpeg or image/webp"
            ))),
        }
    }
}

fn decode_json(
    body: &[u8],
    json_bytes: Option<usize>,
    metadata: &ModelMetadata,
    limits: Limits,
) -> Result<Body, PayloadError> {
    let (signature, max_nesting) = (&metadata.signature, limits.max_nesting);
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
        && let Some((member, tensor)) = fast::read_body(body, spec)
    {
        let name = spec.name.clone();
        spec.check(&tensor, member)?;
        return Ok(Body::Rows(Decoded {
            inputs: vec![NamedTensor { name, tensor }],
            dialect: match member {
                "instances" => Dialect::Instances,
                _ => Dialect::Data,
            },
        }));
    }
    if let Some(read) = fast_inference::read(body, signature) {
        let asked = Asked::read(read.id, read.outputs, read.parameters, metadata)?;
        if !binary.is_empty() {
            return Err(open_inference::left_over(binary).into());
        }
        return Ok(Body::Rows(Decoded {
            inputs: read.inputs,
            dialect: Dialect::OpenInference(asked),
        }));
    }
    let top: TopLevel<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(body, signature, &error))?;
    let rows = |target, value| {
        let context = Context {
            signature,
            max_nesting,
            target,
        };
        tabular::read(context, value)
    };
    let (inputs, dialect) = match top.only_dialect(body, signature)? {
        ("keys", list) => {
            let max_keys = metadata.options.max_rows.unwrap_or(limits.max_rows);
            return Ok(Body::Keys(features::keys(list, max_keys)?));
        }
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
            open_inference::read(value, binary, signature, max_nesting)
                .map_err(|error| amended(error, || refusal::lower_case_inputs(value)))?,
            Dialect::OpenInference(Asked::read(top.id, top.outputs, top.parameters, metadata)?),
        ),
    };
    Ok(Body::Rows(Decoded { inputs, dialect }))
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
pub(crate) struct Encoded {
    /// Its bytes.
    pub(crate) body: Vec<u8>,
    /// Their type.
    pub(crate) content_type: &'static str,
    /// Where JSON ends and binary tensors begin, if there are any.
    pub(crate) json_bytes: Option<usize>,
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
pub(crate) fn encode(
    dialect: &Dialect,
    accept: Option<&str>,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> Result<Encoded, ScoreError> {
    let wants_npy = accept.is_some_and(|types| types.contains(npy::CONTENT_TYPE));
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
