//! `{"keys": [...]}`: rows that are stored in Redis, each under a key, and the formats of the stored values.
//!
//! Stored values belong to the operator, not to the caller: no error quotes any part of them.

mod hash;

use std::collections::BTreeMap;
use std::fmt;

pub use hash::HashReader;

use score::{
    Dim, FeatureFormat, ModelOptions, ModelSignature, NamedTensor, ScoreError, Tensor, TensorData,
    TensorSpec,
};
use serde::de::Deserializer;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Dialect, alone, azure_ml};
use crate::body::Declared;
use crate::dialect::Body;
use crate::format::NPY_MAGIC;
use crate::format::npy;
use crate::format::raw;
use crate::json::diagnose::Items;
use crate::rows::tabular::{self, Context};
use crate::schema::parts::Parts;
use crate::schema::{any_of, open};
use crate::watch::Unwatched;

const TARGET: &str = "keys";

/// `{"keys": [...]}`
pub(crate) static KEYS: Dialect = Dialect {
    name: "Features by key",
    member: TARGET,
    body: r#"`{"keys": ["42", "43"]}`: rows that are stored in Redis, see [features by key](features.md)"#,
    answer: "the bare result",
    sample: r#"{"keys":["42"]}"#,
    under: None,
    options: &[],
    recognises: alone,
    read: |request| {
        let max_rows = request.metadata.options.max_rows;
        let max_keys = max_rows.unwrap_or(request.bounds.limits.max_rows);
        keys(request.value, max_keys).map(Body::Keys)
    },
    write: azure_ml::write_bare,
    request_schema: schema,
    answer_schema: |parts| parts.result.clone(),
};

fn schema(parts: &Parts<'_>) -> Option<Value> {
    parts.metadata.options.features.as_ref()?;
    let text = json!({ "type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES });
    let key = any_of(vec![text, json!({ "type": "integer" })]);
    let keys = json!({
        "type": "array", "items": key, "description": "The keys under which the rows are stored.",
    });
    Some(open([("keys", keys)], 1))
}

/// The most bytes that one key may have.
pub const MAX_KEY_BYTES: usize = 512;

/// Reads a list of at most `max_keys` keys: strings, or integers as they are written.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the position of the first element that is not a key.
fn keys(list: &RawValue, max_keys: usize) -> Result<Vec<String>, ScoreError> {
    let mut keys = Vec::new();
    let mut mistake = None;
    let items = Items(|position, token: &str| {
        let key = if position < max_keys {
            key(token).map_err(|reason| wrong(&format!("{TARGET}[{position}]"), reason))
        } else {
            let reason = format!("more than {max_keys} in one request");
            Err(wrong(TARGET, &reason))
        };
        match key {
            Ok(key) => keys.push(key),
            Err(error) => mistake = Some(error),
        }
        mistake.is_none()
    });
    let length = serde_json::Deserializer::from_str(list.get()).deserialize_seq(items);
    match (mistake, length) {
        (Some(mistake), _) => Err(mistake),
        (None, Ok(_)) => Ok(keys),
        (None, Err(_)) => Err(wrong(TARGET, "expected a list of strings")),
    }
}

fn wrong(target: &str, reason: &str) -> ScoreError {
    ScoreError::invalid(target, format!("{target}: {reason}"))
}

fn key(token: &str) -> Result<String, &'static str> {
    let key = if token.starts_with('"') {
        serde_json::from_str(token).map_err(|_| "not a string of Unicode characters")?
    } else if is_integer(token) {
        token.to_owned()
    } else {
        return Err("expected a string or an integer");
    };
    match key.len() {
        0 => Err("a key must not be empty"),
        1..=MAX_KEY_BYTES if !key.contains('\0') => Ok(key),
        1..=MAX_KEY_BYTES => Err("a key must not hold a NUL character"),
        _ => Err("a key may have 512 bytes at most"),
    }
}

/// An integer names the one key with the same digits; `4.0` and `4e0` could mean a key other than `4`.
fn is_integer(token: &str) -> bool {
    let digits = token.strip_prefix('-').unwrap_or(token);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A stored value that is not a row of the model.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    key: String,
    expected: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, expected } = self;
        write!(
            f,
            "the features stored for {key:?} do not fit: expected {expected}"
        )
    }
}

/// Makes the tensors of all rows out of the values stored for `keys`, which come in the same order.
///
/// # Errors
/// [`Unfit`] names the first key whose value is not a row, and what was expected.
pub fn read_rows(
    keys: &[String],
    values: &[impl AsRef<[u8]>],
    options: &ModelOptions,
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Vec<NamedTensor>, Unfit> {
    let features = options.features.as_ref();
    let reader = RowReader {
        row: row_signature(signature),
        options,
        format: features.map(|features| features.format).unwrap_or_default(),
        max_nesting,
    };
    let mut columns: Vec<Vec<Tensor>> = vec![Vec::new(); signature.inputs.len()];
    for (key, value) in keys.iter().zip(values) {
        let unfit = |input| reader.unfit(key, input);
        let row = reader.read(value.as_ref()).map_err(unfit)?;
        for (index, (column, tensor)) in columns.iter_mut().zip(row).enumerate() {
            // An axis that is free within rows must still be as long in all of them.
            let first = column.first();
            if first.is_some_and(|first| first.row_shape() != tensor.row_shape()) {
                return Err(unfit(Some(index)));
            }
            column.push(tensor);
        }
    }
    Ok(stacked(&signature.inputs, &columns))
}

/// The rows of each input, one below the other.
fn stacked(inputs: &[TensorSpec], columns: &[Vec<Tensor>]) -> Vec<NamedTensor> {
    let specs = inputs.iter().zip(columns);
    let stacked = specs.filter_map(|(spec, column)| {
        Some(NamedTensor {
            name: spec.name.clone(),
            tensor: Tensor::stack(column)?,
        })
    });
    stacked.collect()
}

/// The tensors for an empty list of keys: the same as for a body without rows.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the model does not accept zero rows.
pub fn no_rows(
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let context = Context {
        signature,
        options: &BTreeMap::new(),
        max_nesting,
        max_rows: None,
        watch: &Unwatched,
        target: TARGET,
    };
    tabular::read_text(context, "[]")
}

/// The required inputs with one row each. Optional inputs, which have a value of their own, have no rows.
fn row_signature(signature: &ModelSignature) -> ModelSignature {
    let one_row = signature.inputs.iter().map(|spec| {
        let mut spec = spec.clone();
        if let Some(axis) = spec.shape.as_mut().and_then(|dims| dims.first_mut()) {
            *axis = Dim::Fixed(1);
        }
        spec
    });
    ModelSignature::of_tensors(one_row.collect(), Vec::new())
}

struct RowReader<'a> {
    row: ModelSignature,
    options: &'a ModelOptions,
    format: FeatureFormat,
    max_nesting: usize,
}

impl RowReader<'_> {
    /// One tensor for each input. The error is the number of the input that does not fit, if exactly one does not.
    fn read(&self, value: &[u8]) -> Result<Vec<Tensor>, Option<usize>> {
        let only = (self.row.inputs.len() == 1).then_some(0);
        let mut named = match self.format {
            FeatureFormat::Raw => {
                raw::read(value, Declared::default(), &self.row, &Unwatched).map_err(|_| only)?
            }
            FeatureFormat::Npy => self.read_npy(value).ok_or(only)?,
            FeatureFormat::Json if value.starts_with(NPY_MAGIC) => {
                self.read_npy(value).ok_or(only)?
            }
            FeatureFormat::Json => self.read_json(value)?,
            // The fields of a hash are not the bytes of one value.
            FeatureFormat::Hash => return Err(None),
        };
        let specs = self.row.inputs.iter().enumerate();
        specs
            .map(|(index, spec)| {
                let found = named.iter().position(|given| given.name == spec.name);
                let tensor = named.swap_remove(found.ok_or(Some(index))?).tensor;
                // Otherwise the model would refuse the value, and the error would blame the request.
                match tensor.data() {
                    TensorData::String(texts) if texts.iter().any(|text| text.contains('\0')) => {
                        Err(Some(index))
                    }
                    _ => Ok(tensor),
                }
            })
            .collect()
    }

    /// Reads the value as the only row of a list, or else as that list itself. It has to be a single JSON value, because
    /// several could add rows.
    fn read_json(&self, value: &[u8]) -> Result<Vec<NamedTensor>, Option<usize>> {
        let only = (self.row.inputs.len() == 1).then_some(0);
        let value: &RawValue = serde_json::from_slice(value).map_err(|_| only)?;
        let context = Context {
            signature: &self.row,
            options: &self.options.inputs,
            max_nesting: self.max_nesting,
            max_rows: None,
            watch: &Unwatched,
            target: "",
        };
        let read = tabular::read_text(context, &format!("[{}]", value.get()));
        let read = read.or_else(|error| {
            // The value may also have the axis of rows, with length 1.
            let is_list = value.get().starts_with('[');
            let list = is_list.then(|| tabular::read_text(context, value.get()).ok());
            list.flatten().ok_or(error)
        });
        read.map_err(|error| only.or_else(|| self.input_at(&error)))
    }

    /// The input whose column has the mistake.
    fn input_at(&self, error: &ScoreError) -> Option<usize> {
        let ScoreError::InvalidInput {
            target: Some(target),
            ..
        } = error
        else {
            return None;
        };
        let column = target.strip_prefix('.')?;
        let names = self.row.inputs.iter().map(|spec| &spec.name);
        let mut here = names.map(|name| column.strip_prefix(name.as_str()));
        here.position(|rest| rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('[')))
    }

    /// The tensor of one row, written with or without the axis of rows.
    fn read_npy(&self, value: &[u8]) -> Option<Vec<NamedTensor>> {
        let with_axis = npy::read(value, &self.row, None, &Unwatched);
        with_axis.ok().or_else(|| {
            let bare = ModelSignature::of_tensors(vec![bare(self.row.inputs.first()?)], Vec::new());
            let read = npy::read(value, &bare, None, &Unwatched).ok()?.into_iter();
            let rows = read.map(|NamedTensor { name, tensor }| {
                let shape = [&[1], tensor.shape()].concat();
                let tensor = tensor.reshaped(shape).ok()?;
                Some(NamedTensor { name, tensor })
            });
            rows.collect()
        })
    }

    fn unfit(&self, key: &str, input: Option<usize>) -> Unfit {
        let written = match self.format {
            FeatureFormat::Json => "JSON",
            FeatureFormat::Npy => "npy",
            FeatureFormat::Raw => "raw bytes",
            FeatureFormat::Hash => "a hash",
        };
        let describe = |spec: &TensorSpec| format!("{} for input {:?}", bare(spec), spec.name);
        let row = match input.and_then(|index| self.row.inputs.get(index)) {
            Some(spec) => describe(spec),
            None => {
                let all: Vec<String> = self.row.inputs.iter().map(describe).collect();
                all.join(", ")
            }
        };
        Unfit {
            key: key.to_owned(),
            expected: format!("{row}, as {written}"),
        }
    }
}

/// One row without the axis of rows.
fn bare(spec: &TensorSpec) -> TensorSpec {
    TensorSpec {
        shape: Some(spec.dims().get(1..).unwrap_or_default().to_vec()),
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests;
