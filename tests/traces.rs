//! Traces from end to end: what comes with a request or a message, and what a collector gets.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::otlp::{Collector, Trace, attributes, hex};
use crate::support::redis::RedisServer;
use functions_host::PATIENCE;
use functions_host::functions::add_functions;
use functions_host::host::{FunctionsHost, HostOptions, Mode};
use functions_host::http1;
use functions_host::invoke::Transport;
use functions_host::port;
use functions_host::triggers::{BlobEvent, ServiceBusMessage};

const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// The status of a span that failed.
const ERROR: i32 = 2;

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// Batches leave at once, so that tests need not wait.
pub(crate) fn options(endpoint: &str) -> HostOptions {
    HostOptions::from([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ])
}

pub(crate) async fn start(collector: &Collector, more: &[(&str, &str)]) -> FunctionsHost {
    let options = more
        .iter()
        .fold(options(&collector.endpoint()), |options, (name, value)| {
            options.setting(name, *value)
        });
    let app = AppRoot::with_sample();
    // A message that comes alone has the whole trace; those of a batch have spans of their own.
    app.edit_json("score_queue/function.json", |function| {
        function["bindings"][0]["cardinality"] = "one".into();
    });
    FunctionsHost::start(&app, options).await
}

pub(crate) async fn score(host: &FunctionsHost, flags: &str) {
    let headers = [
        JSON,
        ("traceparent", &*traceparent(flags)),
        ("tracestate", "vendor=1"),
    ];
    let body = Digits::load().body(0..3);
    let answer = host
        .http("POST", "/api/score?code=k3y", &headers, &body)
        .await;
    answer.expect_status(200);
}

/// Everything that a request which finds nothing goes through, below its span `root`.
fn assert_steps(trace: &Trace, root: &str) {
    let steps = [
        "decode",
        "cache look-up",
        "queue wait",
        "inference",
        "cache write",
        "encode",
    ];
    let mut below = trace.below(root);
    below.sort_unstable();
    let mut expected = steps.to_vec();
    expected.sort_unstable();
    assert_eq!(below, expected, "\n{}", trace.tree());
    assert_eq!(trace.0.len(), 1 + steps.len(), "\n{}", trace.tree());
    let root = trace.span(root);
    for (before, after) in [
        ("decode", "cache look-up"),
        ("cache look-up", "queue wait"),
        ("queue wait", "inference"),
        ("inference", "encode"),
    ] {
        let (before, after) = (trace.span(before), trace.span(after));
        assert!(before.end_time_unix_nano <= after.start_time_unix_nano);
        assert!(root.start_time_unix_nano <= before.start_time_unix_nano);
        assert!(after.end_time_unix_nano <= root.end_time_unix_nano);
    }
    // The answer does not wait for it.
    let write = trace.span("cache write");
    assert!(root.end_time_unix_nano <= write.end_time_unix_nano);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_traced_through_every_step_in_every_form() {
    let redis = RedisServer::start().await;
    for mode in Mode::ALL {
        let collector = Collector::start().await;
        let options = options(&collector.endpoint())
            .mode(mode)
            .setting("REDIS_URL", redis.url())
            .setting(
                "SCORE_CACHE_NAMESPACE",
                format!("{mode:?}").replace(|c: char| !c.is_alphanumeric(), ""),
            )
            .setting(
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test",
            )
            .setting("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
            .setting("SCORE_LOG_FILTER", "debug");
        let host = FunctionsHost::start(&AppRoot::with_sample(), options).await;
        host.wait_for_log("redis connected", PATIENCE).await;
        score(&host, "01").await;
        let trace = collector.trace(TRACE, 7).await;
        let root = "POST /api/score/{*path}";
        assert_steps(&trace, root);
        let span = trace.span(root);
        assert_eq!(hex(&span.parent_span_id), PARENT);
        assert_eq!(span.trace_state, "vendor=1");
        assert_eq!(span.kind, 2, "a server's");
        let found = attributes(&span.attributes);
        let id = found["faas.invocation_id"].clone();
        host.wait_for_log(&id, PATIENCE).await;
        for (name, value) in [
            ("http.request.method", "POST"),
            ("http.route", "/api/score/{*path}"),
            ("url.path", "/api/score"),
            ("http.response.status_code", "200"),
            ("faas.trigger", "http"),
            ("score.model", "mnist"),
            ("score.rows", "3"),
            ("score.cache", "MISS"),
        ] {
            assert_eq!(found[name], value, "{name} in\n{}", trace.tree());
        }
        assert!(!trace.tree().contains("k3y"), "{}", trace.tree());
        let resource = collector.resource();
        assert_eq!(resource["service.name"], "score");
        assert_eq!(resource["deployment.environment.name"], "test");
        assert_eq!(collector.header("api-key").as_deref(), Some("s3cret"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_traced_from_its_sender_to_the_write_behind() {
    let redis = RedisServer::start().await;
    let collector = Collector::start().await;
    let host = start(&collector, &[("REDIS_URL", &redis.url())]).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    // The stand-in for the host has a trace of its own, which is not sampled.
    let messages = [ServiceBusMessage::new(Digits::load().body(0..3))
        .with_id("m-1")
        .with_property("Diagnostic-Id", traceparent("01"))];
    let delivered = host.deliver("score_queue", &messages, Transport::Chunked);
    let outcome = delivered.await.unwrap();
    let id = &outcome.raw.invocation_id;
    let root = "process score_queue";
    let trace = collector.trace(TRACE, 7).await;
    println!("{}", trace.tree());
    assert_steps(&trace, root);
    let found = trace.span(root);
    assert_eq!(found.kind, 5, "a consumer's");
    assert_eq!(hex(&found.parent_span_id), PARENT);
    let attributes = attributes(&found.attributes);
    for (name, value) in [
        ("faas.invocation_id", id.as_str()),
        ("faas.trigger", "pubsub"),
        ("messaging.system", "servicebus"),
        ("messaging.operation.type", "process"),
        ("messaging.message.id", "m-1"),
        ("score.model", "mnist"),
        ("score.outcome", "scored"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    redis.wait_for_keys(3, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_trace_is_continued_if_it_is_sampled_and_else_the_senders() {
    let (other, of_host) = ("f".repeat(32), "e".repeat(16));
    for (host_sends, trace, parent, linked) in [
        (None, TRACE, PARENT, false),
        (
            Some(format!("00-{other}-{of_host}-00")),
            TRACE,
            PARENT,
            false,
        ),
        (
            Some(format!("00-{other}-{of_host}-01")),
            &*other,
            &*of_host,
            true,
        ),
        (
            Some(format!("00-{TRACE}-{of_host}-01")),
            TRACE,
            &*of_host,
            true,
        ),
    ] {
        let collector = Collector::start().await;
        let host = start(&collector, &[]).await;
        let properties = json!({ "traceparent": traceparent("01"), "tracestate": "vendor=1" });
        let envelope = json!({
            "Data": { "message": functions_host::encoding::base64(&Digits::load().body(0..1)) },
            "Metadata": { "ApplicationProperties": properties, "MessageId": "m-2" },
        });
        let body = envelope.to_string().into_bytes();
        let mut headers = vec![
            ("Host", format!("127.0.0.1:{}", host.port())),
            ("Transfer-Encoding", "chunked".to_owned()),
        ];
        let body = http1::chunked(&body);
        headers.extend(host_sends.map(|value| ("traceparent", value)));
        let head = http1::head("POST", "/score_queue", &headers);
        let answer = http1::exchange(host.port(), &[&head, &body]).await.unwrap();
        assert_eq!(answer.status, 200);
        let found = collector.trace(trace, 6).await;
        let span = found.span("process score_queue");
        assert_eq!(hex(&span.parent_span_id), parent);
        let links: Vec<String> = span.links.iter().map(|link| hex(&link.span_id)).collect();
        assert_eq!(links, if linked { vec![PARENT] } else { vec![] });
        assert_eq!(span.trace_state, if linked { "" } else { "vendor=1" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parents_decision_counts_and_so_does_the_sampler() {
    for (settings, flags, sampled) in [
        (&[][..], "00", false),
        (&[("OTEL_TRACES_SAMPLER", "always_on")], "00", true),
        (&[("OTEL_TRACES_SAMPLER", "always_off")], "01", false),
        (
            &[
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0"),
            ],
            "01",
            true,
        ),
        (&[("OTEL_SDK_DISABLED", "true")], "01", false),
    ] {
        let collector = Collector::start().await;
        let host = start(&collector, settings).await;
        score(&host, flags).await;
        host.signal(Signal::SIGTERM);
        host.wait_exit(PATIENCE).await;
        let spans = collector.spans();
        let found = spans.iter().any(|span| hex(&span.trace_id) == TRACE);
        assert_eq!(found, sampled, "{settings:?} {flags}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_before_the_process_ends() {
    let collector = Collector::start().await;
    let patient = [("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let host = start(&collector, &patient).await;
    score(&host, "01").await;
    assert_eq!(collector.requests(), 0);
    host.signal(Signal::SIGTERM);
    let status = host.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    let trace = collector.trace(TRACE, 6).await;
    assert_eq!(trace.span("encode").trace_id, trace.0[0].trace_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_change_no_log_line() {
    let collector = Collector::start().await;
    let settings = [("SCORE_LOG", "json"), ("SCORE_LOG_FILTER", "debug")];
    let host = start(&collector, &settings).await;
    score(&host, "01").await;
    let line = host.wait_for_log("\"scored\"", PATIENCE).await;
    let line: Value = serde_json::from_str(&line.text).unwrap();
    let mut members: Vec<&str> = line
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    members.sort_unstable();
    let expected = [
        "cache",
        "id",
        "level",
        "message",
        "model",
        "ms",
        "rows",
        "status",
        "timestamp",
    ];
    assert_eq!(members, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_is_an_error_in_its_trace_and_counted() {
    let collector = Collector::start().await;
    let app = AppRoot::new();
    let gather = repository().join("tests/data/models/gather.onnx");
    app.add_model("gather", gather, None);
    let host = FunctionsHost::start(&app, options(&collector.endpoint())).await;
    let headers = [JSON, ("traceparent", &*traceparent("01"))];
    let out_of_range = br#"{"data":[99]}"#;
    let answer = host.http("POST", "/api/score", &headers, out_of_range);
    answer.await.expect_status(400);
    let trace = collector.trace(TRACE, 4).await;
    let run = trace.span("inference");
    assert_eq!(run.status.as_ref().unwrap().code, ERROR, "{}", trace.tree());
    assert_eq!(attributes(&run.attributes)["error.type"], "invalid_input");
    let text = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    for line in [
        r#"score_inference_seconds_count{model="gather"} 1"#,
        r#"score_queue_wait_seconds_count{model="gather"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_caller_makes_up_names_no_span() {
    let collector = Collector::start().await;
    let host = start(&collector, &[]).await;
    for (method, path) in [("BREW", "/api/score/pot"), ("DELETE", "/api/scorer")] {
        let parent = traceparent("01");
        let headers = [("Host", "x"), ("traceparent", &*parent)];
        let head = http1::head(method, path, &headers);
        let answer = http1::exchange(host.port(), &[&head]).await.unwrap();
        assert!([404, 405].contains(&answer.status), "{}", answer.status);
    }
    let trace = collector.trace(TRACE, 2).await;
    let brewed = trace.span("HTTP /api/score/{*path}");
    let found = attributes(&brewed.attributes);
    assert_eq!(found["http.request.method"], "_OTHER");
    let found = attributes(&trace.span("DELETE").attributes);
    assert_eq!(found["http.request.method"], "DELETE");
    assert!(!trace.tree().contains("BREW"), "{}", trace.tree());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_that_cannot_be_read_is_an_error_in_its_own_trace() {
    let collector = Collector::start().await;
    let host = start(&collector, &[]).await;
    let not_sampled = format!("00-{}-{PARENT}-00", "f".repeat(32));
    for parent in [not_sampled, traceparent("01")] {
        let own = format!("127.0.0.1:{}", host.port());
        let headers = [
            ("Host", &*own),
            ("Transfer-Encoding", "chunked"),
            ("traceparent", &*parent),
        ];
        let head = http1::head("POST", "/score_queue", &headers);
        let answer = http1::exchange(host.port(), &[&head, &http1::chunked(b"[]")]).await;
        assert_eq!(answer.unwrap().status, 400);
    }
    let trace = collector.trace(TRACE, 1).await;
    let span = trace.span("process score_queue");
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(span.status.as_ref().unwrap().code, ERROR);
    assert_eq!(attributes(&span.attributes)["error.type"], "invalid_input");
    assert_eq!(collector.spans().len(), 1, "{:?}", collector.spans());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_and_a_blob_that_is_too_large_are_traced() {
    let collector = Collector::start().await;
    let app = AppRoot::with_sample();
    add_functions(&app);
    let by_key = "[features]\nprefix = \"features:\"\n";
    let affine = repository().join("tests/data/models/affine.onnx");
    app.add_model("by_key", affine, Some(by_key));
    let options = options(&collector.endpoint())
        .setting("SCORE_DEFAULT_MODEL", "mnist")
        .setting("OTEL_TRACES_SAMPLER", "always_on")
        .setting("REDIS_URL", format!("redis://127.0.0.1:{}", port::free()))
        .setting("SCORE_MAX_BODY_BYTES", "4096")
        .setting("SCORE_MESSAGE_BATCH_TIMEOUT", "300ms");
    let host = FunctionsHost::start(&app, options).await;
    let batch = [
        ServiceBusMessage::new(Digits::load().body(0..1)),
        ServiceBusMessage::new(r#"{"keys":["a"]}"#).with_property("model", "by_key"),
    ];
    let sent = host.deliver("scoreBatch", &batch, Transport::Chunked);
    assert!(sent.await.unwrap_err().contains("status 503"));
    let large = BlobEvent::new("large.json", vec![b' '; 100_000]);
    let sent = host.blob("scoreBlob", &large, Transport::Chunked);
    sent.await.unwrap();
    for (name, code, error) in [
        ("process scoreBatch", ERROR, "features_unavailable"),
        ("process scoreBlob", 0, "too_large"),
    ] {
        let span = collector.span(name).await;
        let found = attributes(&span.attributes);
        assert_eq!(span.status.unwrap_or_default().code, code, "{found:?}");
        assert_eq!(found["error.type"], error, "{found:?}");
    }
    let of_blob = attributes(&collector.span("process scoreBlob").await.attributes);
    assert_eq!(of_blob["score.outcome"], "rejected");
    assert!(of_blob["faas.document.name"].ends_with("large.json"));
}
