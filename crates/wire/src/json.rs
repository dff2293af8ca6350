//! JSON: read in one pass where it is plain, once more with words for a mistake, and written.

pub(crate) mod base64;
pub(crate) mod bounded;
pub(crate) mod diagnose;
pub(crate) mod element;
pub(crate) mod missing;
pub(crate) mod names;
pub(crate) mod nested;
pub(crate) mod number;
pub(crate) mod number_array;
pub(crate) mod output;
pub(crate) mod scanner;
pub(crate) mod write;

use score::{ScoreError, shortened};
use serde::Deserialize;

/// Reads a text of JSON.
///
/// # Errors
/// [`ScoreError::InvalidInput`] with `target`, the place of the text in the request.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str, target: &str) -> Result<T, ScoreError> {
    serde_json::from_str(text)
        .map_err(|error| ScoreError::invalid(target, format!("{target}: {}", shortened(error))))
}
