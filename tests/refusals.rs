//! Messages and blobs that this process can never score.

use serde_json::{Value, json};

use crate::protocol_cases::test_model;
use crate::support::app_root::AppRoot;
use crate::support::in_process;
use functions_host::PATIENCE;
use functions_host::blob_store::{self, BlobStore};
use functions_host::functions::add_functions;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::invoke::Transport;
use functions_host::port;
use functions_host::triggers::ServiceBusMessage;

const BODY: &str = r#"{"data":[[1,2,3]]}"#;

fn app() -> AppRoot {
    let app = AppRoot::new();
    app.add_model("affine", test_model("affine"), None);
    app.add_model(
        "by_key",
        test_model("affine"),
        Some("[features]\nprefix = \"features:\"\n"),
    );
    add_functions(&app);
    app
}

fn settings() -> HostOptions {
    HostOptions::default().setting("SCORE_DEFAULT_MODEL", "affine")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_waiting_mends_is_refused_at_once_and_alone() {
    let app = app();
    app.write("models/broken/model.onnx", "no model");
    let host = in_process::start(&app, settings()).await;
    let batch = [
        ServiceBusMessage::new(BODY),
        ServiceBusMessage::new(BODY).with_property("model", "broken"),
        ServiceBusMessage::new(r#"{"keys":["a"]}"#).with_property("model", "by_key"),
        ServiceBusMessage::new(BODY),
    ];
    let sent = host.deliver("scoreBatch", &batch, Transport::Chunked);
    let outcome = tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap();
    assert_eq!(outcome.messages("result").len(), 2);
    let rejected = outcome.messages("rejected");
    let codes: Vec<&Value> = rejected.iter().map(|r| &r["reason"]["code"]).collect();
    assert_eq!(codes, ["model_not_loaded", "features_unavailable"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_was_read_but_is_too_large_is_not_copied() {
    let limit = settings().setting("SCORE_MAX_BODY_BYTES", "4096");
    let host = in_process::start(&app(), limit.core_tools()).await;
    let store = BlobStore::default();
    let path = "inbox/large";
    let name = store.put_with(path, vec![b' '; 5000], json!({})).blob;
    let placeholders = vec![("name".to_owned(), name.name.clone())];
    let event = blob_store::event(&name, &store.get(path).unwrap(), placeholders);
    let sent = host.blob("scoreBlob", &event, Transport::ContentLength);
    let outcome = sent.await.unwrap();
    let rejected: Value = serde_json::from_slice(outcome.blob("rejected").unwrap()).unwrap();
    assert_eq!(rejected["reason"]["code"], "too_large");
    assert_eq!(rejected["id"], path);
    assert_eq!(rejected["body"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_body_reaches_the_log() {
    let host = FunctionsHost::start(&app(), settings()).await;
    for body in [
        r#"{"Inputs":{"a\nINJECTED":[[1]]}}"#,
        r#"{"data":{"a\nINJECTED":[1]}}"#,
        r#"{"data":[["\nINJECTED"]]}"#,
    ] {
        let message = [ServiceBusMessage::new(body).with_id("m\nforged")];
        let sent = host.deliver("scoreMessage", &message, Transport::Chunked);
        assert_eq!(sent.await.unwrap().messages("rejected").len(), 1, "{body}");
    }
    host.wait_for_log(r#"rejected "m\\nforged": invalid_input"#, PATIENCE)
        .await;
    for line in host.logs() {
        assert!(!line.text.contains("INJECTED"), "{line:?}");
        assert!(!line.text.starts_with("forged"), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_comes_back_counts_as_failed_each_time_and_never_as_scored() {
    let settings = settings()
        .setting("REDIS_URL", format!("redis://127.0.0.1:{}", port::free()))
        .setting("SCORE_MESSAGE_BATCH_TIMEOUT", "300ms");
    let host = FunctionsHost::start(&app(), settings).await;
    let batch = [
        ServiceBusMessage::new(BODY),
        ServiceBusMessage::new("{"),
        // Redis does not answer, and may again.
        ServiceBusMessage::new(r#"{"keys":["a"]}"#).with_property("model", "by_key"),
        ServiceBusMessage::new(BODY),
    ];
    for _ in 0..2 {
        let sent = host.deliver("scoreBatch", &batch, Transport::Chunked);
        assert!(sent.await.unwrap_err().contains("status 503"));
    }
    let answer = host.http("GET", "/api/score/metrics", &[], b"").await;
    let text = answer.text();
    let of_batch = text
        .lines()
        .filter(|line| line.starts_with("score_requests_total{function=\"scoreBatch\""));
    let mut of_batch: Vec<&str> = of_batch.collect();
    of_batch.sort_unstable();
    assert_eq!(
        of_batch,
        [
            r#"score_requests_total{function="scoreBatch",model="affine",status="503"} 6"#,
            r#"score_requests_total{function="scoreBatch",model="by_key",status="503"} 2"#,
        ]
    );
    assert!(!text.contains("score_events_total{"), "{text}");
    let logs = host.logs();
    assert!(!logs.iter().any(|line| line.text.contains("rejected")));
}
