//! Which way a request goes: the cheapest, now and then another to see whether it still is.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::learned::Learned;
use super::plan::{Available, Plan};
use crate::cache::Tiers;

/// A plan is kept until it costs this many times what the cheapest one does.
const KEPT_UP_TO: f64 = 1.04;
/// Plans up to this many times as dear as the cheapest count as equal.
const EQUAL_UP_TO: f64 = 1.02;
/// Requests of about the same size between two changes of plan at least.
const STEADY_REQUESTS: u32 = 64;
/// How often the plan is thought over after that.
const RECONSIDERED_EVERY: u32 = 8;
/// Probes follow each other: the first one finds everything cold that was not used for long, so it does not show the costs
/// in normal use.
const PROBES_IN_A_ROW: u32 = 4;
/// Requests from the first one to the next first one, on average: one of 128 requests is a probe.
const REQUESTS_PER_ROW: u32 = 128 * PROBES_IN_A_ROW;
/// The same where requests are few, but not more often than in each [`PROBE_PAUSE`].
const FEW_REQUESTS_PER_ROW: u32 = 16 * PROBES_IN_A_ROW;
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// The plan for requests of about one size.
#[derive(Debug, Clone, Copy)]
struct Standing {
    plan: Plan,
    requests: u32,
}

#[derive(Debug)]
pub(super) struct Planner {
    /// By the logarithm of the rows.
    standing: [Standing; 16],
    rng: Rng,
    since_probes: u32,
    /// Requests from the first probe to the next first one, a random number so that no rhythm of the requests meets it.
    probes_after: u32,
    probed: Option<Instant>,
    /// Probes of the present row to come.
    probes_left: u32,
    previous: Plan,
}

impl Planner {
    pub(super) fn new(rng: Rng) -> Self {
        let plan = Plan::DEFAULT;
        Self {
            standing: [Standing { plan, requests: 0 }; 16],
            rng,
            since_probes: 0,
            probes_after: REQUESTS_PER_ROW,
            probed: None,
            probes_left: 0,
            previous: plan,
        }
    }

    /// The plan for a request, and the tiers that the one before was to ask.
    pub(super) fn plan(
        &mut self,
        learned: &mut Learned,
        rows: usize,
        available: Available,
        now: Instant,
    ) -> (Plan, Option<Tiers>) {
        let plan = self.choose(learned, rows, available, now);
        let previous = std::mem::replace(&mut self.previous, plan);
        (plan, previous.tiers())
    }

    fn choose(
        &mut self,
        learned: &mut Learned,
        rows: usize,
        available: Available,
        now: Instant,
    ) -> Plan {
        if !learned.knows_look_ups() {
            return Plan::DEFAULT;
        }
        if !learned.knows_runs() {
            // All was found so far. That need not be faster.
            return if self.is_time_to_probe(true, now) {
                Plan::Compute
            } else {
                Plan::DEFAULT
            };
        }
        let several = rows > 1 && learned.has_repeated_requests();
        let hurry = several && !learned.knows_requests();
        if self.is_time_to_probe(hurry, now) {
            learned.forget_losses();
            return if several && (hurry || self.rng.bool()) {
                Plan::Request(Tiers::All)
            } else {
                Plan::Rows(Tiers::All)
            };
        }
        let standing = &mut self.standing[(rows.max(1).ilog2() as usize).min(15)];
        standing.requests += 1;
        let first = standing.requests == 1 && standing.plan == Plan::DEFAULT;
        let again = standing.requests >= STEADY_REQUESTS + RECONSIDERED_EVERY;
        if first || again {
            let plan = reconsider(learned, standing.plan, rows, available);
            if plan != standing.plan {
                *standing = Standing { plan, requests: 1 };
            } else if again {
                standing.requests = STEADY_REQUESTS;
            }
        }
        standing.plan
    }

    fn is_time_to_probe(&mut self, hurry: bool, now: Instant) -> bool {
        self.since_probes += 1;
        let rested = self
            .probed
            .is_none_or(|probed| now.saturating_duration_since(probed) >= PROBE_PAUSE);
        let few = (rested || hurry) && self.since_probes >= FEW_REQUESTS_PER_ROW;
        if few || self.since_probes >= self.probes_after {
            self.since_probes = 0;
            self.probes_after = self.rng.u32(REQUESTS_PER_ROW / 2..REQUESTS_PER_ROW * 3 / 2);
            self.probed = Some(now);
            self.probes_left = PROBES_IN_A_ROW;
        }
        let probe = self.probes_left > 0;
        self.probes_left = self.probes_left.saturating_sub(1);
        probe
    }
}

fn reconsider(learned: &Learned, present: Plan, rows: usize, available: Available) -> Plan {
    let expected = |plan| learned.expected(plan, rows as f64, available);
    let known = |plan: &Plan| match plan {
        Plan::Request(_) => rows > 1 && learned.knows_requests(),
        _ => true,
    };
    let plans = Plan::PREFERRED.into_iter();
    let plans = plans.filter(|plan| available.has(*plan) && known(plan));
    let cheapest = plans.clone().map(expected).fold(f64::INFINITY, f64::min);
    if expected(present) <= KEPT_UP_TO * cheapest {
        return present;
    }
    let mut equal = plans.filter(|plan| expected(*plan) <= EQUAL_UP_TO * cheapest);
    equal.next().unwrap_or(present)
}
