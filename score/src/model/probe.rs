//! Finding out at load whether a model's rows are independent and whether it always says the same.

use super::{Model, RunError};
use crate::rows::Rows;
use crate::signature::{Dim, TensorSpec};
use crate::tensor::{ElementType, Shape, Tensor, TensorData, element_count};

/// What is known of a model beyond its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Character {
    /// Whether rows may be cut apart.
    pub rows: Rows,
    /// Why.
    pub rows_reason: String,
    /// Whether the same input gave the same output, bit for bit; `None` if that could not be found out. Results are
    /// remembered on their own account only if it is `Some(true)`: a model may roll dice.
    pub deterministic: Option<bool>,
}

/// Enough for one row to stand out against the others by any common measure.
const PROBE_ROWS: usize = 24;
/// The rows that are also run alone.
const ALONE: [usize; 4] = [0, 1, OUTLIER, PROBE_ROWS - 1];
/// The row that is far from the others.
const OUTLIER: usize = 7;
/// The length tried for axes other than axis 0 whose length is free.
const FREE_AXIS: usize = 3;
/// The shapes tried for inputs that declare none, until the model runs on one.
const UNDECLARED: [&[usize]; 4] = [&[PROBE_ROWS, FREE_AXIS], &[FREE_AXIS], &[], &[1, 3, 16, 16]];
/// Elements that all made-up inputs may have together.
const MAX_ELEMENTS: usize = 1 << 24;

/// Runs made-up rows together, alone and in another order, and compares. Twice, with rows much alike and with rows far
/// apart, because a model that looks at the whole batch may do so only when one row stands out.
pub(crate) fn examine(model: &mut dyn Model) -> Character {
    let mut deterministic = None;
    let rows_reason = match probe(model, &mut deterministic) {
        Ok(()) => {
            return Character {
                rows: Rows::Independent,
                rows_reason:
                    "made-up rows gave the same results together, alone and in another order"
                        .to_owned(),
                deterministic,
            };
        }
        Err(reason) => reason,
    };
    Character {
        rows: Rows::Together,
        rows_reason,
        deterministic,
    }
}

/// `Err` says why rows must stay together.
fn probe(model: &mut dyn Model, deterministic: &mut Option<bool>) -> Result<(), String> {
    let is_cuttable = model.signature().has_dynamic_rows();
    let undeclared = undeclared_shape(model);
    let mut varied = false;
    for kind in [Kind::Alike, Kind::FarApart] {
        let inputs = made_up_rows(&model.signature().inputs, undeclared, kind)
            .ok_or_else(|| "its inputs are too large to be tried out".to_owned())?;
        let outputs = run(model, &inputs)?;
        let same = run(model, &inputs).is_ok_and(|again| same_bits(&outputs, &again));
        *deterministic = Some(same && *deterministic != Some(false));
        if !same {
            return Err("the same rows gave different results".to_owned());
        }
        if !is_cuttable {
            continue;
        }
        if outputs
            .iter()
            .any(|tensor| tensor.rows() != Some(PROBE_ROWS))
        {
            return Err("an output has another number of rows than the inputs".to_owned());
        }
        compare(model, &inputs, &outputs)?;
        varied |= outputs.iter().any(rows_differ);
    }
    let signature = model.signature();
    let mut specs = signature.inputs.iter().chain(&signature.outputs);
    match (is_cuttable, varied) {
        (false, _) if specs.any(|spec| spec.shape.is_none()) => {
            Err("not every input and output has a declared shape".to_owned())
        }
        (false, _) => Err("axis 0 is not free in every input and output".to_owned()),
        // All equal tells nothing: a threshold that no row reached, for example.
        (true, false) => Err("all made-up rows gave the same result".to_owned()),
        (true, true) => Ok(()),
    }
}

/// The one of [`UNDECLARED`] to use.
fn undeclared_shape(model: &mut dyn Model) -> &'static [usize] {
    let [first, ..] = UNDECLARED;
    let specs = model.signature().inputs.clone();
    if specs.iter().all(|spec| spec.shape.is_some()) {
        return first;
    }
    let mut runs = |shape: &[usize]| {
        let inputs = made_up_rows(&specs, shape, Kind::Alike);
        inputs.is_some_and(|inputs| model.run(&inputs, &[]).is_ok())
    };
    UNDECLARED
        .into_iter()
        .find(|shape| runs(shape))
        .unwrap_or(first)
}

fn run(model: &mut dyn Model, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    model.run(inputs, &[]).map_err(|error| {
        let (RunError::Rejected(reason) | RunError::Failed(reason)) = error;
        format!("the model does not run on made-up rows ({reason})")
    })
}

fn compare(model: &mut dyn Model, inputs: &[Tensor], outputs: &[Tensor]) -> Result<(), String> {
    let mut picks: Vec<Vec<usize>> = ALONE.iter().map(|row| vec![*row]).collect();
    picks.push((0..PROBE_ROWS).rev().collect());
    picks.push((0..PROBE_ROWS).filter(|row| *row != OUTLIER).collect());
    for pick in picks {
        let some: Vec<Tensor> = inputs
            .iter()
            .map(|tensor| tensor.take_rows(&pick))
            .collect();
        let got = run(model, &some)?;
        let agree = got.len() == outputs.len()
            && got
                .iter()
                .zip(outputs)
                .all(|(got, all)| close(got, &all.take_rows(&pick)));
        if !agree {
            return Err("rows gave other results alone or in another company".to_owned());
        }
    }
    Ok(())
}

fn rows_differ(tensor: &Tensor) -> bool {
    let first = tensor.take_rows(&[0]);
    (1..PROBE_ROWS).any(|row| tensor.take_rows(&[row]).data() != first.data())
}

/// How made-up rows are to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All values between 0 and 1.
    Alike,
    /// Positive and negative, small and large, and one row far out.
    FarApart,
}

impl Kind {
    fn number(self, row: usize, random: &mut fastrand::Rng) -> f64 {
        match self {
            Self::Alike => random.f64(),
            Self::FarApart if row == OUTLIER => 1000.0 * (1.0 + random.f64()),
            Self::FarApart => (random.f64() - 0.5) * [0.1, 1.0, 10.0][row % 3],
        }
    }
}

/// `None` if they would take too much room.
fn made_up_rows(specs: &[TensorSpec], undeclared: &[usize], kind: Kind) -> Option<Vec<Tensor>> {
    let shapes = specs.iter().map(|spec| made_up_shape(spec, undeclared));
    let shapes: Vec<Shape> = shapes.collect();
    let mut counts = shapes.iter().map(|shape| element_count(shape));
    let total = counts.try_fold(0usize, |sum, count| sum.checked_add(count?));
    if total.is_none_or(|total| total > MAX_ELEMENTS) {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(42);
    let pairs = specs.iter().zip(shapes);
    pairs
        .map(|(spec, shape)| made_up(spec.element_type, shape, kind, &mut random))
        .collect()
}

fn made_up_shape(spec: &TensorSpec, undeclared: &[usize]) -> Shape {
    let Some(dims) = &spec.shape else {
        return undeclared.to_vec();
    };
    let axes = dims.iter().enumerate();
    axes.map(|(axis, dim)| match (axis, dim) {
        (_, Dim::Fixed(n)) => *n,
        (0, Dim::Dynamic(_)) => PROBE_ROWS,
        (_, Dim::Dynamic(_)) => FREE_AXIS,
    })
    .collect()
}

fn made_up(
    ty: ElementType,
    shape: Shape,
    kind: Kind,
    random: &mut fastrand::Rng,
) -> Option<Tensor> {
    let count = element_count(&shape)?;
    let width = (count / shape.first().copied().unwrap_or(1).max(1)).max(1);
    let floats = |random: &mut fastrand::Rng| -> Vec<f64> {
        (0..count)
            .map(|index| kind.number(index / width, random))
            .collect()
    };
    // Small whole numbers, because integers are often indices into a table.
    macro_rules! small {
        ($ty:ty) => {
            (0..count)
                .map(|_| random.u8(0..3) as $ty)
                .collect::<Vec<$ty>>()
                .into()
        };
    }
    let data: TensorData = match ty {
        ElementType::Bool => (0..count).map(|_| random.bool()).collect::<Vec<_>>().into(),
        ElementType::Int8 => small!(i8),
        ElementType::Int16 => small!(i16),
        ElementType::Int32 => small!(i32),
        ElementType::Int64 => small!(i64),
        ElementType::Uint8 => small!(u8),
        ElementType::Uint16 => small!(u16),
        ElementType::Uint32 => small!(u32),
        ElementType::Uint64 => small!(u64),
        ElementType::Float16 => {
            let values = floats(random).into_iter().map(half::f16::from_f64);
            values.collect::<Vec<_>>().into()
        }
        ElementType::BFloat16 => {
            let values = floats(random).into_iter().map(half::bf16::from_f64);
            values.collect::<Vec<_>>().into()
        }
        ElementType::Float32 => {
            let values = floats(random).into_iter().map(|value| value as f32);
            values.collect::<Vec<_>>().into()
        }
        ElementType::Float64 => floats(random).into(),
        ElementType::String => (0..count)
            .map(|_| random.alphabetic().to_string())
            .collect::<Vec<_>>()
            .into(),
    };
    Tensor::new(shape, data).ok()
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
    match (doubles(a.data()), doubles(b.data())) {
        (Some((a, tolerance)), Some((b, _))) => all_close(&a, &b, tolerance),
        _ => a.data() == b.data(),
    }
}

/// Floats with the relative tolerance of their type; `None` for what must be equal.
fn doubles(data: &TensorData) -> Option<(Vec<f64>, f64)> {
    match data {
        TensorData::Float16(v) => Some((v.iter().map(|v| v.to_f64()).collect(), 1e-2)),
        TensorData::BFloat16(v) => Some((v.iter().map(|v| v.to_f64()).collect(), 5e-2)),
        TensorData::Float32(v) => Some((v.iter().map(|v| f64::from(*v)).collect(), 1e-4)),
        TensorData::Float64(v) => Some((v.clone(), 1e-9)),
        _ => None,
    }
}

/// Small values may differ by a fraction of the largest one: they may be differences of larger ones.
fn all_close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    let finite = b.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0f64, |most, value| most.max(value.abs()));
    a.iter().zip(b).all(|(a, b)| {
        let both_nan = a.is_nan() && b.is_nan();
        let allowed = tolerance * a.abs().max(b.abs()).max(1e-2 * largest);
        both_nan || a == b || (a - b).abs() <= allowed
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
        fn run(&mut self, inputs: &[Tensor], _given: &[usize]) -> Result<Vec<Tensor>, RunError> {
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
            shape: Some(vec![rows.clone(), Dim::Fixed(1)]),
        };
        examine(&mut Fake {
            signature: ModelSignature::of_tensors(vec![spec("x")], vec![spec("y")]),
            answer,
        })
    }

    #[test]
    fn a_model_that_looks_at_each_row_alone_is_independent() {
        let found = verdict(Dim::Dynamic(None), |x| x.iter().map(|v| v * 2.0).collect());
        assert_eq!(
            (found.rows, found.deterministic),
            (Rows::Independent, Some(true))
        );
    }

    #[test]
    fn a_model_that_mixes_rows_is_not_cut() {
        let found = verdict(Dim::Dynamic(None), |x| {
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            x.iter().map(|v| v - mean).collect()
        });
        assert_eq!(
            (found.rows, found.deterministic),
            (Rows::Together, Some(true))
        );
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
        let found = verdict(Dim::Fixed(4), <[f32]>::to_vec);
        assert_eq!(
            (found.rows, found.deterministic),
            (Rows::Together, Some(true))
        );
    }

    #[test]
    fn a_model_that_rolls_dice_is_found_out() {
        let mut random = fastrand::Rng::with_seed(1);
        let found = verdict(Dim::Dynamic(None), move |x| {
            x.iter().map(|v| v + random.f32()).collect()
        });
        assert_eq!(
            (found.rows, found.deterministic),
            (Rows::Together, Some(false))
        );
    }

    #[test]
    fn a_model_that_looks_for_outliers_in_the_batch_is_not_cut() {
        let found = verdict(Dim::Dynamic(None), |x| {
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            let spread = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.len() as f32;
            let far = |v: &f32| (v - mean).abs() > 3.0 * spread.sqrt();
            x.iter().map(|v| f32::from(u8::from(far(v)))).collect()
        });
        assert_eq!(found.rows, Rows::Together);
    }

    #[test]
    fn small_outputs_are_compared_on_their_own_scale() {
        let found = verdict(Dim::Dynamic(None), |x| {
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            x.iter().map(|v| 5e-7 * (v - mean)).collect()
        });
        assert_eq!(found.rows, Rows::Together);
    }

    #[test]
    fn equal_results_for_all_rows_prove_nothing() {
        let found = verdict(Dim::Dynamic(None), |x| vec![1.0; x.len()]);
        assert_eq!(found.rows, Rows::Together);
    }

    /// A model of an input without a declared shape that runs only on some shapes.
    struct Undeclared {
        signature: ModelSignature,
        runs_on: fn(&[usize]) -> bool,
    }

    impl Model for Undeclared {
        fn signature(&self) -> &ModelSignature {
            &self.signature
        }
        fn run(&mut self, inputs: &[Tensor], _given: &[usize]) -> Result<Vec<Tensor>, RunError> {
            match (self.runs_on)(inputs[0].shape()) {
                true => Ok(inputs.to_vec()),
                false => Err(RunError::Rejected("another rank is needed".into())),
            }
        }
    }

    #[test]
    fn an_undeclared_shape_is_tried_with_several_ranks_and_never_cut() {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            element_type: ElementType::Float32,
            shape: None,
        };
        let verdict = |runs_on| {
            let signature = ModelSignature::of_tensors(vec![spec("x")], vec![spec("y")]);
            examine(&mut Undeclared { signature, runs_on })
        };
        let runs_on: [fn(&[usize]) -> bool; 5] = [
            |_| true,
            |shape| shape.len() == 2,
            |shape| shape.len() == 1,
            <[usize]>::is_empty,
            |shape| shape.len() == 4,
        ];
        for runs_on in runs_on {
            let found = verdict(runs_on);
            assert_eq!(
                (found.rows, found.deterministic),
                (Rows::Together, Some(true))
            );
            assert_eq!(
                found.rows_reason,
                "not every input and output has a declared shape"
            );
        }
        let found = verdict(|shape| shape.len() == 3);
        assert_eq!((found.rows, found.deterministic), (Rows::Together, None));
    }

    #[test]
    fn what_cannot_be_tried_out_is_not_known_to_be_deterministic() {
        let spec = |ty| TensorSpec {
            name: "x".into(),
            element_type: ty,
            shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(1 << 30)]),
        };
        for ty in [ElementType::Int64, ElementType::Float32] {
            let found = examine(&mut Fake {
                signature: ModelSignature::of_tensors(vec![spec(ty)], vec![]),
                answer: <[f32]>::to_vec,
            });
            assert_eq!((found.rows, found.deterministic), (Rows::Together, None));
        }
    }
}
