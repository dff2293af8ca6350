//! Tests of the stand-in triggers themselves: this program plays a handler that obeys the messages it gets.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
            ["hold", until, ..] => wait_for_file(Path::new(until)),
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

/// The word by which a test lets a message go that says `hold`.
fn wait_for_file(file: &Path) {
    let give_up = Instant::now() + PATIENCE;
    while !file.exists() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn text(base64: &str) -> String {
    String::from_utf8(guess_base64(base64).unwrap()).unwrap()
}

fn number(text: &str) -> i64 {
    text.parse().unwrap()
}

pub(crate) fn app() -> AppFolder {
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

/// Messages that say this are in work until the file is there.
struct Hold {
    folder: tempfile::TempDir,
}

impl Hold {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("go")
    }

    fn message(&self, rest: impl Display) -> String {
        format!("hold {} {rest}", self.file().display())
    }

    fn release(&self) {
        std::fs::write(self.file(), "").unwrap();
    }
}

pub(crate) async fn listen(app: &AppFolder, cloud: &Cloud) -> Listener {
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
    let listener = listen(&app(), &cloud).await;
    let hold = Hold::new();
    for queue in ["messages", "batches"] {
        for number in 0..6 {
            send(&cloud, queue, &hold.message(number));
        }
    }
    eventually("four messages and one batch are in work", async || {
        let locked = |queue| cloud.broker.locked(queue).len();
        (locked("messages"), locked("batches")) == (4, 3) && listener.invocations() == 5
    })
    .await;
    assert_eq!(cloud.broker.waiting("messages").len(), 2);
    hold.release();
    eventually("all batches are done", async || {
        let locked = cloud.broker.locked("batches").len();
        assert!(locked <= 3, "{locked}");
        cloud.broker.counters("batches").completed == 6
    })
    .await;
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_single_messages_are_renewed_and_those_of_batches_are_not() {
    let cloud = functions::cloud(quick());
    let listener = listen(&app(), &cloud).await;
    let hold = Hold::new();
    send(&cloud, "messages", &hold.message(""));
    eventually("three renewals", async || {
        cloud.broker.counters("messages").renewed >= 3
    })
    .await;
    hold.release();
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    let single = cloud.broker.counters("messages");
    assert_eq!((single.delivered, single.expired), (1, 0));
    assert_eq!(listener.failures(), [""; 0]);

    let hold = Hold::new();
    send(&cloud, "batches", &hold.message(""));
    eventually("its lock has expired", async || {
        // Who looks makes it expire.
        let waiting = cloud.broker.waiting("batches").len();
        waiting == 1 && cloud.broker.counters("batches").expired == 1
    })
    .await;
    hold.release();
    eventually("a lost lock", async || !listener.failures().is_empty()).await;
    assert!(cloud.broker.counters("batches").lock_lost > 0);
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
    let hold = Hold::new();
    send(&cloud, "messages", &hold.message(""));
    eventually("its lock has expired", async || {
        cloud.broker.counters("messages").expired > 0
    })
    .await;
    hold.release();
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
        let (hold, before) = (Hold::new(), listener.invocations());
        send(&cloud, "messages", &hold.message(round));
        eventually("it is in work", async || {
            listener.invocations() == before + 1
        })
        .await;
        listener.supervisor().kill_child();
        hold.release();
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
    let hold = Hold::new();
    send(&cloud, "messages", &hold.message(""));
    eventually("it is in work", async || {
        cloud.broker.locked("messages").len() == 1
    })
    .await;
    drop(first);
    hold.release();
    let _second = listen(&app, &cloud).await;
    cloud.broker.wait_until_empty("messages", PATIENCE).await;
    let counters = cloud.broker.counters("messages");
    assert_eq!((counters.expired, counters.abandoned), (1, 0));
    assert_eq!(texts(&cloud, "results"), [hold.message("")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_timeout_kills_the_child_with_all_it_works_on() {
    let app = app();
    app.edit_json("host.json", |host| {
        host["functionTimeout"] = "00:00:01".into()
    });
    let cloud = functions::cloud(EntityOptions::default().max_delivery_count(1));
    let listener = listen(&app, &cloud).await;
    send(&cloud, "messages", &Hold::new().message(""));
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
