//! Rows as JSON in all the shapes people write them: nested arrays, objects by input name, rows as objects, columns.

use std::collections::BTreeMap;

use score::{ModelSignature, NamedTensor, ScoreError, Tensor, TensorSpec};
use serde_json::value::RawValue;

use super::scan::Plan;
use super::{careful, fast, unlike};

/// What a reader needs beside the text.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) signature: &'a ModelSignature,
    pub(super) max_nesting: usize,
    /// The member the rows stand in, such as `data`.
    pub(super) target: &'a str,
}

/// Reads rows: nested arrays (one input), an object of arrays by input name, an array of objects by input name, or an
/// array of rows with one value for each input.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the place.
pub(super) fn read(context: Context<'_>, rows: &RawValue) -> Result<Vec<NamedTensor>, ScoreError> {
    read_text(context, rows.get())
}

/// [`read`] for JSON that is not part of a larger document.
pub(super) fn read_text(context: Context<'_>, text: &str) -> Result<Vec<NamedTensor>, ScoreError> {
    if text.starts_with('{') {
        return read_members(context, text);
    }
    if first_element(text).is_some_and(|element| element.starts_with('{')) {
        return read_objects(context, text);
    }
    if let [spec] = &context.signature.inputs[..] {
        let tensor = read_tensor(text, spec, context.target, context.max_nesting)?;
        let name = spec.name.clone();
        return Ok(vec![NamedTensor { name, tensor }]);
    }
    let names: Vec<&str> = context
        .signature
        .inputs
        .iter()
        .map(|spec| spec.name.as_str())
        .collect();
    read_columns(context, &names, text)
}

/// Reads rows whose values stand for the named columns, in their order.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the place.
pub(super) fn read_columns(
    context: Context<'_>,
    columns: &[&str],
    text: &str,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let Context { target, .. } = context;
    let rows: Vec<&RawValue> = parse(text, target)?;
    let mut gathered = vec![Gathered::default(); columns.len()];
    for (position, row) in rows.into_iter().enumerate() {
        let place = format!("{target}[{position}]");
        let values: Vec<&RawValue> = parse(row.get(), &place)?;
        if values.len() != columns.len() {
            let message = format!(
                "{place}: {} values where {} are expected ({})",
                values.len(),
                columns.len(),
                columns.join(", ")
            );
            return Err(ScoreError::invalid(place, message));
        }
        for (column, value) in gathered.iter_mut().zip(values) {
            column.push(value);
        }
    }
    let named = columns.iter().zip(gathered);
    named
        .map(|(name, values)| finish(context, name, values))
        .collect()
}

/// `{"age": [..], "sex": [..]}`
fn read_members(context: Context<'_>, text: &str) -> Result<Vec<NamedTensor>, ScoreError> {
    let members: BTreeMap<String, &RawValue> = parse(text, context.target)?;
    // Many serializers write unset members as null.
    let members = members.into_iter();
    members
        .filter(|(_, value)| value.get() != "null")
        .map(|(name, value)| {
            let spec = find(context, &name)?;
            let target = format!("{}.{name}", context.target);
            let tensor = read_tensor(value.get(), spec, &target, context.max_nesting)?;
            Ok(NamedTensor { name, tensor })
        })
        .collect()
}

/// `[{"age": 22, "sex": "male"}, ...]`
fn read_objects(context: Context<'_>, text: &str) -> Result<Vec<NamedTensor>, ScoreError> {
    let Context { target, .. } = context;
    let rows: Vec<BTreeMap<String, &RawValue>> = parse(text, target)?;
    let mut gathered: BTreeMap<String, Gathered> = BTreeMap::new();
    let count = rows.len();
    for (position, row) in rows.into_iter().enumerate() {
        for (name, value) in row {
            let column = gathered.entry(name).or_default();
            // A row that leaves a column out would shift those that follow.
            if column.count != position {
                break;
            }
            column.push(value);
        }
    }
    if let Some((name, column)) = gathered.iter().find(|(_, column)| column.count != count) {
        find(context, name)?;
        let place = format!("{target}[{}]", column.count);
        let message = format!("{place}: {name:?} is missing; every row must have the same members");
        return Err(ScoreError::invalid(place, message));
    }
    gathered
        .into_iter()
        .map(|(name, values)| finish(context, &name, values))
        .collect()
}

/// The values of one column, as the text of an array.
#[derive(Clone, Default)]
struct Gathered {
    text: String,
    count: usize,
}

impl Gathered {
    fn push(&mut self, value: &RawValue) {
        self.text.push(if self.count == 0 { '[' } else { ',' });
        self.text.push_str(value.get());
        self.count += 1;
    }

    fn into_array(mut self) -> String {
        if self.count == 0 {
            self.text.push('[');
        }
        self.text.push(']');
        self.text
    }
}

fn finish(context: Context<'_>, name: &str, values: Gathered) -> Result<NamedTensor, ScoreError> {
    let spec = find(context, name)?;
    let target = format!("{}.{name}", context.target);
    let tensor = read_tensor(&values.into_array(), spec, &target, context.max_nesting)?;
    Ok(NamedTensor {
        name: name.to_owned(),
        tensor,
    })
}

fn find<'a>(context: Context<'a>, name: &str) -> Result<&'a TensorSpec, ScoreError> {
    let signature = context.signature;
    signature.input(name).ok_or_else(|| {
        let message = format!(
            "the model has no input {name:?}; it takes {}{}",
            signature.describe_inputs(),
            unlike::numbered(name)
        );
        ScoreError::invalid(context.target, message)
    })
}

/// Reads nested arrays for one input. A list of single values also fits an input with one value per row, `[N,1]`.
fn read_tensor(
    text: &str,
    spec: &TensorSpec,
    target: &str,
    max_nesting: usize,
) -> Result<Tensor, ScoreError> {
    let plan = Plan::for_input(spec);
    let tensor = match fast::read_array(text, spec.element_type, plan) {
        Some(tensor) => tensor,
        None => careful::read_array(text, spec.element_type, target, max_nesting)?,
    };
    let tensor = as_column(tensor, spec);
    spec.check(&tensor, target)?;
    Ok(tensor)
}

/// A list of single values as what an input with one value per row takes; all else as it is.
pub(super) fn as_column(tensor: Tensor, spec: &TensorSpec) -> Tensor {
    let [rows] = *tensor.shape() else {
        return tensor;
    };
    if !spec.has_single_values() {
        return tensor;
    }
    let mut shape = vec![1; spec.dims().len()];
    shape[0] = rows;
    tensor.reshaped(shape).unwrap_or_else(|original| original)
}

fn first_element(array: &str) -> Option<&str> {
    array.strip_prefix('[').map(str::trim_ascii_start)
}

pub(super) fn parse<'a, T: serde::Deserialize<'a>>(
    text: &'a str,
    target: &str,
) -> Result<T, ScoreError> {
    serde_json::from_str(text)
        .map_err(|error| ScoreError::invalid(target, format!("{target}: {error}")))
}
