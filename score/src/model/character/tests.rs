use super::*;
use crate::model::RunError;
use crate::model::graph::Cause;
use crate::signature::{Dim, TensorSpec};
use crate::tensor::{ElementType, Tensor, TensorData};

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

fn tried(signature: ModelSignature, answer: impl FnMut(&[f32]) -> Vec<f32> + Send) -> Character {
    let mut model = Fake {
        signature: signature.clone(),
        answer,
    };
    let one_row_only = signature.takes_one_row_only();
    examine(
        &mut model,
        &signature,
        one_row_only,
        &Reading::nothing(1),
        &[],
    )
}

fn signature(rows: Dim) -> ModelSignature {
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        element_type: ElementType::Float32,
        shape: Some(vec![rows.clone(), Dim::Fixed(1)]),
    };
    ModelSignature::of_tensors(vec![spec("x")], vec![spec("y")])
}

fn verdict(rows: Dim, answer: impl FnMut(&[f32]) -> Vec<f32> + Send) -> Character {
    tried(signature(rows), answer)
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
fn a_model_for_one_row_runs_rows_alone() {
    let mut signature = signature(Dim::Fixed(1));
    assert!(signature.takes_one_row_only());
    signature.free_rows();
    let mut model = Fake {
        signature: signature.clone(),
        answer: |x: &[f32]| x.iter().map(|v| v + x.len() as f32).collect(),
    };
    let found = examine(&mut model, &signature, true, &Reading::nothing(1), &[]);
    assert_eq!(
        (found.rows, found.evidence, found.deterministic),
        (Rows::Alone, Evidence::Proved, Some(true))
    );
}

#[test]
fn a_proof_decides_before_any_trial() {
    let reading = |proof: Proof| Reading {
        proof,
        ..Reading::nothing(1)
    };
    let found = |proof: Proof| {
        let signature = signature(Dim::Dynamic(None));
        let mut model = Fake {
            signature: signature.clone(),
            answer: |x: &[f32]| x.iter().map(|v| v * 2.0).collect(),
        };
        let found = examine(&mut model, &signature, false, &reading(proof), &[]);
        (found.rows, found.evidence, found.operator)
    };
    let by = || Cause::new("ReduceMax", "most");
    let named = Some("ReduceMax \"most\"".to_owned());
    assert_eq!(
        found(Proof::Apart),
        (Rows::Independent, Evidence::Proved, None)
    );
    assert_eq!(
        found(Proof::Mixed(by())),
        (Rows::Together, Evidence::Proved, named.clone())
    );
    assert_eq!(
        found(Proof::Scaled(by())),
        (Rows::Alone, Evidence::Proved, named.clone())
    );
    assert_eq!(
        found(Proof::Unclear(None, Some(by()))),
        (Rows::Together, Evidence::Proved, named.clone())
    );
    assert_eq!(
        found(Proof::Unclear(Some(by()), None)),
        (Rows::Independent, Evidence::Probed, named)
    );
}

#[test]
fn a_trial_that_contradicts_the_proof_has_the_last_word() {
    let signature = signature(Dim::Dynamic(None));
    let mut model = Fake {
        signature: signature.clone(),
        answer: |x: &[f32]| x.iter().map(|v| v + x.len() as f32).collect(),
    };
    let reading = Reading {
        proof: Proof::Apart,
        ..Reading::nothing(1)
    };
    let found = examine(&mut model, &signature, false, &reading, &[]);
    assert_eq!(
        (found.rows, found.evidence),
        (Rows::Together, Evidence::Probed)
    );
}

#[test]
fn a_declaration_wins_and_is_warned_of_where_the_graph_contradicts_it() {
    let by = Cause::new("ReduceMax", "");
    let proved = Character::new(Rows::Together, Evidence::Proved, "");
    let declared = |rows, proof| proved.clone().declared(rows, &proof);
    let found = declared(Rows::Independent, Proof::Mixed(by.clone()));
    assert_eq!(
        (found.rows, found.evidence),
        (Rows::Independent, Evidence::Declared)
    );
    let warning = found.warning.unwrap();
    assert!(
        warning.contains("ReduceMax") && warning.contains("\"together\""),
        "{warning}"
    );
    assert_eq!(declared(Rows::Alone, Proof::Mixed(by)).warning, None);
    assert_eq!(declared(Rows::Independent, Proof::Apart).warning, None);
}

#[test]
fn a_model_that_looks_at_wide_rows_only_is_not_cut() {
    // Small numbers all lie within one step of the scale.
    let found = verdict(Dim::Dynamic(None), |x| {
        let most = x.iter().fold(0f32, |most, v| most.max(v.abs()));
        let scale = if most < 3000.0 { 1.0 } else { most };
        x.iter().map(|v| (v / scale).round()).collect()
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
        let mut model = Undeclared {
            signature: signature.clone(),
            runs_on,
        };
        examine(&mut model, &signature, false, &Reading::nothing(1), &[])
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
        let signature = ModelSignature::of_tensors(vec![spec(ty)], vec![]);
        let found = tried(signature, <[f32]>::to_vec);
        assert_eq!((found.rows, found.deterministic), (Rows::Together, None));
    }
}

#[test]
fn a_model_that_takes_few_values_is_tried_with_its_samples() {
    let signature = signature(Dim::Dynamic(None));
    let tried = |values: &[f32], mixes: bool| {
        let mut model = Undeclared {
            signature: signature.clone(),
            runs_on: |_| true,
        };
        let samples = Tensor::new(vec![values.len(), 1], TensorData::Float32(values.to_vec()));
        let mut picky = Picky {
            inner: &mut model,
            mixes,
        };
        examine(
            &mut picky,
            &signature,
            false,
            &Reading::nothing(1),
            &[samples.unwrap()],
        )
    };
    let found = tried(&[5.0, 7.0, 5.0], false);
    assert_eq!(
        (found.rows, found.deterministic),
        (Rows::Independent, Some(true))
    );
    assert_eq!(tried(&[5.0, 7.0, 5.0], true).rows, Rows::Together);
    let found = tried(&[4.0], false);
    assert_eq!((found.rows, found.deterministic), (Rows::Together, None));
}

/// A model that takes 5 and 7, and may let its rows meet.
struct Picky<'a> {
    inner: &'a mut Undeclared,
    mixes: bool,
}

impl Model for Picky<'_> {
    fn signature(&self) -> &ModelSignature {
        self.inner.signature()
    }
    fn run(&mut self, inputs: &[Tensor], given: &[usize]) -> Result<Vec<Tensor>, RunError> {
        let TensorData::Float32(x) = inputs[0].data() else {
            return Err(RunError::Rejected("floats only".into()));
        };
        if !x.iter().all(|x| [5.0, 7.0].contains(x)) {
            return Err(RunError::Rejected("5 or 7 only".into()));
        }
        let mut outputs = self.inner.run(inputs, given)?;
        if self.mixes {
            let sum: f32 = x.iter().sum();
            outputs = vec![Tensor::new(vec![x.len(), 1], vec![sum; x.len()].into()).unwrap()];
        }
        Ok(outputs)
    }
}
