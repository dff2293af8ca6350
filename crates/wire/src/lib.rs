//! Reads bodies into named tensors, and writes results in the dialect of the request.

pub mod accept;
pub mod describe;
pub mod dialect;
#[cfg(any(test, feature = "samples"))]
pub mod entry_points;
pub mod error_form;
mod format;
mod json;
mod refusal;
mod rows;
mod sample;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
pub mod text_api;
mod unlike;

use score::{InferenceResponse, ModelMetadata, NamedTensor, ScoreError, TensorData};

pub use dialect::AnswerForm;
pub use dialect::keys::{HashReader, MAX_KEY_BYTES, Unfit, no_rows, read_rows};
pub use dialect::open_inference::{EXTENSIONS, protocol_tensor_document, tensor_document};
use dialect::{Answer, open_inference};
pub use format::gzip::{Unpacked, claimed_bytes, unpack, unpacked_bytes};
pub use format::image::{picture_document, picture_in_words};
use format::{Format, charset, csv, gzip, image, npy, raw};
pub use format::{is_packed, is_raw};
use refusal::{advice, amended, not_an_object};
use rows::columns::Context;
pub use sample::{protocol_sample, sample_request, sample_shape};

/// What a body holds.
#[derive(Debug)]
pub enum Body {
    /// The rows themselves.
    Rows(Decoded),
    /// The keys under which the rows lie.
    Keys(Vec<String>),
}

impl Body {
    fn rows_of(inputs: Vec<NamedTensor>, answer: AnswerForm) -> Self {
        Self::Rows(Decoded {
            inputs,
            answer,
            by_position: false,
        })
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let text = |texts: &[String]| {
            let held = texts.iter().map(|text| size_of::<String>() + text.len());
            held.sum()
        };
        match self {
            Self::Keys(keys) => text(keys),
            Self::Rows(rows) => {
                let each = rows.inputs.iter().map(|input| match input.tensor.data() {
                    TensorData::String(texts) => text(texts),
                    data => data.len() * data.element_type().size().unwrap_or(1),
                });
                each.sum()
            }
        }
    }

    /// The rows, if the body has them itself.
    pub fn rows(self) -> Option<Decoded> {
        match self {
            Self::Rows(decoded) => Some(decoded),
            Self::Keys(_) => None,
        }
    }
}

/// The content of a body that has its rows itself.
#[derive(Debug)]
pub struct Decoded {
    /// The tensors, in the order in which the body gives them.
    pub inputs: Vec<NamedTensor>,
    /// How to answer the request.
    pub answer: AnswerForm,
    /// Whether columns were taken by position, because the model has no names to compare theirs with.
    pub by_position: bool,
}

/// Why a body cannot be read.
#[derive(Debug)]
pub enum PayloadError {
    /// The body is malformed or does not fit the model.
    Invalid(ScoreError),
    /// The body's content type or coding is not supported.
    UnsupportedType(String),
    /// The unpacked body is larger than the limit.
    TooLarge,
}

impl From<ScoreError> for PayloadError {
    fn from(error: ScoreError) -> Self {
        Self::Invalid(error)
    }
}

/// What a request's headers say about its body and its answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared<'a> {
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`, which a host that forwards drops.
    pub content_encoding: Option<&'a str>,
    /// `Inference-Header-Content-Length`: where JSON ends and binary tensors begin.
    pub json_bytes: Option<usize>,
    /// The shape of a raw tensor, such as `1,784`, if the sender names it.
    pub shape: Option<&'a str>,
    /// The element type of a raw tensor, such as `FP32` or `float32`, if the sender names it.
    pub datatype: Option<&'a str>,
    /// Whether a body that is not a JSON object may be unwrapped once, because clients of queues wrap bodies.
    pub wrapped: bool,
}

/// The limits of one body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The bytes of the body after decompression.
    pub max_bytes: usize,
    /// The levels of arrays within arrays.
    pub max_nesting: usize,
    /// The number of keys, unless the model has a `max_rows` of its own.
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
    let unpacked = unpack(body, declared, limits.max_bytes);
    decode_unpacked(body, unpacked, declared, metadata, limits)
}

/// Reads a body that [`unpack`] has taken already, with the same headers.
///
/// # Errors
/// As [`decode`].
pub fn decode_unpacked(
    body: &[u8],
    unpacked: Unpacked,
    declared: Declared<'_>,
    metadata: &ModelMetadata,
    limits: Limits,
) -> Result<Body, PayloadError> {
    let signature = &metadata.signature;
    let inflated = gzip::inflated(body, unpacked, declared, signature)?;
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
            let read = csv::read(Context::new(metadata, limits, "body"), body, form)?;
            by_position = read.by_position;
            read.inputs
        }
        Format::Picture => image::read(body, metadata)?,
    };
    Ok(Body::Rows(Decoded {
        inputs,
        answer: AnswerForm::bare(),
        by_position,
    }))
}

/// Unwraps a message that is not a JSON object and reads it again; returns the error if it has no wrapping.
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
        && let Some((dialect, tensor)) = dialect::fast::read(body, spec)
    {
        let name = spec.name.clone();
        spec.check(&tensor, dialect.member)?;
        let inputs = vec![NamedTensor { name, tensor }];
        return Ok(Body::rows_of(inputs, AnswerForm::of(dialect)));
    }
    if let Some(read) = open_inference::fast::read(body, signature) {
        let asked = dialect::Asked::read(read.id, read.outputs, read.parameters, metadata)?;
        if !binary.is_empty() {
            return Err(open_inference::left_over(binary).into());
        }
        return Ok(open_inference::body_of(read.inputs, asked));
    }
    Ok(dialect::read(body, binary, metadata, limits)?)
}

/// An answer's body, ready to send.
#[derive(Debug)]
pub struct Encoded {
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// The content type of the bytes.
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

/// Writes the answer, as a numpy array if the request accepts one.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the outputs cannot be written as the caller wants them.
pub fn encode(
    form: &AnswerForm,
    accept: Option<&str>,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> Result<Encoded, ScoreError> {
    let wants_npy = accept.is_some_and(|accept| {
        let weight = accept::weight_if_named(accept, npy::CONTENT_TYPE);
        weight > 0.0 && weight >= accept::weight(accept, "application/json")
    });
    // The Open Inference Protocol has binary tensors of its own.
    if wants_npy && form.asked.is_none() {
        return npy::answer(form.outputs(metadata), metadata, response);
    }
    let write = form.dialect.write;
    let written = write(&Answer {
        form,
        metadata,
        response,
    });
    written.map_err(|error| unwritten(&error))
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
mod bounded_fuzz;
#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;
