use score::{Dim, ElementType, ModelSignature, TensorData, TensorSpec};

use super::*;

fn spec(name: &str, element_type: ElementType, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        element_type,
        shape: shape
            .iter()
            .map(|n| usize::try_from(*n).map_or(Dim::Dynamic(None), Dim::Fixed))
            .collect(),
    }
}

fn signature(inputs: Vec<TensorSpec>) -> ModelSignature {
    let outputs = vec![
        spec("label", ElementType::Int64, &[-1]),
        spec("p", ElementType::Float32, &[-1, 2]),
    ];
    ModelSignature { inputs, outputs }
}

fn decode_one(ty: ElementType, shape: &[i64], body: &str) -> Result<TensorData, String> {
    let signature = signature(vec![spec("x", ty, shape)]);
    match decode(body.as_bytes(), None, &signature, 16) {
        Ok(mut decoded) => Ok(decoded.inputs.remove(0).tensor.into_parts().1),
        Err(PayloadError::Invalid(error)) => Err(error.to_string()),
        Err(PayloadError::UnsupportedType(message)) => Err(message),
    }
}

#[test]
fn every_element_type_is_read_exactly() {
    use half::{bf16, f16};
    let cases = [
        (
            ElementType::Bool,
            "true,false",
            TensorData::Bool(vec![true, false]),
        ),
        (
            ElementType::Int8,
            "-128,127",
            TensorData::Int8(vec![-128, 127]),
        ),
        (
            ElementType::Int16,
            "-32768,1e2",
            TensorData::Int16(vec![-32768, 100]),
        ),
        (
            ElementType::Int32,
            "-2147483648,0",
            TensorData::Int32(vec![i32::MIN, 0]),
        ),
        (
            ElementType::Int64,
            "9007199254740993,-9223372036854775808",
            TensorData::Int64(vec![9_007_199_254_740_993, i64::MIN]),
        ),
        (
            ElementType::Uint8,
            "0,255.0",
            TensorData::Uint8(vec![0, 255]),
        ),
        (
            ElementType::Uint16,
            "0,65535",
            TensorData::Uint16(vec![0, 65535]),
        ),
        (
            ElementType::Uint32,
            "0,4294967295",
            TensorData::Uint32(vec![0, u32::MAX]),
        ),
        (
            ElementType::Uint64,
            "0,18446744073709551615",
            TensorData::Uint64(vec![0, u64::MAX]),
        ),
        (
            ElementType::Float16,
            "0.5,65504",
            TensorData::Float16(vec![f16::from_f32(0.5), f16::MAX]),
        ),
        (
            ElementType::BFloat16,
            "0.5,-2",
            TensorData::BFloat16(vec![bf16::from_f32(0.5), bf16::from_f32(-2.0)]),
        ),
        (
            ElementType::Float32,
            "0.1,16777217",
            TensorData::Float32(vec![0.1, 16_777_216.0]),
        ),
        (
            ElementType::Float64,
            "0.1,-1e300",
            TensorData::Float64(vec![0.1, -1e300]),
        ),
        (
            ElementType::String,
            r#""ä\u2028","""#,
            TensorData::String(vec!["ä\u{2028}".into(), String::new()]),
        ),
    ];
    for (ty, values, expected) in cases {
        let body = format!(r#"{{"data":[[{values}]]}}"#);
        assert_eq!(
            decode_one(ty, &[-1, 2], &body),
            Ok(expected.clone()),
            "{ty}"
        );
        let datatype = ty.datatype();
        let body = format!(
            r#"{{"inputs":[{{"data":[{values}],"name":"x","shape":[1,2],"datatype":"{datatype}"}}]}}"#
        );
        assert_eq!(decode_one(ty, &[-1, 2], &body), Ok(expected), "{ty}");
    }
}

#[test]
fn special_floats_travel_as_strings_and_bare_words_are_refused_with_a_hint() {
    let read = |values: &str| {
        decode_one(
            ElementType::Float32,
            &[-1],
            &format!(r#"{{"data":[{values}]}}"#),
        )
    };
    let Ok(TensorData::Float32(values)) = read(r#""NaN","-Infinity",0.1,16777217"#) else {
        panic!("not read");
    };
    assert!(values[0].is_nan() && values[1] == f32::NEG_INFINITY);
    assert_eq!(values[2..], [0.1, 16_777_216.0]);
    assert!(read("NaN").unwrap_err().contains("as strings"));
}

#[test]
fn the_quick_and_the_careful_way_read_the_same() {
    let mut random = 1u64;
    let numbers: Vec<String> = (0..500)
        .map(|i| {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            match i % 4 {
                0 => format!("{}", (random >> 40) as f64 / 1e5),
                1 => format!("{:e}", f32::from_bits((random >> 33) as u32 & 0x7eff_ffff)),
                2 => format!("-{}", random >> 20),
                _ => format!("{}", f64::from_bits(random >> 2).min(1e30)),
            }
        })
        .collect();
    let text = format!("[{}]", numbers.join(","));
    for ty in [ElementType::Float32, ElementType::Float64] {
        let plan = fast::Plan::new(1, 500, text.len());
        let quick = fast::read_array(&text, ty, plan).expect("plain numbers");
        let careful = careful::read_array(&text, ty, "data", 16).unwrap();
        assert_eq!(quick, careful, "{ty}");
    }
}

#[test]
fn scalars_and_deeper_arrays_fit_their_declared_shape() {
    assert_eq!(
        decode_one(ElementType::Float32, &[], r#"{"data":2}"#),
        Ok(TensorData::Float32(vec![2.0]))
    );
    assert_eq!(
        decode_one(
            ElementType::Int64,
            &[-1, 1, 2],
            r#"{"data":[[[1,2]],[[3,4]]]}"#
        ),
        Ok(TensorData::Int64(vec![1, 2, 3, 4]))
    );
    assert!(decode_one(ElementType::Int64, &[-1, 2], r#"{"data":[[[1,2]]]}"#).is_err());
}

#[test]
fn zero_rows_are_possible_where_a_shape_is_given() {
    let body = r#"{"inputs":[{"name":"x","shape":[0,784],"datatype":"FP32","data":[]}]}"#;
    let read = decode_one(ElementType::Float32, &[-1, 784], body);
    assert_eq!(read, Ok(TensorData::Float32(vec![])));
}

#[test]
fn requested_outputs_must_exist() {
    let signature = signature(vec![spec("x", ElementType::Float32, &[-1])]);
    let body = |outputs: &str| {
        format!(
            r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":[1]}}],"outputs":{outputs}}}"#
        )
    };
    let read = |outputs: &str| decode(body(outputs).as_bytes(), None, &signature, 16);
    assert!(read(r#"[{"name":"p"}]"#).is_ok());
    assert!(read("[]").is_ok());
    let Err(PayloadError::Invalid(error)) = read(r#"[{"name":"q"}]"#) else {
        panic!("taken");
    };
    assert!(error.to_string().contains("it has label, p"), "{error}");
    assert!(read("null").is_err());
}

#[test]
fn content_types_matter_less_than_the_first_character() {
    let signature = signature(vec![spec("x", ElementType::Float32, &[-1])]);
    let read = |content_type: &str, body: &[u8]| decode(body, Some(content_type), &signature, 16);
    for content_type in [
        "application/json; charset=UTF-8",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
    ] {
        assert!(
            read(content_type, b" {\"data\":[1]}").is_ok(),
            "{content_type}"
        );
    }
    let unsupported = |outcome| matches!(outcome, Err(PayloadError::UnsupportedType(_)));
    assert!(unsupported(read("text/csv", b"1,2")));
    assert!(unsupported(read("application/json", &[0x1f, 0x8b, 8])));
    assert!(!unsupported(read("application/json", b"[1]")));
}

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
    match decode(body.as_bytes(), None, signature, 16) {
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
            r#"{"data":[[1,"m"]]}"#,
            "data[0]: 2 values where 3 are expected (age, sex, deck)",
        ),
        (
            r#"{"data":[{"age":"old","sex":"m","deck":1}]}"#,
            "data.age[0]: expected a number",
        ),
        (r#"{"data":[[1,"m",1],7]}"#, "data[1]: invalid type"),
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
