//! The APIs of text models, as their clients use them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use crate::texts::{assert_close, copy};
use functions_host::answer::Answer;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::http1;
use functions_host::port;

const JSON: (&str, &str) = ("content-type", "application/json");

fn tiny() -> PathBuf {
    repository().join("tests/data/text/tiny")
}

/// The first text with a vector from Python, and that vector.
fn known() -> (Value, Value) {
    let text = fs::read(repository().join("tests/data/text/tiny.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
    (rows[0]["text"].clone(), rows[0]["vector"].clone())
}

async fn host() -> FunctionsHost {
    let app = AppRoot::new();
    app.link_model("tiny", &tiny());
    in_process::start(&app, []).await
}

async fn post(host: &FunctionsHost, path: &str, body: impl AsRef<[u8]>) -> Answer {
    let path = format!("/api/score/{path}");
    host.http("POST", &path, &[JSON], body.as_ref()).await
}

async fn get(host: &FunctionsHost, path: &str) -> Answer {
    let path = format!("/api/score/{path}");
    host.http("GET", &path, &[], b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_api_answers_from_one_entry() {
    let host = host().await;
    let (text, vector) = known();
    let openai = json!({ "input": text, "model": "tiny" });
    let skill = json!({ "values": [{ "recordId": "r", "data": { "text": text } }] });
    let mut cache = "MISS";
    for (path, body, place) in [
        ("v1/embeddings", &openai, "/data/0/embedding"),
        ("openai/v1/embeddings", &openai, "/data/0/embedding"),
        (
            "openai/deployments/tiny/embeddings?api-version=2024-10-21",
            &json!({ "input": text, "model": "text-embedding-3-small" }),
            "/data/0/embedding",
        ),
        (
            "embeddings?api-version=2024-05-01-preview",
            &json!({ "input": [text], "model": "tiny", "input_type": "text" }),
            "/data/0/embedding",
        ),
        ("embed", &json!({ "inputs": text }), "/0"),
        (
            "tiny/embed",
            &json!({ "inputs": [text], "parameters": { "normalize": true } }),
            "/0",
        ),
        ("skill", &skill, "/values/0/data/vector"),
        ("skill/tiny", &skill, "/values/0/data/vector"),
        (
            "api/embed",
            &json!({ "model": "tiny:latest", "input": text, "keep_alive": "5m" }),
            "/embeddings/0",
        ),
        (
            "api/embeddings",
            &json!({ "model": "tiny", "prompt": text }),
            "/embedding",
        ),
    ] {
        let answer = post(&host, path, body.to_string()).await.expect_status(200);
        assert_eq!(answer.header("x-cache"), Some(cache), "{path}");
        assert_close(&answer.at(place), &vector);
        cache = "HIT";
    }
    let body = json!({ "inputs": { "source_sentence": text, "sentences": [text, "the cat"] } });
    for path in ["similarity", "embed", "tiny/similarity"] {
        let answer = post(&host, path, body.to_string()).await.expect_status(200);
        assert!((answer.at("/0").as_f64().unwrap() - 1.0).abs() < 1e-6);
        assert!(answer.at("/1").as_f64().unwrap() < 0.999);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_told_and_turned_back_into_texts() {
    let host = host().await;
    let body = json!({ "inputs": "the cat", "prompt_name": null });
    let tokens = post(&host, "tokenize", body.to_string()).await;
    let tokens = tokens.expect_status(200).at("/0");
    let tokens = tokens.as_array().unwrap();
    let plain: Vec<&Value> = tokens.iter().filter(|t| t["special"] == false).collect();
    assert_eq!(plain.last().unwrap()["text"], "cat");
    assert_eq!(tokens[0]["start"], json!(null));
    let ids: Vec<&Value> = tokens.iter().map(|token| &token["id"]).collect();
    for ids in [json!(ids), json!([ids])] {
        let body = json!({ "ids": ids });
        let texts = post(&host, "tiny/decode", body.to_string()).await;
        let text = texts.expect_status(200).at("/0");
        assert!(text.as_str().unwrap().contains("the cat"), "{text}");
    }
    let all = post(&host, "embed_all", r#"{"inputs":["the cat","a"]}"#).await;
    let all = all.expect_status(200).json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(all[0].as_array().unwrap().len(), tokens.len());
    assert!(all[0][0][0].is_number());
    let long = json!({ "inputs": ["the cat ".repeat(40), "a"] }).to_string();
    let cut = post(&host, "embed_all", &long).await.expect_status(200);
    assert_eq!(cut.header("x-truncated"), Some("1"));
    for (path, body, status) in [
        ("decode", r#"{"ids":[]}"#, 400),
        ("decode", r#"{"ids":[1,[2]]}"#, 422),
        ("decode", r#"{"ids":["a"]}"#, 422),
        ("decode", r#"{"ids":[-1]}"#, 422),
        ("decode", r#"{"ids":[4294967296]}"#, 422),
        ("decode", r#"{"ids":[4000000000]}"#, 422),
        ("tokenize", r#"{"inputs":[]}"#, 400),
        (
            "tokenize",
            r#"{"inputs":{"source_sentence":"a","sentences":["b"]}}"#,
            422,
        ),
        ("embed_all", r#"{"inputs":7}"#, 422),
    ] {
        let answer = post(&host, path, body).await.expect_status(status);
        assert!(answer.at("/error").is_string(), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_for_all_clients_in_one_answer() {
    let host = host().await;
    for path in ["v1/models", "openai/v1/models?api-version=1"] {
        let answer = get(&host, path).await.expect_status(200).json();
        assert_eq!(answer["object"], "list");
        assert_eq!(answer["models"], json!(["tiny"]));
        assert_eq!(answer["data"][0]["id"], "tiny");
    }
    let model = get(&host, "v1/models/tiny").await.expect_status(200).json();
    assert_eq!(model["object"], "model");
    assert!(model["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(
        (&model["name"], &model["ready"]),
        (&json!("tiny"), &json!(true))
    );
    assert_eq!(model["model_version_status"][0]["state"], "AVAILABLE");
    let missing = get(&host, "v1/models/gpt").await.expect_status(404);
    assert_eq!(missing.at("/error/code"), "unknown_model");
    let info = get(&host, "info").await.expect_status(200).json();
    assert_eq!(
        (&info["model_id"], &info["max_input_length"]),
        (&json!("tiny"), &json!(32))
    );
    post(&host, "v1/models", "{}").await.expect_status(405);
    get(&host, "embed").await.expect_status(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_one_request_count() {
    let app = AppRoot::new();
    fs::create_dir_all(app.path().join("models/tiny")).unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let from = entry.unwrap().path();
        let to = app
            .path()
            .join("models/tiny")
            .join(from.file_name().unwrap());
        match from.is_dir() {
            true => std::os::unix::fs::symlink(&from, to).unwrap(),
            false => drop(fs::copy(&from, to).unwrap()),
        }
    }
    app.write(
        "models/tiny/model.toml",
        "[text]\nprompts = { query = \"it is \", document = \"\" }",
    );
    let host = in_process::start(&app, []).await;
    let one = async |body: Value| {
        let answer = post(&host, "tiny/embed", body.to_string()).await;
        answer.expect_status(200)
    };
    let prompted = one(json!({ "inputs": "the cat", "prompt_name": "query" })).await;
    let written = one(json!({ "inputs": "it is the cat" })).await;
    assert_eq!(prompted.at("/0"), written.at("/0"));
    let plain = one(json!({ "inputs": "the cat" })).await;
    assert_ne!(plain.at("/0"), written.at("/0"));
    let body = json!({ "input": "the cat", "input_type": "query" });
    let typed = post(&host, "embeddings", body.to_string()).await;
    assert_close(
        &typed.expect_status(200).at("/data/0/embedding"),
        &written.at("/0"),
    );

    let long = "the cat ".repeat(40) + "is red";
    let right = one(json!({ "inputs": long })).await;
    let left = one(json!({ "inputs": long, "truncation_direction": "Left" })).await;
    assert_eq!(right.header("x-truncated"), Some("1"));
    assert_ne!(right.at("/0"), left.at("/0"));
    let raw = one(json!({ "inputs": "the cat", "normalize": false, "dimensions": 2 })).await;
    assert_eq!(raw.at("/0").as_array().unwrap().len(), 2);
    assert_ne!(raw.at("/0/0"), plain.at("/0/0"));

    for (path, body, status, place) in [
        (
            "embed",
            json!({ "inputs": long, "truncate": false }),
            413,
            "/error",
        ),
        (
            "v1/embeddings",
            json!({ "input": long, "truncate": false }),
            413,
            "/error/message",
        ),
        (
            "api/embed",
            json!({ "model": "tiny", "input": long, "truncate": false }),
            400,
            "/error",
        ),
        (
            "embed",
            json!({ "inputs": "a", "prompt_name": "passage" }),
            422,
            "/error",
        ),
    ] {
        let answer = post(&host, path, body.to_string()).await;
        let message = answer.expect_status(status).at(place);
        let said = match status {
            422 => "the model has: document, query",
            _ => "tokens",
        };
        assert!(message.as_str().unwrap().contains(said), "{message}");
    }
    let body = json!({ "values": [{ "recordId": "1", "data": { "text": long } }, { "recordId": "2", "data": {} }] });
    let answer = post(&host, "skill", body.to_string()).await;
    let answer = answer.expect_status(200);
    assert!(answer.at("/values/0/warnings/0/message").is_string());
    assert!(answer.at("/values/0/data/vector").is_array());
    assert!(answer.at("/values/1/errors/0/message").is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_the_form_of_the_api() {
    let host = host().await;
    let many = json!(vec!["a"; 100_000]).to_string();
    let big = format!("\"{}\"", "a".repeat(33 << 20));
    let apis = [
        ("v1/embeddings", "input", [400, 400, 413]),
        (
            "openai/deployments/tiny/embeddings",
            "input",
            [400, 400, 413],
        ),
        ("embeddings", "input", [400, 400, 413]),
        ("embed", "inputs", [400, 422, 413]),
        ("api/embed", "input", [400, 400, 413]),
        ("skill", "values", [400, 400, 413]),
    ];
    for (path, member, [empty, invalid, large]) in apis {
        let text = |value: &str| format!(r#"{{"{member}":{value}}}"#).into_bytes();
        let mut cases = vec![
            (text("[]"), empty),
            (text("null"), empty),
            (b"{}".to_vec(), empty),
            (text("7"), invalid),
            (text("[1,2]"), invalid),
            (text(r#"[["a"]]"#), invalid),
            (text(r#"["a",null]"#), invalid),
            (
                text("\"\u{fffd}\"")
                    .iter()
                    .map(|b| if *b > 127 { 0xff } else { *b })
                    .collect(),
                invalid,
            ),
            (b"no json".to_vec(), invalid),
            (b"[]".to_vec(), invalid),
            (Vec::new(), invalid),
            (text(&big), large),
        ];
        if member != "values" {
            cases.push((text(&many), invalid));
            // infinity's client asks for all dimensions of the only model so.
            let none = if path == "embeddings" { 200 } else { invalid };
            cases.push((
                text(r#""a","model":"default/not-specified","dimensions":0"#),
                none,
            ));
            cases.push((text(r#""a","dimensions":9"#), invalid));
            cases.push((text(r#""a","dimensions":1e99"#), invalid));
        }
        for (body, status) in cases {
            let answer = post(&host, path, &body).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            assert_eq!(answer.status, status, "{path} {shown}: {}", answer.text());
            if status == 200 {
                continue;
            }
            let error = answer.at("/error");
            match path {
                "embed" => assert!(error.is_string() && answer.at("/error_type").is_string()),
                "api/embed" => assert!(error.is_string()),
                "skill" => assert!(error["request_id"].is_string()),
                _ => assert!(error["type"].is_string() && error["message"].is_string()),
            }
            assert!(answer.text().len() < 1000, "{}", answer.text());
        }
        let empty = match member {
            "values" => text(r#"[{"recordId":"1","data":{"text":""}}]"#),
            _ => text(r#""""#),
        };
        post(&host, path, &empty).await.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_the_one_named_or_the_only_or_the_default_one() {
    let app = AppRoot::with_sample();
    for name in ["one", "two"] {
        app.link_model(name, &tiny());
    }
    let body = json!({ "inputs": "the cat" }).to_string();
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    let answer = post(&host, "embed", &body).await.expect_status(422);
    assert!(answer.text().contains("one, two"), "{}", answer.text());
    let openai = json!({ "input": "the cat" }).to_string();
    let answer = post(&host, "v1/embeddings", &openai).await;
    assert_eq!(answer.expect_status(400).at("/error/param"), "model");
    post(&host, "two/embed", &body).await.expect_status(200);
    for (path, status) in [("mnist/embed", 404), ("three/embed", 404)] {
        let answer = post(&host, path, &body).await.expect_status(status);
        assert!(answer.at("/error").is_string());
    }
    let named = json!({ "inputs": "the cat", "model": "two" }).to_string();
    post(&host, "embed", &named).await.expect_status(200);
    post(&host, "three/embed", &named).await.expect_status(404);
    let elsewhere = json!({ "inputs": "the cat", "model": "BAAI/bge" }).to_string();
    post(&host, "embed", &elsewhere).await.expect_status(422);
    post(&host, "one/embed", &elsewhere)
        .await
        .expect_status(200);
    let skill = json!({ "values": [{ "recordId": "1", "data": { "text": "the cat" } }] });
    post(&host, "skill/one", skill.to_string())
        .await
        .expect_status(200);
    drop(host);
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "two")]).await;
    post(&host, "embed", &body).await.expect_status(200);
    let answer = post(&host, "v1/embeddings", &openai).await;
    assert_eq!(answer.expect_status(200).at("/model"), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_text_models_the_routes_say_so() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    for (path, status) in [("embed", 404), ("v1/embeddings", 404), ("skill", 404)] {
        let body = r#"{"input":"a","inputs":"a","values":[{"recordId":"1","data":{"text":"a"}}]}"#;
        post(&host, path, body).await.expect_status(status);
    }
    let answer = get(&host, "v1/models").await.expect_status(200);
    assert_eq!(answer.at("/models/0"), "mnist");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_the_paths_are_at_the_root_too() {
    let app = AppRoot::new();
    app.link_model("tiny", &tiny());
    let free = port::free();
    let options = ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"]
        .into_iter()
        .fold(HostOptions::default(), HostOptions::without);
    let options = options.port(free).setting("SCORE_PORT", free.to_string());
    let host = FunctionsHost::start(&app, options).await;
    let (text, vector) = known();
    let body = json!({ "inputs": text, "input": text }).to_string();
    let send = async |method: &str, path: &str| {
        let length = body.len().to_string();
        let headers = [JSON, ("Host", "localhost"), ("Content-Length", &length)];
        let head = http1::head(method, path, &headers);
        let request = [&head, body.as_bytes()].concat();
        http1::exchange(host.port(), &[&request]).await.unwrap()
    };
    for (path, place) in [
        ("/v1/embeddings", "/data/0/embedding"),
        ("/api/score/v1/embeddings", "/data/0/embedding"),
        ("/api/embed", "/embeddings/0"),
        ("/embed", "/0"),
        // Where @huggingface/inference posts to.
        ("/", "/0"),
    ] {
        let answer = send("POST", path).await.expect_status(200);
        assert_close(&answer.at(place), &vector);
    }
    send("GET", "/v1/models").await.expect_status(200);
    send("POST", "/tiny").await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_named_as_a_path_is_reached_by_the_open_inference_protocol() {
    let app = AppRoot::new();
    app.link_model("embed", &tiny());
    let host = FunctionsHost::start(&app, []).await;
    let limit = Duration::from_secs(20);
    host.wait_for_log("is a route of its own, not this model's", limit)
        .await;
    let body =
        json!({ "inputs": [{ "name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"] }] });
    let answer = post(&host, "v2/models/embed/infer", body.to_string()).await;
    answer.expect_status(200);
    let body = json!({ "inputs": "a" }).to_string();
    post(&host, "embed", &body).await.expect_status(200);
    post(&host, "embed/embed", &body).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_a_429_for_hugging_faces_clients_and_a_503_for_others() {
    let app = AppRoot::new();
    app.link_model("tiny", &tiny());
    let host = in_process::start(&app, [("SCORE_TIMEOUT", "300ms")]).await;
    // More than can be done in that time, though the body arrives well within it.
    let words = "long ".repeat(100);
    let many = |from: usize| -> Vec<String> {
        let numbers = from..from + 2000;
        numbers.map(|n| format!("text {n} {words}")).collect()
    };
    let texts = many(0);
    let openai = json!({ "input": texts }).to_string();
    let answer = post(&host, "v1/embeddings", &openai).await;
    let answer = answer.expect_status(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.at("/error/type"), "server_error");
    let body = json!({ "inputs": many(2000) }).to_string();
    let answer = post(&host, "embed", &body).await.expect_status(429);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.at("/error_type"), "Overloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_refuses_long_texts_cuts_them_only_where_truncate_asks_for_it() {
    let app = AppRoot::new();
    copy(&tiny(), &app.path().join("models/tiny"));
    app.write("models/tiny/model.toml", "[text]\ntruncate = \"refuse\"");
    let host = in_process::start(&app, []).await;
    let long = "the cat ".repeat(40);
    let side = json!({ "inputs": long, "truncation_direction": "Left" });
    for (body, status) in [
        (json!({ "inputs": long }), 413),
        (side.clone(), 413),
        (json!({ "inputs": long, "truncate": true }), 200),
    ] {
        post(&host, "embed", body.to_string())
            .await
            .expect_status(status);
    }
    let records = json!({ "values": [{ "recordId": "1", "data": { "text": long } }] });
    let answer = post(&host, "skill", records.to_string()).await;
    let answer = answer.expect_status(200);
    assert!(answer.at("/values/0/errors/0/message").is_string());
    assert_eq!(answer.header("x-truncated"), None);
    let many = json!({ "input": vec!["a"; 2049] }).to_string();
    let answer = post(&host, "v1/embeddings", many).await.expect_status(400);
    assert_eq!(answer.at("/error/param"), Value::Null);
}
