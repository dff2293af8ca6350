//! Features whose Redis is down, hangs, is not set or gives few rights.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::features::{affine_app, code, post, score, set, start};
use crate::protocol_cases::figure;
use crate::support::in_process;
use crate::support::redis::{RedisOptions, RedisServer};
use functions_host::host::FunctionsHost;
use functions_host::{PATIENCE, eventually};

/// Scores until the status is 200.
async fn recovered(host: &FunctionsHost, keys: &[&str], limit: Duration) {
    let start = Instant::now();
    while score(host, keys).await.status != 200 {
        assert!(start.elapsed() < limit, "no answer after {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_down_is_a_503_that_ends_with_it() {
    let redis = RedisServer::start().await;
    let host = start(&affine_app("json"), &redis).await;
    set(&redis, "features:a", "[1,2,3]").await;
    score(&host, &["a"]).await.expect_status(200);
    redis.stop();
    // Only look-ups on their way while the connection breaks take their whole time.
    score(&host, &["a"]).await.expect_status(503);
    let start = Instant::now();
    for _ in 0..10 {
        let answer = score(&host, &["a"]).await.expect_status(503);
        assert_eq!(code(&answer), "features_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    let took = start.elapsed();
    // Each of them would wait for two seconds, `SCORE_FEATURES_TIMEOUT`.
    assert!(took < Duration::from_secs(10), "{took:?}");
    let sent = post(&host, "/api/score", &json!({ "data": [[1, 2, 3]] })).await;
    sent.expect_status(200);
    redis.restart().await;
    set(&redis, "features:a", "[1,2,3]").await;
    recovered(&host, &["a"], PATIENCE).await;
    let metrics = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    assert!(
        !metrics.contains("score_features_errors_total 0"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_holds_up_few_requests_and_not_for_long() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("SCORE_MAX_REQUESTS", "16"),
        ("SCORE_FEATURES_TIMEOUT", "5s"),
    ];
    let host = FunctionsHost::start(&affine_app("json"), settings).await;
    set(&redis, "features:a", "[1,2,3]").await;
    score(&host, &["a"]).await.expect_status(200);
    redis.pause();
    let start = Instant::now();
    let keys = ["a"];
    let hanging = async {
        let answers = futures_util::future::join_all((0..12).map(|_| score(&host, &keys))).await;
        (answers, Instant::now())
    };
    let ordinary = async {
        eventually("eight look-ups hang", async || {
            figure(&host, "score_requests_in_flight").await == 8
        })
        .await;
        let sent = post(&host, "/api/score", &json!({ "data": [[1, 2, 3]] })).await;
        sent.expect_status(200);
        Instant::now()
    };
    let ((answers, hanging), ordinary) = tokio::join!(hanging, ordinary);
    assert!(ordinary < hanging, "it waited for the others");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    let overloaded = answers.iter().filter(|answer| code(answer) == "overloaded");
    assert_eq!(
        overloaded.count(),
        4,
        "half of the permits are for look-ups"
    );
    for answer in answers {
        answer.expect_status(503);
    }
    redis.resume();
    recovered(&host, &["a"], PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_requests_by_key_are_refused_and_others_served() {
    let host = FunctionsHost::start(&affine_app("json"), []).await;
    host.wait_for_log("no Redis is set: requests by key are refused", PATIENCE)
        .await;
    let answer = score(&host, &["a"]).await.expect_status(503);
    assert_eq!(code(&answer), "features_unavailable");
    assert!(
        answer.text().contains("no Redis is set"),
        "{}",
        answer.text()
    );
    let sent = post(&host, "/api/score", &json!({ "data": [[1, 2, 3]] })).await;
    sent.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_read_features_alone_is_enough() {
    let redis = RedisServer::start_with(RedisOptions::default().password("p")).await;
    redis
        .command(&[
            b"ACL",
            b"SETUSER",
            b"reader",
            b"on",
            b">q",
            b"+get",
            b"+mget",
            b"~features:*",
        ])
        .await;
    set(&redis, "features:a", "[1,2,3]").await;
    let url = redis.url().replace(":p@", "reader:q@");
    let host = in_process::start(&affine_app("json"), [("REDIS_URL", url.as_str())]).await;
    score(&host, &["a"]).await.expect_status(200);
}
