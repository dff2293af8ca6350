//! Figures for Prometheus.

mod plain;
mod snapshot;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use score::Times;

use crate::app::App;
use snapshot::Snapshot;

/// The content type of the OpenMetrics text format.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// That of the older text format.
pub(crate) const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names of functions and of loaded models, never what a caller sent: their number is bounded.
type RequestLabels = ([(&'static str, String); 2], [(&'static str, u16); 1]);
type ModelLabel = [(&'static str, String); 1];

/// What the HTTP side counts itself; the rest is read from the models and the cache when asked.
#[derive(Debug)]
pub(crate) struct Metrics {
    answers: Family<[(&'static str, u16); 1], Counter>,
    requests: Family<RequestLabels, Counter>,
    times: Family<ModelLabel, Histogram, fn() -> Histogram>,
    events: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            answers: Family::default(),
            requests: Family::default(),
            times: Family::new_with_constructor(|| Times::default().histogram().clone()),
            events: Family::default(),
        }
    }
}

impl Metrics {
    /// Counts one answer. `model` is there if one was found, and loaded.
    pub(crate) fn answered(&self, function: &str, model: Option<&str>, status: u16) {
        self.answers.get_or_create(&[("status", status)]).inc();
        self.finished(function, model, status);
    }

    /// Counts one message or blob by the status it would have had as a request.
    pub(crate) fn finished(&self, function: &str, model: Option<&str>, status: u16) {
        let names = [
            ("function", function.to_owned()),
            ("model", model.unwrap_or("none").to_owned()),
        ];
        let labels = (names, [("status", status)]);
        self.requests.get_or_create(&labels).inc();
    }

    /// Takes down how long a request, a message or a blob took.
    pub(crate) fn took(&self, model: &str, time: Duration) {
        let times = self.times.get_or_create(&[("model", model.to_owned())]);
        times.observe(time.as_secs_f64());
    }

    /// Counts messages and blobs that were scored or refused.
    pub(crate) fn settled(&self, scored: usize, rejected: usize) {
        for (outcome, count) in [("scored", scored), ("rejected", rejected)] {
            let events = self.events.get_or_create(&[("outcome", outcome)]);
            events.inc_by(count as u64);
        }
    }
}

/// All figures as text, and its content type: OpenMetrics for those that name it in `Accept`, else what every tool reads.
pub(crate) fn render(
    app: &Arc<App>,
    accept: Option<&str>,
) -> Result<(String, &'static str), fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(app.clone())));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    if wants_open_metrics(accept.unwrap_or_default()) {
        return Ok((text, OPEN_METRICS));
    }
    Ok((plain::of(&text), PLAIN))
}

fn wants_open_metrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        named && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_has_to_be_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(wants_open_metrics(prometheus));
        for accept in [
            "",
            "*/*",
            "text/plain; version=0.0.4",
            "application/openmetrics-text;q=0, text/plain",
        ] {
            assert!(!wants_open_metrics(accept), "{accept}");
        }
    }
}
