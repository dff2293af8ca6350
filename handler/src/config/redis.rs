//! Where Redis is and who logs in to it, from the settings about it.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use redis_store::RedisConfig;

use super::reader::Reader;
use super::setting::Word;
use super::table;
use crate::entra::{EntraCredentials, Identity};

/// How the handler logs in to Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum RedisAuth {
    /// With what the address holds: user and password, or nothing.
    #[default]
    Key,
    /// With a token of Microsoft Entra ID.
    Entra,
}

impl Word for RedisAuth {
    const WORDS: &'static [(&'static str, Self)] = &[("key", Self::Key), ("entra", Self::Entra)];
}

/// The shared store, if there is one, and what was assumed about it.
pub(super) fn read(reader: &mut Reader<'_>) -> (Option<RedisConfig>, Vec<String>) {
    let url = reader.value(&table::REDIS_URL);
    let connection_string = reader.value(&table::REDIS_CONNECTION_STRING);
    let auth = reader.value(&table::REDIS_AUTH);
    let ca_file = reader.value(&table::REDIS_CA_FILE);
    let client_id = reader.value(&table::CLIENT_ID);
    let parsed = match (url, connection_string) {
        (None, None) => {
            let is_set =
                reader.is_set(&table::REDIS_URL) || reader.is_set(&table::REDIS_CONNECTION_STRING);
            if auth == RedisAuth::Entra && !is_set {
                let mistake =
                    "REDIS_AUTH=entra: expected REDIS_URL too, such as rediss://<host>:10000";
                reader.mistakes.push(mistake.to_owned());
            }
            return (None, Vec::new());
        }
        (Some(_), Some(_)) => {
            let mistake = "REDIS_URL and REDIS_CONNECTION_STRING: set one of them, not both";
            reader.mistakes.push(mistake.to_owned());
            return (None, Vec::new());
        }
        (Some(url), None) => {
            let config = RedisConfig::from_url(&url).map(|config| (config, Vec::new()));
            named("REDIS_URL", config)
        }
        (None, Some(text)) => named(
            "REDIS_CONNECTION_STRING",
            RedisConfig::from_connection_string(&text),
        ),
    };
    match parsed {
        Ok((mut config, remarks)) => {
            config.ca_file = ca_file;
            if auth == RedisAuth::Entra {
                use_entra(reader, &mut config, client_id);
            }
            (Some(config), remarks)
        }
        Err(mistake) => {
            reader.mistakes.push(mistake);
            (None, Vec::new())
        }
    }
}

fn use_entra(reader: &mut Reader<'_>, config: &mut RedisConfig, client_id: Option<String>) {
    if config.username.is_some() || config.password.is_some() {
        let mistake = "REDIS_AUTH=entra: expected an address without user and password; the handler logs in with the \
                       identity and its token";
        reader.mistakes.push(mistake.to_owned());
    }
    // A token opens every cache that the identity may use, so it must not cross a network without TLS. A connection within
    // the machine crosses none, and tests need no certificates there.
    if config.tls.is_none() && !config.hosts.iter().all(|(host, _)| is_loopback(host)) {
        let mistake = "REDIS_AUTH=entra: expected TLS, that is rediss:// or ssl=True";
        reader.mistakes.push(mistake.to_owned());
    }
    // The platform sets both where an app has a managed identity.
    let is_managed =
        reader.is_set(&table::IDENTITY_ENDPOINT) && reader.is_set(&table::IDENTITY_HEADER);
    let identity = match is_managed {
        true => Identity::Managed { client_id },
        false => Identity::Developer,
    };
    config.credentials = Some(Arc::new(EntraCredentials::new(identity)));
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The error under the name of its variable, without the value: it may hold a key.
fn named<T, E: Display>(name: &str, outcome: Result<T, E>) -> Result<T, String> {
    outcome.map_err(|error| format!("{name}: {error}"))
}
