//! The connection strings of the Azure portal, as StackExchange.Redis reads them.

use std::time::Duration;

use crate::config::{
    CACHE_TLS_PORT, CONNECT_TIMEOUT, KEEP_ALIVE, MANAGED_PORT, RedisConfig, RedisConfigError,
    RedisTls, database, host_and_port, malformed,
};

const AZURE_HOSTS: [&str; 2] = [".redis.azure.net", ".redis.cache.windows.net"];

/// Keys of connection strings that have an effect.
const UNDERSTOOD: [&str; 7] = [
    "password",
    "user",
    "ssl",
    "sslHost",
    "connectTimeout",
    "keepAlive",
    "defaultDatabase",
];
/// Keys whose jobs are done by `REDIS_TIMEOUT`, the circuit breaker and the connection's own rules, and those for
/// what is not done here, such as administration and messages.
const IGNORED: [&str; 24] = [
    "abortConnect",
    "allowAdmin",
    "asyncTimeout",
    "channelPrefix",
    "checkCertificateRevocation",
    "configChannel",
    "configCheckSeconds",
    "connectRetry",
    "heartbeatConsistencyChecks",
    "heartbeatInterval",
    "highIntegrity",
    "highPrioritySocketThreads",
    "includeDetailInExceptions",
    "includePerformanceCountersInExceptions",
    "name",
    "protocol",
    "resolveDns",
    "responseTimeout",
    "setLib",
    "sslProtocols",
    "syncTimeout",
    "tieBreaker",
    "version",
    "writeBuffer",
];
/// What is said of a part that is neither a host nor a pair. It may be a password, or the rest of one.
const WRITE_PASSWORDS: &str = "a password is written password=..., and one with a comma in it cannot be written in this form: set \
                               REDIS_URL instead, with %2C for the comma";
/// Keys for kinds of servers that this client does not know.
const UNSUPPORTED: [&str; 3] = ["proxy", "serviceName", "tunnel"];

impl RedisConfig {
    /// Reads the StackExchange.Redis form that the Azure portal shows:
    /// `host:port[,host:port...],password=...,ssl=True,...`. The second part of the answer lists what was not
    /// understood or was assumed, for the log.
    ///
    /// # Errors
    /// [`RedisConfigError::Malformed`] naming the key whose value is wrong, or the number of a part that is neither a host
    /// nor a pair. No part is repeated, since it may be a secret.
    pub fn from_connection_string(text: &str) -> Result<(Self, Vec<String>), RedisConfigError> {
        refuse_url(text)?;
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
            credentials: None,
            database: None,
            connect_timeout: CONNECT_TIMEOUT,
            keep_alive: KEEP_ALIVE,
            ca_file: None,
        };
        for (position, part) in text.split(',').map(str::trim).enumerate() {
            if part.is_empty() {
                continue;
            }
            // Keys end in `=`, so only the first one separates.
            let Some((key, value)) = part.split_once('=') else {
                // Behind a password it is the rest of one that has a comma in it.
                if config.password.is_some() {
                    return Err(neither_host_nor_pair(position));
                }
                endpoints.push((position, part));
                continue;
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "ssl" => ssl = Some(boolean("ssl", value)?),
                "sslhost" => tls.server_name = non_empty(value),
                key if config.set(key, value)? || is_one_of(&IGNORED, key) => {}
                key => remarks.push(unknown_pair(position + 1, key)),
            }
        }
        let several = endpoints.len() > 1;
        let strangers = endpoints
            .iter()
            .find(|(_, part)| !is_endpoint(part, several));
        if let Some((position, _)) = strangers {
            return Err(neither_host_nor_pair(*position));
        }
        let endpoints: Vec<&str> = endpoints.into_iter().map(|(_, part)| part).collect();
        let encrypted = ssl.unwrap_or_else(|| guessed_tls(&endpoints, &mut remarks));
        config.hosts = endpoints
            .into_iter()
            .map(|endpoint| host_and_port(endpoint, encrypted))
            .collect::<Result<_, _>>()?;
        if config.hosts.is_empty() {
            return Err(malformed(
                "expected host:port first, then key=value pairs, with commas between them",
            ));
        }
        config.clustered = config.hosts.len() > 1;
        config.tls = encrypted.then_some(tls);
        Ok((config, remarks))
    }

    /// Takes the value of a key that concerns all hosts alike; `false` if it is another one.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, RedisConfigError> {
        match key {
            "password" => self.password = non_empty(value),
            "user" => self.username = non_empty(value),
            "connecttimeout" => {
                let millis = at_least_one("connectTimeout", value, "milliseconds")?;
                self.connect_timeout = Duration::from_millis(millis);
            }
            "keepalive" => {
                let seconds = at_least_one("keepAlive", value, "seconds")?;
                self.keep_alive = Duration::from_secs(seconds);
            }
            "defaultdatabase" => self.database = database(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn refuse_url(text: &str) -> Result<(), RedisConfigError> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.trim());
    match scheme.is_some_and(|s| s.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')) {
        true => Err(malformed("this is a URL; set REDIS_URL instead")),
        false => Ok(()),
    }
}

fn neither_host_nor_pair(position: usize) -> RedisConfigError {
    malformed(format!(
        "part {}: expected host:port or key=value; {WRITE_PASSWORDS}",
        position + 1
    ))
}

/// Whether a part is certainly a host, and no password whose key was forgotten: it has a port; or it is the only one and a
/// name with dots, an address or `localhost`.
fn is_endpoint(part: &str, several: bool) -> bool {
    let (host, port) = match part.rsplit_once(':') {
        Some((host, port)) if !part.ends_with(']') => (host, Some(port)),
        _ => (part, None),
    };
    let is_address = host.starts_with('[') && host.ends_with(']');
    let is_name_part = |label: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    let is_name = host
        .strip_suffix('.')
        .unwrap_or(host)
        .split('.')
        .all(is_name_part);
    // `password:1234` and the like.
    let is_key =
        is_one_of(&UNDERSTOOD, host) || is_one_of(&IGNORED, host) || is_one_of(&UNSUPPORTED, host);
    match port {
        Some(port) => (is_address || is_name && !is_key) && port.parse::<u16>().is_ok(),
        None => {
            let is_known =
                is_address || host.contains('.') || host.eq_ignore_ascii_case("localhost");
            !several && is_known && (is_address || is_name)
        }
    }
}

/// Whether the addresses are those of servers that encrypt. That it was guessed is worth a remark.
fn guessed_tls(endpoints: &[&str], remarks: &mut Vec<String>) -> bool {
    let guess = endpoints.iter().any(|endpoint| is_usually_tls(endpoint));
    if guess {
        remarks.push("ssl is not given; the address says that it is on".to_owned());
    }
    guess
}

fn is_usually_tls(endpoint: &str) -> bool {
    match endpoint.rsplit_once(':') {
        Some((_, port)) => [CACHE_TLS_PORT, MANAGED_PORT]
            .iter()
            .any(|tls| port == tls.to_string()),
        None => AZURE_HOSTS.iter().any(|domain| endpoint.ends_with(domain)),
    }
}

/// The text itself is never repeated: where `password=` was forgotten, it is the password.
fn unknown_pair(position: usize, key: &str) -> String {
    if let Some(name) = UNSUPPORTED
        .iter()
        .find(|name| name.eq_ignore_ascii_case(key))
    {
        return format!("{name} is not supported and has no effect");
    }
    let known = UNDERSTOOD.iter().chain(&IGNORED);
    let nearest = known
        .map(|name| {
            (
                strsim::damerau_levenshtein(&name.to_ascii_lowercase(), key),
                name,
            )
        })
        .min()
        .filter(|(distance, _)| *distance <= 2);
    match nearest {
        Some((_, name)) => {
            format!("part {position} is not a known key=value pair; is {name} meant?")
        }
        None => format!("part {position} is not a known key=value pair"),
    }
}

fn non_empty(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn at_least_one(key: &str, value: &str, unit: &str) -> Result<u64, RedisConfigError> {
    let number = value.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| malformed(format!("{key} must be a number of {unit}, 1 or more")))
}

fn is_one_of(names: &[&str], key: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(key))
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
    fn takes_every_key_that_other_clients_take() {
        let (config, remarks) = RedisConfig::from_connection_string(
            "a:1,b:2, User=u ,PASSWORD=p=,ssl=true,sslHost=n,connectRetry=3,keepAlive=30,defaultDatabase=1,name=app,\
             syncTimeout=1000,asyncTimeout=1000,sslProtocols=tls12|tls13,resolveDns=True,tiebreaker=,abortConnect=False",
        )
        .unwrap();
        assert!(remarks.is_empty(), "{remarks:?}");
        assert!(config.clustered && config.database == Some(1));
        assert_eq!(config.keep_alive, Duration::from_secs(30));
        let login = (config.username.as_deref(), config.password.as_deref());
        assert_eq!(login, (Some("u"), Some("p=")));
        let (empty, _) =
            RedisConfig::from_connection_string("h:1,password=,user=,sslHost=").unwrap();
        assert_eq!((empty.username, empty.password), (None, None));
    }

    #[test]
    fn names_unknown_keys_without_repeating_what_may_be_a_secret() {
        let remarks = |text: &str| RedisConfig::from_connection_string(text).unwrap().1;
        assert_eq!(
            remarks("h:1,servicename=m,abortConect=False"),
            [
                "serviceName is not supported and has no effect",
                "part 3 is not a known key=value pair; is abortConnect meant?",
            ]
        );
        assert_eq!(
            remarks("h:1,s3cret+/="),
            ["part 2 is not a known key=value pair"]
        );
    }

    /// As people write them, in questions and bug reports about StackExchange.Redis, ioredis, redis-rb and others; their
    /// password is `hunter2`, or begins or ends with it.
    #[test]
    fn a_password_in_the_wrong_place_is_neither_a_host_nor_repeated() {
        for (text, expected) in [
            // A password without its key.
            ("h:6380,hunter2,ssl=True", "part 2"),
            ("h.example.net,hunter2", "part"),
            ("hunter2,h:6380,ssl=True", "part 1"),
            ("hunter2", "part 1"),
            ("hunter2,ssl=True", "part 1"),
            ("h:6380, hunter2:efgh ,ssl=True", "part 2"),
            // A password with a comma.
            ("h:16872,password=abcd,hunter2", "part 3"),
            ("h:6380,password=abcd,hunter2:6379,ssl=True", "part 3"),
            ("h:6380,password=*9?9pi?aK,hunter2_fAKSH,ssl=True", "part 3"),
            ("password=abcd,hunter2.example.net,ssl=True", "part 2"),
            ("server1,password=xyz,hunter2,password=abc", "part 3"),
            // Other signs between or in the parts.
            (
                "h:6380;password=hunter2;ssl=True",
                "with commas between them",
            ),
            (
                "h:6380 password=hunter2 ssl=True",
                "with commas between them",
            ),
            ("h:6380,password:hunter2,ssl=True", "part 2"),
            ("h:6380,PASSWORD:7002,ssl=True", "part 2"),
            ("h,6380,password=hunter2", "part 1"),
            ("h:6380:hunter2", "part 1"),
            ("h/hunter2", "part 1"),
            // URLs, and pieces of them.
            ("redis://:hunter2@h:6380", "this is a URL"),
            (
                "rediss://:sJ3RAYkWN8SlBu4y1+hunter2=@h:6380",
                "this is a URL",
            ),
            ("redis://h:6380?password=hunter2&tls=true", "this is a URL"),
            ("user:hunter2@h:6380", "part 1"),
            (":hunter2@h:6380,ssl=True", "part 1"),
            ("hunter2@h.example.net", "part 1"),
            // Nothing but a password, or an empty host.
            ("password=hunter2,ssl=True", "expected host:port first"),
            (",ssl=true,password=hunter2", "expected host:port first"),
            ("sJ3RAYkWN8SlBu4y1+hunter2=", "expected host:port first"),
        ] {
            let error = RedisConfig::from_connection_string(text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn hosts_are_names_addresses_and_one_of_them_alone() {
        for (text, expected) in [
            ("localhost", &["localhost:6379"][..]),
            ("127.0.0.1,password=p", &["127.0.0.1:6379"]),
            ("[::1]", &["::1:6379"]),
            (
                "ssl=False,my_cache.example.net.:7000",
                &["my_cache.example.net.:7000"],
            ),
            (
                "redis0:6380,[::1]:6381,10.0.0.1:6382,allowAdmin=true",
                &["redis0:6380", "::1:6381", "10.0.0.1:6382"],
            ),
        ] {
            let (config, _) = RedisConfig::from_connection_string(text).unwrap();
            let hosts: Vec<_> = config
                .hosts
                .iter()
                .map(|(host, port)| format!("{host}:{port}"))
                .collect();
            assert_eq!(hosts, expected, "{text}");
        }
    }

    #[test]
    fn guesses_tls_from_the_port_and_says_so() {
        let (config, remarks) =
            RedisConfig::from_connection_string("h:10000,colour=red,sslHost=other").unwrap();
        assert_eq!(config.tls.unwrap().server_name.as_deref(), Some("other"));
        assert_eq!(remarks.len(), 2);
        let (plain, _) = RedisConfig::from_connection_string("h:10000,ssl=false").unwrap();
        assert_eq!(plain.tls, None);
        let (bare, _) = RedisConfig::from_connection_string("n.redis.cache.windows.net").unwrap();
        assert!(bare.tls.is_some() && bare.hosts[0].1 == 6380);
    }

    #[test]
    fn refuses_malformed_connection_strings() {
        for text in [
            "",
            "password=x",
            "h:1,ssl=maybe",
            "h:1,connectTimeout=soon",
            "h:1,keepAlive=0",
        ] {
            assert!(RedisConfig::from_connection_string(text).is_err(), "{text}");
        }
    }
}
