//! What went wrong with Redis, in one line that says what to change.
//!
//! The client library passes on the errors below it as their debug text only, so that is what is looked at here; what
//! each of them comes to is tested against real servers.

use fred::error::{Error as FredError, ErrorKind};

use crate::config::RedisConfig;
use score::StoreError;

/// Longer texts of a server are cut.
const MAX_QUOTED: usize = 200;
/// As many characters as tell a password.
const KNOWN_BY: usize = 6;
/// Longer words, in bytes, are tokens. Redis itself repeats at most 128 bytes.
const MAX_WORD: usize = 64;

/// Why there is no connection. Secrets never appear in the library's own texts, and a server's are redacted.
pub(super) fn connecting(config: &RedisConfig, error: &FredError) -> StoreError {
    let place = config.describe();
    let (whole, shown) = (plain_text(error.details()), redacted(config, error));
    let details = shown.as_str();
    let has_tls = config.tls.is_some();
    let reason = match error.kind() {
        ErrorKind::Auth if config.credentials.is_some() => format!(
            "{place} refuses the identity ({details}); give its object id an access policy on the cache"
        ),
        ErrorKind::Auth if details.starts_with("NOAUTH") => format!(
            "{place} needs a password ({details}); give it in REDIS_URL or REDIS_CONNECTION_STRING"
        ),
        ErrorKind::Auth => format!("{place} refuses the user or password ({details})"),
        ErrorKind::IO | ErrorKind::Tls if whole.contains("InvalidCertificate") => {
            format!("{place}: {}", certificate_fault(config, whole))
        }
        ErrorKind::IO | ErrorKind::Tls if details.contains("lookup address") => {
            format!("{place}: the host name is not known ({details})")
        }
        ErrorKind::Timeout if has_tls => format!(
            "{place} did not answer in time; is it reachable, and is this its port with TLS (for one without: redis:// \
             or ssl=False)?"
        ),
        ErrorKind::Timeout => format!("{place} did not answer in time; is it reachable?"),
        ErrorKind::IO | ErrorKind::Protocol | ErrorKind::Tls if has_tls && is_no_tls(details) => {
            format!(
                "{place} does not speak TLS on this port ({details}); for a port without: redis:// or ssl=False"
            )
        }
        ErrorKind::IO | ErrorKind::Protocol if !has_tls && is_cut_off(details) => {
            format!(
                "{place} ended the connection at once ({details}); if this is its port with TLS: rediss:// or ssl=True"
            )
        }
        _ => return answering(config, error),
    };
    StoreError::Unreachable(reason)
}

/// Why a command failed on a connection that there is.
pub(super) fn answering(config: &RedisConfig, error: &FredError) -> StoreError {
    let (place, shown) = (config.describe(), redacted(config, error));
    let details = shown.as_str();
    match error.kind() {
        ErrorKind::Auth => StoreError::Unreachable(format!("{place} wants a login ({details})")),
        ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout | ErrorKind::Routing => {
            StoreError::Unreachable(format!("{place}: {details}"))
        }
        _ if details.starts_with("NOPERM") => StoreError::Refused(format!(
            "{place}: {details}; the user needs +get +mget +set on ~score:* (or another SCORE_CACHE_NAMESPACE), +get +mget \
             (for hashes +hmget too, and +type) on features, and with a cluster +cluster|slots"
        )),
        _ if details.starts_with("MOVED") => StoreError::Refused(format!(
            "{place}: {details}; if this lasts, the user lacks +cluster|slots, without which a cluster cannot be recognised"
        )),
        _ if is_server_reply(details) => StoreError::Refused(format!("{place}: {details}")),
        kind => StoreError::Unreachable(format!("{place}: {kind:?} {details}")),
    }
}

fn certificate_fault(config: &RedisConfig, details: &str) -> String {
    let fault = details
        .split_once("InvalidCertificate(")
        .map_or(details, |(_, fault)| fault);
    if fault.starts_with("NotValidForName") {
        let host = expected_name(config);
        let names = presented_names(fault);
        return format!(
            "its certificate is not for the host {host} but for {names}; write that name into the address, or as \
             sslHost=<name> into REDIS_CONNECTION_STRING"
        );
    }
    let advice = if fault.starts_with("Expired") {
        "its certificate has expired; renew it, or set this machine's clock"
    } else if fault.starts_with("NotValidYet") {
        "its certificate is not valid yet; set this machine's clock"
    } else if fault.starts_with("UnknownIssuer") {
        "its certificate is of an authority that is not trusted here; name a file with that authority's certificate in \
         REDIS_CA_FILE"
    } else {
        return format!(
            "its certificate is not accepted ({})",
            quotable(fault.trim_end_matches([' ', ')', '}']))
        );
    };
    advice.to_owned()
}

fn expected_name(config: &RedisConfig) -> &str {
    let set = config
        .tls
        .as_ref()
        .and_then(|tls| tls.server_name.as_deref());
    let host = config.hosts.first().map(|(host, _)| host.as_str());
    set.or(host).unwrap_or_default()
}

/// The names in `presented: ["DnsName(\"a\")", "DnsName(\"b\")"]`.
fn presented_names(fault: &str) -> String {
    let list = fault
        .split_once("presented: [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(list, _)| list);
    let names: Vec<String> = list
        .split(", ")
        .map(|name| {
            let name = name.replace(['"', '\\', ')'], "");
            name.rsplit('(').next().unwrap_or_default().to_owned()
        })
        .filter(|name| !name.is_empty())
        .collect();
    match names.as_slice() {
        [] => "no host".to_owned(),
        names => quotable(&names.join(", ")),
    }
}

/// What the server or the library says, fit for a log: no longer than that, and up to the first secret in it.
pub(super) fn redacted(config: &RedisConfig, error: &FredError) -> String {
    let text = without_arguments(plain_text(error.details()));
    let password = config.password.as_deref().unwrap_or_default();
    // A server may have cut what it repeats, so the beginning of a password stands for all of it.
    let end = password.char_indices().nth(KNOWN_BY);
    let start = end.map_or(password, |(end, _)| &password[..end]);
    match text.find(start).filter(|_| !start.is_empty()) {
        Some(position) => quotable(&format!("{}***", &text[..position])),
        None => quotable(text),
    }
}

/// A text of a server, fit for a log if it does not hold a password that was set. Tokens that serve as passwords are
/// longer than any word.
pub(super) fn quotable(text: &str) -> String {
    let text = without_arguments(text);
    let word = text.split_whitespace().find(|word| word.len() > MAX_WORD);
    let text = match word.and_then(|word| text.find(word)) {
        Some(start) => format!("{}***", &text[..start]),
        None => text.to_owned(),
    };
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Servers repeat the arguments of a command that they do not know; those of AUTH are secret.
fn without_arguments(text: &str) -> &str {
    let start = text.find("with args beginning with");
    start.map_or(text, |start| text[..start].trim_end_matches([',', ' ']))
}

/// The message inside `Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }` and its like.
fn plain_text(details: &str) -> &str {
    for start in ["message: \"", "error: \""] {
        if let Some((_, rest)) = details.split_once(start)
            && let Some((message, _)) = rest.split_once('"')
        {
            return message;
        }
    }
    details
}

fn is_no_tls(details: &str) -> bool {
    details.contains("InvalidMessage") || details.contains("InvalidContentType")
}

fn is_cut_off(details: &str) -> bool {
    ["reset by peer", "roken pipe", "onnection closed", "EOF"]
        .iter()
        .any(|sign| details.contains(sign))
}

/// Redis starts error replies with a word in capitals: `OOM command not allowed`, `READONLY You can't write`.
fn is_server_reply(details: &str) -> bool {
    let word = details.split(' ').next().unwrap_or_default();
    word.len() >= 3 && word.bytes().all(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_messages_out_of_debug_texts() {
        let refused = r#"Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }"#;
        assert_eq!(plain_text(refused), "Connection refused");
        assert_eq!(plain_text("Connection closed."), "Connection closed.");
    }

    #[test]
    fn servers_texts_are_cut_and_hold_no_secret() {
        let config = RedisConfig::from_url("redis://:s3cret-and-more@h").unwrap();
        let text = |details: &str| {
            redacted(
                &config,
                &FredError::new(ErrorKind::Unknown, details.to_owned()),
            )
        };
        let unknown = "ERR unknown command 'AUTH', with args beginning with: 's3cr' ";
        assert_eq!(text(unknown), "ERR unknown command 'AUTH'");
        assert_eq!(text("ERR s3cret is wrong"), "ERR ***");
        assert_eq!(text("ERR s3cret-a"), "ERR ***");
        let token = "eyJ0".repeat(30);
        assert_eq!(text(&format!("ERR no {token} here")), "ERR no ***");
        assert_eq!(text(&"é ".repeat(300)), "é ".repeat(100) + "...");
    }

    #[test]
    fn names_the_hosts_a_certificate_is_for() {
        let fault = r#"NotValidForNameContext { expected: DnsName("h"), presented: ["DnsName(\"a.b\")", "IpAddress(1.2.3.4)"] }"#;
        assert_eq!(presented_names(fault), "a.b, 1.2.3.4");
        assert_eq!(presented_names("NotValidForName"), "no host");
    }
}
