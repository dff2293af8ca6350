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

fn tiny() -> PathBuf {
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

fn assert_close(found: &Value, expected: &Value) {
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
        "prompts": { "query": "it is " }, "batch_tokens": 192, "max_texts": 2048, "store": "float32",
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

#[test]
fn what_is_unclear_is_named_with_its_setting() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cases: [(&str, Option<&str>, &str); 17] = [
        (
            "tokenizer.json",
            None,
            "tokenizer.json: there is no such file",
        ),
        (
            "tokenizer.json",
            Some("{}"),
            "tokenizer.json: expected a tokenizer of kind WordPiece",
        ),
        (
            "tokenizer.json",
            Some("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 17082730\n"),
            "tokenizer.json: it is a Git LFS pointer",
        ),
        // Models that were saved by torch.save alone, or are a table of vectors for words.
        (
            "modules.json",
            Some(r#"[{"path":"","type":"sentence_transformers.models.StaticEmbedding"}]"#),
            "module \"StaticEmbedding\" is not known",
        ),
        (
            "modules.json",
            Some(r#"[{"path":"","type":"x.Transformer"},{"path":"9_Pooling","type":"x.Pooling"}]"#),
            "9_Pooling/config.json: there is no such file, and modules.json names its folder",
        ),
        (
            "modules.json",
            Some(
                r#"[{"path":"","type":"x.Transformer"},{"path":"../1_Pooling","type":"x.Pooling"}]"#,
            ),
            "path: expected a folder below this one",
        ),
        ("modules.json", None, "text.pooling is needed"),
        (
            "modules.json",
            Some(r#"[{"path":"","type":"x.Transformer"},{"path":"1","type":"x.LSTM"}]"#),
            "module \"LSTM\" is not known",
        ),
        (
            "1_Pooling/config.json",
            Some(r#"{"pooling_mode":"median"}"#),
            "1_Pooling/config.json: pooling: expected cls",
        ),
        (
            "1_Pooling/config.json",
            Some(r#"{"word_embedding_dimension":9}"#),
            "word_embedding_dimension: 9 is not what the ONNX file gives, 8",
        ),
        (
            "config_sentence_transformers.json",
            Some(r#"{"default_prompt_name":"q"}"#),
            "default_prompt_name: there is no prompt \"q\"",
        ),
        (
            "tokenizer_config.json",
            Some(r#"{"truncation_side":"up"}"#),
            "truncation_side: expected \"right\" or \"left\"",
        ),
        (
            "model.toml",
            Some("[text]\nmax_tokens = 65"),
            "text.max_tokens: 65 is more than the model has positions for",
        ),
        (
            "model.toml",
            Some("[text]\nmax_tokens = 2"),
            "max_tokens: 2 leave no room for a text",
        ),
        (
            "model.toml",
            Some("[text]\ndimensions = 9"),
            "text.dimensions: 9 is more than the 8 of the model",
        ),
        (
            "model.toml",
            Some("rows = \"together\""),
            "rows: texts are always remembered one by one",
        ),
        (
            "model.toml",
            Some("[text]\nfile = \"../a.onnx\""),
            "text.file: expected an ONNX file below",
        ),
    ];
    for (number, (file, content, reason)) in cases.into_iter().enumerate() {
        let folder = root.path().join(format!("m{number}"));
        copy(&tiny(), &folder);
        match content {
            Some(content) => fs::write(folder.join(file), content).unwrap(),
            None => fs::remove_file(folder.join(file)).unwrap(),
        }
        if file == "modules.json" && content.is_none() {
            fs::remove_dir_all(folder.join("1_Pooling")).unwrap();
        }
        let said = check(&folder).expect_err(reason);
        assert!(said.contains(reason), "{file}: {said}");
    }
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = root.path().join("m");
    copy(&tiny(), &folder);
    let file = folder.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["zebra"] = json!(500);
    fs::write(&file, tokenizer.to_string()).unwrap();
    let said = check(&folder).unwrap_err();
    assert!(
        said.contains("its ids go up to 500, and the model refuses"),
        "{said}"
    );
}

#[test]
fn folders_as_the_hub_has_them_are_checked_and_served_from_below() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = root.path().join("hub");
    copy(&tiny(), &folder);
    fs::create_dir(folder.join("onnx")).unwrap();
    fs::rename(folder.join("model.onnx"), folder.join("onnx/model.onnx")).unwrap();
    fs::write(folder.join("onnx/model_int8.onnx"), "another variant").unwrap();
    fs::write(
        folder.join("pytorch_model.bin"),
        "weights for another program",
    )
    .unwrap();
    let said = check(&folder).unwrap();
    assert!(said.contains("embedding: 32 tokens at most (WordPiece), cut: right; pooling mean; 8 dimensions, normalized"), "{said}");
    // Without the files of sentence-transformers it is the same with its settings in model.toml.
    for file in [
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ] {
        fs::remove_file(folder.join(file)).unwrap();
    }
    fs::remove_dir_all(folder.join("1_Pooling")).unwrap();
    fs::write(
        folder.join("model.toml"),
        "[text]\npooling = \"cls\"\nfile = \"onnx/model.onnx\"",
    )
    .unwrap();
    let said = check(&folder).unwrap();
    assert!(
        said.contains("64 tokens at most (WordPiece), cut: right; pooling cls; 8 dimensions"),
        "{said}"
    );
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
