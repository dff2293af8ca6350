//! Every way into this crate for bytes from outside: what the fuzz targets and the bounded run of `cargo test` call. None of
//! them may panic on any bytes.

use bytes::Bytes;
use fred::prelude::Value;
use redis_protocol::resp2::types::BytesFrame;
use redis_protocol::{resp2, resp3};

use crate::config::RedisConfig;
use crate::{explain, slots};

/// What a server sends, as the client's parsers read it, and as a slot table or an error of it is read here.
pub fn replies(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let second = resp2::decode::decode_range(data);
    let third = resp3::decode::streaming::decode_range(data);
    for used in [
        second.ok().flatten().map(|(_, used)| used),
        third.ok().flatten().map(|(_, used)| used),
    ] {
        assert!(used.is_none_or(|used| used <= data.len()));
    }
    // The client reads the whole buffer, reply by reply.
    let mut rest = bytes;
    while let Ok(Some((frame, used))) = resp2::decode::decode_bytes(&rest) {
        assert!((1..=rest.len()).contains(&used));
        rest = rest.slice(used..);
        let value = value(frame);
        if let Some(text) = value.as_str() {
            let shown = explain::quotable(&text);
            assert!(shown.chars().count() <= 203);
        }
        for shard in slots::parse(value, "asked").unwrap_or_default() {
            assert!(!shard.host.is_empty());
        }
    }
}

/// As the client makes values of replies.
fn value(frame: BytesFrame) -> Value {
    match frame {
        BytesFrame::SimpleString(bytes) | BytesFrame::BulkString(bytes) => Value::Bytes(bytes),
        BytesFrame::Error(text) => Value::String(text),
        BytesFrame::Integer(number) => Value::Integer(number),
        BytesFrame::Array(elements) => Value::Array(elements.into_iter().map(value).collect()),
        BytesFrame::Null => Value::Null,
    }
}

/// A URL or a connection string.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let configs = [
        RedisConfig::from_url(&text),
        RedisConfig::from_connection_string(&text).map(|(config, _)| config),
    ];
    for config in configs.into_iter().flatten() {
        assert!(!config.hosts.is_empty() && config.hosts.iter().all(|(host, _)| !host.is_empty()));
        assert!(config.describe().starts_with("redis "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::run;

    #[test]
    fn no_reply_is_more_than_the_readers_expect() {
        run("replies", replies);
    }

    #[test]
    fn no_address_is_more_than_the_readers_expect() {
        run("address", address);
    }
}
