//! What each operator of ONNX, of its machine-learning domain and of ONNX Runtime's own does with rows.
//!
//! A rule gets the inputs of one node and says along which axis the rows of each output lie. An operator without a rule, or
//! one in a form that its rule does not know, proves nothing: the model is tried out then.
//!
//! Sources: the operator descriptions of ONNX ("Operators.md", "Operators-ml.md") and of ONNX Runtime
//! ("ContribOperators.md").

mod elementwise;
mod learned;
mod lengths;
mod matrix;
mod reduce;
pub(super) mod select;
mod shape;

use super::super::onnx_proto::{Attribute, Node};
use super::value::{Cause, Flow, Length, Together, Value, join};

/// One use of an operator.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) node: &'a Node,
    /// The operator's name, with its domain in front unless that is ONNX's own.
    pub(super) operator: &'a str,
    /// With the values of referenced attributes filled in.
    pub(super) attributes: &'a [Attribute],
    pub(super) opset: i64,
    /// `None` for an optional input that is left out.
    pub(super) inputs: Vec<Option<&'a Value>>,
    pub(super) cause: Cause,
}

/// What a rule says of one output.
#[derive(Debug, Clone, Default)]
pub(super) struct Out {
    /// The axis that the rows lie on; `None` if no row has a part in it.
    rows: Option<usize>,
    dims: Option<Vec<Length>>,
    numbers: Option<Vec<Length>>,
    /// The elements are those of the first input.
    same_elements: bool,
}

impl Out {
    fn new(rows: Option<usize>, dims: impl Into<Option<Vec<Length>>>) -> Self {
        Self {
            rows,
            dims: dims.into(),
            ..Self::default()
        }
    }

    fn same_elements(self) -> Self {
        Self {
            same_elements: true,
            ..self
        }
    }
}

/// Why a rule has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The operator certainly brings several rows together.
    Mixes,
    /// Nothing is known.
    Unclear,
}

type Outs = Result<Vec<Out>, Stop>;

/// The outputs of a node.
pub(super) fn apply(call: &Call<'_>) -> Vec<Value> {
    let operator = call.operator;
    if RANDOM.contains(&operator) {
        return call.all(Flow::Mixed(call.cause.clone()));
    }
    let together = join(call.inputs.iter().flatten().copied(), &call.cause);
    let scale = is_scaling(operator).then(|| call.cause.clone());
    match together {
        Together::Mixed(by) => call.all(Flow::Mixed(by)),
        Together::Unclear(by, before) => call.all(Flow::Unclear(by, before.or(scale))),
        Together::OneRow => call.all(Flow::OneRow),
        Together::Still(flow) => still(call, &flow),
        Together::Rows(before) => rows(call, before.or(scale)),
    }
}

/// Operators that give something else each time. A seed makes a sequence, not a value.
const RANDOM: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

pub(super) fn is_random(operator: &str) -> bool {
    RANDOM.contains(&operator)
}

/// Operators that quantize a whole tensor by one scale, which they take from its smallest and largest value.
fn is_scaling(operator: &str) -> bool {
    matches!(
        operator,
        "DynamicQuantizeLinear"
            | "com.microsoft.DynamicQuantizeMatMul"
            | "com.microsoft.DynamicQuantizeLSTM"
    )
}

fn still(call: &Call<'_>, flow: &Flow) -> Vec<Value> {
    let outs = rule(call).unwrap_or_default();
    let mut outs = outs.into_iter();
    let outputs = 0..call.node.outputs.len();
    outputs
        .map(|_| {
            let out = outs.next().unwrap_or_default();
            let flow = match (out.rows, &out.numbers) {
                (Some(axis), _) => Flow::Rows(axis, None),
                (None, Some(numbers)) if !numbers.iter().any(|n| n.counts_rows()) => {
                    match flow {
                        // The numbers are known, so what they were computed from no longer matters.
                        Flow::Count => Flow::Constant,
                        flow => flow.clone(),
                    }
                }
                _ => flow.clone(),
            };
            call.value(out, flow)
        })
        .collect()
}

fn rows(call: &Call<'_>, scale: Option<Cause>) -> Vec<Value> {
    match rule(call) {
        Err(Stop::Mixes) => call.all(Flow::Mixed(call.cause.clone())),
        Err(Stop::Unclear) => call.all(Flow::Unclear(call.cause.clone(), scale)),
        Ok(outs) => {
            let mut outs = outs.into_iter();
            let outputs = 0..call.node.outputs.len();
            outputs
                .map(|_| match outs.next() {
                    Some(out) => {
                        let flow = match (out.rows, &out.numbers) {
                            (Some(axis), _) => Flow::Rows(axis, scale.clone()),
                            (None, Some(n)) if n.iter().any(|n| n.counts_rows()) => Flow::Count,
                            (None, Some(_)) => Flow::Constant,
                            // Only scales come out of rows without having any.
                            (None, None) => Flow::Scale(call.cause.clone()),
                        };
                        call.value(out, flow)
                    }
                    None => Value::new(Flow::Unclear(call.cause.clone(), scale.clone()), None),
                })
                .collect()
        }
    }
}

fn rule(call: &Call<'_>) -> Outs {
    let rules = [
        lengths::rule,
        elementwise::rule,
        matrix::rule,
        reduce::rule,
        shape::rule,
        select::rule,
        learned::rule,
    ];
    let found = rules.iter().find_map(|rule| rule(call));
    found.unwrap_or(Err(Stop::Unclear))
}

impl<'a> Call<'a> {
    /// The same flow for every output, about whose shapes nothing is known.
    fn all(&self, flow: Flow) -> Vec<Value> {
        let outputs = self.node.outputs.iter();
        outputs.map(|_| Value::new(flow.clone(), None)).collect()
    }

    fn value(&self, out: Out, flow: Flow) -> Value {
        let first = self.inputs.first().copied().flatten();
        Value {
            numbers: out.numbers,
            origin: first.filter(|_| out.same_elements).and_then(|v| v.origin),
            ..Value::new(flow, out.dims)
        }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&'a Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.int)
    }

    fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|a| &a.ints[..])
    }

    fn text(&self, name: &str) -> Option<&'a [u8]> {
        self.attribute(name).map(|a| &a.text[..])
    }

    /// The input at that place, if it is given.
    pub(super) fn input(&self, index: usize) -> Option<&'a Value> {
        self.inputs.get(index).copied().flatten()
    }

    /// The input at that place, which the operator must have.
    fn needed(&self, index: usize) -> Result<&'a Value, Stop> {
        self.input(index).ok_or(Stop::Unclear)
    }

    /// The first input, and the axis that its rows lie on if it has any.
    fn first(&self) -> Result<(&'a Value, Option<usize>), Stop> {
        let value = self.needed(0)?;
        Ok((value, value.rows_axis()))
    }

    /// Refuses parameters, from that input on, that are not the same for all rows.
    fn fixed_from(&self, index: usize) -> Result<(), Stop> {
        let mut rest = self.inputs.iter().skip(index).flatten();
        match rest.all(|value| matches!(value.flow, Flow::Constant | Flow::Scale(_))) {
            true => Ok(()),
            false => Err(Stop::Unclear),
        }
    }
}

/// An axis counted from the front.
fn axis_of(axis: i64, rank: usize) -> Result<usize, Stop> {
    let rank_signed = i64::try_from(rank).map_err(|_| Stop::Unclear)?;
    let axis = if axis < 0 { axis + rank_signed } else { axis };
    let axis = usize::try_from(axis).map_err(|_| Stop::Unclear)?;
    if axis < rank {
        Ok(axis)
    } else {
        Err(Stop::Unclear)
    }
}
