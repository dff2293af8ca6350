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

/// The document with everything.
async fn document(host: &FunctionsHost) -> Value {
    read(host, "?all").await
}

async fn read(host: &FunctionsHost, query: &str) -> Value {
    let path = format!("{PATH}{query}");
    let answer = host.http("GET", &path, &[], b"").await.expect_status(200);
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
    let app = app();
    for name in ["my-model", "my_model"] {
        app.add_model(
            name,
            repository().join("tests/data/models/affine.onnx"),
            None,
        );
    }
    app.link_model("tiny", &repository().join("tests/data/text/tiny"));
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    for query in ["", "?all"] {
        let document = read(&host, query).await;
        let mut references = 0;
        each(&document, &mut |value| {
            if value.is_object() && value.get("$ref").is_some() {
                resolve(&document, value);
                references += 1;
            }
        });
        assert!(references > 100, "{references}");
        let mut ids: Vec<&str> = operations(&document)
            .map(|(_, _, operation)| operation["operationId"].as_str().unwrap())
            .collect();
        // NSwag makes a client of what stands in front of an underscore.
        assert!(
            ids.iter()
                .all(|id| id.chars().all(|c| c.is_ascii_alphanumeric())),
            "{ids:?}"
        );
        assert!(
            ids.contains(&"scoreMnist") && ids.contains(&"scoreMyModel2"),
            "{ids:?}"
        );
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_answers_and_every_example_scores() {
    let host = in_process::start(&app(), [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    for query in ["", "?all"] {
        let document = read(&host, query).await;
        let mut scored = 0;
        for (path, method, operation) in operations(&document) {
            if operation["requestBody"].is_null() {
                host.http(&method.to_uppercase(), path, &[], b"")
                    .await
                    .expect_status(200);
                continue;
            }
            let request =
                &resolve(&document, &operation["requestBody"])["content"]["application/json"];
            assert!(request["example"].is_object(), "{path} has an example");
            let example = request["example"].to_string();
            let answer = host.http("POST", path, &[JSON], example.as_bytes()).await;
            let answer = answer.expect_status(200).json();
            let response = resolve(&document, &operation["responses"]["200"]);
            let response = &response["content"]["application/json"];
            // Other dialects have the same components, of which the answer has another form.
            let same = path.ends_with("/infer")
                || !path.contains("/v1/") && !path.ends_with("/invocations");
            if same {
                assert_eq!(response["example"], answer, "{path}");
            }
            for (schema, value) in [
                (&request["schema"], &request["example"]),
                (&response["schema"], &answer),
            ] {
                assert_fits(&document, schema, value, path);
            }
            scored += 1;
        }
        assert!(scored > 10, "{scored}");
    }
}

/// Checks a value against a schema of the document, whose references are within it.
fn assert_fits(document: &Value, schema: &Value, value: &Value, path: &str) {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&whole).unwrap();
    let wrong = validator.validate(value);
    assert!(wrong.is_ok(), "{path}: {value}: {wrong:?} by {schema}");
}

/// As most languages read it.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, member)| !member.is_null());
            let members = members.map(|(name, member)| (name, without_nulls(member)));
            Value::Object(members.collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

/// Each is what a generator of clients stumbled over.
#[tokio::test(flavor = "multi_thread")]
async fn the_plain_document_has_nothing_that_generators_stumble_over() {
    let app = app();
    for name in ["tiny", "label", "rank", "sparse", "tag"] {
        app.link_model(name, &repository().join("tests/data/text").join(name));
    }
    let columns = "[inputs.x]\ncolumns = [\"age\", \"sepal length (cm)\", \"c\"]\n";
    app.add_model(
        "table",
        repository().join("tests/data/models/affine.onnx"),
        Some(columns),
    );
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "mnist")]).await;
    let document = read(&host, "").await;
    each(&document, &mut |value| {
        let Some(members) = value.as_object() else {
            return;
        };
        for name in [
            "anyOf",
            "oneOf",
            "allOf",
            "prefixItems",
            "minItems",
            "maxItems",
            "const",
        ] {
            // Names that are a part of the product are kept where they have a type.
            let found = members
                .get(name)
                .is_some_and(|_| name != "const" || members.get("type").is_none());
            assert!(!found, "{name} in {value}");
        }
        if members.get("enum").is_some_and(Value::is_array) {
            assert_eq!(
                members["type"], "string",
                "NSwag and Kiota make integers of {value}"
            );
        }
        if members.get("type").is_some_and(|ty| ty == "array") {
            assert!(
                members.contains_key("items"),
                "openapi-python-client leaves out {value}"
            );
        }
        assert!(!members.get("type").is_some_and(Value::is_array), "{value}");
        let content = members.get("content").and_then(Value::as_object);
        for ty in content.into_iter().flat_map(|content| content.keys()) {
            assert!(
                ["application/json", "text/plain"].contains(&ty.as_str()),
                "{ty}"
            );
        }
    });
    let schemas = &document["components"]["schemas"];
    let rows = json!({ "type": "array", "items": { "type": "array", "items": { "type": "number", "format": "float" } } });
    let data = &schemas["mnist.request"]["properties"]["data"];
    assert_eq!(
        (&data["type"], &data["items"]),
        (&rows["type"], &rows["items"])
    );
    let row = &schemas["table.row"];
    assert_eq!(row["properties"]["sepal length (cm)"]["type"], "number");
    assert_eq!(
        schemas["Error"]["properties"]["error"]["properties"]["message"]["x-ms-primary-error-message"],
        true
    );
    assert_eq!(
        schemas["ProtocolError"]["properties"]["error"]["x-ms-primary-error-message"],
        true
    );
    let embeddings = &document["paths"]["/api/score/v1/embeddings"]["post"];
    let content = |part: &Value| part["content"]["application/json"]["schema"].clone();
    let input = &content(&embeddings["requestBody"])["properties"]["input"];
    assert_eq!(input["items"]["type"], "string", "{input}");
    let answer = content(&embeddings["responses"]["200"]);
    let vector = &answer["properties"]["data"]["items"]["properties"]["embedding"];
    assert_eq!(vector["items"]["type"], "number", "{vector}");
    for (path, method, operation) in operations(&document) {
        let request = &operation["requestBody"]["content"]["application/json"];
        if method == "get" || request.is_null() {
            continue;
        }
        let example = request["example"].to_string();
        let answer = host.http("POST", path, &[JSON], example.as_bytes()).await;
        let answer = answer.expect_status(200).json();
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        assert_fits(&document, &request["schema"], &request["example"], path);
        assert_fits(&document, schema, &without_nulls(answer), path);
    }
    // Everything is in the other one.
    let all = self::document(&host).await;
    let content = &all["components"]["requestBodies"]["mnist.request"]["content"];
    assert_eq!(
        content["application/octet-stream"]["schema"]["format"],
        "binary"
    );
    assert!(all["paths"]["/api/score/v1/models/mnist:predict"]["post"].is_object());
    assert!(document["paths"]["/api/score/v1/models/mnist:predict"].is_null());
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
        // Neither are their bodies components, nor do they score rows.
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

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_need_a_models_name_have_it_in_the_plain_document() {
    let app = AppRoot::new();
    for name in ["one", "two"] {
        app.link_model(name, &repository().join("tests/data/text/tiny"));
    }
    let host = in_process::start(&app, []).await;
    let answer = host.http("GET", "/api/score/openapi.json", &[], b"").await;
    let document = answer.expect_status(200).json();
    let paths = &document["paths"];
    for name in ["embed", "tokenize", "info"] {
        assert_eq!(paths[format!("/api/score/{name}")], Value::Null, "{name}");
        assert!(
            paths[format!("/api/score/two/{name}")].is_object(),
            "{name}"
        );
    }
    assert!(paths["/api/score/skill/one"].is_object());
    assert!(paths["/api/score/v1/embeddings"].is_object());
}
