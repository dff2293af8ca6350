//! Look-ups that leave together.

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;

async fn join(cache: &Cache, joint: &JointLookUp, keys: &[UnitKey]) -> LookUp {
    cache.look_up(keys, Tiers::All, Some(joint), |_| true).await
}

#[tokio::test(start_paused = true)]
async fn requests_polled_by_one_task_ask_the_store_once() {
    let store = Arc::new(FakeStore::default());
    for (value, text) in [(1, "one"), (22, "twenty-two")] {
        store.put(key(value), seal(&key(value), text.as_bytes()));
    }
    let cache = cache_before(&store, 0).await;
    let joint = JointLookUp::default();
    for round in 1..=2 {
        let keys: Vec<_> = (0..10).map(|i| keys(3 * i..3 * i + 3)).collect();
        let answers = join_all(keys.iter().map(|keys| join(&cache, &joint, keys))).await;
        assert_eq!(store.look_ups(), round);
        assert_eq!(store.state().look_ups[round - 1].len(), 30);
        assert_eq!(answers[0].found, [None, Some(payload("one")), None]);
        assert_eq!(answers[7].found, [None, Some(payload("twenty-two")), None]);
        assert!(answers.iter().all(|answer| answer.remote.is_some()));
    }
    assert_eq!(cache.stats().remote_hits.get(), 4);
    assert_eq!(cache.stats().misses.get(), 56);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_for_requests_whose_leader_is_dropped() {
    let store = Arc::new(FakeStore::default());
    store.put(key(2), seal(&key(2), b"two"));
    let cache = cache_before(&store, 0).await;
    let joint = JointLookUp::default();
    let (first, second) = ([key(1)], [key(2)]);
    let mut leader = Box::pin(join(&cache, &joint, &first));
    assert!(leader.as_mut().now_or_never().is_none());
    let mut follower = Box::pin(join(&cache, &joint, &second));
    assert!(follower.as_mut().now_or_never().is_none());
    drop(leader);
    let answer = follower.await;
    assert_eq!((&answer.found[..], answer.remote), (&[None][..], None));
    // The next one makes a look-up of its own.
    let answer = join(&cache, &joint, &second).await;
    assert_eq!(answer.found, [Some(payload("two"))]);
    assert_eq!(store.look_ups(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_dropped_while_the_store_is_silent_strands_no_request() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().reading = Mood::Hangs;
    let joint = JointLookUp::default();
    let (first, second) = ([key(1)], [key(2)]);
    let mut leader = Box::pin(join(&cache, &joint, &first));
    let mut follower = Box::pin(join(&cache, &joint, &second));
    let both = async { tokio::join!(leader.as_mut(), follower.as_mut()) };
    assert!(timeout(BUDGET / 2, both).await.is_err());
    assert_eq!(store.look_ups(), 1);
    drop(leader);
    assert_eq!(follower.await.found, [None]);
}

#[tokio::test(start_paused = true)]
async fn requests_with_many_rows_and_requests_beyond_the_limit_ask_again() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    let joint = JointLookUp::default();
    let (large, small) = (keys(0..65), [key(70)]);
    tokio::join!(
        join(&cache, &joint, &small),
        join(&cache, &joint, &large),
        join(&cache, &joint, &small)
    );
    let lengths =
        |store: &FakeStore| -> Vec<usize> { store.state().look_ups.iter().map(Vec::len).collect() };
    assert_eq!(lengths(&store), [65, 2]);
    join_all((0..300).map(|_| join(&cache, &joint, &small))).await;
    let mut lengths = lengths(&store).split_off(2);
    lengths.sort();
    assert_eq!(lengths, [43, 257]);
}

#[tokio::test(start_paused = true)]
async fn a_shut_gate_is_left_alone_by_all() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    let joint = JointLookUp::default();
    let all = keys(0..4);
    // Three look-ups that fail, of four requests each.
    for _ in 0..3 {
        join_all(all.chunks(1).map(|keys| join(&cache, &joint, keys))).await;
    }
    assert_eq!((cache.remote_is_up(), store.look_ups()), (Some(false), 3));
    join_all(all.chunks(1).map(|keys| join(&cache, &joint, keys))).await;
    assert_eq!(store.look_ups(), 3);
}
