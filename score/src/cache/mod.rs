//! Remembered results: an in-process tier before a shared one. It only ever helps: every fault is a miss.

mod codec;
mod digest;
mod joint;
mod key;
mod local;
mod namespace;
mod remote;
mod seal;
mod single_flight;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;

pub(crate) use codec::{RowStack, can_encode, decode, encode_row, encode_whole, fits};
pub use joint::JointLookUp;
pub use key::ModelDigest;
pub(crate) use key::{KeyMaker, UnitKey};
use local::LocalTier;
pub use namespace::{ModelTag, ModelTagError, Namespace, NamespaceError};
use remote::Remote;
#[cfg(any(test, feature = "bench", feature = "fuzz"))]
pub(crate) use seal::Seal;
pub use seal::{EntrySecret, EntrySecretError};
use single_flight::Flights;
pub(crate) use single_flight::{Arrival, Landing, Lead};

use crate::histogram::Times;
use crate::store::Store;

/// How the shared tier is used.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// How long one look-up may take before the request goes on without it.
    pub budget: Duration,
    /// How long an entry is kept, give or take a tenth; `None` for as long as there is room.
    pub ttl: Option<Duration>,
    /// Where in the store the entries lie.
    pub namespace: Namespace,
    /// Signs the entries; without it who can write to the store can forge results.
    pub secret: Option<EntrySecret>,
}

/// How far a look-up goes, and a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tiers {
    /// The in-process tier alone.
    Local,
    /// All there are.
    All,
}

/// What was found, and where.
#[derive(Debug)]
pub(crate) struct LookUp {
    /// For each key, its payload.
    pub(crate) found: Vec<Option<Bytes>>,
    /// For each key, whether it was in this process.
    pub(crate) near: Vec<bool>,
    /// How long the shared store took, if it was asked.
    pub(crate) remote: Option<Duration>,
}

/// What the cache did so far. Cloning shares the counters.
#[derive(Debug, Clone, Default)]
pub struct CacheStats {
    /// Units found in this process.
    pub local_hits: Counter,
    /// Units found in the shared store.
    pub remote_hits: Counter,
    /// Units found nowhere.
    pub misses: Counter,
    /// Of those found nowhere, units that another request was computing already.
    pub shared: Counter,
    /// Values found in the shared store that were not valid results; they are computed again and overwritten.
    pub damaged: Counter,
    /// Look-ups and writes that the shared store failed or refused.
    pub remote_errors: Counter,
    /// Results written to the shared store.
    pub writes: Counter,
    /// Results not written because too many were waiting or the store was down.
    pub dropped_writes: Counter,
    /// How long look-ups in the shared store took, failed ones included.
    pub remote_reads: Times,
    /// The same for writes.
    pub remote_writes: Times,
}

/// The cache of one process, shared by all its models.
pub struct Cache {
    local: Option<LocalTier>,
    remote: Option<Remote>,
    flights: Flights,
    stats: CacheStats,
}

impl Cache {
    /// A cache with an in-process tier of `local_bytes` (0 for none) and, if given, a shared store.
    ///
    /// With a store it must be called on a tokio runtime: the supervisor of the connection and the writer are tasks of
    /// their own, which end with this cache.
    pub fn new(local_bytes: u64, store: Option<(Arc<dyn Store>, RemoteOptions)>) -> Self {
        let stats = CacheStats::default();
        let remote = store.map(|(store, options)| Remote::start(store, options, stats.clone()));
        let local = (local_bytes > 0)
            .then(|| LocalTier::new(local_bytes))
            .flatten();
        Self {
            local,
            remote,
            flights: Flights::default(),
            stats,
        }
    }

    /// Whether there is a tier that can be asked now; if not, even the digests would be made in vain.
    pub fn is_available(&self) -> bool {
        self.local.is_some() || self.remote.as_ref().is_some_and(Remote::is_up)
    }

    /// Whether there is an in-process tier.
    pub(crate) fn has_local(&self) -> bool {
        self.local.is_some()
    }

    /// Whether the shared store answers; `None` without one.
    pub fn remote_is_up(&self) -> Option<bool> {
        self.remote.as_ref().map(Remote::is_up)
    }

    /// Bytes of results that are still to be written to the shared store.
    pub fn unstored_bytes(&self) -> usize {
        self.remote.as_ref().map_or(0, Remote::pending_bytes)
    }

    /// Bytes the in-process tier holds.
    pub fn local_bytes(&self) -> u64 {
        self.local.as_ref().map_or(0, LocalTier::bytes)
    }

    /// What the cache did so far.
    pub fn stats(&self) -> &CacheStats {
        &self.stats
    }

    /// The payloads known for `keys`, in their order. One round trip to the shared store at most, within its budget; with
    /// `joint`, one for several requests. What the store has is a miss if it does not fit.
    pub(crate) async fn look_up(
        &self,
        keys: &[UnitKey],
        tiers: Tiers,
        joint: Option<&JointLookUp>,
        fits: impl Fn(&[u8]) -> bool,
    ) -> LookUp {
        let found: Vec<Option<Bytes>> = match &self.local {
            Some(local) => keys.iter().map(|key| local.get(key)).collect(),
            None => vec![None; keys.len()],
        };
        let mut answer = LookUp {
            near: found.iter().map(Option::is_some).collect(),
            found,
            remote: None,
        };
        let local_hits = count(&answer.found);
        if let Some(remote) = &self.remote
            && tiers == Tiers::All
            && local_hits < keys.len()
        {
            let start = Instant::now();
            let asked = match joint {
                None => remote.look_up(keys, &mut answer.found).await,
                // Boxed, so that the future of requests that are alone does not grow.
                Some(joint) => Box::pin(joint.look_up(remote, keys, &mut answer.found)).await,
            };
            for (payload, near) in answer.found.iter_mut().zip(&answer.near) {
                if !near && payload.take_if(|payload| !fits(payload)).is_some() {
                    self.stats.damaged.inc();
                }
            }
            if let Some(local) = &self.local {
                for (key, (payload, near)) in keys.iter().zip(answer.found.iter().zip(&answer.near))
                {
                    if let (Some(payload), false) = (payload, near) {
                        // A copy of its own: it may be a slice of a network buffer, and stays.
                        local.put(*key, Bytes::copy_from_slice(payload));
                    }
                }
            }
            answer.remote = asked.then(|| start.elapsed());
        }
        let hits = count(&answer.found);
        self.stats.local_hits.inc_by(local_hits as u64);
        self.stats.remote_hits.inc_by((hits - local_hits) as u64);
        self.stats.misses.inc_by((keys.len() - hits) as u64);
        answer
    }

    /// Becomes the leader of those of `keys`, all different, that are not being computed; returns where the others will
    /// land.
    pub(crate) fn board(&self, keys: &[UnitKey]) -> (Lead<'_>, Vec<Option<Landing>>) {
        self.flights.board(keys)
    }

    /// The payload for `key`, if this process itself holds it.
    pub(crate) fn at_hand(&self, key: &UnitKey) -> Option<Bytes> {
        self.local.as_ref()?.get(key)
    }

    /// Remembers results. Never waits: the shared store is written in the background. `ttl` is the model's own time, if
    /// it has one.
    pub(crate) fn remember(
        &self,
        entries: Vec<(UnitKey, Bytes)>,
        ttl: Option<Duration>,
        tiers: Tiers,
    ) {
        if let Some(remote) = &self.remote
            && tiers == Tiers::All
        {
            remote.write_later(&entries, ttl);
        }
        if let Some(local) = &self.local {
            for (key, payload) in entries {
                local.put(key, payload);
            }
        }
    }
}

fn count(found: &[Option<Bytes>]) -> usize {
    found.iter().filter(|payload| payload.is_some()).count()
}

#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;
