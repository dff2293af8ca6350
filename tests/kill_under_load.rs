//! The handler under load with a full queue: killed again and again, and asked for its health all the time.
//!
//! A program of its own, so that no other test takes the processors away meanwhile.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing expectation is what a test is for"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use functions_host::PATIENCE;
use functions_host::broker::EntityOptions;
use functions_host::cloud::Cloud;
use functions_host::functions;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::listener::Listener;
use functions_host::outputs::guess_base64;
use functions_host::triggers::ServiceBusMessage;
use support::app_root::{AppRoot, repository};
use support::digits::Digits;
use support::redis::RedisServer;

const MESSAGES: usize = 10_000;
const KILLS: usize = 20;
const PROBE_PAUSE: Duration = Duration::from_millis(5);
const MINUTES_5: Duration = Duration::from_secs(300);

/// An unoptimised handler takes ten times as long for a body, during which nothing else gets its thread, and the machine
/// may be busy with other things: only `make test-load` is strict.
const SLOWNESS: u32 = if cfg!(debug_assertions) { 50 } else { 1 };

/// One test at a time has the machine.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What has to become of a message.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Scored { model: &'static str, result: Value },
    Rejected { code: &'static str },
}

/// The messages in the order in which they are sent, and the fate of each id.
struct Plan {
    messages: Vec<ServiceBusMessage>,
    fates: BTreeMap<String, Fate>,
}

impl Plan {
    /// Mostly numbers for `affine`, a tenth digits for `mnist`, a twentieth bad in several ways, one in a hundred sent
    /// twice: as the same message again, or as another one with the same body.
    fn new(count: usize) -> Self {
        let digits = Digits::load();
        let mut plan = Self {
            messages: Vec::new(),
            fates: BTreeMap::new(),
        };
        for number in 0..count {
            let (body, fate) = match number % 100 {
                7 => bad(b"not JSON".to_vec(), "invalid_input"),
                27 => bad(br#"{"data":[[1,2]]}"#.to_vec(), "invalid_input"),
                47 => bad(Vec::new(), "invalid_input"),
                67 => bad(vec![0xff, 0, 0x80], "invalid_input"),
                87 => bad(br#"{"data":[[1,2,3]]}"#.to_vec(), "unknown_model"),
                n if n % 10 == 0 => {
                    let row = (number / 10) % 100;
                    let result = digits.answer([row]);
                    let model = "mnist";
                    (digits.body([row]), Fate::Scored { model, result })
                }
                _ => {
                    let x = number as f64;
                    let body = json!({ "data": [[x, -x, x / 2.0]] }).to_string();
                    let result = json!([[2.0 * x + 1.0, 1.0 - 2.0 * x, x + 1.0]]);
                    let model = "affine";
                    (body.into_bytes(), Fate::Scored { model, result })
                }
            };
            let id = format!("m-{number}");
            let mut message = ServiceBusMessage::new(body).with_id(&id);
            match &fate {
                Fate::Scored { model: "mnist", .. } => {
                    message = message.with_property("model", "mnist");
                }
                Fate::Rejected {
                    code: "unknown_model",
                } => message = message.with_property("model", "nowhere"),
                _ => {}
            }
            if number % 200 == 33 {
                plan.messages.push(message.clone());
            }
            if number % 200 == 133 {
                let other = format!("m-{number}-copy");
                plan.fates.insert(other.clone(), fate.clone());
                plan.messages.push(message.clone().with_id(&other));
            }
            plan.fates.insert(id, fate);
            plan.messages.push(message);
        }
        plan
    }
}

fn bad(body: Vec<u8>, code: &'static str) -> (Vec<u8>, Fate) {
    (body, Fate::Rejected { code })
}

fn app() -> AppRoot {
    let app = AppRoot::with_sample();
    let affine = repository().join("tests/data/models/affine.onnx");
    app.add_model("affine", affine, None);
    functions::add_functions(&app);
    app
}

fn affine_by_default() -> HostOptions {
    HostOptions::default().setting("SCORE_DEFAULT_MODEL", "affine")
}

/// The fates that the output queues show; what came more than once came the same each time.
fn fates(cloud: &Cloud, plan: &Plan) -> BTreeMap<String, Fate> {
    let bodies: BTreeMap<&str, &[u8]> = plan
        .messages
        .iter()
        .map(|message| (message.message_id.as_str(), message.body.as_slice()))
        .collect();
    let mut found = BTreeMap::new();
    for queue in ["results", "rejected"] {
        for message in cloud.broker.waiting(queue) {
            let document: Value = serde_json::from_slice(&message.body).unwrap();
            let id = document["id"].as_str().expect("an id").to_owned();
            let fate = match queue {
                "results" => scored(&document, &plan.fates[&id]),
                _ => {
                    let kept = guess_base64(document["body"].as_str().unwrap()).unwrap();
                    assert_eq!(kept, bodies[id.as_str()], "{id}");
                    refused(&document)
                }
            };
            let before = found.insert(id.clone(), fate.clone());
            assert!(before.is_none_or(|before| before == fate), "{id}");
        }
    }
    found
}

fn scored(document: &Value, expected: &Fate) -> Fate {
    let model = match document["model"].as_str() {
        Some("affine") => "affine",
        Some("mnist") => "mnist",
        other => panic!("{other:?} after {expected:?}"),
    };
    let result = document["result"].clone();
    Fate::Scored { model, result }
}

fn refused(document: &Value) -> Fate {
    let code = match document["reason"]["code"].as_str() {
        Some("invalid_input") => "invalid_input",
        Some("unknown_model") => "unknown_model",
        other => panic!("{other:?}: {document}"),
    };
    Fate::Rejected { code }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_or_scored_wrongly_however_often_the_handler_is_killed() {
    let _alone = ALONE.lock().await;
    let plan = Plan::new(MESSAGES);
    let redis = RedisServer::start().await;
    let cloud = functions::cloud(EntityOptions::default());
    let settings = affine_by_default().setting("REDIS_URL", redis.url());
    let host = FunctionsHost::start(&app(), settings).await;
    for message in &plan.messages {
        cloud.broker.send("messages", message.clone()).unwrap();
    }
    let start = Instant::now();
    let listener = Listener::start(host, &cloud);
    let total = plan.messages.len() as u64;
    for kill in 1..=KILLS as u64 {
        // spread over the whole queue, at any speed
        let part = total * kill / (KILLS as u64 + 1);
        let deadline = Instant::now() + PATIENCE;
        while cloud.broker.counters("messages").completed < part {
            assert!(
                Instant::now() < deadline,
                "stuck: {:?}",
                listener.failures()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        listener.supervisor().kill_child();
    }
    cloud.broker.wait_until_empty("messages", MINUTES_5).await;
    let took = start.elapsed();

    let counters = cloud.broker.counters("messages");
    let failures = listener.failures();
    println!("{total} messages and {KILLS} kills in {took:?}: {counters:?}");
    assert!(cloud.broker.dead_letters("messages").is_empty());
    assert_eq!(counters.completed, total);
    assert_eq!(listener.supervisor().restarts(), KILLS);
    assert!(counters.abandoned >= KILLS as u64, "the kills hit nothing");
    for failure in &failures {
        // In work at a kill, or posted before the host had noticed it.
        let by_a_kill = ["no answer", "cannot connect"];
        assert!(
            by_a_kill.iter().any(|cause| failure.contains(cause)),
            "not by a kill: {failure}"
        );
    }
    let found = fates(&cloud, &plan);
    let ids = |of: &BTreeMap<String, Fate>| BTreeSet::from_iter(of.keys().cloned());
    let (there, planned) = (ids(&found), ids(&plan.fates));
    assert_eq!(planned.difference(&there).count(), 0, "lost");
    for (id, fate) in &plan.fates {
        assert_eq!(&found[id], fate, "{id}");
    }
    assert_eq!(listener.host().error_logs(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_and_many_callers_do_not_starve_the_readiness_probe() {
    let _alone = ALONE.lock().await;
    const CALLERS: usize = 256;
    let cloud = functions::cloud(EntityOptions::default());
    let host = FunctionsHost::start(&app(), affine_by_default()).await;
    host.wait_for_log("model loaded.*affine|affine.*model loaded", PATIENCE)
        .await;
    let plan = Plan::new(2000);
    for message in &plan.messages {
        cloud.broker.send("messages", message.clone()).unwrap();
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let probing = [host.port(), idle_server()].map(|port| {
        let until = Arc::clone(&is_over);
        std::thread::spawn(move || probe_until(port, &until))
    });
    let listener = Listener::start(host, &cloud);
    let digits = Digits::load();
    let calls = (0..CALLERS).map(|caller| {
        let (listener, digits) = (&listener, &digits);
        async move {
            for round in 0..4 {
                let row = (caller + round) % 100;
                let json = [("content-type", "application/json")];
                let body = digits.body([row]);
                let path = "/api/score/mnist";
                let answer = listener.host().http("POST", path, &json, &body).await;
                assert_eq!(answer.expect_status(200).json(), digits.answer([row]));
            }
        }
    });
    join_all(calls).await;
    cloud.broker.wait_until_empty("messages", MINUTES_5).await;
    is_over.store(true, Ordering::SeqCst);
    let [own, idle] = probing.map(|probing| Delays::of(probing.join().unwrap()));
    println!("the handler's {own:?}, an idle server's {idle:?}");
    assert!(own.count >= 100, "only {} probes", own.count);
    // beyond what this machine makes anybody wait
    let slowest = idle.slowest + SLOWNESS * Duration::from_millis(100);
    let p99 = idle.p99 + SLOWNESS * Duration::from_millis(10);
    assert!(own.slowest < slowest, "{own:?} {idle:?}");
    assert!(own.p99 < p99, "{own:?} {idle:?}");
    assert_eq!(fates(&cloud, &plan), plan.fates);
    assert_eq!(listener.failures(), [""; 0]);
}

/// What became of many probes.
#[derive(Debug)]
struct Delays {
    count: usize,
    p99: Duration,
    slowest: Duration,
}

impl Delays {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self {
            count: times.len(),
            p99: times[times.len() * 99 / 100],
            slowest: times[times.len() - 1],
        }
    }
}

/// Answers on one connection and does nothing else: what it takes is the machine's.
fn idle_server() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        }
    });
    port
}

/// How long `GET /` took, again and again on one connection. On a thread of its own, whose waits are the handler's alone.
fn probe_until(port: u16, is_over: &AtomicBool) -> Vec<Duration> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut buffer = [0; 4096];
    let mut times = Vec::new();
    let probe = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    while !is_over.load(Ordering::SeqCst) {
        let start = Instant::now();
        stream.write_all(probe.as_bytes()).unwrap();
        // a few bytes on loopback come in one piece
        let count = stream.read(&mut buffer).unwrap();
        times.push(start.elapsed());
        assert!(buffer[..count].starts_with(b"HTTP/1.1 200 "));
        std::thread::sleep(PROBE_PAUSE);
    }
    times
}
