//! What the routes of rerankers, classifiers, token classifiers and sparse models refuse.

use std::fs;

use serde_json::json;

use crate::support::app_root::AppRoot;
use crate::support::in_process;
use crate::text_heads::folder;
use crate::text_tasks::{host, post};
use crate::texts::copy;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn a_model_for_another_task_is_refused_with_those_that_would_do() {
    let host = host().await;
    let (rank, embed) = (
        json!({ "query": "q", "texts": ["a"] }),
        json!({ "inputs": "a" }),
    );
    for (path, body, status, said) in [
        (
            "tiny/rerank",
            &rank,
            422,
            "model \"tiny\" is for the task embedding, not for rerank; those that are: rank",
        ),
        ("rank/embed", &embed, 422, "those that are: tiny"),
        ("sparse/embed", &embed, 422, "those that are: tiny"),
        ("tag/predict", &embed, 422, "those that are: label, rank"),
        ("tiny/embed_sparse", &embed, 422, "those that are: sparse"),
        (
            "pipeline/token-classification/label",
            &embed,
            422,
            "those that are: tag",
        ),
        (
            "label/classify",
            &json!({ "input": "a", "model": "tag" }),
            200,
            "",
        ),
        (
            "classify",
            &json!({ "input": "a", "model": "tag" }),
            400,
            "those that are: label",
        ),
        (
            "v1/embeddings",
            &json!({ "input": "a", "model": "rank" }),
            400,
            "those that are: tiny",
        ),
        (
            "v2/rerank",
            &json!({ "query": "q", "documents": ["a"], "model": "tiny" }),
            400,
            "those that are: rank",
        ),
        (
            "v2/rerank",
            &json!({ "query": "q", "documents": ["a"], "model": "rerank-v3.5" }),
            404,
            "there is no model",
        ),
        (
            "v2/embed",
            &json!({ "texts": ["a"], "model": "rank" }),
            400,
            "those that are: tiny",
        ),
        (
            "rank/predict",
            &json!({ "inputs": "a" }),
            422,
            "the model takes pairs of texts",
        ),
        (
            "label/predict",
            &json!({ "inputs": ["a", "b"] }),
            422,
            "the model takes texts alone",
        ),
        (
            "pipeline/text-classification",
            &json!({ "inputs": [{ "text": "a", "text_pair": "b" }] }),
            422,
            "the model takes texts alone",
        ),
        (
            "pipeline/text-classification",
            &json!({ "inputs": "a", "texts": ["b"] }),
            422,
            "found texts in inputs and in texts",
        ),
    ] {
        let answer = post(&host, path, body).await.expect_status(status);
        let answer = answer.text().replace("\\\"", "\"");
        assert!(answer.contains(said), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_the_form_of_the_api() {
    let host = host().await;
    let many = json!(vec!["a"; 100_000]).to_string();
    let with = |member: &str, value: &str| match member {
        "documents" | "texts" => format!(r#"{{"query":"q","{member}":{value}}}"#),
        _ => format!(r#"{{"{member}":{value}}}"#),
    };
    for (path, member, [empty, invalid]) in [
        ("v1/rerank", "documents", [400, 400]),
        ("v2/rerank", "documents", [400, 400]),
        ("v2/embed", "texts", [400, 400]),
        ("rerank", "texts", [400, 422]),
        ("predict", "inputs", [400, 422]),
        ("classify", "input", [400, 400]),
        ("pipeline/token-classification", "inputs", [400, 422]),
        ("embed_sparse", "inputs", [400, 422]),
    ] {
        for (value, status) in [
            ("[]", empty),
            ("null", empty),
            ("7", invalid),
            (r#"["a",null]"#, invalid),
            (r#"[7]"#, invalid),
            (r#"["a",{"x":1}]"#, invalid),
            (r#""a","top_n":-1,"top_k":0,"embedding_types":[1]"#, invalid),
            (&many, invalid),
            ("[\"a\"", invalid),
        ] {
            let body = with(member, value);
            let address = format!("/api/score/{path}");
            let answer = host.http("POST", &address, &[JSON], body.as_bytes()).await;
            let shown = &body[..body.len().min(80)];
            // infinity's clients know none of these members.
            let status = if path == "classify" && value.contains("top_n") {
                200
            } else {
                status
            };
            assert_eq!(answer.status, status, "{path} {shown}: {}", answer.text());
            if status == 200 {
                continue;
            }
            match path {
                "v1/rerank" | "v2/rerank" | "v2/embed" => {
                    assert_eq!(answer.json().as_object().unwrap().len(), 1);
                    assert!(answer.at("/message").is_string());
                }
                "classify" => assert!(answer.at("/error/message").is_string()),
                _ => {
                    assert!(answer.at("/error").is_string() && answer.at("/error_type").is_string())
                }
            }
            assert!(answer.text().len() < 1000, "{}", answer.text());
        }
    }
    // A query that would be read with each of many documents.
    let query = "cat ".repeat(1 << 20);
    let body = json!({ "query": query, "documents": vec!["a"; 1000] });
    let answer = post(&host, "v2/rerank", &body).await.expect_status(400);
    assert!(answer.at("/message").as_str().unwrap().len() < 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_that_cannot_be_cut_name_the_text_that_is_too_long() {
    let app = AppRoot::new();
    let add = |name: &str, options: &str| {
        let to = app.path().join("models").join(name);
        copy(&folder("rank"), &to);
        fs::write(to.join("model.toml"), format!("[text]\n{options}")).unwrap();
    };
    add("first", "truncation_strategy = \"only_first\"");
    add("second", "truncation_strategy = \"only_second\"");
    add("whole", "truncate = \"refuse\"");
    let host = in_process::start(&app, []).await;
    let long = "the cat ".repeat(20);
    for (path, query, text, said) in [
        (
            "second/rerank",
            &*long,
            "a",
            "the query of pair 1 has 43 tokens, special tokens included; the model sees at most 32 of a pair, and only the text is \
             cut (truncation_strategy): shorten the query",
        ),
        (
            "first/rerank",
            "a",
            &long,
            "the text of pair 1 has 43 tokens, special tokens included; the model sees at most 32 of a pair, and only the query is \
             cut (truncation_strategy): shorten the text",
        ),
        (
            "whole/rerank",
            "a",
            &long,
            "pair 1 has 44 tokens; the model sees at most 32: shorten it, or let it be cut",
        ),
    ] {
        let data =
            json!({ "data": [{ "query": "a", "text": "a" }, { "query": query, "text": text }] });
        let model = path.split('/').next().unwrap();
        let answer = post(&host, model, &data).await.expect_status(413);
        assert_eq!(answer.at("/error/message"), said, "{model}");
        let ranked = json!({ "query": query, "texts": [text] });
        let answer = post(&host, path, &ranked).await.expect_status(413);
        assert_eq!(answer.at("/error"), json!(said.replace("pair 1", "pair 0")));
        // A pair that can be cut is cut.
        if model != "whole" {
            let ranked = json!({ "query": text, "texts": [query] });
            let answer = post(&host, path, &ranked).await.expect_status(200);
            assert_eq!(answer.header("x-truncated"), Some("1"));
        }
    }
}
