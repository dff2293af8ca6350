//! How the vectors of a text's tokens become one vector.
//!
//! The ways, their names and their order are those of sentence-transformers
//! (`sentence_transformers/sentence_transformer/modules/pooling.py`). Sums run over the tokens of the text alone, in
//! their order, so that padding changes no bit.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// One way to pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Mode {
    Cls,
    Max,
    Mean,
    MeanSqrtLen,
    WeightedMean,
    LastToken,
}

/// Modes with the names that configs and `model.toml` may use; the first of a mode is the one that is shown.
const NAMES: [(&str, Mode); 9] = [
    ("cls", Mode::Cls),
    ("max", Mode::Max),
    ("mean", Mode::Mean),
    ("mean_sqrt_len_tokens", Mode::MeanSqrtLen),
    ("mean_sqrt_len", Mode::MeanSqrtLen),
    ("weightedmean", Mode::WeightedMean),
    ("weighted_mean", Mode::WeightedMean),
    ("lasttoken", Mode::LastToken),
    ("last_token", Mode::LastToken),
];

/// One or more ways to pool; the vectors of several are concatenated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pooling(Vec<Mode>);

impl Pooling {
    /// The ways of these names.
    ///
    /// # Errors
    /// If there is none, or a name is not known.
    pub(crate) fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let known = |name: &str| {
            let found = NAMES.iter().find(|(known, _)| *known == name);
            found.map(|(_, mode)| *mode).ok_or_else(|| {
                let name: String = name.chars().take(200).collect();
                format!("expected cls, max, mean, mean_sqrt_len, weightedmean or lasttoken; found {name:?}")
            })
        };
        let modes = names.into_iter().map(known);
        let modes = modes.collect::<Result<Vec<Mode>, String>>()?;
        if modes.is_empty() || modes.len() > NAMES.len() {
            return Err("expected at least one way to pool, and no way twice".to_owned());
        }
        Ok(Self(modes))
    }

    /// How many vectors of the width of a token are concatenated.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Pools the vectors of one text's tokens, each of `width` numbers. The first `skipped` tokens, those of a prompt
    /// that does not count, are left out.
    pub(crate) fn pool(&self, tokens: &[f32], width: usize, skipped: usize) -> Vec<f32> {
        let mut pooled = Vec::with_capacity(width * self.0.len());
        for mode in &self.0 {
            mode.pool(tokens, width, skipped, &mut pooled);
        }
        pooled
    }
}

impl Mode {
    fn pool(self, tokens: &[f32], width: usize, skipped: usize, pooled: &mut Vec<f32>) {
        let all = tokens.chunks_exact(width);
        let count = all.len();
        // Where the prompt is all there is, the first and the last token are still taken.
        let first = if skipped < count { skipped } else { 0 };
        let counted = all.clone().enumerate().skip(skipped);
        match self {
            Self::Cls => pooled.extend(all.skip(first).take(1).flatten()),
            Self::LastToken => pooled.extend(all.rev().take(1).flatten()),
            Self::Max => {
                let mut most = vec![f32::NEG_INFINITY; width];
                for (_, token) in counted {
                    for (most, value) in most.iter_mut().zip(token) {
                        // As torch: NaN wins.
                        if *value > *most || value.is_nan() {
                            *most = *value;
                        }
                    }
                }
                pooled.extend(most);
            }
            Self::Mean | Self::MeanSqrtLen => {
                let number = count.saturating_sub(skipped) as f32;
                let divisor = match self {
                    Self::Mean => number.max(1e-9),
                    _ => number.max(1e-9).sqrt(),
                };
                let sum = weighted_sum(counted.map(|(_, token)| (1.0, token)), width);
                pooled.extend(sum.into_iter().map(|value| value / divisor));
            }
            Self::WeightedMean => {
                let weight = |position: usize| (position + 1) as f32;
                let total: f32 = (skipped..count).map(weight).sum();
                let sum = weighted_sum(counted.map(|(at, token)| (weight(at), token)), width);
                pooled.extend(sum.into_iter().map(|value| value / total.max(1e-9)));
            }
        }
    }
}

fn weighted_sum<'a>(tokens: impl Iterator<Item = (f32, &'a [f32])>, width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for (weight, token) in tokens {
        for (total, value) in sum.iter_mut().zip(token) {
            *total += weight * value;
        }
    }
    sum
}

/// `mean`; several are joined by a plus sign.
impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mode) in self.0.iter().enumerate() {
            let plus = if place == 0 { "" } else { "+" };
            let name = NAMES.iter().find(|(_, named)| named == mode);
            write!(f, "{plus}{}", name.map_or("", |(name, _)| name))?;
        }
        Ok(())
    }
}

/// A name, or a list of names.
impl<'de> Deserialize<'de> for Pooling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        let names = match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(name) => vec![name],
            OneOrMany::Many(names) => names,
        };
        let pooling = Self::of_names(names.iter().map(String::as_str));
        pooling.map_err(|reason| de::Error::custom(format!("pooling: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three tokens of two numbers.
    const TOKENS: [f32; 6] = [1.0, -1.0, 2.0, 5.0, 6.0, 2.0];

    fn pool(names: &[&str], skipped: usize) -> Vec<f32> {
        let pooling = Pooling::of_names(names.iter().copied()).unwrap();
        pooling.pool(&TOKENS, 2, skipped)
    }

    #[test]
    fn each_way_gives_what_sentence_transformers_gives() {
        assert_eq!(pool(&["cls"], 0), [1.0, -1.0]);
        assert_eq!(pool(&["lasttoken"], 0), [6.0, 2.0]);
        assert_eq!(pool(&["max"], 0), [6.0, 5.0]);
        assert_eq!(pool(&["mean"], 0), [3.0, 2.0]);
        let root = 3f32.sqrt();
        assert_eq!(pool(&["mean_sqrt_len"], 0), [9.0 / root, 6.0 / root]);
        assert_eq!(pool(&["weightedmean"], 0), [23.0 / 6.0, 15.0 / 6.0]);
        assert_eq!(pool(&["max", "cls"], 0), [6.0, 5.0, 1.0, -1.0]);
    }

    #[test]
    fn a_prompt_that_does_not_count_is_left_out() {
        assert_eq!(pool(&["cls"], 1), [2.0, 5.0]);
        assert_eq!(pool(&["mean"], 1), [4.0, 3.5]);
        // Weights stay those of the positions.
        assert_eq!(pool(&["weightedmean"], 2), [6.0, 2.0]);
        assert_eq!(pool(&["mean"], 3), [0.0, 0.0]);
        assert_eq!(pool(&["cls", "lasttoken"], 3), [1.0, -1.0, 6.0, 2.0]);
    }

    #[test]
    fn names_are_those_of_both_forms_of_the_config() {
        let many: Pooling = serde_json::from_str(r#"["cls","mean_sqrt_len_tokens"]"#).unwrap();
        assert_eq!(many.to_string(), "cls+mean_sqrt_len_tokens");
        let one: Pooling = serde_json::from_str(r#""weightedmean""#).unwrap();
        assert_eq!(one.to_string(), "weightedmean");
        let error = serde_json::from_str::<Pooling>(r#""avg""#).unwrap_err();
        assert!(error.to_string().contains("found \"avg\""), "{error}");
        assert!(serde_json::from_str::<Pooling>("[]").is_err());
    }
}
