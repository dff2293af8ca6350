//! What loading a model decides.

use super::super::load::{features_unfit, sessions_and_threads};
use super::*;
use crate::model::FeatureFormat;

#[test]
fn features_must_suit_the_models_inputs() {
    use crate::model::FeatureOptions;
    let input = |element_type, shape: &[i64]| {
        let dim = |n: &i64| usize::try_from(*n).map_or(Dim::Dynamic(None), Dim::Fixed);
        spec("x", element_type, shape.iter().map(dim).collect())
    };
    let float = |shape| input(ElementType::Float32, shape);
    let text = || input(ElementType::String, &[-1, 2]);
    let undeclared = || TensorSpec {
        shape: None,
        ..float(&[])
    };
    let unfit = |format, inputs| {
        let mut options = ModelOptions::default();
        options.features = Some(FeatureOptions {
            prefix: "f:".into(),
            format,
        });
        features_unfit(&options, &ModelSignature::of_tensors(inputs, vec![]))
    };
    use FeatureFormat::{Hash, Json, Npy, Raw};
    for (format, inputs) in [
        (Json, vec![float(&[-1, 2]), text()]),
        (Npy, vec![float(&[-1, -1, -1])]),
        (Raw, vec![float(&[-1, -1, 2])]),
        (Hash, vec![float(&[-1, 1]), float(&[-1])]),
    ] {
        assert_eq!(unfit(format, inputs), None, "{format:?}");
    }
    for (format, inputs, said) in [
        (Json, vec![], "no input"),
        (Json, vec![float(&[-1, 2]), float(&[])], "has no rows"),
        (Json, vec![undeclared()], "does not declare what a row is"),
        (Raw, vec![float(&[-1, 2]), text()], "raw holds one input"),
        (
            Hash,
            vec![float(&[-1, 2])],
            "name its columns: columns = [...]",
        ),
        (Npy, vec![text()], "npy cannot hold a row of string [?,2]"),
        (Raw, vec![text()], "raw cannot hold"),
        (Raw, vec![float(&[-1, -1, -1])], "raw cannot hold"),
    ] {
        let reason = unfit(format, inputs).unwrap();
        assert!(reason.contains(said), "{reason}");
    }
}

#[test]
fn large_models_have_one_session_that_uses_all_cores() {
    let options = |sessions| ScorerOptions {
        sessions,
        cores: 4,
        ..Plan::default().options
    };
    assert_eq!(sessions_and_threads(1 << 20, options(None)), (4, 1));
    assert_eq!(sessions_and_threads(1 << 30, options(None)), (1, 4));
    assert_eq!(sessions_and_threads(1 << 30, options(Some(2))), (2, 1));
}
