//! Bodies into named tensors and back, in the dialect the caller speaks.

mod azure_ml;
mod careful;
mod cells;
mod charset;
mod columns;
mod element;
mod fast;
mod fast_inference;
mod features;
mod npy;
mod numbers;
mod open_inference;
mod output;
mod picture;
mod raw;
mod scan;
mod table;
mod tabular;
mod write;

use std::io::Read;

use score::{InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tabular::Context;

pub(crate) use azure_ml::sample_request;
pub(crate) use features::{MAX_KEY_BYTES, Unfit, no_rows, read_rows};
use open_inference::Asked;
pub(crate) use open_inference::tensor_document;
pub(crate) use picture::picture_document;

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
    /// Whether its columns have names that nothing could be compared with, so that their order counted.
    pub(crate) by_position: bool,
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

/// Keeps `null` as a value: it is a mistake to be named, not an absent member.
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
    let inflated = inflate(body, declared, limits.max_bytes)?;
    let body = inflated.as_deref().unwrap_or(body);
    let text = charset::to_utf8(body, declared)?;
    let body = &text[..];
    if body.len() > limits.max_bytes {
        return Err(PayloadError::TooLarge);
    }
    let signature = &metadata.signature;
    let mut by_position = false;
    let inputs = match Format::of(body, declared)? {
        Format::Json => return decode_json(body, declared.json_bytes, metadata, limits),
        Format::Raw => raw::read(body, signature)?,
        Format::Npy => npy::read(body, signature)?,
        Format::Table(form) => {
            let read = table::read(context(metadata, limits, "body"), body, form)?;
            by_position = read.by_position;
            read.inputs
        }
        Format::Picture => picture::read(body, metadata)?,
    };
    Ok(Body::Rows(Decoded {
        inputs,
        dialect: Dialect::Data,
        by_position,
    }))
}

fn context<'a>(metadata: &'a ModelMetadata, limits: Limits, target: &'a str) -> Context<'a> {
    Context {
        signature: &metadata.signature,
        options: &metadata.options.inputs,
        max_nesting: limits.max_nesting,
        target,
    }
}

const NPY_MAGIC: &[u8] = b"\x93NUMPY";
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// Zip archives, as .xlsx is one, and the compound files of .xls.
const WORKBOOKS: [&[u8]; 2] = [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"];

/// Whether a body may be much larger than it looks: pictures and what is compressed.
pub(crate) fn is_packed(body: &[u8]) -> bool {
    [GZIP_MAGIC, b"\x89PNG", b"\xff\xd8\xff"]
        .iter()
        .any(|magic| body.starts_with(magic))
}

/// What a body is written in.
#[derive(Debug, PartialEq, Eq)]
enum Format {
    Json,
    Raw,
    Npy,
    Table(table::Form),
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
        if body.starts_with(b"\x89PNG\r\n\x1a\n") || body.starts_with(b"\xff\xd8\xff") {
            return Ok(Self::Picture);
        }
        if let Some(form) = table::Form::of(&essence, content_type)? {
            return match WORKBOOKS.iter().any(|magic| body.starts_with(magic)) {
                true => Err(PayloadError::UnsupportedType(
                    "the body is an Excel workbook; save the table as CSV, and send it as text/csv"
                        .to_owned(),
                )),
                false => Ok(Self::Table(form)),
            };
        }
        match essence.as_str() {
            "application/x-npy" => return Ok(Self::Npy),
            "image/png" | "image/jpeg" => return Ok(Self::Picture),
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
                "content type {content_type:?} is not understood; send application/json, text/csv, text/tab-separated-values, \
                 application/octet-stream, application/x-npy, image/png or image/jpeg"
            ))),
        }
    }
}

/// Unpacks a gzip body; `None` if it is not packed. Where the declared type leaves every byte open, only the header
/// tells.
fn inflate(
    body: &[u8],
    declared: Declared<'_>,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, PayloadError> {
    let says_gzip = declared
        .content_encoding
        .is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("gzip"));
    let any_bytes = declared
        .content_type
        .is_some_and(|ty| ty.starts_with("application/octet-stream"));
    // With a JSON part in front, no raw tensor can begin like this.
    let any_bytes = any_bytes && declared.json_bytes.is_none();
    if !body.starts_with(GZIP_MAGIC) || (any_bytes && !says_gzip) {
        return Ok(None);
    }
    let mut inflated = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(max_bytes as u64 + 1);
    reader
        .read_to_end(&mut inflated)
        .map_err(|error| invalid(&format!("the body is not valid gzip: {error}")))?;
    if inflated.len() > max_bytes {
        return Err(PayloadError::TooLarge);
    }
    Ok(Some(inflated))
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
    if !body.trim_ascii_start().starts_with(b"{") {
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| malformed(body, &error))?;
        return Err(invalid("expected a JSON object such as {\"data\": [...]}").into());
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
            by_position: false,
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
            by_position: false,
        }));
    }
    let top: TopLevel<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(body, &error))?;
    let at = |target| context(metadata, limits, target);
    let rows = |target, value| tabular::read(at(target), value);
    let mut by_position = false;
    let (inputs, dialect) = match top.only_dialect(signature)? {
        ("keys", list) => {
            let max_keys = metadata.options.max_rows.unwrap_or(limits.max_rows);
            return Ok(Body::Keys(features::keys(list, max_keys)?));
        }
        ("data", value) => (rows("data", value)?, Dialect::Data),
        ("instances", value) => (rows("instances", value)?, Dialect::Instances),
        ("Inputs", value) => (azure_ml::read_inputs(at("Inputs"), value)?, Dialect::Inputs),
        ("input_data", value) => {
            let inputs = azure_ml::read_input_data(at("input_data"), value, &mut by_position)?;
            (inputs, Dialect::InputData)
        }
        (_, value) => (
            open_inference::read(at("inputs"), value, binary)?,
            Dialect::OpenInference(Asked::read(top.id, top.outputs, top.parameters, metadata)?),
        ),
    };
    Ok(Body::Rows(Decoded {
        inputs,
        dialect,
        by_position,
    }))
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
            ("keys", self.keys),
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
mod properties;
#[cfg(test)]
mod tests;
