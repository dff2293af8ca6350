//! The process: how the host starts it, watches it and ends it.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{JSON, LateApp, app_with, figure, probe, test_model};
use crate::lifecycle::gives_up;
use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::redis::RedisServer;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::http1::{self, RawConnection};
use functions_host::port;
use functions_host::{PATIENCE, eventually};

const SECOND: Duration = Duration::from_secs(1);
const PORT_NAMES: [&str; 2] = ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"];

async fn scores(host: &FunctionsHost) {
    let digits = Digits::load();
    let answer = host
        .http("POST", "/api/score", &[JSON], &digits.body([1]))
        .await;
    assert_eq!(answer.expect_status(200).json(), digits.answer([1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_the_probe_is_answered_within_a_second_also_while_models_load() {
    let late = LateApp::new();
    let mut quickest = Duration::MAX;
    // More than one start where it takes that, because the machine may be busy with other things.
    for _ in 0..20 {
        let host = FunctionsHost::start(&late.app, []).await;
        quickest = quickest.min(host.startup_time());
        let ready = host
            .http("GET", "/api/score/v2/health/ready", &[], b"")
            .await;
        assert_eq!(ready.status, 503, "nothing is loaded yet");
        probe(host.port()).await.expect_status(200);
        if quickest < SECOND {
            break;
        }
    }
    assert!(quickest < SECOND, "{quickest:?}");
    // The first request waits for the model.
    scores(&FunctionsHost::start(&AppRoot::with_sample(), []).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s02_the_older_name_of_the_port_works_too() {
    let options = HostOptions::default().without("FUNCTIONS_CUSTOMHANDLER_PORT");
    scores(&FunctionsHost::start(&AppRoot::with_sample(), options).await).await;
}

fn without_port() -> HostOptions {
    PORT_NAMES
        .into_iter()
        .fold(HostOptions::default(), HostOptions::without)
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_without_the_hosts_port_it_listens_on_its_own() {
    let free = port::free();
    let options = without_port()
        .port(free)
        .setting("SCORE_PORT", free.to_string());
    scores(&FunctionsHost::start(&AppRoot::with_sample(), options).await).await;

    // The default may be in use where the tests run; the handler names it in either case.
    let options = without_port().setting("SCORE_BIND_TIMEOUT", "100ms");
    let host = FunctionsHost::spawn(&AppRoot::with_sample(), options);
    let named = r"(listening .*|cannot listen on )127\.0\.0\.1:7071";
    host.wait_for_log(named, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_a_port_that_is_no_number_ends_the_process_with_a_line() {
    for name in PORT_NAMES {
        for wrong in ["web", "70000", "-1", "80.5"] {
            let options = without_port().setting(name, wrong);
            let said = gives_up(&AppRoot::with_sample(), options).await;
            let expected = format!("{name}={wrong:?}: expected a port number");
            assert!(said.contains(&expected), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_models_are_found_from_another_working_directory() {
    let options = HostOptions::default().directory(std::env::temp_dir());
    scores(&FunctionsHost::start(&AppRoot::with_sample(), options).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_a_port_held_for_two_seconds_is_waited_for() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let options = HostOptions::default().port(taken.local_addr().unwrap().port());
    let host = FunctionsHost::spawn(&AppRoot::with_sample(), options);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(host.is_running());
    drop(taken);
    host.wait_ready(PATIENCE).await.unwrap();
    scores(&host).await;
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn s06_a_port_held_for_good_ends_the_process_with_a_line() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let options = HostOptions::default()
        .port(taken.local_addr().unwrap().port())
        .setting("SCORE_BIND_TIMEOUT", "300ms");
    // The exit code is 1: not 0, which the host takes for an end in peace, nor 200, which asks for a restart.
    let said = gives_up(&AppRoot::with_sample(), options).await;
    assert!(said.contains("cannot listen on 127.0.0.1:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_no_model_and_no_good_model_end_the_process_with_the_reason() {
    let app = AppRoot::new();
    assert!(gives_up(&app, []).await.contains("<name>/model.onnx"));
    app.write("models/bad/model.onnx", "no model at all");
    let said = gives_up(&app, []).await;
    assert!(
        said.contains("bad") && said.contains("can be loaded"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_a_broken_model_is_named_and_the_others_serve() {
    let app = AppRoot::with_sample();
    app.write("models/bad/model.onnx", "no model at all");
    app.write("models/empty/notes.txt", "");
    app.add_model("typo", test_model("affine"), Some("output = [\"y\"]"));
    let independent = Some("rows = \"independent\"");
    app.add_model("fixed", test_model("fixed"), independent);
    let host = FunctionsHost::start(&app, [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    scores(&host).await;
    for (model, reason) in [
        ("bad", "could not be loaded"),
        ("empty", "no model.onnx in it"),
        ("typo", r#"to choose outputs, say \"outputs\""#),
        ("fixed", "the model takes one row at a time"),
    ] {
        let path = format!("/api/score/{model}");
        let answer = host.http("POST", &path, &[JSON], br#"{"data":[]}"#).await;
        let answer = answer.expect_status(503);
        assert!(answer.text().contains(reason), "{}", answer.text());
        let errors = host.error_logs();
        let named = errors
            .iter()
            .filter(|line| line.contains(&format!("model={model:?}")));
        assert_eq!(named.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s08_only_the_ipv4_loopback_address_listens() {
    let host = FunctionsHost::start(&AppRoot::with_sample(), []).await;
    let connect = |address: std::net::IpAddr| TcpStream::connect((address, host.port()));
    assert!(connect(Ipv6Addr::LOCALHOST.into()).is_err());
    assert!(connect(Ipv4Addr::LOCALHOST.into()).is_ok());
    // On Linux all of 127.0.0.0/8 is this machine, so that this shows whether it listens on every address.
    assert!(connect(Ipv4Addr::new(127, 0, 0, 2).into()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn s09_the_probe_is_answered_while_every_slot_is_busy_and_redis_is_silent() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("SCORE_MAX_REQUESTS", "10"),
        ("SCORE_SESSIONS", "1"),
        ("SCORE_MAX_BATCH_ROWS", "1"),
    ];
    let host = FunctionsHost::start(&app_with("slow"), settings).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    redis.pause();
    let (done, row, refused) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    // More clients than permits, so that no permit is free for long.
    let clients = (0..15).map(|_| async {
        let mut times = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let row = row.fetch_add(1, Ordering::Relaxed);
            let body = json!({ "data": [[row, 0, 0, 0]] }).to_string();
            let start = Instant::now();
            let answer = host.http("POST", "/api/score", &[JSON], body).await;
            if answer.status == 503 {
                refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            } else {
                answer.expect_status(200);
                times.push(start.elapsed());
            }
        }
        times
    });
    let probes = async {
        let mut times = Vec::new();
        for _ in 0..21 {
            let before = refused.load(Ordering::Relaxed);
            eventually("requests are refused", async || {
                refused.load(Ordering::Relaxed) > before
            })
            .await;
            let start = Instant::now();
            probe(host.port()).await.expect_status(200);
            times.push(start.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        times
    };
    let (scored, probes) = tokio::join!(futures_util::future::join_all(clients), probes);
    // Medians of one run, in which the machine is as busy for the ones as for the others. A request waits for nine runs.
    let (scored, probed) = (median(scored.concat()), median(probes));
    assert!(probed * 2 < scored, "{probed:?} and {scored:?}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Sends three requests, and the signal while all of them wait for the model or run; `false` if they were answered too
/// early.
async fn stopped_at_work(host: &FunctionsHost, signal: Signal, attempt: u32) -> bool {
    let answered = AtomicBool::new(false);
    let requests = async {
        let requests = (0..3).map(|number| {
            let body = json!({ "data": [[attempt, number, 0, 0]] }).to_string();
            host.http("POST", "/api/score", &[JSON], body)
        });
        let answers = futures_util::future::join_all(requests).await;
        answered.store(true, Ordering::Relaxed);
        answers
    };
    let stop = async {
        while figure(host, "score_waiting_rows").await < 3 {
            if answered.load(Ordering::Relaxed) {
                return false;
            }
        }
        host.signal(signal);
        let status = host.wait_exit(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "{signal}");
        true
    };
    let (answers, was_in_time) = tokio::join!(requests, stop);
    for (number, answer) in answers.into_iter().enumerate() {
        let doubled = [2.0 * f64::from(attempt), 2.0 * number as f64, 0.0, 0.0];
        assert_eq!(answer.expect_status(200).json(), json!([doubled]));
    }
    was_in_time
}

/// As long as it takes where the machine is busy: only what a request waits for decides how it ends.
const NO_HURRY: (&str, &str) = ("SCORE_DRAIN_TIMEOUT", "10m");

#[tokio::test(flavor = "multi_thread")]
async fn s10_signals_let_requests_in_flight_finish_before_the_process_ends() {
    let body = br#"{"data":[[1,2,3]]}"#;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let late = LateApp::new();
        let host = FunctionsHost::start(&late.app, [NO_HURRY]).await;
        let requests = (0..3).map(|_| host.http("POST", "/api/score", &[JSON], body));
        let stop = async {
            three_in_flight(&host).await;
            host.signal(signal);
            host.wait_for_log("stopping", PATIENCE).await;
            late.let_load().await;
            assert_eq!(host.wait_exit(PATIENCE).await.code(), Some(0), "{signal}");
        };
        let (answers, ()) = tokio::join!(futures_util::future::join_all(requests), stop);
        for answer in answers {
            assert_eq!(answer.expect_status(200).text(), "[[3.0,5.0,7.0]]");
        }
        assert_eq!(host.error_logs(), Vec::<String>::new());
    }
}

async fn three_in_flight(host: &FunctionsHost) {
    eventually("three requests are in work", async || {
        figure(host, "score_requests_in_flight").await == 3
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_requests_that_do_not_finish_let_the_process_end_within_a_second() {
    let body = br#"{"data":[[1,2,3]]}"#;
    let length = body.len().to_string();
    let headers = [("Host", "x"), JSON, ("Content-Length", &length)];
    let request = [&http1::head("POST", "/api/score", &headers)[..], body].concat();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut quickest = Duration::MAX;
        // More than one end where it takes that, because the machine may be busy with other things.
        for _ in 0..20 {
            // Its model is never loaded.
            let late = LateApp::new();
            let host = FunctionsHost::start(&late.app, []).await;
            let opening = (0..3).map(|_| RawConnection::open(host.port()));
            let connections = futures_util::future::try_join_all(opening).await.unwrap();
            for connection in &connections {
                connection.send(&request).await.unwrap();
            }
            three_in_flight(&host).await;
            let start = Instant::now();
            host.signal(signal);
            assert_eq!(host.wait_exit(PATIENCE).await.code(), Some(0), "{signal}");
            quickest = quickest.min(start.elapsed());
            if quickest < SECOND {
                break;
            }
        }
        assert!(quickest < SECOND, "{signal}: {quickest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_signals_let_the_model_finish_what_waits_for_it() {
    let app = app_with("slow");
    let one_by_one = [("SCORE_SESSIONS", "1"), ("SCORE_MAX_BATCH_ROWS", "1")];
    let settings = [one_by_one[0], one_by_one[1], NO_HURRY];
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let host = FunctionsHost::start(&app, settings).await;
        host.wait_for_log("model loaded", PATIENCE).await;
        // Its metrics are there a moment later, with the model.
        while host
            .http("GET", "/api/score/v2/health/ready", &[], b"")
            .await
            .status
            != 200
        {
            tokio::task::yield_now().await;
        }
        let mut attempt = 0;
        while !stopped_at_work(&host, signal, attempt).await {
            attempt += 1;
            assert!(attempt < 100, "three requests are never in work at once");
        }
        assert_eq!(host.error_logs(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_no_request_that_was_sent_is_left_without_an_answer() {
    let host = FunctionsHost::start(&app_with("affine"), [NO_HURRY]).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let body = br#"{"data":[[1,2,3]]}"#;
    let length = body.len().to_string();
    let headers = [
        ("host", "localhost"),
        JSON,
        ("content-length", length.as_str()),
    ];
    let request = [&http1::head("POST", "/api/score", &headers)[..], body].concat();
    let (answered, signalled) = (AtomicUsize::new(0), OnceLock::<Instant>::new());
    // Each connection is in use all the time, until an answer says that it ends. A client that a busy machine holds up for
    // too long finds its connection closed.
    let clients = (0..16).map(|_| async {
        let connection = RawConnection::open(host.port()).await.unwrap();
        loop {
            let is_late = || {
                let since = signalled.get().map(Instant::elapsed);
                since.is_some_and(|since| since > Duration::from_millis(50))
            };
            let was_late = is_late();
            let sent = connection.send(&request).await;
            let was_late = was_late || is_late();
            let response = match connection.read_response(false).await {
                Ok(response) if sent.is_ok() => response,
                _ if was_late => return 0,
                outcome => panic!("no answer: {sent:?}, {:?}", outcome.err()),
            };
            response.answer.expect_status(200);
            answered.fetch_add(1, Ordering::Relaxed);
            if !response.keeps_alive {
                return 1;
            }
        }
    });
    let stop = async {
        eventually("all clients are at work", async || {
            answered.load(Ordering::Relaxed) > 100
        })
        .await;
        host.signal(Signal::SIGTERM);
        signalled.set(Instant::now()).unwrap();
        assert_eq!(host.wait_exit(PATIENCE).await.code(), Some(0));
    };
    let (told, ()) = tokio::join!(futures_util::future::join_all(clients), stop);
    assert!(
        told.iter().sum::<usize>() > 0,
        "no answer says that its connection ends"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_kill_in_the_middle_of_writing_to_redis_leaves_only_whole_entries() {
    const ROWS: i64 = 10_000;
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_TIMEOUT", "10s"),
        ("SCORE_L1_BYTES", "0"),
    ];
    let host = FunctionsHost::start(&app_with("affine"), settings).await;
    let rows: Vec<Value> = (0..ROWS).map(|i| json!([i, 0, 1])).collect();
    let body = json!({ "data": rows }).to_string();
    let expected = (0..ROWS).map(|i| json!([(2 * i + 1) as f64, 1.0, 3.0]));
    let expected: Value = expected.collect();
    let score = async || {
        let answer = host.http("POST", "/api/score", &[JSON], &body).await;
        let answer = answer.expect_status(200);
        assert!(answer.json() == expected, "wrong results");
        answer.header("x-cache").unwrap().to_owned()
    };
    let mut seen = 0;
    for _ in 0..20 {
        host.wait_for_log("redis connected", PATIENCE).await;
        score().await;
        redis.wait_for_keys(1, PATIENCE).await;
        host.kill();
        let written = redis.key_count().await;
        host.restart().await;
        if written == ROWS {
            redis.command(&[b"FLUSHALL"]).await; // too late; once more
            continue;
        }
        eventually("redis is used", async || {
            figure(&host, "score_cache_redis_up").await == 1
        })
        .await;
        let known = format!("PARTIAL; hits={written}, rows={ROWS}");
        assert_eq!(score().await, known);
        assert_eq!(figure(&host, "score_cache_damaged_total").await, 0);
        redis.command(&[b"FLUSHALL"]).await;
        seen += 1;
        if seen == 3 {
            return;
        }
    }
    panic!("only {seen} of 20 kills came while it was writing");
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_kill_in_the_middle_of_scoring_does_not_hinder_the_next_start() {
    let host = FunctionsHost::start(&AppRoot::with_sample(), []).await;
    scores(&host).await;
    for _ in 0..3 {
        let digits = Digits::load();
        let body = digits.body(0..100);
        let request = host.http("POST", "/api/score", &[JSON], &body);
        let kill = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            host.kill();
        };
        tokio::join!(request, kill);
        host.restart().await;
        scores(&host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_the_handler_ends_when_its_host_has_ended() {
    let options = HostOptions::default().with_parent();
    let host = FunctionsHost::start(&AppRoot::with_sample(), options).await;
    scores(&host).await;
    host.crash();
    assert!(host.is_gone_within(PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_unknown_variables_and_an_empty_redis_url_do_no_harm() {
    let settings = [("REDIS_URL", ""), ("SCORE_WHATEVER", "1"), ("PATH_X", "y")];
    let host = FunctionsHost::start(&AppRoot::with_sample(), settings).await;
    scores(&host).await;
    host.wait_for_log("no Redis is set", PATIENCE).await;
    let figures = host.http("GET", "/api/score/metrics", &[], b"").await;
    assert!(!figures.text().contains("score_cache_redis_up"));
    assert_eq!(host.error_logs(), Vec::<String>::new());
}
