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
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tracing::warn;

use crate::model::FeatureFormat;
use crate::store::{Store, StoreError, Supervisor, Use};

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
    #[error("no features are stored for {}{}", Listed(.keys), unknown(*.kinds_known))]
    Missing {
        /// The keys.
        keys: Vec<String>,
        /// Whether it is known that nothing else is stored under them.
        kinds_known: bool,
    },
    /// What is stored under a key is of another kind than its model reads.
    #[error("the features stored for {key:?} are a Redis {found}; expected {}", expected(.found, *.format))]
    OtherKind {
        /// The first such key.
        key: String,
        /// What is stored there, in the words of Redis' TYPE.
        found: String,
        /// What the model reads.
        format: FeatureFormat,
    },
    /// The store does not answer, or refuses; its log has the reason.
    #[error("features cannot be read at present; try again shortly")]
    Unavailable,
    /// The values are larger than the caller takes them.
    #[error("the features of these keys are too large together")]
    TooLarge,
    /// Too many look-ups are in work.
    #[error("too many look-ups of features are in flight; try again shortly")]
    Overloaded,
}

fn unknown(kinds_known: bool) -> &'static str {
    if kinds_known {
        ""
    } else {
        " as this model reads them; whether they are stored as another Redis type is not known, since the Redis user may \
         not ask (+type)"
    }
}

/// What a model reads, and what to change.
fn expected(found: &str, format: FeatureFormat) -> String {
    let mend = match (found, format) {
        ("hash", _) => "set format = \"hash\" in the table [features] of model.toml",
        ("string", _) => {
            "set the format in the table [features] of model.toml to \"json\", \"npy\" or \"raw\""
        }
        (_, FeatureFormat::Hash) => "store the row with HSET, one field for each column",
        _ => {
            "store the row with SET, or with HSET and format = \"hash\" in the table [features] of model.toml"
        }
    };
    format!(
        "a {} (format = {:?}): {mend}",
        kind(format),
        format.as_str()
    )
}

/// The Redis type of values of that format.
fn kind(format: FeatureFormat) -> &'static str {
    match format {
        FeatureFormat::Hash => "hash",
        FeatureFormat::Json | FeatureFormat::Npy | FeatureFormat::Raw => "string",
    }
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
    supervisor: Supervisor,
    /// What the log calls the store itself.
    kind: &'static str,
    places: Semaphore,
    stats: FeatureStats,
    /// Whether the store's refusal was reported, until it answers again.
    refused: AtomicBool,
}

impl FeatureStore {
    /// Starts to connect and returns at once. It must be called on a tokio runtime: a supervisor, a task of its own that
    /// ends with this store, keeps the connection.
    pub fn start(store: Arc<dyn Store>, reads: FeatureReads) -> Self {
        let used = Use {
            name: format!("{} for features", store.name()),
            without: "requests by key are refused",
            probe: reads.probe,
            budget: reads.budget,
            errors: Counter::default(),
        };
        Self {
            places: Semaphore::new(reads.max_reads.clamp(1, Semaphore::MAX_PERMITS)),
            kind: store.name(),
            supervisor: Supervisor::start(store, used),
            stats: FeatureStats::default(),
            refused: AtomicBool::new(false),
        }
    }

    /// What was read so far.
    pub fn stats(&self) -> &FeatureStats {
        &self.stats
    }

    /// The values under `prefix` and each key, in the order of `keys`: few in one round trip, many step by step. A key that
    /// is given twice is read once. After each step `fits` is told how many bytes the values have so far, and ends the
    /// look-up by `false`.
    ///
    /// # Errors
    /// [`FeatureError`] says which keys are missing or of another kind, that the values are too large, or that the store
    /// cannot be asked.
    pub async fn get(
        &self,
        prefix: &str,
        keys: &[String],
        format: FeatureFormat,
        fits: &mut Fits<'_>,
    ) -> Result<Vec<Bytes>, FeatureError> {
        let look_up = LookUp::new(prefix, keys, format, self.supervisor.store().deadline());
        let _place = self.place()?;
        let names = look_up.names();
        let (mut steps, mut values) = (Steps::new(1), Vec::with_capacity(names.len()));
        while let Some(step) = names[values.len()..].chunks(steps.keys).next() {
            let names = step.to_vec();
            let read = self
                .supervisor
                .store()
                .read(look_up.until, |store, budget| store.get_many(names, budget));
            let read: Vec<Option<Bytes>> = self.answered(step.len(), read.await)?;
            steps.read(read.iter().flatten(), fits)?;
            values.extend(read);
        }
        // A string that was written between the two looks is missed, as it was not there at the first.
        self.settle(look_up, values, || None).await
    }

    /// The values of `fields` in the hash under `prefix` and each key, likewise. Fields may be missing.
    ///
    /// # Errors
    /// As [`FeatureStore::get`].
    pub async fn get_fields(
        &self,
        prefix: &str,
        keys: &[String],
        fields: &[String],
        fits: &mut Fits<'_>,
    ) -> Result<Vec<Vec<Option<Bytes>>>, FeatureError> {
        let look_up = LookUp::new(
            prefix,
            keys,
            FeatureFormat::Hash,
            self.supervisor.store().deadline(),
        );
        let _place = self.place()?;
        let names = look_up.names();
        let (mut steps, mut rows) = (Steps::new(fields.len()), Vec::with_capacity(names.len()));
        while let Some(step) = names[rows.len()..].chunks(steps.keys).next() {
            let (names, wanted) = (step.to_vec(), fields.to_vec());
            let read = self
                .supervisor
                .store()
                .read(look_up.until, |store, budget| {
                    store.get_fields(names, wanted, budget)
                });
            let read = self.answered(step.len(), read.await)?;
            steps.read(read.iter().flatten().flatten(), fits)?;
            // No field at all: Redis answers so where there is no hash.
            let read = read.into_iter();
            rows.extend(read.map(|row| row.iter().any(Option::is_some).then_some(row)));
        }
        self.settle(look_up, rows, || Some(vec![None; fields.len()]))
            .await
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, FeatureError> {
        self.places.try_acquire().map_err(|_| {
            self.stats.errors.inc();
            FeatureError::Overloaded
        })
    }

    /// The answer of the store, if it has one for each of the keys that were asked for.
    fn answered<T>(
        &self,
        asked: usize,
        answer: Result<Vec<T>, StoreError>,
    ) -> Result<Vec<T>, FeatureError> {
        match answer {
            Ok(values) if values.len() == asked => {
                self.refused.store(false, Ordering::Relaxed);
                return Ok(values);
            }
            Err(StoreError::Refused(reason)) => {
                if !self.refused.swap(true, Ordering::Relaxed) {
                    warn!(%reason, "{} refuses to give features", self.kind);
                }
            }
            // What is unreachable is reported by the supervisor of the connection.
            Ok(_) | Err(StoreError::Unreachable(_) | StoreError::PartUnreachable(_)) => {}
        }
        self.stats.errors.inc();
        Err(FeatureError::Unavailable)
    }

    /// The values in the order of the keys. For those without one it is asked what lies there, since Redis gives no value
    /// of another kind than is asked for; `empty` stands for one of the right kind.
    async fn settle<T: Clone>(
        &self,
        look_up: LookUp<'_>,
        mut values: Vec<Option<T>>,
        empty: impl Fn() -> Option<T>,
    ) -> Result<Vec<T>, FeatureError> {
        let absent: Vec<usize> = (0..values.len()).filter(|i| values[*i].is_none()).collect();
        let kinds = self.kinds(&look_up, &absent).await?;
        let (mut missing, mut other) = (Vec::new(), None);
        for (n, place) in absent.into_iter().enumerate() {
            let key = look_up.distinct[place].clone();
            let found = kinds.as_ref().and_then(|kinds| kinds.get(n));
            match found.map_or("none", String::as_str) {
                "none" => missing.push(key),
                found if found == kind(look_up.format) => match empty() {
                    Some(value) => values[place] = Some(value),
                    None => missing.push(key),
                },
                found => {
                    other.get_or_insert_with(|| FeatureError::OtherKind {
                        key,
                        found: found.to_owned(),
                        format: look_up.format,
                    });
                }
            }
        }
        self.stats.missing.inc_by(missing.len() as u64);
        let found = values.len() - missing.len();
        self.stats.found.inc_by(found as u64);
        if !missing.is_empty() {
            return Err(FeatureError::Missing {
                keys: missing,
                kinds_known: kinds.is_some(),
            });
        }
        other.map_or_else(|| Ok(look_up.in_order(&values)), Err)
    }

    /// What lies under the keys at these places; `None` if the store does not tell.
    async fn kinds(
        &self,
        look_up: &LookUp<'_>,
        places: &[usize],
    ) -> Result<Option<Vec<String>>, FeatureError> {
        if places.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let names = places
            .iter()
            .map(|place| look_up.name(look_up.distinct[*place]));
        let names = names.collect();
        let read = self
            .supervisor
            .store()
            .read(look_up.until, |store, budget| store.kinds(names, budget));
        match read.await {
            Ok(kinds) => Ok(Some(kinds)),
            Err(StoreError::Refused(_)) => Ok(None),
            Err(StoreError::Unreachable(_) | StoreError::PartUnreachable(_)) => {
                self.stats.errors.inc();
                Err(FeatureError::Unavailable)
            }
        }
    }
}

/// Is told how many bytes the values of a look-up have so far; `false` ends it.
pub type Fits<'a> = dyn FnMut(usize) -> bool + Send + 'a;

/// How a look-up of many keys goes on. A step reads as many keys as may bring so many bytes, by the size of the values before.
struct Steps {
    /// Keys of the next step.
    keys: usize,
    /// Keys of any step, at most.
    most: usize,
    /// Keys and bytes of the steps so far.
    read: usize,
    bytes: usize,
}

impl Steps {
    /// Keys of the first step, where rows have few values: most requests are one step.
    const FIRST: usize = 256;
    /// Values of the first step, where rows have many: fields of hashes are short.
    const VALUES: usize = 4096;
    /// Bytes of a later step, if values are as large as before.
    const BYTES: usize = 8 << 20;

    /// For that many values under each key.
    fn new(values: usize) -> Self {
        let first = (Self::VALUES / values.max(1)).clamp(1, Self::FIRST);
        Self {
            keys: first,
            most: first * 64,
            read: 0,
            bytes: 0,
        }
    }

    fn read<'v>(
        &mut self,
        values: impl Iterator<Item = &'v Bytes>,
        fits: &mut Fits<'_>,
    ) -> Result<(), FeatureError> {
        self.read += self.keys;
        self.bytes += values.map(Bytes::len).sum::<usize>();
        if !fits(self.bytes) {
            return Err(FeatureError::TooLarge);
        }
        let each = self.bytes.div_ceil(self.read).max(1);
        self.keys = (Self::BYTES / each).clamp(1, self.most);
        Ok(())
    }
}

/// The keys of one request.
struct LookUp<'a> {
    prefix: &'a str,
    keys: &'a [String],
    /// Each key once.
    distinct: Vec<&'a String>,
    /// The place of each among them.
    places: HashMap<&'a str, usize>,
    format: FeatureFormat,
    until: Instant,
}

impl<'a> LookUp<'a> {
    fn new(prefix: &'a str, keys: &'a [String], format: FeatureFormat, until: Instant) -> Self {
        let mut places = HashMap::with_capacity(keys.len());
        let mut distinct = Vec::new();
        for key in keys {
            places.entry(key.as_str()).or_insert_with(|| {
                distinct.push(key);
                distinct.len() - 1
            });
        }
        Self {
            prefix,
            keys,
            distinct,
            places,
            format,
            until,
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn names(&self) -> Vec<String> {
        self.distinct.iter().map(|key| self.name(key)).collect()
    }

    fn in_order<T: Clone>(&self, values: &[Option<T>]) -> Vec<T> {
        let value = |key: &String| values.get(*self.places.get(key.as_str())?)?.clone();
        self.keys.iter().filter_map(value).collect()
    }
}

#[cfg(test)]
mod tests;
