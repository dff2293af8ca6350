//! The answer of `handler cache stats`, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use redis_store::EntryTotals;
use score::{ModelTag, Namespace};
use serde_json::{Value, json};

use super::known::KnownModels;

type Totals = BTreeMap<ModelTag, EntryTotals>;

/// The digest covers the model's files and the runtime, so either may have changed; or the model was never in this folder.
const UNKNOWN: &str = "unknown (an earlier model or runtime, or another app)";

/// One line per model.
pub(super) fn table(namespace: &Namespace, totals: &Totals, known: &KnownModels) -> String {
    if totals.is_empty() {
        return format!("nothing is stored in namespace {namespace}\n");
    }
    let head = ["digest", "entries", "bytes", "expires in", "model"].map(str::to_owned);
    let lines = totals.iter().map(|(tag, totals)| {
        let names = known.names_of(*tag);
        let model = match names.is_empty() {
            true => UNKNOWN.to_owned(),
            false => names.join(", "),
        };
        [
            tag.to_string(),
            totals.entries.to_string(),
            totals.bytes.to_string(),
            expiry(totals),
            model,
        ]
    });
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(lines).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
    let [entries, bytes, expiry] = [1, 2, 3].map(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for [digest, count, size, left, model] in &lines {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{digest:16}  {count:>entries$}  {size:>bytes$}  {left:expiry$}  {model}"
        );
    }
    text
}

fn expiry(totals: &EntryTotals) -> String {
    let Some((shortest, longest)) = totals.expire_in else {
        return "never".to_owned();
    };
    let [shortest, longest] = [shortest, longest].map(in_words);
    let mut text = match shortest == longest {
        true => shortest,
        false => format!("{shortest} to {longest}"),
    };
    if totals.lasting > 0 {
        let _ = write!(text, ", {} never", totals.lasting);
    }
    text
}

/// The two largest units are enough.
fn in_words(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    let units: Vec<&str> = text.split(' ').take(2).collect();
    units.join(" ")
}

/// One JSON object.
pub(super) fn json(namespace: &Namespace, totals: &Totals, known: &KnownModels) -> String {
    let models: Vec<Value> = totals
        .iter()
        .map(|(tag, totals)| {
            json!({
                "digest": tag.to_string(),
                "models": known.names_of(*tag),
                "entries": totals.entries,
                "bytes": totals.bytes,
                "lasting": totals.lasting,
                "expire_in_ms": totals.expire_in.map(|(shortest, longest)| {
                    json!({ "shortest": millis(shortest), "longest": millis(longest) })
                }),
            })
        })
        .collect();
    let document = json!({ "namespace": namespace.to_string(), "digests": models });
    format!("{document:#}\n")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(lasting: u64, seconds: Option<(u64, u64)>) -> EntryTotals {
        let times = |(a, b)| (Duration::from_secs(a), Duration::from_secs(b));
        EntryTotals {
            entries: 3,
            bytes: 1200,
            lasting,
            expire_in: seconds.map(times),
        }
    }

    #[test]
    fn expiry_is_said_in_words() {
        assert_eq!(expiry(&totals(3, None)), "never");
        assert_eq!(expiry(&totals(0, Some((60, 60)))), "1m");
        let mixed = totals(1, Some((59, 90_061)));
        assert_eq!(expiry(&mixed), "59s to 1day 1h, 1 never");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let tags = ["00000000000000ab", "00000000000000ac"].map(|tag| tag.parse().unwrap());
        let all = Totals::from([
            (tags[0], totals(3, None)),
            (tags[1], totals(0, Some((9, 9)))),
        ]);
        let text = table(&Namespace::default(), &all, &KnownModels::default());
        let expected = format!(
            "digest            entries  bytes  expires in  model\n\
             00000000000000ab        3   1200  never       {UNKNOWN}\n\
             00000000000000ac        3   1200  9s          {UNKNOWN}\n"
        );
        assert_eq!(text, expected);
    }
}
