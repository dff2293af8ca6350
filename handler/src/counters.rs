//! What is counted of requests, messages and blobs; models and the cache count the rest themselves.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use score::Times;

/// What may be going on when a client goes away.
const DURING: [&str; 2] = [UPLOAD, SCORING];
/// Its body was being read.
pub(crate) const UPLOAD: &str = "upload";
/// Its body was there.
pub(crate) const SCORING: &str = "scoring";

/// What the HTTP side counts itself; the rest is read from the models and the cache when asked.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Guards the list alone: a request finds its counter under the shared lock, and only the first one that goes some way
    /// takes the other.
    requests: RwLock<Vec<Requests>>,
    events: Labelled,
    closed: Labelled,
    /// Shared with those who score files.
    pub(crate) bulk: Arc<BulkCounters>,
}

/// What is counted of the lines of files.
#[derive(Debug, Default)]
pub(crate) struct BulkCounters {
    pub(crate) scored: Counter,
    pub(crate) failed: Counter,
    /// From the lines of a window to those of its results.
    pub(crate) windows: Times,
}

impl BulkCounters {
    /// Counts the lines of one window.
    pub(crate) fn count(&self, scored: u64, failed: u64, took: Duration) {
        self.scored.inc_by(scored);
        self.failed.inc_by(failed);
        self.windows.observe(took);
    }
}

/// Requests that went the same way. There are few such ways, so that looking through them is faster than a table of
/// hashes, and no labels have to be made for it.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    /// The name of a function; like the model's never what a caller sent, so that their number is bounded.
    pub(crate) function: String,
    pub(crate) model: String,
    pub(crate) status: u16,
    pub(crate) count: Counter,
}

/// Counters that one label tells apart.
pub(crate) type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// How many requests, messages and blobs there were, and how many of them got no result.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcomes {
    pub(crate) requests: u64,
    /// By the caller's fault.
    pub(crate) refused: u64,
    /// By ours, or for now.
    pub(crate) failed: u64,
    /// Not counted in any of the others: the client went away before there was an answer.
    pub(crate) client_closed: u64,
}

impl Counters {
    /// Counts one request, message or blob, the latter two by the status they would have had as a request. `model` is
    /// there if one was found, and loaded.
    pub(crate) fn count(&self, function: &str, model: Option<&str>, status: u16) {
        let model = model.unwrap_or("none");
        let same = |one: &&Requests| {
            one.status == status && one.model == model && one.function == function
        };
        let requests = self.requests.read();
        if let Some(one) = requests.iter().find(same) {
            one.count.inc();
            return;
        }
        drop(requests);
        let mut requests = self.requests.write();
        if let Some(one) = requests.iter().find(same) {
            one.count.inc();
            return;
        }
        let count = Counter::default();
        count.inc();
        requests.push(Requests {
            function: function.to_owned(),
            model: model.to_owned(),
            status,
            count,
        });
    }

    /// All requests, messages and blobs so far.
    pub(crate) fn requests(&self) -> Vec<Requests> {
        self.requests.read().clone()
    }

    /// Messages and blobs by outcome.
    pub(crate) fn events(&self) -> &Labelled {
        &self.events
    }

    /// Requests whose client went away, by what was done at that time.
    pub(crate) fn client_closes(&self) -> &Labelled {
        &self.closed
    }

    /// What was to be scored so far. Probes, scrapes and unknown paths are left out, as in the dashboard.
    pub(crate) fn outcomes(&self) -> Outcomes {
        let requests = self.requests.read();
        let mut all = Outcomes::default();
        for one in requests.iter() {
            if one.function == "info" || one.function == "none" {
                continue;
            }
            let count = one.count.get();
            all.requests += count;
            match one.status {
                400..500 => all.refused += count,
                500.. => all.failed += count,
                _ => {}
            }
        }
        all.client_closed = DURING
            .map(|during| self.closed.get_or_create(&[("during", during)]).get())
            .iter()
            .sum();
        all
    }

    /// Counts a request whose client went away, by what was done at that time: one of [`DURING`].
    pub(crate) fn client_closed(&self, during: &'static str) {
        self.closed.get_or_create(&[("during", during)]).inc();
    }

    /// Counts messages and blobs that were scored or refused.
    pub(crate) fn settled(&self, scored: usize, rejected: usize) {
        for (outcome, count) in [("scored", scored), ("rejected", rejected)] {
            let events = self.events.get_or_create(&[("outcome", outcome)]);
            events.inc_by(count as u64);
        }
    }
}
