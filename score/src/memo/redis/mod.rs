//! Redis through `fred`: the only place that knows the client library and its TLS.

mod cluster;
mod config;
mod entries;
mod node;
mod slots;
mod table;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use cluster::Cluster;
pub use config::{RedisConfig, RedisConfigError};
pub use entries::{EntryTotals, StoredEntries};
use fred::error::{Error as FredError, ErrorKind};
use fred::prelude::{Builder, Client, Config, ReconnectPolicy, Server, ServerConfig, TcpConfig};
use fred::types::config::{TlsConfig, TlsConnector, UnresponsiveConfig};
use futures_util::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracing::info;

use super::store::{MemoStore, StoreEntry, StoreError};

/// A connection has two steps, to connect and to log in; each may take this long.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);

const MIN_PATIENCE: Duration = Duration::from_secs(1);

/// A Redis server or cluster. Commands fail at once while there is no connection; nothing queues up.
pub struct RedisStore {
    endpoint: Arc<Endpoint>,
    session: RwLock<Option<Arc<Cluster>>>,
}

/// How to get to the servers.
struct Endpoint {
    config: RedisConfig,
    tls: Option<rustls::ClientConfig>,
    /// How long the server may be silent before the connection counts as lost.
    patience: Duration,
}

impl RedisStore {
    /// Prepares the store; [`MemoStore::connect`] opens the connection.
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
        Ok(Self {
            endpoint: Arc::new(Endpoint {
                config,
                tls,
                patience: patience.max(MIN_PATIENCE),
            }),
            session: RwLock::new(None),
        })
    }

    fn session(&self) -> Option<Arc<Cluster>> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    fn replace_session(&self, session: Cluster) -> Option<Arc<Cluster>> {
        let mut present = self.session.write().unwrap_or_else(PoisonError::into_inner);
        present.replace(Arc::new(session))
    }
}

impl MemoStore for RedisStore {
    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let mut servers = self.endpoint.config.hosts.clone();
            // The configured node of a cluster may be the one that is gone.
            if let Some(session) = self.session().filter(|session| session.is_clustered()) {
                servers.extend(session.servers());
            }
            let session = Cluster::connect(self.endpoint.clone(), &servers)
                .await
                .map_err(|error| self.endpoint.explain(&error))?;
            let clustered = session.is_clustered();
            let count = session.servers().len();
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
            connection.tcp = TcpConfig {
                nodelay: Some(true),
                keepalive: Some(socket2::TcpKeepalive::new().with_time(Duration::from_secs(60))),
                ..TcpConfig::default()
            };
        });
        builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 500, 2));
        builder.build()
    }

    fn fred_config(&self, host: &str, port: u16, fail_fast: bool) -> Config {
        Config {
            server: ServerConfig::Centralized {
                server: self.server(host, port),
            },
            username: self.config.username.clone(),
            password: self.config.password.clone(),
            database: self.config.database,
            fail_fast,
            tls: self
                .tls
                .clone()
                .map(|tls| TlsConfig::from(TlsConnector::from(tls))),
            ..Config::default()
        }
    }

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

    /// The error in words that say what to change. Secrets never appear in the library's own texts.
    fn explain(&self, error: &FredError) -> StoreError {
        let (place, details) = (self.config.describe(), error.details());
        let reason = match error.kind() {
            ErrorKind::Auth => format!("{place} refuses the user or password ({details})"),
            ErrorKind::Tls => format!("{place}: TLS failed ({details}); is this the TLS port?"),
            ErrorKind::IO if details.contains("ertificate") => format!(
                "{place}: its certificate is not trusted ({details}); see REDIS_CA_FILE and sslHost"
            ),
            ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout | ErrorKind::Routing => {
                format!("{place}: {details}")
            }
            _ if is_server_reply(details) => {
                return StoreError::Refused(format!("{place}: {details}"));
            }
            kind => format!("{place}: {kind:?} {details}"),
        };
        StoreError::Unreachable(reason)
    }
}

/// Redis starts error replies with a word in capitals: `OOM command not allowed`, `READONLY You can't write`.
fn is_server_reply(details: &str) -> bool {
    let word = details.split(' ').next().unwrap_or_default();
    word.len() >= 3 && word.bytes().all(|b| b.is_ascii_uppercase())
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
