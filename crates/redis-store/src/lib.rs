//! A shared store for `score` in Redis, through the client library `fred`: one server, or a cluster.

mod cluster;
mod config;
mod connection_string;
mod credentials;
mod endpoint;
mod entries;
#[cfg(any(test, feature = "fuzz"))]
pub mod entry_points;
mod explain;
mod logins;
mod node;
mod renewal;
mod slots;
mod table;
mod together;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::Cluster;
pub use config::{RedisConfig, RedisConfigError};
pub use credentials::{RedisCredentials, RedisCredentialsError, RedisLogin};
use endpoint::Endpoint;
pub use entries::{EntryTotals, StoredEntries};
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use score::{Store, StoreEntry, StoreError};
use tracing::{debug, info};

/// A Redis server or cluster. Commands fail at once while there is no connection; nothing queues up.
pub struct RedisStore {
    endpoint: Arc<Endpoint>,
    /// The connections in use. Locked for one read or replacement at a time, never across an await; a session that is
    /// replaced ends when the last call that uses it does.
    session: RwLock<Option<Arc<Cluster>>>,
}

impl RedisStore {
    /// Prepares the store; [`Store::connect`] opens the connection.
    ///
    /// # Errors
    /// If TLS is wanted and no trusted certificates can be read.
    pub fn new(config: RedisConfig) -> Result<Self, RedisConfigError> {
        Self::with_patience(config, Duration::ZERO)
    }

    /// Like [`RedisStore::new`], for large values, which take time: the connection counts as lost only if the server is
    /// silent for that long.
    ///
    /// # Errors
    /// As [`RedisStore::new`].
    pub fn with_patience(
        config: RedisConfig,
        patience: Duration,
    ) -> Result<Self, RedisConfigError> {
        Ok(Self {
            endpoint: Arc::new(Endpoint::new(config, patience)?),
            session: RwLock::new(None),
        })
    }

    fn session(&self) -> Option<Arc<Cluster>> {
        self.session.read().clone()
    }

    fn replace_session(&self, session: Cluster) -> Option<Arc<Cluster>> {
        self.session.write().replace(Arc::new(session))
    }
}

impl Store for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let mut servers = self.endpoint.config.hosts.clone();
            // The configured node of a cluster may be the one that is gone.
            if let Some(session) = self.session().filter(|session| session.is_clustered()) {
                servers.extend(session.servers());
            }
            // Before any client is made, since its own errors would not tell why there is no login.
            let login = self.endpoint.login().await?;
            let session = Cluster::connect(self.endpoint.clone(), &servers, login)
                .await
                .map_err(|error| self.endpoint.explain_connecting(&error))?;
            let clustered = session.is_clustered();
            let count = session.servers().len();
            debug!(servers = ?session.servers(), "redis connection made");
            let before = self.replace_session(session);
            if before.is_none_or(|before| before.is_clustered() != clustered) {
                match clustered {
                    true => info!(primaries = count, "redis is a cluster"),
                    false => info!("redis is a single endpoint"),
                }
            }
            Ok(())
        })
    }

    fn get_many(
        &self,
        keys: Vec<String>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Option<Bytes>, StoreError>>> {
        Box::pin(async move {
            match self.session() {
                Some(session) => session.get_many(keys, budget).await,
                None => keys.iter().map(|_| Err(not_connected())).collect(),
            }
        })
    }

    fn get_fields(
        &self,
        keys: Vec<String>,
        fields: Vec<String>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Vec<Option<Bytes>>, StoreError>>> {
        Box::pin(async move {
            match self.session() {
                Some(session) => session.get_fields(keys, fields, budget).await,
                None => keys.iter().map(|_| Err(not_connected())).collect(),
            }
        })
    }

    fn kinds(
        &self,
        keys: Vec<String>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<String, StoreError>>> {
        Box::pin(async move {
            match self.session() {
                Some(session) => session.kinds(keys, budget).await,
                None => keys.iter().map(|_| Err(not_connected())).collect(),
            }
        })
    }

    fn set_many(
        &self,
        entries: Vec<StoreEntry>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<(), StoreError>>> {
        Box::pin(async move {
            match self.session() {
                Some(session) => session.set_many(entries, budget).await,
                None => entries.iter().map(|_| Err(not_connected())).collect(),
            }
        })
    }
}

fn not_connected() -> StoreError {
    StoreError::Unreachable("not connected".to_owned())
}

#[cfg(test)]
#[path = "../../../fuzz/bounded.rs"]
mod bounded;
