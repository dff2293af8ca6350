//! What scoring costs and whether remembering pays: times learned from every request, and the plan for the next one.

mod average;
mod ghost;
mod learned;
mod plan;
mod planner;

use std::time::{Duration, Instant};

pub(crate) use ghost::Sight;
use ghost::{Fingerprints, Ghost};
use learned::Learned;
pub(crate) use learned::LookedUp;
use parking_lot::Mutex;
pub(crate) use plan::{Available, Decision, Plan};
pub use plan::{CachePolicy, CostFigures};
use planner::Planner;

use crate::tensor::Tensor;

/// Learns one model's costs and, under [`CachePolicy::Auto`], plans its requests.
#[derive(Debug)]
pub(crate) struct Costs {
    prints: Option<Fingerprints>,
    /// Locked for one plan or one observation at a time, never across an await.
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
        let mut state = self.state.lock();
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
        self.state
            .lock()
            .learned
            .ran(rows, infer, awaited, Instant::now());
    }

    /// A request was looked up as decided.
    pub(crate) fn looked_up(&self, decision: &Decision, outcome: &LookedUp<'_>) {
        let mut state = self.state.lock();
        let State { learned, ghost, .. } = &mut *state;
        learned.looked_up(decision, outcome, ghost.as_mut(), Instant::now());
    }

    /// Remembering that many units took so long.
    pub(crate) fn stored(&self, units: usize, took: Duration) {
        self.state
            .lock()
            .learned
            .stored(units, took, Instant::now());
    }

    /// What has been learned so far.
    pub(crate) fn figures(&self) -> CostFigures {
        self.state.lock().learned.figures()
    }
}

#[cfg(test)]
mod tests;
