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
    /// No answer from one part of a store whose other parts are there.
    #[error("{0}")]
    PartUnreachable(String),
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
/// at any time; callers bound the time they wait for a connection.
pub trait MemoStore: Send + Sync + 'static {
    /// Makes a fresh connection in place of the present one, if any.
    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The values of `keys`, in their order, each with its own fault: what a part of the store answers is not lost with
    /// what another does not. Takes no longer than `budget`.
    fn get_many(
        &self,
        keys: Vec<String>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Option<Bytes>, StoreError>>>;

    /// The values of `fields` in the hash under each of `keys`, likewise: all of them are empty where there is no hash.
    fn get_fields(
        &self,
        keys: Vec<String>,
        _fields: Vec<String>,
        _budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Vec<Option<Bytes>>, StoreError>>> {
        let refusal = || StoreError::Refused("this store has no hashes".to_owned());
        let refusals = keys.iter().map(|_| Err(refusal())).collect();
        Box::pin(async move { refusals })
    }

    /// What kind of value lies under each of `keys`, likewise, in the words of Redis' TYPE: `none` where there is none.
    fn kinds(
        &self,
        keys: Vec<String>,
        _budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<String, StoreError>>> {
        let refusal = || StoreError::Refused("this store has no kinds".to_owned());
        let refusals = keys.iter().map(|_| Err(refusal())).collect();
        Box::pin(async move { refusals })
    }

    /// Writes all entries, within `budget` too; the outcomes are in their order.
    fn set_many(
        &self,
        entries: Vec<StoreEntry>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<(), StoreError>>>;
}
