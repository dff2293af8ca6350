//! Everything outside the host that messages and blobs come from and go to, and the host's writing to it.

use super::blob_store::{BlobStore, fill_path};
use super::broker::Broker;
use super::host_config::{Binding, Function, HostConfig};
use super::invoke::InvocationOutcome;
use super::outputs::OutputValue;
use super::storage_queue::StorageQueues;
use super::triggers::ServiceBusMessage;

/// A Service Bus namespace and a storage account; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// The namespace.
    pub broker: Broker,
    /// The account's queues.
    pub queues: StorageQueues,
    /// The account's containers.
    pub blobs: BlobStore,
}

impl Cloud {
    /// Writes an invocation's outputs; `placeholders` are the values of `{name}` in paths.
    ///
    /// # Errors
    ///
    /// Why a write failed; those before it are done.
    pub fn write(
        &self,
        config: &HostConfig,
        function: &Function,
        outcome: &InvocationOutcome,
        placeholders: &[(String, String)],
    ) -> Result<(), String> {
        for binding in function.outputs() {
            let Some(value) = outcome.outputs.get(&binding.name) else {
                continue;
            };
            self.write_one(config, binding, value, placeholders)
                .map_err(|error| format!("output {}: {error}", binding.name))?;
        }
        Ok(())
    }

    fn write_one(
        &self,
        config: &HostConfig,
        binding: &Binding,
        value: &OutputValue,
        placeholders: &[(String, String)],
    ) -> Result<(), String> {
        match value {
            OutputValue::Http(_) => Ok(()),
            OutputValue::Blob(content) => self.write_blob(config, binding, content, placeholders),
            OutputValue::Unwritable(reason) => {
                self.write_blob(config, binding, b"", placeholders)?;
                Err(reason.clone())
            }
            OutputValue::Messages(bodies) => {
                let queue = match binding.setting("queueName") {
                    "" => binding.setting("topicName"),
                    queue => queue,
                };
                let queue = config.resolve(queue)?;
                let mut bodies = bodies.iter().cloned();
                match binding.kind.as_str() {
                    "queue" => bodies.try_for_each(|body| self.queues.put(&queue, body)),
                    _ => bodies.try_for_each(|body| self.broker.send(&queue, written(body))),
                }
            }
        }
    }

    fn write_blob(
        &self,
        config: &HostConfig,
        binding: &Binding,
        content: &[u8],
        placeholders: &[(String, String)],
    ) -> Result<(), String> {
        let template = config.resolve(binding.setting("path"))?;
        let path = fill_path(&template, placeholders)?;
        self.blobs.put(&path, content);
        Ok(())
    }
}

/// A message as the host's output binding sends it.
fn written(body: Vec<u8>) -> ServiceBusMessage {
    ServiceBusMessage {
        content_type: Some("text/plain".to_owned()),
        ..ServiceBusMessage::new(body)
    }
}
