//! Long runs, oversized heads, log lines, and what is shipped.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};

use super::{JSON, app_with, test_model};
use crate::support::app_root::{function_folders, repository};
use crate::support::funcignore::packed_files;
use crate::support::in_process;
use crate::support::redis::{RedisOptions, RedisServer};
use functions_host::PATIENCE;
use functions_host::host::{FunctionsHost, HostOptions, Mode};
use functions_host::host_config::{Function, read_json};
use functions_host::http1::{self, RawConnection};
use functions_host::invoke::{InvocationOutcome, Transport};
use functions_host::triggers::{BlobEvent, ServiceBusMessage};

/// Requests that one connection can carry one after the other, with the status of their answers.
fn mixed_requests(number: usize, port: u16) -> (Vec<u8>, u16) {
    let own = format!("127.0.0.1:{port}");
    let request = |method: &str, path: &str, body: &[u8]| {
        let length = body.len().to_string();
        let headers = [JSON, ("Host", &own), ("Content-Length", &length)];
        [&http1::head(method, path, &headers), body].concat()
    };
    let chunked = |path: &str, body: &[u8]| {
        let headers = [JSON, ("Host", &own), ("Transfer-Encoding", "chunked")];
        [http1::head("POST", path, &headers), http1::chunked(body)].concat()
    };
    // A few of them known already, most of them new.
    let body = json!({ "data": [[number % 1000, 0, 1]] }).to_string();
    let call = json!({ "Data": { "req": {
        "Url": "https://app.example/api/score", "Method": "POST", "Headers": {}, "Body": body,
    }}, "Metadata": {} });
    match number % 8 {
        0 => (request("GET", "/", b""), 200),
        1 => (request("POST", "/api/score", body.as_bytes()), 200),
        2 => (chunked("/api/score/affine", body.as_bytes()), 200),
        3 => (chunked("/score_http", call.to_string().as_bytes()), 200),
        4 => (request("POST", "/api/score", br#"{"data":[[1]]}"#), 400),
        5 => (request("GET", "/api/nope", b""), 404),
        6 => (request("PUT", "/api/score", body.as_bytes()), 405),
        _ => (request("GET", "/api/score/metrics", b""), 200),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r01_connections_stay_good_for_20_000_requests_and_70_idle_seconds() {
    const CONNECTIONS: usize = 50;
    const REQUESTS: usize = 10_000;
    let host = FunctionsHost::start(&app_with("affine"), []).await;
    let opening = (0..CONNECTIONS).map(|_| RawConnection::open(host.port()));
    let connections = futures_util::future::try_join_all(opening).await.unwrap();
    let run = async |round: usize| {
        let connections = connections
            .iter()
            .enumerate()
            .map(async |(first, connection)| {
                for number in (first..REQUESTS).step_by(CONNECTIONS) {
                    let (request, status) = mixed_requests(round + number, host.port());
                    connection.send(&request).await.unwrap();
                    let response = connection.read_response(false).await;
                    let response = response.unwrap_or_else(|error| panic!("{number}: {error}"));
                    assert_eq!(response.answer.status, status, "{number}");
                    assert!(response.keeps_alive, "{number}");
                }
            });
        futures_util::future::join_all(connections).await;
    };
    run(0).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert!(connections.iter().all(RawConnection::is_idle));
    run(1).await;
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn r02_heads_of_40_kb_are_refused_and_their_connections_closed() {
    let host = FunctionsHost::start(&app_with("affine"), []).await;
    let long = "a".repeat(40_000);
    let path = format!("/api/score/{long}");
    let query = format!("/api/score?a={long}");
    let numbered: Vec<(String, String)> = (0..80)
        .map(|number| (format!("X-{number}"), "a".repeat(500)))
        .collect();
    let many: Vec<(&str, &str)> = numbered.iter().map(|(n, v)| (&**n, &**v)).collect();
    for (what, target, headers) in [
        ("path", &*path, &[][..]),
        ("query", &query, &[]),
        ("header", "/api/score", &[("X-Long", &*long)]),
        ("headers", "/api/score", &many),
    ] {
        let headers = [&[("Host", "x")], headers].concat();
        let connection = RawConnection::open(host.port()).await.unwrap();
        let head = http1::head("GET", target, &headers);
        connection.send(&head).await.unwrap();
        let response = connection.read_response(false).await.unwrap();
        assert_eq!(response.answer.status, 431, "{what}");
        assert!(connection.is_closed_within(PATIENCE).await, "{what}");
    }
    // Longer than anything that is read at all.
    let endless = "a".repeat(1 << 20);
    let connection = RawConnection::open(host.port()).await.unwrap();
    let head = http1::head("GET", "/", &[("Host", "x"), ("X-Long", &endless)]);
    // It stops reading, so that sending may fail.
    let _ = connection.send(&head).await;
    assert!(connection.is_closed_within(PATIENCE).await);

    let body = br#"{"data":[[1,2,3]]}"#;
    let answer = host.http("POST", "/api/score", &[JSON], body).await;
    assert_eq!(answer.expect_status(200).text(), "[[3.0,5.0,7.0]]");
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_log_lines_are_whole_plain_and_free_of_secrets() {
    let redis = RedisServer::start_with(RedisOptions::default().password("s3cret-password")).await;
    let line_form = Regex::new(r"^\d{4}-\d\d-\d\dT[\d:.]+Z +(DEBUG|INFO|WARN|ERROR) \S").unwrap();
    for format in ["text", "json"] {
        let app = app_with("slow");
        app.add_model("affine", test_model("affine"), None);
        app.write("models/bad/model.onnx", "s3cret-model\nno model at all");
        let options = HostOptions::default()
            .core_tools()
            .setting("SCORE_LOG", format)
            .setting("SCORE_LOG_FILTER", "debug")
            .setting("SCORE_DEFAULT_MODEL", "affine")
            .setting("SCORE_L1_BYTES", "0")
            .setting("REDIS_URL", redis.url());
        let host = FunctionsHost::start(&app, options).await;
        host.wait_for_log("redis connected", PATIENCE).await;
        let mut ids = every_kind_of_request(&host).await;
        // An outage and its end are events too.
        redis.pause();
        ids.extend(every_kind_of_request(&host).await);
        host.wait_for_log("redis does not answer", PATIENCE).await;
        redis.resume();
        host.wait_for_log("redis (answers again|connected)", PATIENCE)
            .await;
        for id in &ids {
            host.wait_for_log(id, PATIENCE).await;
        }
        host.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(host.wait_exit(PATIENCE).await.code(), Some(0));

        let lines = host.logs();
        for line in &lines {
            let text = &line.text;
            let level = match format {
                "text" => {
                    let found = line_form.captures(text);
                    found.unwrap_or_else(|| panic!("not a whole line: {text}"))[1].to_owned()
                }
                _ => {
                    let event: Value = serde_json::from_str(text).expect("a JSON line");
                    event["level"].as_str().unwrap().to_owned()
                }
            };
            assert_eq!(line.is_stderr, level == "ERROR", "{text}");
            assert!(!text.contains("s3cret"), "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
            if text.contains("summary") {
                continue;
            }
            let is_of_a_request = text.contains("scored") || text.contains("request");
            let has_id = ids.iter().any(|id| text.contains(id));
            assert_eq!(is_of_a_request, has_id, "{text}");
        }
        for id in &ids {
            let found = lines.iter().filter(|line| line.text.contains(id));
            assert_eq!(found.count(), 1, "{id}");
        }
        assert!(!host.error_logs().is_empty(), "the bad model is an error");
    }
}

/// Sends requests with secrets in all places that are the caller's; returns the ids of those that have a log line.
async fn every_kind_of_request(host: &FunctionsHost) -> Vec<String> {
    let good = br#"{"data":[[1,2,3]],"note":"s3cret-value"}"#;
    let headers = [
        JSON,
        ("x-functions-key", "s3cret-key"),
        ("authorization", "Bearer s3cret-token"),
        ("cookie", "session=s3cret-cookie"),
        ("accept", "s3cret/type"),
        ("x-azure-functions-invocationid", "s3cret-id"),
    ];
    let other_type = ("content-type", "application/s3cret");
    let mut ids = Vec::new();
    for mode in Mode::ALL {
        for (path, headers, body) in [
            ("affine", &headers[..], &good[..]),
            ("affine", &headers, br#"{"data":[["s3cret-value"]]}"#),
            ("affine", &headers, br#"{"s3cret-member":1}"#),
            ("affine", &headers, b"s3cret"),
            ("affine", &headers, b"\xff\n\x1b[31ms3cret"),
            ("affine", &[other_type], b"s3cret"),
            ("affine", &headers, &[b' '; 34 << 20]),
            ("bad", &headers, good),
            ("none", &headers, good),
            ("a%0Ab", &headers, good),
            ("metrics", &headers, good),
        ] {
            let path = format!("/api/score/{path}?code=s3cret-code&a=s3cret");
            let answer = host.http_by(mode, "POST", &path, headers, body).await;
            assert_eq!(answer.host_error, None, "{path}");
            ids.push(answer.invocation_id);
        }
        let path = "/api/score?code=s3cret-code";
        let described = host.http_by(mode, "GET", path, &headers, b"").await;
        described.expect_status(200);
    }
    for data in [
        json!({}),
        json!({ "req": "s3cret" }),
        json!({ "s3cret": {} }),
    ] {
        let answer = host
            .post_envelope("score_http", data, json!("s3cret"), Transport::Chunked)
            .await;
        ids.push(answer.unwrap().expect_status(400).invocation_id);
    }
    ids
}

/// All files below the repository as a publish sees them, `bin` as a build leaves it, and some that must stay at home.
fn files() -> Vec<String> {
    let root = repository();
    let planted = [
        "bin/handler",
        "bin/libonnxruntime.so.1",
        "target/release/handler",
        ".env",
        ".azure/credentials.json",
        "score_http/local.settings.json",
        "deploy/parameters.json",
    ];
    let mut files = BTreeSet::from(planted.map(str::to_owned));
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            if name == ".git" || name.starts_with("target/") || name.starts_with("bin/.") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(name.to_owned());
            }
        }
    }
    files.into_iter().collect()
}

#[test]
fn r04_a_package_holds_the_app_with_an_executable_handler_and_nothing_else() {
    let packed = packed_files(&repository(), &files());
    let names: Vec<&str> = packed.iter().map(|(name, _)| name.as_str()).collect();
    let functions: Vec<String> = function_folders(&repository())
        .iter()
        .map(|folder| format!("{}/function.json", name_of(folder)))
        .collect();
    let fixed = [
        "host.json",
        "bin/handler",
        "bin/libonnxruntime.so.1",
        "models/mnist/model.onnx",
    ];
    for needed in fixed
        .into_iter()
        .chain(functions.iter().map(String::as_str))
    {
        assert!(names.contains(&needed), "{needed} is left out");
    }
    for name in &names {
        let expected = *name == "host.json"
            || functions.iter().any(|function| function == name)
            || *name == "bin/handler"
            || name.starts_with("bin/libonnxruntime.")
            || name.starts_with("models/");
        assert!(expected, "{name} would be shipped");
    }
    let executable: Vec<&str> = packed
        .iter()
        .filter(|(_, mode)| mode & 0o111 != 0)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(executable, ["bin/handler"]);
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}

/// What is wrong with a document by one of the schemas in `tests/data/schemas`, or by a definition in it.
pub(crate) fn mistakes(document: &Value, schema: &str, definition: Option<&str>) -> Vec<String> {
    let file = repository().join("tests/data/schemas").join(schema);
    let mut schema = read_json(&file);
    if let Some(name) = definition {
        schema["$ref"] = format!("#/definitions/{name}").into();
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors = validator.iter_errors(document);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn r05_configuration_files_pass_their_schemas() {
    let root = repository();
    let mut host = read_json(&root.join("host.json"));
    // SchemaStore's catalogue knows these two of the extensions' version 4 only.
    for name in ["serviceBus", "blobs"] {
        let extensions = host["extensions"].as_object_mut().unwrap();
        if let Some(settings) = extensions.remove(name) {
            let found = mistakes(&settings, "extensions-5.json", Some(name));
            assert_eq!(found, [""; 0], "host.json, {name}");
        }
    }
    // A newer host's switch, which the catalogue does not know either; an older host ignores it.
    let custom = host["customHandler"].as_object_mut().unwrap();
    assert_eq!(
        custom.remove("enableProxyingHttpRequest"),
        Some(true.into())
    );
    assert_eq!(mistakes(&host, "host.json", None), [""; 0]);
    let local = read_json(&root.join("local.settings.json"));
    assert_eq!(mistakes(&local, "local.settings.json", None), [""; 0]);
    let functions = function_folders(&root);
    assert!(!functions.is_empty());
    for folder in functions {
        let function = read_json(&folder.join("function.json"));
        let found = mistakes(&function, "function.json", None);
        assert_eq!(found, [""; 0], "{}", folder.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_the_handler_knows_every_function_and_the_names_of_its_bindings() {
    let host = in_process::start(&app_with("affine"), []).await;
    assert!(!host.config().functions.is_empty());
    for function in &host.config().functions {
        let outcome = called(&host, function).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", function.name));
        assert!(!outcome.outputs.is_empty(), "{}", function.name);
        assert_eq!(outcome.ignored, [""; 0], "{}: no binding", function.name);
    }
}

/// What a function makes of something that it can only refuse, in the envelope of its trigger.
async fn called(host: &FunctionsHost, function: &Function) -> Result<InvocationOutcome, String> {
    let (name, trigger) = (&*function.name, function.trigger());
    match &*trigger.kind {
        "httpTrigger" => {
            let request = json!({ "Url": "https://app.example/api/score", "Method": "POST" });
            let data = json!({ &trigger.name: request });
            host.invoke(name, data, json!({}), Transport::Chunked).await
        }
        "serviceBusTrigger" => {
            let message = ServiceBusMessage::new("no request");
            host.deliver(name, &[message], Transport::Chunked).await
        }
        "blobTrigger" => {
            let event = BlobEvent::new("incoming/a.json", "no request");
            host.blob(name, &event, Transport::Chunked).await
        }
        other => panic!("{name}: no test knows how to call a {other}"),
    }
}
