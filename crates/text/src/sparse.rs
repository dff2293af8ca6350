//! How the logits of a masked language model become a sparse vector.
//!
//! The ways, their names and their order are those of sentence-transformers
//! (`sentence_transformers/sparse_encoder/modules/splade_pooling.py`).

use serde::{Deserialize, Serialize};

/// How the weights of a text's tokens become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Over {
    #[default]
    Max,
    Sum,
}

/// What is made of a logit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Weighing {
    /// log(1 + relu(x)).
    #[default]
    Relu,
    /// The logarithm once more: log(1 + log(1 + relu(x))).
    Log1pRelu,
}

/// What `1_SpladePooling/config.json` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparsePooling {
    #[serde(default, rename = "pooling_strategy")]
    pub(crate) over: Over,
    #[serde(default, rename = "activation_function")]
    pub(crate) weighing: Weighing,
}

impl SparsePooling {
    /// The weight of each id of the vocabulary, of which there are `width`, from the logits of a text's tokens. NaN stays.
    pub(crate) fn pool(self, tokens: &[f32], width: usize) -> Vec<f32> {
        let mut pooled = vec![0f32; width];
        for token in tokens.chunks_exact(width) {
            for (sum, logit) in pooled.iter_mut().zip(token) {
                match self.over {
                    // The logarithm grows with its argument, so that of the highest is enough.
                    Over::Max if *logit > *sum || logit.is_nan() => *sum = *logit,
                    Over::Max => {}
                    Over::Sum => *sum += self.weight(*logit),
                }
            }
        }
        if self.over == Over::Max {
            for value in &mut pooled {
                *value = self.weight(*value);
            }
        }
        pooled
    }

    fn weight(self, logit: f32) -> f32 {
        // `f32::max` would make 0 of NaN.
        let positive = if logit < 0.0 { 0.0 } else { logit };
        match self.weighing {
            Weighing::Relu => positive.ln_1p(),
            Weighing::Log1pRelu => positive.ln_1p().ln_1p(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_weights_as_sentence_transformers_makes_them() {
        let tokens = [1.0, -1.0, 0.0, 3.0, -2.0, 0.5];
        let pool = |text: &str| {
            let pooling: SparsePooling = serde_json::from_str(text).unwrap();
            pooling.pool(&tokens, 3)
        };
        let ln = |value: f32| (1.0 + value).ln();
        let close = |found: Vec<f32>, expected: [f32; 3]| {
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
            assert!(
                found.iter().zip(&expected).all(near),
                "{found:?} {expected:?}"
            );
        };
        close(pool("{}"), [ln(3.0), 0.0, ln(0.5)]);
        let sum = r#"{"pooling_strategy": "sum", "activation_function": "relu"}"#;
        close(pool(sum), [ln(1.0) + ln(3.0), 0.0, ln(0.5)]);
        let twice = r#"{"activation_function": "log1p_relu", "embedding_dimension": null}"#;
        close(pool(twice), [ln(ln(3.0)), 0.0, ln(ln(0.5))]);
        assert!(SparsePooling::default().pool(&[f32::NAN, 1.0], 1)[0].is_nan());
        assert!(serde_json::from_str::<SparsePooling>(r#"{"pooling_strategy": "mean"}"#).is_err());
    }
}
