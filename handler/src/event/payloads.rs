//! The bodies of messages and blobs, out of an envelope's `Data`.
//!
//! Source: the host's `ScriptInvocationContextExtensions`. A binding's value may be base64, a text written as JSON inside
//! a string, a list inside a string, or a plain value; older hosts differ, so nothing is taken for granted.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::blocking;
use crate::protocol::Item;

/// One body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Its exact bytes, which its reader may share.
    Bytes(Bytes),
    /// What came is not base64, although the binding is binary.
    NotBase64(String),
    /// It was too large to be read.
    Cut,
}

impl Payload {
    /// Bytes that it holds.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::NotBase64(text) => text.len(),
            Self::Cut => 0,
        }
    }
}

/// A string that is borrowed where it holds no escapes: blobs are large.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The only body of a call.
pub(super) fn one(value: &RawValue, binary: bool) -> Payload {
    match serde_json::from_str::<Text<'_>>(value.get()) {
        Ok(Text(text)) if binary => from_base64(text.as_bytes()),
        Ok(Text(text)) => Payload::Bytes(unwrapped(text.as_bytes()).into()),
        // An object where a string is expected: the host has parsed the body already.
        Err(_) => Payload::Bytes(value.get().as_bytes().to_vec().into()),
    }
}

/// The text that a string of JSON holds, or the text as it is.
fn unwrapped(text: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Text<'_>>(text) {
        Ok(Text(inner)) => inner.into_owned().into_bytes(),
        Err(_) => text.to_vec(),
    }
}

/// One body of a batch.
pub(super) fn of_item(item: Item<'_>, binary: bool) -> Payload {
    match item {
        Item { is_cut: true, .. } => Payload::Cut,
        Item {
            is_string: true,
            text,
            ..
        } if binary => from_base64(text),
        Item {
            is_string: true,
            is_alone: true,
            text,
            ..
        } => Payload::Bytes(unwrapped(text).into()),
        Item { text, .. } => Payload::Bytes(text.to_vec().into()),
    }
}

fn from_base64(text: &[u8]) -> Payload {
    let decoded = blocking::apart(text.len(), || BASE64_STANDARD.decode(text));
    if let Ok(bytes) = decoded {
        return Payload::Bytes(bytes.into());
    }
    // Some encoders break lines.
    let mut kept = text.to_vec();
    kept.retain(|byte| !byte.is_ascii_whitespace());
    match BASE64_STANDARD.decode(&kept) {
        Ok(bytes) => Payload::Bytes(bytes.into()),
        Err(_) => Payload::NotBase64(String::from_utf8_lossy(&kept).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn bytes(text: &str) -> Payload {
        Payload::Bytes(text.as_bytes().to_vec().into())
    }

    #[test]
    fn a_text_is_unwrapped_exactly_once() {
        let wrapped = |body: &str| {
            let inner = serde_json::to_string(body).unwrap();
            raw(&serde_json::to_string(&inner).unwrap())
        };
        for body in [
            r#"{"data":[[1]]}"#,
            "plain",
            "\"quoted\" \\ \u{2028} \u{1f9c0} \0",
            "[1,2]",
            "",
            "\"\\\"twice\\\"\"",
        ] {
            assert_eq!(one(&wrapped(body), false), bytes(body));
        }
    }

    #[test]
    fn values_that_older_hosts_send_are_taken_as_they_are() {
        assert_eq!(
            one(&raw(r#"{"data":[1]}"#), false),
            bytes(r#"{"data":[1]}"#)
        );
        assert_eq!(
            one(&raw(r#""{\"data\":[1]}""#), false),
            bytes(r#"{"data":[1]}"#)
        );
        assert_eq!(one(&raw(r#"{"data":[1]}"#), true), bytes(r#"{"data":[1]}"#));
        assert_eq!(one(&raw("null"), false), bytes("null"));
    }

    #[test]
    fn base64_may_be_broken_into_lines_but_not_be_damaged() {
        assert_eq!(
            one(&raw(r#""AQ\r\nID""#), true),
            Payload::Bytes(vec![1, 2, 3].into())
        );
        assert_eq!(one(&raw(r#""""#), true), Payload::Bytes(Bytes::new()));
        for damaged in ["AQI", "AQID=", "-_8=", "AQI*"] {
            let value = raw(&serde_json::to_string(damaged).unwrap());
            assert_eq!(one(&value, true), Payload::NotBase64(damaged.to_owned()));
        }
    }

    #[test]
    fn messages_of_a_batch_are_decoded_as_their_binding_says() {
        let item = |text: &'static str| Item {
            text: text.as_bytes(),
            is_string: true,
            is_cut: false,
            is_alone: false,
        };
        assert_eq!(of_item(item("a"), false), bytes("a"));
        let alone = Item {
            is_alone: true,
            ..item("\"a\"")
        };
        assert_eq!(of_item(alone, false), bytes("a"));
        assert_eq!(of_item(item("\"a\""), false), bytes("\"a\""));
        assert_eq!(
            of_item(item("AQ\nID"), true),
            Payload::Bytes(vec![1, 2, 3].into())
        );
        assert_eq!(
            of_item(item("n o"), true),
            Payload::NotBase64("no".to_owned())
        );
        let value = Item {
            is_string: false,
            ..item("[1]")
        };
        assert_eq!(of_item(value, true), bytes("[1]"));
        let cut = Item {
            is_cut: true,
            ..item("")
        };
        assert_eq!(of_item(cut, true), Payload::Cut);
    }
}
