//! Tests of the stand-in triggers themselves: this program plays a handler that obeys the messages it gets.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::host::play_handler;
use functions_host::app_folder::AppFolder;
use functions_host::broker::EntityOptions;
use functions_host::cloud::Cloud;
use functions_host::encoding::base64;
use functions_host::functions;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::listener::Listener;
use functions_host::outputs::guess_base64;
use functions_host::supervisor::State;
use functions_host::triggers::ServiceBusMessage;
use functions_host::{PATIENCE, eventually};

const POISON: &str = "webjobs-blobtrigger-poison";

/// The handler of the other tests; passes at once if it was given no port.
#[test]
fn plays_an_obedient_handler() {
    play_handler(|target, _, body| obey(target, body));
}

/// Does what the bodies of the messages or the blob say, and answers with them.
fn obey(target: &str, body: &[u8]) -> (u16, Option<Value>) {
    if target == "/" {
        return (200, Some(json!({})));
    }
    let envelope: Value = serde_json::from_slice(body).unwrap();
    let data = envelope["Data"].as_object().unwrap().values().next();
    let data = data.unwrap().as_str().unwrap();
    let count = |name: &str| -> i64 {
        let text = envelope["Metadata"][name].as_str();
        text.map_or(0, |text| text.parse().unwrap())
    };
    let deliveries = count("DeliveryCount").max(count("DequeueCount"));
    let bodies: Vec<String> = match target {
        "/scoreText" | "/scoreStored" => vec![serde_json::from_str(data).unwrap()],
        "/scoreBatch" => {
            let items: Vec<String> = serde_json::from_str(data).unwrap();
            items.iter().map(|item| text(item)).collect()
        }
        _ => vec![text(data)],
    };
    for body in &bodies {
        match body.split(' ').collect::<Vec<_>>()[..] {
            ["fail", ..] => return (500, Some(json!({}))),
            ["fail-before", delivery] if deliveries < number(delivery) => {
                return (500, Some(json!({})));
            }
            ["exit", code] => std::process::exit(number(code) as i32),
            ["exit-at", delivery, code] if deliveries == number(delivery) => {
                std::process::exit(number(code) as i32)
            }
            ["sleep", millis, ..] => {
                std::thread::sleep(Duration::from_millis(number(millis) as u64));
            }
            _ => {}
        }
    }
    let is_bad = |body: &&String| body.starts_with("bad");
    let outputs = match target {
        "/scoreBlob" if bodies[0].starts_with("bad") => json!({"rejected": base64(b"no")}),
        "/scoreBlob" => json!({ "scored": data }),
        _ => {
            let (bad, good): (Vec<&String>, Vec<&String>) = bodies.iter().partition(is_bad);
            json!({"result": good, "rejected": bad})
        }
    };
    (200, Some(json!({ "Outputs": outputs })))
}

fn text(base64: &str) -> String {
    String::from_utf8(guess_base64(base64).unwrap()).unwrap()
}

fn number(text: &str) -> i64 {
    text.parse().unwrap()
}

fn app() -> AppFolder {
    let app = AppFolder::bare();
    let program = std::env::current_exe().unwrap();
    let arguments = [
        "listener::plays_an_obedient_handler",
        "--exact",
        "--nocapture",
    ];
    let host = json!({
        "version": "2.0",
        "customHandler": {"description": {"defaultExecutablePath": program, "arguments": arguments}},
        "extensions": {"serviceBus": {"maxConcurrentCalls": 4, "maxMessageBatchSize": 3}},
    });
    app.write("host.json", host.to_string());
    functions::add_functions(&app);
    app
}

/// Locks that expire while a test waits for it, and not because the machine is busy.
fn quick() -> EntityOptions {
    EntityOptions::default().lock_duration(Duration::from_secs(1))
}

async fn listen(app: &AppFolder, cloud: &Cloud) -> Listener {
    let host = FunctionsHost::start(app, HostOptions::default()).await;
    Listener::start(host, cloud)
}

fn send(cloud: &Cloud, queue: &str, body: &str) {
    let message = ServiceBusMessage::new(body);
    cloud.broker.send(queue, message).unwrap();
}

fn texts(cloud: &Cloud, queue: &str) -> Vec<String> {
    let messages = cloud.broker.waiting(queue);
    messages.iter().map(ServiceBusMessage::text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_through_to_the_outputs_and_are_completed() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(), &cloud).await;
    for queue in ["messages", "texts", "batches", "requests"] {
        send(&cloud, queue, &format!("from {queue}"));
    }
    send(&cloud, "messages", "bad");
    for queue in [
        "messages",
        "texts",
        "batches",
        "requests/subscriptions/scorer",
    ] {
        cloud.broker.wait_until_empty(queue, PATIENCE).await;
        assert!(cloud.broker.counters(queue).completed > 0, "{queue}");
    }
    let mut results = texts(&cloud, "results");
    results.sort();
    let expected = [
        "from batches",
        "from messages",
        "from requests",
        "from texts",
    ];
    assert_eq!(results, expected);
    assert_eq!(texts(&cloud, "rejected"), ["bad"]);
    let written = cloud.broker.waiting("results").remove(0);
    assert_eq!(written.content_type.as_deref(), Some("text/plain"));
    assert_eq!(listener.failures(), [""; 0]);
    assert_eq!(listener.invocations(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_message_burns_its_deliveries_at_once_and_becomes_a_dead_letter() {
    let cloud = functions::cloud(EntityOptions::default().max_delivery_count(4));
    let listener = listen(&app(), &cloud).await;
    send(&cloud, "messages", "fail");
    send(&cloud, "messages", "fail-before 4");
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    let dead = cloud.broker.dead_letters("messages");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].message.text(), "fail");
    assert_eq!(dead[0].reason, "MaxDeliveryCountExceeded");
    assert_eq!(texts(&cloud, "results"), ["fail-before 4"]);
    assert_eq!(listener.failures().len(), 7);
    assert!(listener.failures()[0].starts_with("scoreMessage: status 500"));
    assert_eq!(cloud.broker.counters("messages").abandoned, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_output_fails_the_invocation_although_it_was_answered_well() {
    let cloud = functions::cloud(EntityOptions::default());
    cloud.broker.refuse_sends("results", 2);
    let listener = listen(&app(), &cloud).await;
    send(&cloud, "messages", "a");
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    assert_eq!(texts(&cloud, "results"), ["a"]);
    let expected = "scoreMessage: output result: results: ServiceBusy";
    assert_eq!(listener.failures(), [expected, expected]);
    assert_eq!(cloud.broker.counters("messages").delivered, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_completed_or_abandoned_as_a_whole() {
    let cloud = functions::cloud(EntityOptions::default().max_delivery_count(2));
    for body in ["a", "b", "fail", "c", "d"] {
        send(&cloud, "batches", body);
    }
    let listener = listen(&app(), &cloud).await;
    cloud.broker.wait_until_empty("batches", PATIENCE).await;
    // three at a time: the first batch fails twice and takes its company along
    let dead = cloud.broker.dead_letters("batches");
    let dead: Vec<String> = dead.iter().map(|dead| dead.message.text()).collect();
    assert_eq!(dead, ["a", "b", "fail"]);
    assert_eq!(texts(&cloud, "results"), ["c", "d"]);
    assert_eq!(listener.invocations(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_go_one_at_a_time_and_single_messages_side_by_side() {
    let cloud = functions::cloud(EntityOptions::default());
    let _listener = listen(&app(), &cloud).await;
    for queue in ["messages", "batches"] {
        for number in 0..6 {
            send(&cloud, queue, &format!("sleep 400 {number}"));
        }
    }
    eventually("all hands busy", async || {
        cloud.broker.locked("messages").len() == 4
    })
    .await;
    assert_eq!(cloud.broker.waiting("messages").len(), 2);
    for _ in 0..20 {
        assert!(cloud.broker.locked("batches").len() <= 3);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cloud.broker.wait_until_empty("batches", PATIENCE).await;
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_single_messages_are_renewed_and_those_of_batches_are_not() {
    let cloud = functions::cloud(quick());
    let listener = listen(&app(), &cloud).await;
    send(&cloud, "messages", "sleep 4000");
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    let single = cloud.broker.counters("messages");
    assert_eq!((single.delivered, single.expired), (1, 0));
    assert!(single.renewed >= 3, "{single:?}");
    assert_eq!(listener.failures(), [""; 0]);

    send(&cloud, "batches", "sleep 2000");
    eventually("a lost lock", async || !listener.failures().is_empty()).await;
    assert!(cloud.broker.counters("batches").lock_lost > 0);
    assert!(cloud.broker.counters("batches").expired > 0);
    assert_eq!(cloud.broker.counters("batches").renewed, 0);
    assert!(listener.failures()[0].contains("the lock of message"));
    assert!(!texts(&cloud, "results").is_empty(), "written all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_ends_after_its_time() {
    let cloud = functions::cloud(quick());
    let app = app();
    app.edit_json("host.json", |host| {
        host["extensions"]["serviceBus"]["maxAutoLockRenewalDuration"] = "00:00:01.4".into();
    });
    let _listener = listen(&app, &cloud).await;
    send(&cloud, "messages", "sleep 6000");
    eventually("a lost lock", async || {
        cloud.broker.counters("messages").lock_lost > 0
    })
    .await;
    assert!(cloud.broker.counters("messages").renewed >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_order_behind_a_message_that_fails() {
    let cloud = functions::cloud(EntityOptions::default());
    for (session, body) in [("s", "fail-before 3"), ("s", "b"), ("t", "x"), ("s", "c")] {
        let message = ServiceBusMessage::new(body).in_session(session);
        cloud.broker.send("sessions", message).unwrap();
    }
    let _listener = listen(&app(), &cloud).await;
    cloud.broker.wait_until_empty("sessions", PATIENCE).await;
    let mut results = texts(&cloud, "results");
    results.retain(|result| result != "x");
    assert_eq!(results, ["fail-before 3", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_child_is_started_again_and_its_messages_come_again() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(), &cloud).await;
    for round in 0..4 {
        send(&cloud, "messages", &format!("sleep 300 {round}"));
        eventually("it is in work", async || {
            cloud.broker.locked("messages").len() == 1
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        listener.supervisor().kill_child();
        cloud.broker.wait_until_empty("messages", PATIENCE).await;
        assert_eq!(listener.failures().len(), round + 1);
        assert_eq!(texts(&cloud, "results").len(), round + 1);
    }
    assert_eq!(listener.supervisor().restarts(), 4);
    assert_eq!(cloud.broker.counters("messages").delivered, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_crash_stops_the_host_and_messages_stay() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(), &cloud).await;
    send(&cloud, "messages", "exit 3");
    let reason = listener.supervisor().wait_stopped(2 * PATIENCE).await;
    assert!(reason.contains("retry count"), "{reason}");
    assert_eq!(listener.supervisor().restarts(), 2);
    let http = listener.supervisor().initialized().await;
    assert!(http.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_counts_as_a_crash_and_exit_code_200_does_not() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(), &cloud).await;
    for delivery in 1..=3 {
        send(&cloud, "messages", "exit-at 1 200");
        cloud.broker.wait_until_empty("messages", PATIENCE).await;
        assert_eq!(listener.supervisor().restarts(), delivery);
    }
    for restarts in 4..=5 {
        listener.supervisor().signal_child(Signal::SIGABRT);
        eventually("restarted", async || {
            listener.supervisor().restarts() == restarts
                && listener.supervisor().state() == State::Initialized
        })
        .await;
    }
    listener.supervisor().signal_child(Signal::SIGABRT);
    listener.supervisor().wait_stopped(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_0_leaves_a_host_without_a_child() {
    let cloud = functions::cloud(EntityOptions::default().max_delivery_count(3));
    let listener = listen(&app(), &cloud).await;
    send(&cloud, "messages", "exit 0");
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    assert_eq!(cloud.broker.dead_letters("messages").len(), 1);
    assert_eq!(listener.supervisor().restarts(), 0);
    let last = listener.failures().pop().unwrap();
    assert!(last.contains("cannot connect"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_dead_host_expire_and_the_next_host_gets_the_messages() {
    let cloud = functions::cloud(quick());
    let app = app();
    let first = listen(&app, &cloud).await;
    send(&cloud, "messages", "sleep 100");
    eventually("it is in work", async || {
        cloud.broker.locked("messages").len() == 1
    })
    .await;
    drop(first);
    let _second = listen(&app, &cloud).await;
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    let counters = cloud.broker.counters("messages");
    assert_eq!((counters.expired, counters.abandoned), (1, 0));
    assert_eq!(texts(&cloud, "results"), ["sleep 100"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_timeout_kills_the_child_with_all_it_works_on() {
    let app = app();
    app.edit_json("host.json", |host| {
        host["functionTimeout"] = "00:00:01".into()
    });
    let cloud = functions::cloud(EntityOptions::default().max_delivery_count(1));
    let listener = listen(&app, &cloud).await;
    send(&cloud, "messages", "sleep 5000");
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    assert_eq!(cloud.broker.dead_letters("messages").len(), 1);
    assert!(listener.failures()[0].contains("Timeout value"));
    eventually("restarted", async || listener.supervisor().restarts() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_whose_app_setting_is_missing_is_left_out() {
    let app = app();
    app.edit_json("scoreMessage/function.json", |function| {
        function["bindings"][0]["queueName"] = "%QUEUE%".into();
    });
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app, &cloud).await;
    let expected = "scoreMessage: '%QUEUE%' does not resolve to a value.";
    assert_eq!(listener.not_indexed(), [expected]);
    let host = FunctionsHost::start(&app, [("QUEUE", "messages")]).await;
    let listener = Listener::start(host, &cloud);
    assert!(listener.not_indexed().is_empty());
    send(&cloud, "messages", "a");
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_messages_are_tried_five_times_and_then_poison() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(), &cloud).await;
    for body in ["a", "fail", "fail-before 5", "bad"] {
        cloud.queues.put("stored", body).unwrap();
    }
    eventually("all is done", async || {
        cloud.queues.messages("stored").is_empty()
    })
    .await;
    let texts = |queue: &str| -> Vec<String> {
        let messages = cloud.queues.messages(queue);
        messages.iter().map(|message| message.text()).collect()
    };
    let mut results = texts("stored-results");
    results.sort();
    assert_eq!(results, ["a", "fail-before 5"]);
    assert_eq!(texts("stored-rejected"), ["bad"]);
    assert_eq!(texts("stored-poison"), ["fail"]);
    assert_eq!(listener.failures().len(), 9);
}

fn make_polling(app: &AppFolder) {
    app.edit_json("scoreBlob/function.json", |function| {
        let trigger = function["bindings"][0].as_object_mut().unwrap();
        trigger.remove("source");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_handled_once_per_version_from_both_sources() {
    for is_polling in [false, true] {
        let app = app();
        if is_polling {
            make_polling(&app);
        }
        let cloud = functions::cloud(EntityOptions::default());
        let first = cloud.blobs.put("inbox/a b", "one");
        cloud.blobs.put("inbox/c", "bad");
        let listener = listen(&app, &cloud).await;
        let has = |path: &str, content: &[u8]| {
            let blob = cloud.blobs.get(path);
            blob.is_some_and(|blob| blob.content == content)
        };
        eventually("scored", async || has("results/a b.json", b"one")).await;
        eventually("rejected", async || has("rejected/c.json", b"no")).await;
        cloud.blobs.repeat_event(&first);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(listener.invocations(), 2, "not again");
        cloud.blobs.put("inbox/a b", "two");
        eventually("scored again", async || has("results/a b.json", b"two")).await;
        drop(listener);
        let listener = listen(&app, &cloud).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(listener.invocations(), 0, "receipts outlive the host");
        assert_eq!(cloud.blobs.names("results"), ["a b.json"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_blob_is_tried_five_times_and_named_in_the_poison_queue() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(), &cloud).await;
    let version = cloud.blobs.put("inbox/x", "fail");
    eventually("poison", async || !cloud.queues.messages(POISON).is_empty()).await;
    assert_eq!(listener.invocations(), 5);
    let note = cloud.queues.messages(POISON).remove(0).text();
    let note: Value = serde_json::from_str(&note).unwrap();
    assert_eq!(note["ContainerName"], "inbox");
    assert_eq!(note["BlobName"], "x");
    assert_eq!(note["ETag"], version.etag);
    assert!(cloud.blobs.get("inbox/x").is_some(), "it stays");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(listener.invocations(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_into_the_watched_container_triggers_again() {
    let app = app();
    app.edit_json("scoreBlob/function.json", |function| {
        function["bindings"][1]["path"] = "inbox/{name}x".into();
    });
    let cloud = functions::cloud(EntityOptions::default());
    let _listener = listen(&app, &cloud).await;
    cloud.blobs.put("inbox/a", "one");
    eventually("a chain", async || cloud.blobs.names("inbox").len() > 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_gone_or_was_replaced_is_skipped() {
    let (app, cloud) = (app(), functions::cloud(EntityOptions::default()));
    cloud.blobs.put("inbox/gone", "fail");
    cloud.blobs.put("inbox/new", "fail");
    cloud.blobs.delete("inbox/gone");
    cloud.blobs.put("inbox/new", "two");
    let listener = listen(&app, &cloud).await;
    eventually("scored", async || !cloud.blobs.names("results").is_empty()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(listener.failures(), [""; 0]);
    assert_eq!(cloud.blobs.names("results"), ["new.json"]);
}
