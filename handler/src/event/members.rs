//! The members of an envelope's `Metadata` that are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use memchr::memchr;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Their names. The host adds the properties of a body that is JSON, so that a sender can make
/// up any number of others, which are not kept.
pub(super) const READ: [&str; 11] = [
    "ApplicationProperties",
    "ContentType",
    "CorrelationId",
    "DeliveryCount",
    "DequeueCount",
    "Id",
    "MessageId",
    "Metadata",
    "Properties",
    "Uri",
    "UserProperties",
];

/// A member that is read, and whether it is the list that a batch has of it.
pub(super) type Name = (&'static str, bool);

/// The members of a `Metadata` that are read.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(pub(super) BTreeMap<Name, &'a RawValue>);

impl<'a> Members<'a> {
    /// None if it is not what it should be, since nothing depends on it.
    pub(super) fn read(json: &'a [u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let known = |name: &str| {
            let single = name.strip_suffix("Array");
            let read = READ
                .into_iter()
                .find(|read| *read == single.unwrap_or(name))?;
            Some((read, single.is_some()))
        };
        deserializer.deserialize_map(Kept::new(known)).map(Self)
    }
}

/// The names of the members that are read, as far as an object has them in any letter case.
#[derive(Debug, Default)]
pub(super) struct Names(pub(super) BTreeMap<Name, IgnoredAny>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let known = |name: &str| {
            let name = name.to_lowercase();
            let read = READ
                .into_iter()
                .find(|read| read.eq_ignore_ascii_case(&name))?;
            Some((read, false))
        };
        deserializer.deserialize_map(Kept::new(known)).map(Self)
    }
}

/// JSON in which halves of surrogate pairs are what the host writes for them: `\u{fffd}`. A sender may put one into any name
/// or value, and readers of JSON refuse all of it then.
pub(super) fn mended(json: Cow<'_, str>) -> Cow<'_, str> {
    let halves = halves(json.as_bytes());
    if halves.is_empty() {
        return json;
    }
    let mut text = json.into_owned();
    for at in halves.into_iter().rev() {
        text.replace_range(at..at + 4, "fffd");
    }
    Cow::Owned(text)
}

/// Where the four digits of each escape begin that is half a pair.
fn halves(json: &[u8]) -> Vec<usize> {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(json.get(at..at + 4)?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(backslash) = memchr(b'\\', json.get(at..).unwrap_or_default()) {
        at += backslash + 2;
        if json.get(at - 1) != Some(&b'u') {
            continue;
        }
        let follows = json.get(at + 4..at + 6) == Some(b"\\u");
        match unit(at) {
            Some(0xd800..=0xdbff) if follows && matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => {
                at += 6;
            }
            Some(0xd800..=0xdfff) => found.push(at),
            _ => {}
        }
        at += 4;
    }
    found
}

/// A name, in which halves of surrogate pairs are replaced.
struct AnyName(String);

impl<'de> Deserialize<'de> for AnyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(AnyNameVisitor)
    }
}

struct AnyNameVisitor;

impl Visitor<'_> for AnyNameVisitor {
    type Value = AnyName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<AnyName, E> {
        Ok(AnyName(String::from_utf8_lossy(name).into_owned()))
    }
}

/// Reads an object, and keeps those of its members whose names are known.
struct Kept<F, T> {
    known: F,
    value: PhantomData<T>,
}

impl<F, T> Kept<F, T> {
    fn new(known: F) -> Self {
        let value = PhantomData;
        Self { known, value }
    }
}

impl<'de, F, T> Visitor<'de> for Kept<F, T>
where
    F: Fn(&str) -> Option<Name>,
    T: Deserialize<'de>,
{
    type Value = BTreeMap<Name, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(AnyName(name)) = object.next_key()? {
            match (self.known)(&name) {
                Some(name) => {
                    kept.insert(name, object.next_value()?);
                }
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pair_costs_nothing_else() {
        for (json, expected) in [
            (r#"{"a":"\ud83d\ude00"}"#, None),
            (r#"{"a":"\\ud800"}"#, None),
            (r#"{"a":"\u00e9\n"}"#, None),
            (r#"{"\ud800":"\uDFFF"}"#, Some(r#"{"\ufffd":"\ufffd"}"#)),
            (
                r#""\ud83d\ud83d\ude00\\\ud800""#,
                Some(r#""\ufffd\ud83d\ude00\\\ufffd""#),
            ),
            (r#""\ud800\u12""#, Some(r#""\ufffd\u12""#)),
            (r#""\ud8"#, None),
        ] {
            let mended = mended(Cow::Borrowed(json));
            assert_eq!(mended, expected.unwrap_or(json), "{json}");
        }
        let json = r#"{"MessageId":"a","\ud800":1,"Uri":"\udc00"}"#;
        assert_eq!(Members::read(json.as_bytes()).0.len(), 2);
    }

    #[test]
    fn what_a_sender_makes_up_is_not_kept() {
        let made_up: Vec<String> = (0..10_000).map(|n| format!(r#""p{n}":[{n}]"#)).collect();
        let known = r#""MessageId":"a","messageid":"b","MessageIdArray":["c"],"Array":1"#;
        let json = format!("{{{},{known}}}", made_up.join(","));
        let members = Members::read(json.as_bytes()).0;
        let read: Vec<_> = members
            .iter()
            .map(|(name, json)| (*name, json.get()))
            .collect();
        let expected = [
            (("MessageId", false), r#""a""#),
            (("MessageId", true), r#"["c"]"#),
        ];
        assert_eq!(read, expected);
        let json = format!(
            r#"{{{},"MESSAGEid":1,"messageID":2,"URI":3}}"#,
            made_up.join(",")
        );
        let names: Names = serde_json::from_str(&json).unwrap();
        let names: Vec<Name> = names.0.into_keys().collect();
        assert_eq!(names, [("MessageId", false), ("Uri", false)]);
        for odd in ["[]", "null", "{", r#"{"MessageId":1"#, ""] {
            assert!(Members::read(odd.as_bytes()).0.is_empty(), "{odd}");
        }
    }
}
