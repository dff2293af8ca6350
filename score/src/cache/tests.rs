mod connecting;
mod joint;
mod outages;
mod writes;

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Level, span};

use super::seal::Seal;
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

    fn put(&self, key: UnitKey, value: Bytes) {
        self.state()
            .values
            .insert(key.to_redis(&Namespace::default()), value);
    }

    fn look_ups(&self) -> usize {
        self.state().look_ups.len()
    }
}

impl Store for FakeStore {
    fn name(&self) -> &'static str {
        "redis"
    }

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

fn key(value: i64) -> UnitKey {
    let inputs = [Tensor::new(vec![1, 1], TensorData::Int64(vec![value])).unwrap()];
    let model = ModelDigest::new(&blake3::hash(b"m"), "1");
    KeyMaker::for_rows(model, &inputs).rows(&inputs, 1)[0]
}

fn keys(values: std::ops::Range<i64>) -> Vec<UnitKey> {
    values.map(key).collect()
}

fn payload(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// An entry without a secret.
fn seal(key: &UnitKey, payload: &[u8]) -> Bytes {
    Seal::Checksum.close(key, payload)
}

/// As large as a value sent to the store may be.
fn largest(value: i64) -> (UnitKey, Bytes) {
    (key(value), Bytes::from(vec![7; MIB]))
}

fn options(ttl: Option<Duration>) -> RemoteOptions {
    RemoteOptions {
        budget: BUDGET,
        ttl,
        namespace: Namespace::default(),
        secret: None,
    }
}

/// A cache before `store`, whose first connection has been tried.
async fn cache_before(store: &Arc<FakeStore>, local_bytes: u64) -> Cache {
    let cache = Cache::new(local_bytes, Some((store.clone(), options(None))));
    settle().await;
    cache
}

async fn look_up(cache: &Cache, keys: &[UnitKey]) -> Vec<Option<Bytes>> {
    cache.look_up(keys, Tiers::All, None, |_| true).await.found
}

fn remember(cache: &Cache, entries: Vec<(UnitKey, Bytes)>, ttl: Option<Duration>) {
    cache.remember(entries, ttl, Tiers::All);
}

/// On a paused clock this returns once every task has done what it can do without time passing.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

async fn shut_the_gate(cache: &Cache) {
    for _ in 0..3 {
        look_up(cache, &[key(0)]).await;
    }
    assert_eq!(cache.remote_is_up(), Some(false));
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
    let cache = Cache::new(0, None);
    remember(&cache, vec![(key(1), payload("one"))], None);
    assert!(!cache.is_available());
    assert_eq!(cache.remote_is_up(), None);
    assert_eq!(look_up(&cache, &[key(1)]).await, [None]);
}

#[tokio::test]
async fn the_local_tier_answers_in_the_order_of_the_keys() {
    let cache = Cache::new(MIB as u64, None);
    remember(
        &cache,
        vec![(key(1), payload("one")), (key(3), payload("three"))],
        None,
    );
    let found = look_up(&cache, &[key(3), key(2), key(1)]).await;
    assert_eq!(found, [Some(payload("three")), None, Some(payload("one"))]);
}

#[tokio::test]
async fn local_hits_and_misses_are_counted() {
    let cache = Cache::new(MIB as u64, None);
    remember(&cache, vec![(key(1), payload("one"))], None);
    look_up(&cache, &keys(0..5)).await;
    let stats = cache.stats();
    assert_eq!((stats.local_hits.get(), stats.misses.get()), (1, 4));
    assert_eq!(stats.remote_hits.get(), 0);
}

#[tokio::test]
async fn the_local_tier_stays_within_its_bytes() {
    let limit = 64 << 10;
    let cache = Cache::new(limit, None);
    for value in 0..10_000 {
        remember(&cache, vec![(key(value), Bytes::from(vec![0; 100]))], None);
        assert!(cache.local_bytes() <= limit, "{}", cache.local_bytes());
    }
    assert!(cache.local_bytes() > limit / 2, "{}", cache.local_bytes());
}

#[tokio::test]
async fn the_local_tier_survives_an_entry_larger_than_itself() {
    let cache = Cache::new(64 << 10, None);
    remember(&cache, vec![(key(1), payload("one")), largest(2)], None);
    assert!(cache.local_bytes() <= 64 << 10);
    assert_eq!(look_up(&cache, &[key(2)]).await, [None]);
}

#[tokio::test(start_paused = true)]
async fn a_value_of_the_shared_store_fills_the_local_tier() {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), seal(&key(1), b"one"));
    let cache = cache_before(&store, MIB as u64).await;
    assert_eq!(look_up(&cache, &[key(1)]).await, [Some(payload("one"))]);
    assert_eq!(look_up(&cache, &[key(1)]).await, [Some(payload("one"))]);
    assert_eq!(store.look_ups(), 1);
    let stats = cache.stats();
    assert_eq!((stats.remote_hits.get(), stats.local_hits.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_not_known_here_is_asked_for_and_at_once() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, MIB as u64).await;
    remember(&cache, vec![(key(1), payload("one"))], None);
    look_up(&cache, &keys(0..4)).await;
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
    let cache = cache_before(&store, MIB as u64).await;
    remember(&cache, vec![(key(1), payload("one"))], None);
    let found = look_up(&cache, &keys(0..3)).await;
    assert_eq!(found, [None, Some(payload("one")), Some(payload("two"))]);
}

/// `value` under the key of 1 must be a miss, and gone with the next result.
async fn is_damaged_and_then_overwritten(value: Bytes) {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), value);
    let cache = cache_before(&store, 0).await;
    assert_eq!(look_up(&cache, &[key(1)]).await, [None]);
    let stats = cache.stats();
    assert_eq!((stats.damaged.get(), stats.misses.get()), (1, 1));
    remember(&cache, vec![(key(1), payload("one"))], None);
    settle().await;
    assert_eq!(look_up(&cache, &[key(1)]).await, [Some(payload("one"))]);
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
    let cache = cache_before(&store, 0).await;
    let found = look_up(&cache, &[key(1), key(2)]).await;
    assert_eq!(found, [None, Some(payload("two"))]);
    assert_eq!(
        cache.remote_is_up(),
        Some(true),
        "damage is no fault of the connection"
    );
}
