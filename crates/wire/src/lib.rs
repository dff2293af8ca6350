//! Reads bodies into named tensors, and writes results in the dialect of the request.

pub mod accept;
pub mod describe;
pub mod dialect;
mod embeddings;
#[cfg(any(test, feature = "samples"))]
pub mod entry_points;
mod format;
mod json;
mod refusal;
mod rows;
mod sample;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod unlike;
mod watch;

use score::{
    ElementType, InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError,
    TensorData,
};

pub use dialect::AnswerForm;
pub use dialect::keys::{HashReader, MAX_KEY_BYTES, Unfit, no_rows, read_rows};
pub use dialect::open_inference::{EXTENSIONS, protocol_tensor_document, tensor_document};
use dialect::{Answer, open_inference};
pub use embeddings::{EmbeddingsRequest, VectorEncoding, read_embeddings, write_embeddings};
pub use format::image::{picture_document, picture_in_words};
pub use format::is_raw;
use format::{Format, charset, csv, gzip, image, npy, raw};
use refusal::{advice, amended, not_an_object};
use rows::columns::Context;
pub use sample::{protocol_sample, sample_request, sample_shape};
use watch::Unwatched;
pub use watch::Watch;

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

    /// How many rows it has or names: the longest first axis of its tensors.
    pub fn row_count(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.len(),
            Self::Rows(rows) => {
                let each = rows.inputs.iter().filter_map(|input| input.tensor.rows());
                each.max().unwrap_or(1)
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
    /// The [`Watch`] has ended the reading.
    Stopped,
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
    decode_watched(body, declared, metadata, limits, &Unwatched)
}

/// Reads a body, and asks for the memory that it takes.
///
/// # Errors
/// As [`decode`], and [`PayloadError::Stopped`] if the reading is over before its end.
pub fn decode_watched(
    body: &[u8],
    declared: Declared<'_>,
    metadata: &ModelMetadata,
    limits: Limits,
    watch: &dyn Watch,
) -> Result<Body, PayloadError> {
    let bounds = Bounds { limits, watch };
    let read = decode_bounded(body, declared, metadata, bounds);
    match read {
        Err(_) if watch.is_over() => Err(PayloadError::Stopped),
        read => read,
    }
}

/// What bounds the reading of one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) limits: Limits,
    pub(crate) watch: &'a dyn Watch,
}

impl Bounds<'_> {
    /// The rows that a request may have, where its rows are independent or `model.toml` bounds them.
    pub(crate) fn max_rows(&self, metadata: &ModelMetadata) -> Option<usize> {
        let cut_apart = metadata.character.rows.are_cut_apart();
        let most = cut_apart.then_some(self.limits.max_rows);
        metadata.options.max_rows.or(most)
    }
}

fn decode_bounded(
    body: &[u8],
    declared: Declared<'_>,
    metadata: &ModelMetadata,
    bounds: Bounds<'_>,
) -> Result<Body, PayloadError> {
    let Bounds { limits, watch } = bounds;
    let signature = &metadata.signature;
    let unpacked = gzip::unpack(body, declared, limits.max_bytes, watch);
    if watch.is_over() {
        return Err(PayloadError::Stopped);
    }
    let inflated = gzip::inflated(body, unpacked, declared, signature)?;
    let body = inflated.as_deref().unwrap_or(body);
    let text = charset::to_utf8(body, declared, watch)?;
    let body = &text[..];
    if body.len() > limits.max_bytes {
        return Err(PayloadError::TooLarge);
    }
    if !watch.take(element_bytes(body, declared, signature)) {
        return Err(PayloadError::Stopped);
    }
    let mut by_position = false;
    let format = match Format::of(body, declared) {
        Ok(format) => format,
        Err(error) => return unwrapped(body, declared, metadata, bounds, error),
    };
    let inputs = match format {
        Format::Json if declared.wrapped && !is_object(body) => {
            let error = not_an_object(body, signature);
            return unwrapped(body, declared, metadata, bounds, error.into());
        }
        Format::Json => return decode_json(body, declared.json_bytes, metadata, bounds),
        Format::Raw => raw::read(body, declared, signature).map_err(|error| {
            let advice = || [unlike::advice_on_raw(body), gzip::advice(body)].concat();
            amended(error, advice)
        })?,
        Format::Npy => npy::read(body, signature, bounds.max_rows(metadata))?,
        Format::Table(form) => {
            let read = csv::read(Context::new(metadata, bounds, "body"), body, form)?;
            by_position = read.by_position;
            read.inputs
        }
        Format::Picture => image::read(body, metadata, watch)?,
    };
    Ok(Body::Rows(Decoded {
        inputs,
        answer: AnswerForm::bare(),
        by_position,
    }))
}

/// Bodies whose elements are counted before they are read; smaller ones cost little, whatever is in them.
const COUNTED_BYTES: usize = 256 << 10;

/// What the elements of a body take at most: there are no more of them than there are separators between them. Pictures and
/// the strings themselves are not counted: the latter are in the body too.
fn element_bytes(body: &[u8], declared: Declared<'_>, signature: &ModelSignature) -> usize {
    if body.len() < COUNTED_BYTES {
        return 0;
    }
    let count = |separators: &[u8]| {
        let seen = separators.iter().map(|separator| {
            let blocks = body.chunks(128);
            let seen = blocks.map(|block| block.iter().filter(|byte| *byte == separator).count());
            seen.sum::<usize>()
        });
        seen.sum::<usize>() + 1
    };
    let specs = signature.inputs.iter().chain(&signature.optional);
    let size = |ty: ElementType| ty.size().unwrap_or(size_of::<String>());
    let size = specs.map(|spec| size(spec.element_type)).max().unwrap_or(0);
    let (elements, beside) = match Format::of(body, declared) {
        Ok(Format::Picture) => (0, 0),
        Ok(Format::Raw | Format::Npy) => (0, body.len()),
        Ok(Format::Table(_)) => (count(b",;\t\n\r"), 0),
        Ok(Format::Json) | Err(_) => {
            let binary = declared
                .json_bytes
                .map_or(0, |length| body.len().saturating_sub(length));
            // Each binary string has its length in front, in four bytes.
            (count(b",") + binary / 4, binary)
        }
    };
    elements.saturating_mul(size).saturating_add(beside)
}

/// Unwraps a message that is not a JSON object and reads it again; returns the error if it has no wrapping.
fn unwrapped(
    body: &[u8],
    declared: Declared<'_>,
    metadata: &ModelMetadata,
    bounds: Bounds<'_>,
    error: PayloadError,
) -> Result<Body, PayloadError> {
    // What is inside is never larger, and is made at most twice.
    if declared.wrapped && !bounds.watch.take(body.len().saturating_mul(2)) {
        return Err(PayloadError::Stopped);
    }
    if declared.wrapped
        && let Some(inner) = unlike::unwrap(body)
    {
        return decode_bounded(&inner, Declared::default(), metadata, bounds);
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
    bounds: Bounds<'_>,
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
    Ok(dialect::read(body, binary, metadata, bounds)?)
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

/// What a response and its answer take at most, before the answer is written.
pub fn response_bytes(
    form: &AnswerForm,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> usize {
    let label = metadata.options.labels.iter().map(String::len).max();
    let label = label.map_or(0, |longest| size_of::<String>() + 2 * longest);
    let each = response.outputs.iter().map(|NamedTensor { name, tensor }| {
        let brackets = 2 * tensor.shape().len() + 1;
        let (held, written) = match tensor.data() {
            TensorData::String(texts) => {
                let bytes: usize = texts.iter().map(String::len).sum();
                // A control character is written as six.
                (
                    bytes + size_of::<String>() * texts.len(),
                    6 * bytes + 2 * texts.len(),
                )
            }
            data => {
                let size = data.element_type().size().unwrap_or(1);
                (
                    data.len() * size,
                    data.len() * (MAX_DIGITS[size.ilog2().min(3) as usize] + label),
                )
            }
        };
        let names = tensor.rows().unwrap_or(1) * (name.len() + 4);
        held + written + tensor.data().len() * brackets + names
    });
    let all: usize = each.sum();
    // Under two members everything is written twice.
    all * if form.also.is_some() { 2 } else { 1 }
}

/// The most characters of a number of 1, 2, 4 and 8 bytes; a half is written as the number of 4 bytes that it is.
const MAX_DIGITS: [usize; 4] = [5, 16, 16, 26];

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
