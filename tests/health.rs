//! The two functions that need no key: what they say, in every form and at every time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::host_calls::stand_alone;
use crate::lifecycle::gives_up;
use crate::protocol_cases::{LateApp, app_with};
use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::in_process;
use functions_host::answer::Answer;
use functions_host::host::{FunctionsHost, Mode};
use functions_host::host_options::CORE_TOOLS;
use functions_host::{eventually, http1};
use nix::sys::signal::Signal;

const LIVE: &str = "/api/health/live";
const READY: &str = "/api/health/ready";
const LIMIT: Duration = Duration::from_millis(100);

fn assert_says(answer: &Answer, status: u16, word: &str) {
    assert_eq!((answer.status, &*answer.text()), (status, word));
    let content_type = answer.header("content-type");
    assert_eq!(content_type, Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_one_word_in_every_form_before_and_after_loading() {
    let late = LateApp::new();
    let host = in_process::start(&late.app, [CORE_TOOLS]).await;
    for mode in Mode::ALL {
        let ask = async |path| host.http_by(mode, "GET", path, &[], b"").await;
        assert_says(&ask(LIVE).await, 200, "alive");
        assert_says(&ask(READY).await, 503, "loading");
    }
    late.let_load().await;
    // Answered as soon as models are loaded.
    let described = host.http("GET", "/api/score", &[], b"").await;
    described.expect_status(200);
    for mode in Mode::ALL {
        let ask = async |path| host.http_by(mode, "GET", path, &[], b"").await;
        assert_says(&ask(LIVE).await, 200, "alive");
        assert_says(&ask(READY).await, 200, "ready");
        assert_says(&ask("/API/Health/Ready").await, 200, "ready");
    }
    // The host lets nothing else through; the handler itself has no other path there.
    for (method, path, status) in [
        ("POST", LIVE, 405),
        ("GET", "/api/health", 404),
        ("GET", "/api/health/live/x", 404),
        ("GET", "/api/health/..%2Fscore", 404),
    ] {
        let head = http1::head(method, path, &[("Host", "x"), ("Content-Length", "0")]);
        let answer = http1::exchange(host.port(), &[&head]).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
    }
    // Probes are no requests to score.
    let figures = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    assert!(!figures.contains("health"), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_model_that_serves_is_enough_to_be_ready() {
    let app = app_with("affine");
    app.write("models/bad/model.onnx", "no model at all");
    let host = in_process::start(&app, []).await;
    let described = host.http("GET", "/api/score/affine", &[], b"").await;
    described.expect_status(200);
    assert_says(&host.http("GET", READY, &[], b"").await, 200, "ready");
}

/// How long the slowest of the quickest 99 in 100 answers took, as long as `busy` is not over.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_to_end_first_says_that_it_is_not_ready() {
    let alone = stand_alone([("SCORE_DRAIN_DELAY", "10m")]).await;
    let ask = async |path| {
        let head = http1::head("GET", path, &[("Host", "127.0.0.1")]);
        http1::exchange(alone.port(), &[&head]).await.unwrap()
    };
    eventually("the model is loaded", async || {
        ask(READY).await.status == 200
    })
    .await;
    alone.signal(Signal::SIGTERM);
    eventually("it is not ready", async || ask(READY).await.status == 503).await;
    assert_says(&ask(READY).await, 503, "ending");
    assert_says(&ask(LIVE).await, 200, "alive");
    assert_eq!(ask("/api/score").await.status, 200);
}

async fn slowest(port: u16, path: &'static str, busy: impl Future<Output = ()>) -> Duration {
    let over = Arc::new(AtomicBool::new(false));
    let asking = {
        let over = over.clone();
        // On a thread of its own, so that the clients that make the load do not hold it up.
        tokio::task::spawn_blocking(move || ask_until(&over, port, path))
    };
    busy.await;
    over.store(true, Ordering::Relaxed);
    let mut times = asking.await.unwrap();
    times.sort();
    times[times.len() * 99 / 100]
}

/// The times of answers to one request after another.
fn ask_until(over: &AtomicBool, port: u16, path: &str) -> Vec<Duration> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    connection.set_nodelay(true).unwrap();
    let head = http1::head("GET", path, &[("Host", "x")]);
    let mut answer = [0; 4096];
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        connection.write_all(&head).unwrap();
        // Small enough to come at once.
        let length = connection.read(&mut answer).unwrap();
        times.push(start.elapsed());
        assert!(answer[..length].starts_with(b"HTTP/1.1 "));
        std::thread::sleep(Duration::from_millis(5));
    }
    times
}

/// On a machine that does other things, too, one good round of several shows what the program can do.
async fn assert_quick(what: &str, mut round: impl AsyncFnMut() -> Duration) {
    let mut quickest = Duration::MAX;
    for _ in 0..8 {
        quickest = quickest.min(round().await);
        if quickest < LIMIT {
            return;
        }
    }
    panic!("{what}: p99 is {quickest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_quick_while_models_load_and_under_full_load() {
    let seconds = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let late = LateApp::new();
    let host = FunctionsHost::start(&late.app, []).await;
    assert_quick("loading", async || {
        slowest(host.port(), READY, seconds(2)).await
    })
    .await;
    drop(host);

    let host = FunctionsHost::start(&AppRoot::with_sample(), []).await;
    let digits = Digits::load();
    let body = digits.body([0]);
    let load = async || {
        let headers = [
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
        ];
        loop {
            host.http("POST", "/api/score", &headers, &body).await;
        }
    };
    let full = async || {
        let clients = (0..16).map(|_| load());
        tokio::select! {
            _ = futures_util::future::join_all(clients) => {}
            () = seconds(3) => {}
        }
    };
    for path in [LIVE, READY] {
        assert_quick(path, async || slowest(host.port(), path, full()).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_function_with_a_free_route_ends_the_start() {
    let app = AppRoot::with_sample();
    app.edit_json("score_health_live/function.json", |function| {
        function["bindings"][0]["route"] = json!("health/{*path}");
    });
    let said = gives_up(&app, []).await;
    for told in [
        "score_health_live/function.json",
        r#"{*path}"#,
        "score_http",
        "health/live",
        "{probe:alpha}",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    app.edit_json("score_health_live/function.json", |function| {
        function["bindings"][0]["route"] = json!("health/{probe:regex(^(live|ready)$)}");
    });
    FunctionsHost::start(&app, []).await;
}

#[test]
fn a_check_refuses_such_a_function_too() {
    let app = AppRoot::with_sample();
    let check = || {
        let program = app.path().join("bin/handler");
        let mut command = Command::new(program);
        command.arg("check").current_dir(app.path()).env_clear();
        let output = command.output().unwrap();
        let problems = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), problems)
    };
    assert_eq!(check().0, Some(0));
    app.edit_json("score_health_ready/function.json", |function| {
        function["bindings"][0]["route"] = json!("health/{probe}");
    });
    let (code, problems) = check();
    assert_eq!(code, Some(1));
    for told in ["score_health_ready/function.json", "{probe}", "score_http"] {
        assert!(problems.contains(told), "{problems}");
    }
}
