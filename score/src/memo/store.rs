//! What the cache needs of a shared store.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer: not connected, connection lost, or too slow.
    #[error("{0}")]
    Unreachable(String),
    /// The server answered with an error, for example because its memory is full.
    #[error("{0}")]
    Refused(String),
}

/// One value to write.
#[derive(Debug, Clone)]
pub struct StoreEntry {
    /// The key.
    pub key: String,
    /// The sealed value.
    pub value: Bytes,
    /// How long it may be kept; `None` for as long as there is room.
    pub ttl: Option<Duration>,
}

/// A key-value store shared by many processes, such as Redis. Implementations never block the runtime and may fail
/// at any time; callers bound the time they wait.
pub trait MemoStore: Send + Sync + 'static {
    /// Makes a fresh connection in place of the present one, if any.
    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The values of `keys`, in their order.
    fn get_many(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>>;

    /// Writes all entries; an error may leave some of them written.
    fn set_many(&self, entries: Vec<StoreEntry>) -> BoxFuture<'_, Result<(), StoreError>>;
}
