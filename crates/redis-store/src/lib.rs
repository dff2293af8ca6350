//! A shared store for `score` in Redis, through the client library `fred`: one server, or a cluster.

mod cluster;
mod config;
mod connection_string;
mod credentials;
mod entries;
mod explain;
mod logins;
mod node;
mod renewal;
mod slots;
mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::Cluster;
pub use config::{RedisConfig, RedisConfigError};
pub use credentials::{RedisCredentials, RedisCredentialsError, RedisLogin};
pub use entries::{EntryTotals, StoredEntries};
use fred::error::{Error as FredError, ErrorKind};
use fred::prelude::{Builder, Client, Config, ReconnectPolicy, Server, ServerConfig, TcpConfig};
use fred::types::config::{TlsConfig, TlsConnector, UnresponsiveConfig};
use futures_util::future::BoxFuture;
use logins::Logins;
use parking_lot::RwLock;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use score::{Store, StoreEntry, StoreError};
use tracing::{debug, info};

/// A connection has two steps, to connect and to log in; each may take this long.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);
/// Between two questions to a silent peer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// The system refuses the whole connection for a longer silence.
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(32_767);
/// How long sent bytes may stay unacknowledged. Without it Linux believes in a dead peer for a quarter of an hour.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

const MIN_PATIENCE: Duration = Duration::from_secs(1);

/// A Redis server or cluster. Commands fail at once while there is no connection; nothing queues up.
pub struct RedisStore {
    endpoint: Arc<Endpoint>,
    /// The connections in use. Locked for one read or replacement at a time, never across an await; a session that is
    /// replaced ends when the last call that uses it does.
    session: RwLock<Option<Arc<Cluster>>>,
}

/// How to get to the servers.
struct Endpoint {
    config: RedisConfig,
    tls: Option<rustls::ClientConfig>,
    /// How long the server may be silent before the connection counts as lost.
    patience: Duration,
    logins: Option<Arc<Logins>>,
}

impl RedisStore {
    /// Prepares the store; [`Store::connect`] opens the connection.
    ///
    /// # Errors
    /// If TLS is wanted and no trusted certificates can be read.
    pub fn new(config: RedisConfig) -> Result<Self, RedisConfigError> {
        Self::with_patience(config, MIN_PATIENCE)
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
        let tls = match &config.tls {
            Some(_) => Some(tls_config(&config)?),
            None => None,
        };
        let logins = config.credentials.clone().map(Logins::new).map(Arc::new);
        Ok(Self {
            endpoint: Arc::new(Endpoint {
                config,
                tls,
                logins,
                patience: patience.max(MIN_PATIENCE),
            }),
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

impl Endpoint {
    /// A client of one server. With `fail_fast` it gives up if the first attempt to connect fails.
    fn client(&self, host: &str, port: u16, fail_fast: bool) -> Result<Client, FredError> {
        let mut builder = Builder::from_config(self.fred_config(host, port, fail_fast));
        builder.with_connection_config(|connection| {
            let patience = self.config.connect_timeout.min(MAX_CONNECT_TIME);
            connection.connection_timeout = patience;
            connection.internal_command_timeout = patience;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = 65_536;
            connection.auto_client_setname = false;
            connection.reconnect_on_auth_error = true;
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(self.patience),
                interval: Duration::from_millis(200),
            };
            connection.tcp = self.tcp_config();
        });
        builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 500, 2));
        builder.build()
    }

    fn tcp_config(&self) -> TcpConfig {
        TcpConfig {
            nodelay: Some(true),
            keepalive: Some(
                socket2::TcpKeepalive::new()
                    .with_time(self.config.keep_alive.min(MAX_KEEP_ALIVE))
                    .with_interval(KEEP_ALIVE_INTERVAL),
            ),
            #[cfg(target_os = "linux")]
            user_timeout: Some(TCP_USER_TIMEOUT),
            ..TcpConfig::default()
        }
    }

    fn fred_config(&self, host: &str, port: u16, fail_fast: bool) -> Config {
        Config {
            server: ServerConfig::Centralized {
                server: self.server(host, port),
            },
            username: self.config.username.clone(),
            password: self.config.password.clone(),
            credential_provider: self.logins.clone().map(|logins| logins as _),
            database: self.config.database,
            fail_fast,
            tls: self
                .tls
                .clone()
                .map(|tls| TlsConfig::from(TlsConnector::from(tls))),
            ..Config::default()
        }
    }

    /// By name, never by address: the library asks DNS again for every connection it makes, and addresses change.
    fn server(&self, host: &str, port: u16) -> Server {
        let mut server = Server::new(host, port);
        if let Some(tls) = &self.config.tls {
            let name = tls.server_name.as_deref();
            server.tls_server_name = name.or_else(|| self.name_of(host)).map(Into::into);
        }
        server
    }

    /// The name in the certificate of a server that a cluster announced by its address: clusters on Azure do so, while
    /// certificates are made out to the name of the endpoint.
    fn name_of(&self, host: &str) -> Option<&str> {
        let is_address = |host: &str| host.parse::<IpAddr>().is_ok();
        let mut names = self.config.hosts.iter().map(|(name, _)| name.as_str());
        is_address(host).then(|| names.find(|name| !is_address(name)))?
    }

    /// The login to connect with; `None` where user and password are fixed.
    async fn login(&self) -> Result<Option<(Arc<Logins>, RedisLogin)>, StoreError> {
        let Some(logins) = &self.logins else {
            return Ok(None);
        };
        match logins.get().await {
            Ok(login) => Ok(Some((logins.clone(), login))),
            Err(error) => {
                let reason = format!("{}: {error}", self.config.describe());
                Err(StoreError::Unreachable(reason))
            }
        }
    }

    /// Why there is no connection.
    fn explain_connecting(&self, error: &FredError) -> StoreError {
        if let (ErrorKind::Auth, Some(logins)) = (error.kind(), &self.logins) {
            logins.refuse();
        }
        explain::connecting(&self.config, error)
    }

    /// Why a command failed.
    fn explain(&self, error: &FredError) -> StoreError {
        explain::answering(&self.config, error)
    }
}

fn tls_config(config: &RedisConfig) -> Result<rustls::ClientConfig, RedisConfigError> {
    let mut roots = rustls::RootCertStore::empty();
    match &config.ca_file {
        Some(path) => {
            let unreadable = |reason: String| RedisConfigError::CaFile {
                path: path.display().to_string(),
                reason,
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|e| unreadable(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unreadable("no PEM certificate in it".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(RedisConfigError::NoSystemCertificates);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| RedisConfigError::Tls(error.to_string()))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
