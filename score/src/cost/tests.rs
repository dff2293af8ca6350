//! Decisions in worlds whose costs and repetitions are known. Time is told, not waited for.

use std::collections::HashSet;
use std::hash::BuildHasher;

use foldhash::quality::{FixedState, RandomState};

use super::*;
use crate::cache::Tiers;

/// Times in microseconds.
struct World {
    costs: Costs,
    seed: RandomState,
    rng: fastrand::Rng,
    now: Instant,
    /// Between requests.
    pause: f64,
    available: Available,
    run: f64,
    row: f64,
    local: f64,
    /// What one unit adds to a look-up.
    digest: f64,
    remote: f64,
    remote_key: f64,
    local_room: usize,
    in_local: HashSet<u64, FixedState>,
    in_remote: HashSet<u64, FixedState>,
}

impl World {
    /// A model of so many microseconds per row, hits in the process for 3, in Redis for 60.
    fn new(row: f64) -> Self {
        let world = Self {
            costs: Costs::new(CachePolicy::Auto),
            seed: RandomState::default(),
            rng: fastrand::Rng::with_seed(7),
            now: Instant::now(),
            pause: 200.0,
            available: Available {
                local: true,
                remote: true,
            },
            run: 0.0,
            row,
            local: 2.5,
            digest: 0.5,
            remote: 60.0,
            remote_key: 1.0,
            local_room: usize::MAX,
            in_local: HashSet::default(),
            in_remote: HashSet::default(),
        };
        world.costs.state.lock().planner = Planner::new(fastrand::Rng::with_seed(3));
        world
    }

    /// A little more or less, now and then much more.
    fn time(&mut self, micros: f64) -> Duration {
        let noise = if self.rng.u32(..200) == 0 {
            20.0
        } else {
            0.9 + 0.3 * self.rng.f64()
        };
        Duration::from_secs_f64(micros * noise * 1e-6)
    }

    /// Scores one request; its plan and how much of it was found.
    fn ask(&mut self, rows: &[u64]) -> (Plan, f64) {
        self.now += Duration::from_secs_f64(self.pause * 1e-6);
        let prints: Vec<u64> = rows.iter().map(|row| self.seed.hash_one(row)).collect();
        let sight = Sight::new(prints.into_iter(), &self.seed);
        let decision = self
            .costs
            .plan_seen(sight, rows.len(), self.available, self.now);
        let (units, digests) = match decision.plan {
            Plan::Compute => {
                self.compute(rows.len());
                return (Plan::Compute, 0.0);
            }
            Plan::Rows(_) => (rows.to_vec(), rows.len() as f64),
            // Digesting all at once is faster.
            Plan::Request(_) => (vec![self.seed.hash_one(rows)], rows.len() as f64 / 4.0),
        };
        let near: Vec<bool> = units.iter().map(|u| self.in_local.contains(u)).collect();
        let all = decision.plan.tiers() == Some(Tiers::All) && self.available.remote;
        let found: Vec<bool> = units
            .iter()
            .map(|unit| self.in_local.contains(unit) || (all && self.in_remote.contains(unit)))
            .collect();
        let count = |hits: &[bool]| hits.iter().filter(|hit| **hit).count();
        let (near_hits, hits) = (count(&near), count(&found));
        let asked = (units.len() - near_hits) as f64;
        let local = self.time(self.local + self.digest * digests);
        let remote = (all && asked > 0.0).then(|| self.time(self.remote + self.remote_key * asked));
        let by_request = units.len() != rows.len();
        let row = |row: usize| {
            let unit = if by_request { 0 } else { row };
            (near[unit], found[unit])
        };
        let outcome = LookedUp {
            rows: rows.len(),
            units: units.len(),
            near: near_hits,
            found: hits,
            local,
            remote,
            row: &row,
        };
        let mut state = self.costs.state.lock();
        let State { learned, ghost, .. } = &mut *state;
        learned.looked_up(&decision, &outcome, ghost.as_mut(), self.now);
        drop(state);
        let missing = units.len() - hits;
        if missing > 0 {
            self.compute(if by_request { rows.len() } else { missing });
            let took = self.time(1.0 * missing as f64);
            self.costs
                .state
                .lock()
                .learned
                .stored(missing, took, self.now);
        }
        if self.available.local {
            self.in_local.extend(&units);
            while self.in_local.len() > self.local_room {
                let victim = self.in_local.iter().next().copied().unwrap();
                self.in_local.remove(&victim);
            }
        }
        if all {
            self.in_remote.extend(&units);
        }
        (decision.plan, hits as f64 / units.len() as f64)
    }

    fn compute(&mut self, rows: usize) {
        let infer = self.time(self.run + self.row * rows as f64);
        let awaited = infer + self.time(5.0);
        self.costs
            .state
            .lock()
            .learned
            .ran(rows, infer, awaited, self.now);
    }

    /// Scores many single rows; how often each plan was taken, and how much was found.
    fn ask_many(&mut self, count: usize, mut row: impl FnMut(&mut fastrand::Rng) -> u64) -> Seen {
        self.ask_requests(count, |rng| vec![row(rng)])
    }

    fn ask_requests(
        &mut self,
        count: usize,
        mut rows: impl FnMut(&mut fastrand::Rng) -> Vec<u64>,
    ) -> Seen {
        let mut seen = Seen::default();
        for _ in 0..count {
            let rows = rows(&mut self.rng);
            let (plan, hits) = self.ask(&rows);
            seen.changes += usize::from(seen.plans.last() != Some(&plan));
            seen.plans.push(plan);
            seen.hits += hits;
        }
        seen
    }
}

#[derive(Default)]
struct Seen {
    plans: Vec<Plan>,
    hits: f64,
    changes: usize,
}

impl Seen {
    fn share(&self, plan: Plan) -> f64 {
        let taken = self.plans.iter().filter(|taken| **taken == plan).count();
        taken as f64 / self.plans.len() as f64
    }

    fn hits(&self) -> f64 {
        self.hits / self.plans.len() as f64
    }
}

const ROWS: Plan = Plan::Rows(Tiers::All);
const LOCAL: Plan = Plan::Rows(Tiers::Local);

/// Rows that no request has had.
fn new(rng: &mut fastrand::Rng) -> u64 {
    rng.u64(..)
}

/// Nine of ten rows are of a few known ones.
fn mostly_known(rng: &mut fastrand::Rng) -> u64 {
    match rng.u32(..10) {
        0 => rng.u64(..),
        _ => rng.u64(..2_000),
    }
}

#[test]
fn a_cheap_model_without_repetitions_is_not_looked_up() {
    let mut world = World::new(4.0);
    world.ask_many(200, new);
    let then = world.ask_many(20_000, new);
    assert!(
        then.share(Plan::Compute) > 0.98,
        "{}",
        then.share(Plan::Compute)
    );
    assert!(then.changes < 400, "only probes: {}", then.changes);
}

#[test]
fn a_dear_model_is_looked_up_even_without_repetitions() {
    // A look-up costs it 2 %, which is not worth a change.
    let mut world = World::new(4_000.0);
    assert_eq!(world.ask_many(20_000, new).share(ROWS), 1.0);
}

#[test]
fn a_dear_model_with_repetitions_is_looked_up() {
    let mut world = World::new(1_000.0);
    world.ask_many(5_000, mostly_known);
    let then = world.ask_many(5_000, mostly_known);
    assert!(then.hits() > 0.85, "{}", then.hits());
}

#[test]
fn repetitions_that_begin_after_an_hour_without_are_found() {
    for row in [200.0, 1_000.0] {
        let mut world = World::new(row);
        // Two thousand times as much as the ghost remembers, and an hour on the clock.
        world.pause = 3_600.0 * 1e6 / 500_000.0;
        world.ask_many(500_000, new);
        world.ask_many(20_000, mostly_known);
        let then = world.ask_many(5_000, mostly_known);
        assert!(then.hits() > 0.85, "{row}: {}", then.hits());
    }
}

#[test]
fn a_million_rows_asked_ten_times_each_are_recognized() {
    let mut world = World::new(200.0);
    world.available.local = false;
    let mut rows: Vec<u64> = (0..1_000_000).collect();
    let mut hits = Vec::new();
    // From the third time on, all ten are the same.
    for _ in 0..3 {
        world.rng.clone().shuffle(&mut rows);
        let mut next = rows.iter();
        let pass = world.ask_many(rows.len(), |_| *next.next().unwrap());
        hits.push(pass.hits());
    }
    assert!(hits[2] > 0.95, "{hits:?}");
}

#[test]
fn a_cheap_model_with_many_repetitions_is_looked_up_in_the_process_only() {
    let mut world = World::new(7.0);
    world.ask_many(20_000, mostly_known);
    let then = world.ask_many(10_000, mostly_known);
    assert!(then.share(LOCAL) > 0.98, "{}", then.share(LOCAL));
    assert!(then.hits() > 0.85, "{}", then.hits());
}

#[test]
fn a_tier_in_the_process_that_is_too_small_is_not_relied_on() {
    let mut world = World::new(1_000.0);
    world.local_room = 100;
    world.ask_many(20_000, mostly_known);
    let then = world.ask_many(20_000, mostly_known);
    assert!(then.share(ROWS) > 0.95, "{}", then.share(ROWS));
    assert!(then.hits() > 0.85, "{}", then.hits());
}

#[test]
fn a_slow_redis_is_left_alone_until_it_is_fast_again() {
    for local in [true, false] {
        let mut world = World::new(1_000.0);
        world.available.local = local;
        world.local_room = 100;
        world.ask_many(10_000, mostly_known);
        world.remote = 20_000.0;
        world.ask_many(500, mostly_known);
        let slow = world.ask_many(10_000, mostly_known);
        assert!(slow.share(ROWS) < 0.05, "{local}: {}", slow.share(ROWS));
        world.remote = 60.0;
        world.ask_many(30_000, mostly_known);
        let healed = world.ask_many(10_000, mostly_known);
        assert!(healed.share(ROWS) > 0.95, "{local}: {}", healed.share(ROWS));
    }
}

#[test]
fn what_other_processes_remember_is_found_by_probes() {
    let mut world = World::new(1_000.0);
    // So dear that it is not looked up without need.
    world.remote = 400.0;
    world.ask_many(2_000, new);
    world.in_remote.extend(1 << 20..1 << 21);
    let mut row = 1 << 20;
    let mut next = |_: &mut fastrand::Rng| {
        row += 1;
        row
    };
    world.ask_many(20_000, &mut next);
    let then = world.ask_many(5_000, &mut next);
    assert!(then.hits() > 0.9, "{}", then.hits());
}

#[test]
fn repeated_requests_are_looked_up_as_one_where_that_is_faster() {
    let request = |rng: &mut fastrand::Rng| {
        let first = 64 * rng.u64(..200);
        (first..first + 64).collect()
    };
    let mut world = World::new(4.0);
    world.ask_requests(10_000, request);
    let then = world.ask_requests(10_000, request);
    let by_request =
        then.share(Plan::Request(Tiers::All)) + then.share(Plan::Request(Tiers::Local));
    assert!(by_request > 0.95, "{by_request}");
    assert!(then.hits() > 0.95, "{}", then.hits());
}

#[test]
fn known_rows_in_ever_new_company_are_looked_up_by_row() {
    let request = |rng: &mut fastrand::Rng| (0..64).map(|_| rng.u64(..2_000)).collect();
    let mut world = World::new(100.0);
    world.ask_requests(2_000, request);
    let then = world.ask_requests(2_000, request);
    let by_row = then.share(ROWS) + then.share(LOCAL);
    assert!(by_row > 0.98 && then.hits() > 0.98, "{by_row}");
}

#[test]
fn the_plan_does_not_flap_where_all_cost_about_the_same() {
    for row in [30.0, 60.0, 70.0, 90.0, 120.0] {
        let mut world = World::new(row);
        world.available.local = false;
        let half = |rng: &mut fastrand::Rng| match rng.bool() {
            true => rng.u64(..),
            false => rng.u64(..500),
        };
        world.ask_many(5_000, half);
        let then = world.ask_many(20_000, half);
        // A probe is two changes while nothing is looked up.
        assert!(
            then.changes < 2 * 20_000 / 128 + 150,
            "{row}: {}",
            then.changes
        );
    }
}

#[test]
fn what_the_cache_saves_is_what_the_requests_gain() {
    let saved = |row: f64, next: fn(&mut fastrand::Rng) -> u64| {
        let mut world = World::new(row);
        world.ask_many(3_000, mostly_known);
        let before = world.costs.figures().saved;
        world.ask_many(10_000, next);
        world.costs.figures().saved - before
    };
    let gained = saved(1_000.0, mostly_known);
    assert!((7.0..11.0).contains(&gained), "{gained}");
    let lost = saved(4.0, new);
    assert!((-0.1..0.0).contains(&lost), "{lost}");
}

#[test]
fn a_cheap_model_is_computed_although_another_process_has_left_all_results() {
    let mut world = World::new(4.0);
    world.available.local = false;
    world.in_remote.extend(0..10_000);
    let known = |rng: &mut fastrand::Rng| rng.u64(..10_000);
    world.ask_many(1_000, known);
    let then = world.ask_many(10_000, known);
    let computed = then.share(Plan::Compute);
    assert!(computed > 0.98, "{computed}");
}

#[test]
fn without_a_policy_to_decide_costs_are_learned_all_the_same() {
    let mut world = World::new(100.0);
    world.costs = Costs::new(CachePolicy::Always);
    let seen = world.ask_many(1_000, new);
    assert_eq!(seen.share(ROWS), 1.0);
    let figures = world.costs.figures();
    assert!(
        (80e-6..200e-6).contains(&figures.row.unwrap()),
        "{figures:?}"
    );
    assert!((50e-6..100e-6).contains(&figures.remote_lookup.unwrap()));
    assert!(figures.saved < 0.0);
    assert_eq!(figures.plans[0], ("rows", 1_000));
}
