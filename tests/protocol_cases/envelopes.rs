//! E1 to E11: the envelope itself, with any content.

use serde_json::{Value, json};

use super::scoring_app::{BODY, app, default_model, deliver, host, host_with_log, result, scores};
use functions_host::PATIENCE;
use functions_host::encoding::base64;
use functions_host::host::FunctionsHost;
use functions_host::http1;
use functions_host::invoke::{InvocationOutcome, Transport};
use functions_host::triggers::ServiceBusMessage;

fn data() -> Value {
    json!({ "msg": base64(BODY.as_bytes()) })
}

async fn invoke(host: &FunctionsHost, metadata: Value, by: Transport) -> InvocationOutcome {
    host.invoke("scoreMessage", data(), metadata, by)
        .await
        .unwrap()
}

/// A 4xx answer in JSON that names what is wrong; the next message is scored all the same.
async fn assert_refused(host: &FunctionsHost, function: &str, body: &[u8], statuses: &[u16]) {
    for by in Transport::ALL {
        let answer = host.post_body(function, body, by).await.unwrap();
        let shown = String::from_utf8_lossy(body);
        assert!(
            statuses.contains(&answer.status),
            "{}: {shown}",
            answer.status
        );
        assert!(answer.at("/error/message").is_string(), "{shown}");
    }
    let next = invoke(host, json!({}), Transport::Chunked).await;
    assert_eq!(result(&next)["result"], scores());
}

#[tokio::test(flavor = "multi_thread")]
async fn e01_e02_chunked_and_with_a_length_are_the_same() {
    let host = host().await;
    let mut results = Vec::new();
    for by in Transport::ALL {
        let outcome = invoke(&host, json!({"MessageId": "\"m-1\""}), by).await;
        let mut document = result(&outcome);
        assert_eq!(document["result"], scores());
        assert_eq!(document["id"], "m-1");
        assert_eq!(document["model"], "affine");
        let members = document.as_object_mut().unwrap();
        for changing in ["timings_ms", "cache", "traceparent"] {
            assert!(members.remove(changing).is_some(), "{changing}");
        }
        results.push(document);
    }
    assert_eq!(results[0], results[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e03_members_and_paths_in_other_cases_are_refused() {
    let host = host().await;
    let lower = json!({"data": data(), "metadata": {}}).to_string();
    assert_refused(&host, "scoreMessage", lower.as_bytes(), &[400]).await;
    let good = json!({"Data": data(), "Metadata": {}}).to_string();
    assert_refused(&host, "SCOREMESSAGE", good.as_bytes(), &[404]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e04_an_unknown_function_is_not_found() {
    let host = host().await;
    let good = json!({"Data": data(), "Metadata": {}}).to_string();
    assert_refused(&host, "unknownFunction", good.as_bytes(), &[404]).await;
    let failed = host.invoke("unknownFunction", data(), json!({}), Transport::Chunked);
    assert!(failed.await.unwrap_err().contains("404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn e05_only_post_invokes() {
    let host = host().await;
    let own = format!("127.0.0.1:{}", host.port());
    let request = http1::head("GET", "/scoreMessage", &[("Host", own)]);
    let answer = http1::exchange(host.port(), &[&request]).await.unwrap();
    assert_eq!(answer.expect_status(404).at("/error/code"), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn e06_envelopes_without_the_bindings_data_are_refused_and_logged() {
    let host = host_with_log().await;
    let bodies = [
        r#"{}"#,
        r#"{"Data":{}}"#,
        r#"{"Data":{"other":"x"}}"#,
        r#"{"Data":null,"Metadata":{}}"#,
        r#"{"Data":[],"Metadata":{}}"#,
        r#"{"Metadata":{}}"#,
    ];
    for body in bodies {
        let answer = host.post_body("scoreMessage", body.as_bytes(), Transport::Chunked);
        let id = answer.await.unwrap().invocation_id;
        host.wait_for_log(&id, PATIENCE).await;
        assert_refused(&host, "scoreMessage", body.as_bytes(), &[400]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e07_what_is_not_json_is_refused() {
    let host = host().await;
    let good = json!({"Data": data(), "Metadata": {}}).to_string();
    let truncated = &good.as_bytes()[..good.len() - 3];
    let bodies: [&[u8]; 6] = [truncated, b"hello", b"", b"null", b"[]", b"\xff\xfe{}"];
    for body in bodies {
        assert_refused(&host, "scoreMessage", body, &[400]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e08_metadata_may_be_absent_or_anything() {
    let host = host().await;
    let without = json!({ "Data": data() }).to_string();
    let answer = host.post_body("scoreMessage", without.as_bytes(), Transport::Chunked);
    assert_eq!(answer.await.unwrap().status, 200);
    let junk: Vec<Value> = (0..2000)
        .map(|n| json!({"n": n, "deep": [[[{}]]]}))
        .collect();
    let any = [
        json!(null),
        json!({"a": null, "b": true, "c": 1e300, "d": "\"", "e": "[", "f": [], "g": {}}),
        json!({"MessageReceiver": junk, "Client": {"junk": junk}}),
        json!({"MessageId": {"a": 1}, "DeliveryCount": [1], "ContentType": false,
            "ApplicationProperties": "x", "CorrelationId": 7}),
    ];
    assert!(any[2].to_string().len() > 64 * 1024);
    for metadata in any {
        for by in Transport::ALL {
            let outcome = invoke(&host, metadata.clone(), by).await;
            assert_eq!(result(&outcome)["result"], scores(), "{metadata:.200}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e09_a_retry_context_is_ignored() {
    let host = host().await;
    let context = json!({"RetryContext": {"RetryCount": 1, "MaxRetryCount": 3,
        "Exception": {"Message": "x".repeat(100 * 1024)}, "Instance": "i", "State": null}});
    let outcome = invoke(&host, context, Transport::Chunked).await;
    assert_eq!(result(&outcome)["result"], scores());
}

#[tokio::test(flavor = "multi_thread")]
async fn e10_every_success_has_a_json_body() {
    let host = host().await;
    let functions = [
        "scoreMessage",
        "scoreText",
        "scoreBatch",
        "scoreTopic",
        "scoreSession",
    ];
    for function in functions {
        for body in [BODY, "bad", ""] {
            let message = ServiceBusMessage::new(body);
            deliver(&host, function, &message).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e11_lines_of_the_answer_are_also_on_standard_output() {
    let options = default_model("affine").setting("SCORE_LOG_FILTER", "debug");
    let host = FunctionsHost::start(&app(&["affine"]), options).await;
    for (body, least) in [(BODY, 0), ("bad", 1)] {
        let message = [ServiceBusMessage::new(body).with_id("m-77")];
        let sent = host.deliver("scoreMessage", &message, Transport::Chunked);
        let outcome = sent.await.unwrap();
        assert!(outcome.logs.len() >= least, "{outcome:?}");
        for line in &outcome.logs {
            let found = host.wait_for_log(&regex::escape(line), PATIENCE).await;
            assert!(!found.is_stderr);
        }
        let id = &outcome.raw.invocation_id;
        host.wait_for_log(id, PATIENCE).await;
    }
}
