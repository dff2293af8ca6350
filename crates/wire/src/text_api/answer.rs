//! What an answer is written from.

use std::time::Duration;

/// The results of a request's texts, and what else an answer tells.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a, R> {
    /// What the model made of the texts.
    pub results: R,
    /// The name of the model.
    pub model: &'a str,
    /// The id of the request.
    pub id: &'a str,
    /// The number of tokens of each text.
    pub tokens: &'a [i64],
    /// Whether a part of each text was cut off.
    pub truncated: &'a [bool],
    /// Whether the model refuses texts that are too long, unless a request has them cut.
    pub refuses: bool,
    /// How long the request has been in work.
    pub took: Duration,
}

/// Vectors of equal length.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'a> {
    /// Their numbers, one vector behind the other.
    pub values: &'a [f32],
    /// How many numbers each vector has.
    pub width: usize,
}

impl<'a> Vectors<'a> {
    /// The vectors.
    pub(crate) fn each(self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

impl<R> Answered<'_, R> {
    /// The tokens of all texts together.
    pub(crate) fn all_tokens(&self) -> i64 {
        self.tokens.iter().sum()
    }
}
