//! Text models as requests see them: what is known of one, and how stored results become answers.
//!
//! Stored is what the model gives, before anything that a request may choose. The vector of a text is the pooled one, before it
//! is cut to fewer dimensions and scaled to length 1; scores are stored as logits, before the activation; tags as the logits of
//! each token. So every form of an answer comes from one entry.

mod scores;
mod sparse;
mod tags;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use scores::{Activation, highest, scores};
pub use sparse::{Weight, weights};
pub use tags::{Aggregation, Entity, TokenSpan, Words, entities, stored_spans};

use crate::signature::{Dim, TensorSpec};
use crate::tensor::{ElementType, NamedTensor, Tensor, TensorData};

/// The input of a text model; of one that takes pairs, the second text of each.
pub const TEXT: &str = "text";
/// The input with the first text of each pair. One row of it may stand for all.
pub const QUERY: &str = "query";
/// The output with the vectors, float32 `[N,dimensions]`.
pub const EMBEDDING: &str = "embedding";
/// The output of a reranker, float32 `[N]`.
pub const SCORE: &str = "score";
/// The output of a classifier with the label whose score is highest, strings `[N]`.
pub const LABEL: &str = "label";
/// The output of a classifier with the scores of all labels, float32 `[N,labels]`.
pub const SCORES: &str = "scores";
/// The output of a token classifier: the entities of each text as JSON, strings `[N]`.
pub const ENTITIES: &str = "entities";
/// The output of a sparse model: the weights of each text as JSON, strings `[N]`.
pub const WEIGHTS: &str = "weights";
/// The name of the logits `[N,labels]` of rerankers and classifiers among the stored outputs.
pub const LOGITS: &str = "logits";
/// The output with the number of tokens of each text, int64 `[N]`.
pub const TOKENS: &str = "tokens";
/// The output that says whether a part of the text was cut off, bool `[N]`.
pub const TRUNCATED: &str = "truncated";

/// What a text model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A vector for each text.
    #[serde(alias = "embed")]
    Embedding,
    /// The weights of a few ids of the vocabulary for each text.
    Sparse,
    /// One score for each pair of texts.
    Rerank,
    /// A score for each label and each text, or pair of texts.
    Classify,
    /// Scores of labels for each token of a text.
    Tag,
}

impl Task {
    /// As in `model.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Sparse => "sparse",
            Self::Rerank => "rerank",
            Self::Classify => "classify",
            Self::Tag => "tag",
        }
    }

    /// Whether stored results of all texts have one shape, so that they can be stacked.
    pub fn has_one_shape(self) -> bool {
        matches!(self, Self::Embedding | Self::Rerank | Self::Classify)
    }
}

/// What becomes of a text that is longer than the model's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncate {
    /// Its end is cut off.
    Right,
    /// Its beginning is cut off.
    Left,
    /// It is refused.
    Refuse,
}

impl Truncate {
    /// As in `model.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Left => "left",
            Self::Refuse => "refuse",
        }
    }
}

/// What one request asks of a text model instead of what the model does otherwise. It is part of the key of each text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// What is put in front of each text, instead of the model's prompt; may be empty.
    pub prompt: Option<String>,
    /// What becomes of longer texts.
    pub truncate: Option<Truncate>,
    /// Tokens of each text, without special tokens and without the other text of a pair, that the model sees.
    pub max_tokens: Option<usize>,
}

impl TextOptions {
    /// Whether the request asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.prompt.is_none() && self.truncate.is_none() && self.max_tokens.is_none()
    }

    /// The same without what the model does anyway, so that it has the same keys as without options.
    pub(crate) fn other_than(self, known: &TextMetadata) -> Self {
        Self {
            prompt: self.prompt.filter(|prompt| *prompt != known.prompt),
            truncate: self.truncate.filter(|truncate| *truncate != known.truncate),
            max_tokens: self.max_tokens.filter(|most| *most < known.max_tokens),
        }
    }
}

/// What is known about a text model.
#[derive(Debug, Clone)]
pub struct TextMetadata {
    /// What it is for.
    pub task: Task,
    /// Whether it takes pairs of texts, by the inputs [`QUERY`] and [`TEXT`]; else [`TEXT`] alone.
    pub pairs: bool,
    /// The labels of a reranker (one), a classifier or a token classifier, in the order of its logits.
    pub labels: Vec<String>,
    /// What makes scores of the logits of a reranker or classifier, unless a request asks for another one.
    pub activation: Activation,
    /// How the vectors of tokens become one: `mean`; `in the ONNX file` if that does it. Empty where there are no vectors.
    pub pooling: String,
    /// Whether vectors are answered with length 1.
    pub normalize: bool,
    /// Numbers of a stored vector.
    pub max_dimensions: usize,
    /// Numbers of a vector in an answer, unless the request asks for fewer.
    pub dimensions: usize,
    /// Tokens of a text that the model sees, special tokens included.
    pub max_tokens: usize,
    /// Characters of a text that are tokenized.
    pub max_chars: usize,
    /// What becomes of longer texts.
    pub truncate: Truncate,
    /// What is put in front of each text.
    pub prompt: String,
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The kind of tokenizer: `WordPiece`, `BPE`, `Unigram` or `WordLevel`.
    pub tokenizer: &'static str,
    /// Tokens of one run.
    pub batch_tokens: usize,
    /// Texts of one request.
    pub max_texts: usize,
    /// How the numbers of a vector are stored: as float32 or float16.
    pub stored_as: ElementType,
    /// Whether texts share runs: only where every bit was found equal. Empty until that is known.
    pub company: Arc<OnceLock<bool>>,
}

impl TextMetadata {
    /// Whether several labels may hold at once.
    pub fn is_multi_label(&self) -> bool {
        self.activation == Activation::Sigmoid && self.labels.len() > 1
    }

    /// The model's outputs as they are stored.
    pub(crate) fn stored_outputs(&self, outputs: &[TensorSpec]) -> Vec<TensorSpec> {
        use Dim::{Dynamic, Fixed};
        let spec = |name: &str, element_type, deeper: &[Dim]| {
            let rows = std::iter::once(Dynamic(None));
            TensorSpec {
                name: name.to_owned(),
                element_type,
                shape: Some(rows.chain(deeper.iter().cloned()).collect()),
            }
        };
        let floats = self.stored_as;
        let labels = Fixed(self.labels.len());
        // One number, or a row, for each token or weight.
        let any = [Dynamic(None)];
        let mut stored = match self.task {
            Task::Embedding => vec![spec(EMBEDDING, floats, &[Fixed(self.max_dimensions)])],
            Task::Rerank | Task::Classify => vec![spec(LOGITS, floats, &[labels])],
            Task::Sparse => vec![
                spec("indices", ElementType::Int32, &any),
                spec("values", floats, &any),
            ],
            Task::Tag => vec![
                spec("ids", ElementType::Int32, &any),
                spec("places", ElementType::Int32, &any),
                spec("spans", ElementType::Int32, &[Dynamic(None), Fixed(2)]),
                spec("flags", ElementType::Uint8, &any),
                spec(LOGITS, floats, &[Dynamic(None), labels]),
            ],
        };
        let common = |spec: &&TensorSpec| spec.name == TOKENS || spec.name == TRUNCATED;
        stored.extend(outputs.iter().filter(common).cloned());
        stored
    }

    /// Turns stored results of one shape into the model's outputs. `None` for other tensors.
    pub fn finish(&self, stored: Vec<NamedTensor>) -> Option<Vec<NamedTensor>> {
        let mut stored = stored.into_iter();
        let first = stored.next()?.tensor;
        let named = |name: &str, tensor: Tensor| NamedTensor {
            name: name.to_owned(),
            tensor,
        };
        let rows = first.rows()?;
        let mut outputs = match self.task {
            Task::Embedding => {
                let none = || {
                    let shape = vec![0, self.dimensions];
                    Tensor::new(shape, TensorData::Float32(Vec::new())).ok()
                };
                let vectors = match rows {
                    0 => none(),
                    _ => finished(&first, self.dimensions, self.normalize),
                };
                vec![named(EMBEDDING, vectors.unwrap_or(first))]
            }
            Task::Rerank => {
                let scores = TensorData::Float32(scores(&first, self.activation)?);
                vec![named(SCORE, Tensor::new(vec![rows], scores).ok()?)]
            }
            Task::Classify => {
                let scores = scores(&first, self.activation)?;
                let width = self.labels.len();
                let label = |scores: &[f32]| self.labels.get(highest(scores)?).cloned();
                let best = scores.chunks_exact(width.max(1)).map(label);
                let best = TensorData::String(best.collect::<Option<_>>()?);
                let scores = TensorData::Float32(scores);
                vec![
                    named(LABEL, Tensor::new(vec![rows], best).ok()?),
                    named(SCORES, Tensor::new(vec![rows, width], scores).ok()?),
                ]
            }
            Task::Sparse | Task::Tag => return None,
        };
        outputs.extend(stored);
        Some(outputs)
    }
}

/// The first `dimensions` numbers of each stored vector as float32, scaled to length 1 if `normalize` says so. `None` for
/// what is no matrix of float32 or float16.
pub fn finished(stored: &Tensor, dimensions: usize, normalize: bool) -> Option<Tensor> {
    let &[rows, width] = stored.shape() else {
        return None;
    };
    let values = floats(stored)?;
    let dimensions = dimensions.min(width);
    let mut finished = Vec::with_capacity(rows * dimensions);
    let vectors = values
        .chunks_exact(width.max(1))
        .map(|vector| &vector[..dimensions]);
    let vectors: Vec<&[f32]> = vectors.collect();
    let (fours, rest) = vectors.as_chunks();
    for four in fours {
        let lengths = lengths::<4>(four, normalize);
        for (vector, length) in four.iter().zip(lengths) {
            finished.extend(vector.iter().map(|value| value / length));
        }
    }
    for vector in rest {
        let [length] = lengths(&[*vector], normalize);
        finished.extend(vector.iter().map(|value| value / length));
    }
    Tensor::new(vec![rows, dimensions], TensorData::Float32(finished)).ok()
}

/// What the numbers of each vector are divided by. As PyTorch's: a vector of zeros stays one.
///
/// A sum waits for each of its additions, so those of several vectors are computed side by side.
fn lengths<const N: usize>(vectors: &[&[f32]; N], normalize: bool) -> [f32; N] {
    if !normalize {
        return [1.0; N];
    }
    let shortest = vectors.iter().map(|vector| vector.len()).min();
    let vectors = vectors.map(|vector| &vector[..shortest.unwrap_or(0)]);
    let mut squares = [0.0f32; N];
    for at in 0..shortest.unwrap_or(0) {
        for (squares, vector) in squares.iter_mut().zip(vectors) {
            *squares += vector[at] * vector[at];
        }
    }
    squares.map(|squares| squares.sqrt().max(1e-12))
}

/// Numbers of float32 or float16 as float32; `None` for others.
fn floats(stored: &Tensor) -> Option<Cow<'_, [f32]>> {
    match stored.data() {
        TensorData::Float32(values) => Some(Cow::Borrowed(values)),
        TensorData::Float16(values) => {
            let wide = values.iter().map(|value| value.to_f32());
            Some(Cow::Owned(wide.collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_vectors_are_cut_and_then_scaled() {
        let values = vec![3.0, 4.0, 12.0, 0.0, 0.0, 0.0];
        let stored = Tensor::new(vec![2, 3], TensorData::Float32(values)).unwrap();
        let values = |dimensions, normalize| {
            let tensor = finished(&stored, dimensions, normalize).unwrap();
            assert_eq!(tensor.shape(), [2, dimensions.min(3)]);
            match tensor.data() {
                TensorData::Float32(values) => values.clone(),
                _ => unreachable!(),
            }
        };
        assert_eq!(values(2, true), [0.6, 0.8, 0.0, 0.0]);
        assert_eq!(
            values(9, true),
            [3.0 / 13.0, 4.0 / 13.0, 12.0 / 13.0, 0.0, 0.0, 0.0]
        );
        assert_eq!(values(1, false), [3.0, 0.0]);
        let scalar = Tensor::new(vec![1], TensorData::Float32(vec![1.0])).unwrap();
        assert!(finished(&scalar, 1, true).is_none());
    }

    #[test]
    fn a_vector_is_scaled_alike_in_any_company() {
        let values: Vec<f32> = (0..7 * 5).map(|at| (at as f32 * 0.37).sin()).collect();
        let all = Tensor::new(vec![7, 5], TensorData::Float32(values.clone())).unwrap();
        let all = finished(&all, 4, true).unwrap();
        for (row, vector) in values.chunks_exact(5).enumerate() {
            let alone = Tensor::new(vec![1, 5], TensorData::Float32(vector.to_vec())).unwrap();
            let alone = finished(&alone, 4, true).unwrap();
            assert_eq!(all.take_rows(&[row]), alone);
        }
    }
}
