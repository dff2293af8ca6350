//! The process: start, readiness, mistakes in its surroundings, and its end.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::host::{FunctionsHost, HostOptions};
use crate::support::process::Level;
use crate::support::{http1, port};

const JSON: (&str, &str) = ("content-type", "application/json");
const SECONDS_5: Duration = Duration::from_secs(5);

async fn scores(host: &FunctionsHost) {
    let digits = Digits::load();
    let answer = host
        .http("POST", "/api/score", &[JSON], &digits.body([1]))
        .await;
    assert_eq!(answer.expect_status(200).json(), digits.answer([1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_the_readiness_probe_at_once_and_the_first_request_when_the_model_is_there() {
    let host = FunctionsHost::start(&AppRoot::with_sample(), []).await;
    assert!(
        host.startup_time() < Duration::from_secs(1),
        "{:?}",
        host.startup_time()
    );
    scores(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_name_of_the_port_works_too() {
    let options = HostOptions::default().without("FUNCTIONS_CUSTOMHANDLER_PORT");
    scores(&FunctionsHost::start(&AppRoot::with_sample(), options).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_found_from_another_working_directory() {
    let options = HostOptions {
        directory: Some(std::env::temp_dir()),
        ..HostOptions::default()
    };
    scores(&FunctionsHost::start(&AppRoot::with_sample(), options).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_ipv4_loopback_listens() {
    let host = FunctionsHost::start(&AppRoot::with_sample(), []).await;
    assert!(std::net::TcpStream::connect(("::1", host.port())).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_for_a_moment_is_waited_for() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let options = HostOptions {
        port: Some(taken.local_addr().unwrap().port()),
        ..HostOptions::default()
    };
    let host = FunctionsHost::spawn(&AppRoot::with_sample(), options);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(host.is_running());
    drop(taken);
    host.wait_ready(SECONDS_5).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_stays_taken_ends_the_process_with_a_line() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let options = HostOptions {
        port: Some(taken.local_addr().unwrap().port()),
        ..HostOptions::default()
    };
    let options = options.setting("SCORE_BIND_TIMEOUT", "300ms");
    let host = FunctionsHost::spawn(&AppRoot::with_sample(), options);
    assert_eq!(host.wait_exit(SECONDS_5).await.code(), Some(1));
    assert!(
        host.error_logs()
            .join("\n")
            .contains("cannot listen on 127.0.0.1:")
    );
}

/// Starts a handler that has to give up, and returns what it said.
async fn gives_up(app: &AppRoot, options: impl Into<HostOptions>) -> String {
    let host = FunctionsHost::spawn(app, options);
    assert_eq!(host.wait_exit(SECONDS_5).await.code(), Some(1));
    let errors = host.error_logs();
    assert!(!errors.is_empty(), "no line says why");
    assert!(
        errors.iter().all(|line| !line.contains("panicked")),
        "{errors:?}"
    );
    errors.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_in_settings_are_told_at_once() {
    let settings = [
        ("SCORE_MAX_ROWS", "many"),
        ("REDIS_TIMEOUT", "5"),
        ("REDIS_URL", "x"),
    ];
    let said = gives_up(&AppRoot::with_sample(), settings).await;
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(
        said.contains(r#"SCORE_MAX_ROWS="many": expected a whole number"#),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_wrong_runtime_is_one_clear_line() {
    let app = AppRoot::with_sample();
    let text = app.path().join("host.json");
    let said = gives_up(&app, [("ORT_DYLIB_PATH", text.to_str().unwrap())]).await;
    assert!(
        said.contains("ONNX Runtime cannot be loaded from"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");

    let bare = AppRoot::with_sample();
    std::fs::remove_file(bare.path().join("bin/libonnxruntime.so.1"))
        .or_else(|_| std::fs::remove_file(bare.path().join("bin/libonnxruntime.dylib")))
        .unwrap();
    let said = gives_up(&bare, []).await;
    assert!(
        said.contains("run `make runtime` or set ORT_DYLIB_PATH"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_model_and_no_good_model_end_the_process_with_the_reason() {
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
async fn a_broken_model_is_named_and_the_others_serve() {
    let app = AppRoot::with_sample();
    app.write("models/bad/model.onnx", "no model at all");
    app.write("models/empty/notes.txt", "");
    let affine = repository().join("tests/data/models/affine.onnx");
    app.add_model("typo", &affine, Some("output = [\"y\"]"));
    app.add_model(
        "fixed",
        repository().join("tests/data/models/fixed.onnx"),
        Some("rows = \"independent\""),
    );
    let host = FunctionsHost::start(&app, [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    scores(&host).await;
    for (model, reason) in [
        ("bad", "could not be loaded"),
        ("empty", "no model.onnx in it"),
        (
            "typo",
            r#"unknown key \"output\"; did you mean \"outputs\"?"#,
        ),
        ("fixed", "axis 0 is not free"),
    ] {
        let path = format!("/api/score/{model}");
        let answer = host.http("POST", &path, &[JSON], br#"{"data":[]}"#).await;
        let answer = answer.expect_status(503);
        assert!(answer.text().contains(reason), "{}", answer.text());
        let errors = host.error_logs();
        assert_eq!(
            errors
                .iter()
                .filter(|line| line.contains(&format!("model={model:?}")))
                .count(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_model_that_is_not_there_and_a_trigger_that_is_not_served_are_named() {
    let app = AppRoot::with_sample();
    let said = gives_up(&app, [("SCORE_DEFAULT_MODEL", "iris")]).await;
    assert!(said.contains("iris") && said.contains("mnist"), "{said}");
    app.write(
        "tick/function.json",
        r#"{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 * * * * *"}]}"#,
    );
    let said = gives_up(&app, []).await;
    assert!(
        said.contains("timerTrigger") && said.contains("tick"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_variables_and_an_empty_redis_url_do_no_harm() {
    let settings = [("REDIS_URL", ""), ("SCORE_WHATEVER", "1"), ("PATH_X", "y")];
    scores(&FunctionsHost::start(&AppRoot::with_sample(), settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_let_requests_in_work_finish_and_end_the_process_within_a_second() {
    let app = AppRoot::new();
    app.add_model(
        "slow",
        repository().join("tests/data/models/slow.onnx"),
        None,
    );
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let host = FunctionsHost::start(&app, []).await;
        host.http("GET", "/api/score", &[], b"")
            .await
            .expect_status(200);
        let body = br#"{"data":[[1,2,3,4]]}"#;
        let request = host.http("POST", "/api/score", &[JSON], body);
        let stop = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let start = Instant::now();
            host.signal(signal);
            let status = host.wait_exit(SECONDS_5).await;
            (status, start.elapsed())
        };
        let (answer, (status, took)) = tokio::join!(request, stop);
        assert_eq!(answer.expect_status(200).text(), "[[2.0,4.0,6.0,8.0]]");
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(took < Duration::from_secs(1), "{signal}: {took:?}");
        assert_eq!(host.error_logs(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_work_leaves_nothing_that_hinders_the_next_start() {
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
async fn the_handler_ends_when_its_host_has_ended() {
    let options = HostOptions::default().with_parent();
    let host = FunctionsHost::start(&AppRoot::with_sample(), options).await;
    scores(&host).await;
    host.crash();
    assert!(host.is_gone_within(SECONDS_5).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_models_load_requests_wait_and_are_told_to_come_back() {
    let app = AppRoot::with_sample();
    // A pipe instead of a model file: reading it waits until somebody writes.
    let pipe = app.path().join("models/late");
    std::fs::create_dir(&pipe).unwrap();
    let pipe = pipe.join("model.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::copy(
        repository().join("tests/data/models/affine.onnx"),
        app.path().join("models/late/model.onnx"),
    )
    .unwrap();
    let settings = [
        ("SCORE_LOAD_TIMEOUT", "300ms"),
        ("SCORE_DEFAULT_MODEL", "late"),
    ];
    let host = FunctionsHost::start(&app, settings).await;
    let body = br#"{"data":[[1,2,3]]}"#;
    let start = Instant::now();
    let answer = host
        .http("POST", "/api/score", &[JSON], body)
        .await
        .expect_status(503);
    assert_eq!(answer.at("/error/code"), "loading");
    assert!(answer.header("retry-after").is_some());
    assert!(start.elapsed() >= Duration::from_millis(300));
    let ready = host
        .http("GET", "/api/score/v2/health/ready", &[], b"")
        .await;
    ready.expect_status(503);
    let request = http1::head("GET", "/", &[("Host", "x")]);
    http1::exchange(host.port(), &[&request])
        .await
        .unwrap()
        .expect_status(200);

    let request = host.http("POST", "/api/score", &[JSON], body);
    let write = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::task::spawn_blocking(move || std::fs::write(pipe, ""))
            .await
            .unwrap()
            .unwrap();
    };
    let (answer, ()) = tokio::join!(request, write);
    assert_eq!(answer.expect_status(200).text(), "[[3.0,5.0,7.0]]");
}

#[tokio::test(flavor = "multi_thread")]
async fn stand_alone_it_listens_on_its_own_port_with_the_same_paths() {
    let free = port::free();
    let options = HostOptions {
        port: Some(free),
        ..HostOptions::default()
    };
    let options = options
        .without("FUNCTIONS_CUSTOMHANDLER_PORT")
        .without("FUNCTIONS_HTTPWORKER_PORT")
        .setting("SCORE_PORT", free.to_string());
    scores(&FunctionsHost::start(&AppRoot::with_sample(), options).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_carry_the_invocation_id_and_no_secret() {
    for format in ["text", "json"] {
        let host = FunctionsHost::start(&AppRoot::with_sample(), [("SCORE_LOG", format)]).await;
        let digits = Digits::load();
        let headers = [
            JSON,
            ("x-functions-key", "s3cret-key"),
            ("authorization", "Bearer s3cret-key"),
            ("x-azure-functions-invocationid", "chosen-by-the-client"),
        ];
        let path = "/api/score?code=s3cret-key";
        let answer = host.http("POST", path, &headers, &digits.body([0])).await;
        let id = answer.expect_status(200).invocation_id;
        host.wait_for_log(&format!("scored.*{id}|{id}.*scored"), SECONDS_5)
            .await;
        let bad = br#"{"data":[["s3cret-value"]]}"#;
        let refused = host
            .http("POST", path, &headers, bad)
            .await
            .expect_status(400);
        host.wait_for_log(&refused.invocation_id, SECONDS_5).await;
        for line in host.logs() {
            assert_eq!(line.level, Level::Information, "{}", line.text);
            assert!(!line.text.contains("s3cret"), "{}", line.text);
            assert!(!line.text.contains('\u{1b}'), "no colours: {}", line.text);
            assert!(!line.text.contains("chosen-by"), "{}", line.text);
            if format == "json" {
                serde_json::from_str::<serde_json::Value>(&line.text).expect("a JSON line");
            }
        }
    }
}
