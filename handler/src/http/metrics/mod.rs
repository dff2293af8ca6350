//! All metrics as text for Prometheus.

mod plain;
mod snapshot;

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use snapshot::Snapshot;
pub(crate) use snapshot::Sources;

/// The content type of the OpenMetrics text format.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// That of the older text format.
pub(crate) const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as text, and its content type: OpenMetrics for those that name it in `Accept`, else what every tool reads.
pub(crate) fn render(
    sources: Sources,
    accept: Option<&str>,
) -> Result<(String, &'static str), fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(sources)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    if wants_open_metrics(accept.unwrap_or_default()) {
        return Ok((text, OPEN_METRICS));
    }
    Ok((plain::of(&text), PLAIN))
}

fn wants_open_metrics(accept: &str) -> bool {
    wire::accept::weight_if_named(accept, "application/openmetrics-text") > 0.0
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
