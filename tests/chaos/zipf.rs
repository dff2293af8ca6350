//! Rows drawn from a Zipf distribution, as much real traffic is, against the oracle; every hit accounted for.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::fault::{Backend as _, counter};
use super::form::Form;
use super::load::{hits, score};
use super::oracle;
use super::pair::Pair;
use crate::support::redis::RedisServer;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::{PATIENCE, eventually};

/// How many different rows there are.
const ROWS: u32 = 50_000;
/// Row k is drawn in proportion to k to the power of minus this.
const EXPONENT: f64 = 1.1;
const ROWS_PER_REQUEST: usize = 64;
const CLIENTS: usize = 8;
const SEED: u64 = 42;
/// Room for a few hundred rows in the process, so that both tiers have something to do.
const SMALL_TIER: &str = "65536";

/// Requests of rows drawn from the distribution, the same each time.
fn draw(rows: usize) -> Vec<Vec<u32>> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=ROWS)
        .map(|rank| {
            sum += f64::from(rank).powf(-EXPONENT);
            sum
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut row = || cumulated.partition_point(|below| *below < random.f64() * sum) as u32;
    let requests = rows.div_ceil(ROWS_PER_REQUEST);
    (0..requests)
        .map(|_| (0..ROWS_PER_REQUEST).map(|_| row()).collect())
        .collect()
}

/// What the handler counts, in distinct rows of each request.
#[derive(Debug, PartialEq)]
struct Counts {
    local_hits: u64,
    redis_hits: u64,
    misses: u64,
}

impl Counts {
    async fn of(host: &FunctionsHost) -> Self {
        Self {
            local_hits: counter(host, "score_cache_local_hits_total").await,
            redis_hits: counter(host, "score_cache_redis_hits_total").await,
            misses: counter(host, "score_cache_misses_total").await,
        }
    }
}

async fn started(settings: HostOptions) -> FunctionsHost {
    let limit = PATIENCE;
    let host = FunctionsHost::start(&oracle::app(), settings).await;
    host.wait_for_log("redis connected", limit).await;
    host.wait_for_log("model loaded", limit).await;
    host
}

/// One client and no faults: the first process misses each row once, the second finds each once in Redis.
///
/// # Panics
///
/// If an answer is wrong or a count is not exactly what the draws say.
pub(crate) async fn without_faults(form: Form) {
    let requests = draw(form.zipf_rows);
    let mut seen = HashSet::new();
    let (mut known, mut new) = (0, 0);
    for request in &requests {
        for row in HashSet::<&u32>::from_iter(request) {
            match seen.insert(*row) {
                true => new += 1,
                false => known += 1,
            }
        }
    }
    let redis = RedisServer::start().await;
    // A look-up that is late on a busy machine would be a miss.
    let settings = || {
        HostOptions::default()
            .setting("REDIS_URL", redis.url())
            .setting("REDIS_TIMEOUT", "10s")
    };
    for (process, redis_hits, misses) in [("first", 0, new), ("second", new, 0)] {
        let host = started(settings()).await;
        for request in &requests {
            let answer = score(&host, oracle::body(request)).await;
            assert_eq!(
                (answer.status, &answer.body),
                (200, &oracle::answer(request))
            );
        }
        let counts = Counts::of(&host).await;
        println!("zipf, {process} process: {counts:?}");
        let expected = Counts {
            local_hits: known,
            redis_hits,
            misses,
        };
        assert_eq!(counts, expected, "{process} process");
        eventually("all is written", || async {
            redis.key_count().await == new as i64
        })
        .await;
    }
}

/// What became of the rows that a perfect cache would have found, by cause.
#[derive(Debug, Default)]
struct Account {
    /// Distinct rows of each request.
    distinct: u64,
    /// In an earlier request, in the order in which requests were sent.
    known: usize,
    found: usize,
    /// Found while the first request for them had no answer yet.
    found_early: usize,
    /// Not found, and the first request for them had no answer yet.
    in_flight: usize,
    /// Not found while a fault was on, or the gate still shut after it.
    during_faults: usize,
    /// Not found for other reasons: the write was dropped or is still waiting, or the server was restarted empty.
    not_stored: usize,
}

impl Account {
    /// `answered` of the `known` rows are in requests that have their answer.
    fn note(&mut self, known: usize, answered: usize, found: usize, is_broken: bool) {
        self.known += known;
        self.found += found;
        let early = found.saturating_sub(answered);
        self.found_early += early;
        self.in_flight += (known - answered).saturating_sub(early);
        let lost = answered.saturating_sub(found);
        match is_broken {
            true => self.during_faults += lost,
            false => self.not_stored += lost,
        }
    }
}

#[derive(Debug, Default)]
struct Ledger {
    sent: HashSet<u32>,
    answered: HashSet<u32>,
    account: Account,
}

/// Several clients, while the network and the server fail again and again.
///
/// # Panics
///
/// If an answer is wrong, or hits and their losses do not add up.
pub(crate) async fn with_faults(pair: Pair, form: Form) {
    let host = started(pair.settings().setting("SCORE_L1_BYTES", SMALL_TIER)).await;
    let run = Run {
        requests: draw(form.zipf_rows),
        pace: form.zipf_pace,
        pause: form.zipf_pause,
        ..Run::default()
    };
    let clients = (0..CLIENTS).map(|_| client(&host, &run));
    let began = Instant::now();
    let load = async {
        join_all(clients).await;
        run.is_done.store(true, Ordering::Relaxed);
    };
    let ((), faults) = tokio::join!(load, break_again_and_again(&host, &pair, &run));
    let account = std::mem::take(&mut run.ledger().account);
    let counts = Counts::of(&host).await;
    let dropped = counter(&host, "score_cache_dropped_writes_total").await;
    println!(
        "zipf with {faults} faults in {:.1?}: {account:?}, {counts:?}, {dropped} dropped writes",
        began.elapsed()
    );
    let counted = counts.local_hits + counts.redis_hits + counts.misses;
    assert_eq!(counted, account.distinct, "every row is counted once");
    assert!(faults > 0 && counts.redis_hits > 0 && account.during_faults > 0);
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

/// What the clients and the faults have in common.
#[derive(Debug, Default)]
struct Run {
    requests: Vec<Vec<u32>>,
    pace: Duration,
    pause: Duration,
    next: AtomicUsize,
    ledger: Mutex<Ledger>,
    /// A fault is on, or the gate is still shut after it.
    is_broken: AtomicBool,
    is_done: AtomicBool,
}

impl Run {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

async fn client(host: &FunctionsHost, run: &Run) {
    let mut ticks = interval(run.pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(request) = run.requests.get(run.next.fetch_add(1, Ordering::Relaxed)) {
        ticks.tick().await;
        let (known, answered) = {
            let mut ledger = run.ledger();
            let count = |set: &HashSet<u32>| request.iter().filter(|row| set.contains(row)).count();
            let counts = (count(&ledger.sent), count(&ledger.answered));
            ledger.sent.extend(request);
            counts
        };
        let was_broken = run.is_broken();
        let answer = score(host, oracle::body(request)).await;
        assert_eq!(
            (answer.status, &answer.body),
            (200, &oracle::answer(request))
        );
        let found = hits(&answer, request.len()).expect("the process's own tier is always asked");
        let mut ledger = run.ledger();
        ledger.answered.extend(request);
        ledger.account.distinct += HashSet::<&u32>::from_iter(request).len() as u64;
        let is_broken = was_broken || run.is_broken();
        ledger.account.note(known, answered, found, is_broken);
    }
}

/// Applies and lifts one fault after the other until all is done; says how many.
async fn break_again_and_again(host: &FunctionsHost, pair: &Pair, run: &Run) -> usize {
    let mut faults = 0;
    sleep(run.pause).await;
    while !run.is_done.load(Ordering::Relaxed) {
        run.is_broken.store(true, Ordering::Relaxed);
        match faults % 6 {
            0 => pair.proxy.refuse(),
            1 => pair.proxy.delay(Duration::from_millis(200)),
            2 => pair.proxy.black_hole(),
            3 => pair.proxy.reset(),
            4 => pair.primary().pause(),
            _ => pair.primary().restart().await,
        }
        faults += 1;
        sleep(run.pause).await;
        pair.primary().resume();
        pair.proxy.pass();
        eventually("redis is used again", || async {
            counter(host, "score_cache_redis_up").await == 1
        })
        .await;
        run.is_broken.store(false, Ordering::Relaxed);
        sleep(run.pause).await;
    }
    faults
}
