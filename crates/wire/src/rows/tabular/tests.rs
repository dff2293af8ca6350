use score::{ElementType, ModelSignature, TensorData, TensorSpec};

use crate::Declared;
use crate::Limits;
use crate::PayloadError;
use crate::decode;
use crate::samples::{metadata, spec};

const LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    max_nesting: 16,
    max_rows: 100,
};

fn signature(inputs: Vec<TensorSpec>) -> ModelSignature {
    ModelSignature::of_tensors(inputs, vec![])
}

fn passengers() -> ModelSignature {
    signature(vec![
        spec("age", ElementType::Float32, &[-1, 1]),
        spec("sex", ElementType::String, &[-1, 1]),
        spec("deck", ElementType::Int64, &[-1]),
    ])
}

fn inputs_with(
    signature: &ModelSignature,
    options: &[(&str, score::InputOptions)],
    body: &str,
) -> Result<Vec<(String, TensorData)>, String> {
    let mut metadata = metadata(signature.clone());
    let owned = options
        .iter()
        .map(|(name, options)| ((*name).to_owned(), options.clone()));
    metadata.options.inputs = owned.collect();
    match decode(body.as_bytes(), Declared::default(), &metadata, LIMITS) {
        Ok(read) => {
            let decoded = read.rows().unwrap();
            assert!(!decoded.by_position, "{body}");
            let inputs = decoded.inputs.into_iter();
            Ok(inputs
                .map(|input| (input.name, input.tensor.into_parts().1))
                .collect())
        }
        Err(PayloadError::Invalid(error)) => Err(error.to_string()),
        Err(other) => Err(format!("{other:?}")),
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn named_columns_are_put_in_order_wherever_names_stand() {
    let signature = signature(vec![spec("x", ElementType::Float32, &[-1, 3])]);
    let columns = score::InputOptions {
        columns: names(&["height", "weight", "x"]),
        ..Default::default()
    };
    let read = |body: &str| inputs_with(&signature, &[("x", columns.clone())], body);
    let expected = vec![(
        "x".to_owned(),
        TensorData::Float32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    )];
    for body in [
        r#"{"data":[[1,2,3],[4,5,6]]}"#,
        r#"{"data":[{"x":3,"weight":2,"height":1},{"height":4,"weight":5,"x":6}]}"#,
        r#"{"data":{"weight":[2,5],"x":[3,6],"height":[1,4]}}"#,
        r#"{"data":{"x":[[1,2,3],[4,5,6]]}}"#,
        r#"{"instances":[{"x":[1,2,3]},{"x":[4,5,6]}]}"#,
        r#"{"input_data":{"columns":["height","weight","x"],"data":[[1,2,3],[4,5,6]]}}"#,
        r#"{"input_data":{"columns":["x","height","weight"],"index":[0,1],"data":[[3,1,2],[6,4,5]]}}"#,
        r#"{"Inputs":{"data":[{"x":3,"weight":2,"height":1},{"height":4,"weight":5,"x":6}]}}"#,
    ] {
        assert_eq!(read(body), Ok(expected.clone()), "{body}");
    }
    for (body, said) in [
        (
            r#"{"data":[{"x":3,"hight":1,"weight":2}]}"#,
            "no input \"hight\", and columns are missing: \"height\"",
        ),
        (
            r#"{"data":[{"x":3},{"x":3,"height":1,"weight":2}]}"#,
            "data[0]: \"height\" is missing",
        ),
        (
            r#"{"data":{"x":[1],"weight":[2,3],"height":[1,4]}}"#,
            "data.x: 1 values where the columns before have 2",
        ),
        (
            r#"{"input_data":{"columns":["a","b","c"],"data":[[1,2,3]]}}"#,
            "no input \"a\", \"b\", \"c\"",
        ),
        (
            r#"{"input_data":{"columns":["x","height","x"],"data":[[1,2,3]]}}"#,
            "\"x\" is given twice",
        ),
        (
            r#"{"input_data":{"columns":["x","height","weight"],"data":[[1,2]]}}"#,
            "input_data.data[0]: 2 values where 3",
        ),
        (
            r#"{"data":[{"x":"old","height":1,"weight":2}]}"#,
            "(column \"x\")",
        ),
    ] {
        let refusal = read(body).unwrap_err();
        assert!(refusal.contains(said), "{body}: {refusal}");
    }
}

#[test]
fn numbers_name_columns_and_other_names_are_told() {
    let signature = signature(vec![spec("x", ElementType::Float32, &[-1, 2])]);
    let metadata = metadata(signature);
    let read = |body: &str| {
        let read = decode(body.as_bytes(), Declared::default(), &metadata, LIMITS);
        read.unwrap().rows().unwrap()
    };
    let mut numbered = read(r#"{"input_data":{"columns":[1,0],"data":[[2,1]]}}"#);
    assert!(!numbered.by_position);
    let data = numbered.inputs.remove(0).tensor.into_parts().1;
    assert_eq!(data, TensorData::Float32(vec![1.0, 2.0]));
    assert!(read(r#"{"input_data":{"columns":["b","a"],"data":[[1,2]]}}"#).by_position);
}

#[test]
fn aliases_name_inputs_in_every_table() {
    let aliases = score::InputOptions {
        aliases: names(&["age (years)"]),
        ..Default::default()
    };
    for body in [
        r#"{"data":[{"age (years)":22,"sex":"m","deck":1}]}"#,
        r#"{"data":{"age (years)":[22],"sex":["m"],"deck":[1]}}"#,
        r#"{"input_data":{"columns":["deck","age (years)","sex"],"data":[[1,22,"m"]]}}"#,
        r#"{"Inputs":{"age (years)":[22],"sex":["m"],"deck":[1]}}"#,
    ] {
        let mut read = inputs_with(&passengers(), &[("age", aliases.clone())], body).unwrap();
        read.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(
            read[0],
            ("age".to_owned(), TensorData::Float32(vec![22.0])),
            "{body}"
        );
    }
    let twice = r#"{"data":[{"age (years)":22,"age":22,"sex":"m","deck":1}]}"#;
    let refusal = inputs_with(&passengers(), &[("age", aliases)], twice).unwrap_err();
    assert!(
        refusal.contains("input \"age\" is given twice"),
        "{refusal}"
    );
}

#[test]
fn null_is_nan_where_the_model_says_so() {
    let signature = signature(vec![spec("x", ElementType::Float64, &[-1, 2])]);
    let missing = score::InputOptions {
        missing: Some(score::MissingValues::Nan),
        columns: names(&["a", "b"]),
        ..Default::default()
    };
    for body in [
        r#"{"data":[[null,2]]}"#,
        r#"{"data":[{"a":null,"b":2}]}"#,
        r#"{"data":{"a":[null],"b":[2]}}"#,
        r#"{"input_data":{"columns":["b","a"],"data":[[2,null]]}}"#,
        r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[null,2]}]}"#,
    ] {
        let read = inputs_with(&signature, &[("x", missing.clone())], body).unwrap();
        let TensorData::Float64(values) = &read[0].1 else {
            panic!("no floats");
        };
        assert!(values[0].is_nan() && values[1] == 2.0, "{body}");
    }
    for body in [
        r#"{"data":[null,[1,2]]}"#,
        r#"{"data":[[1,2],null]}"#,
        r#"{"data":null}"#,
    ] {
        assert!(
            inputs_with(&signature, &[("x", missing.clone())], body).is_err(),
            "{body}"
        );
    }
    let refusal = inputs_with(&signature, &[], r#"{"data":[[null,2]]}"#).unwrap_err();
    assert!(refusal.contains("a missing value is \"NaN\""), "{refusal}");
    let refusal = inputs_with(
        &passengers(),
        &[],
        r#"{"data":[{"age":1,"sex":null,"deck":1}]}"#,
    );
    assert!(!refusal.unwrap_err().contains("NaN"));
}
