//! Models as scikit-learn's and LightGBM's converters write them: their rows are stored one by one, and their answers are
//! those of the library that learned them.

use functions_host::host::FunctionsHost;
use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;

const JSON: (&str, &str) = ("content-type", "application/json");

fn folder() -> std::path::PathBuf {
    repository().join("tests/data/learned")
}

/// For each model rows, and what the library that learned it predicts.
fn answers() -> Value {
    let text = std::fs::read(folder().join("answers.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

async fn serve(names: &[&str]) -> (AppRoot, FunctionsHost) {
    let app = AppRoot::new();
    for name in names {
        app.add_model(name, folder().join(format!("{name}.onnx")), None);
    }
    let host = in_process::start(&app, []).await;
    (app, host)
}

async fn score(host: &FunctionsHost, name: &str, rows: &[Value]) -> (Value, String) {
    let path = format!("/api/score/{name}");
    let body = json!({ "data": rows }).to_string();
    let answer = host.http("POST", &path, &[JSON], body.as_bytes()).await;
    let answer = answer.expect_status(200);
    (answer.json(), answer.header("x-cache").unwrap().to_owned())
}

async fn described(host: &FunctionsHost, name: &str) -> Value {
    let path = format!("/api/score/{name}");
    host.http("GET", &path, &[], b"").await.json()
}

fn assert_near(got: &Value, wanted: &Value, name: &str) {
    let numbers = |value: &Value| -> Vec<f64> {
        let rows = value.as_array().unwrap().iter();
        rows.flat_map(|row| row.as_array().unwrap())
            .map(|n| n.as_f64().unwrap())
            .collect()
    };
    let (got, wanted) = (numbers(got), numbers(wanted));
    assert_eq!(got.len(), wanted.len(), "{name}");
    let near = got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(near, "{name}: {got:?}, expected {wanted:?}");
}

/// A request is a MISS, then each of its rows is found, in whatever company it comes.
async fn rows_are_remembered(host: &FunctionsHost, name: &str, because: &str) {
    let expected = &answers()[name];
    let rows = expected["rows"].as_array().unwrap();
    let (first, cache) = score(host, name, rows).await;
    assert_eq!(cache, "MISS", "{name}");
    assert_eq!(first["label"], expected["label"], "{name}");
    assert_near(&first["probabilities"], &expected["probabilities"], name);
    let (again, cache) = score(host, name, rows).await;
    assert_eq!((&again, cache.as_str()), (&first, "HIT"), "{name}");
    let (alone, cache) = score(host, name, &rows[1..2]).await;
    assert_eq!(
        (&alone["label"][0], cache.as_str()),
        (&expected["label"][1], "HIT"),
        "{name}"
    );
    let document = described(host, name).await;
    assert_eq!(document["rows"]["treated"], "independent", "{name}");
    assert_eq!(document["rows"]["because"], because, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn categories_that_refuse_unknown_values_are_tried_with_known_ones() {
    let (_app, host) = serve(&["categories", "categories_unknown", "ordinals"]).await;
    for name in ["categories", "categories_unknown", "ordinals"] {
        rows_are_remembered(&host, name, "proved from the graph").await;
    }
    let document = described(&host, "categories").await;
    let known = json!([["blue", "green", "red"], ["L", "M", "S", "XL"]]);
    assert_eq!(document["inputs"][0]["categories"], known);
    // The graph names the classes, whose scores the page shows.
    assert_eq!(document["outputs"][1]["labels"], json!(["keep", "sell"]));
    assert_eq!(
        document["sample_request"],
        json!({ "data": [["blue", "L"]] })
    );
    let numbers = json!([[10, 11, 12, 13, 14], [10, 11, 12, 13, 14]]);
    let document = described(&host, "ordinals").await;
    assert_eq!(document["inputs"][0]["categories"], numbers);
    assert_eq!(document["outputs"][1].get("labels"), None);
    // One unknown value is the caller's mistake, and does no harm to what is remembered.
    let body = br#"{"data":[["violet","S"]]}"#;
    let answer = host
        .http("POST", "/api/score/categories", &[JSON], body)
        .await;
    answer.expect_status(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_tried_with_the_words_that_the_model_knows() {
    // Runs where only C, POSIX and C.UTF-8 are installed, as in the images that this is for.
    let (_app, host) = serve(&["words"]).await;
    rows_are_remembered(&host, "words", "probed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_are_declared_for_one_row_are_given_for_each() {
    let (_app, host) = serve(&["lightgbm"]).await;
    rows_are_remembered(&host, "lightgbm", "proved from the graph").await;
    let document = described(&host, "lightgbm").await;
    assert_eq!(document["outputs"][0]["shape"], json!([-1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_rows_beside_a_model_are_its_sample_and_no_part_of_it() {
    let app = AppRoot::new();
    let file = folder().join("categories.onnx");
    for name in ["plain", "sampled", "mistaken"] {
        app.add_model(name, &file, None);
    }
    let rows = json!([["green", "M"], ["red", "XL"]]);
    app.write("models/sampled/samples.json", rows.to_string());
    app.write("models/mistaken/samples.json", "[[1, 2, 3]]");
    let host = in_process::start(&app, []).await;
    let document = described(&host, "sampled").await;
    assert_eq!(document["samples"], rows);
    assert_eq!(
        document["sample_request"],
        json!({ "data": [["green", "M"]] })
    );
    for name in ["plain", "mistaken"] {
        let other = described(&host, name).await;
        assert_eq!(other["digest"], document["digest"]);
        assert_eq!(
            (&other["samples"], &other["rows"]),
            (&Value::Null, &document["rows"])
        );
    }
}
