//! The way to a connection, and what the log says of it.

use super::*;

async fn answers_at_once_before(connecting: Mood) {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = connecting;
    let start = Instant::now();
    let cache = Cache::new(0, Some((store.clone(), options(None))));
    assert_eq!(look_up(&cache, &[key(1)]).await, [None]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    settle().await;
    assert_eq!(look_up(&cache, &[key(1)]).await, [None]);
    assert_eq!(store.look_ups(), 0);
    assert_eq!(cache.remote_is_up(), Some(false));
    assert!(!cache.is_available());
}

#[tokio::test(start_paused = true)]
async fn a_shared_store_alone_is_available_while_it_answers() {
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    assert!(cache.is_available());
    store.state().reading = Mood::Unreachable;
    shut_the_gate(&cache).await;
    assert!(!cache.is_available());
}

#[tokio::test(start_paused = true)]
async fn a_local_tier_is_available_without_the_shared_store() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Unreachable;
    let cache = cache_before(&store, MIB as u64).await;
    assert!(cache.is_available());
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
    let cache = cache_before(&store, 0).await;
    sleep(Duration::from_secs(600)).await;
    store.state().connecting = Mood::Works;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(look_up(&cache, &[key(1)]).await, [Some(payload("one"))]);
}

#[tokio::test(start_paused = true)]
async fn connecting_is_tried_about_once_a_second_and_every_failure_counted() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Unreachable;
    let cache = cache_before(&store, 0).await;
    sleep(Duration::from_secs(60)).await;
    let tried = store.state().connects as u64;
    assert!((54..=72).contains(&tried), "{tried}");
    assert_eq!(cache.stats().remote_errors.get(), tried);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_that_hangs_does_not_hold_up_the_next() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Hangs;
    let cache = cache_before(&store, 0).await;
    store.state().connecting = Mood::Works;
    sleep(Duration::from_millis(900)).await;
    assert_eq!(cache.remote_is_up(), Some(false), "still in the first try");
    sleep(Duration::from_millis(300)).await;
    assert_eq!(cache.remote_is_up(), Some(true));
    assert_eq!(store.state().connects, 2);
}

#[tokio::test(start_paused = true)]
async fn attempts_to_connect_to_a_hanging_store_are_given_up() {
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Hangs;
    let cache = cache_before(&store, 0).await;
    sleep(Duration::from_secs(60)).await;
    let (tried, failed) = (
        store.state().connects as u64,
        cache.stats().remote_errors.get(),
    );
    assert!((54..=61).contains(&tried), "{tried}");
    assert!((10..=12).contains(&(tried - failed)), "{tried}, {failed}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_reached_at_start_is_reported_once() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    store.state().connecting = Mood::Unreachable;
    let _memo = cache_before(&store, 0).await;
    assert_eq!(warnings.count(), 1);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(warnings.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_probed_every_minute() {
    let store = Arc::new(FakeStore::default());
    let _memo = cache_before(&store, 0).await;
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
    let cache = cache_before(&store, 0).await;
    {
        let mut state = store.state();
        state.reading = Mood::Hangs;
        state.connecting = Mood::Unreachable;
    }
    sleep(Duration::from_secs(200)).await;
    assert_eq!(cache.remote_is_up(), Some(false));
    assert_eq!(store.look_ups(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lets_in_but_refuses_to_read_is_reported_once_and_left_alone() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    store.state().reading = Mood::Refuses;
    let cache = cache_before(&store, 0).await;
    for _ in 0..6000 {
        look_up(&cache, &[key(1)]).await;
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(warnings.count(), 1);
    assert_eq!(store.look_ups(), 0, "only probes");
}

#[tokio::test(start_paused = true)]
async fn an_outage_after_short_relapses_is_reported() {
    let (warnings, _guard) = Warnings::listen();
    let store = Arc::new(FakeStore::default());
    let cache = cache_before(&store, 0).await;
    let fall = async || {
        store.state().reading = Mood::Unreachable;
        for _ in 0..3 {
            look_up(&cache, &[key(1)]).await;
        }
    };
    for _ in 0..3 {
        fall().await;
        sleep(Duration::from_millis(10)).await;
        store.state().reading = Mood::Works;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(cache.remote_is_up(), Some(true));
    }
    let before = warnings.count();
    store.state().connecting = Mood::Unreachable;
    fall().await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(warnings.count(), before + 1);
}
