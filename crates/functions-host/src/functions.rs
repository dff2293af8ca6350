//! Function folders for every kind of trigger, and the queues they are bound to.

use serde_json::{Value, json};

use super::app_folder::AppFolder;
use super::broker::EntityOptions;
use super::cloud::Cloud;

/// Queues without sessions that the functions read or write.
const QUEUES: [&str; 5] = ["messages", "texts", "batches", "results", "rejected"];

/// Writes `scoreMessage`, `scoreText`, `scoreBatch`, `scoreTopic`, `scoreSession`, `scoreStored` and `scoreBlob`.
///
/// Service Bus functions write to the queues `results` and `rejected`, `scoreStored` to the storage queues
/// `stored-results` and `stored-rejected`, `scoreBlob` to the containers `results` and `rejected`.
pub fn add_functions(app: &AppFolder) {
    let binary = |name: &str, rest: Value| {
        let mut trigger = service_bus("serviceBusTrigger", "in", name, rest);
        trigger["dataType"] = "binary".into();
        trigger
    };
    let text = service_bus(
        "serviceBusTrigger",
        "in",
        "msg",
        json!({"queueName": "texts", "dataType": "string"}),
    );
    let batch = json!({"queueName": "batches", "cardinality": "many"});
    let topic = json!({"topicName": "requests", "subscriptionName": "scorer"});
    let session = json!({"queueName": "sessions", "isSessionsEnabled": true});
    let queues = [("result", "results"), ("rejected", "rejected")]
        .map(|(name, queue)| service_bus("serviceBus", "out", name, json!({"queueName": queue})));
    let triggers = [
        (
            "scoreMessage",
            binary("msg", json!({"queueName": "messages"})),
        ),
        ("scoreText", text),
        ("scoreBatch", binary("msgs", batch)),
        ("scoreTopic", binary("msg", topic)),
        ("scoreSession", binary("msg", session)),
    ];
    for (name, trigger) in triggers {
        write(app, name, json!([trigger, queues[0], queues[1]]));
    }
    let storage = |kind: &str, direction: &str, name: &str, place: (&str, &str)| {
        json!({"type": kind, "direction": direction, "name": name, place.0: place.1,
            "connection": "AzureWebJobsStorage"})
    };
    let stored = json!([
        storage("queueTrigger", "in", "msg", ("queueName", "stored")),
        storage("queue", "out", "result", ("queueName", "stored-results")),
        storage("queue", "out", "rejected", ("queueName", "stored-rejected")),
    ]);
    write(app, "scoreStored", stored);
    let mut trigger = storage("blobTrigger", "in", "blob", ("path", "inbox/{name}"));
    trigger["source"] = "EventGrid".into();
    let blob = json!([
        trigger,
        storage("blob", "out", "scored", ("path", "results/{name}.json")),
        storage("blob", "out", "rejected", ("path", "rejected/{name}.json")),
    ]);
    write(app, "scoreBlob", blob);
}

/// A cloud with all queues and topics that the functions of [`add_functions`] are bound to.
pub fn cloud(options: EntityOptions) -> Cloud {
    let cloud = Cloud::default();
    for queue in QUEUES {
        cloud.broker.create_queue(queue, options);
    }
    cloud.broker.create_queue("sessions", options.sessions());
    cloud.broker.create_topic("requests", &["scorer"], options);
    cloud
}

fn service_bus(kind: &str, direction: &str, name: &str, rest: Value) -> Value {
    let mut binding = json!({"type": kind, "direction": direction, "name": name,
        "connection": "ServiceBusConnection"});
    let members = binding.as_object_mut().expect("an object");
    members.extend(rest.as_object().expect("an object").clone());
    binding
}

fn write(app: &AppFolder, name: &str, bindings: Value) {
    let file = json!({ "bindings": bindings }).to_string();
    app.write(&format!("{name}/function.json"), file);
}
