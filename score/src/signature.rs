//! What a model takes and gives, and whether a request fits it.

use std::fmt;

use crate::error::ScoreError;
use crate::tensor::{ElementType, NamedTensor, Tensor};

/// One axis of a declared shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always this length.
    Fixed(usize),
    /// Any length; the model may give it a name.
    Dynamic(Option<String>),
}

/// How the rows of a model are treated: whether row i of the outputs depends on row i of the inputs alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Rows may be cut apart, remembered one by one and computed in any company.
    Independent,
    /// Rows may be cut apart and remembered one by one, and each is run by itself: in company it may get another result.
    Alone,
    /// The request is one unit.
    Together,
}

impl Rows {
    /// Whether the rows of a request may be cut apart.
    pub fn are_cut_apart(self) -> bool {
        self != Self::Together
    }

    /// `independent`, `alone` or `together`, as in `model.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Alone => "alone",
            Self::Together => "together",
        }
    }
}

/// Name, element type and shape of one input or output as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the model.
    pub name: String,
    /// The type of the elements.
    pub element_type: ElementType,
    /// The axes, outermost first, empty for a scalar; `None` if not even their number is declared.
    pub shape: Option<Vec<Dim>>,
}

/// Axes that a tensor may have where the model does not declare how many; numpy's arrays have no more.
const MAX_AXES: usize = 64;

impl TensorSpec {
    /// The declared axes, outermost first. None for a scalar, and none where no shape is declared.
    pub fn dims(&self) -> &[Dim] {
        self.shape.as_deref().unwrap_or_default()
    }

    /// The declared axes in the convention of ONNX and the Open Inference Protocol: -1 for a dynamic axis.
    pub fn signed_shape(&self) -> Vec<i64> {
        self.dims()
            .iter()
            .map(|dim| match dim {
                Dim::Fixed(n) => *n as i64,
                Dim::Dynamic(_) => -1,
            })
            .collect()
    }

    /// Whether axis 0 exists and may have any length.
    pub fn has_dynamic_rows(&self) -> bool {
        matches!(self.dims().first(), Some(Dim::Dynamic(_)))
    }

    /// Whether a row is one value on several axes: `[?,1]`, but not `[?]`.
    pub fn has_single_values(&self) -> bool {
        matches!(self.dims(), [_, deeper @ ..]
            if !deeper.is_empty() && deeper.iter().all(|dim| *dim == Dim::Fixed(1)))
    }

    /// Whether a matrix of rows and columns fits it, as far as the number of axes goes.
    pub fn may_be_matrix(&self) -> bool {
        self.shape.as_ref().is_none_or(|dims| dims.len() == 2)
    }

    fn accepts(&self, shape: impl ExactSizeIterator<Item = usize>) -> bool {
        match &self.shape {
            None => shape.len() <= MAX_AXES,
            Some(dims) => agree(dims, shape),
        }
    }

    /// Whether a remembered result may have this shape; a row's has no axis 0.
    pub(crate) fn may_be_remembered(
        &self,
        shape: impl ExactSizeIterator<Item = usize> + Clone,
        is_row: bool,
    ) -> bool {
        let fits = match &self.shape {
            Some(dims) if is_row => agree(dims.get(1..).unwrap_or_default(), shape.clone()),
            _ => self.accepts(shape.clone()),
        };
        fits && !is_absurd(shape)
    }

    /// Checks one given tensor.
    ///
    /// # Errors
    /// [`ScoreError::InvalidInput`] naming this input, what it expects and what came.
    pub fn check(&self, tensor: &Tensor, target: impl fmt::Display) -> Result<(), ScoreError> {
        let shape = tensor.shape().iter().copied();
        if is_absurd(shape.clone()) {
            let message = format!(
                "input {:?}: shape {} is too large",
                self.name,
                ShapeText(tensor.shape())
            );
            return Err(ScoreError::invalid(target.to_string(), message));
        }
        if tensor.element_type() == self.element_type && self.accepts(shape) {
            return Ok(());
        }
        let got = ShapeText(tensor.shape());
        let message = if tensor.element_type() == self.element_type {
            format!("input {:?}: expected {self}, got {got}", self.name)
        } else {
            let ty = tensor.element_type();
            format!("input {:?}: expected {self}, got {ty} {got}", self.name)
        };
        Err(ScoreError::invalid(target.to_string(), message))
    }
}

/// Writes the type and the shape, with `?` for a dynamic axis: `float32 [?,784]`; `float32 of any shape` if none is
/// declared.
impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(dims) = &self.shape else {
            return write!(f, "{} of any shape", self.element_type);
        };
        write!(f, "{} [", self.element_type)?;
        for (axis, dim) in dims.iter().enumerate() {
            let comma = if axis == 0 { "" } else { "," };
            match dim {
                Dim::Fixed(n) => write!(f, "{comma}{n}")?,
                Dim::Dynamic(_) => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

fn agree(dims: &[Dim], shape: impl ExactSizeIterator<Item = usize>) -> bool {
    dims.len() == shape.len()
        && dims.iter().zip(shape).all(|(dim, got)| match dim {
            Dim::Fixed(n) => *n == got,
            Dim::Dynamic(_) => true,
        })
}

/// An axis of length zero makes the others free of charge for the caller, but not for the model that sums along it.
fn is_absurd(mut shape: impl Iterator<Item = usize> + Clone) -> bool {
    const MAX_EMPTY: usize = 1 << 20;
    let is_empty = shape.clone().any(|axis| axis == 0);
    let mut counted = || shape.try_fold(1usize, |n, axis| n.checked_mul(axis.max(1)));
    is_empty && counted().is_none_or(|n| n > MAX_EMPTY)
}

struct ShapeText<'a>(&'a [usize]);

impl fmt::Display for ShapeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes = self.0.len();
        if axes > MAX_AXES {
            return write!(f, "[{axes} axes; at most {MAX_AXES} are accepted]");
        }
        let text: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "[{}]", text.join(","))
    }
}

/// How one output of a model is made up of tensors, as indices into [`ModelSignature::outputs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputForm {
    /// A tensor.
    Tensor(usize),
    /// One map per row: two matrices with the keys and the values of each row. This is what scikit-learn's ZipMap gives.
    Maps {
        /// The matrix of keys, strings or integers.
        keys: usize,
        /// The matrix of values.
        values: usize,
    },
    /// Tensors of one type, of any number and any shapes.
    Sequence {
        /// All elements, one tensor after the other.
        elements: usize,
        /// For each tensor the number of its axes and their lengths, one tensor after the other.
        shapes: usize,
    },
}

/// One output as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// The name in the model.
    pub name: String,
    /// The tensors it is made up of.
    pub form: OutputForm,
}

/// Everything a model takes and gives, in the model's own order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelSignature {
    /// The inputs that have to be given.
    pub inputs: Vec<TensorSpec>,
    /// Inputs with a value of their own, which may be given.
    pub optional: Vec<TensorSpec>,
    /// The tensors that come out.
    pub outputs: Vec<TensorSpec>,
    /// The outputs as the model declares them; each is made up of one or two of the tensors.
    pub declared: Vec<OutputSpec>,
}

/// The tensors of one request in the model's order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arranged {
    /// All required inputs, then the optional ones that were given.
    pub(crate) tensors: Vec<Tensor>,
    /// Which optional inputs were given, as ascending indices into [`ModelSignature::optional`].
    pub(crate) given: Vec<usize>,
}

impl ModelSignature {
    /// The input of that name, required or optional.
    pub fn input(&self, name: &str) -> Option<&TensorSpec> {
        let mut all = self.inputs.iter().chain(&self.optional);
        all.find(|spec| spec.name == name)
    }

    /// A signature in which every output is a tensor.
    pub fn of_tensors(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Self {
        let names = outputs.iter().map(|spec| spec.name.clone()).enumerate();
        let declared = names.map(|(index, name)| OutputSpec {
            name,
            form: OutputForm::Tensor(index),
        });
        Self {
            declared: declared.collect(),
            inputs,
            optional: Vec::new(),
            outputs,
        }
    }

    /// Whether axis 0 is free in every input and output, and there is an input at all. The tensors of a sequence are
    /// no rows.
    pub fn has_dynamic_rows(&self) -> bool {
        let mut all = self.inputs.iter().chain(&self.outputs);
        let sequence = |output: &OutputSpec| matches!(output.form, OutputForm::Sequence { .. });
        !self.inputs.is_empty()
            && all.all(TensorSpec::has_dynamic_rows)
            && !self.declared.iter().any(sequence)
    }

    /// Whether axis 0 is 1 in every input and output: a model that was exported for one row.
    pub(crate) fn takes_one_row_only(&self) -> bool {
        let one = |spec: &TensorSpec| spec.dims().first() == Some(&Dim::Fixed(1));
        let sequence = |output: &OutputSpec| matches!(output.form, OutputForm::Sequence { .. });
        !self.inputs.is_empty()
            && !self.outputs.is_empty()
            && self.inputs.iter().chain(&self.outputs).all(one)
            && !self.declared.iter().any(sequence)
    }

    /// The same with a free axis 0 in every output, for a model whose inputs have one and whose outputs declare a length, as
    /// converters write that take one row for all there will ever be. `None` for any other.
    pub(crate) fn with_free_outputs(&self) -> Option<Self> {
        let free = |spec: &TensorSpec| spec.has_dynamic_rows();
        let given = |spec: &TensorSpec| !spec.dims().is_empty();
        let sequence = |output: &OutputSpec| matches!(output.form, OutputForm::Sequence { .. });
        let is_odd = !self.inputs.is_empty()
            && self.inputs.iter().all(free)
            && self.outputs.iter().all(given)
            && !self.outputs.iter().all(free)
            && !self.declared.iter().any(sequence);
        let mut freed = is_odd.then(|| self.clone())?;
        freed.free_rows();
        Some(freed)
    }

    /// Lets requests have any number of rows, for a model whose rows are run one by one.
    pub(crate) fn free_rows(&mut self) {
        for spec in self.inputs.iter_mut().chain(&mut self.outputs) {
            if let Some(rows) = spec.shape.as_mut().and_then(|dims| dims.first_mut()) {
                *rows = Dim::Dynamic(None);
            }
        }
    }

    /// The inputs as a caller reads them: `"x" float32 [?,784], "y" int64 [?]`.
    pub fn describe_inputs(&self) -> String {
        if self.inputs.is_empty() && self.optional.is_empty() {
            return "no input".to_owned();
        }
        let required = self.inputs.iter();
        let required = required.map(|spec| format!("{:?} {spec}", spec.name));
        let optional = self.optional.iter();
        let optional = optional.map(|spec| format!("{:?} {spec} (optional)", spec.name));
        required.chain(optional).collect::<Vec<_>>().join(", ")
    }

    /// Brings the given tensors into the model's order after checking every one.
    ///
    /// # Errors
    /// [`ScoreError::InvalidInput`] for an input that is unknown, missing, given twice or does not fit.
    pub(crate) fn arrange(&self, given: Vec<NamedTensor>) -> Result<Arranged, ScoreError> {
        let required = self.inputs.len();
        let mut slots: Vec<Option<Tensor>> = vec![None; required + self.optional.len()];
        for (position, NamedTensor { name, tensor }) in given.into_iter().enumerate() {
            let target = || format!("inputs[{position}]");
            let mut all = self.inputs.iter().chain(&self.optional);
            let Some(index) = all.position(|spec| spec.name == name) else {
                let message = format!(
                    "the model has no input {name:?}; it takes {}",
                    self.describe_inputs()
                );
                return Err(ScoreError::invalid(target(), message));
            };
            let spec = self.inputs.get(index);
            let spec = spec.unwrap_or_else(|| &self.optional[index - required]);
            spec.check(&tensor, format_args!("inputs[{position}]"))?;
            if slots[index].replace(tensor).is_some() {
                let message = format!("input {name:?} is given twice");
                return Err(ScoreError::invalid(target(), message));
            }
        }
        let missing = self.inputs.iter().zip(&slots).find(|(_, t)| t.is_none());
        if let Some((spec, _)) = missing {
            let message = format!("input {:?} is missing; expected {spec}", spec.name);
            return Err(ScoreError::invalid("inputs", message));
        }
        let optional = (0..self.optional.len()).filter(|i| slots[required + i].is_some());
        Ok(Arranged {
            given: optional.collect(),
            tensors: slots.into_iter().flatten().collect(),
        })
    }
}

#[cfg(test)]
mod tests;
