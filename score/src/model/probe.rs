//! Finding out at load whether a model's rows are independent and whether it always says the same.

use super::{Model, RunError};
use crate::rows::Rows;
use crate::signature::{Dim, TensorSpec};
use crate::tensor::{ElementType, Tensor, TensorData};

/// What is known of a model beyond its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Character {
    /// Whether rows may be cut apart.
    pub rows: Rows,
    /// Why.
    pub rows_reason: String,
    /// Whether the same input gave the same output, bit for bit. A model that rolls dice is never remembered.
    pub deterministic: bool,
}

const PROBE_ROWS: usize = 4;
/// The length tried for axes other than axis 0 whose length is free.
const FREE_AXIS: usize = 3;

/// Runs a few made-up rows together, alone and in another order, and compares.
pub(crate) fn examine(model: &mut dyn Model) -> Character {
    let together = |reason: String, deterministic| Character {
        rows: Rows::Together,
        rows_reason: reason,
        deterministic,
    };
    let inputs = synthetic_rows(&model.signature().inputs);
    let first = match model.run(&inputs) {
        Ok(outputs) => outputs,
        Err(error) => {
            let reason = format!("the model does not run on made-up rows ({error})");
            return together(reason, true);
        }
    };
    let deterministic = model
        .run(&inputs)
        .is_ok_and(|again| same_bits(&first, &again));
    let signature = model.signature();
    let dynamic = |specs: &[TensorSpec]| specs.iter().all(TensorSpec::has_dynamic_rows);
    if signature.inputs.is_empty() || !dynamic(&signature.inputs) || !dynamic(&signature.outputs) {
        let reason = "axis 0 is not free in every input and output";
        return together(reason.to_owned(), deterministic);
    }
    if !deterministic {
        let reason = "the same rows gave different results";
        return together(reason.to_owned(), false);
    }
    match rows_depend_on_each_other(model, &inputs, &first) {
        None => Character {
            rows: Rows::Independent,
            rows_reason: "made-up rows gave the same results together, alone and in another order"
                .to_owned(),
            deterministic,
        },
        Some(reason) => together(reason, deterministic),
    }
}

fn rows_depend_on_each_other(
    model: &mut dyn Model,
    inputs: &[Tensor],
    outputs: &[Tensor],
) -> Option<String> {
    if outputs
        .iter()
        .any(|tensor| tensor.rows() != Some(PROBE_ROWS))
    {
        return Some("an output has another number of rows than the inputs".to_owned());
    }
    let mut picks: Vec<Vec<usize>> = (0..PROBE_ROWS).map(|row| vec![row]).collect();
    picks.push((0..PROBE_ROWS).rev().collect());
    for pick in picks {
        let some: Vec<Tensor> = inputs
            .iter()
            .map(|tensor| tensor.take_rows(&pick))
            .collect();
        let got = match model.run(&some) {
            Ok(got) => got,
            Err(RunError::Rejected(error) | RunError::Failed(error)) => {
                return Some(format!(
                    "the model does not run on part of its rows ({error})"
                ));
            }
        };
        let agree = got.len() == outputs.len()
            && got
                .iter()
                .zip(outputs)
                .all(|(got, all)| close(got, &all.take_rows(&pick)));
        if !agree {
            return Some("rows gave other results alone or in another order".to_owned());
        }
    }
    None
}

fn synthetic_rows(specs: &[TensorSpec]) -> Vec<Tensor> {
    let mut random = fastrand::Rng::with_seed(42);
    specs
        .iter()
        .map(|spec| synthetic(spec, &mut random))
        .collect()
}

fn synthetic(spec: &TensorSpec, random: &mut fastrand::Rng) -> Tensor {
    let axes = spec.shape.iter().enumerate();
    let shape: Vec<usize> = axes
        .map(|(axis, dim)| match (axis, dim) {
            (_, Dim::Fixed(n)) => *n,
            (0, Dim::Dynamic(_)) => PROBE_ROWS,
            (_, Dim::Dynamic(_)) => FREE_AXIS,
        })
        .collect();
    let count = shape.iter().product();
    // Small whole numbers, because integers are often indices into a table.
    macro_rules! small {
        ($ty:ty) => {
            (0..count).map(|_| random.u8(0..3) as $ty).collect()
        };
    }
    let data = match spec.element_type {
        ElementType::Bool => TensorData::Bool((0..count).map(|_| random.bool()).collect()),
        ElementType::Int8 => TensorData::Int8(small!(i8)),
        ElementType::Int16 => TensorData::Int16(small!(i16)),
        ElementType::Int32 => TensorData::Int32(small!(i32)),
        ElementType::Int64 => TensorData::Int64(small!(i64)),
        ElementType::Uint8 => TensorData::Uint8(small!(u8)),
        ElementType::Uint16 => TensorData::Uint16(small!(u16)),
        ElementType::Uint32 => TensorData::Uint32(small!(u32)),
        ElementType::Uint64 => TensorData::Uint64(small!(u64)),
        ElementType::Float16 => TensorData::Float16(
            (0..count)
                .map(|_| half::f16::from_f32(random.f32()))
                .collect(),
        ),
        ElementType::BFloat16 => TensorData::BFloat16(
            (0..count)
                .map(|_| half::bf16::from_f32(random.f32()))
                .collect(),
        ),
        ElementType::Float32 => TensorData::Float32((0..count).map(|_| random.f32()).collect()),
        ElementType::Float64 => TensorData::Float64((0..count).map(|_| random.f64()).collect()),
        ElementType::String => TensorData::String(
            (0..count)
                .map(|_| random.alphabetic().to_string())
                .collect(),
        ),
    };
    Tensor::new(shape, data).unwrap_or_else(|_| unreachable!("as many elements as the shape holds"))
}

fn same_bits(a: &[Tensor], b: &[Tensor]) -> bool {
    let bytes = |tensors: &[Tensor]| {
        let mut out = Vec::new();
        for tensor in tensors {
            tensor.data().put_bytes(0..tensor.data().len(), &mut out);
        }
        out
    };
    bytes(a) == bytes(b)
}

/// Equal shapes and values; floats within what another order of summation may change.
fn close(a: &Tensor, b: &Tensor) -> bool {
    if a.shape() != b.shape() {
        return false;
    }
    match (a.data(), b.data()) {
        (TensorData::Float16(a), TensorData::Float16(b)) => all_close(
            a.iter().map(|v| v.to_f64()),
            b.iter().map(|v| v.to_f64()),
            1e-2,
        ),
        (TensorData::BFloat16(a), TensorData::BFloat16(b)) => all_close(
            a.iter().map(|v| v.to_f64()),
            b.iter().map(|v| v.to_f64()),
            5e-2,
        ),
        (TensorData::Float32(a), TensorData::Float32(b)) => all_close(
            a.iter().map(|v| f64::from(*v)),
            b.iter().map(|v| f64::from(*v)),
            1e-4,
        ),
        (TensorData::Float64(a), TensorData::Float64(b)) => {
            all_close(a.iter().copied(), b.iter().copied(), 1e-9)
        }
        (a, b) => a == b,
    }
}

fn all_close(a: impl Iterator<Item = f64>, b: impl Iterator<Item = f64>, tolerance: f64) -> bool {
    a.zip(b).all(|(a, b)| {
        let both_nan = a.is_nan() && b.is_nan();
        both_nan || a == b || (a - b).abs() <= tolerance * (1e-2 + a.abs().max(b.abs()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::ModelSignature;

    struct Fake<F> {
        signature: ModelSignature,
        answer: F,
    }

    impl<F: FnMut(&[f32]) -> Vec<f32> + Send> Model for Fake<F> {
        fn signature(&self) -> &ModelSignature {
            &self.signature
        }
        fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
            let TensorData::Float32(x) = inputs[0].data() else {
                return Err(RunError::Rejected("floats only".into()));
            };
            let shape = inputs[0].shape().to_vec();
            Ok(vec![
                Tensor::new(shape, TensorData::Float32((self.answer)(x))).unwrap(),
            ])
        }
    }

    fn verdict(rows: Dim, answer: impl FnMut(&[f32]) -> Vec<f32> + Send) -> Character {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            element_type: ElementType::Float32,
            shape: vec![rows.clone(), Dim::Fixed(1)],
        };
        examine(&mut Fake {
            signature: ModelSignature {
                inputs: vec![spec("x")],
                outputs: vec![spec("y")],
            },
            answer,
        })
    }

    #[test]
    fn a_model_that_looks_at_each_row_alone_is_independent() {
        let found = verdict(Dim::Dynamic(None), |x| x.iter().map(|v| v * 2.0).collect());
        assert_eq!((found.rows, found.deterministic), (Rows::Independent, true));
    }

    #[test]
    fn a_model_that_mixes_rows_is_not_cut() {
        let found = verdict(Dim::Dynamic(None), |x| {
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            x.iter().map(|v| v - mean).collect()
        });
        assert_eq!((found.rows, found.deterministic), (Rows::Together, true));
    }

    #[test]
    fn a_model_that_counts_positions_is_not_cut() {
        let found = verdict(Dim::Dynamic(None), |x| {
            x.iter().enumerate().map(|(i, v)| v + i as f32).collect()
        });
        assert_eq!(found.rows, Rows::Together);
    }

    #[test]
    fn a_fixed_axis_0_is_not_cut() {
        let found = verdict(Dim::Fixed(4), |x| x.to_vec());
        assert_eq!((found.rows, found.deterministic), (Rows::Together, true));
    }

    #[test]
    fn a_model_that_rolls_dice_is_found_out() {
        let mut random = fastrand::Rng::with_seed(1);
        let found = verdict(Dim::Dynamic(None), move |x| {
            x.iter().map(|v| v + random.f32()).collect()
        });
        assert_eq!((found.rows, found.deterministic), (Rows::Together, false));
    }
}
