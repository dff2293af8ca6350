//! The OpenAPI document: what it says holds.

use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use functions_host::host::FunctionsHost;

const PATH: &str = "/api/score/openapi.json";
const JSON: (&str, &str) = ("content-type", "application/json");
const MODELS: [&str; 8] = [
    "affine", "constant", "fixed", "gather", "mixed", "optional", "scalar", "zipmap",
];

/// The sample model, others of every kind, and one that cannot be loaded.
fn app() -> AppRoot {
    let app = AppRoot::with_sample();
    for name in MODELS {
        let file = repository().join(format!("tests/data/models/{name}.onnx"));
        app.add_model(name, file, None);
    }
    app.write("models/broken/model.onnx", "no model at all");
    app
}

async fn document(host: &FunctionsHost) -> Value {
    let answer = host.http("GET", PATH, &[], b"").await.expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// The value itself, or what it refers to.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else {
        return value;
    };
    let pointer = reference.strip_prefix('#').expect("within the document");
    let found = document.pointer(pointer);
    found.unwrap_or_else(|| panic!("nothing at {reference}"))
}

fn each<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| each(member, visit)),
        Value::Array(items) => items.iter().for_each(|item| each(item, visit)),
        _ => {}
    }
}

/// Path, method and operation.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_loaded_model_has_its_paths_and_a_broken_one_has_none() {
    let host = in_process::start(&app(), [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    let document = document(&host).await;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = &document["paths"];
    assert!(paths["/api/score"]["post"].is_object());
    for name in MODELS.iter().chain(&["mnist"]) {
        let v2 = format!("/api/score/v2/models/{name}");
        for (path, method) in [
            (format!("/api/score/{name}"), "post"),
            (format!("/api/score/{name}"), "get"),
            (format!("{v2}/infer"), "post"),
            (format!("{v2}/ready"), "get"),
            (v2, "get"),
        ] {
            let operation = &paths[&path][method];
            assert!(operation["responses"]["200"].is_object(), "{method} {path}");
        }
    }
    assert!(!document.to_string().contains("broken"));
    let content = &document["components"]["requestBodies"]["mnist.request"]["content"];
    for format in [
        "text/csv",
        "application/octet-stream",
        "application/x-npy",
        "image/png",
    ] {
        assert!(content[format].is_object(), "{format}");
    }
    let content = &document["components"]["requestBodies"]["affine.request"]["content"];
    assert!(
        content["image/png"].is_null(),
        "three numbers are no picture"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn references_resolve_and_operations_have_names_of_their_own() {
    let host = in_process::start(&app(), [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    let document = document(&host).await;
    let mut references = 0;
    each(&document, &mut |value| {
        if value.is_object() && value.get("$ref").is_some() {
            resolve(&document, value);
            references += 1;
        }
    });
    assert!(references > 100, "{references}");
    let mut ids: Vec<&Value> = operations(&document)
        .map(|(_, _, operation)| &operation["operationId"])
        .collect();
    let count = ids.len();
    ids.sort_by_key(|id| id.as_str());
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_answers_and_every_example_scores() {
    let host = in_process::start(&app(), [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    let document = document(&host).await;
    for (path, method, operation) in operations(&document) {
        if method == "get" {
            host.http("GET", path, &[], b"").await.expect_status(200);
            continue;
        }
        let body = resolve(&document, &operation["requestBody"]);
        let example = &body["content"]["application/json"]["example"];
        assert!(example.is_object(), "{path} has an example");
        let example = example.to_string();
        let answer = host.http("POST", path, &[JSON], example.as_bytes()).await;
        let answer = answer.expect_status(200).json();
        let response = resolve(&document, &operation["responses"]["200"]);
        assert_eq!(
            response["content"]["application/json"]["example"], answer,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_the_bare_path_only_lists_models() {
    let host = in_process::start(&app(), []).await;
    let document = document(&host).await;
    let bare = document["paths"]["/api/score"].as_object().unwrap();
    assert_eq!(bare.keys().collect::<Vec<_>>(), ["get"]);
    let broken = [("SCORE_DEFAULT_MODEL", "broken")];
    let host = in_process::start(&app(), broken).await;
    let document = self::document(&host).await;
    assert_eq!(document["paths"]["/api/score"], Value::Null);
    assert_eq!(document["servers"], json!([{ "url": "/" }]));
}

also_forwarded! {
    every_path_answers_and_every_example_scores,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apis_of_text_models_are_described_and_answer_their_examples_as_described() {
    let app = app();
    let texts = ["tiny", "rank", "label", "tag", "sparse"];
    for name in texts {
        app.link_model(name, &repository().join("tests/data/text").join(name));
    }
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    let document = document(&host).await;
    let mut count = 0;
    for (path, method, operation) in operations(&document) {
        let tag = operation["tags"][0].as_str().unwrap();
        if tag == "server" || MODELS.contains(&tag) || tag == "mnist" || texts.contains(&tag) {
            continue;
        }
        let body = match method {
            "get" => String::new(),
            _ => operation["requestBody"]["content"]["application/json"]["example"].to_string(),
        };
        let method = method.to_uppercase();
        let answer = host.http(&method, path, &[JSON], body.as_bytes()).await;
        let answer = answer.expect_status(200).json();
        let content = &operation["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(jsonschema::is_valid(schema, &answer), "{path}: {answer}");
        if method == "POST" {
            let refused = host.http(&method, path, &[JSON], b"{}").await;
            let response = &operation["responses"][refused.status.to_string()];
            let content = &resolve(&document, response)["content"];
            let schema = resolve(&document, &content["application/json"]["schema"]);
            assert!(
                jsonschema::is_valid(schema, &refused.json()),
                "{path}: {}",
                refused.text()
            );
        }
        count += 1;
    }
    assert!(count > 60, "{count}");
}
