//! `[inputs.<name>]` and `[features]` of `model.toml`: how callers may write an input, and how its rows are stored.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::folder::ModelOptions;
use super::picture::{Background, Resample, Resize};
use crate::signature::{ModelSignature, TensorSpec};

/// The keys an input may have.
pub(super) const INPUT_KEYS: [&str; 12] = [
    "size",
    "layout",
    "scale",
    "mean",
    "std",
    "channels",
    "resize",
    "resample",
    "background",
    "columns",
    "aliases",
    "missing",
];
/// Pixels along one side to which pictures may be scaled.
pub(super) const MAX_SIDE: u32 = 8192;

/// How an input may be written. How a picture becomes one follows from its shape and type where nothing is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputOptions {
    /// Width and height in pixels that pictures get.
    pub size: Option<[u32; 2]>,
    /// To what they are scaled before their middle is cut to `size`; to `size` itself if not given.
    pub resize: Option<Resize>,
    /// How they are scaled.
    pub resample: Option<Resample>,
    /// Values per pixel, where the input's shape leaves them open: grey, colour, or colour with opacity.
    pub channels: Option<usize>,
    /// What transparent pixels are laid over; white if not given.
    pub background: Option<Background>,
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
    /// Why pictures cannot be prepared as `preprocessor_config.json` says.
    #[serde(skip)]
    pub unfit: Option<String>,
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

/// Where and how features are stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureOptions {
    /// What stands before each key in the store. Requests reach nothing else.
    pub prefix: String,
    /// What each value is written in.
    #[serde(default)]
    pub format: FeatureFormat,
}

/// What one row of features is written in. It is told and not guessed: raw bytes may look like anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureFormat {
    /// An array, or an object by input name; also numpy's format, as no JSON text begins like it.
    #[default]
    Json,
    /// An array in numpy's format.
    Npy,
    /// Little-endian elements.
    Raw,
    /// A hash: one field for each column.
    Hash,
}

impl FeatureFormat {
    /// The name it has in `model.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Npy => "npy",
            Self::Raw => "raw",
            Self::Hash => "hash",
        }
    }
}

impl InputOptions {
    /// What is wrong with the options for any model.
    pub(super) fn refuse_senseless(&self) -> Result<(), String> {
        if self.std.contains(&0.0) {
            return Err("std must not be 0".to_owned());
        }
        let mut numbers = self.mean.iter().chain(&self.std).chain(&self.scale);
        if !numbers.all(|number| number.is_finite()) {
            return Err("scale, mean and std must be finite numbers".to_owned());
        }
        let resize = self.resize.map(Resize::sides);
        for (key, sides) in [("size", self.size), ("resize", resize)] {
            let mut sides = sides.into_iter().flatten();
            if sides.any(|side| !(1..=MAX_SIDE).contains(&side)) {
                return Err(format!("{key} must be from 1 to {MAX_SIDE}"));
            }
        }
        if !matches!(self.channels, None | Some(1 | 3 | 4)) {
            return Err("channels must be 1, 3 or 4".to_owned());
        }
        let mut seen = BTreeSet::new();
        let twice = self.columns.iter().find(|name| !seen.insert(*name));
        if let Some(name) = twice {
            return Err(format!("columns: {name:?} is named twice"));
        }
        Ok(())
    }

    /// What is wrong with the options beside the input they are for; `are_fields` says that the columns name the fields of
    /// a hash, and fit.
    fn check(&self, spec: &TensorSpec, are_fields: bool) -> Result<(), String> {
        let is_float = spec.element_type.is_float();
        if self.missing.is_some() && !is_float {
            let ty = spec.element_type;
            return Err(format!("missing: {ty} has no NaN; only float inputs have"));
        }
        if self.columns.is_empty() || are_fields {
            return Ok(());
        }
        let named = self.columns.len();
        match spec.signed_shape()[..] {
            [_, width] if width < 0 || usize::try_from(width) == Ok(named) => Ok(()),
            [_, width] => Err(format!(
                "columns: {named} names where the input has {width} columns; it is {spec}"
            )),
            _ if spec.may_be_matrix() => Ok(()),
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
    options: &ModelOptions,
    signature: &ModelSignature,
) -> Result<(), String> {
    let specs = signature.inputs.iter().chain(&signature.optional);
    let format = options.features.as_ref().map(|features| features.format);
    // An input may share its name with one of its own columns, but with nothing of another input.
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    owners.extend(specs.map(|spec| (&*spec.name, &*spec.name)));
    for (input, own) in &options.inputs {
        let spec = signature.input(input).ok_or_else(|| {
            let takes = signature.describe_inputs();
            format!("inputs: the model has no input {input:?}; it takes {takes}")
        })?;
        let place = |reason| format!("inputs.{input}: {reason}");
        let in_hash = format == Some(FeatureFormat::Hash);
        let are_fields = in_hash && options.fields_of(spec).is_some();
        own.check(spec, are_fields).map_err(place)?;
        for name in own.columns.iter().chain(&own.aliases) {
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
        1 | 3 | 4 => Ok(values),
        _ => Err(D::Error::custom("expected one number, or one per channel")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Dim;
    use crate::tensor::ElementType;

    fn check(inputs: &str) -> Result<(), String> {
        let spec = |name: &str, element_type, width| TensorSpec {
            name: name.to_owned(),
            element_type,
            shape: Some(vec![Dim::Dynamic(None), width]),
        };
        let mut options = ModelOptions::default();
        options.inputs =
            toml::from_str(inputs).map_err(|error: toml::de::Error| error.to_string())?;
        let signature = vec![
            spec("x", ElementType::Float32, Dim::Fixed(2)),
            spec("any", ElementType::Float64, Dim::Dynamic(None)),
            spec("sex", ElementType::String, Dim::Fixed(1)),
        ];
        check_inputs(&options, &ModelSignature::of_tensors(signature, vec![]))
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
        let deep = |shape: Option<&[usize]>| TensorSpec {
            name: "x".to_owned(),
            element_type: ElementType::Float32,
            shape: shape.map(|shape| shape.iter().copied().map(Dim::Fixed).collect()),
        };
        let hash = "[features]\nprefix = \"f:\"\nformat = \"hash\"\n";
        let columns = "[inputs.x]\ncolumns = [\"a\", \"b\", \"c\", \"d\"]\n";
        let read = |text: &str, shape: Option<&[usize]>| {
            let signature = ModelSignature::of_tensors(vec![deep(shape)], vec![]);
            check_inputs(&toml::from_str(text).unwrap(), &signature)
        };
        assert_eq!(read(columns, None), Ok(()));
        let refusal = read(columns, Some(&[9, 2, 2])).unwrap_err();
        assert!(refusal.contains("only a matrix has columns"), "{refusal}");
        // The fields of a hash may be the values of any row.
        let in_hash = format!("{hash}{columns}");
        assert_eq!(read(&in_hash, Some(&[9, 2, 2])), Ok(()));
        assert!(read(&in_hash, Some(&[9, 2, 3])).is_err());
        let twice: InputOptions = toml::from_str("columns = [\"a\", \"a\"]").unwrap();
        assert!(twice.refuse_senseless().is_err());
    }
}
