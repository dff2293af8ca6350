//! Reads bodies into named tensors, and writes results in the dialect of the request.

pub mod accept;
mod body;
mod context;
mod convert;
pub mod describe;
pub mod dialect;
#[cfg(any(test, feature = "samples"))]
pub mod entry_points;
pub mod error_form;
mod format;
mod json;
mod picture;
mod refusal;
mod rows;
mod sample;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
pub mod schema;
pub mod text_api;
mod unlike;
mod watch;

use score::{InferenceResponse, ModelMetadata, NamedTensor, ScoreError};

use body::Bounds;
pub use body::{Declared, Encoded, Limits, PayloadError, TableForm};
use body::{invalid, is_object};
pub use dialect::keys::{HashReader, MAX_KEY_BYTES, Unfit, no_rows, read_rows};
pub use dialect::open_inference::{EXTENSIONS, protocol_tensor_document, tensor_document};
use dialect::{Answer, open_inference};
pub use dialect::{AnswerForm, Body, Decoded, response_bytes};
pub use format::csv::table_form;
use format::{Contents, Read, charset, gzip};
pub use format::{FORMATS, Format, is_raw};
pub use json::element::{Double, Float};
pub use picture::{picture_document, picture_in_words};
use refusal::{advice, not_an_object};
pub use sample::{
    protocol_sample, read_samples, sample_in, sample_request, sample_rows, sample_shape,
};
use watch::Unwatched;
pub use watch::Watch;

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
    if !watch.take(format::element_bytes(body, declared, signature)) {
        return Err(PayloadError::Stopped);
    }
    let format = match Format::of(body, declared) {
        Ok(format) => format,
        Err(error) => return unwrapped(body, declared, metadata, bounds, error),
    };
    let Some(read) = format.and_then(|format| format.read) else {
        if declared.wrapped && !is_object(body) {
            let error = not_an_object(body, signature);
            return unwrapped(body, declared, metadata, bounds, error.into());
        }
        return decode_json(body, declared.json_bytes, metadata, bounds);
    };
    let read = read(&Contents {
        body,
        declared,
        metadata,
        bounds,
    });
    let Read {
        inputs,
        by_position,
    } = match read {
        Err(error @ PayloadError::UnsupportedType(_)) => {
            return unwrapped(body, declared, metadata, bounds, error);
        }
        read => read?,
    };
    Ok(Body::Rows(Decoded {
        inputs,
        answer: match declared.by_row {
            true => AnswerForm::by_row(),
            false => AnswerForm::bare(),
        },
        by_position,
    }))
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
        && let Some((dialect, tensor)) = dialect::fast::read(body, spec, bounds.watch)
    {
        let name = spec.name.clone();
        spec.check(&tensor, dialect.member)?;
        let inputs = vec![NamedTensor { name, tensor }];
        return Ok(Body::rows_of(inputs, AnswerForm::of(dialect)));
    }
    if let Some(read) = open_inference::fast::read(body, signature, bounds.watch) {
        let asked = dialect::Asked::read(read.id, read.outputs, read.parameters, metadata)?;
        if !binary.is_empty() {
            return Err(open_inference::left_over(binary).into());
        }
        return Ok(open_inference::body_of(read.inputs, asked));
    }
    // Their reading may have ended for that reason, before a mistake was found.
    if bounds.watch.is_over() {
        return Err(PayloadError::Stopped);
    }
    Ok(dialect::read(body, binary, metadata, bounds)?)
}

/// Writes the answer: in the dialect of the request, or in a format that the request accepts, such as a numpy array.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the outputs cannot be written as the caller wants them.
pub fn encode(
    form: &AnswerForm,
    accept: Option<&str>,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> Result<Encoded, ScoreError> {
    // The Open Inference Protocol has binary tensors of its own.
    let accept = accept.filter(|_| form.asked.is_none());
    if let Some(writing) = accept.and_then(format::accepted_writing) {
        return (writing.write)(form.outputs(metadata), metadata, response);
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

#[cfg(test)]
#[path = "../../../fuzz/bounded.rs"]
mod bounded;
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
