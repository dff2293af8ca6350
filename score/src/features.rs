//! Inference data: rows that lie in a shared store, written there by others, and are asked for by key.
//!
//! Unlike remembered results they are needed, so a look-up has a longer budget and its failure is an error. They travel
//! over a connection of their own, behind a gate of their own: large values never delay the cache, and trouble with one
//! says nothing about the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::memo::{MemoStore, Remote, StoreError};

/// How stored features are read.
#[derive(Debug, Clone)]
pub struct FeatureReads {
    /// How long one look-up may take.
    pub budget: Duration,
    /// Look-ups that may be in work at once, so that a store that hangs cannot hold up all requests.
    pub max_reads: usize,
    /// A name that may be read to find out whether the store answers; it need not exist.
    pub probe: String,
}

/// What was read so far. Cloning shares the counters.
#[derive(Debug, Clone, Default)]
pub struct FeatureStats {
    /// Keys that were found.
    pub found: Counter,
    /// Keys that were not there.
    pub missing: Counter,
    /// Look-ups that failed or were not tried.
    pub errors: Counter,
}

/// Why there are no features. The text is written for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// Some keys are not there.
    #[error("no features are stored for {}", Listed(.0))]
    Missing(Vec<String>),
    /// The store does not answer, or refuses; its log has the reason.
    #[error("features cannot be read at present; try again shortly")]
    Unavailable,
    /// Too many look-ups are in work.
    #[error("too many look-ups of features are in work; try again shortly")]
    Overloaded,
}

/// Keys named in an error; the others are counted.
const MAX_LISTED: usize = 10;

struct Listed<'a>(&'a [String]);

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.iter().take(MAX_LISTED);
        let shown: Vec<String> = shown.map(|key| format!("{key:?}")).collect();
        f.write_str(&shown.join(", "))?;
        match self.0.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The store of features of one process, shared by all its models.
pub struct FeatureStore {
    remote: Arc<Remote>,
    places: Semaphore,
    stats: FeatureStats,
    /// Whether the store's refusal was reported, until it answers again.
    refused: AtomicBool,
}

impl FeatureStore {
    /// Starts to connect and returns at once. It must be called on a tokio runtime: the connection is kept by a task of
    /// its own.
    pub fn start(store: Arc<dyn MemoStore>, reads: FeatureReads) -> Self {
        Self {
            places: Semaphore::new(reads.max_reads.clamp(1, Semaphore::MAX_PERMITS)),
            remote: Remote::start_reading(store, reads.budget, reads.probe),
            stats: FeatureStats::default(),
            refused: AtomicBool::new(false),
        }
    }

    /// What was read so far.
    pub fn stats(&self) -> &FeatureStats {
        &self.stats
    }

    /// The values under `prefix` and each key, in the order of `keys`, in one round trip. A key that is given twice is
    /// read once.
    ///
    /// # Errors
    /// [`FeatureError`] says which keys are missing, or that the store cannot be asked.
    pub async fn get(&self, prefix: &str, keys: &[String]) -> Result<Vec<Bytes>, FeatureError> {
        let mut positions = HashMap::with_capacity(keys.len());
        let mut distinct = Vec::new();
        for key in keys {
            positions.entry(key.as_str()).or_insert_with(|| {
                distinct.push(key);
                distinct.len() - 1
            });
        }
        let names: Vec<String> = distinct
            .iter()
            .map(|key| format!("{prefix}{key}"))
            .collect();
        let values = self.read(names).await.inspect_err(|_| {
            self.stats.errors.inc();
        })?;
        let missing = distinct.iter().zip(&values).filter(|(_, v)| v.is_none());
        let missing: Vec<String> = missing.map(|(key, _)| (*key).clone()).collect();
        self.stats.missing.inc_by(missing.len() as u64);
        self.stats
            .found
            .inc_by((values.len() - missing.len()) as u64);
        if !missing.is_empty() {
            return Err(FeatureError::Missing(missing));
        }
        let value = |key: &String| values.get(*positions.get(key.as_str())?)?.clone();
        Ok(keys.iter().filter_map(value).collect())
    }

    async fn read(&self, names: Vec<String>) -> Result<Vec<Option<Bytes>>, FeatureError> {
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| FeatureError::Overloaded)?;
        let expected = names.len();
        match self.remote.get(names).await {
            Ok(values) if values.len() == expected => {
                self.refused.store(false, Ordering::Relaxed);
                Ok(values)
            }
            Ok(_) => Err(FeatureError::Unavailable),
            // What is unreachable is reported by the keeper of the connection.
            Err(StoreError::Unreachable(_) | StoreError::PartUnreachable(_)) => {
                Err(FeatureError::Unavailable)
            }
            Err(StoreError::Refused(reason)) => {
                if !self.refused.swap(true, Ordering::Relaxed) {
                    warn!(%reason, "redis refuses to give features");
                }
                Err(FeatureError::Unavailable)
            }
        }
    }
}

#[cfg(test)]
mod tests;
