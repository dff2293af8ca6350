//! `[inputs.<name>]` of `model.toml`: how callers may write an input.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::signature::{ModelSignature, TensorSpec};
use crate::tensor::ElementType;

/// The keys an input may have.
pub(super) const INPUT_KEYS: [&str; 8] = [
    "size", "layout", "scale", "mean", "std", "columns", "aliases", "missing",
];
/// Pixels along one side to which pictures may be scaled.
const MAX_SIDE: u32 = 8192;

/// How an input may be written. How a picture becomes one follows from its shape and type where nothing is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputOptions {
    /// Width and height in pixels to which pictures are scaled.
    pub size: Option<[u32; 2]>,
    /// The order of axes.
    pub layout: Option<ImageLayout>,
    /// By what 8-bit values are multiplied; 1/255 for floats and 1 for integers if not given.
    pub scale: Option<f32>,
    /// What is subtracted after scaling: one number, or one per channel.
    #[serde(default, deserialize_with = "one_or_many")]
    pub mean: Vec<f32>,
    /// By what is divided then: one number, or one per channel.
    #[serde(default, deserialize_with = "one_or_many")]
    pub std: Vec<f32>,
    /// The names of a matrix's columns, in the model's order; empty if they have none.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Other names under which tables may bring the input.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What becomes of values that are missing; they are refused if it is not given.
    pub missing: Option<MissingValues>,
}

/// What becomes of values that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingValues {
    /// They are NaN.
    Nan,
}

/// The order of a picture's axes, after the row's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageLayout {
    /// Height, width; one channel of grey.
    Hw,
    /// Channels, height, width.
    Chw,
    /// Height, width, channels.
    Hwc,
}

impl InputOptions {
    /// What is wrong with the options for any model.
    pub(super) fn refuse_senseless(&self) -> Result<(), String> {
        if self.std.contains(&0.0) {
            return Err("std must not be 0".to_owned());
        }
        let sides = self.size.unwrap_or([1, 1]);
        if sides.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(format!("size must be from 1 to {MAX_SIDE}"));
        }
        let mut seen = BTreeSet::new();
        let twice = self.columns.iter().find(|name| !seen.insert(*name));
        if let Some(name) = twice {
            return Err(format!("columns: {name:?} is named twice"));
        }
        Ok(())
    }

    /// What is wrong with the options beside the input they are for.
    fn check(&self, spec: &TensorSpec) -> Result<(), String> {
        use ElementType::{BFloat16, Float16, Float32, Float64};
        let is_float = matches!(spec.element_type, BFloat16 | Float16 | Float32 | Float64);
        if self.missing.is_some() && !is_float {
            let ty = spec.element_type;
            return Err(format!("missing: {ty} has no NaN; only float inputs have"));
        }
        if self.columns.is_empty() {
            return Ok(());
        }
        let named = self.columns.len();
        match spec.signed_shape()[..] {
            [_, width] if width < 0 || usize::try_from(width) == Ok(named) => Ok(()),
            [_, width] => Err(format!(
                "columns: {named} names where the input has {width} columns; it is {spec}"
            )),
            _ => Err(format!(
                "columns: only a matrix has columns; the input is {spec}"
            )),
        }
    }
}

/// Checks the options of all inputs against the model, so that each name a table may hold means one thing.
///
/// # Errors
/// What to change in `model.toml`.
pub(crate) fn check_inputs(
    options: &BTreeMap<String, InputOptions>,
    signature: &ModelSignature,
) -> Result<(), String> {
    let specs = signature.inputs.iter().chain(&signature.optional);
    // An input may share its name with one of its own columns, but with nothing of another input.
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    owners.extend(specs.map(|spec| (&*spec.name, &*spec.name)));
    for (input, options) in options {
        let spec = signature.input(input).ok_or_else(|| {
            let takes = signature.describe_inputs();
            format!("inputs: the model has no input {input:?}; it takes {takes}")
        })?;
        let place = |reason| format!("inputs.{input}: {reason}");
        options.check(spec).map_err(place)?;
        for name in options.columns.iter().chain(&options.aliases) {
            let other = owners.insert(name, input).filter(|owner| owner != input);
            if let Some(other) = other {
                let reason = format!("{name:?} is also a name of input {other:?}");
                return Err(place(reason));
            }
        }
    }
    Ok(())
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(f32),
        Many(Vec<f32>),
    }
    let values = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(value) => vec![value],
        OneOrMany::Many(values) => values,
    };
    match values.len() {
        1 | 3 => Ok(values),
        _ => Err(D::Error::custom("expected one number, or one per channel")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Dim;

    fn check(inputs: &str) -> Result<(), String> {
        let spec = |name: &str, element_type, width| TensorSpec {
            name: name.to_owned(),
            element_type,
            shape: vec![Dim::Dynamic(None), width],
        };
        let inputs = toml::from_str(inputs).map_err(|error: toml::de::Error| error.to_string())?;
        let signature = vec![
            spec("x", ElementType::Float32, Dim::Fixed(2)),
            spec("any", ElementType::Float64, Dim::Dynamic(None)),
            spec("sex", ElementType::String, Dim::Fixed(1)),
        ];
        check_inputs(&inputs, &ModelSignature::of_tensors(signature, vec![]))
    }

    #[test]
    fn names_of_columns_fit_the_input() {
        for right in [
            "x.columns = [\"x\", \"y\"]",
            "any.columns = [\"a\", \"b\", \"c\"]\nany.missing = \"nan\"",
            "sex.aliases = [\"Sex (m/f)\"]\nsex.columns = [\"s\"]",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for (wrong, reason) in [
            (
                "x.columns = [\"a\"]",
                "inputs.x: columns: 1 names where the input has 2 columns; it is float32 [?,2]",
            ),
            (
                "y.missing = \"nan\"",
                "inputs: the model has no input \"y\"",
            ),
            (
                "sex.missing = \"nan\"",
                "inputs.sex: missing: string has no NaN",
            ),
            (
                "x.missing = \"zero\"",
                "unknown variant `zero`, expected `nan`",
            ),
            (
                "x.columns = [\"sex\", \"b\"]",
                "inputs.x: \"sex\" is also a name of input \"sex\"",
            ),
            (
                "sex.aliases = [\"a\"]\nx.columns = [\"a\", \"b\"]",
                "inputs.x: \"a\" is also a name of input \"sex\"",
            ),
        ] {
            let message = check(wrong).unwrap_err();
            assert!(message.contains(reason), "{wrong}: {message}");
        }
        let twice: InputOptions = toml::from_str("columns = [\"a\", \"a\"]").unwrap();
        assert!(twice.refuse_senseless().is_err());
    }
}
