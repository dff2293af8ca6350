//! Storage queues in memory: a message that was read is invisible for a while and comes back unless it is deleted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::encoding::base64;
use super::random;

/// What a message may have in base64, as the host stores it.
const MAX_ENCODED_BYTES: usize = 64 * 1024;

/// The queues of one storage account; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct StorageQueues(Arc<Mutex<BTreeMap<String, Vec<Stored>>>>);

/// A message as it was read.
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// Given by the queue.
    pub id: String,
    /// The exact body.
    pub body: Vec<u8>,
    /// 1 at the first read.
    pub dequeue_count: i64,
    /// Of the latest read; older ones are worth nothing.
    pub pop_receipt: String,
}

#[derive(Debug)]
struct Stored {
    message: QueueMessage,
    visible_from: Instant,
}

impl QueueMessage {
    /// A message read for the first time.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            id: random::guid(),
            body: body.into(),
            dequeue_count: 1,
            pop_receipt: random::guid(),
        }
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl StorageQueues {
    /// Adds a message; the queue is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the message is too large.
    pub fn put(&self, queue: &str, body: impl Into<Vec<u8>>) -> Result<(), String> {
        let message = QueueMessage {
            dequeue_count: 0,
            ..QueueMessage::new(body)
        };
        let size = base64(&message.body).len();
        if size > MAX_ENCODED_BYTES {
            return Err(format!("{queue}: RequestBodyTooLarge: {size} bytes"));
        }
        let stored = Stored {
            message,
            visible_from: Instant::now(),
        };
        let mut queues = self.queues();
        queues.entry(queue.to_owned()).or_default().push(stored);
        Ok(())
    }

    /// Reads the first visible message, which is invisible then.
    pub fn get(&self, queue: &str, invisible: Duration) -> Option<QueueMessage> {
        let now = Instant::now();
        let mut queues = self.queues();
        let mut messages = queues.get_mut(queue)?.iter_mut();
        let found = messages.find(|stored| stored.visible_from <= now)?;
        found.visible_from = now + invisible;
        found.message.dequeue_count += 1;
        found.message.pop_receipt = random::guid();
        Some(found.message.clone())
    }

    /// Deletes a message that was read; `false` if another reader has received it since.
    pub fn delete(&self, queue: &str, message: &QueueMessage) -> bool {
        let mut queues = self.queues();
        let Some(messages) = queues.get_mut(queue) else {
            return false;
        };
        let before = messages.len();
        messages.retain(|stored| stored.message.pop_receipt != message.pop_receipt);
        messages.len() < before
    }

    /// Sets when a message that was read is visible again.
    pub fn hide(&self, queue: &str, message: &QueueMessage, invisible: Duration) {
        let mut queues = self.queues();
        let messages = queues.get_mut(queue).into_iter().flatten();
        for stored in messages {
            if stored.message.pop_receipt == message.pop_receipt {
                stored.visible_from = Instant::now() + invisible;
            }
        }
    }

    /// All messages, also those that are invisible.
    pub fn messages(&self, queue: &str) -> Vec<QueueMessage> {
        let queues = self.queues();
        let messages = queues.get(queue).into_iter().flatten();
        messages.map(|stored| stored.message.clone()).collect()
    }

    /// Names of all queues in order.
    pub fn names(&self) -> Vec<String> {
        self.queues().keys().cloned().collect()
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Stored>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_read_message_comes_back_after_its_time_and_counts_up() {
        let queues = StorageQueues::default();
        queues.put("q", "a").unwrap();
        let first = queues.get("q", MINUTE).unwrap();
        assert_eq!((first.dequeue_count, first.text().as_str()), (1, "a"));
        assert!(queues.get("q", MINUTE).is_none());
        tokio::time::advance(MINUTE).await;
        let second = queues.get("q", MINUTE).unwrap();
        assert_eq!((second.dequeue_count, &second.id), (2, &first.id));
        assert!(!queues.delete("q", &first), "its receipt is stale");
        assert!(queues.delete("q", &second));
        assert!(queues.messages("q").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_can_be_made_visible_at_once() {
        let queues = StorageQueues::default();
        queues.put("q", "a").unwrap();
        let read = queues.get("q", MINUTE).unwrap();
        queues.hide("q", &read, Duration::ZERO);
        assert_eq!(queues.get("q", MINUTE).unwrap().dequeue_count, 2);
        queues.hide("q", &read, Duration::ZERO);
        assert!(queues.get("q", MINUTE).is_none(), "its receipt is stale");
    }

    #[tokio::test]
    async fn large_messages_are_refused() {
        let queues = StorageQueues::default();
        assert!(queues.put("q", vec![0; 48 * 1024]).is_ok());
        assert!(queues.put("q", vec![0; 48 * 1024 + 1]).is_err());
        assert_eq!(queues.messages("q").len(), 1);
    }
}
