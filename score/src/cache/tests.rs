mod joint;

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Level, span};

use super::codec::seal;
use super::*;
use crate::store::{StoreEntry, StoreError};
use crate::tensor::{Tensor, TensorData};

const BUDGET: Duration = Duration::from_millis(20);
const MIB: usize = 1 << 20;

/// What one operation of the fake store does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Works,
    Unreachable,
    Refuses,
    Hangs,
}

impl Mood {
    async fn act(self) -> Result<(), StoreError> {
        match self {
            Self::Works => Ok(()),
            Self::Unreachable => Err(StoreError::Unreachable("connection refused".into())),
            Self::Refuses => Err(StoreError::Refused("OOM command not allowed".into())),
            Self::Hangs => pending().await,
        }
    }

    async fn act_within(self, budget: Duration) -> Result<(), StoreError> {
        let late = |_| StoreError::Unreachable(format!("no answer within {budget:?}"));
        timeout(budget, self.act()).await.map_err(late)?
    }
}

#[derive(Default)]
struct State {
    connecting: Mood,
    reading: Mood,
    /// For the supervisor's own look-ups, if they have other outcomes.
    probing: Option<Mood>,
    writing: Mood,
    values: HashMap<String, Bytes>,
    connects: usize,
    probes: usize,
    /// Keys on a part of the store that is gone.
    lost: Vec<String>,
    /// The keys of each look-up that is not the supervisor's own.
    look_ups: Vec<Vec<String>>,
    written: Vec<StoreEntry>,
}

#[derive(Default)]
struct FakeStore(Mutex<State>);

impl FakeStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn put(&self, key: MemoKey, value: Bytes) {
        self.state()
            .values
            .insert(key.to_redis(&Namespace::default()), value);
    }

    fn look_ups(&self) -> usize {
        self.state().look_ups.len()
    }
}

impl MemoStore for FakeStore {
    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let mood = {
                let mut state = self.state();
                state.connects += 1;
                state.connecting
            };
            mood.act().await
        })
    }

    fn get_many(
        &self,
        keys: Vec<String>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Option<Bytes>, StoreError>>> {
        Box::pin(async move {
            let mood = {
                let mut state = self.state();
                if keys[0].starts_with(&Namespace::default().probe_key()) {
                    state.probes += 1;
                    state.probing.unwrap_or(state.reading)
                } else {
                    state.look_ups.push(keys.clone());
                    state.reading
                }
            };
            let outcome = mood.act_within(budget).await;
            let state = self.state();
            let answer = |key: &String| match state.lost.contains(key) {
                true => Err(StoreError::PartUnreachable("one node is down".into())),
                false => outcome.clone().map(|()| state.values.get(key).cloned()),
            };
            keys.iter().map(answer).collect()
        })
    }

    fn set_many(
        &self,
        entries: Vec<StoreEntry>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<(), StoreError>>> {
        Box::pin(async move {
            let mood = self.state().writing;
            let outcome = mood.act_within(budget).await;
            let outcomes = entries.iter().map(|_| outcome.clone()).collect();
            if outcome.is_ok() {
                let mut state = self.state();
                for entry in &entries {
                    state.values.insert(entry.key.clone(), entry.value.clone());
                }
                state.written.extend(entries);
            }
            outcomes
        })
    }
}

fn key(value: i64) -> MemoKey {
    let inputs = [Tensor::new(vec![1, 1], TensorData::Int64(vec![value])).unwrap()];
    let model = ModelDigest::new(&blake3::hash(b"m"), "1");
    KeyMaker::for_rows(model, &inputs).rows(&inputs, 1)[0]
}

fn keys(values: std::ops::Range<i64>) -> Vec<MemoKey> {
    values.map(key).collect()
}

fn payload(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// As large as a value sent to the store may be.
fn largest(value: i64) -> (MemoKey, Bytes) {
    (key(value), Bytes::from(vec![7; MIB]))
}

fn options(ttl: Option<Duration>) -> RemoteOptions {
    RemoteOptions {
        budget: BUDGET,
        ttl,
        namespace: Namespace::default(),
    }
}

/// A cache before `store`, whose first connection has been tried.
async fn memo_before(store: &Arc<FakeStore>, local_bytes: u64) -> Memo {
    let memo = Memo::new(local_bytes, Some((store.clone(), options(None))));
    settle().await;
    memo
}

async fn look_up(memo: &Memo, keys: &[MemoKey]) -> Vec<Option<Bytes>> {
    memo.look_up(keys, Tiers::All, None).await.found
}

fn remember(memo: &Memo, entries: Vec<(MemoKey, Bytes)>, ttl: Option<Duration>) {
    memo.remember(entries, ttl, Tiers::All);
}

/// On a paused clock this returns once every task has done what it can do without time passing.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

async fn shut_the_gate(memo: &Memo) {
    for _ in 0..3 {
        look_up(memo, &[key(0)]).await;
    }
    assert_eq!(memo.remote_is_up(), Some(false));
}

/// Counts the warnings given on the thread of one test.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    fn listen() -> (Self, DefaultGuard) {
        // With one subscriber alive, whichever thread meets a message first decides for all whether it is wanted, and
        // that may be the thread of a test that does not listen.
        static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Warnings::default()));
        LazyLock::force(&ANOTHER);
        let warnings = Self::default();
        let guard = set_default(warnings.clone());
        (warnings, guard)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn without_any_tier_it_is_not_available_and_knows_nothing() {
    let memo = Memo::new(0, None);
    remember(&memo, vec![(key(1), payload("one"))], None);
    assert!(!memo.is_available());
    assert_eq!(memo.remote_is_up(), None);
    assert_eq!(look_up(&memo, &[key(1)]).await, [None]);
}

#[tokio::test]
async fn the_local_tier_answers_in_the_order_of_the_keys() {
    let memo = Memo::new(MIB as u64, None);
    remember(
        &memo,
        vec![(key(1), payload("one")), (key(3), payload("three"))],
        None,
    );
    let found = look_up(&memo, &[key(3), key(2), key(1)]).await;
    assert_eq!(found, [Some(payload("three")), None, Some(payload("one"))]);
}

#[tokio::test]
async fn local_hits_and_misses_are_counted() {
    let memo = Memo::new(MIB as u64, None);
    remember(&memo, vec![(key(1), payload("one"))], None);
    look_up(&memo, &keys(0..5)).await;
    let stats = memo.stats();
    assert_eq!((stats.local_hits.get(), stats.misses.get()), (1, 4));
    assert_eq!(stats.remote_hits.get(), 0);
}

#[tokio::test]
async fn the_local_tier_stays_within_its_bytes() {
    let limit = 64 << 10;
    let memo = Memo::new(limit, None);
    for value in 0..10_000 {
        remember(&memo, vec![(key(value), Bytes::from(vec![0; 100]))], None);
        assert!(memo.local_bytes() <= limit, "{}", memo.local_bytes());
    }
    assert!(memo.local_bytes() > limit / 2, "{}", memo.local_bytes());
}

#[tokio::test]
async fn the_local_tier_survives_an_entry_larger_than_itself() {
    let memo = Memo::new(64 << 10, None);
    remember(&memo, vec![(key(1), payload("one")), largest(2)], None);
    assert!(memo.local_bytes() <= 64 << 10);
    assert_eq!(look_up(&memo, &[key(2)]).await, [None]);
}

#[tokio::test(start_paused = true)]
async fn a_value_of_the_shared_store_fills_the_local_tier() {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), seal(&key(1), b"one"));
    let memo = memo_before(&store, MIB as u64).await;
    assert_eq!(look_up(&memo, &[key(1)]).await, [Some(payload("one"))]);
    assert_eq!(look_up(&memo, &[key(1)]).await, [Some(payload("one"))]);
    assert_eq!(store.look_ups(), 1);
    let stats = memo.stats();
    assert_eq!((stats.remote_hits.get(), stats.local_hits.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_not_known_here_is_asked_for_and_at_once() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, MIB as u64).await;
    remember(&memo, vec![(key(1), payload("one"))], None);
    look_up(&memo, &keys(0..4)).await;
    let asked = store.state().look_ups.clone();
    assert_eq!(
        asked,
        [[key(0), key(2), key(3)].map(|key| key.to_redis(&Namespace::default()))]
    );
}

#[tokio::test(start_paused = true)]
async fn local_and_shared_answers_are_put_together_in_order() {
    let store = Arc::new(FakeStore::default());
    store.put(key(2), seal(&key(2), b"two"));
    let memo = memo_before(&store, MIB as u64).await;
    remember(&memo, vec![(key(1), payload("one"))], None);
    let found = look_up(&memo, &keys(0..3)).await;
    assert_eq!(found, [None, Some(payload("one")), Some(payload("two"))]);
}

/// `value` under the key of 1 must be a miss, and gone with the next result.
async fn is_damaged_and_then_overwritten(value: Bytes) {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), value);
    let memo = memo_before(&store, 0).await;
    assert_eq!(look_up(&memo, &[key(1)]).await, [None]);
    let stats = memo.stats();
    assert_eq!((stats.damaged.get(), stats.misses.get()), (1, 1));
    remember(&memo, vec![(key(1), payload("one"))], None);
    settle().await;
    assert_eq!(look_up(&memo, &[key(1)]).await, [Some(payload("one"))]);
    assert_eq!(stats.damaged.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_with_a_flipped_byte_is_a_miss_and_overwritten() {
    let mut value = seal(&key(1), b"one").to_vec();
    *value.last_mut().unwrap() ^= 1;
    is_damaged_and_then_overwritten(Bytes::from(value)).await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_value_is_a_miss_and_overwritten() {
    is_damaged_and_then_overwritten(payload("{\"score\": 0.5}")).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_copied_from_another_key_is_a_miss_and_overwritten() {
    is_damaged_and_then_overwritten(seal(&key(2), b"two")).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_value_does_not_spoil_its_neighbours() {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), payload("nonsense"));
    store.put(key(2), seal(&key(2), b"two"));
    let memo = memo_before(&store, 0).await;
    let found = look_up(&memo, &[key(1), key(2)]).await;
    assert_eq!(found, [None, Some(payload("two"))]);
    assert_eq!(
        memo.remote_is_up(),
        Some(true),
        "damage is no fault of the connection"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_part_of_the_store_costs_its_own_keys_and_no_others() {
    let store = Arc::new(FakeStore::default());
    for value in 1..3 {
        store.put(key(value), seal(&key(value), b"known"));
    }
    store.state().lost = vec![key(1).to_redis(&Namespace::default())];
    let memo = memo_before(&store, 0).await;
    for _ in 0..10 {
        let found = look_up(&memo, &[key(1), key(2)]).await;
        assert_eq!(found, [None, Some(payload("known"))]);
        assert_eq!(look_up(&memo, &[key(1)]).await, [None]);
    }
    assert_eq!(memo.remote_is_up(), Some(true));
    assert_eq!(memo.stats().remote_errors.get(), 20);
}

#[tokio::test(start_paused = true)]
async fn probes_answered_by_some_parts_of_the_store_are_enough() {
    let store = Arc::new(FakeStore::default());
    let probe = Namespace::default().probe_key();
    store.state().lost = vec![probe.clone(), format!("{probe}:0"), format!("{probe}:7")];
    let memo = memo_before(&store, 0).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(memo.remote_is_up(), Some(true), "while idle");
    store.state().reading = Mood::Unreachable;
    for _ in 0..3 {
        look_up(&memo, &[key(1)]).await;
    }
    assert_eq!(memo.remote_is_up(), Some(false));
    store.state().reading = Mood::Works;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(memo.remote_is_up(), Some(true), "when it heals");
}

#[tokio::test(start_paused = true)]
async fn after_three_failures_no_look_up_reaches_the_store() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    for _ in 0..10 {
        assert_eq!(look_up(&memo, &[key(1)]).await, [None]);
    }
    assert_eq!(memo.remote_is_up(), Some(false));
    assert_eq!(store.look_ups(), 3);
    assert_eq!(memo.stats().remote_errors.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_success_between_failures_keeps_the_gate_open() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    for reading in [
        Mood::Unreachable,
        Mood::Unreachable,
        Mood::Works,
        Mood::Unreachable,
        Mood::Unreachable,
    ] {
        store.state().reading = reading;
        look_up(&memo, &[key(1)]).await;
    }
    assert_eq!(memo.remote_is_up(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_probe_opens_the_gate_again_when_the_store_recovers() {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), seal(&key(1), b"one"));
    let memo = memo_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&memo).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(memo.remote_is_up(), Some(false));
    assert!(store.state().probes > 0);
    store.state().reading = Mood::Works;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(look_up(&memo, &[key(1)]).await, [Some(payload("one"))]);
    assert_eq!(store.state().connects, 1, "the connection healed by itself");
}

#[tokio::test(start_paused = true)]
async fn a_recovered_store_has_three_failures_free_again() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&memo).await;
    store.state().reading = Mood::Works;
    sleep(Duration::from_secs(1)).await;
    store.state().reading = Mood::Unreachable;
    for _ in 0..2 {
        look_up(&memo, &[key(1)]).await;
    }
    assert_eq!(memo.remote_is_up(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_heal_is_replaced() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&memo).await;
    sleep(Duration::from_millis(900)).await;
    assert_eq!(store.state().connects, 1, "it may still heal");
    store.state().connecting = Mood::Unreachable;
    sleep(Duration::from_secs(2)).await;
    assert!(store.state().connects > 1);
    assert_eq!(memo.remote_is_up(), Some(false));
    {
        let mut state = store.state();
        state.connecting = Mood::Works;
        state.reading = Mood::Works;
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(memo.remote_is_up(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_reported_once() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    {
        let mut state = store.state();
        state.reading = Mood::Unreachable;
        state.connecting = Mood::Unreachable;
    }
    shut_the_gate(&memo).await;
    sleep(Duration::from_secs(60)).await;
    assert!(store.state().connects > 10);
    assert_eq!(warnings.count(), 1);
}

/// A store that answers every probe and fails every look-up, asked a hundred times a second.
async fn a_minute_of_relapses(memo: &Memo, store: &FakeStore) {
    {
        let mut state = store.state();
        state.reading = Mood::Unreachable;
        state.probing = Some(Mood::Works);
    }
    for _ in 0..6_000 {
        look_up(memo, &[key(1)]).await;
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_only_answers_probes_is_soon_asked_once_a_second() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    a_minute_of_relapses(&memo, &store).await;
    // Three look-ups shut the gate each time.
    assert!(
        (100..=230).contains(&store.look_ups()),
        "{}",
        store.look_ups()
    );
    assert_eq!(store.state().connects, 1);
}

#[tokio::test(start_paused = true)]
async fn relapses_are_not_reported_again_and_again() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    sleep(Duration::from_secs(60)).await;
    a_minute_of_relapses(&memo, &store).await;
    assert_eq!(warnings.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_after_a_calm_time_is_reported_again() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    a_minute_of_relapses(&memo, &store).await;
    store.state().reading = Mood::Works;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(memo.remote_is_up(), Some(true));
    let before = warnings.count();
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&memo).await;
    settle().await;
    assert_eq!(warnings.count(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_in_a_hanging_store_ends_with_its_budget() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    store.state().reading = Mood::Hangs;
    let start = Instant::now();
    assert_eq!(look_up(&memo, &[key(1)]).await, [None]);
    let took = start.elapsed();
    assert!(
        took >= BUDGET && took < BUDGET + Duration::from_millis(5),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn three_hanging_look_ups_shut_the_gate() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    store.state().reading = Mood::Hangs;
    shut_the_gate(&memo).await;
    let start = Instant::now();
    look_up(&memo, &[key(1)]).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(store.look_ups(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_left_alone_where_only_this_process_is_meant() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, MIB as u64).await;
    memo.remember(vec![(key(1), payload("one"))], None, Tiers::Local);
    settle().await;
    let answer = memo.look_up(&[key(1), key(2)], Tiers::Local, None).await;
    assert_eq!(answer.found, [Some(payload("one")), None]);
    assert_eq!((answer.near, answer.remote), (vec![true, false], None));
    assert_eq!((store.look_ups(), store.state().written.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_does_not_hide_what_is_known_here() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, MIB as u64).await;
    remember(&memo, vec![(key(1), payload("one"))], None);
    store.state().reading = Mood::Hangs;
    let found = look_up(&memo, &[key(1), key(2)]).await;
    assert_eq!(found, [Some(payload("one")), None]);
}

async fn answers_at_once_before(connecting: Mood) {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = connecting;
    let start = Instant::now();
    let memo = Memo::new(0, Some((store.clone(), options(None))));
    assert_eq!(look_up(&memo, &[key(1)]).await, [None]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    settle().await;
    assert_eq!(look_up(&memo, &[key(1)]).await, [None]);
    assert_eq!(store.look_ups(), 0);
    assert_eq!(memo.remote_is_up(), Some(false));
    assert!(!memo.is_available());
}

#[tokio::test(start_paused = true)]
async fn a_shared_store_alone_is_available_while_it_answers() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    assert!(memo.is_available());
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&memo).await;
    assert!(!memo.is_available());
}

#[tokio::test(start_paused = true)]
async fn a_local_tier_is_available_without_the_shared_store() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Unreachable;
    let memo = memo_before(&store, MIB as u64).await;
    assert!(memo.is_available());
}

#[tokio::test(start_paused = true)]
async fn starts_without_a_store_that_refuses_connections() {
    answers_at_once_before(Mood::Unreachable).await;
}

#[tokio::test(start_paused = true)]
async fn starts_without_a_store_that_hangs_while_connecting() {
    answers_at_once_before(Mood::Hangs).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_late_is_used() {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), seal(&key(1), b"one"));
    store.state().connecting = Mood::Unreachable;
    let memo = memo_before(&store, 0).await;
    sleep(Duration::from_secs(600)).await;
    store.state().connecting = Mood::Works;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(look_up(&memo, &[key(1)]).await, [Some(payload("one"))]);
}

#[tokio::test(start_paused = true)]
async fn connecting_is_tried_about_once_a_second_and_every_failure_counted() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Unreachable;
    let memo = memo_before(&store, 0).await;
    sleep(Duration::from_secs(60)).await;
    let tried = store.state().connects as u64;
    assert!((54..=72).contains(&tried), "{tried}");
    assert_eq!(memo.stats().remote_errors.get(), tried);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_that_hangs_does_not_hold_up_the_next() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Hangs;
    let memo = memo_before(&store, 0).await;
    store.state().connecting = Mood::Works;
    sleep(Duration::from_millis(900)).await;
    assert_eq!(memo.remote_is_up(), Some(false), "still in the first try");
    sleep(Duration::from_millis(300)).await;
    assert_eq!(memo.remote_is_up(), Some(true));
    assert_eq!(store.state().connects, 2);
}

#[tokio::test(start_paused = true)]
async fn attempts_to_connect_to_a_hanging_store_are_given_up() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Hangs;
    let memo = memo_before(&store, 0).await;
    sleep(Duration::from_secs(60)).await;
    let (tried, failed) = (
        store.state().connects as u64,
        memo.stats().remote_errors.get(),
    );
    assert!((54..=61).contains(&tried), "{tried}");
    assert!((10..=12).contains(&(tried - failed)), "{tried}, {failed}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_reached_at_start_is_reported_once() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Unreachable;
    let _memo = memo_before(&store, 0).await;
    assert_eq!(warnings.count(), 1);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(warnings.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_probed_every_minute() {
    let store = Arc::new(FakeStore::default());
    let _memo = memo_before(&store, 0).await;
    sleep(Duration::from_secs(599)).await;
    assert_eq!(
        store.state().probes,
        20,
        "of two kinds, and once when it connects"
    );
}

#[tokio::test(start_paused = true)]
async fn failing_probes_shut_the_gate_before_a_request_has_to_wait() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    {
        let mut state = store.state();
        state.reading = Mood::Hangs;
        state.connecting = Mood::Unreachable;
    }
    sleep(Duration::from_secs(200)).await;
    assert_eq!(memo.remote_is_up(), Some(false));
    assert_eq!(store.look_ups(), 0);
}

#[tokio::test(start_paused = true)]
async fn results_reach_the_store_behind_the_answer() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    remember(
        &memo,
        vec![(key(1), payload("one")), (key(2), payload("two"))],
        None,
    );
    assert_eq!(store.state().written.len(), 0, "remember() does not write");
    settle().await;
    let found = look_up(&memo, &[key(1), key(2)]).await;
    assert_eq!(found, [Some(payload("one")), Some(payload("two"))]);
    assert_eq!(memo.stats().writes.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_results_reach_the_store_completely() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    for from in 0..10 {
        let keys = keys(from * 100..(from + 1) * 100);
        remember(
            &memo,
            keys.into_iter().map(|k| (k, payload("x"))).collect(),
            None,
        );
    }
    settle().await;
    assert_eq!(memo.stats().writes.get(), 1_000);
    assert_eq!(store.state().values.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn entries_expire_within_a_tenth_of_the_ttl_but_not_together() {
    let store = Arc::new(FakeStore::default());
    let hour = Duration::from_secs(3_600);
    let memo = Memo::new(0, Some((store.clone(), options(Some(hour)))));
    settle().await;
    let entries = keys(0..200).into_iter().map(|key| (key, payload("x")));
    remember(&memo, entries.collect(), None);
    settle().await;
    let ttls: Vec<Duration> = store.state().written.iter().filter_map(|e| e.ttl).collect();
    assert_eq!(ttls.len(), 200);
    let (low, high) = (hour.mul_f64(0.9), hour.mul_f64(1.1));
    assert!(
        ttls.iter().all(|ttl| (low..=high).contains(ttl)),
        "{ttls:?}"
    );
    let spread = *ttls.iter().max().unwrap() - *ttls.iter().min().unwrap();
    assert!(spread > hour / 20, "{spread:?}");
}

#[tokio::test(start_paused = true)]
async fn a_models_own_ttl_goes_before_that_of_the_store() {
    let store = Arc::new(FakeStore::default());
    let (day, minute) = (Duration::from_secs(86_400), Duration::from_secs(60));
    let memo = Memo::new(0, Some((store.clone(), options(Some(day)))));
    settle().await;
    remember(&memo, vec![(key(1), payload("one"))], Some(minute));
    settle().await;
    let ttl = store.state().written[0].ttl.unwrap();
    assert!(ttl <= minute.mul_f64(1.1), "{ttl:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_ttl_entries_do_not_expire() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    remember(&memo, vec![(key(1), payload("one"))], None);
    settle().await;
    let ttls: Vec<_> = store.state().written.iter().map(|e| e.ttl).collect();
    assert_eq!(ttls, [None]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_writes_is_still_read() {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), seal(&key(1), b"one"));
    let memo = memo_before(&store, 0).await;
    store.state().writing = Mood::Refuses;
    for value in 2..12 {
        remember(&memo, vec![(key(value), payload("x"))], None);
        settle().await;
    }
    let stats = memo.stats();
    assert_eq!((stats.dropped_writes.get(), stats.writes.get()), (10, 0));
    assert_eq!(look_up(&memo, &[key(1)]).await, [Some(payload("one"))]);
}

#[tokio::test(start_paused = true)]
async fn refused_writes_are_reported_once_until_one_succeeds() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    for (writing, reported) in [
        (Mood::Refuses, 1),
        (Mood::Refuses, 1),
        (Mood::Works, 1),
        (Mood::Refuses, 2),
    ] {
        store.state().writing = writing;
        remember(&memo, vec![(key(1), payload("one"))], None);
        settle().await;
        assert_eq!(warnings.count(), reported);
    }
}

#[tokio::test(start_paused = true)]
async fn three_writes_without_a_connection_shut_the_gate() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    store.state().writing = Mood::Unreachable;
    for value in 0..3 {
        assert_eq!(memo.remote_is_up(), Some(true));
        remember(&memo, vec![(key(value), payload("x"))], None);
        settle().await;
    }
    assert_eq!(memo.remote_is_up(), Some(false));
}

#[tokio::test(start_paused = true)]
async fn results_for_a_store_that_is_down_are_dropped_and_counted() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Unreachable;
    let memo = memo_before(&store, MIB as u64).await;
    remember(
        &memo,
        vec![(key(1), payload("one")), (key(2), payload("two"))],
        None,
    );
    assert_eq!(memo.stats().dropped_writes.get(), 2);
    assert_eq!(look_up(&memo, &[key(1)]).await, [Some(payload("one"))]);
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_for_a_hanging_store_is_dropped_and_counted() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    store.state().writing = Mood::Hangs;
    remember(&memo, vec![largest(0)], None);
    settle().await;
    let start = Instant::now();
    for value in 1..21 {
        remember(&memo, vec![largest(value)], None);
    }
    // With keys and seals 15 of them fit into 16 MiB.
    assert_eq!(memo.stats().dropped_writes.get(), 21 - 15);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_takes_no_room_from_what_comes_after() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    remember(&memo, (0..17).map(largest).collect(), None);
    remember(&memo, (0..15).map(largest).collect(), None);
    settle().await;
    let stats = memo.stats();
    assert_eq!((stats.writes.get(), stats.dropped_writes.get()), (15, 17));
}

#[tokio::test(start_paused = true)]
async fn room_for_waiting_results_comes_back_when_writes_end() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    for _ in 0..3 {
        remember(&memo, (0..15).map(largest).collect(), None);
        settle().await;
    }
    let stats = memo.stats();
    assert_eq!((stats.writes.get(), stats.dropped_writes.get()), (45, 0));
}

#[tokio::test(start_paused = true)]
async fn room_for_waiting_results_comes_back_when_writes_fail() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    store.state().writing = Mood::Hangs;
    remember(&memo, (0..15).map(largest).collect(), None);
    sleep(Duration::from_secs(20)).await;
    store.state().writing = Mood::Works;
    remember(&memo, (0..15).map(largest).collect(), None);
    settle().await;
    let stats = memo.stats();
    assert_eq!((stats.writes.get(), stats.dropped_writes.get()), (15, 15));
}

#[tokio::test(start_paused = true)]
async fn a_value_too_large_for_the_store_stays_here() {
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 256 * MIB as u64).await;
    let large = Bytes::from(vec![7; MIB + 1]);
    remember(&memo, vec![(key(1), large.clone()), largest(2)], None);
    settle().await;
    let written: Vec<_> = store
        .state()
        .written
        .iter()
        .map(|e| e.key.clone())
        .collect();
    assert_eq!(written, [key(2).to_redis(&Namespace::default())]);
    assert_eq!(memo.stats().dropped_writes.get(), 1);
    assert_eq!(look_up(&memo, &[key(1)]).await, [Some(large)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lets_in_but_refuses_to_read_is_reported_once_and_left_alone() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    store.state().reading = Mood::Refuses;
    let memo = memo_before(&store, 0).await;
    for _ in 0..6000 {
        look_up(&memo, &[key(1)]).await;
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(warnings.count(), 1);
    assert_eq!(store.look_ups(), 0, "only probes");
}

#[tokio::test(start_paused = true)]
async fn an_outage_after_short_relapses_is_reported() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let memo = memo_before(&store, 0).await;
    let fall = async || {
        store.state().reading = Mood::Unreachable;
        for _ in 0..3 {
            look_up(&memo, &[key(1)]).await;
        }
    };
    for _ in 0..3 {
        fall().await;
        sleep(Duration::from_millis(10)).await;
        store.state().reading = Mood::Works;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(memo.remote_is_up(), Some(true));
    }
    let before = warnings.count();
    store.state().connecting = Mood::Unreachable;
    fall().await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(warnings.count(), before + 1);
}
