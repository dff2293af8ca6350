use score::{CacheOutcome, ElementType, ModelSignature, Tensor, TensorData, TensorSpec, Timings};

use super::*;
use crate::context::Context;
use crate::samples::{metadata, spec};

fn signature(inputs: Vec<TensorSpec>) -> ModelSignature {
    let outputs = vec![
        spec("label", ElementType::Int64, &[-1]),
        spec("p", ElementType::Float32, &[-1, 2]),
    ];
    ModelSignature::of_tensors(inputs, outputs)
}

fn read(
    signature: &ModelSignature,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Decoded, PayloadError> {
    let declared = Declared {
        content_type,
        ..Declared::default()
    };
    let limits = Limits {
        max_bytes: 1 << 20,
        max_nesting: 16,
        max_rows: 100,
    };
    decode(body, declared, &metadata(signature.clone()), limits).map(|body| body.rows().unwrap())
}

fn decode_one(ty: ElementType, shape: &[i64], body: &str) -> Result<TensorData, String> {
    let signature = signature(vec![spec("x", ty, shape)]);
    match read(&signature, None, body.as_bytes()) {
        Ok(mut decoded) => Ok(decoded.inputs.remove(0).tensor.into_parts().1),
        Err(PayloadError::Invalid(error)) => Err(error.to_string()),
        Err(PayloadError::UnsupportedType(message)) => Err(message),
        Err(PayloadError::TooLarge) => Err("too large".into()),
        Err(PayloadError::Stopped) => Err("stopped".into()),
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
fn half_floats_are_rounded_once() {
    // In the middle between two of them, and a little above it.
    let body = r#"{"data":[1.00048828125,1.000488281250001,65519.99,6e-8,1e-9]}"#;
    let read = decode_one(ElementType::Float16, &[-1], body).unwrap();
    let right = [1.0, 1.001, 65504.0, 6e-8, 0.0].map(half::f16::from_f32);
    assert_eq!(read, TensorData::Float16(right.to_vec()));
    let body = r#"{"data":[1.00390625,1.003906250000001]}"#;
    let read = decode_one(ElementType::BFloat16, &[-1], body).unwrap();
    let right = [1.0, 1.0078125].map(half::bf16::from_f32);
    assert_eq!(read, TensorData::BFloat16(right.to_vec()));
    assert!(decode_one(ElementType::Float16, &[-1], r#"{"data":[65520]}"#).is_err());
}

#[test]
fn a_tensor_has_one_type() {
    for types in [r#""INT8","datatype":"FP32""#, r#""FP32","datatype":"INT8""#] {
        let body =
            format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":{types},"data":[1]}}]}}"#);
        let refusal = decode_one(ElementType::Float32, &[-1], &body).unwrap_err();
        assert!(refusal.contains("datatype"), "{refusal}");
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
        let plan = json::nested::Plan::new(1, 500);
        let quick = json::nested::read_array(&text, ty, plan, &crate::watch::Unwatched)
            .expect("plain numbers");
        let signature = signature(vec![spec("x", ty, &[-1])]);
        let context = Context {
            signature: &signature,
            options: &Default::default(),
            max_nesting: 16,
            max_rows: None,
            watch: &crate::watch::Unwatched,
            target: "data",
        };
        let careful =
            json::diagnose::read_array(context, &text, &signature.inputs[0], "data").unwrap();
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
    let ask = |outputs: &str| read(&signature, None, body(outputs).as_bytes());
    assert!(ask(r#"[{"name":"p"}]"#).is_ok());
    assert!(ask("[]").is_ok());
    let Err(PayloadError::Invalid(error)) = ask(r#"[{"name":"q"}]"#) else {
        panic!("taken");
    };
    assert!(error.to_string().contains("it has label, p"), "{error}");
    assert!(ask("null").is_ok());
    assert!(ask(r#"[{"name":"p"},{"name":"p"}]"#).is_err());
    assert!(ask(r#"[{"name":"p","parameters":null}]"#).is_ok());
}

#[test]
fn first_bytes_count_more_than_a_declared_content_type() {
    let signature = signature(vec![spec("x", ElementType::Float32, &[-1])]);
    let send = |content_type: &str, body: &[u8]| read(&signature, Some(content_type), body);
    for content_type in [
        "application/json; charset=UTF-8",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/x-unknown",
    ] {
        assert!(
            send(content_type, b" {\"data\":[1]}").is_ok(),
            "{content_type}"
        );
    }
    let unsupported = |outcome| matches!(outcome, Err(PayloadError::UnsupportedType(_)));
    assert!(unsupported(send("application/x-protobuf", b"1,2")));
    assert!(!unsupported(send("application/json", b"[1]")));
}

#[test]
fn raw_bytes_are_one_tensor() {
    let signature = signature(vec![spec("x", ElementType::Float32, &[-1, 2])]);
    let send = |body: &[u8]| read(&signature, Some("application/octet-stream"), body);
    let body: Vec<u8> = [1.5f32, -2.0, 0.0, 7.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let decoded = send(&body).unwrap();
    let tensor = &decoded.inputs[0].tensor;
    assert_eq!(tensor.shape(), [2, 2]);
    assert_eq!(
        tensor.data(),
        &TensorData::Float32(vec![1.5, -2.0, 0.0, 7.0])
    );
    for bad in [&body[..7], &body[..4]] {
        assert!(matches!(send(bad), Err(PayloadError::Invalid(_))));
    }
}

#[test]
fn gzip_is_unpacked_up_to_the_limit() {
    use std::io::Write;
    let pack = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let signature = signature(vec![spec("x", ElementType::Float32, &[-1])]);
    let send = |body: &[u8]| read(&signature, Some("application/json"), body);
    assert!(send(&pack(b"{\"data\":[1]}")).is_ok());
    let bomb = pack(&vec![b' '; 2 << 20]);
    assert!(matches!(send(&bomb), Err(PayloadError::TooLarge)));
    assert!(matches!(
        send(&[0x1f, 0x8b, 8, 0]),
        Err(PayloadError::Invalid(_))
    ));
}

#[test]
fn binary_tensors_follow_the_json_in_both_directions() {
    let signature = signature(vec![
        spec("x", ElementType::Float32, &[-1]),
        spec("s", ElementType::String, &[-1]),
    ]);
    let json = r#"{"parameters":{"binary_data_output":true},"inputs":[
        {"name":"x","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},
        {"name":"s","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}]}"#;
    let mut body = json.as_bytes().to_vec();
    body.extend([1.5f32, 2.5].iter().flat_map(|v| v.to_le_bytes()));
    body.extend([2, 0, 0, 0, b'a', b'b']);
    let metadata = metadata(signature);
    let send = |body: &[u8], json_bytes| {
        let declared = Declared {
            content_type: Some("application/octet-stream"),
            json_bytes: Some(json_bytes),
            ..Declared::default()
        };
        let limits = Limits {
            max_bytes: 1 << 20,
            max_nesting: 16,
            max_rows: 100,
        };
        decode(body, declared, &metadata, limits).map(|body| body.rows().unwrap())
    };
    let decoded = send(&body, json.len()).unwrap();
    let data: Vec<_> = decoded
        .inputs
        .iter()
        .map(|input| input.tensor.data().clone())
        .collect();
    assert_eq!(data[0], TensorData::Float32(vec![1.5, 2.5]));
    assert_eq!(data[1], TensorData::String(vec!["ab".into()]));

    let output = |name: &str, data: TensorData| NamedTensor {
        name: name.into(),
        tensor: Tensor::new(vec![data.len()], data).unwrap(),
    };
    let response = InferenceResponse {
        outputs: vec![
            output("label", TensorData::Int64(vec![7])),
            output("p", TensorData::Float32(vec![0.25])),
        ],
        rows: 1,
        cache: CacheOutcome::Bypass,
        timings: Timings::default(),
    };
    let encoded = encode(&decoded.answer, None, &metadata, &response).unwrap();
    let (head, tail) = encoded.body.split_at(encoded.json_bytes.unwrap());
    let head: serde_json::Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 8);
    let expected = [&7i64.to_le_bytes()[..], &0.25f32.to_le_bytes()].concat();
    assert_eq!(tail, expected);

    for (body, json_bytes) in [
        (&body[..body.len() - 1], json.len()),
        (&[&body[..], b"x"].concat()[..], json.len()),
        (&body[..], body.len() + 1),
        (&body[..], 3),
    ] {
        assert!(matches!(
            send(body, json_bytes),
            Err(PayloadError::Invalid(_))
        ));
    }
}

#[test]
fn pictures_become_what_the_input_looks_like() {
    let mut png = Vec::new();
    let picture =
        ::image::RgbImage::from_fn(2, 2, |x, y| ::image::Rgb([255 * x as u8, 255 * y as u8, 0]));
    let mut cursor = std::io::Cursor::new(&mut png);
    picture
        .write_to(&mut cursor, ::image::ImageFormat::Png)
        .unwrap();
    let shaped = |ty, shape: &[i64]| {
        let signature = signature(vec![spec("x", ty, shape)]);
        let decoded = read(&signature, Some("image/png"), &png);
        decoded.map(|mut decoded| decoded.inputs.remove(0).tensor)
    };
    let chw = shaped(ElementType::Float32, &[-1, 3, 2, 2]).unwrap();
    let red_green_blue = [0., 1., 0., 1., 0., 0., 1., 1., 0., 0., 0., 0.];
    assert_eq!(chw.data(), &TensorData::Float32(red_green_blue.to_vec()));
    let hwc = shaped(ElementType::Uint8, &[-1, -1, -1, 3]).unwrap();
    let pixels = [0, 0, 0, 255, 0, 0, 0, 255, 0, 255, 255, 0];
    assert_eq!(hwc.data(), &TensorData::Uint8(pixels.to_vec()));
    assert_eq!(
        shaped(ElementType::Float32, &[-1, 4]).unwrap().shape(),
        [1, 4]
    );
    assert_eq!(
        shaped(ElementType::Float32, &[-1, 28, 28]).unwrap().shape(),
        [1, 28, 28]
    );
    assert!(shaped(ElementType::Float32, &[-1, 5, 2, 2]).is_err());
    assert!(shaped(ElementType::String, &[-1, 2, 2]).is_err());
}

mod tables;
