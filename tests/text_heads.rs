//! Rerankers, classifiers, token classifiers and sparse models through the ways that are there for every model, against what
//! onnxruntime, tokenizers and the pipelines of transformers give in Python.

use std::fs;
use std::path::PathBuf;

use functions_host::host::FunctionsHost;
use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use crate::texts::{check, copy};

const JSON: (&str, &str) = ("content-type", "application/json");
const NAMES: [&str; 4] = ["rank", "label", "tag", "sparse"];

pub(crate) fn folder(name: &str) -> PathBuf {
    repository().join("tests/data/text").join(name)
}

pub(crate) fn expected(name: &str) -> Vec<Value> {
    let text = fs::read(repository().join("tests/data/text/heads.json")).unwrap();
    let mut all: Value = serde_json::from_slice(&text).unwrap();
    serde_json::from_value(all[name].take()).unwrap()
}

fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

async fn host() -> FunctionsHost {
    let app = AppRoot::new();
    for name in NAMES {
        app.link_model(name, &folder(name));
    }
    in_process::start(&app, []).await
}

/// The values of the outputs, by the Open Inference Protocol.
async fn infer(
    host: &FunctionsHost,
    model: &str,
    inputs: &[(&str, &[Value])],
    outputs: &[&str],
    headers: &[(&str, &str)],
) -> (Vec<Value>, Option<String>) {
    let inputs = inputs.iter().map(|(name, values)| {
        json!({ "name": name, "datatype": "BYTES", "shape": [values.len()], "data": values })
    });
    let asked: Vec<Value> = outputs.iter().map(|name| json!({ "name": name })).collect();
    let body = json!({ "inputs": inputs.collect::<Vec<_>>(), "outputs": asked }).to_string();
    let path = format!("/api/score/v2/models/{model}/infer");
    let headers = [&[JSON], headers].concat();
    let answer = host.http("POST", &path, &headers, body.as_bytes()).await;
    let answer = answer.expect_status(200);
    let values = (0..outputs.len()).map(|at| answer.at(&format!("/outputs/{at}/data")));
    (
        values.collect(),
        answer.header("x-cache").map(str::to_owned),
    )
}

pub(crate) fn floats(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|number| number.as_f64().unwrap()).collect()
}

pub(crate) fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    }
}

/// Everything is the same but for the last digits of floats.
pub(crate) fn assert_alike(found: &Value, expected: &Value) {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{found:?} for {expected:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert_alike(found, expected);
            }
        }
        (Value::Object(found), Value::Object(expected)) => {
            let keys = |map: &serde_json::Map<String, Value>| -> Vec<String> {
                let mut keys: Vec<String> = map.keys().cloned().collect();
                keys.sort_unstable();
                keys
            };
            assert_eq!(keys(found), keys(expected));
            for (key, found) in found {
                assert_alike(found, &expected[key]);
            }
        }
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            assert_close(&[one.as_f64().unwrap()], &[other.as_f64().unwrap()]);
        }
        _ => assert_eq!(found, expected),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_have_the_scores_of_python_and_are_remembered_by_pair() {
    let host = host().await;
    let rows = expected("rank");
    let (queries, texts) = (column(&rows, "query"), column(&rows, "text"));
    let sigmoid = |row: &Value| 1.0 / (1.0 + (-row["logit"].as_f64().unwrap()).exp());
    let scores: Vec<f64> = rows.iter().map(sigmoid).collect();
    let inputs = [("query", &queries[..]), ("text", &texts[..])];
    let outputs = ["score", "tokens", "truncated"];
    for cache in ["MISS", "HIT"] {
        let (found, said) = infer(&host, "rank", &inputs, &outputs, &[]).await;
        assert_eq!(said.as_deref(), Some(cache));
        assert_close(&floats(&found[0]), &scores);
        assert_eq!(found[1], json!(column(&rows, "tokens")));
        assert_eq!(found[2], json!(column(&rows, "cut")));
    }
    // One query for all texts has the same entries.
    let inputs = [("query", &queries[..1]), ("text", &texts[..7])];
    let (found, said) = infer(&host, "rank", &inputs, &["score"], &[]).await;
    assert_eq!(said.as_deref(), Some("HIT"));
    assert_close(&floats(&found[0]), &scores[..7]);
    let objects = json!({ "data": [{ "text": texts[0], "query": queries[0] }, { "query": "new", "text": "x" }] });
    let body = objects.to_string();
    let answer = host
        .http("POST", "/api/score/rank", &[JSON], body.as_bytes())
        .await;
    let answer = answer.expect_status(200);
    assert_eq!(answer.header("x-cache"), Some("PARTIAL; hits=1, rows=2"));
    assert_close(&[answer.at("/0").as_f64().unwrap()], &scores[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_have_the_labels_of_python() {
    let host = host().await;
    let rows = expected("label");
    let texts = column(&rows, "text");
    let softmax = |row: &Value| {
        let logits = floats(&row["logits"]);
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits.into_iter().map(move |logit| logit.exp() / sum)
    };
    let scores: Vec<f64> = rows.iter().flat_map(softmax).collect();
    let names = ["negative", "neutral", "positive"];
    let best = |scores: &[f64]| {
        let highest = scores.iter().copied().fold(f64::MIN, f64::max);
        names[scores.iter().position(|score| *score == highest).unwrap()]
    };
    let labels: Vec<&str> = scores.chunks_exact(3).map(best).collect();
    for cache in ["MISS", "HIT"] {
        let inputs = [("text", &texts[..])];
        let (found, said) = infer(&host, "label", &inputs, &["scores", "label"], &[]).await;
        assert_eq!(said.as_deref(), Some(cache));
        assert_close(&floats(&found[0]), &scores);
        assert_eq!(found[1], json!(labels));
    }
    let answer = host.http("GET", "/api/score/label", &[], b"").await;
    let text = answer.expect_status(200).at("/text");
    assert_eq!(
        (&text["task"], &text["activation"]),
        (&json!("classify"), &json!("softmax"))
    );
    assert_eq!(
        (&text["labels"], &text["pairs"]),
        (&json!(names), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_sparse_vectors_are_those_of_python_and_come_as_json() {
    let host = host().await;
    let written = |values: &Value| -> Vec<Value> {
        let texts = values.as_array().unwrap().iter();
        texts
            .map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap())
            .collect()
    };
    let (tagged, sparse) = (expected("tag"), expected("sparse"));
    let texts = column(&tagged, "text");
    for cache in ["MISS", "HIT"] {
        let inputs = [("text", &texts[..])];
        let outputs = ["entities", "tokens", "truncated"];
        let (found, said) = infer(&host, "tag", &inputs, &outputs, &[]).await;
        assert_eq!(said.as_deref(), Some(cache));
        for (found, row) in written(&found[0]).iter().zip(&tagged) {
            assert_alike(found, &row["entities"]["simple"]);
        }
        assert_eq!(found[1], json!(column(&tagged, "tokens")));
        assert_eq!(found[2], json!(column(&tagged, "cut")));
        let (found, said) = infer(&host, "sparse", &inputs, &["weights"], &[]).await;
        assert_eq!(said.as_deref(), Some(cache));
        for (found, row) in written(&found[0]).iter().zip(&sparse) {
            assert_alike(found, &row["weights"]);
        }
    }
    let body = json!({ "data": ["the cat"] }).to_string();
    let answer = host
        .http("POST", "/api/score/tag", &[JSON], body.as_bytes())
        .await;
    assert!(answer.expect_status(200).at("/0").is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn results_have_the_same_bits_in_any_company() {
    let host = host().await;
    let words = "the cat dog river invoice lost found paid blue red was it on";
    let words: Vec<&str> = words.split(' ').collect();
    let text = |seed: usize| -> Value {
        let length = 1 + seed * 7 % 20;
        let all: Vec<&str> = (0..length)
            .map(|at| words[(seed + at * 5) % words.len()])
            .collect();
        json!(all.join(" "))
    };
    let texts: Vec<Value> = (0..40).map(text).collect();
    let queries: Vec<Value> = (0..40).map(|seed| text(seed * 3 + 1)).collect();
    let fresh = [("cache-control", "no-store")];
    for (model, output) in [
        ("rank", "score"),
        ("label", "scores"),
        ("tag", "entities"),
        ("sparse", "weights"),
    ] {
        let ask = async |rows: std::ops::Range<usize>, headers: &[(&str, &str)]| {
            let mut inputs = vec![("text", &texts[rows.clone()])];
            if model == "rank" {
                inputs.push(("query", &queries[rows]));
            }
            infer(&host, model, &inputs, &[output], headers).await.0[0].clone()
        };
        // Until the trial of the model is over, texts run alone.
        let path = format!("/api/score/{model}");
        loop {
            let answer = host.http("GET", &path, &[], b"").await;
            match answer.expect_status(200).at("/text/shared_runs") {
                Value::Null => drop(ask(0..1, &fresh).await),
                shared => break assert_eq!(shared, true, "{model}"),
            }
        }
        let together = ask(0..40, &fresh).await;
        let each = together.as_array().unwrap().len() / 40;
        let remembered = ask(0..40, &[]).await;
        assert_eq!(together, remembered, "{model}");
        for row in (0..40).step_by(7) {
            let alone = ask(row..row + 1, &fresh).await;
            let expected = &together.as_array().unwrap()[row * each..(row + 1) * each];
            assert_eq!(alone.as_array().unwrap(), expected, "{model} {row}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_are_no_numbers_are_an_error_of_the_model_and_never_remembered() {
    let app = AppRoot::new();
    // The name of the last tensor, and the tag and length of its bytes.
    for (name, last) in [
        ("rank", &b"head.bias\x4a\x04"[..]),
        ("tiny", b"done.shift\x4a\x20"),
    ] {
        let broken = app.path().join("models").join(name);
        copy(&folder(name), &broken);
        let mut model = fs::read(folder(name).join("model.onnx")).unwrap();
        let found = model.windows(last.len()).position(|part| part == last);
        let at = found.unwrap() + last.len();
        model[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(broken.join("model.onnx"), model).unwrap();
    }
    let host = in_process::start(&app, []).await;
    let pairs = json!({ "data": { "query": ["a", "a"], "text": ["b", "c"] } });
    let sentences = json!({ "inputs": { "source_sentence": "a", "sentences": ["b"] } });
    for (path, body, status, at) in [
        ("rank", &pairs, 500, "/error/message"),
        ("tiny", &json!({ "data": ["a"] }), 500, "/error/message"),
        (
            "v1/embeddings",
            &json!({ "input": "a" }),
            500,
            "/error/message",
        ),
        ("similarity", &sentences, 424, "/error"),
        ("embed_all", &json!({ "inputs": "a" }), 424, "/error"),
    ] {
        for _ in 0..2 {
            let path = format!("/api/score/{path}");
            let body = body.to_string();
            let answer = host.http("POST", &path, &[JSON], body.as_bytes()).await;
            let said = answer.expect_status(status).at(at);
            let said = said.as_str().unwrap();
            assert!(
                said.contains("gave NaN for text ") && said.starts_with("the model "),
                "{said}"
            );
        }
    }
}

#[test]
fn heads_that_do_not_belong_to_the_model_are_named() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let class = r#""architectures":["BertForSequenceClassification"],"max_position_embeddings":64"#;
    let two = format!(r#"{{{class},"id2label":{{"0":"a","1":"b"}}}}"#);
    let one = format!(r#"{{{class},"id2label":{{"0":"a"}}}}"#);
    let mish = format!(
        r#"{{{class},"id2label":{{"0":"a"}},"sentence_transformers":{{"activation_fn":"my.Mish"}}}}"#
    );
    let gap = format!(r#"{{{class},"id2label":{{"0":"a","2":"b","3":"c"}}}}"#);
    let language = r#"{"architectures":["Qwen3ForCausalLM"],"max_position_embeddings":64}"#;
    let logit_score = r#"[{"path":"","type":"sentence_transformers.base.modules.transformer.Transformer"},
        {"path":"1_LogitScore","type":"sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}]"#;
    let cases: [(&str, &str, &str, &str); 9] = [
        (
            "label",
            "config.json",
            &two,
            "expected 3 labels, as many as the ONNX file gives logits; found 2",
        ),
        (
            "label",
            "config.json",
            &one,
            "the ONNX file gives 3 numbers for each pair, and a reranker gives one",
        ),
        (
            "label",
            "config.json",
            &gap,
            "id2label: expected the numbers 0 to 2 as keys; 1 is missing",
        ),
        (
            "rank",
            "config.json",
            &mish,
            "activation_fn: expected Sigmoid, Softmax or Identity",
        ),
        (
            "rank",
            "model.toml",
            "[text]\ntask = \"tag\"",
            "expected an output \"logits\" float32 [?,?,?]",
        ),
        (
            "tag",
            "model.toml",
            "[text]\ntask = \"classify\"",
            "expected an output \"logits\" float32 [?,?]",
        ),
        (
            "tag",
            "model.toml",
            "[text]\npooling = \"mean\"\ntask = \"tag\"",
            "pooling: a model with task = \"tag\" has no such key",
        ),
        (
            "rank",
            "tokenizer_config.json",
            r#"{"model_max_length": 32, "truncation_strategy": "random"}"#,
            "truncation_strategy: expected longest_first, only_first or only_second",
        ),
        (
            "rank",
            "modules.json",
            logit_score,
            "module \"LogitScore\" is of a language model; expected an architecture ...ForSequenceClassification",
        ),
    ];
    for (number, (model, file, content, reason)) in cases.into_iter().enumerate() {
        let changed = root.path().join(format!("m{number}"));
        copy(&folder(model), &changed);
        fs::write(changed.join(file), content).unwrap();
        let message = check(&changed).unwrap_err();
        assert!(message.contains(reason), "{file} {content}: {message}");
    }
    let changed = root.path().join("language");
    copy(&folder("rank"), &changed);
    fs::write(changed.join("config.json"), language).unwrap();
    fs::write(changed.join("model.toml"), "[text]\ntask = \"rerank\"").unwrap();
    let message = check(&changed).unwrap_err();
    let said = "config.json: architectures: \"Qwen3ForCausalLM\" is a language model; expected an architecture";
    assert!(message.contains(said), "{message}");
}

#[test]
fn check_says_what_a_model_is_for() {
    for (name, said) in [
        (
            "rank",
            "rerank: 32 tokens at most (WordPiece), cut: right; scores of pairs, activation sigmoid",
        ),
        (
            "label",
            "activation softmax; 3 labels: negative, neutral, positive",
        ),
        ("tag", "tags of tokens; 5 labels: O, B-PER"),
        ("sparse", "; sparse vectors"),
    ] {
        let found = check(&folder(name)).unwrap();
        assert!(found.contains(said), "{found}");
    }
}
