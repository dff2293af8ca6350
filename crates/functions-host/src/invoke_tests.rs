//! The host's verdict on answers to envelopes.

use serde_json::json;

use super::super::host_config::Binding;
use super::*;

fn function(outputs: &[(&str, &str)]) -> Function {
    let mut bindings = vec![Binding::new(
        json!({"type": "serviceBusTrigger", "direction": "in", "name": "msg"}),
    )];
    for (name, kind) in outputs {
        bindings.push(Binding::new(
            json!({"type": kind, "direction": "out", "name": name}),
        ));
    }
    Function {
        name: "f".to_owned(),
        bindings,
        is_disabled: false,
    }
}

fn answer(status: u16, content_type: &str, body: &str) -> Answer {
    Answer::new(
        status,
        vec![("content-type".to_owned(), content_type.to_owned())],
        body.into(),
    )
}

fn judged(outputs: &[(&str, &str)], body: &str) -> Result<InvocationOutcome, String> {
    judge(
        Some(&function(outputs)),
        answer(200, "application/json; charset=utf-8", body),
    )
}

#[test]
fn member_names_are_found_in_any_case_but_bindings_are_not() {
    let outcome = judged(
        &[("result", "queue")],
        r#"{"outputs":{"result":["a"],"Result":["b"]},"LOGS":["l"]}"#,
    )
    .unwrap();
    assert_eq!(outcome.outputs["result"].texts(), ["a"]);
    assert_eq!(
        (outcome.logs, outcome.ignored),
        (vec!["l".to_owned()], vec!["Result".to_owned()])
    );
}

#[test]
fn an_empty_object_is_success() {
    let outcome = judged(&[("result", "queue")], "{}").unwrap();
    assert!(
        outcome.outputs.is_empty() && outcome.logs.is_empty() && outcome.return_value.is_null()
    );
}

#[test]
fn other_statuses_fail() {
    for status in [301, 400, 404, 500, 503] {
        assert!(
            judge(None, answer(status, "application/json", "{}")).is_err(),
            "{status}"
        );
    }
    assert!(judge(None, answer(202, "application/json", "{}")).is_ok());
}

#[test]
fn no_content_hangs() {
    let cases = [(204, ""), (200, ""), (200, "null")];
    for (status, body) in cases {
        let error = judge(None, answer(status, "application/json", body)).unwrap_err();
        assert!(error.contains("hangs"), "{error}");
    }
}

#[test]
fn the_content_type_must_be_json() {
    for content_type in ["", "text/plain", "application/problem+json"] {
        let error = judge(None, answer(200, content_type, "{}")).unwrap_err();
        assert!(error.contains("MediaTypeFormatter"), "{error}");
    }
    assert!(judge(None, answer(200, "Text/JSON", "{}")).is_ok());
}

#[test]
fn members_of_the_wrong_type_fail() {
    for body in [
        r#"{"Logs":"x"}"#,
        r#"{"Logs":[{}]}"#,
        r#"{"Outputs":[]}"#,
        "[]",
        "7",
        "{",
    ] {
        assert!(judged(&[], body).is_err(), "{body}");
    }
}

#[test]
fn one_bad_output_fails_the_invocation() {
    let error = judged(&[("scored", "queue")], r#"{"Outputs":{"scored":"{bad}"}}"#).unwrap_err();
    assert!(error.starts_with("output scored"), "{error}");
}

#[test]
fn return_values_go_to_their_binding_or_are_spread() {
    let returned = judged(&[("$return", "queue")], r#"{"ReturnValue":["a"]}"#).unwrap();
    assert_eq!(returned.outputs["$return"].texts(), ["a"]);
    let spread = judged(
        &[("result", "queue")],
        r#"{"ReturnValue":{"result":["a"]}}"#,
    )
    .unwrap();
    assert_eq!(spread.outputs["result"].texts(), ["a"]);
}

#[test]
fn http_callers_get_a_default_answer() {
    let body = |text: &str| match &judged(&[("res", "http")], text).unwrap().outputs["res"] {
        OutputValue::Http(answer) => (answer.status, answer.text()),
        other => panic!("{other:?}"),
    };
    assert_eq!(body(r#"{"Outputs":{"other":1}}"#), (200, "{}".to_owned()));
    assert_eq!(body("{}"), (204, String::new()));
}

#[test]
fn requests_may_take_a_minute_longer_than_functions() {
    assert_eq!(
        request_limit(Some(Duration::from_secs(300))),
        Duration::from_secs(360)
    );
}
