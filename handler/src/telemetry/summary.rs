//! One log line a minute about what was scored, so that single requests need none.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use score::Cache;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::info;

use crate::admission::Admission;
use crate::counters::Outcomes;

const MINUTE: Duration = Duration::from_secs(60);

/// Counts since the start of the process.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    outcomes: Outcomes,
    rows: u64,
    hits: u64,
    misses: u64,
}

impl Counts {
    fn of(admission: &Admission, memo: &Cache) -> Self {
        let stats = memo.stats();
        let models = admission.models.now();
        let scorers = models.iter().flat_map(|models| models.serving_versions());
        Self {
            outcomes: admission.counters.outcomes(),
            rows: scorers.map(|(_, scorer)| scorer.stats().rows.get()).sum(),
            hits: stats.local_hits.get() + stats.remote_hits.get(),
            misses: stats.misses.get(),
        }
    }

    fn since(self, earlier: Self) -> Self {
        let (now, then) = (self.outcomes, earlier.outcomes);
        Self {
            outcomes: Outcomes {
                requests: now.requests - then.requests,
                refused: now.refused - then.refused,
                failed: now.failed - then.failed,
                client_closed: now.client_closed - then.client_closed,
            },
            // Those of a model that was exchanged begin again.
            rows: self.rows.saturating_sub(earlier.rows),
            hits: self.hits - earlier.hits,
            misses: self.misses - earlier.misses,
        }
    }

    /// The share of hits in per cent, with one decimal; `None` if no row was looked up.
    fn hit_percent(self) -> Option<f64> {
        let rows = self.hits + self.misses;
        (rows > 0).then(|| (self.hits as f64 * 1e3 / rows as f64).round() / 10.0)
    }
}

/// What was logged last, and when.
pub(crate) struct Summary {
    admission: Arc<Admission>,
    memo: Arc<Cache>,
    logged: Counts,
    at: Instant,
}

impl Summary {
    /// Counts from now on.
    pub(crate) fn new(admission: Arc<Admission>, memo: Arc<Cache>) -> Self {
        Self {
            admission,
            memo,
            logged: Counts::default(),
            at: Instant::now(),
        }
    }

    /// Logs at the end of every minute. Does not end.
    pub(crate) async fn every_minute(&mut self) -> Infallible {
        let mut minutes = interval_at(self.at + MINUTE, MINUTE);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            minutes.tick().await;
            self.log();
        }
    }

    /// Logs what came since the last line, if anything did.
    pub(crate) fn log(&mut self) {
        let counts = Counts::of(&self.admission, &self.memo);
        let new = counts.since(self.logged);
        let seconds = self.at.elapsed().as_secs();
        (self.logged, self.at) = (counts, Instant::now());
        let closed = new.outcomes.client_closed;
        if new.outcomes.requests + closed == 0 {
            return;
        }
        info!(
            seconds,
            requests = new.outcomes.requests,
            refused = new.outcomes.refused,
            failed = new.outcomes.failed,
            client_closed = (closed > 0).then_some(closed),
            rows = new.rows,
            hits = new.hits,
            misses = new.misses,
            hit_percent = new.hit_percent(),
            "summary"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::field::{Field, Visit};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;
    use crate::Config;
    use crate::app::App;
    use crate::counters::{SCORING, UPLOAD};

    /// Keeps the fields of each event.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Fields<'a>(&'a mut String);

    impl Visit for Fields<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.push_str(&format!("{field}={value:?} "));
        }
    }

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = String::new();
            event.record(&mut Fields(&mut line));
            self.0.lock().unwrap().push(line);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_with_traffic_is_one_line_and_one_without_is_none() {
        let root = tempfile::tempdir().unwrap();
        let config = Config::from_lookup(|name| {
            (name == "FUNCTIONS_APP_ROOT_PATH").then(|| root.path().to_str().unwrap().to_owned())
        });
        let (app, _loading) = App::start(config.unwrap()).unwrap();
        let lines = Lines::default();
        let registry = tracing_subscriber::registry().with(lines.clone());
        let _tracing = tracing::subscriber::set_default(registry);
        let counters = &app.admission.counters;
        let mut summary = Summary::new(app.admission.clone(), app.memo.clone());
        for status in [200, 200, 404, 503] {
            counters.count("score", Some("m"), status);
        }
        counters.count("info", None, 200);
        app.memo.stats().local_hits.inc_by(2);
        app.memo.stats().misses.inc();
        let two_minutes = tokio::time::sleep(MINUTE * 2 + MINUTE / 2);
        tokio::select! {
            never = summary.every_minute() => match never {},
            () = two_minutes => {}
        }
        let expected = "message=summary seconds=60 requests=4 refused=1 failed=1 rows=0 hits=2 misses=1 \
                        hit_percent=66.7 ";
        assert_eq!(*lines.0.lock().unwrap(), [expected]);
        counters.count("info", None, 200);
        summary.log();
        assert_eq!(lines.0.lock().unwrap().len(), 1);
        counters.count("score", Some("m"), 200);
        summary.log();
        assert!(lines.0.lock().unwrap()[1].contains("requests=1 refused=0"));
        counters.client_closed(UPLOAD);
        counters.client_closed(SCORING);
        summary.log();
        let line = &lines.0.lock().unwrap()[2];
        assert!(line.contains("requests=0 refused=0 failed=0 client_closed=2 "));
    }
}
