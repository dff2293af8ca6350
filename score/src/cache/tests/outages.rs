//! Stores that fail, hang or come back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_lost_part_of_the_store_costs_its_own_keys_and_no_others() {
    let store = Arc::new(FakeStore::default());
    for value in 1..3 {
        store.put(key(value), seal(&key(value), b"known"));
    }
    store.state().lost = vec![key(1).to_redis(&Namespace::default())];
    let cache = cache_before(&store, 0).await;
    for _ in 0..10 {
        let found = look_up(&cache, &[key(1), key(2)]).await;
        assert_eq!(found, [None, Some(payload("known"))]);
        assert_eq!(look_up(&cache, &[key(1)]).await, [None]);
    }
    assert_eq!(cache.remote_is_up(), Some(true));
    assert_eq!(cache.stats().remote_errors.get(), 20);
}

#[tokio::test(start_paused = true)]
async fn probes_answered_by_some_parts_of_the_store_are_enough() {
    let store = Arc::new(FakeStore::default());
    let probe = Namespace::default().probe_key();
    store.state().lost = vec![probe.clone(), format!("{probe}:0"), format!("{probe}:7")];
    let cache = cache_before(&store, 0).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(cache.remote_is_up(), Some(true), "while idle");
    store.state().reading = Mood::Unreachable;
    for _ in 0..3 {
        look_up(&cache, &[key(1)]).await;
    }
    assert_eq!(cache.remote_is_up(), Some(false));
    store.state().reading = Mood::Works;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(cache.remote_is_up(), Some(true), "when it heals");
}

#[tokio::test(start_paused = true)]
async fn after_three_failures_no_look_up_reaches_the_store() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    for _ in 0..10 {
        assert_eq!(look_up(&cache, &[key(1)]).await, [None]);
    }
    assert_eq!(cache.remote_is_up(), Some(false));
    assert_eq!(store.look_ups(), 3);
    assert_eq!(cache.stats().remote_errors.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_success_between_failures_keeps_the_gate_open() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    for reading in [
        Mood::Unreachable,
        Mood::Unreachable,
        Mood::Works,
        Mood::Unreachable,
        Mood::Unreachable,
    ] {
        store.state().reading = reading;
        look_up(&cache, &[key(1)]).await;
    }
    assert_eq!(cache.remote_is_up(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_probe_opens_the_gate_again_when_the_store_recovers() {
    let store = Arc::new(FakeStore::default());
    store.put(key(1), seal(&key(1), b"one"));
    let cache = cache_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&cache).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(cache.remote_is_up(), Some(false));
    assert!(store.state().probes > 0);
    store.state().reading = Mood::Works;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(look_up(&cache, &[key(1)]).await, [Some(payload("one"))]);
    assert_eq!(store.state().connects, 1, "the connection healed by itself");
}

#[tokio::test(start_paused = true)]
async fn a_recovered_store_has_three_failures_free_again() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&cache).await;
    store.state().reading = Mood::Works;
    sleep(Duration::from_secs(1)).await;
    store.state().reading = Mood::Unreachable;
    for _ in 0..2 {
        look_up(&cache, &[key(1)]).await;
    }
    assert_eq!(cache.remote_is_up(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_heal_is_replaced() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&cache).await;
    sleep(Duration::from_millis(900)).await;
    assert_eq!(store.state().connects, 1, "it may still heal");
    store.state().connecting = Mood::Unreachable;
    sleep(Duration::from_secs(2)).await;
    assert!(store.state().connects > 1);
    assert_eq!(cache.remote_is_up(), Some(false));
    {
        let mut state = store.state();
        state.connecting = Mood::Works;
        state.reading = Mood::Works;
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(cache.remote_is_up(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_reported_once() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    {
        let mut state = store.state();
        state.reading = Mood::Unreachable;
        state.connecting = Mood::Unreachable;
    }
    shut_the_gate(&cache).await;
    sleep(Duration::from_secs(60)).await;
    assert!(store.state().connects > 10);
    assert_eq!(warnings.count(), 1);
}

/// A store that answers every probe and fails every look-up, asked a hundred times a second.
async fn a_minute_of_relapses(cache: &Cache, store: &FakeStore) {
    {
        let mut state = store.state();
        state.reading = Mood::Unreachable;
        state.probing = Some(Mood::Works);
    }
    for _ in 0..6_000 {
        look_up(cache, &[key(1)]).await;
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_only_answers_probes_is_soon_asked_once_a_second() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    a_minute_of_relapses(&cache, &store).await;
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
    let cache = cache_before(&store, 0).await;
    sleep(Duration::from_secs(60)).await;
    a_minute_of_relapses(&cache, &store).await;
    assert_eq!(warnings.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_after_a_calm_time_is_reported_again() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    a_minute_of_relapses(&cache, &store).await;
    store.state().reading = Mood::Works;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(cache.remote_is_up(), Some(true));
    let before = warnings.count();
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&cache).await;
    settle().await;
    assert_eq!(warnings.count(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_in_a_hanging_store_ends_with_its_budget() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().reading = Mood::Hangs;
    let start = Instant::now();
    assert_eq!(look_up(&cache, &[key(1)]).await, [None]);
    let took = start.elapsed();
    assert!(
        took >= BUDGET && took < BUDGET + Duration::from_millis(5),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn three_hanging_look_ups_shut_the_gate() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    store.state().reading = Mood::Hangs;
    shut_the_gate(&cache).await;
    let start = Instant::now();
    look_up(&cache, &[key(1)]).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(store.look_ups(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_left_alone_where_only_this_process_is_meant() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, MIB as u64).await;
    cache.remember(vec![(key(1), payload("one"))], None, Tiers::Local);
    settle().await;
    let answer = cache
        .look_up(&[key(1), key(2)], Tiers::Local, None, |_| true)
        .await;
    assert_eq!(answer.found, [Some(payload("one")), None]);
    assert_eq!((answer.near, answer.remote), (vec![true, false], None));
    assert_eq!((store.look_ups(), store.state().written.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_does_not_hide_what_is_known_here() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, MIB as u64).await;
    remember(&cache, vec![(key(1), payload("one"))], None);
    store.state().reading = Mood::Hangs;
    let found = look_up(&cache, &[key(1), key(2)]).await;
    assert_eq!(found, [Some(payload("one")), None]);
}
