//! M1 to M5: many Service Bus messages in one envelope.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::LateApp;
use super::scoring_app::{
    BODY, app, assert_form, default_model, deliver_data, host, original, scores,
};
use crate::support::in_process;
use crate::support::redis::RedisServer;
use functions_host::PATIENCE;
use functions_host::encoding::base64;
use functions_host::host::{CORE_TOOLS, FunctionsHost};
use functions_host::invoke::{InvocationOutcome, Transport};
use functions_host::triggers::ServiceBusMessage;

fn body(number: usize) -> String {
    format!(r#"{{"data":[[{number},0,0]]}}"#)
}

fn score(number: usize) -> Value {
    json!([[2.0 * number as f64 + 1.0, 1.0, 1.0]])
}

fn good(numbers: impl IntoIterator<Item = usize>) -> Vec<ServiceBusMessage> {
    let message = |number| ServiceBusMessage::new(body(number)).with_id(&format!("m-{number}"));
    numbers.into_iter().map(message).collect()
}

async fn deliver(
    host: &FunctionsHost,
    messages: &[ServiceBusMessage],
    by: Transport,
) -> InvocationOutcome {
    let outcome = host.deliver("scoreBatch", messages, by).await.unwrap();
    assert_form(&outcome);
    outcome
}

fn assert_results(outcome: &InvocationOutcome, numbers: impl IntoIterator<Item = usize>) {
    let results = outcome.messages("result");
    let numbers: Vec<usize> = numbers.into_iter().collect();
    assert_eq!(results.len(), numbers.len());
    for (document, number) in results.iter().zip(numbers) {
        assert_eq!(document["id"], format!("m-{number}"));
        assert_eq!(document["result"], score(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m01_results_come_in_order() {
    let host = host().await;
    for by in Transport::ALL {
        let outcome = deliver(&host, &good(0..3), by).await;
        assert_results(&outcome, 0..3);
        assert!(!outcome.outputs.contains_key("rejected"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m02_one_bad_message_does_not_hold_up_the_others() {
    let host = host().await;
    for bad in ["not JSON", r#"{"data":[[1]]}"#, ""] {
        let mut messages = good(0..32);
        messages[17].body = bad.into();
        let outcome = deliver(&host, &messages, Transport::Chunked).await;
        assert_results(&outcome, (0..32).filter(|number| *number != 17));
        let rejected = outcome.messages("rejected");
        assert_eq!(rejected.len(), 1);
        assert_eq!(rejected[0]["id"], "m-17");
        assert_eq!(rejected[0]["delivery_count"], 1);
        assert_eq!(original(&rejected[0]), bad.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m03_batches_of_one_of_a_thousand_and_of_none() {
    let host = host().await;
    assert_results(&deliver(&host, &good([5]), Transport::Chunked).await, [5]);
    for by in Transport::ALL {
        assert_results(&deliver(&host, &good(0..1000), by).await, 0..1000);
    }
    for empty in [json!("[]"), json!([])] {
        let outcome = deliver_data(&host, "scoreBatch", json!({ "msgs": empty })).await;
        assert!(outcome.outputs.is_empty(), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m04_metadata_may_know_less_than_there_are_messages() {
    let host = host().await;
    let items = json!([
        base64(BODY.as_bytes()),
        base64(b"bad"),
        base64(BODY.as_bytes())
    ]);
    let data = json!({ "msgs": items.to_string() });
    for metadata in [
        json!({}),
        json!({"MessageIdArray": "[\"a\"]", "DeliveryCountArray": "[]"}),
        json!({"MessageIdArray": "x", "DeliveryCountArray": 7, "ApplicationPropertiesArray": {}}),
        json!({"MessageIdArray": "[null,null]", "ApplicationPropertiesArray": "[[],{},1]"}),
    ] {
        let sent = host.invoke(
            "scoreBatch",
            data.clone(),
            metadata.clone(),
            Transport::Chunked,
        );
        let outcome = sent.await.unwrap();
        let results = outcome.messages("result");
        assert_eq!(results.len(), 2, "{metadata}");
        assert_eq!(results[1]["result"], scores());
        let known = metadata["MessageIdArray"] == "[\"a\"]";
        assert_eq!(
            results[0]["id"],
            if known { json!("a") } else { Value::Null }
        );
        assert_eq!(results[1]["id"], Value::Null);
        assert_eq!(outcome.messages("rejected").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m05_a_batch_fails_as_a_whole_before_its_locks_expire() {
    let late = LateApp::of(app(&["affine"]));
    let host = FunctionsHost::start(&late.app, [("SCORE_MESSAGE_BATCH_TIMEOUT", "400ms")]).await;
    let start = Instant::now();
    let messages = good(0..40);
    let sent = host.deliver("scoreBatch", &messages, Transport::Chunked);
    let error = match sent.await {
        Err(error) => error,
        Ok(outcome) => panic!("{outcome:?}"),
    };
    assert!(error.contains("status 503"), "{error}");
    let took = start.elapsed();
    // The default is 45 seconds.
    assert!(took < Duration::from_secs(30), "{took:?}");
    late.let_load().await;
    let outcome = deliver(&host, &messages, Transport::Chunked).await;
    assert_results(&outcome, 0..40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_rejected_and_its_batch_is_not() {
    let app = app(&["affine"]);
    let host = in_process::start(&app, [("SCORE_MAX_BODY_BYTES", "4096"), CORE_TOOLS]).await;
    // Of what is much too large only the reason is left: its text is not even read.
    for (bytes, is_kept) in [(5000, true), (20_000, false)] {
        let mut messages = good(0..4);
        messages.extend((0..4).map(|_| ServiceBusMessage::new(vec![b' '; 4000])));
        messages[6].body = vec![b' '; bytes];
        for by in Transport::ALL {
            let outcome = deliver(&host, &messages, by).await;
            assert_results(&outcome, 0..4);
            let rejected = outcome.messages("rejected");
            let codes: Vec<&Value> = rejected.iter().map(|r| &r["reason"]["code"]).collect();
            assert_eq!(
                codes,
                [
                    "invalid_input",
                    "invalid_input",
                    "too_large",
                    "invalid_input"
                ]
            );
            assert_eq!(rejected[2]["body"].is_string(), is_kept);
        }
    }
}

/// How often Redis was asked for several keys at once, and for one.
async fn look_ups(redis: &RedisServer) -> (u64, u64) {
    let stats = redis.command(&[b"INFO", b"commandstats"]).await.text();
    let calls = |command: &str| {
        let prefix = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    (calls("mget"), calls("get"))
}

#[tokio::test(flavor = "multi_thread")]
async fn m01_the_results_of_a_batch_are_looked_up_together() {
    let redis = RedisServer::start().await;
    let settings = default_model("affine")
        .setting("REDIS_URL", redis.url())
        .setting("REDIS_TIMEOUT", "2s")
        .setting("SCORE_L1_BYTES", "0");
    let host = FunctionsHost::start(&app(&["affine"]), settings).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    // The first batch computes; it also shows what a row costs, which says how many messages are in work at once.
    assert_results(
        &deliver(&host, &good(0..32), Transport::Chunked).await,
        0..32,
    );
    redis.wait_for_keys(32, PATIENCE).await;
    let before = look_ups(&redis).await;
    assert_results(
        &deliver(&host, &good(0..32), Transport::Chunked).await,
        0..32,
    );
    let after = look_ups(&redis).await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 0));
}

/// Tools that call a function by hand send one message where a list is expected.
#[tokio::test(flavor = "multi_thread")]
async fn one_message_in_place_of_a_list_is_a_batch_of_one() {
    let host = host().await;
    let metadata = json!({
        "MessageId": "\"m-1\"",
        "DeliveryCount": "1",
        "ApplicationProperties": "{\"model\":\"affine\"}"
    });
    for (message, answer) in [
        (json!(base64(BODY.as_bytes())), "result"),
        (json!({"data": [[1, 0, 0]]}), "result"),
        (json!(base64(b"bad")), "rejected"),
        (json!("no base64!"), "rejected"),
    ] {
        let data = json!({ "msgs": message });
        let sent = host.invoke("scoreBatch", data, metadata.clone(), Transport::Chunked);
        let outcome = sent.await.unwrap();
        assert_form(&outcome);
        let documents = outcome.messages(answer);
        assert_eq!((documents.len(), outcome.outputs.len()), (1, 1));
        assert_eq!(documents[0]["id"], "m-1");
    }
}
