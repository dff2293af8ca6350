//! The members of an envelope's `Metadata` that are read.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

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
        while let Some(name) = object.next_key::<String>()? {
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
