//! The app that the real host ran while it was recorded.

use serde_json::{Value, json};

use super::app_folder::AppFolder;

/// The functions that the recorded app had: folder, and bindings in short.
pub fn bindings() -> Vec<(&'static str, Value)> {
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
