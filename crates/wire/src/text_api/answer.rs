//! What an answer is written from.

use std::time::Duration;

use score::Activation;
use serde::Serialize;

use crate::json::output::highest_first;

/// The results of a request's texts, and what else an answer tells.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a, R> {
    /// What the model made of the texts.
    pub results: R,
    /// The name of the model.
    pub model: &'a str,
    /// The id of the request.
    pub id: &'a str,
    /// The texts, if the request has them repeated.
    pub texts: &'a [String],
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

impl<'a, R> Answered<'a, R> {
    /// The same with these results.
    #[cfg(any(test, feature = "samples"))]
    pub(crate) fn with<T>(self, results: T) -> Answered<'a, T> {
        Answered {
            results,
            model: self.model,
            id: self.id,
            texts: self.texts,
            tokens: self.tokens,
            truncated: self.truncated,
            refuses: self.refuses,
            took: self.took,
        }
    }

    /// The tokens of all texts together.
    pub(crate) fn all_tokens(&self) -> i64 {
        self.tokens.iter().sum()
    }
}

/// What a reranker made of pairs.
#[derive(Debug, Clone, Copy)]
pub struct Ranks<'a> {
    /// The logit of each pair. They give the order: the scores of good texts may all be 1, as a sigmoid rounds them.
    pub logits: &'a [f32],
    /// What makes scores of logits.
    pub activation: Activation,
}

impl Ranks<'_> {
    /// Where the highest scores stand, the highest first; of equal ones the first.
    pub(crate) fn best(self, top: Option<usize>) -> Vec<usize> {
        highest(self.logits, top)
    }

    /// The score of one pair.
    pub(crate) fn score(self, index: usize) -> Option<f32> {
        let mut score = [*self.logits.get(index)?];
        self.activation.apply(&mut score);
        let [score] = score;
        Some(score)
    }
}

/// The scores of a classifier.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// The names of its labels.
    pub names: &'a [String],
    /// The scores of all labels, those of one text behind those of the other.
    pub scores: &'a [f32],
}

/// A label with its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Scored<'a> {
    pub(crate) label: &'a str,
    pub(crate) score: f32,
}

impl<'a> Labels<'a> {
    /// The best labels of each text, at most so many.
    pub(crate) fn best(self, top: Option<usize>) -> impl Iterator<Item = Vec<Scored<'a>>> {
        let texts = self.scores.chunks_exact(self.names.len().max(1));
        texts.map(move |scores| {
            let best = highest(scores, top).into_iter();
            let of = |at: usize| {
                Some(Scored {
                    label: self.names.get(at)?,
                    score: *scores.get(at)?,
                })
            };
            best.filter_map(of).collect()
        })
    }
}

/// Where the highest of these scores stand, the highest first, NaN last; of equal ones the first.
pub(crate) fn highest(scores: &[f32], top: Option<usize>) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    let score = |place: &usize| scores.get(*place).copied().unwrap_or_default();
    places.sort_by(|one, other| highest_first(&score(one), &score(other)));
    places.truncate(top.unwrap_or(places.len()));
    places
}
