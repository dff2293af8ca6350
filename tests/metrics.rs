//! The metrics at `GET /api/score/metrics`, in both text formats, for every way a body can come.

use std::collections::BTreeSet;

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::in_process;
use crate::support::redis::RedisServer;
use functions_host::PATIENCE;
use functions_host::host::FunctionsHost;
use functions_host::http1;
use functions_host::invoke::Transport;
use functions_host::triggers::ServiceBusMessage;

const PATH: &str = "/api/score/metrics";
const JSON: (&str, &str) = ("content-type", "application/json");
/// What Prometheus 2 sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;q=0.75,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.25,*/*;q=0.1";

async fn figures(host: &FunctionsHost) -> String {
    host.http("GET", PATH, &[], b"").await.text()
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "{line} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_function_model_and_status() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    for path in ["/api/score", "/api/score/mnist", "/api/score/invented"] {
        host.http("POST", path, &[JSON], &digits.body(0..3)).await;
    }
    host.http("POST", "/api/score", &[JSON], b"{").await;
    for body in [digits.body(3..5), b"{".to_vec()] {
        let messages = [ServiceBusMessage::new(body)];
        let outcome = host.deliver("score_queue", &messages, Transport::Chunked);
        outcome.await.unwrap();
    }
    let broken = host.post_body("score_queue", b"[]", Transport::Chunked);
    assert_eq!(broken.await.unwrap().status, 400);
    for path in [PATH, "/api/score", "/api/score/v2/health/ready"] {
        host.http("GET", path, &[], b"").await.expect_status(200);
    }
    host.http("GET", "/api/score/a/b/c", &[], b"").await;
    // Not by the host, which would know no such route.
    let head = http1::head("GET", "/api/scorer", &[("Host", "x")]);
    let answer = http1::exchange(host.port(), &[&head]).await.unwrap();
    assert_eq!(answer.status, 404);
    let text = figures(&host).await;
    assert_lines(
        &text,
        &[
            r#"score_requests_total{function="info",model="none",status="200"} 3"#,
            r#"score_requests_total{function="info",model="none",status="404"} 1"#,
            r#"score_requests_total{function="none",model="none",status="404"} 1"#,
            r#"score_requests_total{function="score",model="mnist",status="200"} 2"#,
            r#"score_requests_total{function="score",model="mnist",status="400"} 1"#,
            r#"score_requests_total{function="score",model="none",status="404"} 1"#,
            r#"score_requests_total{function="score_queue",model="mnist",status="200"} 1"#,
            r#"score_requests_total{function="score_queue",model="mnist",status="400"} 1"#,
            r#"score_requests_total{function="score_queue",model="none",status="400"} 1"#,
            r#"score_request_seconds_count{model="mnist"} 5"#,
            r#"score_events_total{outcome="scored"} 1"#,
            "score_requests_in_flight 0",
            "score_body_bytes_in_use 0",
        ],
    );
    // What callers make up never becomes a label.
    assert!(!text.contains("invented"));
}

#[tokio::test(flavor = "multi_thread")]
async fn times_and_sizes_of_every_step_are_kept() {
    let digits = Digits::load();
    let redis = RedisServer::start().await;
    let host = FunctionsHost::start(
        &AppRoot::with_sample(),
        [
            ("REDIS_URL", &*redis.url()),
            ("SCORE_L1_BYTES", "0"),
            ("REDIS_TIMEOUT", "5s"),
        ],
    )
    .await;
    let up = "(redis connected)";
    host.wait_for_log(up, PATIENCE).await;
    host.http("POST", "/api/score", &[JSON], &digits.body(0..3))
        .await;
    redis.wait_for_keys(3, PATIENCE).await;
    host.http("POST", "/api/score", &[JSON], &digits.body(0..3))
        .await;
    let text = figures(&host).await;
    assert_lines(
        &text,
        &[
            "# TYPE score_request_seconds histogram",
            r#"score_request_seconds_bucket{le="60.0",model="mnist"} 2"#,
            r#"score_redis_seconds_count{operation="get"} 2"#,
            r#"score_redis_seconds_count{operation="set"} 1"#,
            r#"score_inference_seconds_count{model="mnist"} 1"#,
            r#"score_queue_wait_seconds_count{model="mnist"} 1"#,
            r#"score_batch_rows_bucket{le="2.0",model="mnist"} 0"#,
            r#"score_batch_rows_bucket{le="4.0",model="mnist"} 1"#,
            r#"score_batch_rows_sum{model="mnist"} 3.0"#,
            r#"score_waiting_rows{model="mnist"} 0"#,
            "score_cache_redis_hits_total 3",
            "score_cache_misses_total 3",
            "score_cache_redis_up 1",
        ],
    );
    for start in [
        r#"score_model_load_seconds{model="mnist"} 0."#,
        r#"score_build_info{version="0.1.0",runtime="ORT Build Info: "#,
        r#"score_cache_saved_seconds{model="mnist"} "#,
    ] {
        assert!(
            text.lines().any(|l| l.starts_with(start)),
            "{start} in\n{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_format_is_the_one_that_was_asked_for() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    for accept in ["*/*", "text/plain; version=0.0.4"] {
        let answer = host.http("GET", PATH, &[("accept", accept)], b"").await;
        let content_type = answer.header("content-type").unwrap();
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(answer.header("vary"), Some("accept"));
        let text = answer.text();
        assert_lines(&text, &["# TYPE score_cache_misses_total counter"]);
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    }
    let accept = [("accept", PROMETHEUS)];
    let answer = host.http("GET", PATH, &accept, b"").await;
    let content_type = answer.header("content-type").unwrap();
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    let text = answer.text();
    assert_lines(&text, &["# TYPE score_cache_misses counter"]);
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_could_not_be_loaded_is_seen() {
    let app = AppRoot::with_sample();
    app.write("models/broken/model.onnx", "no model");
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    let ready = host.http("GET", "/api/score", &[], b"").await;
    ready.expect_status(200);
    let text = figures(&host).await;
    assert_lines(
        &text,
        &[
            "# TYPE score_model_up gauge",
            r#"score_model_up{model="broken"} 0"#,
            r#"score_model_up{model="mnist"} 1"#,
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_before_its_model_is_asked_counts_for_it_too() {
    let digits = Digits::load();
    let settings = [
        ("SCORE_MAX_WAITING_BYTES", "4096"),
        ("SCORE_MAX_BODY_BYTES", "20000"),
    ];
    let host = in_process::start(&AppRoot::with_sample(), settings).await;
    let ready = host.http("GET", "/api/score/mnist", &[], b"").await;
    ready.expect_status(200);
    for (path, rows, status) in [
        ("/api/score/mnist", 0..4, 503),
        ("/api/score", 0..4, 503),
        ("/api/score/mnist", 0..20, 413),
        // For any size.
        ("/api/score/invented", 0..20, 404),
    ] {
        let answer = host.http("POST", path, &[JSON], &digits.body(rows)).await;
        answer.expect_status(status);
    }
    let text = figures(&host).await;
    assert_lines(
        &text,
        &[
            r#"score_requests_total{function="score",model="mnist",status="503"} 2"#,
            r#"score_requests_total{function="score",model="mnist",status="413"} 1"#,
            r#"score_requests_total{function="score",model="none",status="404"} 1"#,
        ],
    );
    assert!(!text.contains("invented"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_lists_every_metric_and_no_other() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let app = AppRoot::new();
    let features = "[features]\nprefix = \"f:\"\n";
    app.add_model(
        "mnist",
        repository().join("models/mnist/model.onnx"),
        Some(features),
    );
    let host = FunctionsHost::start(&app, [("REDIS_URL", &*url)]).await;
    // Until the model's costs are known.
    let digits = Digits::load();
    for row in 0..100 {
        let body = digits.body(row..row + 1);
        let answer = host.http("POST", "/api/score", &[JSON], &body).await;
        answer.expect_status(200);
    }
    let text = figures(&host).await;
    let served: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let pages = ["docs/observability.md", "docs/cache.md"]
        .map(|page| std::fs::read_to_string(repository().join(page)).unwrap());
    // The first column of tables.
    let documented: BTreeSet<&str> = pages
        .iter()
        .flat_map(|page| page.lines())
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split('`'))
        .filter(|word| word.starts_with("score_") && !word.contains(' '))
        .collect();
    let missing: Vec<_> = served.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&served).collect();
    assert!(missing.is_empty(), "not in the documentation: {missing:?}");
    assert!(unknown.is_empty(), "not served: {unknown:?}");
}
