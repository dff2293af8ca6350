//! A text model through the ways that are there for every model: texts in, vectors out, remembered by text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use functions_host::blob_store::{self, BlobStore};
use functions_host::host::FunctionsHost;
use functions_host::invoke::Transport;
use functions_host::triggers::ServiceBusMessage;

const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn tiny() -> PathBuf {
    repository().join("tests/data/text/tiny")
}

/// Texts with the vectors and numbers of tokens that onnxruntime and tokenizers give in Python.
fn expected() -> Vec<Value> {
    let text = fs::read(repository().join("tests/data/text/tiny.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn texts() -> Vec<Value> {
    expected().iter().map(|row| row["text"].clone()).collect()
}

/// That two lists hold the same numbers, but for the last digits of a float32.
pub(crate) fn assert_close(found: &Value, expected: &Value) {
    let numbers = |value: &Value| -> Vec<f64> {
        let numbers = value.as_array().unwrap().iter();
        numbers.map(|number| number.as_f64().unwrap()).collect()
    };
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    }
}

/// Copies a folder, as a deployment would.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

async fn host() -> FunctionsHost {
    let app = AppRoot::new();
    app.link_model("tiny", &tiny());
    in_process::start(&app, []).await
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_vectors_and_are_remembered_by_text() {
    let host = host().await;
    let body = json!({ "data": texts() }).to_string();
    for cache in ["MISS", "HIT"] {
        let answer = host
            .http("POST", "/api/score", &[JSON], body.as_bytes())
            .await;
        let answer = answer.expect_status(200);
        assert_eq!(answer.header("x-cache"), Some(cache));
        let vectors = answer.json();
        for (vector, row) in vectors.as_array().unwrap().iter().zip(expected()) {
            assert_close(vector, &row["vector"]);
        }
    }
    // Any other company: the same bits.
    let text = &texts()[0];
    let one = json!({ "data": [text, "never seen"] }).to_string();
    let answer = host
        .http("POST", "/api/score", &[JSON], one.as_bytes())
        .await;
    let answer = answer.expect_status(200);
    assert_eq!(answer.header("x-cache"), Some("PARTIAL; hits=1, rows=2"));
    assert_close(&answer.at("/0"), &expected()[0]["vector"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_inference_protocol_also_gets_tokens_and_what_was_cut() {
    let host = host().await;
    let names = ["embedding", "tokens", "truncated"];
    let body = json!({
        "inputs": [{ "name": "text", "datatype": "BYTES", "shape": [5], "data": texts() }],
        "outputs": names.map(|name| json!({ "name": name })),
    });
    let path = "/api/score/v2/models/tiny/infer";
    for _ in ["MISS", "HIT"] {
        let answer = host
            .http("POST", path, &[JSON], body.to_string().as_bytes())
            .await;
        let answer = answer.expect_status(200);
        assert_eq!(answer.at("/outputs/0/shape"), json!([5, 8]));
        let column =
            |name: &str| -> Vec<Value> { expected().iter().map(|row| row[name].clone()).collect() };
        assert_eq!(answer.at("/outputs/1/data"), json!(column("tokens")));
        assert_eq!(answer.at("/outputs/2/data"), json!(column("cut")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_clients_get_embeddings() {
    let host = host().await;
    let path = "/api/score/v1/embeddings";
    let post = async |body: Value| {
        let body = body.to_string();
        host.http("POST", path, &[JSON], body.as_bytes()).await
    };
    let expected = expected();
    let tokens: i64 = expected
        .iter()
        .map(|row| row["tokens"].as_i64().unwrap())
        .sum();
    let body = json!({ "input": texts(), "model": "tiny", "user": null });
    for cache in ["MISS", "HIT"] {
        let answer = post(body.clone()).await.expect_status(200);
        assert_eq!(answer.header("x-cache"), Some(cache));
        assert_eq!(answer.header("x-truncated"), Some("1"));
        let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
        assert_eq!(answer.at("/usage"), usage);
        assert_eq!(answer.at("/model"), "tiny");
        for (index, row) in expected.iter().enumerate() {
            assert_eq!(answer.at(&format!("/data/{index}/index")), index);
            assert_close(
                &answer.at(&format!("/data/{index}/embedding")),
                &row["vector"],
            );
        }
    }
    let one = &expected[0];
    let floats = post(json!({ "input": one["text"], "dimensions": 4 })).await;
    let floats = floats.expect_status(200).at("/data/0/embedding");
    let base64 =
        post(json!({ "input": one["text"], "dimensions": 4, "encoding_format": "base64" })).await;
    let base64 = base64.expect_status(200).at("/data/0/embedding");
    let bytes = BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap();
    let numbers = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes));
    let numbers: Vec<f64> = numbers.map(f64::from).collect();
    assert_close(&json!(numbers), &floats);
    assert!((numbers.iter().map(|n| n * n).sum::<f64>() - 1.0).abs() < 1e-5 && numbers.len() == 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_in_openais_form() {
    let host = host().await;
    let path = "/api/score/v1/embeddings";
    for (body, status, param, said) in [
        (
            json!({ "input": [[1, 2]] }),
            400,
            json!("input"),
            "check_embedding_ctx_length=False",
        ),
        (
            json!({ "input": "a", "dimensions": 9 }),
            400,
            json!("dimensions"),
            "9 is more than the 8 of the model",
        ),
        (
            json!({ "input": "a", "model": "gpt" }),
            404,
            json!(null),
            "tiny",
        ),
        (json!({ "input": [] }), 400, json!("input"), "found none"),
    ] {
        let body = body.to_string();
        let answer = host.http("POST", path, &[JSON], body.as_bytes()).await;
        let error = answer.expect_status(status).at("/error");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["param"], param, "{body}");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_messages_and_blobs_bring_texts() {
    let host = host().await;
    let first = &expected()[0];
    let table = format!("text\n{}\n", first["text"].as_str().unwrap());
    let csv = [("content-type", "text/csv")];
    let answer = host
        .http("POST", "/api/score", &csv, table.as_bytes())
        .await;
    assert_close(&answer.expect_status(200).at("/0"), &first["vector"]);

    let body = json!({ "data": [first["text"]] }).to_string();
    let message = [ServiceBusMessage::new(body.clone())];
    let outcome = host
        .deliver("score_queue", &message, Transport::Chunked)
        .await
        .unwrap();
    assert_close(
        &outcome.messages("result")[0]["result"][0],
        &first["vector"],
    );

    let store = BlobStore::default();
    let name = store.put_with("inbox/a.json", body, json!({})).blob;
    let blob = store.get("inbox/a.json").unwrap();
    let event = blob_store::event(&name, &blob, vec![("name".to_owned(), name.name.clone())]);
    let outcome = host
        .blob("score_blob", &event, Transport::Chunked)
        .await
        .unwrap();
    let content = outcome
        .outputs
        .keys()
        .find_map(|output| outcome.blob(output))
        .unwrap();
    let document: Value = serde_json::from_slice(content).unwrap();
    assert_close(&document["result"][0], &first["vector"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_says_what_becomes_of_texts() {
    let app = AppRoot::new();
    copy(&tiny(), &app.path().join("models/tiny"));
    app.write(
        "models/tiny/model.toml",
        "[text]\ndimensions = 4\nprompt = \"it is \"\ntruncate = \"left\"",
    );
    let host = in_process::start(&app, []).await;
    let answer = host.http("GET", "/api/score/tiny", &[], b"").await;
    let text = answer.expect_status(200).at("/text");
    let expected = json!({
        "task": "embedding", "tokenizer": "WordPiece", "pooling": "mean", "normalize": true, "dimensions": 4,
        "max_dimensions": 8, "max_tokens": 32, "max_chars": 2048, "truncate": "left", "prompt": "it is ",
        "prompts": { "query": "it is " }, "batch_tokens": 256, "max_texts": 2048, "store": "float32",
        "shared_runs": null,
    });
    assert_eq!(text, expected);
    let body = json!({ "data": ["the cat"] }).to_string();
    let answer = host
        .http("POST", "/api/score", &[JSON], body.as_bytes())
        .await;
    let vector = answer.expect_status(200).at("/0");
    let numbers = vector
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap());
    let length: f64 = numbers.map(|number| number * number).sum();
    assert!(
        (length - 1.0).abs() < 1e-5 && vector.as_array().unwrap().len() == 4,
        "{vector}"
    );
}

/// What `handler check` says of the folder: its last line on standard error, or all of standard output.
pub(crate) fn check(folder: &Path) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_handler"))
        .args(["check", folder.to_str().unwrap()])
        .env_clear()
        .env(
            "ORT_DYLIB_PATH",
            repository().join("bin/libonnxruntime.so.1"),
        )
        .stdin(Stdio::null())
        .output()
        .expect("the handler starts");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(text.lines().last().unwrap_or_default().to_owned())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_in_half_the_bytes_are_the_same_on_misses_and_hits() {
    let app = AppRoot::new();
    let folder = app.path().join("models/tiny");
    copy(&tiny(), &folder);
    fs::write(
        folder.join("model.toml"),
        "[text]\nstore = \"float16\"\nmax_texts = 5",
    )
    .unwrap();
    let host = in_process::start(&app, []).await;
    let body = json!({ "data": texts() }).to_string();
    let ask = async |cache: &str| {
        let answer = host
            .http("POST", "/api/score", &[JSON], body.as_bytes())
            .await;
        let answer = answer.expect_status(200);
        assert_eq!(answer.header("x-cache"), Some(cache));
        answer.json()
    };
    let miss = ask("MISS").await;
    assert_eq!(miss, ask("HIT").await);
    for (vector, row) in miss.as_array().unwrap().iter().zip(expected()) {
        let exact = row["vector"].as_array().unwrap().iter();
        for (rounded, exact) in vector.as_array().unwrap().iter().zip(exact) {
            let difference = rounded.as_f64().unwrap() - exact.as_f64().unwrap();
            assert!(difference.abs() < 1e-3, "{difference}");
        }
    }
    let body = json!({ "data": vec!["a"; 6] }).to_string();
    let answer = host
        .http("POST", "/api/score", &[JSON], body.as_bytes())
        .await;
    let error = answer.expect_status(400).json().to_string();
    assert!(
        error.contains("6 texts in one request; at most 5 are accepted"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_without_tokens_has_the_same_vector_alone_and_in_company() {
    let app = AppRoot::new();
    let folder = app.path().join("models/tiny");
    copy(&tiny(), &folder);
    // Tokenizers of decoders add no tokens of their own.
    let file = folder.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    tokenizer["post_processor"] = Value::Null;
    fs::write(&file, tokenizer.to_string()).unwrap();
    let host = in_process::start(&app, [("SCORE_CACHE_POLICY", "off")]).await;
    let zeros = vec![0.0; 8];
    for (texts, at) in [(vec![""], 0), (vec![" \t"], 0), (vec!["a", ""], 1)] {
        let body = json!({ "data": texts }).to_string();
        let answer = host
            .http("POST", "/api/score", &[JSON], body.as_bytes())
            .await;
        assert_eq!(answer.expect_status(200).json()[at], json!(zeros));
    }
}
