//! What an ONNX file says of rows: the axis they lie on is followed from the inputs to the outputs, operator by operator.
//!
//! The result is a proof or nothing: a graph is independent only if every operator on the way is known to keep rows apart,
//! and rows are mixed only if some operator certainly brings them together.

mod classes;
mod known;
mod operators;
mod random;
mod value;
mod walk;

use std::path::Path;

use super::file_buf;
use super::onnx_proto::Model;
use crate::signature::{Dim, TensorSpec};
use value::{Flow, Length, Value};

pub(crate) use known::Known;
pub use known::KnownValues;
pub(crate) use value::Cause;

/// What the graph says of the model's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Every operator keeps rows apart.
    Apart,
    /// Rows meet only in the scale of a tensor that is quantized as a whole; the first such operator.
    Scaled(Cause),
    /// This operator brings rows together.
    Mixed(Cause),
    /// Of this operator nothing is known, or none of its form; if there is a second one, that one uses a common scale.
    Unclear(Option<Cause>, Option<Cause>),
}

/// What was read from the file.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) proof: Proof,
    /// The operator that gives something else each time.
    pub(crate) random: Option<Cause>,
    /// For each input of whole numbers, how many entries the smallest table has that it is an index into.
    pub(crate) table_sizes: Vec<Option<usize>>,
    /// What the columns of inputs are compared with.
    pub(crate) known: Known,
    /// The names of its classes in the order of their scores; empty if the graph gives them none.
    pub(crate) classes: Vec<String>,
}

impl Reading {
    /// Nothing could be read.
    pub(crate) fn nothing(inputs: usize) -> Self {
        Self {
            proof: Proof::Unclear(None, None),
            random: None,
            table_sizes: vec![None; inputs],
            known: Known::default(),
            classes: Vec::new(),
        }
    }

    /// Follows the rows of these inputs, whose first axis they lie on. `has_optional`: values that the graph takes for
    /// constants may be given by a request. Weights are not read.
    pub(crate) fn in_file(path: &Path, inputs: &[TensorSpec], has_optional: bool) -> Self {
        match file_buf::decode(path) {
            Ok(Ok(model)) => Self::of(&model, inputs, has_optional),
            _ => Self::nothing(inputs.len()),
        }
    }

    fn of(model: &Model, inputs: &[TensorSpec], has_optional: bool) -> Self {
        let Some(graph) = &model.graph else {
            return Self::nothing(inputs.len());
        };
        let mut walk = walk::Walk::new(model, inputs.len());
        for (index, spec) in inputs.iter().enumerate() {
            let value = Value {
                origin: Some(index),
                columns: known::columns_of(index, spec),
                ..Value::new(Flow::Rows(0, None), dims_of(spec))
            };
            walk.give(spec.name.clone().into(), value);
        }
        let outputs = walk.graph(graph);
        // A request may choose the branch that rolls dice.
        let hidden = || has_optional.then(|| random::first_of(model)).flatten();
        Self {
            proof: conclude(&outputs),
            random: walk.random.clone().or_else(hidden),
            table_sizes: walk.table_sizes,
            known: walk.known,
            classes: classes::of(model),
        }
    }
}

fn dims_of(spec: &TensorSpec) -> Option<Vec<Length>> {
    let dims = spec.shape.as_ref()?;
    let lengths = dims.iter().enumerate().map(|(axis, dim)| match dim {
        _ if axis == 0 => Length::Rows,
        Dim::Fixed(n) => Length::Known(*n as i64),
        Dim::Dynamic(_) => Length::Free,
    });
    Some(lengths.collect())
}

fn conclude(outputs: &[Value]) -> Proof {
    let mut proof = Proof::Apart;
    for output in outputs {
        proof = match (proof, &output.flow) {
            (Proof::Mixed(by), _) => Proof::Mixed(by),
            (_, Flow::Mixed(by) | Flow::Scale(by)) => Proof::Mixed(by.clone()),
            (Proof::Unclear(by, scale), Flow::Unclear(_, other)) => {
                Proof::Unclear(by, scale.or_else(|| other.clone()))
            }
            (Proof::Scaled(scale), Flow::Unclear(by, _)) => {
                Proof::Unclear(Some(by.clone()), Some(scale))
            }
            (_, Flow::Unclear(by, scale)) => Proof::Unclear(Some(by.clone()), scale.clone()),
            (Proof::Unclear(by, scale), Flow::Rows(0, other)) => {
                Proof::Unclear(by, scale.or_else(|| other.clone()))
            }
            (Proof::Apart, Flow::Rows(0, Some(scale))) => Proof::Scaled(scale.clone()),
            (proof, Flow::Rows(0, _)) => proof,
            // The rows of this output are not its first axis, or it has none.
            (Proof::Unclear(by, scale), _) => Proof::Unclear(by, scale),
            (Proof::Scaled(scale), _) => Proof::Unclear(None, Some(scale)),
            _ => Proof::Unclear(None, None),
        };
    }
    proof
}

#[cfg(test)]
mod tests;
