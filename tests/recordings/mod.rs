//! The stand-in for the Functions host, and the handler, held to recordings of a real host (`tests/data/recorded`).
//!
//! - [`http`]: a caller's request goes into the stand-in; compared is what the handler and what the caller get
//! - [`triggers`]: a message or blob goes in; compared is what the handler gets and what comes out
//! - [`lifecycle`]: retries, crashes, ends
//! - [`turned_round`]: what a host sent goes to the handler itself, whose answers are judged by the host's rules

mod http;
mod lifecycle;
mod triggers;
mod turned_round;

use serde_json::{Value, json};

use crate::support::app_root::AppRoot;
use crate::support::host::{FunctionsHost, HostOptions};
use crate::support::port;
use crate::support::recorder::Recorder;
use crate::support::recording::{Recording, Request};

/// The functions that the recorded app had: folder, and bindings in short.
fn bindings() -> Vec<(&'static str, Value)> {
    let service_bus = |queue: &str, rest: Value| {
        let mut trigger = json!({"type": "serviceBusTrigger", "direction": "in", "name": "message", "queueName": queue,
            "connection": "ServiceBusConnection", "dataType": "binary"});
        let members = trigger.as_object_mut().unwrap();
        members.extend(rest.as_object().unwrap().clone());
        trigger
    };
    let to_queue = |kind: &str, name: &str, queue: &str| {
        json!({"type": kind, "direction": "out", "name": name,
        "queueName": queue, "connection": "Connection"})
    };
    let results = || to_queue("serviceBus", "result", "score-results");
    let rejected = || to_queue("serviceBus", "rejected", "score-rejected");
    let stored = |queue: &str, data_type: Value| {
        json!({"type": "queueTrigger", "direction": "in", "name": "message",
        "queueName": queue, "connection": "AzureWebJobsStorage", "dataType": data_type})
    };
    let out_blob = |name: &str, path: &str| {
        json!({"type": "blob", "direction": "out", "name": name, "path": path,
        "connection": "AzureWebJobsStorage"})
    };
    let topic = service_bus(
        "",
        json!({"topicName": "score-topic", "subscriptionName": "scorer"}),
    );
    let http = json!({"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "function",
        "methods": ["get", "post"], "route": "score/{*path}"});
    let blob = json!({"type": "blobTrigger", "direction": "in", "name": "blob", "path": "incoming/{name}",
        "connection": "AzureWebJobsStorage", "source": "EventGrid", "dataType": "binary"});
    vec![
        (
            "score-http",
            json!([http, {"type": "http", "direction": "out", "name": "res"}]),
        ),
        (
            "score-queue",
            json!([service_bus("score", json!({})), results(), rejected()]),
        ),
        (
            "score-queue-string",
            json!([
                service_bus("score-string", json!({"dataType": "string"})),
                results(),
                rejected()
            ]),
        ),
        (
            "score-many",
            json!([
                service_bus("score-many", json!({"cardinality": "many"})),
                results(),
                rejected()
            ]),
        ),
        ("score-topic", json!([topic, results(), rejected()])),
        (
            "score-storage-queue",
            json!([
                stored("sq-string", Value::Null),
                to_queue("queue", "result", "sq-results"),
                to_queue("queue", "rejected", "sq-rejected")
            ]),
        ),
        (
            "score-storage-queue-binary",
            json!([
                stored("sq-binary", "binary".into()),
                to_queue("queue", "result", "sq-results"),
                to_queue("queue", "rejected", "sq-rejected")
            ]),
        ),
        (
            "score-blob",
            json!([
                blob,
                out_blob("scored", "scored/{name}.json"),
                out_blob("rejected", "rejected/{name}.json")
            ]),
        ),
        (
            "out-blob",
            json!([
                stored("sq-blob", "binary".into()),
                out_blob("scored", "outblob/out.bin")
            ]),
        ),
        (
            "ret-sb",
            json!([
                service_bus("score-ret", json!({})),
                to_queue("serviceBus", "$return", "score-results")
            ]),
        ),
        (
            "ret-queue",
            json!([
                stored("sq-ret", "binary".into()),
                to_queue("queue", "$return", "sq-results")
            ]),
        ),
        (
            "ret-blob",
            json!([
                stored("sq-retblob", "binary".into()),
                out_blob("$return", "outblob/out.bin")
            ]),
        ),
    ]
}

/// An app as the recorded one, whose process is a shell that ends with the code that a signal names.
fn app(mode: &str, settings: &Value) -> AppRoot {
    let app = AppRoot::bare();
    let mut host = json!({
        "version": "2.0",
        "functionTimeout": "00:05:00",
        "customHandler": {
            "description": {"defaultExecutablePath": "sh", "arguments": ["bin/process.sh"]},
            "enableForwardingHttpRequest": mode != "envelope",
            "enableProxyingHttpRequest": mode == "proxying",
        },
        "extensions": {"queues": {"maxDequeueCount": 1}},
    });
    for (name, value) in settings.as_object().into_iter().flatten() {
        let Some(place) = name.strip_prefix("extensions.") else {
            continue;
        };
        let (section, name) = place.split_once('.').unwrap();
        host["extensions"][section][name] = value.clone();
    }
    if settings.get("functionTimeout").is_some() {
        // Five seconds in the recording.
        host["functionTimeout"] = "00:00:01".into();
    }
    app.write("host.json", host.to_string());
    app.write(
        "bin/process.sh",
        "trap 'exit 0' USR1; trap 'exit 200' USR2; trap 'exit 1' ALRM\nwhile :; do sleep 0.01; done\n",
    );
    for (name, bindings) in bindings() {
        app.write(
            &format!("{name}/function.json"),
            json!({ "bindings": bindings }).to_string(),
        );
    }
    app
}

/// A host with this app, and the handler that it talks to.
async fn start(recording: &Recording, mode: &str) -> (FunctionsHost, Recorder) {
    let settings = recording.member("settings");
    let port = port::free();
    let recorder = Recorder::start(port, recording.replies()).await;
    let mut options = HostOptions::default().port(port).key("FK");
    if settings["FUNCTIONS_CORETOOLS_ENVIRONMENT"] == "true" {
        options = options.core_tools();
    }
    let host = FunctionsHost::start(&app(mode, settings), options).await;
    (host, recorder)
}

fn masked(requests: &[Request]) -> Vec<Request> {
    requests.iter().map(Request::masked).collect()
}

/// Readable where requests differ.
fn shown(requests: &[Request]) -> Vec<(String, Vec<String>, String)> {
    let shown = |request: &Request| {
        let body = String::from_utf8_lossy(&request.body);
        (
            request.head.replace("\r\n", " | "),
            request.chunks.clone(),
            body.chars().take(4000).collect(),
        )
    };
    requests.iter().map(shown).collect()
}

fn assert_requests(case: &str, got: &[Request], recorded: &[Request]) -> Result<(), String> {
    let (got, recorded) = (shown(&masked(got)), shown(&masked(recorded)));
    match got == recorded {
        true => Ok(()),
        false => Err(format!(
            "{case}: the handler got\n  {got:#?}\ninstead of\n  {recorded:#?}"
        )),
    }
}

/// Fails with all faults at once, so that one look tells which cases differ.
fn report(group: &str, cases: usize, faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{group}: {} of {cases} cases differ:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
