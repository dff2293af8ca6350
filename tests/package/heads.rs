//! A package of a reranker, a classifier, a token classifier and a sparse model: checked, and answering as in Python.

use serde_json::{Value, json};

use super::{files, folder, package, said, text};
use crate::support::app_root::AppRoot;
use crate::text_heads::{assert_alike, assert_close, expected};
use functions_host::host::{FunctionsHost, HostOptions};

const JSON: (&str, &str) = ("content-type", "application/json");
const MODELS: [&str; 4] = ["rank", "label", "tag", "sparse"];

async fn ask(host: &FunctionsHost, path: &str, body: Value) -> Value {
    let path = format!("/api/score/{path}");
    let body = body.to_string();
    let answer = host.http("POST", &path, &[JSON], body.as_bytes()).await;
    answer.expect_status(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn rerankers_classifiers_and_taggers_are_checked_packaged_and_answer() {
    let out = folder();
    let place = text(out.path());
    let models = MODELS.map(|name| text(&crate::text_heads::folder(name)));
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    package(&[&["--model"], &models[..], &["--out", &place]].concat());
    let packaged = files(out.path());
    for name in MODELS {
        for file in ["model.onnx", "tokenizer.json", "config.json"] {
            let file = format!("models/{name}/{file}");
            assert!(packaged.contains_key(&file), "{file}");
        }
    }

    let check = super::handler(&["check", "--model-dir", &format!("{place}/models")]);
    let (report, problems) = said(&check);
    assert!(check.status.success(), "{problems}");
    for line in ["rerank: ", "classify: ", "tag: ", "sparse: "] {
        assert!(
            report.contains(&format!("texts          {line}")),
            "{report}"
        );
    }

    let host = FunctionsHost::start(&AppRoot::of(out), HostOptions::default()).await;
    let row = &expected("rank")[0];
    let ranked = json!({ "query": row["query"], "texts": [row["text"]], "raw_scores": true });
    let ranked = ask(&host, "rerank", ranked).await;
    let [found, logit] = [&ranked[0]["score"], &row["logit"]].map(|score| score.as_f64().unwrap());
    assert_close(&[found], &[logit]);
    let row = &expected("label")[0];
    let labelled = json!({ "inputs": row["text"], "parameters": { "function_to_apply": "none" } });
    let labelled = ask(&host, "pipeline/text-classification", labelled).await;
    let mut logits = crate::text_heads::floats(&row["logits"]);
    logits.sort_by(|one, other| other.total_cmp(one));
    let scores = labelled[0].as_array().unwrap().iter();
    let scores: Vec<f64> = scores
        .map(|label| label["score"].as_f64().unwrap())
        .collect();
    assert_close(&scores, &logits);
    let row = &expected("tag")[0];
    let tagged =
        json!({ "inputs": row["text"], "parameters": { "aggregation_strategy": "first" } });
    let tagged = ask(&host, "pipeline/token-classification", tagged).await;
    assert_alike(&tagged, &row["entities"]["first"]);
    let row = &expected("sparse")[0];
    let weights = ask(&host, "embed_sparse", json!({ "inputs": [row["text"]] })).await;
    assert_alike(&weights[0], &row["weights"]);
}
