//! Redis through `fred`: the only place that knows the client library and its TLS.

mod config;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
pub use config::{RedisConfig, RedisConfigError};
use fred::error::{Error as FredError, ErrorKind};
use fred::prelude::{
    Builder, Client, ClientLike, Config, KeysInterface, Options, ReconnectPolicy, Server,
    ServerConfig, TcpConfig,
};
use fred::types::config::{
    ClusterDiscoveryPolicy, TlsConfig, TlsConnector, TlsHostMapping, UnresponsiveConfig,
};
use fred::types::{ConnectHandle, Expiration};
use futures_util::future::{BoxFuture, join_all};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::store::{MemoStore, StoreEntry, StoreError};

/// A connection has two steps, to connect and to log in; each may take this long.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);

/// A Redis server or cluster. Commands fail at once while there is no connection; nothing queues up.
pub struct RedisStore {
    config: RedisConfig,
    tls: Option<rustls::ClientConfig>,
    session: RwLock<Option<Session>>,
}

/// A client with the task that drives it.
struct Session {
    client: Client,
    task: ConnectHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RedisStore {
    /// Prepares the store; [`MemoStore::connect`] opens the connection.
    ///
    /// # Errors
    /// If TLS is wanted and no trusted certificates can be read.
    pub fn new(config: RedisConfig) -> Result<Self, RedisConfigError> {
        let tls = match &config.tls {
            Some(_) => Some(tls_config(&config)?),
            None => None,
        };
        Ok(Self {
            config,
            tls,
            session: RwLock::new(None),
        })
    }

    fn client(&self) -> Result<Client, StoreError> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner);
        match &*session {
            Some(session) => Ok(session.client.clone()),
            None => Err(StoreError::Unreachable("not connected".to_owned())),
        }
    }

    fn replace_session(&self, session: Session) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    fn build_client(&self) -> Result<Client, FredError> {
        let mut builder = Builder::from_config(self.fred_config());
        builder.with_connection_config(|connection| {
            let patience = self.config.connect_timeout.min(MAX_CONNECT_TIME);
            connection.connection_timeout = patience;
            connection.internal_command_timeout = patience;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = 65_536;
            connection.auto_client_setname = false;
            connection.reconnect_on_auth_error = true;
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(Duration::from_secs(1)),
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

    fn fred_config(&self) -> Config {
        let servers: Vec<Server> = self
            .config
            .hosts
            .iter()
            .map(|(host, port)| self.server(host, *port))
            .collect();
        let server = match <[Server; 1]>::try_from(servers) {
            Ok([server]) if !self.config.clustered => ServerConfig::Centralized { server },
            Ok([server]) => clustered(vec![server]),
            Err(servers) => clustered(servers),
        };
        Config {
            server,
            username: self.config.username.clone(),
            password: self.config.password.clone(),
            database: self.config.database,
            fail_fast: true,
            tls: self.tls.clone().map(|tls| TlsConfig {
                connector: TlsConnector::from(tls),
                // Clusters on Azure announce addresses, while certificates are made out to the host name.
                hostnames: TlsHostMapping::DefaultHost,
            }),
            ..Config::default()
        }
    }

    fn server(&self, host: &str, port: u16) -> Server {
        let mut server = Server::new(host, port);
        let tls = self.config.tls.as_ref();
        server.tls_server_name = tls
            .and_then(|tls| tls.server_name.as_deref())
            .map(Into::into);
        server
    }

    /// Without retries or queueing: whoever asks has a budget and can do without an answer.
    fn options(&self) -> Options {
        Options {
            fail_fast: true,
            max_attempts: Some(1),
            ..Options::default()
        }
    }

    async fn get_each(
        &self,
        client: &Client,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Bytes>>, FredError> {
        let options = self.options();
        let client = client.with_options(&options);
        let gets = keys.iter().map(|key| client.get(key.as_str()));
        join_all(gets).await.into_iter().collect()
    }
}

impl MemoStore for RedisStore {
    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let client = self.build_client().map_err(|error| self.explain(&error))?;
            let task = client.init().await.map_err(|error| self.explain(&error))?;
            self.replace_session(Session { client, task });
            Ok(())
        })
    }

    fn get_many(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StoreError>> {
        Box::pin(async {
            let client = self.client()?;
            // A cluster refuses one command with keys of several slots; single commands travel together anyway.
            let answer = if client.is_clustered() {
                self.get_each(&client, keys).await
            } else {
                client.with_options(&self.options()).mget(keys).await
            };
            answer.map_err(|error| self.explain(&error))
        })
    }

    fn set_many(&self, entries: Vec<StoreEntry>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let client = self.client()?;
            let options = self.options();
            let client = client.with_options(&options);
            let sets = entries.into_iter().map(|entry| {
                let expire = entry
                    .ttl
                    .map(|ttl| Expiration::PX(ttl.as_millis().clamp(1, i64::MAX as u128) as i64));
                client.set::<(), _, _>(entry.key, entry.value, expire, None, false)
            });
            let outcome: Result<Vec<()>, FredError> = join_all(sets).await.into_iter().collect();
            outcome.map(|_| ()).map_err(|error| self.explain(&error))
        })
    }
}

impl RedisStore {
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

fn clustered(hosts: Vec<Server>) -> ServerConfig {
    ServerConfig::Clustered {
        hosts,
        // With the default policy a client whose only configured node has died never finds the others again.
        policy: ClusterDiscoveryPolicy::UseCache,
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
