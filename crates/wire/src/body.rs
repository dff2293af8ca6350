//! What all readers and writers share: what a request says of its body, the limits, why a body cannot be read, and an answer's
//! body.

use score::{ModelMetadata, ModelSignature, ScoreError, TensorSpec};

use crate::watch::Watch;

/// Why a body cannot be read.
#[derive(Debug)]
pub enum PayloadError {
    /// The body is malformed or does not fit the model.
    Invalid(ScoreError),
    /// The body's content type or coding is not supported.
    UnsupportedType(String),
    /// The unpacked body is larger than the limit.
    TooLarge,
    /// The watch over the reading has ended it.
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
    /// Whether a body that is not JSON is answered as MLflow's scoring server does: by row, under `predictions`.
    pub by_row: bool,
    /// How a table is written that the body is a part of; otherwise the body tells.
    pub table: Option<TableForm>,
}

/// How the cells of a table are written ([`table_form`](crate::table_form)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableForm {
    /// What separates them.
    pub(crate) separator: u8,
    /// The decimal sign where both could stand, as they can between semicolons; `None` if the first lines have neither.
    pub(crate) decimal: Option<u8>,
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

/// Whether a body begins like a JSON object.
pub(crate) fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// The error for a body as a whole.
pub(crate) fn invalid(message: &str) -> ScoreError {
    ScoreError::InvalidInput {
        target: None,
        message: message.to_owned(),
    }
}

/// The same error with `words` appended.
pub(crate) fn amended(error: ScoreError, words: impl FnOnce() -> String) -> ScoreError {
    match error {
        ScoreError::InvalidInput { target, message } => ScoreError::InvalidInput {
            target,
            message: message + &words(),
        },
        error => error,
    }
}

/// The input for a body that names none.
pub(crate) fn only_input(signature: &ModelSignature) -> Result<&TensorSpec, ScoreError> {
    match &signature.inputs[..] {
        [spec] => Ok(spec),
        specs => Err(ScoreError::invalid(
            "body",
            format!(
                "a body without names needs a model with one input; this one has {}: {}",
                specs.len(),
                signature.describe_inputs()
            ),
        )),
    }
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
    pub(crate) fn json(body: Vec<u8>) -> Self {
        Self {
            body,
            content_type: "application/json",
            json_bytes: None,
        }
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
