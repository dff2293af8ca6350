//! Azurite's queues, the official Queue Storage SDK, and the host's listener in between.

use serde_json::{Value, json};

use super::azurite::Azurite;
use super::encoding::base64;
use super::host::FunctionsHost;
use super::invoke::Transport;
use super::outputs::{OutputValue, guess_base64};
use super::python::{PythonProcess, text};
use super::storage_queue::QueueMessage;

/// The official SDK in a process of its own.
#[derive(Debug)]
pub struct QueueClient(PythonProcess);

/// How a sender's client writes a body into the queue, which holds text alone.
#[derive(Clone, Copy, Debug)]
pub enum Encoding {
    /// As it is: what today's clients do without being told.
    Plain,
    /// A text in base64.
    Base64Text,
    /// Bytes in base64.
    Base64Bytes,
}

impl QueueClient {
    /// A client of Azurite's Queue service.
    pub fn of(storage: &Azurite) -> Self {
        let port = storage.port().to_string();
        Self(PythonProcess::start("storage_queue.py", &[port]))
    }

    /// Makes a queue.
    pub fn create(&self, queue: &str) {
        self.0.ask("create", json!({ "queue": queue }));
    }

    /// Sends a message.
    pub fn send(&self, queue: &str, encoding: Encoding, body: &[u8]) {
        let policy = match encoding {
            Encoding::Plain => "plain",
            Encoding::Base64Text => "text",
            Encoding::Base64Bytes => "bytes",
        };
        let request = json!({ "queue": queue, "body": base64(body), "policy": policy });
        self.0.ask("send", request);
    }

    /// Texts of all messages, which are taken out.
    pub fn take(&self, queue: &str) -> Vec<String> {
        std::iter::from_fn(|| self.receive(queue))
            .inspect(|message| self.delete(queue, message))
            .map(|message| text(&message, "text").expect("a text"))
            .collect()
    }

    fn receive(&self, queue: &str) -> Option<Value> {
        let message = self.0.ask("receive", json!({ "queue": queue }));
        (!message.is_null()).then_some(message)
    }

    fn delete(&self, queue: &str, message: &Value) {
        let (id, receipt) = (&message["id"], &message["pop_receipt"]);
        let request = json!({ "queue": queue, "id": id, "pop_receipt": receipt });
        self.0.ask("delete", request);
    }
}

impl FunctionsHost {
    /// Takes one message of a function's queue as the host does and writes the outputs. What is not in base64, where
    /// host.json does not say `"messageEncoding": "none"`, goes to the poison queue: the handler never sees it.
    ///
    /// # Errors
    ///
    /// Why the invocation failed.
    pub async fn listen_stored(&self, client: &QueueClient, function: &str) -> Result<(), String> {
        let declared = self.config().function(function).expect("a function");
        let queue = self
            .config()
            .resolve(declared.trigger().setting("queueName"))?;
        let stored = client.receive(&queue).expect("a message");
        let sent = text(&stored, "text").expect("a text");
        let plain = self.config().text("/queues/messageEncoding") == Some("none");
        let body = match plain {
            true => Some(sent.clone().into_bytes()),
            false => guess_base64(&sent),
        };
        let Some(body) = body else {
            client.send(&format!("{queue}-poison"), Encoding::Plain, sent.as_bytes());
            client.delete(&queue, &stored);
            return Ok(());
        };
        let message = QueueMessage {
            id: text(&stored, "id").expect("an id"),
            dequeue_count: stored["dequeue_count"].as_i64().expect("a number"),
            ..QueueMessage::new(body)
        };
        let outcome = self.deliver_stored(function, &message, Transport::Chunked);
        let outcome = outcome.await?;
        assert_eq!(outcome.ignored, [""; 0], "outputs that the host would drop");
        for output in declared.outputs() {
            let queue = self.config().resolve(output.setting("queueName"))?;
            if let Some(OutputValue::Messages(bodies)) = outcome.outputs.get(&output.name) {
                let encoding = match plain {
                    true => Encoding::Plain,
                    false => Encoding::Base64Bytes,
                };
                bodies
                    .iter()
                    .for_each(|body| client.send(&queue, encoding, body));
            }
        }
        client.delete(&queue, &stored);
        Ok(())
    }
}
