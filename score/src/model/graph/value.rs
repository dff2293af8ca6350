//! What is known of one value in a graph: how it depends on the rows of a request, its shape, and the numbers in it if it
//! is made of lengths.

use std::fmt::{self, Display};
use std::sync::Arc;

use super::super::onnx_proto::{Node, Tensor, text};
use super::known::Columns;

/// The operator that decides, as a message names it: `ReduceMean "mean_3"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause(Arc<str>);

impl Cause {
    /// The operator of a node, with the node's name.
    pub(super) fn of(node: &Node) -> Self {
        Self::new(&text(&node.operator), &text(&node.name))
    }

    pub(crate) fn new(operator: &str, name: &str) -> Self {
        Self(match name {
            "" => operator.into(),
            name => {
                let shown: String = name.chars().take(80).collect();
                format!("{operator} {shown:?}").into()
            }
        })
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One length, or a number that was computed from lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// This number.
    Known(i64),
    /// The same number in every request, which is not known here.
    Settled,
    /// A number that a request may choose, and that is the same whichever of its rows are run.
    Free,
    /// The number of rows.
    Rows,
    /// A multiple of the number of rows: the same in every request, or one that a request may choose.
    RowsMultiple { free: bool },
    /// A number that depends on how many rows there are.
    Unclear,
}

impl Length {
    pub(super) fn counts_rows(self) -> bool {
        self.is_rows() || self == Self::Unclear
    }

    /// Whether it may be the length of the axis that the rows lie on.
    pub(super) fn is_rows(self) -> bool {
        matches!(self, Self::Rows | Self::RowsMultiple { .. })
    }

    pub(super) fn times(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => a.checked_mul(b).map_or(Self::Settled, Self::Known),
            (Self::Known(1), length) | (length, Self::Known(1)) => length,
            (Self::Known(0), _) | (_, Self::Known(0)) => Self::Known(0),
            // A negative number that counts rows is no length.
            (Self::Known(n), other) | (other, Self::Known(n)) if n < 0 => {
                other.with(Self::Known(n), |_, _| None)
            }
            (Self::Unclear, _) | (_, Self::Unclear) => Self::Unclear,
            (rows, other) | (other, rows) if rows.is_rows() => match other.counts_rows() {
                true => Self::Unclear,
                false => Self::RowsMultiple {
                    free: other == Self::Free || rows == Self::RowsMultiple { free: true },
                },
            },
            (Self::Free, _) | (_, Self::Free) => Self::Free,
            _ => Self::Settled,
        }
    }

    /// Any other way to compute a number from two.
    pub(super) fn with(self, other: Self, compute: impl Fn(i64, i64) -> Option<i64>) -> Self {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => compute(a, b).map_or(Self::Settled, Self::Known),
            (a, b) if a.counts_rows() || b.counts_rows() => Self::Unclear,
            (Self::Free, _) | (_, Self::Free) => Self::Free,
            _ => Self::Settled,
        }
    }

    /// The length of an axis that becomes another one in a way that is not followed here.
    pub(super) fn changed(self) -> Self {
        match self {
            Self::Known(_) | Self::Settled => Self::Settled,
            Self::Free => Self::Free,
            _ => Self::Unclear,
        }
    }
}

pub(super) fn product(lengths: &[Length]) -> Length {
    let lengths = lengths.iter();
    lengths.fold(Length::Known(1), |all, length| all.times(*length))
}

/// No tensor of an honest model has more.
pub(super) const MAX_AXES: usize = 64;

/// How a value depends on the rows of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flow {
    /// Not at all.
    Constant,
    /// On how many there are, not on what is in them.
    Count,
    /// On one row only. It stands for one turn of a loop over rows.
    OneRow,
    /// On all rows, by nothing but the scale of a quantized tensor.
    Scale(Cause),
    /// The rows lie along this axis in their order, each in as many consecutive places as any other, and every place
    /// depends on its own row alone; but for scales, if an operator is named.
    Rows(usize, Option<Cause>),
    /// It cannot be told. Named are the operator that hides it and one that uses a scale of the whole tensor.
    Unclear(Cause, Option<Cause>),
    /// Some place depends on several rows.
    Mixed(Cause),
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) flow: Flow,
    /// The lengths of its axes; `None` if not even their number is known.
    pub(super) dims: Option<Vec<Length>>,
    /// Its elements, if it is a scalar or a short list of lengths.
    pub(super) numbers: Option<Vec<Length>>,
    /// The input of the graph whose elements these are.
    pub(super) origin: Option<usize>,
    /// The columns of inputs that its own columns come from, changed or not.
    pub(super) columns: Option<Columns>,
}

impl Value {
    /// A broken file may claim rows along an axis that is not there, or axes without end; then nothing is known of the
    /// shape.
    pub(super) fn new(flow: Flow, dims: Option<Vec<Length>>) -> Self {
        let fits = |dims: &Vec<Length>| match flow {
            Flow::Rows(axis, _) => axis < dims.len() && dims.len() <= MAX_AXES,
            _ => dims.len() <= MAX_AXES,
        };
        Self {
            dims: dims.filter(fits),
            flow,
            numbers: None,
            origin: None,
            columns: None,
        }
    }

    pub(super) fn of_tensor(tensor: &Tensor) -> Self {
        let dims = tensor.dims.iter().map(|n| Length::Known(*n)).collect();
        let numbers = tensor.numbers();
        let known = |numbers: Vec<i64>| numbers.into_iter().map(Length::Known).collect();
        Self {
            numbers: numbers.map(known),
            ..Self::new(Flow::Constant, Some(dims))
        }
    }

    /// The numbers of a list or a scalar. What depends on how many rows there are only through them flows as a count.
    pub(super) fn of_numbers(numbers: Vec<Length>, is_scalar: bool) -> Self {
        let flow = match numbers.iter().any(|n| n.counts_rows()) {
            true => Flow::Count,
            false => Flow::Constant,
        };
        let dims = match is_scalar {
            true => vec![],
            false => vec![Length::Known(numbers.len() as i64)],
        };
        Self {
            numbers: Some(numbers),
            ..Self::new(flow, Some(dims))
        }
    }

    pub(super) fn rank(&self) -> Option<usize> {
        self.dims.as_ref().map(Vec::len)
    }

    /// The axis that the rows lie on.
    pub(super) fn rows_axis(&self) -> Option<usize> {
        match self.flow {
            Flow::Rows(axis, _) => Some(axis),
            _ => None,
        }
    }

    pub(super) fn is_scalar(&self) -> bool {
        self.dims.as_ref().is_some_and(Vec::is_empty)
    }

    /// Its only element, if that is a number.
    pub(super) fn only_number(&self) -> Option<Length> {
        match self.numbers.as_deref() {
            Some([only]) => Some(*only),
            _ => None,
        }
    }

    /// Its elements, if all are plain numbers.
    pub(super) fn known_numbers(&self) -> Option<Vec<i64>> {
        let numbers = self.numbers.as_ref()?.iter();
        let known = numbers.map(|n| match n {
            Length::Known(n) => Some(*n),
            _ => None,
        });
        known.collect()
    }
}

/// What all the inputs of an operator are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Together {
    /// Nothing in them depends on the content of rows.
    Still(Flow),
    /// Rows, perhaps beside what does not depend on any.
    Rows(Option<Cause>),
    OneRow,
    Unclear(Cause, Option<Cause>),
    Mixed(Cause),
}

/// Joins what is known of several inputs. `cause` is the operator that brings them together.
pub(super) fn join<'a>(values: impl IntoIterator<Item = &'a Value>, cause: &Cause) -> Together {
    let mut all = Together::Still(Flow::Constant);
    for value in values {
        all = join_two(all, &value.flow, cause);
    }
    all
}

fn join_two(all: Together, flow: &Flow, cause: &Cause) -> Together {
    use Together as T;
    let or = |a: Option<Cause>, b: &Option<Cause>| a.or_else(|| b.clone());
    match (all, flow) {
        (T::Mixed(by), _) => T::Mixed(by),
        (_, Flow::Mixed(by)) => T::Mixed(by.clone()),
        (T::Unclear(by, scale), Flow::Unclear(_, other)) => T::Unclear(by, or(scale, other)),
        (T::Unclear(by, scale), Flow::Rows(_, other)) => T::Unclear(by, or(scale, other)),
        (T::Unclear(by, scale), Flow::Scale(other)) => {
            T::Unclear(by, scale.or(Some(other.clone())))
        }
        (all @ T::Unclear(..), _) => all,
        (T::Rows(scale), Flow::Unclear(by, other)) => T::Unclear(by.clone(), or(scale, other)),
        (T::Still(Flow::Scale(scale)), Flow::Unclear(by, _)) => T::Unclear(by.clone(), Some(scale)),
        (_, Flow::Unclear(by, scale)) => T::Unclear(by.clone(), scale.clone()),
        (T::OneRow, Flow::Constant | Flow::OneRow) => T::OneRow,
        (T::Still(Flow::Constant), Flow::OneRow) => T::OneRow,
        // A turn for one row that sees the others.
        (T::OneRow, Flow::Rows(..) | Flow::Scale(_)) | (T::Rows(_), Flow::OneRow) => {
            T::Mixed(cause.clone())
        }
        (T::OneRow, Flow::Count) | (T::Still(_), Flow::OneRow) => T::Unclear(cause.clone(), None),
        (T::Rows(scale), Flow::Rows(_, other)) => T::Rows(or(scale, other)),
        (T::Rows(scale), Flow::Scale(other)) => T::Rows(scale.or(Some(other.clone()))),
        (T::Rows(scale), _) => T::Rows(scale),
        (T::Still(Flow::Scale(scale)), Flow::Rows(..)) => T::Rows(Some(scale)),
        (T::Still(_), Flow::Rows(_, scale)) => T::Rows(scale.clone()),
        (T::Still(Flow::Constant), flow) => T::Still(flow.clone()),
        (T::Still(flow), Flow::Constant) => T::Still(flow),
        (T::Still(Flow::Count), Flow::Count) => T::Still(Flow::Count),
        (T::Still(Flow::Scale(by)), _) => T::Still(Flow::Scale(by)),
        (T::Still(_), flow) => T::Still(flow.clone()),
    }
}

/// Whichever of the two a value is, as after a branch; or what a loop makes of it. `None` if they do not fit together.
pub(super) fn either(a: &Value, b: &Value, cause: &Cause) -> Value {
    let dims = match (&a.dims, &b.dims) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b);
            Some(pairs.map(|(a, b)| same_length(*a, *b)).collect())
        }
        _ => None,
    };
    let flow = match (&a.flow, &b.flow) {
        (a, b) if a == b => a.clone(),
        (Flow::Mixed(by), _) | (_, Flow::Mixed(by)) => Flow::Mixed(by.clone()),
        (Flow::Rows(here, scale), Flow::Rows(there, other)) if here == there && dims.is_some() => {
            Flow::Rows(*here, scale.clone().or_else(|| other.clone()))
        }
        (Flow::Constant, Flow::OneRow) | (Flow::OneRow, Flow::Constant) => Flow::OneRow,
        (a, b) => Flow::Unclear(cause.clone(), scale_of(a).or_else(|| scale_of(b))),
    };
    Value::new(flow, dims)
}

fn same_length(a: Length, b: Length) -> Length {
    match (a, b) {
        (a, b) if a == b => a,
        (a, b) if a.counts_rows() || b.counts_rows() => Length::Unclear,
        (Length::Free, _) | (_, Length::Free) => Length::Free,
        _ => Length::Settled,
    }
}

fn scale_of(flow: &Flow) -> Option<Cause> {
    match flow {
        Flow::Scale(by) => Some(by.clone()),
        Flow::Rows(_, scale) | Flow::Unclear(_, scale) => scale.clone(),
        _ => None,
    }
}
