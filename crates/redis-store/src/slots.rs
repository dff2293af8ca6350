//! The slot table of a Redis cluster, as `CLUSTER SLOTS` tells it.

use std::ops::RangeInclusive;

use fred::prelude::Value;

/// Longer host names cannot be had from DNS.
const MAX_HOST_BYTES: usize = 255;

/// A range of slots and the host and port of the primary that owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) slots: RangeInclusive<u16>,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Reads the answer to `CLUSTER SLOTS`, given by `asked`; `None` if it is malformed. In order of the slots.
///
/// Each range is `[first, last, [host, port, id, metadata], replicas...]`. A node that does not know its own address
/// leaves it out: it is the one that was asked. A cluster that prefers names says `?` for a node without one, and gives
/// its address in the metadata.
pub(super) fn parse(answer: Value, asked: &str) -> Option<Vec<Shard>> {
    let ranges: Vec<Value> = answer.convert().ok()?;
    let mut shards = ranges
        .into_iter()
        .map(|range| shard(range, asked))
        .collect::<Option<Vec<_>>>()?;
    shards.sort_by_key(|shard| *shard.slots.start());
    Some(shards)
}

fn shard(range: Value, asked: &str) -> Option<Shard> {
    let mut parts = range.into_array().into_iter();
    let first = parts.next()?.as_u64()?.try_into().ok()?;
    let last = parts.next()?.as_u64()?.try_into().ok()?;
    let mut primary = parts.next()?.into_array().into_iter();
    let host = primary.next()?.into_string().unwrap_or_default();
    let port = primary.next()?.as_u64()?.try_into().ok()?;
    if host.len() > MAX_HOST_BYTES {
        return None;
    }
    let named = !matches!(host.as_str(), "" | "?");
    let host = named.then_some(host).or_else(|| address(primary.nth(1)?));
    Some(Shard {
        slots: first..=last,
        host: host.unwrap_or_else(|| asked.to_owned()),
        port,
    })
}

/// The `ip` among metadata, which are names and values by turns.
fn address(metadata: Value) -> Option<String> {
    let texts = metadata.into_array().into_iter().map(Value::into_string);
    let mut texts = texts.skip_while(|text| text.as_deref() != Some("ip"));
    let is_host = |ip: &String| (1..=MAX_HOST_BYTES).contains(&ip.len());
    texts.nth(1)?.filter(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, port.into(), "id".into(), Value::Array(vec![])])
    }

    #[test]
    fn reads_the_primaries_in_order_of_their_slots() {
        let high = vec![
            5461.into(),
            16383.into(),
            node("10.0.0.2".into(), 8501),
            node("10.0.0.9".into(), 8509),
        ];
        let low = vec![0.into(), 5460.into(), node(Value::Null, 8500)];
        let answer = Value::Array(vec![Value::Array(high), Value::Array(low)]);
        let shard = |slots, host: &str, port| Shard {
            slots,
            host: host.to_owned(),
            port,
        };
        assert_eq!(
            parse(answer, "seed"),
            Some(vec![
                shard(0..=5460, "seed", 8500),
                shard(5461..=16383, "10.0.0.2", 8501)
            ])
        );
    }

    #[test]
    fn a_node_without_a_name_is_at_the_address_in_its_metadata() {
        let host = |host: &str, metadata: &[&str]| {
            let metadata = metadata.iter().map(|text| Value::from(*text)).collect();
            let node = vec![host.into(), 1.into(), "id".into(), Value::Array(metadata)];
            let range = vec![0.into(), 16383.into(), Value::Array(node)];
            let answer = Value::Array(vec![Value::Array(range)]);
            parse(answer, "seed").unwrap().remove(0).host
        };
        let ip = ["ip", "10.0.0.3"];
        assert_eq!(host("?", &ip), "10.0.0.3");
        assert_eq!(host("", &ip), "10.0.0.3");
        assert_eq!(host("name", &ip), "name");
        assert_eq!(host("?", &["hostname", "h", "ip", "10.0.0.3"]), "10.0.0.3");
        assert_eq!(host("?", &["ip", ""]), "seed");
        assert_eq!(host("?", &[]), "seed");
    }

    #[test]
    fn refuses_what_is_no_slot_table() {
        let long_name = node("h".repeat(256).into(), 8500);
        for answer in [
            Value::Array(vec![Value::Array(vec![0.into(), 1.into(), long_name])]),
            Value::Array(vec!["x".into()]),
            Value::Array(vec![Value::Array(vec![0.into(), 70_000.into()])]),
            Value::Array(vec![Value::Array(vec![0.into(), 1.into(), 2.into()])]),
        ] {
            assert_eq!(parse(answer, "seed"), None);
        }
    }
}
