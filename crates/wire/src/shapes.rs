//! Tests of shapes that the model leaves open, and of lists of single values, in every dialect and format.

use score::{ElementType, NamedTensor, Tensor, TensorData, TensorSpec};
use serde_json::json;

use super::*;
use crate::samples::{self, metadata, spec, undeclared};
use score::ModelSignature;

const LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    max_nesting: 16,
    max_rows: 100,
};

fn read_all(
    inputs: &[TensorSpec],
    declared: Declared<'_>,
    body: &[u8],
) -> Result<Vec<NamedTensor>, String> {
    let metadata = samples::metadata(ModelSignature::of_tensors(inputs.to_vec(), vec![]));
    match decode(body, declared, &metadata, LIMITS) {
        Ok(body) => Ok(body.rows().unwrap().inputs),
        Err(PayloadError::Invalid(error)) => Err(error.to_string()),
        Err(other) => Err(format!("{other:?}")),
    }
}

fn typed(content_type: &str) -> Declared<'_> {
    Declared {
        content_type: Some(content_type),
        ..Declared::default()
    }
}

/// The one tensor in a JSON body.
fn read(input: &TensorSpec, body: &serde_json::Value) -> Result<Tensor, String> {
    let body = body.to_string();
    let mut read = read_all(
        std::slice::from_ref(input),
        Declared::default(),
        body.as_bytes(),
    )?;
    Ok(read.remove(0).tensor)
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), TensorData::Float32(values.to_vec())).unwrap()
}

#[test]
fn any_depth_is_read_where_no_shape_is_declared() {
    let x = undeclared("x", ElementType::Float32);
    let cases = [
        (json!(5), floats(&[], &[5.0])),
        (json!([]), floats(&[0], &[])),
        (json!([1, 2]), floats(&[2], &[1.0, 2.0])),
        (json!([[], []]), floats(&[2, 0], &[])),
        (
            json!([[1, 2], [3, 4]]),
            floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]),
        ),
        (
            json!([[["NaN"]], [[1]]]),
            floats(&[2, 1, 1], &[f32::NAN, 1.0]),
        ),
        // Deeper than the fast path reads.
        (json!([[[[[[[[[[7]]]]]]]]]]), floats(&[1; 10], &[7.0])),
    ];
    for (data, expected) in cases {
        for body in [
            json!({ "data": data }),
            json!({ "instances": data }),
            json!({ "Inputs": { "data": data } }),
            json!({ "Inputs": { "x": data } }),
            json!({ "input_data": data }),
            json!({ "data": { "x": data } }),
        ] {
            let tensor = read(&x, &body).unwrap();
            // NaN is not equal to itself.
            assert_eq!(format!("{tensor:?}"), format!("{expected:?}"), "{body}");
        }
    }
}

#[test]
fn ragged_too_deep_and_foreign_values_are_refused_with_their_place() {
    let x = undeclared("x", ElementType::Float32);
    let mut deep = json!(1);
    for _ in 0..17 {
        deep = json!([deep]);
    }
    for (data, said) in [
        (
            json!([[1, 2], [3]]),
            "data[1]: 1 values where the arrays before have 2",
        ),
        (
            json!([1, [2]]),
            "data[1]: an array stands where others have a value",
        ),
        (
            json!([[1], 2]),
            "data[1]: a value stands where others have an array",
        ),
        (json!([["a"]]), "data[0][0]: expected a number"),
        (json!(null), "data is null; expected rows"),
        (deep, "arrays are nested more than 16 deep"),
    ] {
        let refusal = read(&x, &json!({ "data": data })).unwrap_err();
        assert!(refusal.contains(said), "{refusal}");
    }
}

#[test]
fn rows_as_objects_and_columns_give_what_their_values_are() {
    let inputs = [
        undeclared("age", ElementType::Float32),
        undeclared("sex", ElementType::String),
    ];
    let sexes = TensorData::String(vec!["m".into(), "f".into()]);
    for body in [
        r#"{"data": [{"sex": "m", "age": 22}, {"sex": "f", "age": 38}]}"#,
        r#"{"data": {"age": [22, 38], "sex": ["m", "f"]}}"#,
        r#"{"instances": [[22, "m"], [38, "f"]]}"#,
    ] {
        let read = read_all(&inputs, Declared::default(), body.as_bytes()).unwrap();
        let by_name = |name| &read.iter().find(|input| input.name == name).unwrap().tensor;
        assert_eq!(by_name("age"), &floats(&[2], &[22.0, 38.0]), "{body}");
        assert_eq!(
            by_name("sex"),
            &Tensor::new(vec![2], sexes.clone()).unwrap()
        );
    }
}

#[test]
fn a_table_is_a_matrix_and_an_array_keeps_its_shape() {
    let x = [undeclared("x", ElementType::Float32)];
    for (body, expected) in [
        ("1,2\n3,4\n", floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
        ("a,b\n1,2\n", floats(&[1, 2], &[1.0, 2.0])),
        ("x\n1\n2\n", floats(&[2, 1], &[1.0, 2.0])),
        ("1\n2\n", floats(&[2, 1], &[1.0, 2.0])),
    ] {
        let read = read_all(&x, typed("text/csv"), body.as_bytes()).unwrap();
        assert_eq!(read[0].tensor, expected, "{body}");
    }
    let array = floats(&[1, 2, 1], &[1.0, 2.0]);
    let response = InferenceResponse {
        outputs: vec![NamedTensor {
            name: "x".into(),
            tensor: array.clone(),
        }],
        rows: 1,
        cache: score::CacheOutcome::Bypass,
        timings: score::Timings::default(),
    };
    let metadata = samples::metadata(ModelSignature::of_tensors(vec![], x.to_vec()));
    let npy = encode(
        &AnswerForm::bare(),
        Some(format::npy::CONTENT_TYPE),
        &metadata,
        &response,
    )
    .unwrap();
    let read = read_all(&x, typed(format::npy::CONTENT_TYPE), &npy.body).unwrap();
    assert_eq!(read[0].tensor, array);
    let wide = [undeclared("x", ElementType::Float64)];
    let read = read_all(&wide, typed(format::npy::CONTENT_TYPE), &npy.body).unwrap();
    assert_eq!(read[0].tensor.shape(), array.shape());
    let flags = [undeclared("x", ElementType::Bool)];
    let refusal = read_all(&flags, typed(format::npy::CONTENT_TYPE), &npy.body).unwrap_err();
    assert!(
        refusal.contains("expected bool of any shape, got an array of dtype '<f4'"),
        "{refusal}"
    );
}

#[test]
fn columns_that_are_named_make_a_matrix_of_an_undeclared_shape() {
    let x = vec![undeclared("x", ElementType::Float32)];
    let mut metadata = samples::metadata(ModelSignature::of_tensors(x, vec![]));
    let columns = score::InputOptions {
        columns: vec!["a".into(), "b".into()],
        ..Default::default()
    };
    metadata.options.inputs.insert("x".into(), columns);
    for (content_type, body) in [
        ("text/csv", "b,a\n2,1\n"),
        ("application/json", r#"{"data":[{"b":2,"a":1}]}"#),
        ("application/json", r#"{"data":{"b":[2],"a":[1],"c":null}}"#),
        (
            "application/json",
            r#"{"input_data":{"columns":["b","a"],"index":null,"data":[[2,1]]}}"#,
        ),
    ] {
        let read = decode(body.as_bytes(), typed(content_type), &metadata, LIMITS).unwrap();
        let tensor = &read.rows().unwrap().inputs[0].tensor;
        assert_eq!(*tensor, floats(&[1, 2], &[1.0, 2.0]), "{body}");
    }
}

#[test]
fn raw_bytes_and_pictures_need_a_declared_shape() {
    let x = [undeclared("x", ElementType::Float32)];
    let refusal = read_all(&x, typed("application/octet-stream"), &[0; 8]).unwrap_err();
    assert_eq!(
        refusal,
        "input \"x\" is float32 of any shape: raw bytes do not tell a shape that the model does not declare; name it in the header X-Shape, or send npy or JSON"
    );
    let refusal = read_all(&x, typed("image/png"), b"\x89PNG\r\n\x1a\n").unwrap_err();
    assert!(
        refusal.contains("does not look like a picture"),
        "{refusal}"
    );
}

/// In the Open Inference Protocol: as flat and nested data, with the data before the shape, and as bytes.
fn in_protocol(input: &TensorSpec, shape: &[usize], values: &[f32]) -> Result<Tensor, String> {
    let inputs = std::slice::from_ref(input);
    let flat = json!(values);
    let in_order = json!({ "name": "x", "shape": shape, "datatype": "FP32", "data": flat });
    let other_order = json!({ "data": flat, "datatype": "FP32", "name": "x", "shape": shape });
    let mut answers = Vec::new();
    for tensor in [in_order, other_order] {
        let body = json!({ "inputs": [tensor] }).to_string();
        answers.push(read_all(inputs, Declared::default(), body.as_bytes()));
    }
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let size = json!({ "binary_data_size": bytes.len() });
    let tensor = json!({ "name": "x", "shape": shape, "datatype": "FP32", "parameters": size });
    let head = json!({ "inputs": [tensor] }).to_string().into_bytes();
    let declared = Declared {
        json_bytes: Some(head.len()),
        ..Declared::default()
    };
    answers.push(read_all(inputs, declared, &[head, bytes].concat()));
    let mut tensors = answers.into_iter();
    let first = tensors.next().unwrap()?.remove(0).tensor;
    for other in tensors {
        assert_eq!(other?[0].tensor, first);
    }
    // What the fast path reads is checked with the whole request.
    input
        .check(&first, "inputs[0]")
        .map_err(|error| error.to_string())?;
    Ok(first)
}

#[test]
fn a_tensor_of_the_protocol_says_its_own_shape() {
    let x = undeclared("x", ElementType::Float32);
    for shape in [&[2, 3][..], &[6], &[1, 6, 1], &[2, 1, 1, 3]] {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(in_protocol(&x, shape, &values), Ok(floats(shape, &values)));
    }
    assert_eq!(in_protocol(&x, &[], &[1.0]), Ok(floats(&[], &[1.0])));
    assert_eq!(in_protocol(&x, &[0], &[]), Ok(floats(&[0], &[])));
}

#[test]
fn a_list_in_the_protocol_fits_an_input_of_single_values() {
    let float = |shape: &[i64]| spec("x", ElementType::Float32, shape);
    let values = [22.0, 38.5];
    for (declared, becomes) in [
        (&[-1, 1][..], &[2, 1][..]),
        (&[-1, 1, 1], &[2, 1, 1]),
        (&[2, 1], &[2, 1]),
        (&[-1], &[2]),
    ] {
        let read = in_protocol(&float(declared), &[2], &values);
        assert_eq!(read, Ok(floats(becomes, &values)), "{declared:?}");
    }
    let none = in_protocol(&float(&[-1, 1]), &[0], &[]);
    assert_eq!(none, Ok(floats(&[0, 1], &[])));
    for declared in [&[-1, 2][..], &[-1, -1], &[1, -1], &[-1, 1, 2], &[]] {
        let refusal = in_protocol(&float(declared), &[2], &values).unwrap_err();
        assert!(refusal.contains("got [2]"), "{declared:?}: {refusal}");
    }
    let refusal = in_protocol(&float(&[3, 1]), &[2], &values).unwrap_err();
    assert!(refusal.contains("expected float32 [3,1], got [2,1]"));
    // A list that is said to be something else is not taken for a column.
    assert!(in_protocol(&float(&[-1, 1]), &[1, 2], &values).is_err());
    assert!(in_protocol(&float(&[-1, 1, 1]), &[2, 1], &values).is_err());
}

#[test]
fn an_undeclared_shape_is_null_or_the_protocols_nearest_word() {
    let x = undeclared("x", ElementType::Float32);
    assert_eq!(
        tensor_document(&x),
        json!({ "name": "x", "datatype": "FP32", "shape": null })
    );
    assert_eq!(protocol_tensor_document(&x)["shape"], json!([-1]));
    let scalar = spec("x", ElementType::Float32, &[]);
    assert_eq!(tensor_document(&scalar)["shape"], json!([]));
    assert_eq!(protocol_tensor_document(&scalar)["shape"], json!([]));
}

#[test]
fn the_sample_for_an_undeclared_shape_is_a_row_of_one_value() {
    let one = undeclared("x", ElementType::Int64);
    let signature = ModelSignature::of_tensors(vec![one.clone()], vec![]);
    let request = |signature| sample_request(&metadata(signature));
    assert_eq!(request(signature), Some(json!({ "data": [[0]] })));
    let two = ModelSignature::of_tensors(vec![one, spec("y", ElementType::String, &[-1])], vec![]);
    let sample = json!({ "data": { "x": [[0]], "y": [""] } });
    assert_eq!(request(two), Some(sample));
}
