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

/// Name, element type and shape of one input or output as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the model.
    pub name: String,
    /// The type of the elements.
    pub element_type: ElementType,
    /// The axes, outermost first; empty for a scalar or an undeclared shape.
    pub shape: Vec<Dim>,
}

impl TensorSpec {
    /// The shape in the convention of ONNX and the Open Inference Protocol: -1 for a dynamic axis.
    pub fn signed_shape(&self) -> Vec<i64> {
        self.shape
            .iter()
            .map(|dim| match dim {
                Dim::Fixed(n) => *n as i64,
                Dim::Dynamic(_) => -1,
            })
            .collect()
    }

    /// Whether axis 0 exists and may have any length.
    pub fn has_dynamic_rows(&self) -> bool {
        matches!(self.shape.first(), Some(Dim::Dynamic(_)))
    }

    fn accepts(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(dim, got)| match dim {
                Dim::Fixed(n) => n == got,
                Dim::Dynamic(_) => true,
            })
    }

    /// Checks one given tensor.
    ///
    /// # Errors
    /// [`ScoreError::InvalidInput`] naming this input, what it expects and what came.
    pub fn check(&self, tensor: &Tensor, target: &str) -> Result<(), ScoreError> {
        if is_absurd(tensor.shape()) {
            let message = format!(
                "input {:?}: shape {} is too large",
                self.name,
                ShapeText(tensor.shape())
            );
            return Err(ScoreError::invalid(target, message));
        }
        if tensor.element_type() == self.element_type && self.accepts(tensor.shape()) {
            return Ok(());
        }
        let got = ShapeText(tensor.shape());
        let message = if tensor.element_type() == self.element_type {
            format!("input {:?}: expected {self}, got {got}", self.name)
        } else {
            let ty = tensor.element_type();
            format!("input {:?}: expected {self}, got {ty} {got}", self.name)
        };
        Err(ScoreError::invalid(target, message))
    }
}

/// Writes the type and the shape, with `?` for a dynamic axis: `float32 [?,784]`.
impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.element_type)?;
        for (axis, dim) in self.shape.iter().enumerate() {
            let comma = if axis == 0 { "" } else { "," };
            match dim {
                Dim::Fixed(n) => write!(f, "{comma}{n}")?,
                Dim::Dynamic(_) => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

/// An axis of length zero makes the others free of charge for the caller, but not for the model that sums along it.
fn is_absurd(shape: &[usize]) -> bool {
    const MAX_EMPTY: usize = 1 << 24;
    let counted = shape
        .iter()
        .try_fold(1usize, |n, axis| n.checked_mul((*axis).max(1)));
    shape.contains(&0) && counted.is_none_or(|n| n > MAX_EMPTY)
}

struct ShapeText<'a>(&'a [usize]);

impl fmt::Display for ShapeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "[{}]", text.join(","))
    }
}

/// Everything a model takes and gives, in the model's own order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelSignature {
    /// The inputs.
    pub inputs: Vec<TensorSpec>,
    /// The outputs.
    pub outputs: Vec<TensorSpec>,
}

impl ModelSignature {
    /// The input of that name.
    pub fn input(&self, name: &str) -> Option<&TensorSpec> {
        self.inputs.iter().find(|spec| spec.name == name)
    }

    /// Whether axis 0 is free in every input and output, and there is an input at all.
    pub fn has_dynamic_rows(&self) -> bool {
        let mut all = self.inputs.iter().chain(&self.outputs);
        !self.inputs.is_empty() && all.all(TensorSpec::has_dynamic_rows)
    }

    /// The inputs as a caller reads them: `"x" float32 [?,784], "y" int64 [?]`.
    pub fn describe_inputs(&self) -> String {
        let all: Vec<String> = self
            .inputs
            .iter()
            .map(|spec| format!("{:?} {spec}", spec.name))
            .collect();
        all.join(", ")
    }

    /// Brings the given tensors into the model's order after checking every one.
    ///
    /// # Errors
    /// [`ScoreError::InvalidInput`] for an input that is unknown, missing, given twice or does not fit.
    pub fn arrange(&self, given: Vec<NamedTensor>) -> Result<Vec<Tensor>, ScoreError> {
        let mut slots: Vec<Option<Tensor>> = vec![None; self.inputs.len()];
        for (position, NamedTensor { name, tensor }) in given.into_iter().enumerate() {
            let target = format!("inputs[{position}]");
            let Some(index) = self.inputs.iter().position(|spec| spec.name == name) else {
                let message = format!(
                    "the model has no input {name:?}; it takes {}",
                    self.describe_inputs()
                );
                return Err(ScoreError::invalid(target, message));
            };
            self.inputs[index].check(&tensor, &target)?;
            if slots[index].replace(tensor).is_some() {
                let message = format!("input {name:?} is given twice");
                return Err(ScoreError::invalid(target, message));
            }
        }
        let missing = self.inputs.iter().zip(&slots).find(|(_, t)| t.is_none());
        if let Some((spec, _)) = missing {
            let message = format!("input {:?} is missing; expected {spec}", spec.name);
            return Err(ScoreError::invalid("inputs", message));
        }
        Ok(slots.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorData;

    fn signature() -> ModelSignature {
        ModelSignature {
            inputs: vec![
                TensorSpec {
                    name: "x".into(),
                    element_type: ElementType::Float32,
                    shape: vec![Dim::Dynamic(Some("batch".into())), Dim::Fixed(3)],
                },
                TensorSpec {
                    name: "n".into(),
                    element_type: ElementType::Int64,
                    shape: vec![Dim::Dynamic(None)],
                },
            ],
            outputs: vec![],
        }
    }

    fn x(columns: usize) -> NamedTensor {
        NamedTensor {
            name: "x".into(),
            tensor: Tensor::new(vec![1, columns], TensorData::Float32(vec![0.0; columns])).unwrap(),
        }
    }

    fn n(data: TensorData) -> NamedTensor {
        NamedTensor {
            name: "n".into(),
            tensor: Tensor::new(vec![data.len()], data).unwrap(),
        }
    }

    fn refusal(given: Vec<NamedTensor>) -> String {
        signature().arrange(given).unwrap_err().to_string()
    }

    #[test]
    fn arranges_inputs_in_the_models_order() {
        let ordered = signature()
            .arrange(vec![n(TensorData::Int64(vec![1])), x(3)])
            .unwrap();
        assert_eq!(ordered[0].shape(), [1, 3]);
        assert_eq!(ordered[1].shape(), [1]);
    }

    #[test]
    fn an_empty_tensor_of_absurd_shape_is_refused() {
        let mut empty = x(3);
        for axis in [1 << 25, usize::MAX] {
            empty.tensor = Tensor::new(vec![0, axis], TensorData::Float32(vec![])).unwrap();
            assert!(refusal(vec![empty.clone()]).contains("is too large"));
        }
    }

    #[test]
    fn names_what_was_wrong_and_what_was_expected() {
        let ok = || n(TensorData::Int64(vec![1]));
        assert_eq!(
            refusal(vec![x(2), ok()]),
            r#"input "x": expected float32 [?,3], got [1,2]"#
        );
        assert_eq!(
            refusal(vec![x(3), n(TensorData::Float64(vec![1.0]))]),
            r#"input "n": expected int64 [?], got float64 [1]"#
        );
        assert_eq!(
            refusal(vec![x(3)]),
            r#"input "n" is missing; expected int64 [?]"#
        );
        assert_eq!(refusal(vec![x(3), x(3)]), r#"input "x" is given twice"#);
        let mut unknown = x(3);
        unknown.name = "z".into();
        assert_eq!(
            refusal(vec![unknown]),
            r#"the model has no input "z"; it takes "x" float32 [?,3], "n" int64 [?]"#
        );
    }
}
