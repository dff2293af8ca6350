//! When remembered results are looked up: costs are learned and shown, and decide under `SCORE_CACHE_POLICY=auto`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::memo::{cache, score};
use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::fault_proxy::FaultProxy;
use crate::support::redis::RedisServer;
use functions_host::PATIENCE;
use functions_host::host::FunctionsHost;

/// With Redis and `l1_bytes` in the process; connected.
async fn start(app: &AppRoot, url: &str, policy: &str, l1_bytes: &str) -> FunctionsHost {
    let settings = [
        ("REDIS_URL", url),
        // A busy machine must not look like a slow Redis.
        ("REDIS_TIMEOUT", "5s"),
        ("SCORE_CACHE_POLICY", policy),
        ("SCORE_L1_BYTES", l1_bytes),
    ];
    let host = FunctionsHost::start(app, settings).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    host
}

/// Digits that no request has had: pixels that are blank in all of them hold the number.
fn new_digit(digits: &Digits, number: usize) -> (Vec<u8>, Value) {
    let which = number % digits.rows.len();
    let mut row = digits.rows[which].clone();
    row[0] = json!(number as f64 / 1e6);
    let body = json!({ "data": [row] }).to_string();
    (body.into_bytes(), digits.answer([which]))
}

async fn describe(host: &FunctionsHost) -> Value {
    let document = host.http("GET", "/api/score", &[], b"").await.json();
    document["cache"].clone()
}

fn seconds(document: &Value, name: &str) -> f64 {
    let value = document[name].as_f64();
    value.unwrap_or_else(|| panic!("no {name} in {document}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cost_less_than_a_look_up_are_not_looked_up_any_more() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    // So far away that a row costs less however busy the machine is.
    let proxy = FaultProxy::start(redis.port());
    proxy.delay(Duration::from_millis(10));
    let far = format!("redis://127.0.0.1:{}", proxy.port());
    let host = start(&app, &far, "auto", "0").await;
    let mut bypassed = 0;
    for number in 0..600 {
        let (body, expected) = new_digit(&digits, number);
        let answer = score(&host, &body).await;
        assert_eq!(answer.json(), expected);
        match cache(&answer) {
            "BYPASS" if number >= 200 => bypassed += 1,
            "BYPASS" | "MISS" => {}
            other => panic!("row {number}: {other}"),
        }
    }
    let document = describe(&host).await;
    assert!(bypassed > 300, "{bypassed} of 400; {document}");
    assert!(redis.key_count().await < 300);
    let took = seconds(&document, "redis_lookup_cost_seconds");
    assert!(took > seconds(&document, "row_cost_seconds"), "{document}");
    assert!(document["requests"]["none"].as_u64() > Some(300));
    // The first 64, and probes.
    assert!(document["requests"]["rows"].as_u64() > Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_rows_of_a_slow_model_are_found_under_auto() {
    let app = AppRoot::new();
    let model = repository().join("tests/data/models/slow.onnx");
    app.add_model("slow", model, None);
    let redis = RedisServer::start().await;
    let host = start(&app, &redis.url(), "auto", "1000000").await;
    let ask = async |number: usize| {
        let body = json!({ "data": [[number, 2, 3, 4]] }).to_string();
        let answer = score(&host, body.as_bytes()).await;
        assert_eq!(answer.json(), json!([[2.0 * number as f64, 4.0, 6.0, 8.0]]));
        cache(&answer).to_owned()
    };
    for number in 0..80 {
        assert_eq!(ask(number).await, "MISS");
    }
    for number in 0..80 {
        assert_eq!(ask(number).await, "HIT");
    }
    let document = describe(&host).await;
    assert!(seconds(&document, "saved_seconds") > 1.0, "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_are_learned_and_shown_under_always() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let host = start(&app, &redis.url(), "always", "1000000").await;
    assert!(describe(&host).await.get("row_cost_seconds").is_none());
    for number in 0..40 {
        let (body, _) = new_digit(&digits, number);
        assert_eq!(cache(&score(&host, &body).await), "MISS");
    }
    let document = describe(&host).await;
    assert_eq!(document["policy"], "always");
    assert_eq!(document["requests"]["rows"], 40);
    for name in [
        "row_cost_seconds",
        "local_lookup_cost_seconds",
        "redis_lookup_cost_seconds",
    ] {
        assert!((0.0..5.0).contains(&seconds(&document, name)), "{document}");
    }
    assert!(seconds(&document, "saved_seconds") < 0.0);
    let metrics = host.http("GET", "/api/score/metrics", &[], b"").await;
    for sample in [
        "score_model_row_cost_seconds{model=\"mnist\"} ",
        "score_cache_lookup_cost_seconds{model=\"mnist\",tier=\"local\"} ",
        "score_cache_lookup_cost_seconds{model=\"mnist\",tier=\"redis\"} ",
        "score_cache_saved_seconds{model=\"mnist\"} -",
        "score_cache_requests_total{model=\"mnist\",plan=\"rows\"} 40",
    ] {
        assert!(metrics.text().contains(sample), "no {sample}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_requests_under_auto_are_right_however_they_are_looked_up() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let host = start(&app, &redis.url(), "auto", "1000000").await;
    let requests = [0..40, 40..80, 60..100].map(|rows| (digits.body(rows.clone()), rows));
    for _ in 0..150 {
        for (body, rows) in &requests {
            let answer = score(&host, body).await;
            assert_eq!(answer.json(), digits.answer(rows.clone()));
        }
    }
    let requests = &describe(&host).await["requests"];
    let by_request = ["request", "request_local"].map(|plan| requests[plan].as_u64());
    assert!(
        by_request.iter().any(|count| *count > Some(0)),
        "{requests}"
    );
}
