//! Bodies as other people's serializers and clients write them.

use score::{ElementType, ModelSignature, TensorData};

use super::*;
use crate::samples::{metadata, spec};

fn floats() -> ModelSignature {
    ModelSignature::of_tensors(vec![spec("x", ElementType::Float32, &[-1, 2])], vec![])
}

fn passengers() -> ModelSignature {
    let inputs = vec![
        spec("age", ElementType::Float32, &[-1, 1]),
        spec("deck", ElementType::Int64, &[-1]),
        spec("alone", ElementType::Bool, &[-1]),
        spec("name", ElementType::String, &[-1]),
    ];
    ModelSignature::of_tensors(inputs, vec![])
}

fn read(
    signature: &ModelSignature,
    declared: Declared<'_>,
    body: &[u8],
) -> Result<Decoded, String> {
    let limits = Limits {
        max_bytes: 1 << 20,
        max_nesting: 16,
        max_rows: 100,
    };
    match decode(body, declared, &metadata(signature.clone()), limits) {
        Ok(body) => Ok(body.rows().unwrap()),
        Err(PayloadError::Invalid(error)) => Err(error.to_string()),
        Err(PayloadError::UnsupportedType(message)) => Err(message),
        Err(PayloadError::TooLarge) => Err("too large".into()),
        Err(PayloadError::Stopped) => Err("stopped".into()),
    }
}

fn values(signature: &ModelSignature, body: &str) -> Result<Vec<TensorData>, String> {
    let decoded = read(signature, Declared::default(), body.as_bytes())?;
    let inputs = decoded.inputs.into_iter();
    Ok(inputs.map(|input| input.tensor.into_parts().1).collect())
}

fn one_and_two() -> Result<Vec<TensorData>, String> {
    Ok(vec![TensorData::Float32(vec![1.0, 2.0])])
}

#[test]
fn a_member_that_is_null_counts_as_absent() {
    let x = r#"{"name":"x","shape":[1,2],"datatype":"FP32","parameters":null,"data":[1,2]}"#;
    for body in [
        r#"{"data":[[1,2]],"Inputs":null,"input_data":null,"inputs":null,"keys":null,"instances":null}"#,
        r#"{"Data":null,"Inputs":{"data":[[1,2]],"other":null},"GlobalParameters":null}"#,
        r#"{"Inputs":{"x":[[1,2]],"y":null},"data":null}"#,
        r#"{"data":{"x":[[1,2]],"y":null}}"#,
        r#"{"input_data":{"columns":["a","b"],"index":null,"data":[[1,2]]}}"#,
        r#"{"input_data":{"columns":null,"index":null,"data":[[1,2]]},"params":null}"#,
        r#"{"instances":[[1,2]],"signature_name":null,"inputs":null}"#,
        &format!(r#"{{"id":null,"parameters":null,"outputs":null,"data":null,"inputs":[{x}]}}"#),
        &format!(r#"{{"id":"7","outputs":[],"inputs":[{x}],"Inputs":null}}"#),
    ] {
        assert_eq!(values(&floats(), body), one_and_two(), "{body}");
    }
    let row = r#"{"input_data":{"columns":null,"data":[[22,1,true,"n"]]}}"#;
    assert_eq!(values(&passengers(), row).unwrap().len(), 4);
    for name in ["data", "inputs", "Inputs", "keys"] {
        let refusal = values(&floats(), &format!(r#"{{"{name}":null}}"#)).unwrap_err();
        assert!(
            refusal.starts_with(&format!("{name} is null; expected rows")),
            "{refusal}"
        );
    }
    let refusal = values(&floats(), r#"{"data":[[1,null]]}"#).unwrap_err();
    assert!(
        refusal.contains("data[0][1]: expected a number for float32, got null"),
        "{refusal}"
    );
}

#[test]
fn another_letter_case_is_refused_with_the_right_one() {
    for (body, said) in [
        (
            r#"{"Data":[[1,2]]}"#,
            r#""Data" is not known; spell it "data""#,
        ),
        (r#"{"DATA":[[1,2]]}"#, r#"spell it "data""#),
        (r#"{"inputData":[[1,2]]}"#, r#"spell it "input_data""#),
        (r#"{"Instances":[[1,2]]}"#, r#"spell it "instances""#),
        (r#"{"Keys":["1"]}"#, r#"spell it "keys""#),
        (
            r#"{"inputs":{"data":[[1,2]]}}"#,
            r#"{"Inputs": {"data": ...}}, with a capital I"#,
        ),
        (r#"{"Inputs":[{"Name":"x"}]}"#, r#""inputs", in lower case"#),
        (
            r#"{"inputs":[{"Name":"x","Shape":[1,2],"Datatype":"FP32","Data":[1,2]}]}"#,
            r#""Name" is not known; spell it "name""#,
        ),
        (
            r#"{"input_data":{"Columns":["a","b"],"Data":[[1,2]]}}"#,
            r#"spell it "columns""#,
        ),
    ] {
        let refusal = values(&floats(), body).unwrap_err();
        assert!(refusal.contains(said), "{body}: {refusal}");
    }
}

#[test]
fn numbers_and_truth_values_may_stand_in_strings() {
    for body in [
        r#"{"data":[["1","2.0"]]}"#,
        r#"{"data":[[1,"2e0"]]}"#,
        r#"{"instances":[{"x":["1","2"]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":["1","2"]}]}"#,
    ] {
        assert_eq!(values(&floats(), body), one_and_two(), "{body}");
    }
    let body = r#"{"data":[{"age":"22","deck":"9007199254740993","alone":"true","name":"1.5"}]}"#;
    let expected = vec![
        TensorData::Float32(vec![22.0]),
        TensorData::Int64(vec![9_007_199_254_740_993]),
        TensorData::Bool(vec![true]),
        TensorData::String(vec!["1.5".into()]),
    ];
    // In the order of the model.
    assert_eq!(values(&passengers(), body), Ok(expected));
    for (body, said) in [
        (
            r#"{"data":[["1,5",2]]}"#,
            r#"data[0][0]: expected a number for float32, got "1,5""#,
        ),
        (r#"{"data":[["1e39",2]]}"#, r#"got "1e39""#),
        (
            r#"{"data":["1 2","3 4"]}"#,
            "ConvertTo-Json writes lists so",
        ),
        (r#"{"data":[{"0":1,"1":2}]}"#, "a typed array"),
        (
            r#"{"data":{"value":[[1,2]],"Count":1}}"#,
            "Windows PowerShell",
        ),
    ] {
        let refusal = values(&floats(), body).unwrap_err();
        assert!(refusal.contains(said), "{body}: {refusal}");
    }
}

#[test]
fn what_is_no_object_is_told_what_it_looks_like_and_messages_are_unwrapped() {
    let object = r#"{"data":[[1,2]]}"#;
    let twice = serde_json::to_string(object).unwrap();
    let base64 = "eyJkYXRhIjpbWzEsMl1dfQ==";
    let xml = r#"<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">{"data":[[1,2]]}</string>"#;
    for (body, said) in [
        (twice.as_str(), "encoded twice"),
        (base64, "JSON in base64"),
        (xml, "data contract"),
    ] {
        let send = |declared| read(&floats(), declared, body.as_bytes());
        for content_type in [
            None,
            Some("application/json"),
            Some("text/plain; charset=utf-8"),
        ] {
            let declared = Declared {
                content_type,
                ..Declared::default()
            };
            let refusal = send(declared).unwrap_err();
            assert!(refusal.contains(said), "{body}: {refusal}");
            let message = Declared {
                wrapped: true,
                ..declared
            };
            let decoded = send(message).unwrap();
            assert!(decoded.answer.dialect.member == "data");
            assert_eq!(decoded.inputs[0].tensor.shape(), [1, 2]);
        }
    }
    let message = Declared {
        wrapped: true,
        ..Declared::default()
    };
    // Once, and no more.
    let thrice = serde_json::to_string(&twice).unwrap();
    assert!(read(&floats(), message, thrice.as_bytes()).is_err());
    let refusal = read(&floats(), message, b"<a/>").unwrap_err();
    assert!(refusal.contains("the body is XML"), "{refusal}");
    let form = Declared {
        content_type: Some("multipart/form-data; boundary=x"),
        ..Declared::default()
    };
    let body = b"--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n{}\r\n--x--\r\n";
    let refusal = read(&floats(), form, body).unwrap_err();
    assert!(refusal.contains("--data-binary"), "{refusal}");
}

#[test]
fn raw_floats_without_a_type_are_told_how_to_say_it() {
    let body = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
    let refusal = read(&floats(), Declared::default(), &body).unwrap_err();
    assert!(
        refusal.contains("Content-Type: application/octet-stream"),
        "{refusal}"
    );
    let octets = Declared {
        content_type: Some("application/octet-stream"),
        ..Declared::default()
    };
    assert!(read(&floats(), octets, &body).is_ok());
    let refusal = read(&floats(), octets, br#"{"data": [[1,2]]}"#).unwrap_err();
    assert!(
        refusal.contains("Content-Type: application/json"),
        "{refusal}"
    );
}

#[test]
fn raw_bytes_are_what_their_sender_says() {
    let doubles = [1.5f64, -2.0].map(f64::to_le_bytes).concat();
    let singles = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
    let send = |body: &[u8], shape, datatype| {
        let declared = Declared {
            content_type: Some("application/octet-stream"),
            shape,
            datatype,
            ..Declared::default()
        };
        read(&floats(), declared, body).map(|read| read.inputs[0].tensor.shape().to_vec())
    };
    assert_eq!(
        send(&doubles, None, None),
        Ok(vec![2, 2]),
        "two rows, for all one can see"
    );
    for (shape, datatype) in [
        (Some("1,2"), None),
        (Some("[1, 2]"), Some("FP32")),
        (Some("(1, 2)"), Some("float32")),
        (None, Some("fp32")),
    ] {
        assert_eq!(
            send(&singles, shape, datatype),
            Ok(vec![1, 2]),
            "{shape:?} {datatype:?}"
        );
    }
    for shape in [None, Some("1,2")] {
        let wide = Declared {
            content_type: Some("application/octet-stream"),
            datatype: Some("float64"),
            shape,
            ..Declared::default()
        };
        let read = read(&floats(), wide, &doubles).unwrap();
        assert_eq!(read.inputs[0].tensor.data(), &vec![1.5f32, -2.0].into());
    }
    for (body, shape, datatype, said) in [
        (
            &singles,
            None,
            Some("BOOL"),
            "the named datatype is bool; send the elements as float32; an array of numpy becomes one by .astype(\"float32\")",
        ),
        (
            &doubles,
            None,
            Some("double"),
            r#"datatype "double" is not known; expected FP32 or float32"#,
        ),
        (
            &doubles,
            Some("1,2"),
            None,
            r#"the named shape "1,2" takes 8 bytes, got 16, which is 8 bytes an element where float32 has 4"#,
        ),
        (
            &singles,
            Some("2,1"),
            None,
            "expected float32 [?,2], got [2,1]",
        ),
        (
            &singles,
            Some("1,x"),
            None,
            r#""1,x" is not a list of lengths"#,
        ),
        (
            &singles,
            Some("99999999999,99999999999"),
            None,
            "not a list of lengths",
        ),
        (&singles, Some("-1,2"), None, "not a list of lengths"),
    ] {
        let refusal = send(body, shape, datatype).unwrap_err();
        assert!(refusal.contains(said), "{refusal}");
    }
    // With a shape, any number of axes may be free.
    let free = ModelSignature::of_tensors(vec![spec("x", ElementType::Float32, &[-1, -1])], vec![]);
    let declared = Declared {
        content_type: Some("application/octet-stream"),
        shape: Some("2,1"),
        ..Declared::default()
    };
    let read = read(&free, declared, &singles).unwrap();
    assert_eq!(read.inputs[0].tensor.shape(), [2, 1]);
}
