//! Results that another process has remembered.

use std::collections::BTreeMap;

use super::*;

/// A shared store that can be reached or not.
pub(super) struct FakeStore {
    reachable: bool,
    pub(super) values: Mutex<BTreeMap<String, Bytes>>,
}

impl FakeStore {
    pub(super) fn new(reachable: bool) -> Arc<Self> {
        Arc::new(Self {
            reachable,
            values: Mutex::default(),
        })
    }

    /// The cache of one of the processes that share this store.
    pub(super) fn cache(self: &Arc<Self>) -> Arc<Cache> {
        let options = RemoteOptions {
            budget: Duration::from_secs(60),
            ttl: None,
            namespace: Namespace::default(),
            secret: None,
        };
        Arc::new(Cache::new(0, Some((self.clone(), options))))
    }
}

impl Store for FakeStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            match self.reachable {
                true => Ok(()),
                false => Err(StoreError::Unreachable("connection refused".into())),
            }
        })
    }

    fn get_many(
        &self,
        keys: Vec<String>,
        _budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Option<Bytes>, StoreError>>> {
        let values = self.values.lock().unwrap();
        let found = keys.iter().map(|key| Ok(values.get(key).cloned()));
        let found = found.collect();
        Box::pin(async { found })
    }

    fn set_many(
        &self,
        entries: Vec<StoreEntry>,
        _budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<(), StoreError>>> {
        let outcomes = vec![Ok(()); entries.len()];
        let entries = entries.into_iter().map(|entry| (entry.key, entry.value));
        self.values.lock().unwrap().extend(entries);
        Box::pin(async { outcomes })
    }
}

pub(super) async fn until(reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            yield_now().await;
        }
    };
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, waiting).await.unwrap();
}

#[tokio::test]
async fn what_one_process_computes_another_finds_in_the_shared_store() {
    let store = FakeStore::new(true);
    let (here, there) = (store.cache(), store.cache());
    until(|| here.remote_is_up() == Some(true) && there.remote_is_up() == Some(true)).await;
    let (computing, _) = Plan::default().start(&here, tenfold);
    let (asking, runs) = Plan::default().start(&there, tenfold);
    let computed = score(&computing, &[1.0, 2.0]).await;
    until(|| here.stats().writes.get() == 2).await;
    let found = score(&asking, &[2.0, 1.0]).await;
    assert_eq!(found.cache, asked(2, 2));
    assert_eq!(output(&computed), [10.0, 20.0]);
    assert_eq!(output(&found), [20.0, 10.0]);
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_cache_that_is_out_of_reach_is_bypassed() {
    let (scorer, _) = Plan::default().start(&FakeStore::new(false).cache(), tenfold);
    let response = score(&scorer, &[1.0]).await;
    assert_eq!(response.cache, CacheOutcome::Bypass);
    assert_eq!(output(&response), [10.0]);
}

#[tokio::test]
async fn an_entry_of_another_shape_or_type_is_a_miss_and_damaged() {
    let store = FakeStore::new(true);
    let cache = store.cache();
    until(|| cache.remote_is_up() == Some(true)).await;
    let (scorer, runs) = Plan::default().start(&cache, tenfold);
    score(&scorer, &[1.0]).await;
    until(|| cache.stats().writes.get() == 1).await;
    let mut forged = vec![ElementType::Float32 as u8, 2];
    forged.extend(400_000_000_u32.to_le_bytes());
    forged.extend(0_u32.to_le_bytes());
    let mut other_type = vec![ElementType::Int64 as u8, 1];
    other_type.extend(1_u32.to_le_bytes());
    other_type.extend(7_i64.to_le_bytes());
    let units = {
        let inputs = [Tensor::new(vec![1, 1], TensorData::Float32(vec![1.0])).unwrap()];
        crate::cache::KeyMaker::for_rows(scorer.metadata().digest, &inputs).rows(&inputs, 1)
    };
    for (round, payload) in [forged, other_type].into_iter().enumerate() {
        let value = crate::cache::Seal::Checksum.close(&units[0], &payload);
        for stored in store.values.lock().unwrap().values_mut() {
            *stored = value.clone();
        }
        let answer = score(&scorer, &[1.0]).await;
        assert_eq!(answer.cache, asked(0, 1));
        assert_eq!(output(&answer), [10.0]);
        assert_eq!(runs.count(), round + 2);
        assert_eq!(cache.stats().damaged.get(), round as u64 + 1);
        until(|| cache.stats().writes.get() == round as u64 + 2).await;
    }
}
