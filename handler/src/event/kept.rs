//! Results of messages whose batch failed: the host gives all of it back, and the next delivery goes on from there.
//!
//! Results that are remembered by content would do for some models only. These are kept in this process, for a while, and
//! are the results of just these messages, so that they fit any model.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::delivery::Delivery;

/// How long a result is kept. Locks of messages last five minutes at most.
const TIME: Duration = Duration::from_secs(600);

/// Names a message and its body.
pub(super) type Key = blake3::Hash;

/// What is kept for all functions.
#[derive(Debug)]
pub(crate) struct Kept {
    max_bytes: usize,
    /// Guards the documents and their order, for the few steps that one of them is put in or taken out.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    documents: HashMap<Key, Document>,
    /// In the order they came; some are taken already.
    order: VecDeque<(Key, u64, Instant)>,
    bytes: usize,
    last: u64,
}

#[derive(Debug)]
struct Document {
    /// Its number in the order.
    number: u64,
    text: String,
}

impl Kept {
    /// Room for results of so many bytes.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            state: Mutex::default(),
        }
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().documents.is_empty()
    }

    /// Keeps the result of a message.
    pub(super) fn put(&self, key: Key, document: String) {
        let mut state = self.state.lock();
        state.take(&key);
        state.last += 1;
        let number = state.last;
        state.bytes += document.len();
        state.order.push_back((key, number, Instant::now()));
        let text = document;
        state.documents.insert(key, Document { number, text });
        while let Some((oldest, number, since)) = state.order.front().copied()
            && (state.bytes > self.max_bytes || since.elapsed() > TIME)
        {
            state.order.pop_front();
            if state.holds(&oldest, number) {
                state.take(&oldest);
            }
        }
        // Those that were taken have left their places.
        if state.order.len() > 2 * state.documents.len() + 64 {
            let mut order = std::mem::take(&mut state.order);
            order.retain(|(key, number, _)| state.holds(key, *number));
            state.order = order;
        }
    }

    /// The result of a message, if its batch failed.
    pub(super) fn take(&self, key: &Key) -> Option<String> {
        self.state.lock().take(key)
    }
}

impl State {
    fn take(&mut self, key: &Key) -> Option<String> {
        let document = self.documents.remove(key)?;
        self.bytes -= document.text.len();
        Some(document.text)
    }

    fn holds(&self, key: &Key, number: u64) -> bool {
        self.documents
            .get(key)
            .is_some_and(|document| document.number == number)
    }
}

/// Names a message by all that its result depends on.
pub(super) fn key(function: &str, delivery: &Delivery, body: &[u8]) -> Key {
    let mut hasher = blake3::Hasher::new();
    let Delivery {
        id,
        correlation_id,
        content_type,
        model,
        ..
    } = delivery;
    let known = [id, correlation_id, content_type, model].map(Option::as_deref);
    for text in std::iter::once(Some(function)).chain(known) {
        // None is told from what is empty.
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        hasher.update(&length.to_le_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    }
    hasher.update(body).finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, body: &str) -> Key {
        let delivery = Delivery {
            id: Some(id.to_owned()),
            ..Delivery::default()
        };
        key("f", &delivery, body.as_bytes())
    }

    #[test]
    fn results_are_given_back_once_and_bounded() {
        let kept = Kept::new(100);
        assert!(kept.is_empty());
        for number in 0..10 {
            kept.put(of(&number.to_string(), "b"), "x".repeat(30));
        }
        let found = |number: usize| kept.take(&of(&number.to_string(), "b")).is_some();
        let left: Vec<usize> = (0..10).filter(|number| found(*number)).collect();
        assert_eq!(left, [7, 8, 9]);
        assert!(kept.is_empty() && !found(9));
        kept.put(of("a", "b"), "x".repeat(101));
        assert!(kept.is_empty());
        assert_eq!(kept.state.lock().bytes, 0);
        for _ in 0..1000 {
            kept.put(of("a", "b"), "x".to_owned());
            kept.take(&of("a", "b"));
        }
        assert!(kept.state.lock().order.len() < 100);
    }

    #[test]
    fn messages_are_told_apart_by_all_that_counts() {
        let keys = [of("a", "b"), of("ab", ""), of("a", "c"), of("", "ab")];
        let all: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(all.len(), keys.len());
        let model = Delivery {
            model: Some("a".to_owned()),
            ..Delivery::default()
        };
        assert_ne!(key("f", &model, b"b"), of("a", "b"));
        assert_ne!(key("g", &model, b"b"), key("f", &model, b"b"),);
    }
}
