//! Where Redis is and how to get in: URLs and the connection strings of the Azure portal.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

const PLAIN_PORT: u16 = 6379;
/// Azure Cache for Redis listens for TLS here.
const CACHE_TLS_PORT: u16 = 6380;
/// Azure Managed Redis listens here, with and without TLS.
const MANAGED_PORT: u16 = 10_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A Redis endpoint. Its `Debug` form hides the password.
#[derive(Clone, PartialEq, Eq)]
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
    /// The logical database.
    pub database: Option<u8>,
    /// How long a connection attempt may take.
    pub connect_timeout: Duration,
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
    /// TLS is wanted and the operating system trusts nobody.
    #[error("no trusted certificates on this system; install ca-certificates or set REDIS_CA_FILE")]
    NoSystemCertificates,
    /// The TLS library refused its configuration.
    #[error("TLS: {0}")]
    Tls(String),
}

fn malformed(message: impl Into<String>) -> RedisConfigError {
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
            database: database(path)?,
            connect_timeout: CONNECT_TIMEOUT,
            ca_file: None,
        })
    }

    /// Reads the StackExchange.Redis form that the Azure portal shows:
    /// `host:port[,host:port...],password=...,ssl=True,...`. The second part of the answer lists what was not
    /// understood or was assumed, for the log.
    ///
    /// # Errors
    /// [`RedisConfigError::Malformed`] naming the key whose value is wrong.
    pub fn from_connection_string(text: &str) -> Result<(Self, Vec<String>), RedisConfigError> {
        let mut remarks = Vec::new();
        let mut endpoints = Vec::new();
        let mut ssl = None;
        let mut tls = RedisTls::default();
        let mut config = Self {
            hosts: Vec::new(),
            clustered: false,
            tls: None,
            username: None,
            password: None,
            database: None,
            connect_timeout: CONNECT_TIMEOUT,
            ca_file: None,
        };
        for (position, part) in text.split(',').map(str::trim).enumerate() {
            if part.is_empty() {
                continue;
            }
            // Keys end in `=`, so only the first one separates.
            let Some((key, value)) = part.split_once('=') else {
                endpoints.push(part);
                continue;
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "password" => config.password = Some(value.to_owned()),
                "user" => config.username = Some(value.to_owned()),
                "ssl" => ssl = Some(boolean("ssl", value)?),
                "sslhost" => tls.server_name = Some(value.to_owned()),
                "connecttimeout" => {
                    let millis = value.parse().map_err(|_| {
                        malformed("connectTimeout must be a number of milliseconds")
                    })?;
                    config.connect_timeout = Duration::from_millis(millis);
                }
                "defaultdatabase" => config.database = database(value)?,
                // Their jobs are done by REDIS_TIMEOUT, the circuit breaker and the connection's own rules.
                "abortconnect" | "synctimeout" | "asynctimeout" | "connectretry" | "keepalive"
                | "name" | "sslprotocols" | "resolvedns" | "tiebreaker" | "allowadmin" => {}
                // Not quoted: where `password=` was forgotten, this is the password.
                _ => remarks.push(format!(
                    "part {} is not a known key=value pair",
                    position + 1
                )),
            }
        }
        let tls_port = |endpoint: &&str| {
            endpoint.ends_with(&format!(":{CACHE_TLS_PORT}"))
                || endpoint.ends_with(&format!(":{MANAGED_PORT}"))
        };
        let encrypted = ssl.unwrap_or_else(|| {
            let guess = endpoints.iter().any(tls_port);
            if guess {
                remarks.push("ssl is not given; the port says that it is on".to_owned());
            }
            guess
        });
        config.hosts = endpoints
            .into_iter()
            .map(|endpoint| host_and_port(endpoint, encrypted))
            .collect::<Result<_, _>>()?;
        if config.hosts.is_empty() {
            return Err(malformed("expected host:port first, then key=value pairs"));
        }
        config.clustered = config.hosts.len() > 1;
        config.tls = encrypted.then_some(tls);
        Ok((config, remarks))
    }

    /// The endpoint for logs: hosts, TLS and kind of authentication, without any secret.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self
            .hosts
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        let tls = if self.tls.is_some() { "TLS" } else { "no TLS" };
        let auth = match (&self.username, &self.password) {
            (Some(_), Some(_)) => "user and password",
            (_, Some(_)) => "password",
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

fn host_and_port(text: &str, tls: bool) -> Result<(String, u16), RedisConfigError> {
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

fn database(text: &str) -> Result<Option<u8>, RedisConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = text
        .parse()
        .map_err(|_| malformed("the database must be a number from 0 to 255"))?;
    Ok(Some(number))
}

fn boolean(key: &str, value: &str) -> Result<bool, RedisConfigError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(malformed(format!("{key} must be True or False"))),
    }
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
    fn reads_the_portals_connection_string() {
        let (config, remarks) = RedisConfig::from_connection_string(
            "n.redis.cache.windows.net:6380,password=abc+/=,ssl=True,abortConnect=False,connectTimeout=700",
        )
        .unwrap();
        assert_eq!(config.password.as_deref(), Some("abc+/="));
        assert_eq!(config.tls, Some(RedisTls::default()));
        assert_eq!(config.connect_timeout, Duration::from_millis(700));
        assert!(remarks.is_empty(), "{remarks:?}");
    }

    #[test]
    fn guesses_tls_from_the_port_and_says_so() {
        let (config, remarks) =
            RedisConfig::from_connection_string("h:10000,colour=red,sslHost=other").unwrap();
        assert_eq!(config.tls.unwrap().server_name.as_deref(), Some("other"));
        assert_eq!(remarks.len(), 2);
        let (plain, _) = RedisConfig::from_connection_string("h:10000,ssl=false").unwrap();
        assert_eq!(plain.tls, None);
    }

    #[test]
    fn refuses_malformed_connection_strings() {
        for text in ["", "password=x", "h:1,ssl=maybe", "h:1,connectTimeout=soon"] {
            assert!(RedisConfig::from_connection_string(text).is_err(), "{text}");
        }
    }

    #[test]
    fn never_shows_the_password() {
        let config = RedisConfig::from_url("rediss://user:hunter2@h:1").unwrap();
        let shown = format!("{config:?} {}", config.describe());
        assert!(!shown.contains("hunter2") && shown.contains("h:1"));
    }
}
