//! Inference data: rows stored in a real Redis, asked for by key.

use serde_json::{Value, json};

use crate::protocol_cases::figure;
use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::in_process;
use crate::support::redis::RedisServer;
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use functions_host::{PATIENCE, eventually};

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const SECRET: &str = "271828182845";

pub(crate) fn features(prefix: &str, format: &str) -> String {
    format!("[features]\nprefix = \"{prefix}\"\nformat = \"{format}\"\n")
}

pub(crate) fn model(name: &str) -> std::path::PathBuf {
    repository().join(format!("tests/data/models/{name}.onnx"))
}

/// The sample model under `features:`.
fn digits_app() -> AppRoot {
    let app = AppRoot::new();
    let options = format!("outputs = [\"label\"]\n{}", features("features:", "json"));
    let file = repository().join("models/mnist/model.onnx");
    app.add_model("mnist", file, Some(&options));
    app
}

/// y = 2x + 1 for rows of three floats.
pub(crate) fn affine_app(format: &str) -> AppRoot {
    let app = AppRoot::new();
    let options = features("features:", format);
    app.add_model("affine", model("affine"), Some(&options));
    app
}

pub(crate) async fn start(app: &AppRoot, redis: &RedisServer) -> FunctionsHost {
    let host = in_process::start(app, [("REDIS_URL", redis.url().as_str())]).await;
    // What is scored before is not written, and would never be found.
    eventually("redis is connected", async || {
        figure(&host, "score_cache_redis_up").await == 1
    })
    .await;
    host
}

/// The same with a process of its own, for tests of what it logs.
pub(crate) async fn start_with_log(app: &AppRoot, redis: &RedisServer) -> FunctionsHost {
    FunctionsHost::start(app, [("REDIS_URL", redis.url().as_str())]).await
}

pub(crate) async fn post(host: &FunctionsHost, path: &str, body: &Value) -> Answer {
    let body = body.to_string();
    host.http("POST", path, &[JSON], body.as_bytes()).await
}

pub(crate) async fn score(host: &FunctionsHost, keys: &[&str]) -> Answer {
    post(host, "/api/score", &json!({ "keys": keys })).await
}

pub(crate) async fn set(redis: &RedisServer, key: &str, value: impl AsRef<[u8]>) {
    redis
        .command(&[b"SET", key.as_bytes(), value.as_ref()])
        .await;
}

pub(crate) fn cache(answer: &Answer) -> &str {
    answer.header("x-cache").expect("an X-Cache header")
}

pub(crate) fn code(answer: &Answer) -> Value {
    answer.at("/error/code")
}

pub(crate) fn says_nothing_of(secret: &str, host: &FunctionsHost, answer: &Answer) {
    assert!(!answer.text().contains(secret), "{}", answer.text());
    for (name, value) in &answer.headers {
        assert!(!value.contains(secret), "{name}: {value}");
    }
    for line in host.logs() {
        assert!(!line.text.contains(secret), "{}", line.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_rows_score_as_those_sent_and_are_remembered_by_content() {
    let (digits, redis) = (Digits::load(), RedisServer::start().await);
    let host = start(&digits_app(), &redis).await;
    for row in 0..4 {
        let value = digits.rows[row].to_string();
        set(&redis, &format!("features:{row}"), value).await;
    }
    let first = score(&host, &["0", "1", "2"]).await.expect_status(200);
    assert_eq!((cache(&first), first.json()), ("MISS", digits.answer(0..3)));
    let timing = first.header("server-timing").unwrap();
    assert!(timing.contains(", features;dur="), "{timing}");
    let again = score(&host, &["2", "1", "0", "2"]).await.expect_status(200);
    assert_eq!(
        (cache(&again), again.json()),
        ("HIT", digits.answer([2, 1, 0, 2]))
    );

    let sent = host
        .http("POST", "/api/score", &[JSON], &digits.body(0..3))
        .await;
    assert_eq!((cache(&sent), &sent.body), ("HIT", &first.body));
    assert!(!sent.header("server-timing").unwrap().contains("features"));
    let numbers = post(&host, "/api/score/mnist", &json!({ "keys": [0, 3] })).await;
    assert_eq!(
        (cache(&numbers), numbers.json()),
        ("PARTIAL; hits=1, rows=2", digits.answer([0, 3]))
    );

    set(&redis, "features:0", digits.rows[9].to_string()).await;
    let changed = score(&host, &["0"]).await.expect_status(200);
    assert_eq!(
        (cache(&changed), changed.json()),
        ("MISS", digits.answer([9]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_look_up_asks_redis_once_for_all_keys() {
    let redis = RedisServer::start().await;
    let settings = [
        ("REDIS_URL", redis.url()),
        ("SCORE_CACHE_POLICY", "off".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let host = FunctionsHost::start(&affine_app("json"), settings).await;
    let keys: Vec<String> = (0..100).map(|key| key.to_string()).collect();
    for key in &keys {
        set(&redis, &format!("features:{key}"), format!("[{key},0,1]")).await;
    }
    let wanted: Vec<&str> = keys.iter().chain(&keys).map(String::as_str).collect();
    host.wait_for_log("redis for features connected", PATIENCE)
        .await;
    let before = redis.info("total_commands_processed").await;
    let answer = score(&host, &wanted).await.expect_status(200);
    let after = redis.info("total_commands_processed").await;
    assert_eq!(after - before, 2, "one MGET and the INFO that asks");
    assert_eq!(answer.at("/199"), json!([199.0, 1.0, 3.0]));
    assert_eq!(cache(&answer), "BYPASS", "features need no cache");
    let metrics = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    assert!(
        metrics.contains("score_features_found_total 100"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn npy_and_raw_bytes_are_rows_too() {
    let row: Vec<u8> = [1f32, 2.0, 3.0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let npy = |shape: &str| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:<117}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(&row);
        file
    };
    let redis = RedisServer::start().await;
    set(&redis, "features:bare", npy("(3,)")).await;
    set(&redis, "features:row", npy("(1, 3)")).await;
    set(&redis, "features:raw", &row).await;
    set(&redis, "features:json", "[1,2,3]").await;
    for (format, fitting, unfit) in [
        ("npy", &["bare", "row"][..], "json"),
        ("raw", &["raw"], "bare"),
        ("json", &["json", "bare", "row"], "raw"),
    ] {
        let host = start(&affine_app(format), &redis).await;
        let answer = score(&host, fitting).await.expect_status(200);
        let expected = vec![json!([3.0, 5.0, 7.0]); fitting.len()];
        assert_eq!(answer.json(), json!(expected), "{format}");
        let answer = score(&host, &[unfit]).await.expect_status(422);
        assert_eq!(code(&answer), "features_invalid", "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_with_several_inputs_take_objects() {
    let app = AppRoot::new();
    app.add_model("mixed", model("mixed"), Some(&features("m:", "json")));
    let redis = RedisServer::start().await;
    let host = start_with_log(&app, &redis).await;
    let row = json!({ "a": [1.5, "NaN"], "b": 7, "c": "käse", "d": true, "e": [1, 2], "f": -3 });
    set(&redis, "m:1", row.to_string()).await;
    let by_key = score(&host, &["1"]).await.expect_status(200);
    let sent = post(&host, "/api/score", &json!({ "data": [row] })).await;
    assert_eq!((cache(&sent), &sent.body), ("HIT", &by_key.body));
    assert_eq!(by_key.at("/next"), json!([[8]]));
    set(
        &redis,
        "m:2",
        format!(r#"{{"a": [1, 2], "b": "x{SECRET}", "c": "", "d": true, "e": [1, 2], "f": 1}}"#),
    )
    .await;
    let answer = score(&host, &["2"]).await.expect_status(422);
    let message = answer.at("/error/message");
    assert!(
        message
            .as_str()
            .unwrap()
            .contains(r#"int64 [1] for input "b""#),
        "{message}"
    );
    says_nothing_of(SECRET, &host, &answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_keys_are_named() {
    let redis = RedisServer::start().await;
    let host = start(&affine_app("json"), &redis).await;
    set(&redis, "features:a", "[1,2,3]").await;
    redis
        .command(&[b"LPUSH", b"features:list", b"[1,2,3]"])
        .await;
    let answer = score(&host, &["a", "b", "list", "b"])
        .await
        .expect_status(404);
    assert_eq!(code(&answer), "features_not_found");
    let message = r#"no features are stored for "b""#;
    assert_eq!(answer.at("/error/message"), message);
    let protocol = post(
        &host,
        "/api/score/v2/models/affine/infer",
        &json!({ "keys": ["b"] }),
    )
    .await;
    assert_eq!(
        protocol.expect_status(404).at("/error"),
        r#"no features are stored for "b""#
    );
    let metrics = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    assert!(
        metrics.contains("score_features_missing_total 2"),
        "{metrics}"
    );
    let other = score(&host, &["list"]).await.expect_status(422);
    assert_eq!(code(&other), "features_invalid");
    let message = other.at("/error/message").to_string();
    assert!(
        message.contains(r#"stored for \"list\" are a Redis list"#),
        "{message}"
    );
    let empty = score(&host, &[]).await;
    let no_rows = post(&host, "/api/score", &json!({ "data": [] })).await;
    assert_eq!(empty.status, no_rows.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_leads_out_of_the_prefix() {
    let redis = RedisServer::start().await;
    let host = start(&affine_app("json"), &redis).await;
    let sent = post(&host, "/api/score", &json!({ "data": [[1, 2, 3]] })).await;
    sent.expect_status(200);
    redis.wait_for_keys(1, PATIENCE).await;
    let memo = String::from_utf8(redis.keys("score:*").await.remove(0)).unwrap();
    for other in ["other:a", "a", "features:b"] {
        set(&redis, other, "[1,2,3]").await;
    }
    let escapes = [
        memo.as_str(),
        "../other:a",
        "../a",
        "*",
        "?",
        "[ab]",
        "b*",
        "\nGET a",
        "b\r\n",
        "other:a",
        " b",
        "features:b",
        "b\u{7f}",
        "{b}",
    ];
    for key in escapes {
        let answer = score(&host, &[key]).await;
        assert_eq!(
            (answer.status, code(&answer)),
            (404, "features_not_found".into()),
            "{key:?}"
        );
    }
    let long = "b".repeat(1 << 20);
    for key in ["b\0", "", &long] {
        let answer = score(&host, &[key]).await.expect_status(400);
        assert!(answer.body.len() < 500, "{}", answer.body.len());
        assert_eq!(answer.at("/error/target"), "keys[0]");
    }
    score(&host, &["b"]).await.expect_status(200);
    let both = json!({ "keys": ["b"], "data": [[1, 2, 3]] });
    post(&host, "/api/score", &both).await.expect_status(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_prefix_or_with_a_wrong_one_there_are_no_keys() {
    let redis = RedisServer::start().await;
    set(&redis, "features:a", "[1,2,3]").await;
    let app = AppRoot::new();
    app.add_model("plain", model("affine"), None);
    for (name, options) in [
        ("memo", features("score:1:", "json")),
        ("short", features("s", "json")),
        ("empty", features("", "json")),
        ("none", "[features]\n".to_owned()),
        ("typo", "[features]\nprefixes = \"f:\"\n".to_owned()),
    ] {
        app.add_model(name, model("affine"), Some(&options));
    }
    app.add_model("scalar", model("scalar"), Some(&features("f:", "json")));
    app.add_model("mixed", model("mixed"), Some(&features("f:", "raw")));
    app.add_model("space", model("affine"), Some(&features("shop:1:", "json")));
    let url = redis.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("SCORE_CACHE_NAMESPACE", "shop"),
    ];
    let host = in_process::start(&app, settings).await;
    let keys = json!({ "keys": ["a"] });
    let answer = post(&host, "/api/score/plain", &keys)
        .await
        .expect_status(400);
    let message = answer.text();
    assert!(
        message.contains("no table [features] with a prefix"),
        "{message}"
    );
    assert_eq!(answer.at("/error/target"), "keys");
    for (name, said) in [
        ("memo", "remembered results"),
        ("short", "remembered results"),
        ("space", "remembered results"),
        ("empty", "features.prefix: expected"),
        ("none", "missing field `prefix`"),
        ("typo", "did you mean"),
        ("scalar", "has no rows"),
        ("mixed", "raw holds one input"),
    ] {
        let answer = post(&host, &format!("/api/score/{name}"), &keys).await;
        assert!(answer.expect_status(503).text().contains(said), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_values_leak_nothing() {
    let redis = RedisServer::start().await;
    let app = affine_app("json");
    let gather = features("features:", "json");
    app.add_model("gather", model("gather"), Some(&gather));
    let settings = [
        ("REDIS_URL", redis.url()),
        ("SCORE_LOG_FILTER", "debug,ort=off,fred=off".into()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let host = FunctionsHost::start(&app, settings).await;
    for (key, value) in [
        ("text", SECRET.to_owned()),
        ("string", format!("[1, 2, \"x{SECRET}\"]")),
        ("wide", format!("[{SECRET}, 1, 2, 3]")),
        ("member", format!("{{\"{SECRET}\": [1, 2, 3]}}")),
        ("rows", format!("[1, 2, 3], [{SECRET}, 2, 3]")),
        ("rubbish", format!("\u{1}{SECRET}")),
        ("npy", format!("\u{93}NUMPY{SECRET}")),
        ("large", format!("[1, 2, {SECRET}e99]")),
    ] {
        set(&redis, &format!("features:{key}"), value).await;
        let body = json!({ "keys": [key] });
        let answer = post(&host, "/api/score/affine", &body)
            .await
            .expect_status(422);
        assert_eq!(code(&answer), "features_invalid");
        let message = answer.at("/error/message");
        let expected = format!(
            r#"the features stored for "{key}" do not fit: expected float32 [3] for input "x", as JSON"#
        );
        assert_eq!(message, expected);
        says_nothing_of(SECRET, &host, &answer);
    }
    // A value that fits, and that the model itself refuses in words of its own.
    set(&redis, "features:index", SECRET).await;
    let body = json!({ "keys": ["index"] });
    let answer = post(&host, "/api/score/gather", &body)
        .await
        .expect_status(422);
    says_nothing_of(SECRET, &host, &answer);
    let sent: Value = serde_json::from_str(&format!(r#"{{"data": [{SECRET}]}}"#)).unwrap();
    let sent = post(&host, "/api/score/gather", &sent)
        .await
        .expect_status(400);
    assert!(
        sent.text().contains(SECRET),
        "or this test shows nothing: {}",
        sent.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_keys_as_for_rows() {
    let app = AppRoot::new();
    let options = format!("max_rows = 3\n{}", features("features:", "json"));
    app.add_model("affine", model("affine"), Some(&options));
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("SCORE_MAX_BODY_BYTES", "100")];
    let host = in_process::start(&app, settings).await;
    set(&redis, "features:a", "[1,2,3]").await;
    set(&redis, "features:b", format!("[1,2,3{}]", " ".repeat(40))).await;
    score(&host, &["a"; 3]).await.expect_status(200);
    let answer = score(&host, &["a"; 4]).await.expect_status(400);
    assert_eq!(
        answer.at("/error/message"),
        "keys: more than 3 in one request"
    );
    score(&host, &["b"; 2]).await.expect_status(200);
    score(&host, &["b"; 3]).await.expect_status(413);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_show_keys_for_models_that_take_them() {
    let app = affine_app("npy");
    app.add_model("plain", model("affine"), None);
    let redis = RedisServer::start().await;
    let host = start(&app, &redis).await;
    let get = |path: &'static str| async {
        host.http("GET", path, &[], b"")
            .await
            .expect_status(200)
            .json()
    };
    let model = get("/api/score/affine").await;
    assert_eq!(model["features"]["format"], "npy");
    assert_eq!(
        model["features"]["sample_request"],
        json!({ "keys": ["42"] })
    );
    assert!(
        !model.to_string().contains("features:"),
        "the prefix is no business of callers"
    );
    assert_eq!(get("/api/score/plain").await["features"], Value::Null);

    let document = get("/api/score/openapi.json?all").await;
    let takes_keys = |model: &str| {
        let forms = &document["components"]["schemas"][format!("{model}.request")]["oneOf"];
        let mut forms = forms.as_array().unwrap().iter();
        forms.any(|form| form["required"] == json!(["keys"]))
    };
    assert!(takes_keys("affine") && !takes_keys("plain"));
    let unfit = |model: &str| {
        let path = format!("/api/score/{model}");
        document["paths"][path]["post"]["responses"]["422"].is_object()
    };
    assert!(unfit("affine") && !unfit("plain"));
}

also_forwarded! {
    stored_rows_score_as_those_sent_and_are_remembered_by_content,
    one_look_up_asks_redis_once_for_all_keys,
    npy_and_raw_bytes_are_rows_too,
    models_with_several_inputs_take_objects,
    missing_keys_are_named,
    no_key_leads_out_of_the_prefix,
    without_a_prefix_or_with_a_wrong_one_there_are_no_keys,
    malformed_values_leak_nothing,
    limits_hold_for_keys_as_for_rows,
    the_documents_show_keys_for_models_that_take_them,
}
