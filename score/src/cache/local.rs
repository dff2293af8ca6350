//! The in-process tier: remembered payloads, bounded in bytes.

use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use super::key::UnitKey;

/// What an entry costs beside its payload: the key, the `Bytes` handle, the cache's own slot and the allocation.
const ENTRY_OVERHEAD_BYTES: u64 = 160;

#[derive(Clone)]
struct InBytes;

impl Weighter<UnitKey, Bytes> for InBytes {
    fn weight(&self, _key: &UnitKey, payload: &Bytes) -> u64 {
        payload.len() as u64 + ENTRY_OVERHEAD_BYTES
    }
}

/// Payloads by key. The policy of `quick_cache` (S3-FIFO) resists scans: rows seen once do not push out rows seen often.
pub(super) struct LocalTier {
    cache: Cache<UnitKey, Bytes, InBytes>,
}

impl LocalTier {
    /// Room for `capacity_bytes` of entries, counting their overhead.
    pub(super) fn new(capacity_bytes: u64) -> Option<Self> {
        let expected_items = (capacity_bytes / 256).clamp(16, 1 << 20) as usize;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(expected_items)
            .weight_capacity(capacity_bytes)
            .build()
            .ok()?;
        Some(Self {
            cache: Cache::with_options(options, InBytes, Default::default(), Default::default()),
        })
    }

    pub(super) fn get(&self, key: &UnitKey) -> Option<Bytes> {
        self.cache.get(key)
    }

    pub(super) fn put(&self, key: UnitKey, payload: Bytes) {
        self.cache.insert(key, payload);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}
