use score::{ElementType, ModelSignature, TensorData};
use serde_json::{Value, json};

use super::*;
use crate::samples::spec;

const SECRET: &str = "5314159";

fn of(inputs: Vec<TensorSpec>) -> ModelSignature {
    ModelSignature::of_tensors(inputs, vec![])
}

fn floats() -> ModelSignature {
    of(vec![spec("x", ElementType::Float32, &[-1, 3])])
}

fn passengers() -> ModelSignature {
    let mut signature = of(vec![
        spec("age", ElementType::Float32, &[-1, 1]),
        spec("sex", ElementType::String, &[-1]),
    ]);
    signature.optional = vec![spec("factor", ElementType::Float32, &[1])];
    signature
}

fn read_keys(list: &Value) -> Result<Vec<String>, String> {
    let text = list.to_string();
    let list: &RawValue = serde_json::from_str(&text).unwrap();
    keys(list, 3).map_err(|error| error.to_string())
}

fn read(
    signature: &ModelSignature,
    format: FeatureFormat,
    values: &[&[u8]],
) -> Result<Vec<NamedTensor>, String> {
    let names: Vec<String> = (0..values.len()).map(|n| format!("k{n}")).collect();
    let features = score::FeatureOptions {
        prefix: "f:".into(),
        format,
    };
    let mut options = ModelOptions::default();
    options.features = Some(features);
    let rows = read_rows(&names, values, &options, signature, 16);
    rows.map_err(|unfit| unfit.to_string())
}

fn json_rows(signature: &ModelSignature, values: &[&str]) -> Result<Vec<NamedTensor>, String> {
    let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
    read(signature, FeatureFormat::Json, &values)
}

fn npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], elements: &[T]) -> Vec<u8> {
    use npyz::WriterBuilder;
    let mut file = Vec::new();
    let options = npyz::WriteOptions::<T>::new();
    let options = options.default_dtype().shape(shape).writer(&mut file);
    let mut writer = options.begin_nd().unwrap();
    writer.extend(elements.iter().copied()).unwrap();
    writer.finish().unwrap();
    file
}

#[test]
fn keys_are_strings_or_integers_as_they_are_written() {
    let list = json!(["42", 42, "ä/../*"]);
    assert_eq!(read_keys(&list).unwrap(), ["42", "42", "ä/../*"]);
    assert_eq!(
        read_keys(&json!([u64::MAX, -1])).unwrap(),
        [u64::MAX.to_string(), "-1".into()]
    );
    assert_eq!(read_keys(&json!([])).unwrap(), Vec::<String>::new());
    assert_eq!(
        read_keys(&json!(["x".repeat(MAX_KEY_BYTES)]))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn what_is_no_key_is_refused_by_its_place_and_never_repeated_at_length() {
    let long = "x".repeat(1 << 20);
    for (wrong, said) in [
        (json!("42"), "keys: expected a list of strings"),
        (json!(null), "keys: expected a list of strings"),
        (
            json!(["a", 4.5]),
            "keys[1]: expected a string or an integer",
        ),
        (json!([[1]]), "keys[0]: expected a string or an integer"),
        (json!([null]), "keys[0]: expected a string or an integer"),
        (json!([""]), "keys[0]: a key must not be empty"),
        (
            json!(["a\0b"]),
            "keys[0]: a key must not hold a NUL character",
        ),
        (json!([long]), "keys[0]: a key may have 512 bytes at most"),
        (json!([1, 2, 3, 4]), "keys: more than 3 in one request"),
    ] {
        assert_eq!(read_keys(&wrong).unwrap_err(), said);
    }
    let lone_surrogate: &RawValue = serde_json::from_str(r#"["\ud800"]"#).unwrap();
    assert!(keys(lone_surrogate, 3).is_err());
}

#[test]
fn all_forms_of_a_row_give_the_same_tensor() {
    let (signature, row) = (floats(), [1.0f32, -0.5, f32::NAN]);
    let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    let expected = bytes.repeat(2);
    let (bare, with_axis) = (npy(&[3], &row), npy(&[1, 3], &row));
    for (format, values) in [
        (
            FeatureFormat::Json,
            [
                &br#"[1,-0.5,"NaN"]"#[..],
                b" {\"x\": [1.0, -5e-1, \"NaN\"]}\n",
            ],
        ),
        (FeatureFormat::Json, [&bare, br#"[1,-0.5,"NaN"]"#]),
        (FeatureFormat::Npy, [&bare, &with_axis]),
        (FeatureFormat::Raw, [&bytes, &bytes]),
    ] {
        let rows = read(&signature, format, &values).unwrap();
        assert_eq!(rows[0].tensor.shape(), [2, 3], "{format:?}");
        let mut read = Vec::new();
        rows[0].tensor.data().append_le_bytes(&mut read);
        assert_eq!(read, expected, "{format:?}");
    }
}

#[test]
fn rows_of_several_inputs_are_objects_or_arrays_in_order() {
    let rows = json_rows(
        &passengers(),
        &[
            r#"{"sex": "m", "age": [22]}"#,
            r#"{"age": 38, "sex": "f"}"#,
            r#"[5, "f"]"#,
        ],
    );
    let rows = rows.unwrap();
    assert_eq!(
        rows[0].tensor.data(),
        &TensorData::Float32(vec![22.0, 38.0, 5.0])
    );
    assert_eq!(rows[0].tensor.shape(), [3, 1]);
    let texts = ["m", "f", "f"].map(str::to_owned).to_vec();
    assert_eq!(rows[1].tensor.data(), &TensorData::String(texts));
}

#[test]
fn a_row_may_be_one_value_and_must_be_one_value() {
    let numbers = of(vec![spec("n", ElementType::Int64, &[-1])]);
    let rows = json_rows(&numbers, &["9007199254740993", "2"]).unwrap();
    let expected = TensorData::Int64(vec![9_007_199_254_740_993, 2]);
    assert_eq!(rows[0].tensor.data(), &expected);
    assert!(json_rows(&numbers, &["1],[2"]).is_err());
    assert!(json_rows(&numbers, &["1,2"]).is_err());
    assert!(json_rows(&floats(), &["[1,2,3],[4,5,6]"]).is_err());
    assert!(json_rows(&floats(), &["[[1,2,3],[4,5,6]]"]).is_err());
    assert!(json_rows(&floats(), &["[[[1,2,3]]]"]).is_err());
    let rows = json_rows(&floats(), &["[[1,2,3]]", "[4,5,6]"]).unwrap();
    assert_eq!(
        rows[0].tensor.shape(),
        [2, 3],
        "an axis of length 1 may stand in front"
    );
    let rows = json_rows(
        &passengers(),
        &[r#"[{"age": 1, "sex": "m"}]"#, r#"[[2, "f"]]"#],
    );
    assert_eq!(rows.unwrap()[0].tensor.shape(), [2, 1]);
}

#[test]
fn what_does_not_fit_is_named_by_key_and_input_without_a_word_of_it() {
    let columns = format!(r#"{{"age": 1, "{SECRET}": 2, "sex": "m"}}"#);
    let text = format!(r#"{{"age": "x{SECRET}", "sex": "m"}}"#);
    let nul = format!(r#"{{"age": 1, "sex": "{SECRET}\u0000"}}"#);
    let optional = format!(r#"{{"age": 1, "sex": "m", "factor": {SECRET}}}"#);
    let both = r#"float32 [1] for input "age", string [] for input "sex", as JSON"#;
    let age = r#"float32 [1] for input "age", as JSON"#;
    let sex = r#"string [] for input "sex", as JSON"#;
    for (wrong, expected) in [
        (columns.as_str(), both),
        (&text, age),
        (&nul, sex),
        (&optional, both),
        (r#"{"age": 1}"#, sex),
        (SECRET, both),
        ("", both),
    ] {
        let error = json_rows(&passengers(), &[r#"[1,"m"]"#, wrong]).unwrap_err();
        let full = format!(r#"the features stored for "k1" do not fit: expected {expected}"#);
        assert_eq!(error, full, "{wrong}");
    }
    let short = npy(&[2], &[5_314_159.0f32, 0.0]);
    let other = npy(&[3], &[true; 3]);
    let bytes = SECRET.as_bytes();
    for format in [FeatureFormat::Json, FeatureFormat::Npy, FeatureFormat::Raw] {
        for wrong in [
            &short[..],
            &other,
            bytes,
            b"[5314159,1]",
            b"\x93NUMPY 5314159",
            b"",
        ] {
            let error = read(&floats(), format, &[wrong]).unwrap_err();
            assert!(
                error.contains(r#""k0" do not fit: expected float32 [3] for input "x""#),
                "{error}"
            );
            assert!(!error.contains(SECRET), "{error}");
        }
    }
}

#[test]
fn rows_with_a_free_axis_must_be_as_long_as_each_other() {
    let signature = of(vec![spec("x", ElementType::Float32, &[-1, -1])]);
    let rows = json_rows(&signature, &["[1,2]", "[3,4]"]).unwrap();
    assert_eq!(rows[0].tensor.shape(), [2, 2]);
    let error = json_rows(&signature, &["[1,2]", "[3]"]).unwrap_err();
    assert!(
        error.contains(r#""k1" do not fit: expected float32 [?]"#),
        "{error}"
    );
}

#[test]
fn no_keys_are_the_same_as_no_rows() {
    let numbers = of(vec![spec("n", ElementType::Int64, &[-1])]);
    assert_eq!(no_rows(&numbers, 16).unwrap()[0].tensor.shape(), [0]);
    assert!(no_rows(&floats(), 16).is_err());
}
