//! What an envelope's `Metadata` says about a message or a blob.
//!
//! Only for information: nothing here decides whether or how a body is scored, except for the model that its sender
//! names. Source: the binding data of the Service Bus, queue and blob extensions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::members::{Members, Name, Names, READ, mended};
use super::value::{Known, first_of};
use crate::protocol::Source;
use crate::telemetry::traces::Origin;

/// Longer values are not passed on.
const MAX_TEXT_BYTES: usize = 1024;

/// What is known about one message or blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Message id, or container and name of a blob.
    pub(super) id: Option<String>,
    /// The sender's own, to tie an answer to its request.
    pub(super) correlation_id: Option<String>,
    /// The trace its sender began.
    pub(super) origin: Origin,
    /// What the body is written in.
    pub(super) content_type: Option<String>,
    /// The model the sender asks for.
    pub(super) model: Option<String>,
    /// How often it was delivered, this time included.
    pub(super) delivery_count: Option<u64>,
}

/// Of the ten deliveries that queues allow if they are made without further thought.
const LATE_DELIVERY: u64 = 5;
/// The same where each delivery gets further.
const LAST_BUT_ONE: u64 = 9;

impl Delivery {
    /// Whether it was delivered so often that few tries are left; of those that lack only time nearly all are made.
    pub(super) fn is_late(&self, lacks_time: bool) -> bool {
        let late = match lacks_time {
            true => LAST_BUT_ONE,
            false => LATE_DELIVERY,
        };
        self.delivery_count.is_some_and(|count| count >= late)
    }
}

/// Which members the body may have forged: of a text that is a JSON object, the host copies the top-level properties
/// over the message's own, in any letter case of their names.
enum Forgeable {
    /// Those of these names.
    Named(Names),
    /// Any that this text, in lower case, mentions: the host reads more as JSON than we do, such as comments and single
    /// quotes.
    Mentioned(String),
}

impl Forgeable {
    fn by(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(names) => Self::Named(names),
            Err(_) => Self::Mentioned(String::from_utf8_lossy(body).to_lowercase()),
        }
    }

    fn contains(&self, name: Name) -> bool {
        match self {
            Self::Named(names) => names.0.contains_key(&name),
            // Behind a backslash any letter can hide.
            Self::Mentioned(text) => text.contains(&name.0.to_lowercase()) || text.contains('\\'),
        }
    }
}

/// `Metadata` of one call.
pub(super) struct Metadata<'a> {
    members: &'a Members<'a>,
    forgeable: Forgeable,
}

impl<'a> Metadata<'a> {
    pub(super) fn new(members: &'a Members<'a>) -> Self {
        Self {
            members,
            forgeable: Forgeable::Named(Names::default()),
        }
    }

    /// Without the members that `body`, which the host has seen as text, may have forged.
    pub(super) fn beside_text(members: &'a Members<'a>, body: &[u8]) -> Self {
        Self {
            members,
            forgeable: Forgeable::by(body),
        }
    }

    /// A message or blob that came alone.
    pub(super) fn single(&self, source: Source) -> Delivery {
        delivery(source, |name| {
            let text = self.json_text((name, false))?;
            // Older hosts do not write strings as JSON.
            let value = serde_json::from_str(&text);
            Some(value.unwrap_or_else(|_| Known::of_text(&text)))
        })
    }

    /// The `count` messages of a batch.
    pub(super) fn of_batch(&self, source: Source, count: usize) -> Vec<Delivery> {
        let texts = READ
            .into_iter()
            .filter_map(|name| Some((name, self.json_text((name, true))?)));
        let texts: Vec<(&str, Cow<'_, str>)> = texts.collect();
        // Taken apart once, not once for every message.
        let lists: BTreeMap<&str, Vec<&RawValue>> = texts
            .iter()
            .filter_map(|(name, text)| Some((*name, first_of(text, count).ok()?)))
            .collect();
        let of = |position: usize| {
            delivery(source, |name| {
                serde_json::from_str(lists.get(name)?.get(position)?.get()).ok()
            })
        };
        (0..count).map(of).collect()
    }

    /// The JSON of a member, which may stand inside a string.
    fn json_text(&self, name: Name) -> Option<Cow<'a, str>> {
        if self.forgeable.contains(name) {
            return None;
        }
        let text = mended(Cow::Borrowed(self.members.0.get(&name)?.get()));
        Some(match serde_json::from_str::<String>(&text) {
            Ok(inner) => mended(Cow::Owned(inner)),
            Err(_) => text,
        })
    }
}

fn delivery(source: Source, get: impl Fn(&'static str) -> Option<Known>) -> Delivery {
    let whole = |name| get(name).and_then(Known::into_text);
    let get_text = |name| text(&whole(name)?);
    let count = |name| whole(name)?.parse().ok();
    match source {
        Source::ServiceBus => {
            let properties = get("ApplicationProperties").or_else(|| get("UserProperties"));
            let property = |name: &str| text(properties.as_ref()?.property(name)?);
            Delivery {
                id: get_text("MessageId"),
                correlation_id: get_text("CorrelationId"),
                origin: Origin {
                    parent: parent(property("Diagnostic-Id"), property("traceparent")),
                    state: property("tracestate"),
                },
                content_type: get_text("ContentType"),
                model: property("model"),
                delivery_count: count("DeliveryCount"),
            }
        }
        Source::StorageQueue => Delivery {
            id: get_text("Id"),
            delivery_count: count("DequeueCount"),
            ..Delivery::default()
        },
        Source::Blob => {
            // Percent-encoded, and so up to nine times as long as the name.
            let id = whole("Uri").and_then(|uri| blob_name(&uri));
            let declared = get("Properties").and_then(|p| text(p.property("ContentType")?));
            Delivery {
                content_type: blob_type(declared, id.as_deref().unwrap_or_default()),
                model: get("Metadata").and_then(|own| text(own.property("model")?)),
                id,
                ..Delivery::default()
            }
        }
    }
}

/// Azure's clients send the same in both. Older ones have a form of their own in the first, which says nothing here.
fn parent(diagnostic_id: Option<String>, traceparent: Option<String>) -> Option<String> {
    match (diagnostic_id, traceparent) {
        (Some(own), Some(standard)) if own != standard && !Origin::is_readable(&own) => {
            Some(standard)
        }
        (own, standard) => own.or(standard),
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= MAX_TEXT_BYTES).then(|| text.to_owned())
}

/// `container/name` of a blob's address.
fn blob_name(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let (authority, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next()?;
    let host = authority.split(':').next()?;
    // Emulators have no host name for the account and put it into the path.
    let account_in_path = !host.contains('.') || host.parse::<Ipv4Addr>().is_ok();
    let path = match path.split_once('/') {
        Some((_account, path)) if account_in_path => path,
        _ => path,
    };
    let name = percent_decode_str(path).decode_utf8().ok()?;
    (!name.is_empty()).then(|| name.into_owned())
}

/// Types of uploaders that do not know what they send, or tell only how it is packed; then the name counts.
const SAY_NOTHING: [&str; 4] = [
    "application/octet-stream",
    "application/gzip",
    "application/x-gzip",
    "text/plain",
];

fn blob_type(declared: Option<String>, name: &str) -> Option<String> {
    let says_nothing = |ty: &String| SAY_NOTHING.iter().any(|nothing| ty.starts_with(nothing));
    if let Some(declared) = declared.filter(|declared| !says_nothing(declared)) {
        return Some(declared);
    }
    let name = name.to_ascii_lowercase();
    let unpacked = name.strip_suffix(".gz");
    let (_, extension) = unpacked.unwrap_or(&name).rsplit_once('.')?;
    let content_type = match extension {
        // Packed ones cannot be told from raw bytes.
        "bin" | "raw" if unpacked.is_none() => "application/octet-stream",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "npy" => "application/x-npy",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        _ => return None,
    };
    Some(content_type.to_owned())
}

/// `Metadata` of an envelope that is too large to be read, found in its last bytes: `Data` comes first, and base64 holds
/// no quotes.
pub(super) fn find_metadata(tail: &[u8]) -> Option<Members<'_>> {
    const START: &[u8] = b"\"Metadata\":";
    let start = tail
        .windows(START.len())
        .position(|window| window == START)?;
    let mut rest = serde_json::Deserializer::from_slice(&tail[start + START.len()..]);
    Members::deserialize(&mut rest).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<T>(metadata: Value, see: impl FnOnce(&Members<'_>) -> T) -> T {
        let text = metadata.to_string();
        see(&Members::read(text.as_bytes()))
    }

    #[test]
    fn half_a_pair_elsewhere_leaves_the_model_its_name() {
        for text in [
            r#"{"ApplicationProperties":{"model":"iris","x":"\ud800"}}"#,
            r#"{"ApplicationProperties":{"\udc00":1,"model":"iris"}}"#,
            r#"{"\ud800":1,"ApplicationProperties":{"model":"iris"}}"#,
            r#"{"ApplicationProperties":"{\"model\":\"iris\",\"x\":\"\\ud800\"}"}"#,
            r#"{"ApplicationProperties":"{\"model\":\"iris\",\"x\":\"\ud800\"}"}"#,
        ] {
            let members = Members::read(text.as_bytes());
            let delivery = Metadata::new(&members).single(Source::ServiceBus);
            assert_eq!(delivery.model.as_deref(), Some("iris"), "{text}");
        }
    }

    #[test]
    fn a_message_is_described_whatever_the_form_of_its_metadata() {
        let inside_strings = json!({
            "MessageId": "\"m-1\"", "CorrelationId": "\"c\"", "DeliveryCount": "2", "ContentType": "\"text/csv\"",
            "ApplicationProperties": {"Diagnostic-Id": "00-ab-cd-01", "model": "iris"},
        });
        let plain = json!({
            "MessageId": "m-1", "CorrelationId": "c", "DeliveryCount": 2, "ContentType": "text/csv",
            "UserProperties": {"traceparent": "00-ab-cd-01", "model": "iris"}, "sys": [{"junk": null}],
        });
        let expected = Delivery {
            id: Some("m-1".into()),
            correlation_id: Some("c".into()),
            origin: Origin {
                parent: Some("00-ab-cd-01".into()),
                state: None,
            },
            content_type: Some("text/csv".into()),
            model: Some("iris".into()),
            delivery_count: Some(2),
        };
        for metadata in [inside_strings, plain] {
            let delivery = read(metadata, |m| Metadata::new(m).single(Source::ServiceBus));
            assert_eq!(delivery, expected);
        }
        let nothing = read(json!({}), |m| Metadata::new(m).single(Source::ServiceBus));
        assert_eq!(nothing, Delivery::default());
    }

    #[test]
    fn an_id_in_azures_own_form_hides_no_traceparent() {
        let (own, other) = (
            "|ab.1.",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
        let third = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (diagnostic_id, traceparent, chosen) in [
            (Some(own), Some(other), other),
            (Some(third), Some(other), third),
            (Some(other), Some(own), other),
            (Some(own), None, own),
            (None, Some(other), other),
        ] {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let found = parent(owned(diagnostic_id), owned(traceparent));
            assert_eq!(found.as_deref(), Some(chosen));
        }
    }

    #[test]
    fn a_text_body_cannot_forge_what_is_known_about_it() {
        let metadata =
            json!({"MessageId": "\"forged\"", "DeliveryCount": "99", "CorrelationId": "\"c\""});
        let body = br#"{"messageid":"forged","DeliveryCount":99,"data":[]}"#;
        let delivery = read(metadata, |m| {
            Metadata::beside_text(m, body).single(Source::ServiceBus)
        });
        assert_eq!((delivery.id, delivery.delivery_count), (None, None));
        assert_eq!(delivery.correlation_id.as_deref(), Some("c"));
    }

    #[test]
    fn a_text_body_that_only_the_host_reads_as_json_cannot_forge_either() {
        let metadata = json!({"MessageId": "\"forged\"", "DeliveryCount": "99"});
        for body in [
            "{'MessageId':'forged','DeliveryCount':99}",
            "{MessageId:'forged',DeliveryCount:99,}",
            "/* no */ {\"MessageId\":\"forged\",\"DeliveryCount\":99}",
            "\u{feff} {\"MessageId\":\"forged\",\"DeliveryCount\":99}",
            r#"{"\ud800":1,"MessageId":"forged","DeliveryCount":99}"#,
        ] {
            let delivery = read(metadata.clone(), |m| {
                Metadata::beside_text(m, body.as_bytes()).single(Source::ServiceBus)
            });
            assert_eq!(delivery, Delivery::default(), "{body}");
        }
        for harmless in ["1,2,3", "{\"data\":[[1"] {
            let delivery = read(metadata.clone(), |m| {
                Metadata::beside_text(m, harmless.as_bytes()).single(Source::ServiceBus)
            });
            assert_eq!(delivery.delivery_count, Some(99), "{harmless}");
        }
    }

    #[test]
    fn messages_of_a_batch_are_described_by_position() {
        let metadata = json!({"MessageIdArray": "[\"a\",\"b\"]", "DeliveryCountArray": "[1]"});
        let deliveries = read(metadata, |m| {
            Metadata::new(m).of_batch(Source::ServiceBus, 3)
        });
        let ids: Vec<_> = deliveries.iter().map(|d| d.id.as_deref()).collect();
        assert_eq!(ids, [Some("a"), Some("b"), None]);
        let counts: Vec<_> = deliveries.iter().map(|d| d.delivery_count).collect();
        assert_eq!(counts, [Some(1), None, None]);
    }

    #[test]
    fn a_blob_is_named_by_container_and_path() {
        for (uri, expected) in [
            (
                "https://a.blob.core.windows.net/in/a%20b/c%C3%A9.json",
                "in/a b/cé.json",
            ),
            (
                "http://127.0.0.1:10000/devstoreaccount1/in/x.png",
                "in/x.png",
            ),
            ("http://azurite:10000/devstoreaccount1/in/x.png", "in/x.png"),
            ("http://[::1]:10000/devstoreaccount1/in/x.png", "in/x.png"),
            ("https://a.blob.core.windows.net/in/x?sig=1", "in/x"),
            (
                &format!(
                    "https://a.blob.core.windows.net/in/{}.csv",
                    "%E6%97%A5".repeat(1000)
                ),
                &format!("in/{}.csv", "日".repeat(1000)),
            ),
        ] {
            let metadata = json!({"Uri": format!("{uri:?}")});
            let delivery = read(metadata, |m| Metadata::new(m).single(Source::Blob));
            assert_eq!(delivery.id.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_blobs_name_tells_its_type_where_the_uploader_did_not() {
        let ty = |declared: &str, name: &str| blob_type(Some(declared.to_owned()), name);
        let octets = "application/octet-stream";
        assert_eq!(ty(octets, "in/a.json"), None);
        assert_eq!(ty(octets, "in/a.CSV").as_deref(), Some("text/csv"));
        assert_eq!(ty(octets, "in/a.csv.gz").as_deref(), Some("text/csv"));
        assert_eq!(
            ty("application/x-gzip", "in/a.csv.gz").as_deref(),
            Some("text/csv")
        );
        let tabs = Some("text/tab-separated-values");
        assert_eq!(ty("text/plain; charset=utf-8", "in/a.tsv").as_deref(), tabs);
        assert_eq!(ty("text/plain", "in/a.txt"), None);
        assert_eq!(ty(octets, "in/a.bin").as_deref(), Some(octets));
        assert_eq!(ty(octets, "in/a.WebP").as_deref(), Some("image/webp"));
        assert_eq!(ty("image/png", "in/a.csv").as_deref(), Some("image/png"));
    }

    #[test]
    fn the_end_of_an_envelope_is_enough_to_name_its_blob() {
        let tail = br#"AAAA"},"Metadata":{"Uri":"\"http://h.example/in/a\"","Metadata":{"k":"v"},"sys":{}}}"#;
        let found = find_metadata(tail).unwrap();
        assert!(
            found.0.contains_key(&("Uri", false)) && found.0.contains_key(&("Metadata", false))
        );
        assert!(find_metadata(b"AAAA").is_none());
    }
}
