//! How to get to the servers: addresses, TLS, logins, and the settings of every connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error as FredError, ErrorKind};
use fred::prelude::{Builder, Client, Config, ReconnectPolicy, Server, ServerConfig, TcpConfig};
use fred::types::config::{TlsConfig, TlsConnector, UnresponsiveConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use score::StoreError;

use crate::config::{RedisConfig, RedisConfigError};
use crate::credentials::RedisLogin;
use crate::explain;
use crate::logins::Logins;

/// A connection has two steps, to connect and to log in; each may take this long.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);
/// Between two questions to a silent peer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// The system refuses the whole connection for a longer silence.
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(32_767);
/// How long sent bytes may stay unacknowledged. Without it Linux believes in a dead peer for a quarter of an hour.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// The least time after which a silent server counts as lost.
const MIN_PATIENCE: Duration = Duration::from_secs(1);

/// How to get to the servers.
pub(crate) struct Endpoint {
    pub(crate) config: RedisConfig,
    tls: Option<rustls::ClientConfig>,
    /// How long the server may be silent before the connection counts as lost.
    patience: Duration,
    pub(crate) logins: Option<Arc<Logins>>,
}

impl Endpoint {
    /// Reads the certificates that the configuration names.
    ///
    /// # Errors
    /// If TLS is wanted and no trusted certificates can be read.
    pub(crate) fn new(config: RedisConfig, patience: Duration) -> Result<Self, RedisConfigError> {
        let tls = match &config.tls {
            Some(_) => Some(tls_config(&config)?),
            None => None,
        };
        let logins = config.credentials.clone().map(Logins::new).map(Arc::new);
        Ok(Self {
            config,
            tls,
            patience: patience.max(MIN_PATIENCE),
            logins,
        })
    }

    /// A client of one server. With `fail_fast` it gives up if the first attempt to connect fails.
    pub(crate) fn client(
        &self,
        host: &str,
        port: u16,
        fail_fast: bool,
    ) -> Result<Client, FredError> {
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
    pub(crate) async fn login(&self) -> Result<Option<(Arc<Logins>, RedisLogin)>, StoreError> {
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
    pub(crate) fn explain_connecting(&self, error: &FredError) -> StoreError {
        if let (ErrorKind::Auth, Some(logins)) = (error.kind(), &self.logins) {
            logins.refuse();
        }
        explain::connecting(&self.config, error)
    }

    /// Why a command failed.
    pub(crate) fn explain(&self, error: &FredError) -> StoreError {
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
