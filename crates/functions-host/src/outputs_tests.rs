//! One test per row of the host's tables.

use serde_json::json;

use super::*;

fn binding(kind: &str) -> Binding {
    Binding::new(json!({"type": kind, "direction": "out", "name": "result"}))
}

fn sent(kind: &str, value: Value) -> Vec<String> {
    decode(&binding(kind), &value, true)
        .unwrap()
        .unwrap()
        .texts()
}

fn both(value: Value) -> Vec<String> {
    let sent_to_bus = sent("serviceBus", value.clone());
    assert_eq!(sent("queue", value), sent_to_bus);
    sent_to_bus
}

fn stored(value: Value) -> Vec<u8> {
    decode(&binding("blob"), &value, true)
        .unwrap()
        .unwrap()
        .blob()
        .to_vec()
}

fn answered(value: Value) -> Result<Answer, String> {
    match decode(&binding("http"), &value, true)? {
        Some(OutputValue::Http(answer)) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn keeps_text_that_is_not_base64() {
    let kept = [
        "7",
        "42",
        "ok",
        "dog",
        "false",
        "error",
        "hello",
        "neutral",
        "0.87",
        "0.875",
        "a-b_",
        r#"{"a":1}"#,
        "A===",
        "nüll",
        "a:bc",
        "a%bc",
        "50,5",
    ];
    for text in kept {
        assert_eq!(guess_base64(text), None, "{text}");
    }
}

#[test]
fn decodes_text_that_happens_to_be_base64() {
    let decoded: [(&str, &[u8]); 12] = [
        ("1234", &[0xd7, 0x6d, 0xf8]),
        ("abcd", &[0x69, 0xb7, 0x1d]),
        ("true", &[0xb6, 0xbb, 0x9e]),
        ("null", &[0x9e, 0xe9, 0x65]),
        ("okay", &[0xa2, 0x46, 0xb2]),
        ("spam", &[0xb2, 0x96, 0xa6]),
        ("cats", &[0x71, 0xab, 0x6c]),
        ("positive", &[0xa6, 0x8b, 0x22, 0xb6, 0x2b, 0xde]),
        ("negative", &[0x9d, 0xe8, 0x1a, 0xb6, 0x2b, 0xde]),
        ("12 34", &[0xd7, 0x6d, 0xf8]),
        ("ab\ncd", &[0x69, 0xb7, 0x1d]),
        ("", &[]),
    ];
    for (text, bytes) in decoded {
        assert_eq!(guess_base64(text).as_deref(), Some(bytes), "{text}");
    }
    for length in [32, 40, 64] {
        assert!(guess_base64(&"0123456789abcdef".repeat(4)[..length]).is_some());
    }
    assert!(guess_base64("hello123").is_some());
}

#[test]
fn does_not_guess_for_a_binary_binding() {
    let mut settings = binding("blob").settings;
    settings["dataType"] = "binary".into();
    let written = decode(&Binding::new(settings), &json!("positive"), true)
        .unwrap()
        .unwrap();
    assert_eq!(written.blob(), b"positive");
}

#[test]
fn base64_text() {
    assert_eq!(sent("serviceBus", json!("positive")), ["System.Byte[]"]);
    assert_eq!(sent("queue", json!("aGVsbG8=")), ["hello"]);
    assert_eq!(stored(json!("AQID")), [1, 2, 3]);
}

#[test]
fn other_text() {
    assert_eq!(both(json!("a dog!")), ["a dog!"]);
    assert_eq!(stored(json!("é dog")), "é dog".as_bytes());
}

#[test]
fn text_that_looks_like_json() {
    assert_eq!(both(json!(r#"["a", {"b":1}]"#)), ["a", "{\n  \"b\": 1\n}"]);
    assert_eq!(both(json!(r#" {"b":1} "#)), ["{\n  \"b\": 1\n}"]);
    assert!(decode(&binding("queue"), &json!("{oops}"), true).is_err());
    assert_eq!(stored(json!(r#"[1, {"b":1.0}]"#)), br#"[1, {"b":1.0}]"#);
}

#[test]
fn objects() {
    assert_eq!(both(json!({"b": 1.0})), ["{\n  \"b\": 1.0\n}"]);
    assert_eq!(stored(json!({"b": [1]})), br#"{"b":[1]}"#);
}

#[test]
fn arrays() {
    let elements = json!(["positive", r#"{"a":1}"#, {"a": 1}, null, true, 7, 0.5]);
    let bodies = [
        "positive",
        r#"{"a":1}"#,
        "{\n  \"a\": 1\n}",
        "",
        "True",
        "7",
        "0.5",
    ];
    assert_eq!(both(elements), bodies);
    assert_eq!(both(json!([])), [""; 0]);
    assert_eq!(stored(json!(["positive", 1])), br#"["positive",1]"#);
}

#[test]
fn numbers_and_truth_values() {
    assert_eq!(both(json!(7)), ["7"]);
    assert_eq!(stored(json!(7)), [7, 0, 0, 0]);
    assert_eq!(
        (both(json!(true)), both(json!(false))),
        (vec!["True".to_owned()], vec!["False".to_owned()])
    );
    assert_eq!(stored(json!(true)), [1]);
    assert_eq!(both(json!(0.25)), ["0.25"]);
    assert_eq!(stored(json!(0.25)), 0.25_f64.to_le_bytes());
}

#[test]
fn dates() {
    assert_eq!(both(json!("2026-03-01T10:00:05Z")), ["03/01/2026 10:00:05"]);
    assert_eq!(
        both(json!(["2026-03-01T10:00:05Z"])),
        ["03/01/2026 10:00:05"]
    );
    let date = json!("2026-03-01T10:00:05Z");
    let failed = decode(&binding("blob"), &date, true).unwrap().unwrap();
    assert!(matches!(failed, OutputValue::Unwritable(_)));
    let pre_serialized = r#"{"at":"2026-03-01T10:00:05.000Z"}"#;
    assert_eq!(both(json!([pre_serialized])), [pre_serialized]);
}

#[test]
fn null_writes_nothing() {
    for kind in ["serviceBus", "queue", "blob"] {
        assert_eq!(decode(&binding(kind), &Value::Null, true), Ok(None));
    }
}

#[test]
fn http_takes_status_headers_and_body() {
    let value = json!({"StatusCode": "201", "headers": {"content-type": "application/json", "x-n": 3}, "BODY": "{\"ok\":true}"});
    let answer = answered(value).unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (201, "{\"ok\":true}")
    );
    assert_eq!(
        (answer.header("Content-Type"), answer.header("X-N")),
        (Some("application/json; charset=utf-8"), Some("3"))
    );
    assert_eq!(answered(json!({"statusCode": 404})).unwrap().status, 404);
}

#[test]
fn http_ignores_status_without_code() {
    assert_eq!(answered(json!({"status": 500})).unwrap().status, 200);
}

#[test]
fn http_never_decodes_the_body() {
    assert_eq!(
        answered(json!({"body": "positive"})).unwrap().body,
        b"positive"
    );
}

#[test]
fn http_prints_objects_as_indented_text() {
    let answer = answered(json!({"body": {"a": 1}})).unwrap();
    assert_eq!(answer.text(), "{\n  \"a\": 1\n}");
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn http_fails_on_anything_but_an_object_of_scalars() {
    for value in [
        json!("hello"),
        Value::Null,
        json!(7),
        json!({"statusCode": "many"}),
    ] {
        assert!(answered(value.clone()).is_err(), "{value}");
    }
    for header in [json!(["a", "b"]), Value::Null] {
        assert!(answered(json!({"headers": {"x": header}})).is_err());
    }
}
