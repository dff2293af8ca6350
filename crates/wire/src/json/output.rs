//! A model's outputs as callers see them: tensors, lists of objects, lists of tensors.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use score::{
    InferenceResponse, ModelMetadata, ModelOptions, NamedTensor, OutputForm, Tensor, TensorData,
    element_count,
};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::json::write::Nested;

/// One output that the model answers with.
pub(crate) struct Output<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: Value<'a>,
}

/// What an output holds.
pub(crate) enum Value<'a> {
    Tensor(Cow<'a, Tensor>),
    Maps {
        keys: &'a Tensor,
        values: &'a Tensor,
    },
    Sequence {
        elements: &'a Tensor,
        shapes: &'a Tensor,
    },
    /// A matrix of floats whose columns are classes.
    Classes {
        values: &'a Tensor,
        labels: &'a [String],
        /// How many of the highest values of a row are told; all of them, in the model's order, if not given.
        top: Option<usize>,
    },
}

/// The declared outputs to answer with, by their positions in the signature.
pub(crate) fn chosen<'a>(
    metadata: &'a ModelMetadata,
    outputs: &[usize],
    response: &'a InferenceResponse,
) -> Vec<Output<'a>> {
    let declared = &metadata.signature.declared;
    let specs = outputs.iter();
    let specs = specs.filter_map(|index| declared.get(*index));
    specs
        .filter_map(|spec| {
            let tensor = |index: usize| response.outputs.get(index).map(|named| &named.tensor);
            let value = match spec.form {
                OutputForm::Tensor(index) => {
                    value_of(&metadata.options, &spec.name, tensor(index)?)
                }
                OutputForm::Maps { keys, values } => Value::Maps {
                    keys: tensor(keys)?,
                    values: tensor(values)?,
                },
                OutputForm::Sequence { elements, shapes } => Value::Sequence {
                    elements: tensor(elements)?,
                    shapes: tensor(shapes)?,
                },
            };
            Some(Output {
                name: &spec.name,
                value,
            })
        })
        .collect()
}

fn value_of<'a>(options: &'a ModelOptions, name: &str, tensor: &'a Tensor) -> Value<'a> {
    let labels = options.labels_of(name);
    let own = options.output.get(name);
    let top = own.and_then(|own| own.top_k);
    let is_named = own.is_some_and(|own| !own.labels().is_empty());
    match *tensor.shape() {
        [_, width]
            if tensor.element_type().is_float()
                && (top.is_some() || is_named && labels.len() == width) =>
        {
            Value::Classes {
                values: tensor,
                labels,
                top,
            }
        }
        _ => Value::Tensor(labelled(tensor, labels)),
    }
}

/// The name of a class; a number without a name stays a number, written as text.
fn class_name(class: i64, labels: &[String]) -> Cow<'_, str> {
    let label = usize::try_from(class)
        .ok()
        .and_then(|class| labels.get(class));
    label.map_or_else(|| class.to_string().into(), |label| label.as_str().into())
}

/// Class numbers by their names.
fn labelled<'a>(tensor: &'a Tensor, labels: &[String]) -> Cow<'a, Tensor> {
    let name = |class: i64| class_name(class, labels).into_owned();
    if labels.is_empty() {
        return Cow::Borrowed(tensor);
    }
    macro_rules! names {
        ($($variant:ident),*) => {
            match tensor.data() {
                $(TensorData::$variant(v) => v.iter().map(|class| name((*class).into())).collect(),)*
                _ => return Cow::Borrowed(tensor),
            }
        };
    }
    let names: Vec<String> = names!(Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32);
    Tensor::new(tensor.shape().to_vec(), names.into()).map_or(Cow::Borrowed(tensor), Cow::Owned)
}

impl Value<'_> {
    /// How many rows there are; `None` if the value has none.
    pub(crate) fn rows(&self) -> Option<usize> {
        match self {
            Self::Tensor(tensor) => tensor.rows(),
            Self::Maps { values, .. } | Self::Classes { values, .. } => values.rows(),
            Self::Sequence { .. } => None,
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tensor(tensor) => Nested::of(tensor).serialize(serializer),
            Self::Maps { values, .. } | Self::Classes { values, .. } => {
                let rows = 0..values.rows().unwrap_or(0);
                serializer.collect_seq(rows.map(|row| RowOf { value: self, row }))
            }
            Self::Sequence { elements, shapes } => {
                let mut seq = serializer.serialize_seq(None)?;
                let mut start = 0;
                for shape in item_shapes(shapes) {
                    seq.serialize_element(&Nested::part_of(elements, &shape, start))?;
                    start += element_count(&shape).unwrap_or(0);
                }
                seq.end()
            }
        }
    }
}

/// One row of an output; the output must have that row.
pub(crate) struct RowOf<'a> {
    pub(crate) value: &'a Value<'a>,
    pub(crate) row: usize,
}

impl Serialize for RowOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Tensor(tensor) => Nested::row_of(tensor, self.row).serialize(serializer),
            Value::Maps { keys, values } => {
                let width = values.row_shape().first().copied().unwrap_or(0);
                let mut map = serializer.serialize_map(Some(width))?;
                for cell in self.row * width..(self.row + 1) * width {
                    let value = Nested::part_of(values, &[], cell);
                    map.serialize_entry(&key_text(keys, cell), &value)?;
                }
                map.end()
            }
            Value::Classes {
                values,
                labels,
                top,
            } => {
                let width = values.row_shape().first().copied().unwrap_or(0);
                let cells = self.row * width..(self.row + 1) * width;
                let class = |cell: usize| Class {
                    label: class_name((cell % width.max(1)) as i64, labels),
                    score: Nested::part_of(values, &[], cell),
                };
                match top {
                    Some(top) => {
                        let cells = highest(values, cells, *top);
                        serializer.collect_seq(cells.into_iter().map(class))
                    }
                    None => serializer.collect_map(cells.map(class).map(|c| (c.label, c.score))),
                }
            }
            // A sequence has no rows, so it is never written row by row.
            Value::Sequence { .. } => serializer.serialize_none(),
        }
    }
}

/// A class and its value.
#[derive(serde::Serialize)]
struct Class<'a> {
    label: Cow<'a, str>,
    score: Nested<'a>,
}

/// The cells with the highest values, the highest first; NaN comes last.
fn highest(values: &Tensor, cells: Range<usize>, top: usize) -> Vec<usize> {
    fn sorted<T: PartialOrd>(values: &[T], mut cells: Vec<usize>) -> Vec<usize> {
        cells.sort_by(|a, b| match (values.get(*a), values.get(*b)) {
            (Some(a), Some(b)) => highest_first(a, b),
            _ => Ordering::Equal,
        });
        cells
    }
    let cells = cells.collect();
    let mut cells = match values.data() {
        TensorData::Float16(v) => sorted(v, cells),
        TensorData::BFloat16(v) => sorted(v, cells),
        TensorData::Float32(v) => sorted(v, cells),
        TensorData::Float64(v) => sorted(v, cells),
        _ => cells,
    };
    cells.truncate(top);
    cells
}

/// NaN comes last; a sort needs an order of all values.
pub(crate) fn highest_first<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    let is_nan = |value: &T| value.partial_cmp(value).is_none();
    let numbers_first = is_nan(a).cmp(&is_nan(b));
    numbers_first.then_with(|| b.partial_cmp(a).unwrap_or(Ordering::Equal))
}

/// JSON's keys are strings.
fn key_text(keys: &Tensor, cell: usize) -> Cow<'_, str> {
    match keys.data() {
        TensorData::String(texts) => texts.get(cell).map(|text| Cow::Borrowed(text.as_str())),
        TensorData::Int64(numbers) => numbers.get(cell).map(|n| Cow::Owned(n.to_string())),
        _ => None,
    }
    .unwrap_or_default()
}

/// The shape of each tensor of a sequence; `shapes` lists each tensor's number of axes and then their lengths.
pub(crate) fn item_shapes(shapes: &Tensor) -> Vec<Vec<usize>> {
    let TensorData::Int64(numbers) = shapes.data() else {
        return Vec::new();
    };
    let mut rest = numbers.iter().map(|n| usize::try_from(*n).unwrap_or(0));
    let mut all = Vec::new();
    while let Some(axes) = rest.next() {
        all.push(rest.by_ref().take(axes).collect());
    }
    all
}

/// The bare value if there is one output, else an object of values by output name.
pub(crate) struct Bare<'a>(pub(crate) &'a [Output<'a>]);

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [only] => only.value.serialize(serializer),
            all => serializer.collect_map(all.iter().map(|output| (output.name, &output.value))),
        }
    }
}

/// One element per row: an object of the row's values by output name.
pub(crate) struct ByRow<'a> {
    pub(crate) outputs: &'a [Output<'a>],
    pub(crate) rows: usize,
}

impl Serialize for ByRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..self.rows).map(|row| {
            let outputs = self.outputs.iter();
            let values = outputs.map(|Output { name, value }| (*name, RowOf { value, row }));
            values.collect::<BTreeMap<_, _>>()
        }))
    }
}

/// The tensor of the only declared output; `None` if there are several, or if the output is not a tensor.
pub(crate) fn only_tensor<'a>(
    metadata: &ModelMetadata,
    outputs: &[usize],
    response: &'a InferenceResponse,
) -> Option<&'a Tensor> {
    let [only] = outputs[..] else {
        return None;
    };
    let OutputForm::Tensor(index) = metadata.signature.declared.get(only)?.form else {
        return None;
    };
    let NamedTensor { tensor, .. } = response.outputs.get(index)?;
    Some(tensor)
}
