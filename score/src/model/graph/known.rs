//! The values that operators compare the columns of inputs with: categories, and the words of texts.
//!
//! Sources: the operator descriptions of ONNX ("Operators.md": StringNormalizer, TfIdfVectorizer; "Operators-ml.md":
//! CategoryMapper, LabelEncoder, OneHotEncoder) and of ONNX Runtime ("ContribOperators.md": Tokenizer).

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::super::onnx_proto::{Attribute, text};
use super::operators::Call;
use super::value::{Length, Value};
use crate::signature::{Dim, TensorSpec};
use crate::tensor::ElementType;

/// The columns of one value that are followed; wider ones are no tables of categories.
const MAX_COLUMNS: usize = 256;
/// The categories, and the words, that are kept of one column.
const MAX_VALUES: usize = 1 << 12;

/// What the graph compares one column of an input with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownValues {
    /// Texts, each of which is a whole element.
    pub texts: Vec<String>,
    /// The same for numbers.
    pub numbers: Vec<f64>,
    /// What texts are made up of.
    pub words: Vec<String>,
}

/// Bytes of all texts that are kept.
const MAX_BYTES: usize = 4 << 20;

/// Known values by input and column. A list of single values is one column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    columns: BTreeMap<(usize, usize), KnownValues>,
    bytes: usize,
}

impl Known {
    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// What a column of an input is compared with.
    pub(crate) fn of(&self, input: usize, column: usize) -> Option<&KnownValues> {
        self.columns.get(&(input, column))
    }

    fn add(&mut self, place: (usize, usize), texts: &[&Bytes], are_words: bool, numbers: &[f64]) {
        let values = self.columns.entry(place).or_default();
        let kept = match are_words {
            true => &mut values.words,
            false => &mut values.texts,
        };
        // Of many, some from everywhere.
        let step = texts.len().div_ceil(MAX_VALUES).max(1);
        for value in texts.iter().step_by(step) {
            let bytes = self.bytes + size_of::<String>() + value.len();
            if kept.len() >= MAX_VALUES || bytes > MAX_BYTES {
                break;
            }
            self.bytes = bytes;
            kept.push(text(value).into_owned());
        }
        let left = MAX_VALUES.saturating_sub(values.numbers.len());
        values.numbers.extend(numbers.iter().take(left));
    }
}

/// For each column of a value, the input and the column that its elements come from.
pub(super) type Columns = Rc<[Option<(usize, usize)>]>;

/// The columns of an input; `None` if there may be too many, or they are not declared.
pub(super) fn columns_of(index: usize, spec: &TensorSpec) -> Option<Columns> {
    if spec.element_type == ElementType::Bool {
        return None;
    }
    let width = match spec.dims() {
        [_] | [_, Dim::Dynamic(_)] => 1,
        [_, Dim::Fixed(width)] if *width <= MAX_COLUMNS => *width,
        _ => return None,
    };
    Some((0..width).map(|column| Some((index, column))).collect())
}

/// Where the columns of a node's outputs come from.
pub(super) fn columns_after(call: &Call<'_>) -> Option<Columns> {
    let first = call.inputs.first().copied().flatten()?;
    match call.operator {
        "Identity"
        | "Cast"
        | "Reshape"
        | "Flatten"
        | "Squeeze"
        | "Unsqueeze"
        | "Transpose"
        | "StringNormalizer"
        | "StringSplit"
        | "com.microsoft.Tokenizer" => first.columns.clone(),
        "Concat" => beside_each_other(call),
        "Gather" | "ai.onnx.ml.ArrayFeatureExtractor" => picked(first, call),
        _ => None,
    }
}

fn beside_each_other(call: &Call<'_>) -> Option<Columns> {
    let mut all = Vec::new();
    for value in call.inputs.iter().flatten() {
        match (
            &value.columns,
            value.dims.as_ref().and_then(|dims| dims.last()),
        ) {
            (Some(columns), _) => all.extend(columns.iter().copied()),
            (None, Some(Length::Known(width))) => {
                let width = usize::try_from(*width).ok()?;
                all.extend(std::iter::repeat_n(None, width.min(MAX_COLUMNS + 1)));
            }
            _ => return None,
        }
        if all.len() > MAX_COLUMNS {
            return None;
        }
    }
    Some(all.into())
}

fn picked(first: &Value, call: &Call<'_>) -> Option<Columns> {
    let columns = first.columns.as_ref()?;
    let is_last = match call.operator {
        "Gather" => matches!(call.int("axis", 0), 1 | -1) && first.rank() == Some(2),
        _ => true,
    };
    let numbers = call.input(1)?.known_numbers().filter(|_| is_last)?;
    let pick = |number: i64| columns.get(usize::try_from(number).ok()?).copied();
    numbers.into_iter().map(pick).collect()
}

/// Adds what a node compares its first input with to the columns that this comes from.
pub(super) fn learn(call: &Call<'_>, known: &mut Known) {
    let Some(columns) = call.input(0).and_then(|value| value.columns.as_ref()) else {
        return;
    };
    let (texts, ints, are_words): (&[&str], &[&str], bool) = match call.operator {
        "ai.onnx.ml.LabelEncoder" => (
            &["keys_strings", "classes_strings"],
            &["keys_int64s"],
            false,
        ),
        "ai.onnx.ml.OneHotEncoder" | "ai.onnx.ml.CategoryMapper" => {
            (&["cats_strings"], &["cats_int64s"], false)
        }
        "StringNormalizer" => (&["stopwords"], &[], true),
        "TfIdfVectorizer" => (&["pool_strings"], &["pool_int64s"], true),
        _ => return,
    };
    let attributes = |names: &'static [&str]| names.iter().filter_map(|name| call.attribute(name));
    let texts: Vec<&Bytes> = attributes(texts)
        .flat_map(|a: &Attribute| &a.texts)
        .collect();
    let floats = call.attribute("keys_floats").filter(|_| !are_words);
    let floats = floats.into_iter().flat_map(|a| &a.floats);
    let numbers: Vec<f64> = attributes(ints)
        .flat_map(|a: &Attribute| &a.ints)
        .map(|n| *n as f64)
        .chain(floats.map(|n| f64::from(*n)))
        .collect();
    if texts.is_empty() && numbers.is_empty() {
        return;
    }
    for place in columns.iter().flatten() {
        known.add(*place, &texts, are_words, &numbers);
    }
}
