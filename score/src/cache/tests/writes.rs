//! Results on their way to the shared store.

use super::*;

#[tokio::test(start_paused = true)]
async fn results_reach_the_store_behind_the_answer() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    remember(
        &cache,
        vec![(key(1), payload("one")), (key(2), payload("two"))],
        None,
    );
    assert_eq!(store.state().written.len(), 0, "remember() does not write");
    settle().await;
    let found = look_up(&cache, &[key(1), key(2)]).await;
    assert_eq!(found, [Some(payload("one")), Some(payload("two"))]);
    assert_eq!(cache.stats().writes.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_results_reach_the_store_completely() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    for from in 0..10 {
        let keys = keys(from * 100..(from + 1) * 100);
        remember(
            &cache,
            keys.into_iter().map(|k| (k, payload("x"))).collect(),
            None,
        );
    }
    settle().await;
    assert_eq!(cache.stats().writes.get(), 1_000);
    assert_eq!(store.state().values.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn entries_expire_within_a_tenth_of_the_ttl_but_not_together() {
    let store = Arc::new(FakeStore::default());
    let hour = Duration::from_secs(3_600);
    let cache = Cache::new(0, Some((store.clone(), options(Some(hour)))));
    settle().await;
    let entries = keys(0..200).into_iter().map(|key| (key, payload("x")));
    remember(&cache, entries.collect(), None);
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
    let cache = Cache::new(0, Some((store.clone(), options(Some(day)))));
    settle().await;
    remember(&cache, vec![(key(1), payload("one"))], Some(minute));
    settle().await;
    let ttl = store.state().written[0].ttl.unwrap();
    assert!(ttl <= minute.mul_f64(1.1), "{ttl:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_ttl_entries_do_not_expire() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    remember(&cache, vec![(key(1), payload("one"))], None);
    settle().await;
    let ttls: Vec<_> = store.state().written.iter().map(|e| e.ttl).collect();
    assert_eq!(ttls, [None]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_writes_is_still_read() {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), seal(&key(1), b"one"));
    let cache = cache_before(&store, 0).await;
    store.state().writing = Mood::Refuses;
    for value in 2..12 {
        remember(&cache, vec![(key(value), payload("x"))], None);
        settle().await;
    }
    let stats = cache.stats();
    assert_eq!((stats.dropped_writes.get(), stats.writes.get()), (10, 0));
    assert_eq!(look_up(&cache, &[key(1)]).await, [Some(payload("one"))]);
}

#[tokio::test(start_paused = true)]
async fn refused_writes_are_reported_once_until_one_succeeds() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    for (writing, reported) in [
        (Mood::Refuses, 1),
        (Mood::Refuses, 1),
        (Mood::Works, 1),
        (Mood::Refuses, 2),
    ] {
        store.state().writing = writing;
        remember(&cache, vec![(key(1), payload("one"))], None);
        settle().await;
        assert_eq!(warnings.count(), reported);
    }
}

#[tokio::test(start_paused = true)]
async fn three_writes_without_a_connection_shut_the_gate() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().writing = Mood::Unreachable;
    for value in 0..3 {
        assert_eq!(cache.remote_is_up(), Some(true));
        remember(&cache, vec![(key(value), payload("x"))], None);
        settle().await;
    }
    assert_eq!(cache.remote_is_up(), Some(false));
}

#[tokio::test(start_paused = true)]
async fn results_for_a_store_that_is_down_are_dropped_and_counted() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Unreachable;
    let cache = cache_before(&store, MIB as u64).await;
    remember(
        &cache,
        vec![(key(1), payload("one")), (key(2), payload("two"))],
        None,
    );
    assert_eq!(cache.stats().dropped_writes.get(), 2);
    assert_eq!(look_up(&cache, &[key(1)]).await, [Some(payload("one"))]);
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_for_a_hanging_store_is_dropped_and_counted() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().writing = Mood::Hangs;
    remember(&cache, vec![largest(0)], None);
    settle().await;
    let start = Instant::now();
    for value in 1..21 {
        remember(&cache, vec![largest(value)], None);
    }
    // With keys and seals 15 of them fit into 16 MiB.
    assert_eq!(cache.stats().dropped_writes.get(), 21 - 15);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_takes_no_room_from_what_comes_after() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    remember(&cache, (0..17).map(largest).collect(), None);
    remember(&cache, (0..15).map(largest).collect(), None);
    settle().await;
    let stats = cache.stats();
    assert_eq!((stats.writes.get(), stats.dropped_writes.get()), (15, 17));
}

#[tokio::test(start_paused = true)]
async fn room_for_waiting_results_comes_back_when_writes_end() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    for _ in 0..3 {
        remember(&cache, (0..15).map(largest).collect(), None);
        settle().await;
    }
    let stats = cache.stats();
    assert_eq!((stats.writes.get(), stats.dropped_writes.get()), (45, 0));
}

#[tokio::test(start_paused = true)]
async fn room_for_waiting_results_comes_back_when_writes_fail() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().writing = Mood::Hangs;
    remember(&cache, (0..15).map(largest).collect(), None);
    sleep(Duration::from_secs(20)).await;
    store.state().writing = Mood::Works;
    remember(&cache, (0..15).map(largest).collect(), None);
    settle().await;
    let stats = cache.stats();
    assert_eq!((stats.writes.get(), stats.dropped_writes.get()), (15, 15));
}

#[tokio::test(start_paused = true)]
async fn a_value_too_large_for_the_store_stays_here() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 256 * MIB as u64).await;
    let large = Bytes::from(vec![7; MIB + 1]);
    remember(&cache, vec![(key(1), large.clone()), largest(2)], None);
    settle().await;
    let written: Vec<_> = store
        .state()
        .written
        .iter()
        .map(|e| e.key.clone())
        .collect();
    assert_eq!(written, [key(2).to_redis(&Namespace::default())]);
    assert_eq!(cache.stats().dropped_writes.get(), 1);
    assert_eq!(look_up(&cache, &[key(1)]).await, [Some(large)]);
}
