//! Text models as requests see them: what is known of one, and how its stored vectors become answers.
//!
//! The stored vector of a text is the pooled one, before it is cut to fewer dimensions and scaled to length 1. So every form
//! of an answer comes from one entry.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::signature::{Dim, TensorSpec};
use crate::tensor::{ElementType, NamedTensor, Tensor, TensorData};

/// The input of a text model.
pub const TEXT: &str = "text";
/// The output with the vectors, float32 `[N,dimensions]`.
pub const EMBEDDING: &str = "embedding";
/// The output with the number of tokens of each text, int64 `[N]`.
pub const TOKENS: &str = "tokens";
/// The output that says whether a part of the text was cut off, bool `[N]`.
pub const TRUNCATED: &str = "truncated";

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
}

impl TextOptions {
    /// Whether the request asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.prompt.is_none() && self.truncate.is_none()
    }

    /// The same without what the model does anyway, so that it has the same keys as without options.
    pub(crate) fn other_than(self, known: &TextMetadata) -> Self {
        Self {
            prompt: self.prompt.filter(|prompt| *prompt != known.prompt),
            truncate: self.truncate.filter(|truncate| *truncate != known.truncate),
        }
    }
}

/// What is known about a text model.
#[derive(Debug, Clone)]
pub struct TextMetadata {
    /// What it is for: `embedding`.
    pub task: &'static str,
    /// How the vectors of tokens become one: `mean`; `in the ONNX file` if that does it.
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
    /// The model's outputs as they are stored.
    pub(crate) fn stored_outputs(&self, outputs: &[TensorSpec]) -> Vec<TensorSpec> {
        let stored = |spec: &TensorSpec| match spec.name == EMBEDDING {
            false => spec.clone(),
            true => TensorSpec {
                name: spec.name.clone(),
                element_type: self.stored_as,
                shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(self.max_dimensions)]),
            },
        };
        outputs.iter().map(stored).collect()
    }

    /// Turns the stored vectors among these outputs into answers.
    pub fn finish(&self, outputs: &mut [NamedTensor]) {
        let embedding = outputs.iter_mut().find(|output| output.name == EMBEDDING);
        if let Some(output) = embedding
            && let Some(finished) = finished(&output.tensor, self.dimensions, self.normalize)
        {
            output.tensor = finished;
        }
    }
}

/// The first `dimensions` numbers of each stored vector as float32, scaled to length 1 if `normalize` says so. `None` for
/// what is no matrix of float32 or float16.
pub fn finished(stored: &Tensor, dimensions: usize, normalize: bool) -> Option<Tensor> {
    let &[rows, width] = stored.shape() else {
        return None;
    };
    let widened: Vec<f32>;
    let values: &[f32] = match stored.data() {
        TensorData::Float32(values) => values,
        TensorData::Float16(values) => {
            widened = values.iter().map(|value| value.to_f32()).collect();
            &widened
        }
        _ => return None,
    };
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
