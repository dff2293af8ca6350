//! Messages and blobs from end to end: the official Azure SDKs outside, a broker and Azurite, the host in between.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use functions_host::PATIENCE;
use functions_host::azurite::Azurite;
use functions_host::blob_storage::{BlobClient, BlobReceipts};
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::python::bytes;
use functions_host::queue_storage::{Encoding, QueueClient};
use functions_host::random;
use functions_host::service_bus::{ServiceBus, ServiceBusClient};
use functions_host::triggers::ServiceBusMessage;

const FUNCTION: &str = "score_queue";
const DEAD_LETTERS: &str = "requests/$deadletterqueue";
/// Not JSON, not UTF-8, with a NUL.
const NONSENSE: &[u8] = b"\xff\xfe\0nonsense";

fn test_model(name: &str) -> std::path::PathBuf {
    repository().join(format!("tests/data/models/{name}.onnx"))
}

/// The sample model, and small ones whose answers are easily known.
fn app() -> AppRoot {
    let app = AppRoot::with_sample();
    for name in ["affine", "identity_string", "slow"] {
        app.add_model(name, test_model(name), None);
    }
    // words that are valid base64
    let options = "outputs = [\"output_label\"]\nlabels = [\"positive\", \"negative\", \"okay\"]";
    app.add_model("mood", test_model("zipmap"), Some(options));
    app
}

/// A message that fails must not take others along.
fn one_at_a_time(app: &AppRoot) {
    app.edit_json("score_queue/function.json", |function| {
        function["bindings"][0]["cardinality"] = "one".into();
    });
}

fn options() -> HostOptions {
    HostOptions::from([
        ("SCORE_DEFAULT_MODEL", "mnist"),
        ("SCORE_QUEUE", "requests"),
        ("SCORE_RESULT_QUEUE", "results"),
        ("SCORE_REJECTED_QUEUE", "rejected"),
    ])
}

/// A message for `model`, of a content type if one is given.
fn message(model: &str, content_type: &str, body: impl Into<Vec<u8>>) -> ServiceBusMessage {
    let mut message = ServiceBusMessage::new(body);
    message.content_type = (!content_type.is_empty()).then(|| content_type.to_owned());
    let properties = &mut message.application_properties;
    properties.insert("model".to_owned(), model.into());
    message
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A file as `numpy.save` writes it.
fn npy(values: &[f32], shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(floats(values));
    file
}

/// Bodies of all formats for the model `affine`, twice x plus one, with their content types and results.
fn formats() -> [(&'static str, Vec<u8>, Value); 4] {
    let rows = [1.0, 2.0, 3.0, -4.0, 0.5, 1e6];
    let expected = json!([[3.0, 5.0, 7.0], [-7.0, 2.0, 2_000_001.0]]);
    [
        (
            "application/json",
            br#"{"data": [[1, 2, 3], [-4, 0.5, 1e6]]}"#.to_vec(),
            expected.clone(),
        ),
        (
            "text/csv",
            b"1,2,3\n-4,0.5,1e6\n".to_vec(),
            expected.clone(),
        ),
        ("application/x-npy", npy(&rows, "(2, 3)"), expected.clone()),
        ("application/octet-stream", floats(&rows), expected),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_treats_the_sdk_as_service_bus_does() {
    let broker = ServiceBus::start(&["news/one", "news/two"]);
    let (sender, receiver) = (broker.client(), broker.client());
    let mut sent = message("any", "text/csv", NONSENSE);
    sent.correlation_id = Some("c-1".to_owned());
    let numbered: Vec<_> = (0..3)
        .map(|number| ServiceBusMessage::new(format!("{number}")))
        .collect();
    sender.send("orders", &[sent.clone()]);
    sender.send_batch("orders", &numbered);

    let first = &receiver.receive("orders", 1)[0];
    assert_eq!(first.message.body, NONSENSE);
    assert_eq!(first.message.message_id, sent.message_id);
    assert_eq!(first.message.correlation_id, sent.correlation_id);
    assert_eq!(first.message.content_type, sent.content_type);
    assert_eq!(
        first.message.application_properties,
        sent.application_properties
    );
    assert_eq!(first.message.delivery_count, 1);
    receiver.abandon(first);
    let again = &receiver.receive("orders", 1)[0];
    assert_eq!(again.message.message_id, sent.message_id);
    assert_eq!(again.message.delivery_count, 2);
    receiver.dead_letter(again, "unwanted");

    let rest = receiver.take("orders", 3);
    let bodies: Vec<_> = rest.into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, [b"0", b"1", b"2"]);
    receiver.expect_empty("orders");
    let dead = &receiver.take("orders/$deadletterqueue", 1)[0];
    assert_eq!(dead.body, NONSENSE);
    assert_eq!(dead.application_properties["DeadLetterReason"], "unwanted");

    sender.send("news", &[ServiceBusMessage::new("to all")]);
    for name in ["one", "two"] {
        let copy = &receiver.take(&format!("news/subscriptions/{name}"), 1)[0];
        assert_eq!(copy.body, b"to all");
    }
}

/// Lets the function have `count` messages, in batches of any size.
async fn listen(host: &FunctionsHost, inside: &ServiceBusClient, count: usize) {
    let mut delivered = 0;
    while delivered < count {
        delivered += host.listen(inside, FUNCTION).await.unwrap();
    }
    assert_eq!(delivered, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_back_as_results() {
    let (app, digits, broker) = (app(), Digits::load(), ServiceBus::start(&[]));
    let host = FunctionsHost::start(&app, options()).await;
    let (outside, inside) = (broker.client(), broker.client());

    let trace = random::traceparent();
    let mut plain = ServiceBusMessage::new(digits.body(0..3)).with_id("order 7 \"Ä\"");
    plain.correlation_id = Some("c-1".to_owned());
    let properties = &mut plain.application_properties;
    properties.insert("Diagnostic-Id".to_owned(), trace.clone().into());
    let v2 = ServiceBusMessage::new(digits.open_inference(3..5));
    outside.send("requests", &[plain, v2]);
    let of_formats = formats().map(|(content_type, body, _)| message("affine", content_type, body));
    outside.send_batch("requests", &of_formats);
    let iris = json!({"data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}).to_string();
    let words = json!({"data": [["positive", "1234"], ["true", "2026-03-01T10:00:05Z"]]});
    let texts = [
        message("mood", "", iris),
        message("identity_string", "", words.to_string()),
    ];
    outside.send("requests", &texts);

    listen(&host, &inside, 8).await;
    let results = outside.take_json("results", 8);
    assert_eq!(results[0]["id"], "order 7 \"Ä\"");
    assert_eq!(results[0]["correlation_id"], "c-1");
    assert_eq!(results[0]["traceparent"], trace.as_str());
    assert_eq!(results[0]["model"], "mnist");
    assert_eq!(results[0]["result"], digits.answer(0..3));
    assert_eq!(results[1]["result"]["outputs"][1]["name"], "label");
    assert_eq!(
        results[1]["result"]["outputs"][1]["data"],
        digits.answer(3..5)
    );
    for (result, (content_type, _, expected)) in results[2..6].iter().zip(formats()) {
        assert_eq!(result["result"], expected, "{content_type}");
        assert_eq!(result["model"], "affine");
    }
    for (result, sent) in results[2..6].iter().zip(&of_formats) {
        assert_eq!(result["id"], sent.message_id.as_str());
    }
    assert_eq!(results[6]["result"], json!(["positive", "okay"]));
    assert_eq!(results[7]["result"], words["data"]);
    for queue in ["requests", "results", "rejected"] {
        outside.expect_empty(queue);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_scored_arrives_among_the_rejected() {
    let (app, broker) = (app(), ServiceBus::start(&[]));
    let host = FunctionsHost::start(&app, options()).await;
    let (outside, inside) = (broker.client(), broker.client());
    let narrow = br#"{"data": [[1, 2]]}"#;
    let mut bad = [
        message("affine", "application/json", NONSENSE),
        message("affine", "", narrow),
        message("unknown", "", narrow),
        message("affine", "", ""),
    ];
    bad[1].correlation_id = Some("c-2".to_owned());
    outside.send("requests", &bad);
    listen(&host, &inside, bad.len()).await;
    let rejected = outside.take_json("rejected", bad.len());
    for (rejected, sent) in rejected.iter().zip(&bad) {
        assert_eq!(rejected["id"], sent.message_id.as_str());
        assert_eq!(bytes(&rejected["body"]), sent.body);
        assert_eq!(rejected["delivery_count"], 1);
    }
    let codes = rejected
        .iter()
        .map(|rejected| rejected["reason"]["code"].as_str().expect("a code"));
    let expected = [
        "invalid_input",
        "invalid_input",
        "unknown_model",
        "invalid_input",
    ];
    assert!(codes.eq(expected), "{rejected:?}");
    assert_eq!(rejected[1]["correlation_id"], "c-2");
    outside.expect_empty("results");
    outside.expect_empty(DEAD_LETTERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_keeps_what_is_to_fail() {
    let (app, broker) = (app(), ServiceBus::start(&[]));
    one_at_a_time(&app);
    let host = FunctionsHost::start(&app, options().setting("SCORE_ON_INVALID", "fail")).await;
    let (outside, inside) = (broker.client(), broker.client());
    outside.send("requests", &[message("affine", "", NONSENSE)]);
    for _ in 0..10 {
        let failure = host.listen(&inside, FUNCTION).await.unwrap_err();
        assert!(failure.contains("status 400"), "{failure}");
    }
    let dead = &outside.take(DEAD_LETTERS, 1)[0];
    assert_eq!(dead.body, NONSENSE);
    let reason = &dead.application_properties["DeadLetterReason"];
    assert_eq!(reason, "MaxDeliveryCountExceeded");
    for queue in ["requests", "results", "rejected"] {
        outside.expect_empty(queue);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_a_subscription_survives_the_handlers_death() {
    let (app, broker) = (
        app(),
        ServiceBus::start(&["orders/scoring", "orders/audit"]),
    );
    app.edit_json("score_queue/function.json", |function| {
        let trigger = function["bindings"][0].as_object_mut().expect("a trigger");
        trigger.remove("queueName");
        trigger.insert("topicName".to_owned(), "orders".into());
        trigger.insert("subscriptionName".to_owned(), "scoring".into());
    });
    // one row after the other, 40 ms each
    let slowly = options()
        .setting("SCORE_SESSIONS", "1")
        .setting("SCORE_MAX_BATCH_ROWS", "1");
    let host = Arc::new(FunctionsHost::start(&app, slowly).await);
    host.wait_for_log("model loaded.*slow", PATIENCE).await;
    let (outside, inside) = (broker.client(), broker.client());
    let mut orders: Vec<_> = (0..15)
        .map(|order| {
            let body = json!({"data": [[order, 0, 0, 0]]}).to_string();
            message("slow", "", body).with_id(&format!("order-{order}"))
        })
        .collect();
    orders.push(message("slow", "", NONSENSE).with_id("nonsense"));
    outside.send_batch("orders", &orders);

    let killer = tokio::spawn(kill_in_the_middle(Arc::clone(&host)));
    let failure = host.listen(&inside, FUNCTION).await.unwrap_err();
    assert!(failure.contains("no answer"), "{failure}");
    killer.await.unwrap();
    outside.expect_empty("results");
    host.restart().await;
    let mut delivered = 0;
    while delivered < orders.len() {
        delivered += host.listen(&inside, FUNCTION).await.unwrap();
    }

    let mut results = outside.take_json("results", 15);
    results.sort_by_key(|result| result["result"][0][0].as_f64().map(f64::to_bits));
    for (order, result) in results.iter().enumerate() {
        assert_eq!(result["id"], format!("order-{order}"));
        assert_eq!(
            result["result"],
            json!([[2.0 * order as f64, 0.0, 0.0, 0.0]])
        );
    }
    let rejected = &outside.take_json("rejected", 1)[0];
    assert_eq!(rejected["id"], "nonsense");
    assert_eq!(rejected["delivery_count"], 2);
    assert_eq!(bytes(&rejected["body"]), NONSENSE);
    outside.expect_empty("results");
    outside.expect_empty("orders/subscriptions/scoring");
    let audited = outside.take("orders/subscriptions/audit", 16);
    assert_eq!(audited[15].body, NONSENSE);
}

/// Kills the handler when it has computed some rows of many.
async fn kill_in_the_middle(host: Arc<FunctionsHost>) {
    let some = regex::Regex::new(r#"score_computed_rows_total\{model="slow"\} [3-9]"#).unwrap();
    loop {
        let metrics = host.http("GET", "/api/score/metrics", &[], b"").await;
        if some.is_match(&metrics.expect_status(200).text()) {
            return host.kill();
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_come_back_as_blobs() {
    let (app, digits, storage) = (app(), Digits::load(), Azurite::start("blob"));
    let host = FunctionsHost::start(&app, options()).await;
    let (outside, inside) = (BlobClient::of(&storage), BlobClient::of(&storage));
    for container in ["incoming", "scored", "rejected"] {
        outside.create_container(container);
    }
    let upload = |name: &str, body: &[u8], content_type: Option<&str>, model: Option<&str>| {
        let metadata = model.map(|model| json!({ "model": model }));
        outside.upload(("incoming", name), body, content_type, metadata);
    };
    const ODD: &str = "Eingang 2026/März #1/größe 100%?.json";
    upload(ODD, &digits.body(0..2), None, None);
    upload("v2.json", &digits.open_inference(2..4), None, None);
    let typed = |content_type: &str| format!("{}.bin", content_type.replace('/', "-"));
    for (content_type, body, _) in formats() {
        upload(
            &typed(content_type),
            &body,
            Some(content_type),
            Some("affine"),
        );
    }
    let [_, (_, csv, expected), ..] = formats();
    upload("untyped.csv", &csv, None, Some("affine"));
    let words = json!({"data": [["positive", "1234"]]});
    let body = words.to_string();
    upload("words", body.as_bytes(), None, Some("identity_string"));
    upload("empty.json", b"", None, None);
    upload("bad/nonsense", NONSENSE, None, None);

    let mut receipts = BlobReceipts::default();
    let scan = host.scan(&inside, "score_blob", &mut receipts).await;
    assert_eq!(scan, Ok(10));
    assert_eq!(outside.names("scored").len(), 8);
    assert_eq!(
        outside.names("rejected"),
        ["bad/nonsense.json", "empty.json.json"]
    );

    let odd = outside.download_json("scored", &format!("{ODD}.json"));
    assert_eq!(odd["id"], format!("incoming/{ODD}"));
    assert_eq!(odd["model"], "mnist");
    assert_eq!(odd["result"], digits.answer(0..2));
    let v2 = outside.download_json("scored", "v2.json.json");
    assert_eq!(v2["result"]["outputs"][1]["data"], digits.answer(2..4));
    for (content_type, _, expected) in formats() {
        let name = format!("{}.json", typed(content_type));
        let scored = outside.download_json("scored", &name);
        assert_eq!(scored["result"], expected, "{content_type}");
    }
    let untyped = outside.download_json("scored", "untyped.csv.json");
    assert_eq!(untyped["result"], expected);
    let scored = outside.download_json("scored", "words.json");
    assert_eq!(scored["result"], words["data"]);
    for (name, body) in [("empty.json", &b""[..]), ("bad/nonsense", NONSENSE)] {
        let rejected = outside.download_json("rejected", &format!("{name}.json"));
        assert_eq!(rejected["id"], format!("incoming/{name}"));
        assert_eq!(rejected["reason"]["code"], "invalid_input");
        assert_eq!(bytes(&rejected["body"]), body);
    }

    let scan = host.scan(&inside, "score_blob", &mut receipts).await;
    assert_eq!(scan, Ok(0), "no version is announced twice");
    upload("empty.json", &digits.body(5..6), None, None);
    let scan = host.scan(&inside, "score_blob", &mut receipts).await;
    assert_eq!(scan, Ok(1), "a new version is");
    let scored = outside.download_json("scored", "empty.json.json");
    assert_eq!(scored["result"], digits.answer(5..6));
}

/// The function of `handler package --trigger storage-queue`, and its queues.
async fn stored(app: &AppRoot, storage: &Azurite) -> (FunctionsHost, QueueClient) {
    let template = "handler/src/commands/package/templates/score_storage_queue.json";
    let template = std::fs::read(repository().join(template)).unwrap();
    app.write("score_storage_queue/function.json", template);
    let options = HostOptions::from([
        ("SCORE_DEFAULT_MODEL", "affine"),
        ("SCORE_STORAGE_QUEUE", "requests"),
        ("SCORE_STORAGE_RESULT_QUEUE", "results"),
        ("SCORE_STORAGE_REJECTED_QUEUE", "rejected"),
    ]);
    let client = QueueClient::of(storage);
    for queue in ["requests", "requests-poison", "results", "rejected"] {
        client.create(queue);
    }
    (FunctionsHost::start(app, options).await, client)
}

fn documents(texts: &[String]) -> Vec<Value> {
    let parse = |text: &String| serde_json::from_str(text).expect("JSON");
    texts.iter().map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_queue_takes_what_todays_and_yesterdays_clients_send() {
    let (app, storage) = (app(), Azurite::start("queue"));
    let (host, inside) = stored(&app, &storage).await;
    let outside = QueueClient::of(&storage);
    let json = br#"{"data": [[1, 2, 3], [-4, 0.5, 1e6]]}"#;
    let forged = br#"{"Id": "forged", "DequeueCount": 99, "InsertionTime": "<&>", "data": [[1, 2, 3], [-4, 0.5, 1e6]]}"#;
    let npy = npy(&[1.0, 2.0, 3.0, -4.0, 0.5, 1e6], "(2, 3)");
    let sent: [(Encoding, &[u8]); 5] = [
        (Encoding::Plain, json),
        (Encoding::Plain, forged),
        (Encoding::Base64Text, json),
        (Encoding::Base64Bytes, forged),
        (Encoding::Base64Bytes, &npy),
    ];
    for (encoding, body) in sent {
        outside.send("requests", encoding, body);
        assert_eq!(
            host.listen_stored(&inside, "score_storage_queue").await,
            Ok(())
        );
        let results = documents(&outside.take("results"));
        let [result] = &results[..] else {
            panic!("{encoding:?}: {results:?}, {:?}", outside.take("rejected"));
        };
        assert_eq!(
            result["result"],
            json!([[3.0, 5.0, 7.0], [-7.0, 2.0, 2_000_001.0]])
        );
        assert_ne!(result["id"], "forged", "{encoding:?}");
    }
    // The last is valid base64 of nothing that anyone sends.
    for body in ["größer < 1 & kein JSON", "k05V"] {
        outside.send("requests", Encoding::Plain, body.as_bytes());
        assert_eq!(
            host.listen_stored(&inside, "score_storage_queue").await,
            Ok(())
        );
        let rejected = &documents(&outside.take("rejected"))[0];
        assert_eq!(bytes(&rejected["body"]), body.as_bytes());
        assert_eq!(rejected["delivery_count"], 1);
    }
    assert_eq!(outside.take("requests-poison"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_hosts_default_a_plain_message_would_be_poison() {
    let (app, storage) = (app(), Azurite::start("queue"));
    app.edit_json("host.json", |host| {
        host["extensions"]["queues"] = json!({});
    });
    let (host, client) = stored(&app, &storage).await;
    let body = r#"{"data": [[1, 2, 3]]}"#;
    for encoding in [Encoding::Plain, Encoding::Base64Text] {
        client.send("requests", encoding, body.as_bytes());
        assert_eq!(
            host.listen_stored(&client, "score_storage_queue").await,
            Ok(())
        );
    }
    assert_eq!(client.take("requests-poison"), [body]);
    assert_eq!(client.take("results").len(), 1);
}
