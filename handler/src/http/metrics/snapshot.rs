//! All metrics at one moment.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;
use score::{Cache, CostFigures, Scorer};

use crate::admission::Admission;
use crate::limits::BodyLimits;
use crate::models::{Models, VersionName};
use crate::telemetry::logging::dropped_lines;

/// What has metrics.
pub(crate) struct Sources {
    pub(crate) admission: Arc<Admission>,
    pub(crate) bodies: BodyLimits,
    pub(crate) memo: Arc<Cache>,
}

/// Reads the metrics while they are written.
pub(super) struct Snapshot(pub(super) Sources);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let Sources {
            admission,
            bodies,
            memo,
        } = &self.0;
        requests(&mut out, admission, bodies)?;
        out.one(
            "score_log_lines_dropped",
            "Log lines that were dropped because nothing read those before them",
            &ConstCounter::new(dropped_lines()),
        )?;
        cache(&mut out, memo)?;
        let Ok(models) = admission.models.now() else {
            return build(&mut out, "not loaded");
        };
        up(&mut out, &models)?;
        features(&mut out, &models)?;
        let scorers = models.serving_versions();
        let scorers: Vec<(Labels<'_>, &Scorer)> = scorers
            .map(|(name, scorer)| (labels(name), scorer))
            .collect();
        work(&mut out, &scorers)?;
        costs(&mut out, &scorers)?;
        build(&mut out, models.runtime())
    }
}

/// Writes families of metrics. A unit becomes the end of the name.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    /// A family of a single metric, or one that knows its labels.
    fn one(&mut self, name: &str, help: &str, figure: &impl EncodeMetric) -> fmt::Result {
        let kind = figure.metric_type();
        figure.encode(self.0.encode_descriptor(name, help, None, kind)?)
    }

    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        figures: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut figures = figures.into_iter().peekable();
        // Without metrics their kind is not known.
        let Some(kind) = figures.peek().map(|(_, figure)| figure.metric_type()) else {
            return Ok(());
        };
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, figure) in figures {
            figure.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn requests(out: &mut Out<'_>, admission: &Admission, bodies: &BodyLimits) -> fmt::Result {
    let counters = &admission.counters;
    let requests = counters.requests();
    let counts = requests.iter().map(|one| {
        let names = [("function", &one.function), ("model", &one.model)];
        ((names, [("status", one.status)]), one.count.clone())
    });
    out.family(
        "score_requests",
        "Requests, messages and blobs by function, model and HTTP status",
        None,
        counts,
    )?;
    out.one(
        "score_events",
        "Messages and blobs by outcome",
        counters.events(),
    )?;
    let bulk = &counters.bulk;
    let outcomes = [("scored", &bulk.scored), ("failed", &bulk.failed)];
    out.family(
        "score_bulk_lines",
        "Lines of files by outcome",
        None,
        outcomes.map(|(outcome, count)| ([("outcome", outcome)], count.clone())),
    )?;
    out.family(
        "score_bulk_window",
        "From the lines of a window of a file to its results",
        Some(Unit::Seconds),
        [([("", ""); 0], bulk.windows.histogram().clone())],
    )?;
    out.one(
        "score_client_closed",
        "Requests whose client closed the connection before the answer, by phase",
        counters.client_closes(),
    )?;
    out.one(
        "score_requests_in_flight",
        "Requests and messages that are being scored now",
        &ConstGauge::new(admission.permits.in_use() as u64),
    )?;
    out.one(
        "score_body_bytes_in_use",
        "Memory that bodies of requests in flight take, in bytes",
        &ConstGauge::new(bodies.in_use() as u64),
    )
}

fn cache(out: &mut Out<'_>, memo: &Cache) -> fmt::Result {
    let stats = memo.stats();
    for (name, help, counter) in [
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
            "Rows not found that another request was already computing",
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
    ] {
        out.one(name, help, counter)?;
    }
    let bytes = ConstGauge::new(memo.local_bytes());
    let help = "Results held in this process, in bytes";
    out.one("score_cache_local_bytes", help, &bytes)?;
    store(out, memo)
}

/// The store behind the in-process cache, if there is one.
fn store(out: &mut Out<'_>, cache: &Cache) -> fmt::Result {
    let stats = cache.stats();
    let Some(up) = cache.remote_is_up() else {
        return Ok(());
    };
    out.one(
        "score_cache_redis_up",
        "1 while requests use Redis, 0 while the gate is closed",
        &ConstGauge::new(u64::from(up)),
    )?;
    let operations = [("get", &stats.remote_reads), ("set", &stats.remote_writes)];
    out.family(
        "score_redis",
        "How long Redis took for the keys of one request, or for one batch of writes, in seconds",
        Some(Unit::Seconds),
        operations.map(|(name, times)| ([("operation", name)], times.histogram().clone())),
    )
}

/// Models that could not be loaded have no other metric.
fn up(out: &mut Out<'_>, models: &Models) -> fmt::Result {
    let figures = models.all_versions().map(|(name, slot)| {
        let is_up = u64::from(slot.is_ok());
        (labels(name), ConstGauge::new(is_up))
    });
    out.family(
        "score_model_up",
        "1 for a model that is loaded, 0 for one that could not be",
        None,
        figures,
    )
}

fn features(out: &mut Out<'_>, models: &Models) -> fmt::Result {
    let Some(features) = models.features() else {
        return Ok(());
    };
    let stats = features.stats();
    for (name, help, counter) in [
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
    ] {
        out.one(name, help, counter)?;
    }
    Ok(())
}

fn work(out: &mut Out<'_>, scorers: &[(Labels<'_>, &Scorer)]) -> fmt::Result {
    type Count = fn(&Scorer) -> u64;
    let counters: [(&str, &str, Count); 3] = [
        ("score_rows", "Rows scored", |s| s.stats().rows.get()),
        ("score_computed_rows", "Rows the model computed", |s| {
            s.stats().computed_rows.get()
        }),
        (
            "score_recomputed_requests",
            "Requests computed as a whole because their cached rows did not fit together",
            |s| s.stats().recomputed.get(),
        ),
    ];
    for (name, help, read) in counters {
        let figures = of_each(scorers, |scorer| ConstCounter::new(read(scorer)));
        out.family(name, help, None, figures)?;
    }
    out.family(
        "score_request",
        "From a request, a message or a blob to its result or refusal, in seconds",
        Some(Unit::Seconds),
        of_each(scorers, |s| s.stats().requests.histogram().clone()),
    )?;
    out.family(
        "score_waiting_rows",
        "Rows waiting or running",
        None,
        of_each(scorers, |s| ConstGauge::new(s.waiting_rows() as u64)),
    )?;
    out.family(
        "score_queue_wait",
        "How long work waited for a session, in seconds",
        Some(Unit::Seconds),
        of_each(scorers, |s| s.stats().batch.waits.histogram().clone()),
    )?;
    out.family(
        "score_inference",
        "How long a run of the model took, in seconds",
        Some(Unit::Seconds),
        of_each(scorers, |s| s.stats().batch.runs.histogram().clone()),
    )?;
    out.family(
        "score_batch_rows",
        "Rows of a run of the model",
        None,
        of_each(scorers, |s| s.stats().batch.run_rows.histogram().clone()),
    )?;
    out.family(
        "score_model_load",
        "How long loading and probing took, in seconds",
        Some(Unit::Seconds),
        of_each(scorers, |s| {
            ConstGauge::new(s.metadata().load_time.as_secs_f64())
        }),
    )
}

fn costs(out: &mut Out<'_>, scorers: &[(Labels<'_>, &Scorer)]) -> fmt::Result {
    let costs: Vec<(&Labels<'_>, CostFigures)> = scorers
        .iter()
        .map(|(model, scorer)| (model, scorer.costs()))
        .collect();
    let rows = costs.iter().filter_map(|(model, costs)| {
        let seconds = ConstGauge::new(costs.row?);
        Some(((*model).clone(), seconds))
    });
    out.family(
        "score_model_row_cost",
        "Time to compute a row, a moving average, in seconds",
        Some(Unit::Seconds),
        rows,
    )?;
    let saved = costs.iter();
    out.family(
        "score_cache_saved",
        "Time of computing that hits saved, less the time of look-ups and of storing, in seconds",
        Some(Unit::Seconds),
        saved.map(|(model, costs)| ((*model).clone(), ConstGauge::new(costs.saved))),
    )?;
    let lookups = costs.iter().flat_map(|(model, costs)| {
        let tiers = [
            ("local", costs.local_lookup),
            ("redis", costs.remote_lookup),
        ];
        tiers.into_iter().filter_map(|(tier, seconds)| {
            let labels = ((*model).clone(), [("tier", tier)]);
            Some((labels, ConstGauge::new(seconds?)))
        })
    });
    out.family(
        "score_cache_lookup_cost",
        "Time to look up a row, a moving average, in seconds",
        Some(Unit::Seconds),
        lookups,
    )?;
    let plans = costs.iter().flat_map(|(model, costs)| {
        costs.plans.iter().map(|(plan, count)| {
            let labels = ((*model).clone(), [("plan", *plan)]);
            (labels, ConstCounter::new(*count))
        })
    });
    out.family(
        "score_cache_requests",
        "Requests that could be looked up, by plan",
        None,
        plans,
    )
}

/// `runtime` is what ONNX Runtime says of its build.
fn build(out: &mut Out<'_>, runtime: &str) -> fmt::Result {
    let version = env!("CARGO_PKG_VERSION");
    let info = Info::new([("version", version), ("runtime", runtime)]);
    out.one(
        "score_build",
        "Builds of this program and of ONNX Runtime",
        &info,
    )
}

/// The labels of a version of a model.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// A model with a single version has none of it, so that its series stay the same with a new one.
fn labels(name: VersionName<'_>) -> Labels<'_> {
    let version = name.version.map(|version| ("version", version));
    let model = std::iter::once(("model", name.model));
    model.chain(version).collect()
}

/// One metric for each version of each model.
fn of_each<'a, M>(
    scorers: &'a [(Labels<'a>, &'a Scorer)],
    read: impl Fn(&Scorer) -> M + 'a,
) -> impl Iterator<Item = (Labels<'a>, M)> {
    scorers
        .iter()
        .map(move |(model, scorer)| (model.clone(), read(scorer)))
}
