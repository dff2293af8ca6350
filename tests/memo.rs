//! Results remembered in a real Redis: found again from everywhere, never wrong, never missed when it is gone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::redis::RedisServer;
use functions_host::PATIENCE;
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;

const JSON: (&str, &str) = ("content-type", "application/json");

/// A handler without its in-process tier, so that every hit is one of Redis; connected.
async fn with_redis(app: &AppRoot, url: &str) -> FunctionsHost {
    // A busy machine must not look like a slow Redis.
    with_patience(app, url, "2s").await
}

/// The same, for look-ups that may take longer.
async fn with_patience(app: &AppRoot, url: &str, budget: &str) -> FunctionsHost {
    let settings = [
        ("REDIS_URL", url),
        ("SCORE_L1_BYTES", "0"),
        ("REDIS_TIMEOUT", budget),
    ];
    let host = FunctionsHost::start(app, settings).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    host
}

/// An answer that has to be a 200.
pub(crate) async fn score(host: &FunctionsHost, body: &[u8]) -> Answer {
    let answer = host.http("POST", "/api/score", &[JSON], body).await;
    answer.expect_status(200)
}

/// What came out of the cache.
pub(crate) fn cache(answer: &Answer) -> &str {
    answer.header("x-cache").expect("an X-Cache header")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_found_again_by_other_requests_dialects_and_processes() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let host = with_redis(&app, &redis.url()).await;
    let first = score(&host, &digits.body(0..64)).await;
    assert_eq!(cache(&first), "MISS");
    redis.wait_for_keys(64, PATIENCE).await;

    let again = score(&host, &digits.body(0..64)).await;
    assert_eq!((cache(&again), &again.body), ("HIT", &first.body));
    let half = score(&host, &digits.body(32..96)).await;
    assert_eq!(cache(&half), "PARTIAL; hits=32, rows=64");
    assert_eq!(half.json(), digits.answer(32..96));
    redis.wait_for_keys(96, PATIENCE).await;

    let path = "/api/score/v2/models/mnist/infer";
    let other = host
        .http("POST", path, &[JSON], &digits.open_inference(0..96))
        .await;
    assert_eq!(cache(&other.expect_status(200)), "HIT");

    let second = with_redis(&app, &redis.url()).await;
    let there = score(&second, &digits.body(0..96)).await;
    assert_eq!(cache(&there), "HIT");
    assert_eq!(there.json(), digits.answer(0..96));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_look_up_asks_redis_once_for_all_rows() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    // A busy machine may take longer than usual; how often Redis is asked is what counts here.
    let host = with_patience(&app, &redis.url(), "2s").await;
    score(&host, &digits.body(0..100)).await;
    redis.wait_for_keys(100, PATIENCE).await;
    let before = redis.info("total_commands_processed").await;
    assert_eq!(cache(&score(&host, &digits.body(0..100)).await), "HIT");
    let after = redis.info("total_commands_processed").await;
    assert_eq!(after - before, 2, "one MGET and the INFO that asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_asked_for_at_the_same_time_are_computed_once() {
    let app = AppRoot::new();
    let model = repository().join("tests/data/models/slow.onnx");
    app.add_model("slow", model, None);
    let host = FunctionsHost::start(&app, []).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let answers = (0..40).map(|_| score(&host, br#"{"data":[[1,2,3,4]]}"#));
    let answers = futures_util::future::join_all(answers).await;
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    let missed = answers.iter().filter(|answer| cache(answer) == "MISS");
    assert_eq!(missed.count(), 1, "the others got what that one computed");
    let document = host.http("GET", "/api/score", &[], b"").await.json();
    assert_eq!(document["rows_computed"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_expire_after_the_set_time_give_or_take_a_tenth() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    for (ttl, low, high) in [("1000s", 890_000, 1_100_001), ("0", -1, 0)] {
        redis.command(&[b"FLUSHALL"]).await;
        let settings = [
            ("REDIS_URL", redis.url()),
            ("SCORE_CACHE_TTL", ttl.to_owned()),
        ];
        let settings = settings
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let host = FunctionsHost::start(&app, settings).await;
        host.wait_for_log("redis connected", PATIENCE).await;
        score(&host, &digits.body(0..10)).await;
        redis.wait_for_keys(10, PATIENCE).await;
        for key in redis.keys("score:*").await {
            let left = redis.command(&[b"PTTL", &key]).await.integer();
            assert!((low..high).contains(&left), "{ttl}: {left}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_model_never_answers_with_old_results() {
    let app = AppRoot::new();
    let redis = RedisServer::start().await;
    let models = repository().join("tests/data/models");
    let body = br#"{"data":[[1,2,3]]}"#;
    for (file, expected) in [
        ("affine.onnx", "[[3.0,5.0,7.0]]"),
        ("affine_other.onnx", "[[4.0,7.0,10.0]]"),
    ] {
        app.add_model("m", models.join(file), None);
        let host = with_redis(&app, &redis.url()).await;
        for cached in ["MISS", "HIT"] {
            let answer = score(&host, body).await;
            assert_eq!(
                (cache(&answer), answer.text()),
                (cached, expected.to_owned())
            );
            redis.wait_for_keys(1, PATIENCE).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(redis.key_count().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_foreign_values_are_computed_anew_and_overwritten() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let host = with_redis(&app, &redis.url()).await;
    score(&host, &digits.body([0])).await;
    redis.wait_for_keys(1, PATIENCE).await;
    let key = redis.keys("*").await.remove(0);
    let good = redis
        .command(&[b"GET", &key])
        .await
        .bytes()
        .unwrap()
        .to_vec();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;

    for bad in [&b"garbage"[..], b"", &flipped, &good[..good.len() - 1]] {
        redis.command(&[b"SET", &key, bad]).await;
        let answer = score(&host, &digits.body([0])).await;
        assert_eq!(
            (cache(&answer), answer.json()),
            ("MISS", digits.answer([0]))
        );
        overwritten(&redis, &key, &good).await;
    }
    redis.command(&[b"DEL", &key]).await;
    redis.command(&[b"LPUSH", &key, b"a list"]).await;
    let answer = score(&host, &digits.body([0])).await;
    assert_eq!(
        (cache(&answer), answer.json()),
        ("MISS", digits.answer([0]))
    );
    overwritten(&redis, &key, &good).await;
    assert_eq!(cache(&score(&host, &digits.body([0])).await), "HIT");

    // A result under another row's key is no result for that row.
    score(&host, &digits.body([1])).await;
    redis.wait_for_keys(2, PATIENCE).await;
    let other = redis
        .keys("*")
        .await
        .into_iter()
        .find(|k| *k != key)
        .unwrap();
    redis.command(&[b"SET", &other, &good]).await;
    let answer = score(&host, &digits.body([1])).await;
    assert_eq!(
        (cache(&answer), answer.json()),
        ("MISS", digits.answer([1]))
    );
}

async fn overwritten(redis: &RedisServer, key: &[u8], expected: &[u8]) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let reply = redis.command(&[b"GET", key]).await;
        if matches!(&reply, crate::support::resp::RespValue::Bulk(value) if value == expected) {
            return;
        }
        assert!(Instant::now() < give_up, "not overwritten: {reply:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_at_the_start_scores_are_right_and_quick_and_hits_come_later() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let url = redis.url();
    redis.stop();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("SCORE_L1_BYTES", "0"),
        ("REDIS_TIMEOUT", "2s"),
    ];
    let host = FunctionsHost::start(&app, settings).await;
    host.wait_for_log("redis cannot be used", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let start = Instant::now();
    for row in 0..20 {
        let answer = score(&host, &digits.body([row])).await;
        assert_eq!(
            (cache(&answer), answer.json()),
            ("BYPASS", digits.answer([row]))
        );
    }
    let took = start.elapsed();
    // Each of them would wait for `REDIS_TIMEOUT`.
    assert!(took < Duration::from_secs(20), "{took:?}");
    redis.restart().await;
    host.wait_for_log("redis connected", PATIENCE).await;
    score(&host, &digits.body([0])).await;
    redis.wait_for_keys(1, PATIENCE).await;
    assert_eq!(cache(&score(&host, &digits.body([0])).await), "HIT");
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_frozen_and_restarted_under_load_fails_no_request() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let host = with_redis(&app, &redis.url()).await;
    let (done, served, wrong) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let clients = (0..32).map(|client| {
        let (host, digits, done, served, wrong) = (&host, &digits, &done, &served, &wrong);
        async move {
            let mut row = client;
            while !done.load(Ordering::Relaxed) {
                let answer = host
                    .http("POST", "/api/score", &[JSON], &digits.body([row]))
                    .await;
                served.fetch_add(1, Ordering::Relaxed);
                if answer.status != 200 || answer.json() != digits.answer([row]) {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
                row = (row + 1) % 100;
            }
        }
    });
    let faults = async {
        let pause = || tokio::time::sleep(Duration::from_millis(700));
        pause().await;
        redis.stop();
        host.wait_for_log("redis does not answer", PATIENCE).await;
        pause().await;
        redis.restart().await;
        hits_again(&host, &digits).await;
        redis.pause();
        // Requests wait for it no more.
        answers_from(&host, &digits, "BYPASS").await;
        redis.resume();
        hits_again(&host, &digits).await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(futures_util::future::join_all(clients), faults);
    assert!(served.load(Ordering::Relaxed) > 100);
    assert_eq!(wrong.load(Ordering::Relaxed), 0, "of {served:?}");
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

/// After Redis is back, answers come out of it again. `tests/chaos` measures how soon.
async fn hits_again(host: &FunctionsHost, digits: &Digits) {
    answers_from(host, digits, "HIT").await;
}

/// Waits until `X-Cache` says so.
async fn answers_from(host: &FunctionsHost, digits: &Digits, expected: &str) {
    let give_up = Instant::now() + PATIENCE;
    while cache(&score(host, &digits.body([0])).await) != expected {
        assert!(Instant::now() < give_up, "never {expected}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_still_answers_what_it_knows() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let host = with_redis(&app, &redis.url()).await;
    score(&host, &digits.body([0])).await;
    redis.wait_for_keys(1, PATIENCE).await;
    redis
        .command(&[b"CONFIG", b"SET", b"maxmemory", b"1"])
        .await;
    for row in 1..8 {
        assert_eq!(
            score(&host, &digits.body([row])).await.json(),
            digits.answer([row])
        );
    }
    host.wait_for_log("redis refuses to store", PATIENCE).await;
    assert_eq!(cache(&score(&host, &digits.body([0])).await), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_can_be_switched_off() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("SCORE_CACHE_POLICY", "off")];
    let host = FunctionsHost::start(&app, settings).await;
    for _ in 0..2 {
        assert_eq!(cache(&score(&host, &digits.body([0])).await), "BYPASS");
    }
    assert_eq!(redis.key_count().await, 0);
}
