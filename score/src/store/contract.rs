//! What a shared store has to do: the contract between the cache and, for example, Redis.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Why a store did not do what it was asked. The text names the server and, where there is one, the remedy; it is
/// logged, and never shown to a caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer: not connected, connection lost, or too slow. Three in a row shut the gate before the store.
    #[error("{0}")]
    Unreachable(String),
    /// No answer from one part of a store whose other parts are there. Only the keys of that part are not found.
    #[error("{0}")]
    PartUnreachable(String),
    /// The server answered with an error, for example because its memory is full.
    #[error("{0}")]
    Refused(String),
}

/// One value to write.
#[derive(Debug, Clone)]
pub struct StoreEntry {
    /// The key: printable ASCII, at most 150 bytes.
    pub key: String,
    /// The value, at most 1 MiB and a few bytes. It carries a checksum of its own.
    pub value: Bytes,
    /// How long it may be kept; `None` for as long as there is space.
    pub ttl: Option<Duration>,
}

/// A key-value store that several processes share, such as Redis.
///
/// The cache asks it for remembered results and gives it new ones; a [`FeatureStore`](crate::FeatureStore) reads rows
/// that others have written. Both use it through a supervisor and a gate (a circuit breaker), so an implementation
/// needs no retries and no health checks of its own.
///
/// - **Threads.** All methods are called on threads of a tokio runtime, by many tasks at the same time. They must not
///   block: work that takes longer than a few tens of microseconds belongs behind an `await`.
/// - **Time.** `budget` is the whole time a call may take. The caller relies on that and sets no timer of its own for
///   [`Store::get_many`]; only [`Store::connect`] is given up by its caller, after 11 s.
/// - **Cancellation.** A future may be dropped at any time. What it was doing may then have happened or not.
/// - **Errors.** Each key has its own outcome, so that one part of a store that is away does not hide what the others
///   know. A key that is not there is `Ok(None)` and no error. There are as many outcomes as keys, in their order.
/// - **Consistency.** None is needed. A value that was changed, cut or stored under another key is noticed and
///   overwritten, and a lost one is computed again.
///
/// A store in the memory of this process:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use futures_util::future::{BoxFuture, FutureExt, ready};
/// use score::{Cache, RemoteOptions, Store, StoreEntry, StoreError};
///
/// #[derive(Default)]
/// struct InMemory(Mutex<HashMap<String, Bytes>>);
///
/// impl Store for InMemory {
///     fn name(&self) -> &'static str {
///         "memory"
///     }
///
///     fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>> {
///         ready(Ok(())).boxed()
///     }
///
///     fn get_many(
///         &self,
///         keys: Vec<String>,
///         _budget: Duration,
///     ) -> BoxFuture<'_, Vec<Result<Option<Bytes>, StoreError>>> {
///         let values = self.0.lock().unwrap();
///         let found = keys.iter().map(|key| Ok(values.get(key).cloned()));
///         ready(found.collect()).boxed()
///     }
///
///     fn set_many(
///         &self,
///         entries: Vec<StoreEntry>,
///         _budget: Duration,
///     ) -> BoxFuture<'_, Vec<Result<(), StoreError>>> {
///         // `entry.ttl` is left out here: this store keeps everything.
///         let mut values = self.0.lock().unwrap();
///         let set = entries.into_iter().map(|entry| {
///             values.insert(entry.key, entry.value);
///             Ok(())
///         });
///         ready(set.collect()).boxed()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let options = RemoteOptions {
///     budget: Duration::from_millis(20),
///     ttl: None,
///     namespace: "example".parse().unwrap(),
///     secret: None,
/// };
/// // No in-process tier, and this store. The supervisor connects on a task of its own.
/// let cache = Cache::new(0, Some((Arc::new(InMemory::default()), options)));
/// while cache.remote_is_up() != Some(true) {
///     tokio::task::yield_now().await;
/// }
/// # }
/// ```
pub trait Store: Send + Sync + 'static {
    /// What the log calls the store, such as `redis`.
    fn name(&self) -> &'static str;

    /// Makes a fresh connection in place of the present one, if any. Called by the supervisor alone, at the start and
    /// when the store has not answered for a second; another attempt may begin while one is under way, and the first
    /// to succeed is kept.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] with a text that says what to change; the supervisor logs it once and tries again.
    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The values of `keys`, of which there may be thousands. A key may come twice.
    fn get_many(
        &self,
        keys: Vec<String>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Option<Bytes>, StoreError>>>;

    /// Writes all entries, over what was stored under their keys.
    fn set_many(
        &self,
        entries: Vec<StoreEntry>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<(), StoreError>>>;

    /// The values of `fields` in the hash (a map of names to values) under each of `keys`. All of them are `None` where
    /// there is no hash. Only for features in the format `hash`; a store without hashes refuses, as here.
    fn get_fields(
        &self,
        keys: Vec<String>,
        _fields: Vec<String>,
        _budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Vec<Option<Bytes>>, StoreError>>> {
        refuse_each(&keys, "this store has no hashes")
    }

    /// What kind of value lies under each of `keys`, in the words of Redis' command TYPE: `string`, `hash` or another
    /// one, and `none` where there is no value. Only for features, to say what was found instead of a row; a store
    /// that does not know refuses, as here.
    fn kinds(
        &self,
        keys: Vec<String>,
        _budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<String, StoreError>>> {
        refuse_each(&keys, "this store does not know kinds of values")
    }
}

fn refuse_each<'a, T: Send + 'a>(
    keys: &[String],
    reason: &str,
) -> BoxFuture<'a, Vec<Result<T, StoreError>>> {
    let refusals = keys.iter().map(|_| Err(StoreError::Refused(reason.into())));
    let refusals: Vec<_> = refusals.collect();
    Box::pin(async move { refusals })
}
