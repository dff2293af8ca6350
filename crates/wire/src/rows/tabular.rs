//! Rows as JSON, in every shape in which clients write them: nested arrays, objects by input name, rows as objects, columns.

use std::collections::BTreeSet;

use score::{ElementType, NamedTensor, ScoreError, Tensor, TensorSpec};
use serde_json::value::RawValue;

use crate::body::amended;
pub(crate) use crate::context::Context;
use crate::context::{list, shown};
use crate::json::bounded::{self, each};
use crate::json::diagnose;
use crate::json::names;
use crate::json::nested::{self, Plan};
use crate::rows::columns::{Layout, Part};
use crate::rows::pictures;
use crate::watch::Growth;

/// Reads rows: nested arrays (one input), an object of arrays by input name, an array of objects by input name, or an
/// array of rows with one value for each input.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the place.
pub(crate) fn read(context: Context<'_>, rows: &RawValue) -> Result<Vec<NamedTensor>, ScoreError> {
    read_text(context, rows.get())
}

/// [`read`] for JSON that is not part of a larger document.
pub(crate) fn read_text(context: Context<'_>, text: &str) -> Result<Vec<NamedTensor>, ScoreError> {
    if let Some(inputs) = pictures::read_only_input(context, text) {
        return inputs;
    }
    let encoded = holds_encoded_texts(context, text);
    if text.starts_with('{') && !encoded {
        return read_members(context, text);
    }
    if let Some(first) = first_element(text).filter(|first| first.starts_with('{'))
        && !encoded
    {
        return read_objects(context, text, first);
    }
    if let [spec] = &context.signature.inputs[..] {
        let tensor = read_tensor(context, text, spec, context.target)?;
        let name = spec.name.clone();
        return Ok(vec![NamedTensor { name, tensor }]);
    }
    let names: Vec<&str> = context
        .signature
        .inputs
        .iter()
        .map(|spec| spec.name.as_str())
        .collect();
    let layout = Layout::of_names(context, &names, false)?;
    read_rows(context, layout, &names, text)
}

/// Whether the elements are `{"b64": "..."}` for a model with one input of texts, and not rows as objects.
fn holds_encoded_texts(context: Context<'_>, text: &str) -> bool {
    let [spec] = &context.signature.inputs[..] else {
        return false;
    };
    let first = text.trim_start_matches(['[', ' ', '\t', '\r', '\n']);
    let member = first.strip_prefix('{').map(str::trim_ascii_start);
    spec.element_type == ElementType::String
        && member.is_some_and(|member| member.starts_with("\"b64\""))
        && !context.knows("b64", false)
}

/// Reads rows whose values belong to the named columns, in the order of the names.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the place.
pub(crate) fn read_rows<N: AsRef<str>>(
    context: Context<'_>,
    layout: Layout<'_>,
    names: &[N],
    text: &str,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let Context { target, .. } = context;
    let mut table = Table::new(context, layout);
    let mut values: Vec<&str> = Vec::with_capacity(names.len());
    each(text, target, |position, row| {
        context.may_have_row(position)?;
        let place = format!("{target}[{position}]");
        if !row.starts_with('[') {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            let message = format!(
                "{place}: got {}; expected an array of values in this order: {}; or rows as objects with these members",
                shown(row),
                list(&names)
            );
            return Err(ScoreError::invalid(place, message));
        }
        values.clear();
        // No more values are kept than there are names, but all are counted.
        let count = each(row, &place, |column, value| {
            if column < names.len() {
                values.push(value);
            }
            Ok(())
        })?;
        if count != names.len() {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            let message = format!(
                "{place}: {count} values where {} are expected ({})",
                names.len(),
                list(&names)
            );
            return Err(ScoreError::invalid(place, message));
        }
        table.push(&values, |value| value)
    })?;
    table.finish()
}

/// `{"age": [..], "sex": [..]}`
fn read_members(context: Context<'_>, text: &str) -> Result<Vec<NamedTensor>, ScoreError> {
    let mut members = bounded::members(text, context.target)?;
    // Many serializers write unset members as null.
    members.retain(|_, value| value.get() != "null");
    let (names, values): (Vec<String>, Vec<&RawValue>) = members.into_iter().unzip();
    let layout = layout_of_members(context, &names)?;
    let one = |part: Part<'_>| {
        let Part { spec, label, .. } = &part;
        let target = format!("{}.{label}", context.target);
        let tensor = match part.columns[..] {
            [only] if part.whole => read_tensor(context, values[only].get(), spec, &target)?,
            _ => read_tensor(
                context,
                &rows_of(context, &part, &names, &values)?,
                spec,
                &target,
            )?,
        };
        let name = spec.name.clone();
        Ok(NamedTensor { name, tensor })
    };
    layout.parts.into_iter().map(one).collect()
}

/// Columns by the names of members, which may be those of an array that was written as an object.
fn layout_of_members<'a, N: AsRef<str>>(
    context: Context<'a>,
    names: &[N],
) -> Result<Layout<'a>, ScoreError> {
    Layout::of_names(context, names, false).map_err(|error| {
        amended(error, || {
            let mut unknown = names.iter().map(AsRef::as_ref);
            let unknown = unknown.find(|name| !context.knows(name, false));
            unknown.map_or("", names::numbered).to_owned()
        })
    })
}

/// The columns of one input, given as one list each, as the text of rows.
fn rows_of(
    context: Context<'_>,
    part: &Part<'_>,
    names: &[String],
    values: &[&RawValue],
) -> Result<String, ScoreError> {
    let mut columns: Vec<Vec<&str>> = Vec::with_capacity(part.columns.len());
    let (mut growth, mut kept) = (Growth::new(context.watch), 0);
    for column in &part.columns {
        let name = &names[*column];
        let place = format!("{}.{name}", context.target);
        let mut cells: Vec<&str> = Vec::new();
        each(values[*column].get(), &place, |position, cell| {
            context.may_have_row(position)?;
            kept += 1;
            growth.reach(kept * size_of::<&str>())?;
            cells.push(cell);
            Ok(())
        })?;
        let column = cells;
        let count = columns.first().map_or(column.len(), Vec::len);
        if column.len() != count {
            let found = column.len();
            let message = format!("{place}: {found} values where the columns before have {count}");
            return Err(ScoreError::invalid(place, message));
        }
        columns.push(column);
    }
    let count = columns.first().map_or(0, Vec::len);
    let (mut text, mut growth) = (String::from("["), Growth::new(context.watch));
    for row in 0..count {
        let cells = columns.iter().map(|column| column[row]);
        push_row(&mut text, row, cells);
        growth.reach(text.len())?;
    }
    text.push(']');
    Ok(text)
}

/// `[{"age": 22, "sex": "male"}, ...]`; `first` is the text from the first row on. All rows have the names of that one.
fn read_objects(
    context: Context<'_>,
    text: &str,
    first: &str,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let Context { target, .. } = context;
    let mut names = BTreeSet::new();
    bounded::each_name(first, &format!("{target}[0]"), &mut names)?;
    let names: Vec<String> = names.into_iter().collect();
    let Ok(layout) = layout_of_members(context, &names) else {
        return Err(unlike_rows(context, text));
    };
    let mut table = Table::new(context, layout);
    // One row after the other: together they would cost many times their text.
    each(text, target, |position, row| {
        context.may_have_row(position)?;
        let row = bounded::members(row, &format!("{target}[{position}]"))?;
        // A map returns its members in the order of their names.
        if !row.keys().eq(&names) {
            return Err(unlike_rows(context, text));
        }
        let values: Vec<&RawValue> = row.values().copied().collect();
        table.push(&values, |value| value.get())
    })?;
    table.finish()
}

/// Reads rows once more for the error of those whose names differ or do not fit the model: first what is wrong with the
/// names of all rows together, then the first row that lacks one of them.
fn unlike_rows(context: Context<'_>, text: &str) -> ScoreError {
    let Context { target, .. } = context;
    let checked = names_of_rows(context, text).and_then(|names| {
        layout_of_members(context, &names)?;
        each(text, target, |position, row| {
            let place = format!("{target}[{position}]");
            let row = bounded::members(row, &place)?;
            let Some(absent) = names.iter().find(|name| !row.contains_key(name.as_str())) else {
                return Ok(());
            };
            let absent = shown(absent);
            let message =
                format!("{place}: {absent} is missing; every row must have the same members");
            Err(ScoreError::invalid(place, message))
        })
    });
    let same = || context.wrong("every row must have the same members");
    checked.err().unwrap_or_else(same)
}

/// The names of all members that any row has, in their order.
fn names_of_rows(context: Context<'_>, text: &str) -> Result<Vec<String>, ScoreError> {
    let Context { target, .. } = context;
    let mut names = BTreeSet::new();
    each(text, target, |position, row| {
        context.may_have_row(position)?;
        let place = format!("{target}[{position}]");
        bounded::each_name(row, &place, &mut names)
    })?;
    Ok(names.into_iter().collect())
}

/// Rows on their way to the tensors their columns belong to, as text.
pub(crate) struct Table<'a> {
    context: Context<'a>,
    layout: Layout<'a>,
    texts: Vec<String>,
    growth: Growth<'a>,
    /// The length of all texts together.
    length: usize,
    rows: usize,
}

impl<'a> Table<'a> {
    pub(crate) fn new(context: Context<'a>, layout: Layout<'a>) -> Self {
        Self {
            context,
            texts: vec![String::from("["); layout.parts.len()],
            layout,
            growth: Growth::new(context.watch),
            length: 0,
            rows: 0,
        }
    }

    /// One row: a value of JSON for every column of the layout.
    ///
    /// # Errors
    /// If there is no memory for it, or the reading is over.
    pub(crate) fn push<V>(
        &mut self,
        values: &[V],
        text: impl Fn(&V) -> &str,
    ) -> Result<(), ScoreError> {
        for (part, rows) in self.layout.parts.iter().zip(&mut self.texts) {
            let cells = part.columns.iter().map(|column| text(&values[*column]));
            let before = rows.len();
            if part.whole {
                rows.push_str(if self.rows == 0 { "" } else { "," });
                cells.for_each(|cell| rows.push_str(cell));
            } else {
                push_row(rows, self.rows, cells);
            }
            self.length += rows.len() - before;
        }
        self.rows += 1;
        self.growth.reach(self.length)
    }

    pub(crate) fn finish(self) -> Result<Vec<NamedTensor>, ScoreError> {
        let Self {
            context,
            layout,
            texts,
            ..
        } = self;
        let alone = layout.parts.len() == 1;
        let tensors = layout.parts.iter().zip(texts).map(|(part, mut text)| {
            text.push(']');
            let Part { spec, label, .. } = part;
            let target = if alone && !part.whole {
                context.target.to_owned()
            } else {
                format!("{}.{label}", context.target)
            };
            let tensor = read_tensor(context, &text, spec, &target)?;
            let name = spec.name.clone();
            Ok(NamedTensor { name, tensor })
        });
        tensors.collect()
    }
}

fn push_row<'a>(rows: &mut String, before: usize, cells: impl Iterator<Item = &'a str>) {
    rows.push_str(if before == 0 { "[" } else { ",[" });
    for (position, cell) in cells.enumerate() {
        rows.push_str(if position == 0 { "" } else { "," });
        rows.push_str(cell);
    }
    rows.push(']');
}

/// Reads nested arrays for one input. A list of single values also fits an input with one value per row, `[N,1]`.
fn read_tensor(
    context: Context<'_>,
    text: &str,
    spec: &TensorSpec,
    target: &str,
) -> Result<Tensor, ScoreError> {
    let plan = Plan::for_input(spec);
    let tensor = match nested::read_array(text, spec.element_type, plan, context.watch) {
        Some(tensor) => tensor,
        None => match pictures::read(context, text, spec, target) {
            Some(tensor) => return tensor,
            None => diagnose::read_array(context, text, spec, target)?,
        },
    };
    let tensor = as_column(tensor, spec);
    spec.check(&tensor, target)?;
    Ok(tensor)
}

/// Turns a list of single values into the form that an input with one value per row takes; returns all else unchanged.
pub(crate) fn as_column(tensor: Tensor, spec: &TensorSpec) -> Tensor {
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

#[cfg(test)]
mod tests;
