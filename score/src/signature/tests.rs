use super::*;
use crate::tensor::TensorData;

fn signature() -> ModelSignature {
    let x = TensorSpec {
        name: "x".into(),
        element_type: ElementType::Float32,
        shape: Some(vec![Dim::Dynamic(Some("batch".into())), Dim::Fixed(3)]),
    };
    let n = TensorSpec {
        name: "n".into(),
        element_type: ElementType::Int64,
        shape: Some(vec![Dim::Dynamic(None)]),
    };
    ModelSignature::of_tensors(vec![x, n], vec![])
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
    assert_eq!(ordered.tensors[0].shape(), [1, 3]);
    assert_eq!(ordered.tensors[1].shape(), [1]);
    assert!(ordered.given.is_empty());
}

#[test]
fn optional_inputs_come_after_the_required_ones() {
    let mut signature = signature();
    let n = signature.inputs.remove(1);
    signature.optional = vec![
        TensorSpec {
            name: "k".into(),
            ..n.clone()
        },
        n,
    ];
    let given = vec![n_value(), x(3)];
    let arranged = signature.arrange(given).unwrap();
    assert_eq!((arranged.tensors.len(), arranged.given), (2, vec![1]));
    let given = signature.arrange(vec![x(3)]).unwrap().given;
    assert!(given.is_empty());
}

fn n_value() -> NamedTensor {
    n(TensorData::Int64(vec![1]))
}

#[test]
fn an_empty_tensor_of_absurd_shape_is_refused() {
    let mut empty = x(3);
    for axis in [1 << 21, usize::MAX] {
        empty.tensor = Tensor::new(vec![0, axis], TensorData::Float32(vec![])).unwrap();
        assert!(refusal(vec![empty.clone()]).contains("is too large"));
    }
}

#[test]
fn any_shape_fits_where_none_is_declared_but_no_other_type() {
    let mut signature = signature();
    signature.inputs.truncate(1);
    signature.inputs[0].shape = None;
    assert_eq!(signature.describe_inputs(), r#""x" float32 of any shape"#);
    assert!(!signature.has_dynamic_rows());
    let given = |shape: Vec<usize>, data: TensorData| NamedTensor {
        name: "x".into(),
        tensor: Tensor::new(shape, data).unwrap(),
    };
    for shape in [vec![], vec![1], vec![0], vec![1, 1], vec![1; MAX_AXES]] {
        let count = crate::tensor::element_count(&shape).unwrap();
        let tensor = given(shape.clone(), TensorData::Float32(vec![0.0; count]));
        let arranged = signature.arrange(vec![tensor]).unwrap();
        assert_eq!(arranged.tensors[0].shape(), shape);
    }
    let refusal = |tensor| signature.arrange(vec![tensor]).unwrap_err().to_string();
    assert_eq!(
        refusal(given(vec![1], TensorData::Int64(vec![1]))),
        r#"input "x": expected float32 of any shape, got int64 [1]"#
    );
    assert_eq!(
        refusal(given(vec![1; 100_000], TensorData::Float32(vec![0.0]))),
        r#"input "x": expected float32 of any shape, got [100000 axes; at most 64 are accepted]"#
    );
    assert!(refusal(given(vec![0, 1 << 21], TensorData::Float32(vec![]))).contains("is too large"));
}

#[test]
fn a_row_is_one_value_where_all_further_axes_are_1() {
    let single = |dims: &[Dim]| {
        let mut spec = signature().inputs.remove(0);
        spec.shape = Some(dims.to_vec());
        spec.has_single_values()
    };
    let (free, one) = (Dim::Dynamic(None), Dim::Fixed(1));
    assert!(single(&[free.clone(), one.clone()]));
    assert!(single(&[Dim::Fixed(4), one.clone(), one.clone()]));
    assert!(!single(&[]));
    assert!(!single(std::slice::from_ref(&free)));
    assert!(!single(&[free.clone(), Dim::Fixed(2)]));
    assert!(!single(&[free.clone(), one, free]));
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
