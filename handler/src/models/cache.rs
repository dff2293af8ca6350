//! The cache of the results of all models, as the settings want it.

use std::sync::Arc;

use redis_store::RedisStore;
use score::{Cache, CachePolicy, RemoteOptions, Store};
use tracing::{info, warn};

use crate::config::Config;

/// Opens the cache, and starts to connect to Redis if it is set. Must be called on a tokio runtime.
///
/// # Errors
/// If the settings of Redis cannot be used.
pub(crate) fn open_cache(config: &Config) -> anyhow::Result<Cache> {
    for remark in &config.cache.redis_remarks {
        warn!("REDIS_CONNECTION_STRING: {remark}");
    }
    if config.cache.policy == CachePolicy::Off {
        info!("results are not remembered: SCORE_CACHE_POLICY is off");
        return Ok(Cache::new(0, None));
    }
    let Some(redis) = &config.cache.redis else {
        info!("no Redis is set: results are remembered in this process only");
        return Ok(Cache::new(config.cache.l1_bytes, None));
    };
    info!("results are remembered in {}", redis.describe());
    let store: Arc<dyn Store> = Arc::new(RedisStore::new(redis.clone())?);
    let options = RemoteOptions {
        budget: config.cache.redis_timeout,
        ttl: config.cache.ttl,
        namespace: config.cache.namespace.clone(),
        secret: config.cache.secret.clone(),
    };
    Ok(Cache::new(config.cache.l1_bytes, Some((store, options))))
}
