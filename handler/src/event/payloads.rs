//! The bodies of messages and blobs, out of an envelope's `Data`.
//!
//! Source: the host's `ScriptInvocationContextExtensions`. A binding's value may be base64, a text written as JSON inside
//! a string, a list inside a string, or a plain value; older hosts differ, so nothing is taken for granted.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Its exact bytes.
    Bytes(Vec<u8>),
    /// What came is not base64, although the binding is binary.
    NotBase64(String),
}

/// A string that is borrowed where it holds no escapes: blobs are large.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The only body of a call.
pub(super) fn one(value: &RawValue, binary: bool) -> Payload {
    match serde_json::from_str::<Text<'_>>(value.get()) {
        Ok(Text(text)) if binary => from_base64(&text),
        Ok(Text(text)) => match serde_json::from_str::<Text<'_>>(&text) {
            Ok(Text(inner)) => Payload::Bytes(inner.into_owned().into_bytes()),
            Err(_) => Payload::Bytes(text.into_owned().into_bytes()),
        },
        // An object where a string is expected: the host has parsed the body already.
        Err(_) => Payload::Bytes(value.get().as_bytes().to_vec()),
    }
}

/// All bodies of a batch, in order; `None` if the value is no list.
pub(super) fn many(value: &RawValue, binary: bool) -> Option<Vec<Payload>> {
    let text = match serde_json::from_str::<Text<'_>>(value.get()) {
        Ok(Text(text)) => text,
        Err(_) => Cow::Borrowed(value.get()),
    };
    let list: Vec<&RawValue> = serde_json::from_str(&text).ok()?;
    let bodies = list
        .into_iter()
        .map(|item| match serde_json::from_str::<Text<'_>>(item.get()) {
            Ok(Text(text)) if binary => from_base64(&text),
            Ok(Text(text)) => Payload::Bytes(text.into_owned().into_bytes()),
            Err(_) => Payload::Bytes(item.get().as_bytes().to_vec()),
        });
    Some(bodies.collect())
}

fn from_base64(text: &str) -> Payload {
    // Some encoders break lines.
    let text = if text.contains(|c: char| c.is_ascii_whitespace()) {
        let kept = text.chars().filter(|c| !c.is_ascii_whitespace());
        Cow::Owned(kept.collect::<String>())
    } else {
        Cow::Borrowed(text)
    };
    match BASE64_STANDARD.decode(text.as_bytes()) {
        Ok(bytes) => Payload::Bytes(bytes),
        Err(_) => Payload::NotBase64(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn bytes(text: &str) -> Payload {
        Payload::Bytes(text.as_bytes().to_vec())
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
            Payload::Bytes(vec![1, 2, 3])
        );
        assert_eq!(one(&raw(r#""""#), true), Payload::Bytes(vec![]));
        for damaged in ["AQI", "AQID=", "-_8=", "AQI*"] {
            let value = raw(&serde_json::to_string(damaged).unwrap());
            assert_eq!(one(&value, true), Payload::NotBase64(damaged.to_owned()));
        }
    }

    #[test]
    fn batches_are_lists_inside_strings_or_plain_lists() {
        let texts = many(&raw(r#""[\"a\",\"{\\\"x\\\":1}\",{\"y\":2}]""#), false).unwrap();
        assert_eq!(
            texts,
            [bytes("a"), bytes(r#"{"x":1}"#), bytes(r#"{"y":2}"#)]
        );
        let binary = many(&raw(r#"["AQID","no"]"#), true).unwrap();
        assert_eq!(
            binary,
            [
                Payload::Bytes(vec![1, 2, 3]),
                Payload::NotBase64("no".into())
            ]
        );
        assert_eq!(many(&raw(r#""[]""#), true), Some(vec![]));
        assert_eq!(many(&raw(r#""{}""#), true), None);
    }
}
