//! Rerankers, classifiers, token classifiers and sparse models, as the clients of other servers use them, against what Python
//! gives (`tests/text_heads.rs`).

use functions_host::answer::Answer;
use functions_host::blob_store::{self, BlobStore};
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::http1;
use functions_host::invoke::Transport;
use functions_host::port;
use functions_host::triggers::ServiceBusMessage;
use serde_json::{Value, json};

use crate::support::app_root::AppRoot;
use crate::support::in_process;
use crate::text_heads::{assert_alike, assert_close, expected, floats, folder};

const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) async fn host() -> FunctionsHost {
    let app = AppRoot::new();
    for name in ["rank", "label", "tag", "sparse", "tiny"] {
        app.link_model(name, &folder(name));
    }
    in_process::start(&app, []).await
}

pub(crate) async fn post(host: &FunctionsHost, path: &str, body: &Value) -> Answer {
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
async fn texts_are_ranked_as_teis_clients_ask_for_it() {
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
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_ranked_as_cohere_and_infinity_do_it() {
    let host = host().await;
    let (query, texts, logits) = pairs();
    let best = order(&logits);
    let sigmoid = |place: &u64| 1.0 / (1.0 + (-logits[*place as usize]).exp());
    let scores: Vec<f64> = best.iter().map(sigmoid).collect();
    ok(&host, "rerank", json!({ "query": query, "texts": texts })).await;
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
        assert_close(&floats(&column(results, "relevance_score")), &scores[..2]);
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
    let info = host.http("GET", "/api/score/label/info", &[], b"").await;
    let info = info.expect_status(200).json();
    assert_eq!(
        info["model_type"]["classifier"]["id2label"]["0"],
        "negative"
    );
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
async fn a_query_and_its_texts_are_a_dialect() {
    let host = host().await;
    let (query, texts, logits) = pairs();
    let scores: Vec<f64> = logits
        .iter()
        .map(|logit| 1.0 / (1.0 + (-logit).exp()))
        .collect();
    let body = json!({ "query": query, "texts": texts });
    let (answer, cache) = ok(&host, "rank", body.clone()).await;
    assert_eq!(cache.as_deref(), Some("MISS"));
    assert_close(&floats(&answer), &scores);
    let rows = texts
        .iter()
        .map(|text| json!({ "query": query, "text": text }));
    let rows = json!({ "data": rows.collect::<Vec<_>>() });
    for body in [&body, &rows] {
        let (answer, cache) = ok(&host, "rank", body.clone()).await;
        assert_eq!(cache.as_deref(), Some("HIT"));
        assert_close(&floats(&answer), &scores);
    }
    for (body, said) in [
        (
            json!({ "texts": texts }),
            "query: expected a text; found none",
        ),
        (
            json!({ "query": [query], "texts": texts }),
            "query: expected a text",
        ),
        (json!({ "query": query, "texts": [7] }), "texts"),
    ] {
        let answer = post(&host, "rank", &body).await.expect_status(400);
        assert!(answer.text().contains(said), "{}", answer.text());
    }
    let answer = post(&host, "label", &body).await.expect_status(400);
    assert!(
        answer.text().contains("the model takes texts alone"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_blobs_bring_queries_and_texts() {
    let app = AppRoot::new();
    for name in ["rank", "label", "tag"] {
        app.link_model(name, &folder(name));
    }
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "tag")]).await;
    let (query, texts, logits) = pairs();
    let scores: Vec<f64> = logits
        .iter()
        .map(|logit| 1.0 / (1.0 + (-logit).exp()))
        .collect();
    let body = json!({ "query": query, "texts": texts });
    let labelled = expected("label");
    let one = json!({ "texts": [labelled[0]["text"]] });
    let messages = [("rank", &body), ("label", &one)].map(|(model, body)| {
        ServiceBusMessage::new(body.to_string()).with_property("model", model)
    });
    let delivered = host
        .deliver("score_queue", &messages, Transport::Chunked)
        .await;
    let results = delivered.unwrap().messages("result");
    assert_close(&floats(&results[0]["result"]), &scores);
    assert_eq!(results[1]["result"]["label"], json!(["negative"]));

    let tagged = expected("tag");
    let body = json!({ "texts": [tagged[0]["text"]] }).to_string();
    let store = BlobStore::default();
    let name = store.put_with("inbox/a.json", body, json!({})).blob;
    let blob = store.get("inbox/a.json").unwrap();
    let event = blob_store::event(&name, &blob, vec![("name".to_owned(), name.name.clone())]);
    let outcome = host
        .blob("score_blob", &event, Transport::Chunked)
        .await
        .unwrap();
    let mut outputs = outcome.outputs.keys();
    let content = outputs.find_map(|output| outcome.blob(output)).unwrap();
    let document: Value = serde_json::from_slice(content).unwrap();
    let entities = document["result"][0].as_str().unwrap();
    assert_alike(
        &serde_json::from_str(entities).unwrap(),
        &tagged[0]["entities"]["simple"],
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
    let answer = post(&host, "v2/embed", &long).await.expect_status(400);
    assert!(answer.at("/message").as_str().unwrap().contains("tokens"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_the_root_is_what_the_default_model_is_for() {
    let (query, texts, _) = pairs();
    let text = expected("tag")[0]["text"].clone();
    for (model, body, place) in [
        (
            "rank",
            json!({ "query": query, "texts": texts }),
            "/0/index",
        ),
        (
            "label",
            json!({ "inputs": text, "parameters": {} }),
            "/0/0/label",
        ),
        ("tag", json!({ "inputs": text }), "/0/entity_group"),
        ("sparse", json!({ "inputs": [text] }), "/0/0/index"),
    ] {
        let app = AppRoot::new();
        app.link_model(model, &folder(model));
        let free = port::free();
        let options = ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"];
        let options = options
            .into_iter()
            .fold(HostOptions::default(), HostOptions::without);
        let options = options.port(free).setting("SCORE_PORT", free.to_string());
        let host = FunctionsHost::start(&app, options).await;
        let send = async |body: &Value| {
            let body = body.to_string();
            let length = body.len().to_string();
            let headers = [JSON, ("Host", "localhost"), ("Content-Length", &length)];
            let request = [&http1::head("POST", "/", &headers), body.as_bytes()].concat();
            http1::exchange(host.port(), &[&request]).await.unwrap()
        };
        let answer = send(&body).await.expect_status(200);
        assert!(!answer.at(place).is_null(), "{model}: {}", answer.text());
        let alike = json!({ "inputs": { "source_sentence": "a", "sentences": ["b"] } });
        let answer = send(&alike).await.expect_status(422);
        assert!(answer.at("/error").is_string(), "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_classifier_goes_before_a_default_model_of_another_task() {
    let app = AppRoot::new();
    for name in ["label", "rank"] {
        app.link_model(name, &folder(name));
    }
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "rank")]).await;
    let answer = post(&host, "predict", &json!({ "inputs": "a" })).await;
    answer.expect_status(200);
}
