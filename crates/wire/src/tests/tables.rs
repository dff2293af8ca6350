//! Tables in the shapes people write them in.

use super::*;

fn passengers() -> ModelSignature {
    signature(vec![
        spec("age", ElementType::Float32, &[-1, 1]),
        spec("sex", ElementType::String, &[-1, 1]),
        spec("deck", ElementType::Int64, &[-1]),
    ])
}

fn inputs_by_name(
    signature: &ModelSignature,
    body: &str,
) -> Result<Vec<(String, Vec<usize>, TensorData)>, String> {
    match read(signature, None, body.as_bytes()) {
        Ok(decoded) => {
            let mut inputs: Vec<_> = decoded
                .inputs
                .into_iter()
                .map(|NamedTensor { name, tensor }| {
                    let (shape, data) = tensor.into_parts();
                    (name, shape, data)
                })
                .collect();
            inputs.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(inputs)
        }
        Err(PayloadError::Invalid(error)) => Err(error.to_string()),
        Err(PayloadError::UnsupportedType(message)) => Err(message),
        Err(PayloadError::TooLarge) => Err("too large".into()),
        Err(PayloadError::Stopped) => Err("stopped".into()),
    }
}

#[test]
fn the_same_table_is_read_from_every_shape_people_write_it_in() {
    let bodies = [
        r#"{"data":[{"age":22,"sex":"m","deck":1},{"deck":2,"sex":"f","age":38.5}]}"#,
        r#"{"data":{"age":[22,38.5],"sex":[["m"],["f"]],"deck":[1,2]}}"#,
        r#"{"data":[[22,"m",1],[38.5,"f",2]]}"#,
        r#"{"Inputs":{"data":[{"age":22,"sex":"m","deck":1},{"age":38.5,"sex":"f","deck":2}]},"GlobalParameters":1}"#,
        r#"{"Inputs":{"age":[22,38.5],"sex":["m","f"],"deck":[1,2]},"GlobalParameters":{"method":"predict"}}"#,
        r#"{"input_data":{"columns":["deck","age","sex"],"index":[0,1],"data":[[1,22,"m"],[2,38.5,"f"]]}}"#,
        r#"{"input_data":[{"age":22,"sex":"m","deck":1},{"age":38.5,"sex":"f","deck":2}]}"#,
        r#"{"instances":[{"age":22,"sex":"m","deck":1},{"age":38.5,"sex":"f","deck":2}]}"#,
        r#"{"signature_name":"s","instances":[[22,"m",1],[38.5,"f",2]]}"#,
    ];
    let expected = vec![
        (
            "age".to_owned(),
            vec![2, 1],
            TensorData::Float32(vec![22.0, 38.5]),
        ),
        ("deck".to_owned(), vec![2], TensorData::Int64(vec![1, 2])),
        (
            "sex".to_owned(),
            vec![2, 1],
            TensorData::String(vec!["m".into(), "f".into()]),
        ),
    ];
    for body in bodies {
        assert_eq!(
            inputs_by_name(&passengers(), body),
            Ok(expected.clone()),
            "{body}"
        );
    }
}

#[test]
fn mistakes_in_tables_are_named_with_their_place() {
    for (body, expected) in [
        (
            r#"{"data":[{"age":1,"sex":"m","deck":1},{"age":2,"sex":"f"}]}"#,
            "data[1]: \"deck\" is missing",
        ),
        (
            r#"{"data":[{"age":1},{"age":2,"sex":"f"}]}"#,
            "data[0]: \"sex\" is missing",
        ),
        (r#"{"data":[{"age":1,"cabin":2}]}"#, "no input \"cabin\""),
        (
            r#"{"data":[{"age":1},{"age":2},{"cabin":3}]}"#,
            "no input \"cabin\"",
        ),
        (
            r#"{"data":[{"cabin":1},{"age":2,"berth":3}]}"#,
            "no input \"berth\", \"cabin\"",
        ),
        (
            r#"{"data":[{"age":1},{"sex":"f"},7]}"#,
            "data[2]: expected an object, found 7",
        ),
        (
            r#"{"data":[[1,"m"]]}"#,
            "data[0]: 2 values where 3 are expected (\"age\", \"sex\", \"deck\")",
        ),
        (
            r#"{"data":[{"age":"old","sex":"m","deck":1}]}"#,
            "data.age[0]: expected a number",
        ),
        (
            r#"{"data":[[1,"m",1],7]}"#,
            "data[1]: got \"7\"; expected an array of values in this order: \"age\", \"sex\", \"deck\"; or rows as objects",
        ),
        (
            r#"{"input_data":{"columns":["age"],"data":[[1,2]]}}"#,
            "input_data.data[0]: 2 values where 1",
        ),
        (
            r#"{"data":[],"instances":[]}"#,
            "give either \"data\" or \"instances\"",
        ),
    ] {
        let message = inputs_by_name(&passengers(), body).unwrap_err();
        assert!(message.contains(expected), "{body}: {message}");
    }
}

#[test]
fn one_matrix_may_come_in_columns_of_any_name() {
    let one = signature(vec![spec("x", ElementType::Float32, &[-1, 2])]);
    let expected = vec![(
        "x".to_owned(),
        vec![1, 2],
        TensorData::Float32(vec![1.0, 2.0]),
    )];
    for body in [
        r#"{"input_data":{"columns":["a","b"],"index":[0],"data":[[1,2]]}}"#,
        r#"{"input_data":{"columns":[0,1],"data":[[1,2]]}}"#,
        r#"{"input_data":[[1,2]]}"#,
        r#"{"Inputs":{"WebServiceInput0":[[1,2]]}}"#,
        r#"{"Inputs":{"x":[[1,2]]}}"#,
        r#"{"instances":[[1,2]]}"#,
        r#"{"instances":[{"x":[1,2]}]}"#,
    ] {
        assert_eq!(inputs_by_name(&one, body), Ok(expected.clone()), "{body}");
    }
}
