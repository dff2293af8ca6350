//! What a collector and the metrics get to know of a large blob.

use functions_host::host::HostOptions;

use super::lab::{IN, Lab, table};
use crate::support::otlp::{Collector, attributes, hex};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_trace_with_its_windows_and_lines_are_counted_by_outcome() {
    let collector = Collector::start().await;
    let lab = Lab::start(|options: HostOptions| {
        options
            .setting("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
            .setting("OTEL_BSP_SCHEDULE_DELAY", "20")
            .setting("SCORE_BLOBS_BUDGET", "1m")
    })
    .await;
    lab.upload("a.csv", &(table(250) + "x,y,z\n"));
    lab.name("a.csv");
    lab.call().await.unwrap();
    let call = collector.span("process score_large_blob").await;
    let told = attributes(&call.attributes);
    assert_eq!(told["score.outcome"], "scored");
    assert_eq!(told["faas.document.name"], format!("{IN}/a.csv"));
    let trace = collector.trace(&hex(&call.trace_id), 4).await;
    let windows: Vec<_> = trace
        .0
        .iter()
        .filter(|span| span.name == "window")
        .collect();
    assert_eq!(windows.len(), 3, "{}", trace.tree());
    assert!(
        windows
            .iter()
            .all(|window| window.parent_span_id == call.span_id)
    );
    let of = |name: &str| -> Vec<String> {
        windows
            .iter()
            .map(|window| attributes(&window.attributes)[name].clone())
            .collect()
    };
    let mut lines = of("score.line");
    lines.sort();
    assert_eq!(lines, ["102", "2", "202"]);
    let number = |text: &String| text.parse::<u64>().unwrap();
    assert_eq!(of("score.lines").iter().map(number).sum::<u64>(), 250);
    assert_eq!(of("score.failed").iter().map(number).sum::<u64>(), 1);
    let metrics = lab.host.http("GET", "/api/score/metrics", &[], b"").await;
    let metrics = metrics.expect_status(200).text();
    for line in [
        "score_bulk_lines_total{outcome=\"scored\"} 249",
        "score_bulk_lines_total{outcome=\"failed\"} 1",
        "score_bulk_window_seconds_count{} 3",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
