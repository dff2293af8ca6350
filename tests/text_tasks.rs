//! Rerankers, classifiers, token classifiers and sparse models, as the clients of other servers use them, against what Python
//! gives (`tests/text_heads.rs`).

use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use serde_json::{Value, json};

use crate::support::app_root::AppRoot;
use crate::support::in_process;
use crate::text_heads::{assert_alike, assert_close, expected, floats, folder};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn host() -> FunctionsHost {
    let app = AppRoot::new();
    for name in ["rank", "label", "tag", "sparse", "tiny"] {
        app.link_model(name, &folder(name));
    }
    in_process::start(&app, []).await
}

async fn post(host: &FunctionsHost, path: &str, body: &Value) -> Answer {
    let path = format!("/api/score/{path}");
    let body = body.to_string();
    host.http("POST", &path, &[JSON], body.as_bytes()).await
}

async fn ok(host: &FunctionsHost, path: &str, body: Value) -> (Value, Option<String>) {
    let answer = post(host, path, &body).await.expect_status(200);
    (answer.json(), answer.header("x-cache").map(str::to_owned))
}

/// The texts of the first query, with their logits from Python.
fn pairs() -> (Value, Vec<Value>, Vec<f64>) {
    let rows = expected("rank");
    let query = rows[0]["query"].clone();
    let of_query: Vec<&Value> = rows.iter().filter(|row| row["query"] == query).collect();
    let texts = of_query.iter().map(|row| row["text"].clone());
    let logits = of_query.iter().map(|row| row["logit"].as_f64().unwrap());
    (query, texts.collect(), logits.collect())
}

/// Their places, the highest first.
fn order(scores: &[f64]) -> Vec<u64> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    places.into_iter().map(|place| place as u64).collect()
}

fn column(rows: &Value, name: &str) -> Value {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row[name].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_ranking_is_answered_from_one_entry() {
    let host = host().await;
    let (query, texts, logits) = pairs();
    let best = order(&logits);
    let sigmoid = |logit: &f64| 1.0 / (1.0 + (-logit).exp());
    let of = |scores: &dyn Fn(&f64) -> f64| -> Vec<f64> {
        best.iter()
            .map(|place| scores(&logits[*place as usize]))
            .collect()
    };
    let (answer, cache) = ok(&host, "rerank", json!({ "query": query, "texts": texts })).await;
    assert_eq!(cache.as_deref(), Some("MISS"));
    assert_eq!(column(&answer, "index"), json!(best));
    assert_close(&floats(&column(&answer, "score")), &of(&sigmoid));
    let body = json!({ "query": query, "texts": texts, "raw_scores": true, "return_text": true });
    let (answer, cache) = ok(&host, "rank/rerank", body).await;
    assert_eq!(cache.as_deref(), Some("HIT"));
    assert_close(&floats(&column(&answer, "score")), &of(&|logit| *logit));
    assert_eq!(answer[0]["text"], texts[best[0] as usize]);
    let objects: Vec<Value> = texts
        .iter()
        .map(|text| json!({ "text": text, "id": 7 }))
        .collect();
    for (path, documents) in [
        ("v1/rerank", &objects),
        ("v2/rerank", &texts),
        ("rerank", &texts),
    ] {
        let body = json!({ "model": "rank", "query": query, "documents": documents, "top_n": 2 });
        let (answer, cache) = ok(&host, path, body).await;
        assert_eq!(cache.as_deref(), Some("HIT"), "{path}");
        let results = &answer["results"];
        assert_eq!(column(results, "index"), json!(best[..2]), "{path}");
        assert_close(
            &floats(&column(results, "relevance_score")),
            &of(&sigmoid)[..2],
        );
        assert!(results[0].get("document").is_none(), "{path}");
        assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 10);
        // More than there are: all of them.
        let body = json!({ "query": query, "documents": documents, "top_n": 99, "return_documents": true });
        let (answer, _) = ok(&host, path, body).await;
        let results = &answer["results"];
        assert_eq!(results.as_array().unwrap().len(), texts.len());
        let document = match path {
            "rerank" => results[0]["document"].clone(),
            _ => results[0]["document"]["text"].clone(),
        };
        assert_eq!(document, texts[best[0] as usize], "{path}");
    }
    let (answer, _) = ok(
        &host,
        "v2/rerank",
        json!({ "query": "q", "documents": ["a", "b", "a"] }),
    )
    .await;
    let equal = column(&answer["results"], "index").to_string();
    assert!(
        equal.contains("0,2"),
        "equal documents keep their order: {equal}"
    );
    let long = json!({ "query": query, "documents": ["the cat is lost"], "max_tokens_per_doc": 1 });
    let (cut, _) = ok(&host, "v2/rerank", long).await;
    let (whole, _) = ok(
        &host,
        "v2/rerank",
        json!({ "query": query, "documents": ["the cat is lost"] }),
    )
    .await;
    let tokens = |answer: &Value| answer["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(tokens(&whole) - tokens(&cut), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_classification_is_answered_from_one_entry() {
    let host = host().await;
    let rows = expected("label");
    let texts: Vec<&Value> = rows.iter().map(|row| &row["text"]).collect();
    let nested: Vec<Value> = texts.iter().map(|text| json!([text])).collect();
    let logits = floats(&rows[0]["logits"]);
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    let best = order(&logits);
    let scores: Vec<f64> = best
        .iter()
        .map(|at| logits[*at as usize].exp() / sum)
        .collect();
    let names = ["negative", "neutral", "positive"];
    let names: Vec<&str> = best.iter().map(|at| names[*at as usize]).collect();
    let mut cache = "MISS";
    for (path, body, place) in [
        ("predict", json!({ "inputs": nested }), "/0"),
        ("label/predict", json!({ "inputs": texts[0] }), ""),
        (
            "classify",
            json!({ "input": texts, "model": "label" }),
            "/data/0",
        ),
        ("label/classify", json!({ "input": texts[0] }), "/data/0"),
        (
            "pipeline/text-classification",
            json!({ "inputs": texts[0], "parameters": {} }),
            "/0",
        ),
        (
            "pipeline/text-classification/label",
            json!({ "inputs": texts }),
            "/0",
        ),
    ] {
        let (answer, said) = ok(&host, path, body).await;
        assert_eq!(said.as_deref(), Some(cache), "{path}");
        let labels = answer.pointer(place).unwrap();
        assert_eq!(column(labels, "label"), json!(names), "{path}");
        assert_close(&floats(&column(labels, "score")), &scores);
        cache = "HIT";
    }
    let raw = json!({ "inputs": texts[0], "raw_scores": true });
    let (answer, _) = ok(&host, "predict", raw).await;
    assert_close(
        &[answer[0]["score"].as_f64().unwrap()],
        &[logits[best[0] as usize]],
    );
    let sigmoid =
        json!({ "inputs": texts[0], "parameters": { "function_to_apply": "sigmoid", "top_k": 1 } });
    let (answer, _) = ok(&host, "pipeline/text-classification", sigmoid).await;
    assert_eq!(answer[0].as_array().unwrap().len(), 1);
    let expected = 1.0 / (1.0 + (-logits[best[0] as usize]).exp());
    assert_close(&[answer[0][0]["score"].as_f64().unwrap()], &[expected]);
    // A reranker gives its one label to pairs.
    let (query, texts, logits) = pairs();
    let body = json!({ "inputs": [query, texts[0]], "raw_scores": true });
    let (answer, _) = ok(&host, "rank/predict", body).await;
    assert_close(&[answer[0]["score"].as_f64().unwrap()], &logits[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_and_sparse_vectors_are_those_of_python() {
    let host = host().await;
    let rows = expected("tag");
    let texts: Vec<&Value> = rows.iter().map(|row| &row["text"]).collect();
    for strategy in ["none", "simple", "first", "average", "max"] {
        let parameters = json!({ "aggregation_strategy": strategy });
        let body = json!({ "inputs": texts, "parameters": parameters });
        let (answer, _) = ok(&host, "pipeline/token-classification/tag", body).await;
        for (found, row) in answer.as_array().unwrap().iter().zip(&rows) {
            assert_alike(found, &row["entities"][strategy]);
        }
        let body = json!({ "inputs": texts[0], "parameters": parameters });
        let (answer, cache) = ok(&host, "pipeline/token-classification", body).await;
        assert_alike(&answer, &rows[0]["entities"][strategy]);
        assert_eq!(cache.as_deref(), Some("HIT"));
    }
    let body = json!({ "inputs": texts[0], "parameters": { "ignore_labels": ["O", "LOC"] } });
    let (answer, _) = ok(&host, "pipeline/token-classification", body).await;
    let groups = column(&answer, "entity_group").to_string();
    assert!(!groups.contains("LOC"), "{groups}");

    let rows = expected("sparse");
    let texts: Vec<&Value> = rows.iter().map(|row| &row["text"]).collect();
    for path in ["embed_sparse", "sparse/embed_sparse"] {
        let (answer, _) = ok(&host, path, json!({ "inputs": texts, "truncate": true })).await;
        for (found, row) in answer.as_array().unwrap().iter().zip(&rows) {
            assert_alike(found, &row["weights"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_get_what_the_model_is_for() {
    let host = host().await;
    let record = |id: &str, text: &Value| json!({ "recordId": id, "data": { "text": text } });
    let (labelled, tagged) = (expected("label"), expected("tag"));
    let body = json!({ "values": [record("a", &json!(7)), record("b", &labelled[0]["text"])] });
    let (answer, _) = ok(&host, "skill/label", body).await;
    assert!(answer["values"][0]["errors"][0]["message"].is_string());
    let data = &answer["values"][1]["data"];
    assert_eq!(data["label"], "negative");
    assert_eq!(data["labels"].as_array().unwrap().len(), 3);
    let body = json!({ "values": [record("a", &tagged[0]["text"]), record("b", &Value::Null)] });
    let (answer, _) = ok(&host, "skill/tag", body).await;
    assert_alike(
        &answer["values"][0]["data"]["entities"],
        &tagged[0]["entities"]["simple"],
    );
    let none = json!({ "values": [record("a", &Value::Null)] });
    for model in ["label", "tag", "tiny"] {
        let (answer, _) = ok(&host, &format!("skill/{model}"), none.clone()).await;
        assert_eq!(answer["values"][0]["data"], json!({}), "{model}");
    }
    let answer = post(&host, "skill/rank", &none).await.expect_status(400);
    assert!(
        answer.text().contains("those that are: label, tag, tiny"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn coheres_embeddings_are_those_of_the_other_routes() {
    let host = host().await;
    let texts = json!(["the cat", "käse 🧀"]);
    let (vectors, _) = ok(&host, "tiny/embed", json!({ "inputs": texts })).await;
    let body = json!({ "model": "tiny", "texts": texts, "input_type": "search_document" });
    let (answer, cache) = ok(&host, "v1/embed", body).await;
    assert_eq!(cache.as_deref(), Some("HIT"));
    assert_eq!(
        (&answer["embeddings"], &answer["texts"]),
        (&vectors, &texts)
    );
    let body = json!({ "texts": texts, "embedding_types": ["float", "ubinary", "int8"], "output_dimension": 4 });
    let (answer, _) = ok(&host, "v2/embed", body).await;
    let by_type = &answer["embeddings"];
    assert_eq!(by_type["float"][0].as_array().unwrap().len(), 4);
    assert_eq!(by_type["ubinary"][0].as_array().unwrap().len(), 1);
    let most = by_type["int8"][0].as_array().unwrap().iter();
    assert_eq!(most.map(|n| n.as_i64().unwrap().abs()).max(), Some(127));
    assert!(answer["id"].is_string());
    let long = json!({ "texts": ["the cat ".repeat(40)], "truncate": "NONE" });
    let answer = post(&host, "v2/embed", &long).await.expect_status(413);
    assert!(answer.at("/message").as_str().unwrap().contains("tokens"));
}

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
