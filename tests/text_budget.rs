//! An indexer of Azure AI Search waits no longer than 30 seconds: what takes longer is refused in time, and is to be tried again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use crate::support::redis::RedisServer;
use functions_host::answer::Answer;
use functions_host::eventually;
use functions_host::host::{FunctionsHost, HostOptions};

const JSON: (&str, &str) = ("content-type", "application/json");
/// What a skill may take.
const BUDGET: Duration = Duration::from_secs(25);

async fn index(host: &FunctionsHost) -> Answer {
    let body = json!({ "values": [{ "recordId": "r", "data": { "text": "the cat" } }] });
    let body = body.to_string();
    host.http("POST", "/api/score/skill", &[JSON], body.as_bytes())
        .await
}

/// Takes the time of the budget, and no core: the request waits for a Redis that hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_skill_that_takes_too_long_is_refused_in_time_and_can_be_tried_again() {
    let app = AppRoot::new();
    app.link_model("tiny", &repository().join("tests/data/text/tiny"));
    let redis = RedisServer::start().await;
    let options = HostOptions::default()
        .setting("REDIS_URL", redis.url())
        .setting("REDIS_TIMEOUT", "60s")
        .setting("SCORE_TIMEOUT", "90s")
        .setting("SCORE_L1_BYTES", "0");
    let host = in_process::start(&app, options).await;
    eventually("Redis is connected", async || {
        index(&host).await.header("x-cache") == Some("HIT")
    })
    .await;
    redis.pause();
    // Ends when the connection is given up; the next one waits for an answer as long as the setting says.
    index(&host).await;
    let start = Instant::now();
    let refused = index(&host).await.expect_status(503);
    assert!(start.elapsed() >= BUDGET, "{:?}", start.elapsed());
    assert_eq!(refused.json()["error"]["code"], "timeout");
    let seconds = refused.header("retry-after").unwrap().parse::<u32>();
    assert!(seconds.is_ok_and(|seconds| seconds >= 1));
    redis.resume();
    let answer = index(&host).await.expect_status(200);
    assert!(answer.at("/values/0/data/vector").is_array());
}
