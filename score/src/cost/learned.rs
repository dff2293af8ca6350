//! What is known of a model's costs and hits, and what a plan is therefore expected to take.

use std::time::{Duration, Instant};

use super::average::{Fit, Share};
use super::ghost::{Followed, Ghost, Marks, Seen, Sight};
use super::plan::{Available, CostFigures, Decision, Plan};
use crate::cache::Tiers;

/// How much one followed row tells about how many remembered results are still there.
const KEPT_WEIGHT: f64 = 1.0 / 32.0;
/// How fast that is forgotten, with each probe.
const KEPT_FORGOTTEN: f64 = 1.0 / 64.0;

/// What came of a look-up.
pub(crate) struct LookedUp<'a> {
    /// The request's rows.
    pub(crate) rows: usize,
    /// What was asked for, without repetitions: rows, or the request.
    pub(crate) units: usize,
    /// Units found in this process.
    pub(crate) near: usize,
    /// Units found anywhere.
    pub(crate) found: usize,
    /// The time of digests and of the in-process tier.
    pub(crate) local: Duration,
    /// The time of the shared store, if it was asked.
    pub(crate) remote: Option<Duration>,
    /// Whether a row was found in this process, and whether anywhere.
    pub(crate) row: &'a dyn Fn(usize) -> (bool, bool),
}

/// Looking up by row, or by request.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Digests and the in-process tier, over the request's rows.
    local: Fit,
    /// How much of what is asked for was asked for before.
    repeats: Share,
    /// How much was found in this process.
    near: Share,
    /// How much was found in all tiers.
    found: Share,
    /// Of what was put into the in-process tier, how much is there when it is asked for again.
    near_kept: f64,
    /// The same of all tiers.
    kept: f64,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            local: Fit::default(),
            repeats: Share::default(),
            near: Share::default(),
            found: Share::default(),
            near_kept: 1.0,
            kept: 1.0,
        }
    }
}

impl Way {
    /// How much would be found in this process: what is found now, or what would be found if all that was seen had been
    /// remembered.
    fn near_hits(&self, available: Available) -> f64 {
        if available.local {
            self.near.get().max(self.repeats.get() * self.near_kept)
        } else {
            0.0
        }
    }

    /// The same of the given tiers.
    fn hits(&self, tiers: Tiers, available: Available) -> f64 {
        let near = self.near_hits(available);
        match tiers {
            Tiers::Local => near,
            Tiers::All => self
                .found
                .get()
                .max(self.repeats.get() * self.kept)
                .max(near),
        }
    }

    /// Compares what the tiers should still have with what they had, and marks what they will have.
    fn follow(
        &mut self,
        ghost: &mut Ghost,
        (row, print, marks): Followed,
        tiers: Tiers,
        outcome: &LookedUp<'_>,
    ) {
        let (near, found) = (outcome.row)(row);
        let marks = marks.unwrap_or_default();
        let learn = |kept: &mut f64, there: bool| {
            *kept += KEPT_WEIGHT * (f64::from(u8::from(there)) - *kept);
        };
        if marks.has(Marks::LOCAL) {
            learn(&mut self.near_kept, near);
        }
        if marks.has(Marks::ALL) && tiers == Tiers::All {
            learn(&mut self.kept, found);
        }
        ghost.mark(
            print,
            match tiers {
                Tiers::Local => Marks::LOCAL,
                Tiers::All => Marks::ALL,
            },
        );
    }
}

/// Everything that was learned about one model.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Inside the model, over the rows of a run.
    run: Fit,
    /// Until a run begins, and until its answer is back.
    wait: Fit,
    rows: Way,
    requests: Way,
    /// The shared store, over the keys it was asked for.
    remote: Fit,
    /// Remembering, over units.
    store: Fit,
    looked_up: u64,
    saved: f64,
    plans: [u64; Plan::PREFERRED.len()],
}

impl Learned {
    pub(super) fn see(&mut self, ghost: &mut Ghost, sight: Sight, now: Instant) -> Seen {
        let mut see = |way: &mut Way, row, print| {
            let marks = ghost.see(print);
            way.repeats.note(f64::from(u8::from(marks.is_some())), now);
            (row, print, marks)
        };
        let rows = sight.rows.into_iter();
        Seen {
            rows: rows
                .map(|(row, print)| see(&mut self.rows, row, print))
                .collect(),
            request: sight.request.map(|print| see(&mut self.requests, 0, print)),
        }
    }

    pub(super) fn ran(&mut self, rows: usize, infer: Duration, awaited: Duration, now: Instant) {
        self.run.note(rows, infer, now);
        self.wait.note(1, awaited.saturating_sub(infer), now);
    }

    pub(super) fn stored(&mut self, units: usize, took: Duration, now: Instant) {
        self.store.note(units, took, now);
        self.saved -= took.as_secs_f64();
    }

    pub(super) fn count(&mut self, plan: Plan) {
        let place = Plan::PREFERRED.iter().position(|one| *one == plan);
        if let Some(count) = place.and_then(|place| self.plans.get_mut(place)) {
            *count += 1;
        }
    }

    pub(super) fn looked_up(
        &mut self,
        decision: &Decision,
        outcome: &LookedUp<'_>,
        ghost: Option<&mut Ghost>,
        now: Instant,
    ) {
        self.looked_up += 1;
        self.count(decision.plan);
        self.save(decision.plan, outcome);
        let (way, tiers) = match decision.plan {
            Plan::Rows(tiers) => (&mut self.rows, tiers),
            Plan::Request(tiers) => (&mut self.requests, tiers),
            Plan::Compute => return,
        };
        let share = |units: usize| units as f64 / outcome.units.max(1) as f64;
        if decision.warm.is_some() {
            way.local.note(outcome.rows, outcome.local, now);
        }
        way.near.note(share(outcome.near), now);
        if let Some(took) = outcome.remote
            && decision.warm == Some(Tiers::All)
        {
            self.remote.note(outcome.units - outcome.near, took, now);
        }
        let asked_all = outcome.remote.is_some() || outcome.near == outcome.units;
        if tiers == Tiers::All && asked_all {
            way.found.note(share(outcome.found), now);
        }
        let Some(ghost) = ghost else {
            return;
        };
        let followed: &[Followed] = match decision.plan {
            Plan::Request(_) => decision.seen.request.as_slice(),
            _ => &decision.seen.rows,
        };
        // Without an answer of the shared store nothing is known of what it has.
        let tiers = if asked_all { tiers } else { Tiers::Local };
        for followed in followed {
            way.follow(ghost, *followed, tiers, outcome);
        }
    }

    fn save(&mut self, plan: Plan, outcome: &LookedUp<'_>) {
        if !self.knows_runs() {
            return;
        }
        let rest = match (outcome.units - outcome.found, plan) {
            (0, _) => 0.0,
            (_, Plan::Request(_)) => self.compute(outcome.rows as f64),
            (missing, _) => self.compute(missing as f64),
        };
        let spent = outcome.local + outcome.remote.unwrap_or_default();
        self.saved += self.compute(outcome.rows as f64) - rest - spent.as_secs_f64();
    }

    /// Lets what was found out about lost results slowly come into doubt, so that it is tried again.
    pub(super) fn forget_losses(&mut self) {
        for way in [&mut self.rows, &mut self.requests] {
            way.near_kept += KEPT_FORGOTTEN * (1.0 - way.near_kept);
            way.kept += KEPT_FORGOTTEN * (1.0 - way.kept);
        }
    }

    /// Whether enough was looked up to do otherwise than [`Plan::DEFAULT`].
    pub(super) fn knows_look_ups(&self) -> bool {
        self.looked_up >= 64
    }

    /// Whether it is known what computing costs.
    pub(super) fn knows_runs(&self) -> bool {
        self.run.is_known()
    }

    /// Whether requests as a whole come again so often that finding out more about them is worth while.
    pub(super) fn has_repeated_requests(&self) -> bool {
        self.requests.repeats.get() > 0.1
    }

    /// Whether it is known what looking up a whole request costs.
    pub(super) fn knows_requests(&self) -> bool {
        self.requests.local.is_known()
    }

    fn compute(&self, rows: f64) -> f64 {
        self.wait.line().at(1.0) + self.run.line().at(rows)
    }

    /// The time, in seconds, that a request of `rows` rows is expected to take. What was never tried counts as free, so
    /// that it is tried.
    pub(super) fn expected(&self, plan: Plan, rows: f64, available: Available) -> f64 {
        let reached = |tiers| {
            if available.remote {
                tiers
            } else {
                Tiers::Local
            }
        };
        match plan {
            Plan::Compute => self.compute(rows),
            Plan::Rows(tiers) => self.expected_by_row(reached(tiers), rows, available),
            Plan::Request(tiers) => self.expected_by_request(reached(tiers), rows, available),
        }
    }

    fn expected_by_row(&self, tiers: Tiers, rows: f64, available: Available) -> f64 {
        // Hits come independently of each other, or all together.
        let together = if rows > 1.0 {
            self.requests.repeats.get()
        } else {
            0.0
        };
        let any_missing = |hits: f64| 1.0 - hits.powf(rows).max(hits.min(together));
        let mut expected = self.rows.local.line().at(rows);
        if tiers == Tiers::All {
            let (near, store) = (self.rows.near_hits(available), self.remote.line());
            expected += any_missing(near) * store.fixed + rows * (1.0 - near) * store.each;
        }
        let (run, store, hits) = (
            self.run.line(),
            self.store.line(),
            self.rows.hits(tiers, available),
        );
        expected
            + any_missing(hits) * (self.wait.line().at(1.0) + run.fixed + store.fixed)
            + rows * (1.0 - hits) * (run.each + store.each)
    }

    fn expected_by_request(&self, tiers: Tiers, rows: f64, available: Available) -> f64 {
        let mut expected = self.requests.local.line().at(rows);
        if tiers == Tiers::All {
            let near = self.requests.near_hits(available);
            expected += (1.0 - near) * self.remote.line().at(1.0);
        }
        let missing = 1.0 - self.requests.hits(tiers, available);
        expected + missing * (self.compute(rows) + self.store.line().at(1.0))
    }

    pub(super) fn figures(&self) -> CostFigures {
        let mut plans = Plan::PREFERRED.map(|plan| (plan.as_str(), 0));
        for ((_, count), counted) in plans.iter_mut().zip(self.plans) {
            *count = counted;
        }
        CostFigures {
            row: self.run.mean(),
            local_lookup: self.rows.local.mean(),
            remote_lookup: self.remote.mean(),
            saved: self.saved,
            plans,
        }
    }
}
