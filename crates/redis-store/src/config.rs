//! Where Redis is and how to get in; and the form as a URL.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::credentials::RedisCredentials;

const PLAIN_PORT: u16 = 6379;
/// Azure Cache for Redis listens for TLS here.
pub(super) const CACHE_TLS_PORT: u16 = 6380;
/// Azure Managed Redis listens here, with and without TLS.
pub(super) const MANAGED_PORT: u16 = 10_000;
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A Redis endpoint. Its `Debug` form hides the password.
#[derive(Clone)]
pub struct RedisConfig {
    /// Host and port of the server, or of some nodes of a cluster.
    pub hosts: Vec<(String, u16)>,
    /// Whether the servers must form a cluster; one that is not announced so is found out.
    pub clustered: bool,
    /// `None` for a plain connection.
    pub tls: Option<RedisTls>,
    /// The ACL user; `None` for the default one.
    pub username: Option<String>,
    /// Password or access key.
    pub password: Option<String>,
    /// Where user and password come from if they change; instead of fixed ones.
    pub credentials: Option<Arc<dyn RedisCredentials>>,
    /// The logical database.
    pub database: Option<u8>,
    /// How long a connection attempt may take.
    pub connect_timeout: Duration,
    /// How long a connection is silent before the system asks whether the other end is still there.
    pub keep_alive: Duration,
    /// A PEM file with the only certificate authorities to trust; `None` for those of the operating system.
    pub ca_file: Option<PathBuf>,
}

/// How the server proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisTls {
    /// The name expected in the certificate, if it is not the host's.
    pub server_name: Option<String>,
}

/// Why a Redis endpoint cannot be used. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisConfigError {
    /// The URL or connection string is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The file of certificate authorities cannot be used.
    #[error("REDIS_CA_FILE {path}: {reason}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS is wanted and the operating system trusts no authority.
    #[error("no trusted certificates on this system; install ca-certificates or set REDIS_CA_FILE")]
    NoSystemCertificates,
    /// The TLS library refused its configuration.
    #[error("TLS: {0}")]
    Tls(String),
}

pub(super) fn malformed(message: impl Into<String>) -> RedisConfigError {
    RedisConfigError::Malformed(message.into())
}

impl RedisConfig {
    /// Reads `redis://`, `rediss://` (TLS), `redis-cluster://` or `rediss-cluster://`, followed by
    /// `[user]:[percent-encoded password]@host[:port][,host[:port]...][/database]`.
    ///
    /// # Errors
    /// [`RedisConfigError::Malformed`] with what was expected; the URL itself is not repeated, since it may hold a key.
    pub fn from_url(url: &str) -> Result<Self, RedisConfigError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| malformed("expected redis://host:port or rediss://host:port"))?;
        let (tls, clustered) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis-cluster" => (false, true),
            "rediss-cluster" => (true, true),
            _ => {
                return Err(malformed(
                    "the scheme must be redis, rediss, redis-cluster or rediss-cluster",
                ));
            }
        };
        // The last @ ends the credentials: hosts and database hold none, and an access key pasted without encoding may
        // hold a slash.
        let (credentials, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let (username, password) = match credentials.split_once(':') {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (decoded(credentials)?, None),
        };
        let hosts = hosts
            .split(',')
            .map(|host| host_and_port(host, tls))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            clustered: clustered || hosts.len() > 1,
            hosts,
            tls: tls.then(RedisTls::default),
            username,
            password,
            credentials: None,
            database: database(path)?,
            connect_timeout: CONNECT_TIMEOUT,
            keep_alive: KEEP_ALIVE,
            ca_file: None,
        })
    }

    /// The endpoint for logs: hosts, TLS and kind of authentication, without any secret.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self
            .hosts
            .iter()
            .map(|(host, port)| match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            })
            .collect();
        let tls = if self.tls.is_some() { "TLS" } else { "no TLS" };
        let auth = match (&self.credentials, &self.username, &self.password) {
            (Some(credentials), _, _) => credentials.kind(),
            (_, Some(_), Some(_)) => "user and password",
            (_, _, Some(_)) => "password",
            _ => "no password",
        };
        let kind = if self.clustered {
            "redis cluster"
        } else {
            "redis"
        };
        format!("{kind} at {} ({tls}, {auth})", hosts.join(","))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisConfig({})", self.describe())
    }
}

fn decoded(text: &str) -> Result<Option<String>, RedisConfigError> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| malformed("user and password must be percent-encoded UTF-8"))?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

pub(super) fn host_and_port(text: &str, tls: bool) -> Result<(String, u16), RedisConfigError> {
    let wrong = || malformed("expected host:port");
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or_else(wrong)?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(['/', '@', ' ', '=', '%']) {
        return Err(wrong());
    }
    let port = match port {
        Some(port) => port.parse().map_err(|_| wrong())?,
        None => default_port(host, tls),
    };
    Ok((host.to_owned(), port))
}

fn default_port(host: &str, tls: bool) -> u16 {
    if host.ends_with(".redis.azure.net") {
        MANAGED_PORT
    } else if tls && host.ends_with(".redis.cache.windows.net") {
        CACHE_TLS_PORT
    } else {
        PLAIN_PORT
    }
}

pub(super) fn database(text: &str) -> Result<Option<u8>, RedisConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = text
        .parse()
        .map_err(|_| malformed("the database must be a number from 0 to 255"))?;
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let plain = RedisConfig::from_url("redis://127.0.0.1:7000/3").unwrap();
        assert_eq!(plain.hosts, [("127.0.0.1".to_owned(), 7000)]);
        assert_eq!((plain.tls, plain.database), (None, Some(3)));

        let azure =
            RedisConfig::from_url("rediss://:a%2Bb%2F%3D@n.redis.cache.windows.net").unwrap();
        assert_eq!(azure.password.as_deref(), Some("a+b/="));
        assert_eq!(azure.username, None);
        assert_eq!(azure.hosts[0].1, 6380);
        assert!(azure.tls.is_some());

        let cluster = RedisConfig::from_url("redis-cluster://u:p@[::1]:7001,b:7002").unwrap();
        assert!(cluster.clustered);
        assert_eq!(
            cluster.hosts,
            [("::1".to_owned(), 7001), ("b".to_owned(), 7002)]
        );
        assert_eq!(cluster.username.as_deref(), Some("u"));

        let pasted = RedisConfig::from_url("redis://:a+b/c@d=@h:1/2").unwrap();
        assert_eq!(pasted.password.as_deref(), Some("a+b/c@d="));
        assert_eq!(
            (pasted.hosts, pasted.database),
            (vec![("h".to_owned(), 1)], Some(2))
        );
    }

    #[test]
    fn refuses_malformed_urls_without_repeating_them() {
        for url in [
            "localhost:6379",
            "http://secret@h",
            "redis://",
            "redis://:sec/ret@h:1:2",
            "redis://h:port",
            "redis://h:1/x",
            "redis://:%ff@h",
        ] {
            let error = RedisConfig::from_url(url).unwrap_err().to_string();
            assert!(!error.contains("sec"), "{error}");
        }
    }

    #[test]
    fn never_shows_the_password() {
        let config = RedisConfig::from_url("rediss://user:hunter2@h:1").unwrap();
        let shown = format!("{config:?} {}", config.describe());
        assert!(!shown.contains("hunter2") && shown.contains("h:1"));
    }
}
