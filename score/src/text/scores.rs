//! Scores from the stored logits of rerankers and classifiers.

use serde::{Deserialize, Serialize};

use super::floats;
use crate::tensor::Tensor;

/// What makes scores of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Each logit by itself: 1 / (1 + e^-x). Several labels may hold at once.
    Sigmoid,
    /// The scores of a text sum up to 1: one of the labels holds.
    Softmax,
    /// The logits are the scores.
    None,
}

impl Activation {
    /// As in `model.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Softmax => "softmax",
            Self::None => "none",
        }
    }

    /// Makes scores of the logits of one text or token, in their place.
    pub fn apply(self, logits: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Sigmoid => {
                for value in logits {
                    *value = 1.0 / (1.0 + (-*value).exp());
                }
            }
            Self::Softmax => {
                // Against overflow, as transformers' pipelines do it.
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut sum = 0.0;
                for value in &mut *logits {
                    *value = (*value - most).exp();
                    sum += *value;
                }
                for value in logits {
                    *value /= sum;
                }
            }
        }
    }
}

/// The scores of every text, one row of `labels` numbers after the other, from the stored logits `[N,labels]`. `None` for
/// what is no matrix of float32 or float16.
pub fn scores(logits: &Tensor, activation: Activation) -> Option<Vec<f32>> {
    let labels = match logits.shape() {
        [0] => 0,
        [_, labels] => *labels,
        _ => return None,
    };
    let mut scores = floats(logits)?.into_owned();
    for text in scores.chunks_exact_mut(labels.max(1)) {
        activation.apply(text);
    }
    Some(scores)
}

/// The place of the highest score, the first one of several: as numpy's `argmax`.
pub fn highest(scores: &[f32]) -> Option<usize> {
    let places = scores.iter().enumerate();
    let first = places.reduce(|best, next| match *next.1 > *best.1 {
        true => next,
        false => best,
    });
    first.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorData;

    #[test]
    fn logits_become_scores_and_large_ones_do_not_overflow() {
        let logits = Tensor::new(
            vec![2, 2],
            TensorData::Float32(vec![0.0, 3f32.ln(), 500.0, -500.0]),
        );
        let logits = logits.unwrap();
        let scored = |activation| scores(&logits, activation).unwrap();
        let softmax = scored(Activation::Softmax);
        for (found, expected) in softmax.iter().zip([0.25, 0.75, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{softmax:?}");
        }
        let sigmoid = scored(Activation::Sigmoid);
        for (found, expected) in sigmoid.iter().zip([0.5, 0.75, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{sigmoid:?}");
        }
        assert_eq!(scored(Activation::None)[3], -500.0);
        let vector = Tensor::new(vec![1], TensorData::Float32(vec![1.0])).unwrap();
        assert!(scores(&vector, Activation::None).is_none());
    }

    #[test]
    fn of_equal_scores_the_first_is_the_highest() {
        assert_eq!(highest(&[1.0, 2.0, 2.0]), Some(1));
        assert_eq!(highest(&[]), None);
    }
}
