//! Messages and blobs through the stand-in: the envelopes that the handler gets, and what becomes of its answers.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Map, Value};

use super::{assert_requests, replay_all, start};
use functions_host::PATIENCE;
use functions_host::broker::EntityOptions;
use functions_host::cloud::Cloud;
use functions_host::listener::Listener;
use functions_host::recorder::Recorder;
use functions_host::recording::{Recording, Request, bytes};
use functions_host::triggers::ServiceBusMessage;

const QUEUES: [&str; 6] = [
    "score",
    "score-string",
    "score-many",
    "score-ret",
    "score-results",
    "score-rejected",
];

/// What came out: the place and the bytes, in order of the places.
type Outputs = Vec<(String, String)>;

#[tokio::test]
async fn messages_and_blobs_come_in_the_envelopes_of_the_host() {
    replay("envelope").await;
}

#[tokio::test]
async fn values_of_outputs_become_what_the_host_makes_of_them() {
    replay("outputs").await;
}

#[tokio::test]
async fn answers_complete_fail_and_hang_as_in_the_host() {
    replay("answers").await;
}

#[tokio::test]
async fn tries_come_as_often_as_from_the_host_and_without_delay() {
    for case in [
        "blob-retries",
        "service-bus-retries",
        "storage-queue-retries",
    ] {
        let recording = Recording::case("lifecycle", case);
        let began = Instant::now();
        compare(&recording, 10).await.unwrap();
        // Milliseconds on a machine at rest; a delay between tries would be seconds.
        assert!(began.elapsed() < PATIENCE / 4, "{case}");
    }
}

async fn replay(group: &str) {
    let recordings = Recording::group(group).into_iter();
    let of_triggers = recordings.filter(|recording| !recording.member("trigger").is_null());
    replay_all(group, of_triggers, async |recording| {
        compare(&recording, 1).await
    })
    .await;
}

async fn compare(recording: &Recording, deliveries: i64) -> Result<(), String> {
    let (host, recorder) = start(recording, "forwarding").await;
    let cloud = Cloud::default();
    let options = EntityOptions::default().max_delivery_count(deliveries);
    for queue in QUEUES {
        cloud.broker.create_queue(queue, options);
    }
    cloud
        .broker
        .create_topic("score-topic", &["scorer"], options);
    let triggers: Vec<&Value> = as_list(recording.member("trigger")).collect();
    // A batch has to be there when the host starts; other messages come one after the other, as the recorded answers.
    let requests = recording.requests();
    let is_batch = triggers.len() > 1 && requests.len() == 1;
    let (early, late) = triggers.split_at(if is_batch { triggers.len() } else { 0 });
    early.iter().for_each(|trigger| put(&cloud, trigger));
    let listener = Listener::start(host, &cloud);
    for (index, trigger) in late.iter().enumerate() {
        put(&cloud, trigger);
        if !requests.is_empty() {
            recorder.wait_for_requests(index + 1).await;
        }
    }
    let recorded: Outputs = sorted(as_list(recording.member("outputs")).map(output));
    settle(&listener, &recorder, &cloud, &requests, &recorded).await;
    let by_target = |mut requests: Vec<Request>| {
        requests.sort_by(|one, other| target(one).cmp(target(other)));
        requests
    };
    assert_requests(
        recording.name(),
        &by_target(recorder.requests()),
        &by_target(requests),
    )?;
    let got = outputs(&cloud);
    match got == recorded {
        true => Ok(()),
        false => Err(format!(
            "{}: came out {got:?} instead of {recorded:?}; failed: {:?}",
            recording.name(),
            listener.failures()
        )),
    }
}

/// Waits for what was recorded; nothing else may come within a moment.
async fn settle(
    listener: &Listener,
    recorder: &Recorder,
    cloud: &Cloud,
    requests: &[Request],
    recorded: &Outputs,
) {
    let deadline = Instant::now() + PATIENCE;
    let is_there = || {
        let done = listener.succeeded() + listener.failures().len();
        recorder.requests().len() >= requests.len()
            && done >= requests.len()
            && outputs(cloud) == *recorded
    };
    while !is_there() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn target(request: &Request) -> &str {
    request.head.split("\r\n").next().unwrap_or_default()
}

fn as_list(value: &Value) -> impl Iterator<Item = &Value> {
    let items = value
        .as_array()
        .map_or_else(|| std::slice::from_ref(value), |items| items.as_slice());
    items.iter().filter(|item| !item.is_null())
}

fn put(cloud: &Cloud, trigger: &Value) {
    let place = trigger["where"].as_str().unwrap();
    let body = bytes(trigger, "body").unwrap();
    match trigger["kind"].as_str().unwrap() {
        "service bus message" => {
            let text = |name: &str| trigger[name].as_str().map(str::to_owned);
            let message = ServiceBusMessage {
                message_id: text("message_id").unwrap(),
                content_type: text("content_type"),
                subject: text("subject"),
                correlation_id: text("correlation_id"),
                application_properties: trigger["properties"]
                    .as_object()
                    .unwrap_or(&Map::new())
                    .clone(),
                ..ServiceBusMessage::new(body)
            };
            cloud.broker.send(place, message).unwrap();
        }
        kind if kind.starts_with("blob") => drop(cloud.blobs.put(place, body)),
        _ => cloud.queues.put(place, body).unwrap(),
    }
}

fn sorted(outputs: impl Iterator<Item = (String, String)>) -> Outputs {
    let mut outputs: Outputs = outputs.collect();
    // Messages of one queue keep their order.
    outputs.sort_by(|one, other| one.0.cmp(&other.0));
    outputs
}

/// An output as recorded. The order of bytes that are not UTF-8 is compared in their hexadecimal form.
fn output(recorded: &Value) -> (String, String) {
    let place = recorded["where"].as_str().unwrap().to_owned();
    (
        place,
        readable(&bytes(recorded, "body").unwrap_or_default()),
    )
}

fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.replace("0x8D4BCC2E4835CD0", "ETAG"),
        Err(_) => format!("{bytes:02x?}"),
    }
}

fn outputs(cloud: &Cloud) -> Outputs {
    let mut outputs = Outputs::new();
    for queue in QUEUES {
        let is_result = queue.starts_with("score-re") && queue != "score-ret";
        for message in cloud.broker.waiting(queue).iter().filter(|_| is_result) {
            outputs.push((
                format!("service bus queue {queue}"),
                readable(&message.body),
            ));
        }
        for letter in cloud.broker.dead_letters(queue) {
            let place = format!("service bus queue {queue}/$deadletterqueue");
            outputs.push((place, readable(&letter.message.body)));
        }
    }
    for queue in cloud.queues.names() {
        if queue.ends_with("-results") || queue.ends_with("-poison") {
            for message in cloud.queues.messages(&queue) {
                let body = mask_etag(&message.body);
                outputs.push((format!("storage queue {queue}"), body));
            }
        }
    }
    for container in ["scored", "rejected", "outblob"] {
        for name in cloud.blobs.names(container) {
            let place = format!("{container}/{name}");
            let blob = cloud.blobs.get(&place).unwrap();
            outputs.push((format!("blob {place}"), readable(&blob.content)));
        }
    }
    sorted(outputs.into_iter())
}

/// The note about a blob that failed names its version.
fn mask_etag(body: &[u8]) -> String {
    static FORM: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"\\"0x[0-9A-F]+\\""#).unwrap());
    let text = readable(body);
    FORM.replace(&text, r#"\"ETAG\""#).into_owned()
}
