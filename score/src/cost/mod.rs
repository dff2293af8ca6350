//! What scoring costs and whether remembering pays: times learned from every request, and the plan for the next one.

mod average;
mod ghost;
mod learned;
mod planner;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use ghost::Sight;
use ghost::{Fingerprints, Ghost};
use learned::Learned;
pub(crate) use learned::LookedUp;
use planner::Planner;
pub(crate) use planner::{Available, Decision};

use crate::cache::Tiers;
use crate::tensor::Tensor;

/// When remembered results are looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// For every request.
    #[default]
    Always,
    /// Where the costs learned so far say that it pays.
    Auto,
    /// Never, and nothing is remembered.
    Off,
}

impl CachePolicy {
    /// Its word in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }
}

/// How one request is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Computed; nothing is looked up or remembered.
    Compute,
    /// Its rows are looked up one by one.
    Rows(Tiers),
    /// It is looked up as a whole.
    Request(Tiers),
}

impl Plan {
    /// The one to keep to while too little is known, and under [`CachePolicy::Always`]. Of all that cost about the same
    /// the first is taken: what others share, and what is found in parts.
    const PREFERRED: [Self; 5] = [
        Self::Rows(Tiers::All),
        Self::Request(Tiers::All),
        Self::Rows(Tiers::Local),
        Self::Request(Tiers::Local),
        Self::Compute,
    ];
    pub(crate) const DEFAULT: Self = Self::PREFERRED[0];

    /// The tiers that are asked, and that remember.
    pub(crate) fn tiers(self) -> Option<Tiers> {
        match self {
            Self::Rows(tiers) | Self::Request(tiers) => Some(tiers),
            Self::Compute => None,
        }
    }

    /// Its name in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rows(Tiers::All) => "rows",
            Self::Request(Tiers::All) => "request",
            Self::Rows(Tiers::Local) => "rows_local",
            Self::Request(Tiers::Local) => "request_local",
            Self::Compute => "none",
        }
    }
}

/// What a model's rows and look-ups cost, as far as it has shown, in seconds. Costs are moving averages for each row, in
/// requests and runs as they come: many rows at once cost less each.
#[derive(Debug, Clone, Default)]
pub struct CostFigures {
    /// Computing a row; `None` before the first runs.
    pub row: Option<f64>,
    /// Finding out whether this process holds a row: the digest and the look-up.
    pub local_lookup: Option<f64>,
    /// Asking the shared store for a row.
    pub remote_lookup: Option<f64>,
    /// Computing that hits made unnecessary, less the time of all look-ups and of remembering; a sum.
    pub saved: f64,
    /// Requests by how they were looked up.
    pub plans: [(&'static str, u64); Plan::PREFERRED.len()],
}

/// Learns one model's costs and, under [`CachePolicy::Auto`], plans its requests.
#[derive(Debug)]
pub(crate) struct Costs {
    prints: Option<Fingerprints>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    learned: Learned,
    planner: Planner,
    /// Under [`CachePolicy::Auto`].
    ghost: Option<Ghost>,
}

impl Costs {
    pub(crate) fn new(policy: CachePolicy) -> Self {
        let auto = policy == CachePolicy::Auto;
        let state = State {
            learned: Learned::default(),
            planner: Planner::new(fastrand::Rng::new()),
            ghost: auto.then(Ghost::default),
        };
        Self {
            prints: auto.then(Fingerprints::default),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How to score a request of these inputs; `rows` if they may be cut apart.
    pub(crate) fn plan(
        &self,
        inputs: &[Tensor],
        rows: Option<usize>,
        available: Available,
    ) -> Decision {
        match &self.prints {
            Some(prints) => {
                let sight = prints.of(inputs, rows);
                self.plan_seen(sight, rows.unwrap_or(1), available, Instant::now())
            }
            None => Decision::default(),
        }
    }

    fn plan_seen(&self, sight: Sight, rows: usize, available: Available, now: Instant) -> Decision {
        let mut state = self.lock();
        let State {
            learned,
            planner,
            ghost,
        } = &mut *state;
        let Some(ghost) = ghost else {
            return Decision::default();
        };
        let seen = learned.see(ghost, sight, now);
        let (plan, warm) = planner.plan(learned, rows, available, now);
        if plan == Plan::Compute {
            learned.count(plan);
        }
        Decision { plan, seen, warm }
    }

    /// A run of `rows` rows, of this request and of others in its company, took `infer`; the request waited for it for
    /// `awaited` in all.
    pub(crate) fn ran(&self, rows: usize, infer: Duration, awaited: Duration) {
        self.lock()
            .learned
            .ran(rows, infer, awaited, Instant::now());
    }

    /// A request was looked up as decided.
    pub(crate) fn looked_up(&self, decision: &Decision, outcome: &LookedUp<'_>) {
        let mut state = self.lock();
        let State { learned, ghost, .. } = &mut *state;
        learned.looked_up(decision, outcome, ghost.as_mut(), Instant::now());
    }

    /// Remembering that many units took so long.
    pub(crate) fn stored(&self, units: usize, took: Duration) {
        self.lock().learned.stored(units, took, Instant::now());
    }

    /// What has been learned so far.
    pub(crate) fn figures(&self) -> CostFigures {
        self.lock().learned.figures()
    }
}

#[cfg(test)]
mod tests;
