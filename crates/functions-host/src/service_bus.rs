//! A Service Bus broker, its official SDK, and the host's listener in between.

use serde_json::{Value, json};

use super::encoding::base64;
use super::host::FunctionsHost;
use super::host_config::{Binding, Function};
use super::invoke::{InvocationOutcome, Transport};
use super::outputs::OutputValue;
use super::port;
use super::python::{PythonProcess, bytes, text, without_nulls};
use super::triggers::ServiceBusMessage;

/// How long a message that is on its way may take.
const PATIENCE_S: u32 = 20;

/// A running broker; it ends when dropped.
#[derive(Debug)]
pub struct ServiceBus {
    port: u16,
    _broker: PythonProcess,
}

impl ServiceBus {
    /// Starts a broker with the given `topic/subscription`s; queues come into being when they are named.
    pub fn start(subscriptions: &[&str]) -> Self {
        let port = port::free();
        let mut arguments = vec![port.to_string()];
        arguments.extend(subscriptions.iter().map(ToString::to_string));
        let broker = PythonProcess::start("broker.py", &arguments);
        assert_eq!(broker.read_line(), "listening");
        Self {
            port,
            _broker: broker,
        }
    }

    /// A new client with connections of its own.
    pub fn client(&self) -> ServiceBusClient {
        ServiceBusClient(PythonProcess::start(
            "service_bus.py",
            &[self.port.to_string()],
        ))
    }
}

/// The official SDK in a process of its own.
#[derive(Debug)]
pub struct ServiceBusClient(PythonProcess);

/// A message that is locked until it is settled.
#[derive(Clone, Debug)]
pub struct LockedMessage {
    lock: String,
    /// As the host sees it.
    pub message: ServiceBusMessage,
}

impl ServiceBusClient {
    /// Sends messages one by one to a queue or topic.
    pub fn send(&self, to: &str, messages: &[ServiceBusMessage]) {
        self.send_as(to, messages, false);
    }

    /// Sends messages together.
    pub fn send_batch(&self, to: &str, messages: &[ServiceBusMessage]) {
        self.send_as(to, messages, true);
    }

    fn send_as(&self, to: &str, messages: &[ServiceBusMessage], batch: bool) {
        let messages: Vec<Value> = messages.iter().map(for_sdk).collect();
        let request = json!({ "to": to, "messages": messages, "batch": batch });
        self.0.ask("send", request);
    }

    /// Locks up to `limit` messages of `queue`, `queue/$deadletterqueue` or `topic/subscriptions/name`.
    ///
    /// # Panics
    ///
    /// If none comes in time.
    pub fn receive(&self, queue: &str, limit: usize) -> Vec<LockedMessage> {
        let found = self.receive_within(queue, limit, PATIENCE_S);
        assert!(!found.is_empty(), "no message in {queue}");
        found
    }

    fn receive_within(&self, queue: &str, limit: usize, wait_s: u32) -> Vec<LockedMessage> {
        let request = json!({ "queue": queue, "limit": limit, "wait_s": wait_s });
        let found = self.0.ask("receive", request);
        found
            .as_array()
            .expect("messages")
            .iter()
            .map(from_sdk)
            .collect()
    }

    /// Takes `count` messages away and returns them in their order.
    ///
    /// # Panics
    ///
    /// If they do not come in time.
    pub fn take(&self, queue: &str, count: usize) -> Vec<ServiceBusMessage> {
        let mut taken = Vec::new();
        while taken.len() < count {
            for found in self.receive(queue, count - taken.len()) {
                self.complete(&found);
                taken.push(found.message);
            }
        }
        taken
    }

    /// The same for messages of JSON.
    pub fn take_json(&self, queue: &str, count: usize) -> Vec<Value> {
        let taken = self.take(queue, count);
        let parse = |message: &ServiceBusMessage| serde_json::from_slice(&message.body);
        taken
            .iter()
            .map(|message| parse(message).expect("JSON"))
            .collect()
    }

    /// Checks that nothing more comes for a second.
    pub fn expect_empty(&self, queue: &str) {
        let found = self.receive_within(queue, 1, 1);
        assert!(found.is_empty(), "{queue} has {found:?}");
    }

    /// Removes a message for good.
    pub fn complete(&self, locked: &LockedMessage) {
        self.0.ask("complete", json!({ "lock": locked.lock }));
    }

    /// Gives a message back.
    pub fn abandon(&self, locked: &LockedMessage) {
        self.0.ask("abandon", json!({ "lock": locked.lock }));
    }

    /// Puts a message aside.
    pub fn dead_letter(&self, locked: &LockedMessage, reason: &str) {
        let request = json!({ "lock": locked.lock, "reason": reason });
        self.0.ask("dead_letter", request);
    }
}

impl FunctionsHost {
    /// Delivers the next message of a function, or several for cardinality many: writes the outputs and completes
    /// them, or abandons them. Returns how many there were.
    ///
    /// # Errors
    ///
    /// Why the invocation failed.
    pub async fn listen(&self, client: &ServiceBusClient, function: &str) -> Result<usize, String> {
        let declared = self.config().function(function).expect("a function");
        let limit = match declared.trigger().setting("cardinality") {
            "many" => 16,
            _ => 1,
        };
        let locked = client.receive(&entity(declared.trigger()), limit);
        let messages: Vec<ServiceBusMessage> =
            locked.iter().map(|found| found.message.clone()).collect();
        match self.deliver(function, &messages, Transport::Chunked).await {
            Ok(outcome) => {
                write(client, declared, &outcome);
                locked.iter().for_each(|found| client.complete(found));
                Ok(locked.len())
            }
            Err(error) => {
                locked.iter().for_each(|found| client.abandon(found));
                Err(error)
            }
        }
    }
}

fn write(client: &ServiceBusClient, function: &Function, outcome: &InvocationOutcome) {
    assert_eq!(outcome.ignored, [""; 0], "outputs that the host would drop");
    for output in function.outputs() {
        if let Some(OutputValue::Messages(bodies)) = outcome.outputs.get(&output.name) {
            let messages: Vec<_> = bodies.iter().map(|body| written(body)).collect();
            client.send(&entity(output), &messages);
        }
    }
}

fn written(body: &[u8]) -> ServiceBusMessage {
    ServiceBusMessage {
        content_type: Some("text/plain".to_owned()),
        ..ServiceBusMessage::new(body)
    }
}

/// The queue, topic or subscription of a binding.
fn entity(binding: &Binding) -> String {
    match (
        binding.setting("queueName"),
        binding.setting("topicName"),
        binding.setting("subscriptionName"),
    ) {
        ("", topic, "") => topic.to_owned(),
        ("", topic, subscription) => format!("{topic}/subscriptions/{subscription}"),
        (queue, _, _) => queue.to_owned(),
    }
}

fn for_sdk(message: &ServiceBusMessage) -> Value {
    without_nulls(json!({
        "body": base64(&message.body),
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "content_type": message.content_type,
        "application_properties": message.application_properties,
    }))
}

fn from_sdk(found: &Value) -> LockedMessage {
    let properties = found["application_properties"].as_object();
    let earlier_deliveries = found["delivery_count"].as_i64().expect("a number");
    LockedMessage {
        lock: text(found, "lock").expect("a lock"),
        message: ServiceBusMessage {
            body: bytes(&found["body"]),
            message_id: text(found, "message_id").expect("an id"),
            correlation_id: text(found, "correlation_id"),
            subject: None,
            content_type: text(found, "content_type"),
            // the host's SDK counts the delivery at hand too
            delivery_count: earlier_deliveries + 1,
            application_properties: properties.cloned().unwrap_or_default(),
            sequence_number: found["sequence_number"].as_i64().unwrap_or(1),
            session_id: None,
        },
    }
}
