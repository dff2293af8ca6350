//! An HTTP request and its answer inside the envelope.
//!
//! Sources: the host's `HttpRequestExtensions.GetRequestAsJObject` (request) and `HttpScriptInvocationResultExtensions`
//! (answer: `statusCode`, not `status`; header values must be plain; a body of type string is passed on as it is).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Headers a request may have; the host itself takes 100 at most.
const MAX_HEADERS: usize = 1024;

/// The caller's request as the host describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct HttpRequestData<'a> {
    /// The full public address.
    #[serde(rename = "Url")]
    pub(crate) url: String,
    /// The method, in capitals.
    #[serde(rename = "Method")]
    pub(crate) method: String,
    /// Values by header name; lists of strings.
    #[serde(rename = "Headers", default)]
    headers: Headers,
    /// Text, or base64 for `application/octet-stream` and `multipart/*`; absent without a body.
    #[serde(rename = "Body", borrow, default)]
    body: Option<&'a RawValue>,
}

impl HttpRequestData<'_> {
    /// The first value of a header, in any letter case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let Headers(headers) = &self.headers;
        let mut headers = headers.iter();
        let (_, value) = headers.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_deref()
    }

    /// Path and query of the address, without the host.
    pub(crate) fn target(&self) -> (&str, &str) {
        let after_host = match self.url.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => &self.url,
        };
        let target = after_host.split('#').next().unwrap_or("/");
        target.split_once('?').unwrap_or((target, ""))
    }

    /// The body's bytes.
    pub(crate) fn body(&self) -> Vec<u8> {
        let Some(value) = self.body.map(RawValue::get) else {
            return Vec::new();
        };
        match serde_json::from_str::<Text<'_>>(value) {
            Ok(Text(text)) if self.is_base64() => BASE64_STANDARD
                .decode(&*text)
                .unwrap_or_else(|_| text.into_owned().into_bytes()),
            Ok(Text(text)) => text.into_owned().into_bytes(),
            // Hosts of the first generation handed JSON bodies over as values.
            Err(_) => value.as_bytes().to_vec(),
        }
    }

    fn is_base64(&self) -> bool {
        let content_type = self.header("content-type").unwrap_or_default();
        content_type.starts_with("application/octet-stream")
            || content_type.starts_with("multipart/")
    }
}

/// A string, borrowed where it holds no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first value of each header, if it is a string.
#[derive(Debug, Default)]
struct Headers(Vec<(String, Option<String>)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of headers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, FirstText(value))) = map.next_entry()? {
            if headers.len() == MAX_HEADERS {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_HEADERS} headers"
                )));
            }
            headers.push((name, value));
        }
        Ok(Headers(headers))
    }
}

/// A string, or the first of a list; nothing of anything else is kept.
struct FirstText(Option<String>);

impl<'de> Deserialize<'de> for FirstText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value: &RawValue = Deserialize::deserialize(deserializer)?;
        let text = value.get();
        let first = match text.starts_with('[') {
            true => serde_json::from_str::<First>(text)
                .ok()
                .and_then(|First(first)| first),
            false => serde_json::from_str(text).ok(),
        };
        Ok(Self(first))
    }
}

/// The first value of a list, if it is a string.
struct First(Option<String>);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FirstVisitor)
    }
}

struct FirstVisitor;

impl<'de> Visitor<'de> for FirstVisitor {
    type Value = First;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First, A::Error> {
        let first: Option<&RawValue> = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(First(
            first.and_then(|first| serde_json::from_str(first.get()).ok()),
        ))
    }
}

/// The answer for the caller.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HttpResponseData {
    /// The status of the caller's answer.
    pub(crate) status_code: u16,
    /// Its headers.
    pub(crate) headers: BTreeMap<String, String>,
    /// Its body; text only, the envelope cannot carry anything else.
    pub(crate) body: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> HttpRequestData<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn finds_path_header_and_text_body() {
        let call = request(
            r#"{"Url":"https://app.example/api/score/iris?code=k","Method":"POST","Params":{"path":"iris"},
                "Headers":{"Content-Type":["application/json"],"X":"1"},"Body":"{\"data\":[]}"}"#,
        );
        assert_eq!(call.target(), ("/api/score/iris", "code=k"));
        assert_eq!(call.header("content-type"), Some("application/json"));
        assert_eq!(call.header("x"), Some("1"));
        assert_eq!(call.body(), br#"{"data":[]}"#);
    }

    #[test]
    fn takes_binary_bodies_from_base64_and_missing_ones_as_empty() {
        let call = request(
            r#"{"Url":"http://h/","Method":"POST","Body":"AQID",
                "Headers":{"content-type":["application/octet-stream"]}}"#,
        );
        assert_eq!(call.body(), [1, 2, 3]);
        let call = request(r#"{"Url":"http://h","Method":"GET"}"#);
        assert_eq!((call.target().0, call.body()), ("/", vec![]));
    }
    #[test]
    fn values_of_any_other_form_stay_text_and_headers_are_bounded() {
        let call = request(
            r#"{"Url":"http://h/","Method":"POST","Headers":{"a":[[0,0],"x"],"b":{"c":[0]},"c":7,"d":[],"e":["y",1]},
                "Body":{"data": [[1, 2]]}}"#,
        );
        for name in ["a", "b", "c", "d"] {
            assert_eq!(call.header(name), None);
        }
        assert_eq!(call.header("E"), Some("y"));
        assert_eq!(call.body(), br#"{"data": [[1, 2]]}"#);
        assert_eq!(request(r#"{"Url":"","Method":"","Body":null}"#).body(), b"");

        let many: Vec<String> = (0..=MAX_HEADERS).map(|n| format!("\"{n}\":\"\"")).collect();
        for headers in [format!("{{{}}}", many.join(",")), "[0,0,0]".to_owned()] {
            let text = format!(r#"{{"Url":"","Method":"","Headers":{headers}}}"#);
            assert!(serde_json::from_str::<HttpRequestData<'_>>(&text).is_err());
        }
    }
}
