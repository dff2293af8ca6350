//! Figures in the text format of Prometheus.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use score::{CostFigures, Scorer};

use crate::app::App;

/// Of the OpenMetrics text format, which Prometheus reads.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the HTTP side counts itself; the rest is read from the models and the cache when asked.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: Family<[(&'static str, String); 1], Counter>,
    events: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    /// Counts one answer.
    pub(crate) fn answered(&self, status: u16) {
        let labels = [("status", status.to_string())];
        self.answers.get_or_create(&labels).inc();
    }

    /// Counts messages and blobs that were scored or refused.
    pub(crate) fn settled(&self, scored: usize, rejected: usize) {
        for (outcome, count) in [("scored", scored), ("rejected", rejected)] {
            let events = self.events.get_or_create(&[("outcome", outcome)]);
            events.inc_by(count as u64);
        }
    }
}

/// All figures as text.
pub(crate) fn render(app: &Arc<App>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(app.clone())));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

struct Snapshot(Arc<App>);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_cache(&mut out)?;
        self.encode_features(&mut out)?;
        self.encode_models(&mut out)?;
        self.encode_costs(&mut out)?;
        let answers = &self.0.metrics.answers;
        let help = "Answers to public requests by status";
        answers.encode(out.encode_descriptor(
            "score_answers",
            help,
            None,
            MetricType::Counter,
        )?)?;
        let events = &self.0.metrics.events;
        let help = "Messages and blobs by what became of them";
        events.encode(out.encode_descriptor("score_events", help, None, MetricType::Counter)?)
    }
}

impl Snapshot {
    fn encode_cache(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let memo = self.0.memo();
        let stats = memo.stats();
        let counters = [
            (
                "score_cache_local_hits",
                "Rows found in this process",
                &stats.local_hits,
            ),
            (
                "score_cache_redis_hits",
                "Rows found in Redis",
                &stats.remote_hits,
            ),
            ("score_cache_misses", "Rows found nowhere", &stats.misses),
            (
                "score_cache_shared",
                "Rows found nowhere that another request was computing already",
                &stats.shared,
            ),
            (
                "score_cache_damaged",
                "Values in Redis that were no valid results",
                &stats.damaged,
            ),
            (
                "score_cache_redis_errors",
                "Failed or refused Redis commands",
                &stats.remote_errors,
            ),
            (
                "score_cache_writes",
                "Results written to Redis",
                &stats.writes,
            ),
            (
                "score_cache_dropped_writes",
                "Results not written to Redis",
                &stats.dropped_writes,
            ),
        ];
        for (name, help, counter) in counters {
            counter.encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let bytes = ConstGauge::new(memo.local_bytes());
        let help = "Bytes of results held in this process";
        bytes.encode(out.encode_descriptor(
            "score_cache_local_bytes",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        if let Some(up) = memo.remote_is_up() {
            let help = "1 while Redis answers, 0 while it is left alone";
            let up = ConstGauge::new(u64::from(up));
            up.encode(out.encode_descriptor(
                "score_cache_redis_up",
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }

    fn encode_features(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let models = self.0.models();
        let Some(features) = models.as_ref().ok().and_then(|models| models.features()) else {
            return Ok(());
        };
        let stats = features.stats();
        let counters = [
            (
                "score_features_found",
                "Keys whose features were found",
                &stats.found,
            ),
            (
                "score_features_missing",
                "Keys without features",
                &stats.missing,
            ),
            (
                "score_features_errors",
                "Look-ups of features that failed or were not tried",
                &stats.errors,
            ),
        ];
        for (name, help, counter) in counters {
            counter.encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }

    fn encode_models(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(models) = self.0.models() else {
            return Ok(());
        };
        let scorers: Vec<(&str, &Scorer)> = models
            .all()
            .filter_map(|(name, slot)| Some((name, slot.as_ref().ok()?)))
            .collect();
        type Read = fn(&Scorer) -> u64;
        let figures: [(&str, &str, MetricType, Read); 4] = [
            ("score_rows", "Rows scored", MetricType::Counter, |s| {
                s.stats().rows.get()
            }),
            (
                "score_computed_rows",
                "Rows the model computed",
                MetricType::Counter,
                |s| s.stats().computed_rows.get(),
            ),
            (
                "score_recomputed_requests",
                "Requests whose remembered rows did not fit together",
                MetricType::Counter,
                |s| s.stats().recomputed.get(),
            ),
            (
                "score_waiting_rows",
                "Rows waiting or running",
                MetricType::Gauge,
                |s| s.waiting_rows() as u64,
            ),
        ];
        for (name, help, kind, read) in figures {
            let mut family = out.encode_descriptor(name, help, None, kind)?;
            for (model, scorer) in &scorers {
                let labels = [("model", *model)];
                let one = family.encode_family(&labels)?;
                match kind {
                    MetricType::Counter => {
                        ConstCounter::new(read(scorer)).encode(one)?;
                    }
                    _ => ConstGauge::new(read(scorer)).encode(one)?,
                }
            }
        }
        Ok(())
    }

    fn encode_costs(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(models) = self.0.models() else {
            return Ok(());
        };
        let models = models.all();
        let costs: Vec<(&str, CostFigures)> = models
            .filter_map(|(name, slot)| Some((name, slot.as_ref().ok()?.costs())))
            .collect();
        type Read = fn(&CostFigures) -> Option<f64>;
        let figures: [(&str, &str, Read); 2] = [
            (
                "score_model_row_cost_seconds",
                "What computing a row takes, lately",
                |costs| costs.row,
            ),
            (
                "score_cache_saved_seconds",
                "Computing that hits made unnecessary, less what looking up and remembering took",
                |costs| Some(costs.saved),
            ),
        ];
        for (name, help, read) in figures {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (model, costs) in &costs {
                if let Some(seconds) = read(costs) {
                    let labels = [("model", *model)];
                    ConstGauge::new(seconds).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let name = "score_cache_lookup_cost_seconds";
        let help = "What looking up a row takes, lately";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (model, costs) in &costs {
            for (tier, cost) in [
                ("local", costs.local_lookup),
                ("redis", costs.remote_lookup),
            ] {
                if let Some(seconds) = cost {
                    let labels = [("model", *model), ("tier", tier)];
                    ConstGauge::new(seconds).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let name = "score_cache_requests";
        let help = "Requests that might have been looked up, by how they were";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (model, costs) in &costs {
            for (plan, count) in costs.plans {
                let labels = [("model", *model), ("plan", plan)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
