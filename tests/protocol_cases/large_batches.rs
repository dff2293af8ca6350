//! Batches that are large or slow in sum: they are done, in bounded memory and before their messages are given up.
//!
//! Sizes are an eighth of those that the default limits are for, and so are the limits: 32 messages of 3 MB, 1,000 of
//! 256 KB, one of 40 MB among 31 small ones. Times are as 32 messages of 3 to 4 seconds each to the default of 45 seconds.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scoring_app::{app, original};
use super::{figure, test_model};
use crate::support::app_root::AppRoot;
use functions_host::PATIENCE;
use functions_host::broker::EntityOptions;
use functions_host::functions::cloud;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::http1::{self, RawConnection};
use functions_host::invoke::{InvocationOutcome, Transport};
use functions_host::listener::Listener;
use functions_host::triggers::{self, ServiceBusMessage};

const KB: usize = 1000;
const MB: usize = 1000 * KB;
/// What sizes and limits are divided by.
const SCALE: usize = 8;
/// The defaults, scaled.
const MAX_BODY: usize = (32 << 20) / SCALE;
const MAX_WAITING: usize = (256 << 20) / SCALE;

fn limits() -> HostOptions {
    HostOptions::default()
        .setting("SCORE_MAX_BODY_BYTES", MAX_BODY.to_string())
        .setting("SCORE_MAX_WAITING_BYTES", MAX_WAITING.to_string())
}

/// A message for `affine`, filled with blanks.
fn message(number: usize, bytes: usize) -> ServiceBusMessage {
    let mut body = format!(r#"{{"data":[[{number},0,0]]}}"#).into_bytes();
    body.resize(bytes.max(body.len()), b' ');
    ServiceBusMessage::new(body).with_id(&format!("m-{number}"))
}

fn messages(count: usize, bytes: usize) -> Vec<ServiceBusMessage> {
    (0..count).map(|number| message(number, bytes)).collect()
}

async fn deliver(
    host: &FunctionsHost,
    messages: &[ServiceBusMessage],
) -> Result<InvocationOutcome, String> {
    host.deliver("scoreBatch", messages, Transport::Chunked)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sum_of_bytes_fails_a_batch() {
    let host = FunctionsHost::start(&app(&["affine"]), limits()).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let before = host.peak_memory();
    for (count, bytes) in [(32, 3 * MB / SCALE), (1000, 256 * KB / SCALE)] {
        let outcome = deliver(&host, &messages(count, bytes)).await.unwrap();
        let results = outcome.messages("result");
        assert_eq!(results.len(), count);
        for (number, result) in results.iter().enumerate() {
            assert_eq!(result["id"], format!("m-{number}"));
            assert_eq!(
                result["result"],
                json!([[2.0 * number as f64 + 1.0, 1.0, 1.0]])
            );
        }
        assert!(!outcome.outputs.contains_key("rejected"));
    }
    let grown = host.peak_memory().saturating_sub(before);
    assert!(grown < 2 * MAX_WAITING, "{grown} bytes more");
    assert_eq!(figure(&host, "score_body_bytes_in_use").await, 0);

    let mut mixed = messages(32, 100);
    mixed[7] = message(7, 40 * MB / SCALE);
    let outcome = deliver(&host, &mixed).await.unwrap();
    assert_eq!(outcome.messages("result").len(), 31);
    let rejected = &outcome.messages("rejected")[0];
    assert_eq!(rejected["id"], "m-7");
    assert_eq!(rejected["reason"]["code"], "too_large");
    assert_eq!(original(rejected), mixed[7].body);
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_not_even_all_room_would_hold_is_an_error_that_names_the_cure() {
    let host = FunctionsHost::start(&app(&["affine"]), limits()).await;
    let batch = messages(12, MAX_WAITING / 10);
    let failed = deliver(&host, &batch).await.unwrap_err();
    assert!(failed.contains("status 413"), "{failed}");
    let said = host
        .wait_for_log("SCORE_MAX_WAITING_BYTES", PATIENCE)
        .await
        .text;
    assert!(said.contains("maxMessageBatchSize in host.json"), "{said}");
    assert_eq!(
        deliver(&host, &batch[..9])
            .await
            .unwrap()
            .messages("result")
            .len(),
        9
    );
}

/// A connection that has sent the first half of a batch, and the rest of it.
async fn half_sent(host: &FunctionsHost, batch: &[ServiceBusMessage]) -> (RawConnection, Vec<u8>) {
    let function = host.config().function("scoreBatch").unwrap();
    let envelope = triggers::batch(function, batch).unwrap();
    let envelope = json!({"Data": envelope.data, "Metadata": envelope.metadata}).to_string();
    let address = format!("127.0.0.1:{}", host.port());
    let headers = [
        ("Host", address.as_str()),
        ("Content-Type", "application/json"),
        ("Transfer-Encoding", "chunked"),
    ];
    let mut all = http1::head("POST", "/scoreBatch", &headers);
    all.extend(http1::chunked(envelope.as_bytes()));
    let rest = all.split_off(all.len() / 2);
    let connection = RawConnection::open(host.port()).await.unwrap();
    // The second one is not read any further until the first one has come.
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.send(&all)).await;
    (connection, rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn half_read_batches_do_not_wait_for_each_other() {
    let host = FunctionsHost::start(&app(&["affine"]), limits()).await;
    // Together they are larger than all the room, and so are three halves.
    let batch = messages(32, MAX_WAITING / 40);
    let (first, rest) = half_sent(&host, &batch).await;
    let (others, small) = (
        async {
            let deliver = || deliver(&host, &batch);
            tokio::join!(deliver(), deliver(), deliver())
        },
        messages(3, 100),
    );
    let finish = async {
        // A small one passes the half-read one by.
        let outcome = deliver(&host, &small).await.unwrap();
        assert_eq!(outcome.messages("result").len(), 3);
        first.send(&rest).await.unwrap();
        first.read_response(false).await.unwrap().answer
    };
    let ((a, b, c), answer) = tokio::join!(others, finish);
    answer.expect_status(200);
    for outcome in [a, b, c] {
        assert_eq!(outcome.unwrap().messages("result").len(), 32);
    }
}

/// A model that takes 40 ms for each run, one row at a time.
fn slow_app(is_memoized: bool) -> AppRoot {
    let app = app(&[]);
    let options = format!("memoize = {is_memoized}\n");
    app.add_model("slow", test_model("slow"), Some(&options));
    app
}

fn one_at_a_time() -> HostOptions {
    HostOptions::default()
        .setting("SCORE_SESSIONS", "1")
        .setting("SCORE_MAX_BATCH_ROWS", "1")
}

/// What a message for the slow model takes here at least: machines differ.
async fn least_time_of_a_message() -> Duration {
    let host = FunctionsHost::start(&slow_app(false), one_at_a_time()).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let message = [ServiceBusMessage::new(r#"{"data":[[0,1,2,3]]}"#)];
    let mut least = Duration::MAX;
    for _ in 0..9 {
        let start = Instant::now();
        deliver(&host, &message).await.unwrap();
        least = least.min(start.elapsed());
    }
    least
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sum_of_seconds_sends_messages_to_the_dead_letters() {
    // Too little for 32 messages, however idle the machine becomes; in ten deliveries enough for them, however busy.
    let time = format!("{}ms", 16 * least_time_of_a_message().await.as_millis());
    for is_memoized in [true, false] {
        let options = one_at_a_time().setting("SCORE_MESSAGE_BATCH_TIMEOUT", &time);
        let host = FunctionsHost::start(&slow_app(is_memoized), options).await;
        host.wait_for_log("model loaded", PATIENCE).await;
        let cloud = cloud(EntityOptions::default());
        for number in 0..32 {
            let body = json!({"data": [[number, 1, 2, 3]]}).to_string();
            let message = ServiceBusMessage::new(body).with_id(&format!("m-{number}"));
            cloud.broker.send("batches", message).unwrap();
        }
        let listener = Listener::start(host, &cloud);
        cloud.broker.wait_until_empty("batches", PATIENCE).await;
        let dead = cloud.broker.dead_letters("batches");
        assert!(
            dead.is_empty(),
            "{} dead: {:?}",
            dead.len(),
            listener.failures()
        );
        assert_eq!(cloud.broker.waiting("results").len(), 32, "{is_memoized}");
        assert_eq!(cloud.broker.waiting("rejected").len(), 0, "{is_memoized}");
        // It came back, and each delivery got further.
        assert!(cloud.broker.counters("batches").abandoned >= 32);
        let said = listener
            .host()
            .wait_for_log("SCORE_MESSAGE_BATCH_TIMEOUT", PATIENCE)
            .await
            .text;
        assert!(
            said.contains(r#"\"cardinality\": \"one\""#)
                || said.contains(r#""cardinality": "one""#),
            "{said}"
        );
        assert!(said.contains("maxMessageBatchSize of "), "{said}");
    }
}
