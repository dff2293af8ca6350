//! What a fault is, and how each is put to the test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;

use super::form::Form;
use super::load::{Asked, KNOWN_PER_REQUEST, KNOWN_ROWS, Load, Sample, hits, p99, score};
use super::oracle;
use super::report::{Objections, Report, Row};
use crate::support::app_root::AppRoot;
use functions_host::PATIENCE;
use functions_host::host::{FunctionsHost, HostOptions};

/// How often a fault is put to the test as long as nothing but time speaks against the handler: the 99th percentile of a
/// short time is nearly its maximum, and a busy machine makes one request late by chance, but not three times.
const RUNS: usize = 3;
const HITS_AGAIN_LIMIT: Duration = PATIENCE;

/// A Redis, however it is made up, that can be broken.
pub(crate) trait Backend: Sync {
    /// The settings of the handler for it, and the rest of its environment.
    fn settings(&self) -> HostOptions;

    /// Makes it whole and empty before the next fault.
    fn prepare(&self) -> LocalBoxFuture<'_, ()>;
}

/// One step of a fault.
pub(crate) type Step<B> = for<'a> fn(&'a B) -> LocalBoxFuture<'a, ()>;

/// How one sees that a fault has happened at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Redis is of no use: requests leave it alone until the fault ends.
    Outage,
    /// Known rows are not found, for a time at least.
    Misses,
    /// What is known is found, and nothing new is stored.
    RefusedWrites,
}

/// Something that happens to a `B` and then is over.
#[derive(Debug)]
pub(crate) struct Fault<B> {
    name: &'static str,
    effect: Effect,
    prepare: Step<B>,
    apply: Step<B>,
    lift: Step<B>,
    tidy: Step<B>,
}

impl<B> Fault<B> {
    /// A fault that begins with `apply` and is over after `lift`.
    pub(crate) fn new(name: &'static str, effect: Effect, apply: Step<B>, lift: Step<B>) -> Self {
        Self {
            name,
            effect,
            prepare: |_| Box::pin(async {}),
            apply,
            lift,
            tidy: |_| Box::pin(async {}),
        }
    }

    /// What has to be done before; nothing is measured meanwhile.
    pub(crate) fn prepared_by(mut self, prepare: Step<B>) -> Self {
        self.prepare = prepare;
        self
    }

    /// What else has to end when hits are back; no request may fail meanwhile either.
    pub(crate) fn tidied_by(mut self, tidy: Step<B>) -> Self {
        self.tidy = tidy;
        self
    }
}

/// The suite: one handler without a cache for comparison, and the table of what was found.
pub(crate) struct Suite {
    form: Form,
    app: AppRoot,
    without_cache: Arc<FunctionsHost>,
    report: Report,
}

impl Suite {
    /// Starts the handler without a cache.
    pub(crate) async fn start(form: Form) -> Self {
        let app = oracle::app();
        let without_cache = FunctionsHost::start(&app, [("SCORE_CACHE_POLICY", "off")]).await;
        let limit = PATIENCE;
        without_cache.wait_for_log("model loaded", limit).await;
        Self {
            form,
            app,
            without_cache: Arc::new(without_cache),
            report: Report::new(form),
        }
    }

    /// Puts a handler of its own before `backend` and goes through the faults.
    pub(crate) async fn run<B: Backend>(&mut self, backend: B, faults: Vec<Fault<B>>) {
        let host = Arc::new(started(&self.app, backend.settings()).await);
        let load = Load::start(&host, &self.without_cache, self.form.pace);
        for fault in faults {
            let mut runs = 0;
            let (row, objections) = loop {
                let row = self.put_to_test(&backend, &fault, &host, &load).await;
                let objections = row.objections(fault.effect, self.form);
                runs += 1;
                if runs == RUNS || !objections.may_be_chance() {
                    break (row, objections);
                }
                announce_another_run(fault.name, objections);
            };
            self.report.add(&row, runs, objections);
        }
        load.stop().await;
        assert_eq!(host.error_logs(), Vec::<String>::new());
    }

    /// Shows the table.
    ///
    /// # Panics
    ///
    /// If a row of it is not as it must be.
    pub(crate) fn finish(self) {
        // A handler that ends while a test fails shows its log: every request would hide the table.
        drop(self.without_cache);
        self.report.finish();
    }

    async fn put_to_test<B: Backend>(
        &self,
        backend: &B,
        fault: &Fault<B>,
        host: &FunctionsHost,
        load: &Load,
    ) -> Row {
        backend.prepare().await;
        (fault.prepare)(backend).await;
        let filled = all_hit(host, HITS_AGAIN_LIMIT).await.is_some();
        assert!(filled, "before {:?}: Redis does not get filled", fault.name);
        let dropped = counter(host, "score_cache_dropped_writes_total").await;
        let began = Instant::now();
        tokio::time::sleep(self.form.before).await;
        let applied = Instant::now();
        (fault.apply)(backend).await;
        tokio::time::sleep(self.form.first).await;
        if fault.effect == Effect::Outage && !self.form.is_long {
            // However busy the machine is.
            left_alone(host).await;
        }
        let settled = Instant::now();
        tokio::time::sleep(self.form.during).await;
        let dropped = counter(host, "score_cache_dropped_writes_total").await - dropped;
        let lifted = Instant::now();
        (fault.lift)(backend).await;
        let ended = Instant::now();
        let hits_again = all_hit(host, HITS_AGAIN_LIMIT).await;
        let hits_again = hits_again.map(|at| at.saturating_duration_since(ended));
        (fault.tidy)(backend).await;
        let all = load.samples(began, Instant::now());
        let within = |from, to| all.iter().filter(move |s| s.at >= from && s.at < to);
        let cached = |sample: &&Sample| sample.asked == Asked::Cached;
        let mut failures = all.iter().filter_map(|sample| sample.failure.clone());
        let unaware = |s: &&Sample| cached(s) && s.hits.is_some();
        let lost = |s: &&Sample| cached(s) && s.hits.is_some_and(|h| h < KNOWN_PER_REQUEST);
        Row {
            fault: fault.name,
            served: all.len(),
            failed: all.iter().filter(|s| s.failure.is_some()).count(),
            first_failure: failures.next(),
            wrong: all.iter().filter(|s| s.is_wrong).count(),
            before: p99(within(began, applied), Asked::Cached),
            without_cache_first: p99(within(applied, settled), Asked::WithoutCache),
            first: p99(within(applied, settled), Asked::Cached),
            without_cache_during: p99(within(settled, lifted), Asked::WithoutCache),
            during: p99(within(settled, lifted), Asked::Cached),
            hits_again,
            asked_during: within(settled, lifted).filter(unaware).count(),
            served_during: within(settled, lifted).filter(cached).count(),
            incomplete: within(applied, lifted).filter(lost).count(),
            dropped_writes: dropped,
        }
    }
}

/// A handler that knows its Redis and has no in-process tier, so that every hit is one of Redis.
async fn started(app: &AppRoot, settings: HostOptions) -> FunctionsHost {
    let limit = PATIENCE;
    let host = FunctionsHost::start(app, settings.setting("SCORE_L1_BYTES", "0")).await;
    host.wait_for_log("redis connected", limit).await;
    host.wait_for_log("model loaded", limit).await;
    host
}

/// Waits until Redis is not asked any more.
async fn left_alone(host: &FunctionsHost) {
    let give_up = Instant::now() + PATIENCE;
    while counter(host, "score_cache_redis_up").await != 0 {
        assert!(Instant::now() < give_up, "Redis is asked all the same");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn announce_another_run(fault: &str, objections: Objections) {
    println!("{fault}, once more: {}", objections.into_texts().join("; "));
}

/// Asks for all known rows until all are found, and says when they were. Those that another request computes at the
/// moment count as found.
async fn all_hit(host: &FunctionsHost, limit: Duration) -> Option<Instant> {
    let rows: Vec<u32> = (0..KNOWN_ROWS).collect();
    let body = oracle::body(&rows);
    let give_up = Instant::now() + limit;
    while Instant::now() < give_up {
        let answer = score(host, body.clone()).await;
        if hits(&answer, rows.len()) == Some(rows.len()) {
            return Some(Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

/// A metric of the handler.
pub(crate) async fn counter(host: &FunctionsHost, name: &str) -> u64 {
    let answer = host.http("GET", "/api/score/metrics", &[], []).await;
    let text = answer.expect_status(200).text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}
