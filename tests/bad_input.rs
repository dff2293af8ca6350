//! Nothing a caller sends brings the process down or counts as its failure.

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::in_process;
use functions_host::functions::add_functions;
use functions_host::host::{CORE_TOOLS, FunctionsHost, Mode};
use functions_host::invoke::Transport;
use functions_host::triggers::ServiceBusMessage;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn still_scores(host: &FunctionsHost) {
    let digits = Digits::load();
    let answer = host
        .http("POST", "/api/score", &[JSON], &digits.body([7]))
        .await;
    assert_eq!(answer.expect_status(200).json(), digits.answer([7]));
    assert!(host.is_running());
}

fn row(element: &str) -> String {
    let mut row = vec!["0"; 783];
    row.push(element);
    format!(r#"{{"data":[[{}]]}}"#, row.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_body_is_a_400_that_says_what_is_wrong() {
    let host = FunctionsHost::start(&AppRoot::with_sample(), []).await;
    let deep = "[".repeat(100_000);
    let closed = format!(r#"{{"data":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let open_inference = |rest: &str| format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#);
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "empty"),
        (r#"{"data":[[0,0"#.into(), "EOF"),
        (r#"{"data":[[0,0]]} x"#.into(), "trailing"),
        (r#"{"data":[]}"#.into(), "expected float32 [?,784], got [0]"),
        (r#"{"data":[[]]}"#.into(), "got [1,0]"),
        (
            r#"{"data":[[0,0],[0]]}"#.into(),
            "data[1]: 1 values where the arrays before have 2",
        ),
        (
            r#"{"data":[[0],0]}"#.into(),
            "data[1]: a value stands where others have an array",
        ),
        (
            r#"{"data":[0,[0]]}"#.into(),
            "data[1]: an array stands where others have a value",
        ),
        (r#"{"data":[0]}"#.into(), "got [1]"),
        (r#"{"data":null}"#.into(), "data is null; expected rows"),
        (r#"{"data":[[{"a":1}]]}"#.into(), "got an object"),
        (r#"{"rows":[[0]]}"#.into(), r#"expected {"data": ...}"#),
        (r#"{"data":[[0]],"inputs":[]}"#.into(), "not both"),
        (r#"{"data":[[0]],"data":[[0]]}"#.into(), "duplicate field"),
        ("[1,2]".into(), "expected a JSON object"),
        (r#"{"Data":[[0]]}"#.into(), r#"spell it "data""#),
        ("data=1".into(), "application/x-www-form-urlencoded"),
        ("<data/>".into(), "the body is XML"),
        (row("NaN"), "as strings"),
        (
            row("1e400"),
            "data[0][783]: expected a number for float32, got 1e400",
        ),
        (
            row("1e39"),
            "data[0][783]: expected a number for float32, got 1e39",
        ),
        (
            row("\"a\""),
            "data[0][783]: expected a number for float32, got \"a\"",
        ),
        (row("true"), "got true"),
        (row("null"), "got null"),
        (deep, "EOF"),
        (closed, "nested more than 16 deep"),
        (
            r#"{"data":{"y":[[0]]}}"#.into(),
            r#"no input \"y\"; it takes \"x\" float32 [?,784]"#,
        ),
        (r#"{"inputs":[]}"#.into(), r#"input \"x\" is missing"#),
        (r#"{"inputs":{}}"#.into(), r#"input \"x\" is missing"#),
        (
            open_inference(r#""shape":[1,784],"datatype":"FP32""#),
            "missing field `data`",
        ),
        (
            open_inference(r#""shape":[1,784],"datatype":"BOOL","data":[]"#),
            "expected datatype FP32",
        ),
        (
            open_inference(r#""shape":[1,784],"datatype":"F","data":[]"#),
            "not known",
        ),
        (
            open_inference(r#""shape":[1,784],"datatype":"FP32","data":[1]"#),
            "needs 784 values, got 1",
        ),
        (
            open_inference(r#""shape":[-1,784],"datatype":"FP32","data":[1]"#),
            "expected u64",
        ),
        (
            open_inference(r#""shape":[4294967296,4294967296,2],"datatype":"FP32","data":[]"#),
            "too large",
        ),
    ];
    for (body, expected) in &cases {
        let answer = host
            .http("POST", "/api/score", &[JSON], body.as_bytes())
            .await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        assert_eq!(answer.at("/error/code"), "invalid_input", "{shown}");
        let text = answer.text().replace("\\\\", "\\");
        let plain = expected.replace("\\\"", "\"");
        let message = answer.at("/error/message").as_str().unwrap().to_owned();
        assert!(
            message.contains(&plain) || text.contains(expected),
            "{shown}: expected {expected:?} in {message:?}"
        );
    }
    let invalid_utf8 = host
        .http("POST", "/api/score", &[JSON], b"{\"data\":[[\"\xff\"]]}")
        .await;
    invalid_utf8.expect_status(400);
    still_scores(&host).await;
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_other_types_get_a_415_and_damaged_ones_a_400() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let send = async |content_type: &str, body: &[u8]| {
        let headers = [("content-type", content_type)];
        host.http("POST", "/api/score", &headers, body).await
    };
    send("application/x-protobuf", b"\x08\x01")
        .await
        .expect_status(415);
    for (content_type, body, said) in [
        (
            "application/json",
            &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0][..],
            "gzip",
        ),
        ("image/png", b"\x89PNG\r\n\x1a\n", "not a picture"),
        ("application/x-npy", b"\x93NUMPY", "not an npy file"),
        (
            "application/octet-stream",
            b"1234567",
            "expected a multiple of 3136 bytes, got 7",
        ),
        ("text/csv", b"1,2\n3\n", "body"),
    ] {
        let answer = send(content_type, body).await.expect_status(400);
        assert!(
            answer.text().contains(said),
            "{content_type}: {}",
            answer.text()
        );
    }
    still_scores(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_60_mb_gets_a_413_in_every_form() {
    let host = in_process::start(&AppRoot::with_sample(), [CORE_TOOLS]).await;
    let mut body = br#"{"data":[["#.to_vec();
    body.resize(60_000_000, b'1');
    for mode in Mode::ALL {
        let answer = host
            .http_by(mode, "POST", "/api/score", &[JSON], &body)
            .await;
        let answer = answer.expect_status(413);
        assert_eq!(answer.at("/error/code"), "too_large", "{mode:?}");
        assert!(answer.text().contains("33554432"), "names the limit");
    }
    still_scores(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_rows_are_refused_by_number() {
    let host = in_process::start(&AppRoot::with_sample(), [("SCORE_MAX_ROWS", "3")]).await;
    let digits = Digits::load();
    let answer = host
        .http("POST", "/api/score", &[JSON], &digits.body(0..4))
        .await;
    let answer = answer.expect_status(400);
    let message = answer.at("/error/message");
    assert_eq!(message, "4 rows in one request; at most 3 are accepted");
    host.http("POST", "/api/score", &[JSON], &digits.body(0..3))
        .await
        .expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_the_model_itself_refuses_are_the_callers_mistake() {
    let app = AppRoot::new();
    app.add_model(
        "gather",
        repository().join("tests/data/models/gather.onnx"),
        None,
    );
    let host = FunctionsHost::start(&app, []).await;
    let post = async |body: &'static [u8]| host.http("POST", "/api/score", &[JSON], body).await;
    post(br#"{"data":[0,4]}"#).await.expect_status(200);
    let refused = post(br#"{"data":[0,99]}"#).await.expect_status(400);
    let message = refused.at("/error/message").as_str().unwrap().to_owned();
    assert!(message.contains("out of"), "{message}");
    assert!(
        !message.contains(".cc") && !message.contains('\n'),
        "{message}"
    );
    post(br#"{"data":[0,4]}"#).await.expect_status(200);
    for body in [
        &br#"{"data":[1.5]}"#[..],
        br#"{"data":["1.5"]}"#,
        br#"{"data":[9223372036854775808]}"#,
    ] {
        let refused = host
            .http("POST", "/api/score", &[JSON], body)
            .await
            .expect_status(400);
        assert!(
            refused
                .text()
                .contains("data[0]: expected a whole number for int64")
        );
    }
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

/// Base64 as storage queues' clients write it, JSON encoded twice, and what `new BrokeredMessage(text)` sends.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_read_in_the_wrappings_of_their_clients() {
    let app = AppRoot::new();
    app.add_model(
        "affine",
        repository().join("tests/data/models/affine.onnx"),
        None,
    );
    add_functions(&app);
    let host = in_process::start(&app, []).await;
    let object = r#"{"data":[[1,2,3]]}"#;
    let namespace = "http://schemas.microsoft.com/2003/10/Serialization/";
    let mut contract = format!("@\u{6}string\u{8}\u{33}{namespace}").into_bytes();
    contract.extend([0x99, object.len() as u8]);
    contract.extend(object.as_bytes());
    let twice = serde_json::to_string(object).unwrap();
    let sent = [
        ServiceBusMessage::new("eyJkYXRhIjpbWzEsMiwzXV19"),
        ServiceBusMessage::new(twice),
        ServiceBusMessage::new(contract),
        ServiceBusMessage::new("<data>1</data>"),
    ];
    let outcome = host
        .deliver("scoreBatch", &sent, Transport::Chunked)
        .await
        .unwrap();
    let results = outcome.messages("result");
    assert_eq!(results.len(), 3);
    for result in results {
        assert_eq!(result["result"], serde_json::json!([[3.0, 5.0, 7.0]]));
    }
    let reason = &outcome.messages("rejected")[0]["reason"]["message"];
    assert!(
        reason.as_str().unwrap().contains("the body is XML"),
        "{reason}"
    );
}

also_forwarded! {
    every_malformed_body_is_a_400_that_says_what_is_wrong,
    bodies_of_other_types_get_a_415_and_damaged_ones_a_400,
    too_many_rows_are_refused_by_number,
    values_the_model_itself_refuses_are_the_callers_mistake,
}
