//! The app that the real host ran while it was recorded.

use serde_json::{Value, json};

use super::app_folder::AppFolder;

/// The functions that the recorded app had: folder, and bindings in short.
pub fn bindings() -> Vec<(&'static str, Value)> {
    let http = json!({"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "function",
        "methods": ["get", "post"], "route": "score/{*path}"});
    let response = json!({"type": "http", "direction": "out", "name": "res"});
    let mut all = vec![("score-http", json!([http, response]))];
    all.extend(of_service_bus());
    all.extend(of_storage());
    all
}

fn of_service_bus() -> [(&'static str, Value); 5] {
    let results = to_queue("serviceBus", "result", "score-results");
    let rejected = to_queue("serviceBus", "rejected", "score-rejected");
    let scored = |trigger: Value| json!([trigger, results, rejected]);
    let topic = json!({"topicName": "score-topic", "subscriptionName": "scorer"});
    let text = json!({"dataType": "string"});
    let many = json!({"cardinality": "many"});
    let returned = to_queue("serviceBus", "$return", "score-results");
    [
        ("score-queue", scored(service_bus("score", json!({})))),
        (
            "score-queue-string",
            scored(service_bus("score-string", text)),
        ),
        ("score-many", scored(service_bus("score-many", many))),
        ("score-topic", scored(service_bus("", topic))),
        (
            "ret-sb",
            json!([service_bus("score-ret", json!({})), returned]),
        ),
    ]
}

fn of_storage() -> [(&'static str, Value); 6] {
    let blob = json!({"type": "blobTrigger", "direction": "in", "name": "blob", "path": "incoming/{name}",
        "connection": "AzureWebJobsStorage", "source": "EventGrid", "dataType": "binary"});
    let results = to_queue("queue", "result", "sq-results");
    let rejected = to_queue("queue", "rejected", "sq-rejected");
    let scored = to_blob("scored", "scored/{name}.json");
    let refused = to_blob("rejected", "rejected/{name}.json");
    let binary = |queue: &str, output: Value| json!([stored(queue, "binary".into()), output]);
    [
        (
            "score-storage-queue",
            json!([stored("sq-string", Value::Null), results, rejected]),
        ),
        (
            "score-storage-queue-binary",
            json!([stored("sq-binary", "binary".into()), results, rejected]),
        ),
        ("score-blob", json!([blob, scored, refused])),
        (
            "out-blob",
            binary("sq-blob", to_blob("scored", "outblob/out.bin")),
        ),
        (
            "ret-queue",
            binary("sq-ret", to_queue("queue", "$return", "sq-results")),
        ),
        (
            "ret-blob",
            binary("sq-retblob", to_blob("$return", "outblob/out.bin")),
        ),
    ]
}

/// A trigger for messages of Service Bus; members of `rest` replace the usual ones.
fn service_bus(queue: &str, rest: Value) -> Value {
    let mut trigger = json!({"type": "serviceBusTrigger", "direction": "in", "name": "message", "queueName": queue,
        "connection": "ServiceBusConnection", "dataType": "binary"});
    let members = trigger.as_object_mut().unwrap();
    members.extend(rest.as_object().unwrap().clone());
    trigger
}

/// A trigger for messages of a storage queue.
fn stored(queue: &str, data_type: Value) -> Value {
    json!({"type": "queueTrigger", "direction": "in", "name": "message", "queueName": queue,
        "connection": "AzureWebJobsStorage", "dataType": data_type})
}

fn to_queue(kind: &str, name: &str, queue: &str) -> Value {
    json!({"type": kind, "direction": "out", "name": name, "queueName": queue, "connection": "Connection"})
}

fn to_blob(name: &str, path: &str) -> Value {
    json!({"type": "blob", "direction": "out", "name": name, "path": path, "connection": "AzureWebJobsStorage"})
}

/// An app as the recorded one, whose process is a shell that ends at once with the code that a signal names.
///
/// `mode` is `forwarding`, `proxying` or `envelope`; `settings` are the recording's, `extensions.queues.batchSize` among
/// them.
///
/// # Panics
///
/// If a setting of an extension has no name.
pub fn app(mode: &str, settings: &Value) -> AppFolder {
    let app = AppFolder::bare();
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
        let Some(path) = name.strip_prefix("extensions.") else {
            continue;
        };
        let (section, name) = path.split_once('.').unwrap();
        host["extensions"][section][name] = value.clone();
    }
    if settings.get("functionTimeout").is_some() {
        // Five seconds in the recording.
        host["functionTimeout"] = "00:00:01".into();
    }
    app.write("host.json", host.to_string());
    app.write(
        "bin/process.sh",
        "trap 'exit 0' USR1; trap 'exit 200' USR2; trap 'exit 1' ALRM\nwhile :; do sleep 1 >/dev/null 2>&1 & wait; done\n",
    );
    for (name, bindings) in bindings() {
        app.write(
            &format!("{name}/function.json"),
            json!({ "bindings": bindings }).to_string(),
        );
    }
    app
}
