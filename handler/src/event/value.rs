//! Values of an envelope's metadata. A sender decides how large they are, so no more is kept of them than is read.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use serde_json::value::RawValue;

/// Longer texts are not kept. The address of a blob is percent-encoded, and so up to nine times as long as its name, which
/// has 1,024 characters at most.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// The properties that are read, in any order.
const PROPERTIES: [&str; 5] = [
    "ContentType",
    "Diagnostic-Id",
    "model",
    "traceparent",
    "tracestate",
];

/// One value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// A text, or a number as it is written.
    Text(String),
    /// Those of the properties that are texts or numbers.
    Properties(Vec<(&'static str, String)>),
    /// Anything else.
    Other,
}

impl Known {
    /// The text, if it is one.
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The property of that name.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        let Self::Properties(properties) = self else {
            return None;
        };
        // Of several with one name the last one counts, as everywhere in JSON.
        let mut named = properties.iter().rev().filter(|(own, _)| *own == name);
        named.next().map(|(_, text)| text.as_str())
    }

    /// A text, unless it is too long.
    pub(super) fn of_text(text: &str) -> Self {
        match text.len() {
            0..=MAX_TEXT_BYTES => Self::Text(text.to_owned()),
            _ => Self::Other,
        }
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KnownVisitor)
    }
}

struct KnownVisitor;

impl<'de> Visitor<'de> for KnownVisitor {
    type Value = Known;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Known, E> {
        Ok(Known::of_text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Known, E> {
        Ok(Known::Text(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Known, E> {
        Ok(Known::Text(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Known, E> {
        let number = Number::from_f64(number);
        Ok(number.map_or(Known::Other, |number| Known::Text(number.to_string())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Known, E> {
        Ok(Known::Other)
    }

    fn visit_unit<E>(self) -> Result<Known, E> {
        Ok(Known::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Known, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Known::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Known, A::Error> {
        let mut kept: Vec<(&'static str, String)> = Vec::new();
        while let Some(name) = object.next_key::<String>()? {
            let Some(name) = PROPERTIES.into_iter().find(|read| *read == name) else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            kept.retain(|(own, _)| *own != name);
            if let Known::Text(text) = object.next_value()? {
                kept.push((name, text));
            }
        }
        Ok(Known::Properties(kept))
    }
}

/// The first values of a list, as they are written.
///
/// # Errors
/// If it is no list.
pub(super) fn first_of(list: &str, count: usize) -> serde_json::Result<Vec<&RawValue>> {
    let mut reader = serde_json::Deserializer::from_str(list);
    let first = reader.deserialize_seq(First(count))?;
    reader.end()?;
    Ok(first)
}

struct First(usize);

impl<'de> Visitor<'de> for First {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut first = Vec::new();
        while first.len() < self.0
            && let Some(value) = list.next_element()?
        {
            first.push(value);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_is_read() {
        let read = |json: &str| serde_json::from_str::<Known>(json).unwrap();
        let long = format!("\"{}\"", "x".repeat(MAX_TEXT_BYTES + 1));
        for nothing in ["null", "true", "[\"a\"]", &long] {
            assert_eq!(read(nothing), Known::Other, "{nothing}");
        }
        for (number, text) in [("7", "7"), ("-7", "-7"), ("1.0", "1.0")] {
            assert_eq!(read(number), Known::Text(text.to_owned()));
        }
        let others: Vec<String> = (0..10_000).map(|n| format!("\"p{n}\":[{n}]")).collect();
        let json = format!(
            r#"{{{},"model":"a","traceparent":{long},"model":"b","Model":"c","tracestate":[1]}}"#,
            others.join(",")
        );
        let properties = read(&json);
        let expected = vec![("model", "b".to_owned())];
        assert_eq!(properties, Known::Properties(expected));
        assert_eq!(properties.property("model"), Some("b"));
        assert_eq!(properties.property("traceparent"), None);
    }

    #[test]
    fn of_a_list_only_as_many_values_are_kept_as_there_are_messages() {
        let list = format!("[{}]", vec!["0"; 10_000].join(","));
        assert_eq!(first_of(&list, 3).unwrap().len(), 3);
        assert_eq!(
            first_of("[\"a\",{\"b\":1}]", 3).unwrap()[1].get(),
            "{\"b\":1}"
        );
        for odd in ["{}", "[1", "[1] 2", ""] {
            assert!(first_of(odd, 1).is_err(), "{odd}");
        }
    }
}
