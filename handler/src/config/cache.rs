//! The settings of the cache and of the store behind it.

use std::time::Duration;

use redis_store::RedisConfig;
use score::{CachePolicy, EntrySecret, Namespace};

use super::reader::Reader;
use super::setting::Word;
use super::{redis, table};

impl Word for CachePolicy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("always", Self::Always),
        ("auto", Self::Auto),
        ("off", Self::Off),
    ];
}

/// When results are stored, where, and for how long.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// When stored results are looked up.
    pub policy: CachePolicy,
    /// Bytes of the in-process cache.
    pub l1_bytes: u64,
    /// How long Redis keeps a result; `None` for no limit.
    pub ttl: Option<Duration>,
    /// The first part of every key in Redis.
    pub namespace: Namespace,
    /// What signs the results in Redis.
    pub secret: Option<EntrySecret>,
    /// The shared store, which features are read from too.
    pub redis: Option<RedisConfig>,
    /// What the reader assumed about the connection string, for the log.
    pub redis_remarks: Vec<String>,
    /// How long one look-up in Redis may take.
    pub redis_timeout: Duration,
}

pub(super) fn read(reader: &mut Reader<'_>) -> CacheSettings {
    let (redis, redis_remarks) = redis::read(reader);
    CacheSettings {
        policy: reader.value(&table::CACHE_POLICY),
        l1_bytes: reader.value(&table::L1_BYTES),
        ttl: reader.value(&table::CACHE_TTL),
        namespace: reader.value(&table::CACHE_NAMESPACE),
        secret: reader.value(&table::CACHE_SECRET),
        redis,
        redis_remarks,
        redis_timeout: reader.value(&table::REDIS_TIMEOUT),
    }
}
