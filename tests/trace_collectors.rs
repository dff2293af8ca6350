//! Collectors of traces that are slow, away, or speak something else.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::app_root::AppRoot;
use crate::support::otlp::{Collector, Mood};
use crate::traces::{TRACE, options, score, start};
use functions_host::PATIENCE;
use functions_host::host::FunctionsHost;
use functions_host::port;
use functions_host::process::Level;

/// How long the handler waits for the collector in these tests.
const COLLECTOR_MS: u64 = 3000;

/// Scores for a while; the times are those of requests, not those of the collector. A busy machine may delay some.
async fn assert_undisturbed(host: &FunctionsHost) {
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        score(host, "01").await;
        times.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times.sort_unstable();
    assert!(
        times[25] < Duration::from_millis(COLLECTOR_MS / 3),
        "{times:?}"
    );
}

fn lines(host: &FunctionsHost, part: &str) -> usize {
    let logs = host.logs();
    assert!(
        logs.iter()
            .all(|line| line.level != Level::Error && !line.is_stderr)
    );
    logs.iter().filter(|line| line.text.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_well_costs_one_line() {
    for mood in [Mood::Refusing, Mood::Hanging] {
        let collector = Collector::start().await;
        collector.is(mood);
        let patience = COLLECTOR_MS.to_string();
        let impatient = [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", &*patience),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32"),
        ];
        let host = start(&collector, &impatient).await;
        assert_undisturbed(&host).await;
        host.wait_for_log("traces cannot be exported", PATIENCE)
            .await;
        let deadline = Instant::now() + PATIENCE;
        while collector.requests() < 2 {
            assert!(Instant::now() < deadline, "{mood:?}");
            score(&host, "01").await;
        }
        assert_eq!(lines(&host, "traces cannot be exported"), 1, "{mood:?}");
        collector.is(Mood::Well);
        let deadline = Instant::now() + PATIENCE;
        while lines(&host, "traces are exported again") == 0 {
            assert!(Instant::now() < deadline, "{mood:?}");
            score(&host, "01").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(lines(&host, "trace"), 2, "{mood:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_closes_idle_connections_costs_nothing() {
    let collector = Collector::start().await;
    collector.is(Mood::Impatient);
    let host = start(&collector, &[]).await;
    for round in 1..=5 {
        score(&host, "01").await;
        collector.trace(TRACE, round * 2).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(collector.requests() >= 5);
    assert_eq!(lines(&host, "traces"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_one_line_and_no_time_at_the_end() {
    for endpoint in [
        format!("http://127.0.0.1:{}", port::free()),
        "http://nowhere.invalid:4318/?key=s3cret".to_owned(),
        // No server answers there.
        "http://192.0.2.1:4318".to_owned(),
    ] {
        let options =
            options(&endpoint).setting("OTEL_EXPORTER_OTLP_TIMEOUT", COLLECTOR_MS.to_string());
        let host = FunctionsHost::start(&AppRoot::with_sample(), options).await;
        assert_undisturbed(&host).await;
        host.wait_for_log("traces cannot be exported", PATIENCE)
            .await;
        assert_eq!(lines(&host, "traces cannot"), 1, "{endpoint}");
        assert_eq!(lines(&host, "s3cret"), 0);
        let stopped = Instant::now();
        host.signal(Signal::SIGTERM);
        let status = host.wait_exit(PATIENCE).await;
        assert!(status.success(), "{endpoint}: {status}");
        assert!(
            stopped.elapsed() < Duration::from_millis(1500),
            "{endpoint}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_spoken_is_said_once_and_scoring_goes_on() {
    let host = FunctionsHost::start(
        &AppRoot::with_sample(),
        options("http://127.0.0.1:9").setting("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    )
    .await;
    score(&host, "01").await;
    assert_eq!(lines(&host, "traces are not exported"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_certificates_scores_and_sends_to_plain_http() {
    let none = [("SSL_CERT_FILE", "/nowhere/certificates.pem")];
    let collector = Collector::start().await;
    let host = start(&collector, &none).await;
    score(&host, "01").await;
    collector.trace(TRACE, 6).await;
    assert_eq!(lines(&host, "traces"), 0);
    let options = options("https://127.0.0.1:9").setting(none[0].0, none[0].1);
    let host = FunctionsHost::start(&AppRoot::with_sample(), options).await;
    score(&host, "01").await;
    assert_eq!(
        lines(&host, "traces are not exported: there are no cert"),
        1
    );
}
