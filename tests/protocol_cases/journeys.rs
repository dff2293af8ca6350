//! Messages and blobs on their whole way: from a queue or container through host and handler to the outputs.

use serde_json::{Value, json};

use super::scoring_app::{BODY, app, default_model, original, scores};
use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use functions_host::broker::EntityOptions;
use functions_host::cloud::Cloud;
use functions_host::functions;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::listener::Listener;
use functions_host::triggers::ServiceBusMessage;
use functions_host::{PATIENCE, eventually};

async fn listen(app: &AppRoot, options: HostOptions, cloud: &Cloud) -> Listener {
    let host = FunctionsHost::start(app, options).await;
    Listener::start(host, cloud)
}

fn documents(cloud: &Cloud, queue: &str) -> Vec<Value> {
    let messages = cloud.broker.waiting(queue);
    let parse = |message: &ServiceBusMessage| serde_json::from_slice(&message.body).unwrap();
    messages.iter().map(parse).collect()
}

async fn wait_for_blob(cloud: &Cloud, path: &str) -> Value {
    eventually(path, async || cloud.blobs.get(path).is_some()).await;
    serde_json::from_slice(&cloud.blobs.get(path).unwrap().content).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_functions_that_are_shipped_take_messages_and_blobs_to_their_places() {
    let cloud = Cloud::default();
    for queue in ["in", "out", "refused"] {
        cloud.broker.create_queue(queue, EntityOptions::default());
    }
    let settings = HostOptions::default()
        .setting("SCORE_QUEUE", "in")
        .setting("SCORE_RESULT_QUEUE", "out")
        .setting("SCORE_REJECTED_QUEUE", "refused");
    let listener = listen(&AppRoot::with_sample(), settings, &cloud).await;
    assert_eq!(listener.not_indexed(), [""; 0]);
    let digits = Digits::load();
    for (id, body) in [("good", digits.body(0..5)), ("bad", b"bad".to_vec())] {
        let message = ServiceBusMessage::new(body.clone()).with_id(id);
        cloud.broker.send("in", message).unwrap();
        cloud.blobs.put(&format!("incoming/2026/{id} one"), body);
    }
    cloud.broker.wait_until_empty("in", PATIENCE).await;
    let [results, refused] = ["out", "refused"].map(|queue| documents(&cloud, queue));
    assert_eq!((results.len(), refused.len()), (1, 1));
    assert_eq!(results[0]["id"], "good");
    assert_eq!(results[0]["result"], digits.answer(0..5));
    assert_eq!(refused[0]["id"], "bad");
    assert_eq!(original(&refused[0]), b"bad");
    let scored = wait_for_blob(&cloud, "scored/2026/good one.json").await;
    assert_eq!(scored["result"], digits.answer(0..5));
    let refused = wait_for_blob(&cloud, "rejected/2026/bad one.json").await;
    assert_eq!(original(&refused), b"bad");
    assert_eq!(listener.failures(), [""; 0]);
    // The two messages may have come in one batch.
    assert!((3..=4).contains(&listener.invocations()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_topics_batches_and_storage_queues_are_served() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(&["affine"]), default_model("affine"), &cloud).await;
    for number in 0..30 {
        let session = ["one", "two", "three"][number % 3];
        let body = match number {
            9 => "bad".to_owned(),
            _ => format!(r#"{{"data":[[{number},0,0]]}}"#),
        };
        let message = ServiceBusMessage::new(body).with_id(&format!("{session}-{number:02}"));
        let message = message.in_session(session);
        cloud.broker.send("sessions", message).unwrap();
    }
    for queue in ["requests", "batches", "texts"] {
        let message = ServiceBusMessage::new(BODY).with_id(queue);
        cloud.broker.send(queue, message).unwrap();
    }
    cloud.queues.put("stored", BODY).unwrap();
    for queue in [
        "sessions",
        "requests/subscriptions/scorer",
        "batches",
        "texts",
    ] {
        cloud.broker.wait_until_empty(queue, PATIENCE).await;
        assert!(cloud.broker.dead_letters(queue).is_empty());
    }
    let results = documents(&cloud, "results");
    assert_eq!(results.len(), 29 + 3);
    let ids = |prefix: &str| -> Vec<&str> {
        let all = results.iter().map(|result| result["id"].as_str().unwrap());
        all.filter(|id| id.starts_with(prefix)).collect()
    };
    for session in ["one-", "two-", "three-"] {
        assert!(ids(session).is_sorted(), "{:?}", ids(session));
    }
    assert_eq!(documents(&cloud, "rejected")[0]["id"], "one-09");
    eventually("a stored result", async || {
        !cloud.queues.messages("stored-results").is_empty()
    })
    .await;
    let stored = cloud.queues.messages("stored-results").remove(0);
    let stored: Value = serde_json::from_slice(&stored.body).unwrap();
    assert_eq!(stored["result"], scores());
    assert_eq!(listener.failures(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_output_brings_the_message_again_and_its_result_from_the_cache() {
    let cloud = functions::cloud(EntityOptions::default());
    cloud.broker.refuse_sends("results", 3);
    let listener = listen(&app(&["affine"]), default_model("affine"), &cloud).await;
    let message = ServiceBusMessage::new(BODY);
    cloud.broker.send("messages", message).unwrap();
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    let results = documents(&cloud, "results");
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["result"], scores());
    assert_eq!(
        results[0]["cache"],
        json!({"status": "HIT", "hits": 1, "rows": 1})
    );
    assert_eq!(listener.invocations(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_no_queue_takes_leaves_the_message_among_the_dead_letters() {
    let cloud = functions::cloud(EntityOptions::default().max_delivery_count(3));
    let listener = listen(&app(&["affine"]), default_model("affine"), &cloud).await;
    // with its body in base64 the refusal is larger than a message may be
    let message = ServiceBusMessage::new(vec![b'x'; 250 * 1024]);
    cloud.broker.send("messages", message).unwrap();
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    assert_eq!(cloud.broker.dead_letters("messages").len(), 1);
    let failure = &listener.failures()[0];
    assert!(failure.contains("MessageSizeExceeded"), "{failure}");
}
