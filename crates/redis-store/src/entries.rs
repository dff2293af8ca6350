//! Lists and removes entries for operators: page by page, so that their number does not matter, and in small steps, so
//! that the handlers at work beside it hardly notice.

use std::collections::BTreeMap;
use std::time::Duration;

use fred::clients::WithOptions;
use fred::prelude::{Client, Error as FredError, KeysInterface};
use fred::types::Key;
use futures_util::future::{join_all, try_join};
use tokio::time::timeout;

use crate::RedisStore;
use crate::cluster::is_redirection;
use crate::config::RedisConfig;
use score::{ModelTag, Namespace, Store, StoreError};

/// Keys that Redis looks at before it serves others again.
const PAGE: u32 = 1000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
const PAGE_TIMEOUT: Duration = Duration::from_secs(8);

/// What is stored of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryTotals {
    /// How many entries. While Redis resizes its tables some may be counted twice.
    pub entries: u64,
    /// Bytes of their values; keys and what Redis itself needs come on top.
    pub bytes: u64,
    /// How many of them never expire.
    pub lasting: u64,
    /// The shortest and the longest time until one of the others expires.
    pub expire_in: Option<(Duration, Duration)>,
}

impl EntryTotals {
    fn add(&mut self, bytes: u64, expires_in: Option<Duration>) {
        self.entries += 1;
        self.bytes += bytes;
        match (expires_in, &mut self.expire_in) {
            (None, _) => self.lasting += 1,
            (Some(time), Some((shortest, longest))) => {
                *shortest = time.min(*shortest);
                *longest = time.max(*longest);
            }
            (Some(time), none) => *none = Some((time, time)),
        }
    }
}

/// The entries of one namespace in a Redis server or cluster.
pub struct StoredEntries {
    store: RedisStore,
    namespace: Namespace,
}

impl StoredEntries {
    /// Connects.
    ///
    /// # Errors
    /// If Redis cannot be reached within 8 s or refuses the login; the text says what to change.
    pub async fn open(config: RedisConfig, namespace: Namespace) -> Result<Self, StoreError> {
        let place = config.describe();
        let store = RedisStore::new(config)
            .map_err(|error| StoreError::Unreachable(format!("{place}: {error}")))?;
        within(CONNECT_TIMEOUT, &place, store.connect()).await?;
        Ok(Self { store, namespace })
    }

    /// What is stored, by model; of one model only if it is given. `progress` hears after each page how many entries
    /// were found so far.
    ///
    /// # Errors
    /// If Redis stops answering or refuses a command.
    pub async fn survey(
        &self,
        model: Option<ModelTag>,
        mut progress: impl FnMut(u64),
    ) -> Result<BTreeMap<ModelTag, EntryTotals>, StoreError> {
        let mut totals: BTreeMap<ModelTag, EntryTotals> = BTreeMap::new();
        let mut found = 0;
        self.each_page(model, async |server, page| {
            let measures = page.iter().map(|(_, key)| measure(server, key));
            let measures = join_all(measures).await;
            for ((model, _), measured) in page.iter().zip(measures) {
                if let Some((bytes, expires_in)) = measured? {
                    totals.entry(*model).or_default().add(bytes, expires_in);
                    found += 1;
                }
            }
            progress(found);
            Ok(())
        })
        .await?;
        Ok(totals)
    }

    /// Removes the entries of one model, or all, and returns how many. `progress` hears after each page how many there
    /// were so far. What handlers write meanwhile may stay.
    ///
    /// # Errors
    /// If Redis stops answering or refuses a command; what was removed until then is gone.
    pub async fn remove(
        &self,
        model: Option<ModelTag>,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        self.each_page(model, async |server, page| {
            // One key each: a cluster refuses one command with keys of several slots.
            let unlinks = page.iter().map(|(_, key)| server.unlink::<u64, _>(key));
            for outcome in join_all(unlinks).await {
                removed += unless_moved(outcome)?.unwrap_or_default();
            }
            progress(removed);
            Ok(())
        })
        .await?;
        Ok(removed)
    }

    /// Hands out the keys of all servers, page by page. Keys that are not ours but look alike are left out.
    async fn each_page(
        &self,
        model: Option<ModelTag>,
        mut visit: impl AsyncFnMut(&WithOptions<Client>, &[(ModelTag, Key)]) -> Result<(), FredError>,
    ) -> Result<(), StoreError> {
        let pattern = self.namespace.pattern(model);
        let endpoint = &self.store.endpoint;
        let place = endpoint.config.describe();
        let session = self.store.session();
        for node in session.map(|session| session.nodes()).unwrap_or_default() {
            let server = node.client();
            let mut cursor = "0".to_owned();
            loop {
                let page = async {
                    let (next, keys): (String, Vec<Key>) = server
                        .scan_page(cursor, pattern.as_str(), Some(PAGE), None)
                        .await?;
                    let tagged = |key: Key| Some((self.namespace.model_of(key.as_bytes())?, key));
                    let keys: Vec<_> = keys.into_iter().filter_map(tagged).collect();
                    visit(&server, &keys).await?;
                    Ok(next)
                };
                let page = async { page.await.map_err(|error| endpoint.explain(&error)) };
                cursor = within(PAGE_TIMEOUT, &place, page).await?;
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Bytes and remaining time of one entry; `None` if it has expired or moved by now.
async fn measure(
    server: &WithOptions<Client>,
    key: &Key,
) -> Result<Option<(u64, Option<Duration>)>, FredError> {
    let bytes = async {
        match server.strlen::<u64, _>(key).await {
            // Not ours, though under one of our keys: it will be overwritten.
            Err(error) if error.details().starts_with("WRONGTYPE") => Ok(0),
            answer => answer,
        }
    };
    let measured = try_join(bytes, server.pttl::<i64, _>(key)).await;
    Ok(match unless_moved(measured)? {
        None | Some((_, -2)) => None,
        Some((bytes, -1)) => Some((bytes, None)),
        Some((bytes, left)) => Some((bytes, Some(Duration::from_millis(left.unsigned_abs())))),
    })
}

/// `None` for a key that its server has just given away: it is found there, or next time.
fn unless_moved<T>(outcome: Result<T, FredError>) -> Result<Option<T>, FredError> {
    match outcome {
        Err(error) if is_redirection(&error) => Ok(None),
        outcome => outcome.map(Some),
    }
}

async fn within<T>(
    limit: Duration,
    place: &str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let reason = format!("{place}: no answer within {limit:?}");
            Err(StoreError::Unreachable(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_hold_the_shortest_and_the_longest_time() {
        let seconds = |n| Some(Duration::from_secs(n));
        let mut totals = EntryTotals::default();
        for (bytes, left) in [(5, seconds(9)), (7, None), (1, seconds(3)), (1, seconds(4))] {
            totals.add(bytes, left);
        }
        let expected = EntryTotals {
            entries: 4,
            bytes: 14,
            lasting: 1,
            expire_in: Some((Duration::from_secs(3), Duration::from_secs(9))),
        };
        assert_eq!(totals, expected);
    }
}
