//! An HTTP request and its answer inside the envelope.
//!
//! Sources: the host's `HttpRequestExtensions.GetRequestAsJObject` (request) and `HttpScriptInvocationResultExtensions`
//! (answer: `statusCode`, not `status`; header values must be plain; a body of type string is passed on as it is).

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The caller's request as the host describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct HttpRequestData {
    /// The full public address.
    #[serde(rename = "Url")]
    pub(crate) url: String,
    /// The method, in capitals.
    #[serde(rename = "Method")]
    pub(crate) method: String,
    /// Values by header name; lists of strings.
    #[serde(rename = "Headers", default)]
    pub(crate) headers: BTreeMap<String, Value>,
    /// Text, or base64 for `application/octet-stream` and `multipart/*`; absent without a body.
    #[serde(rename = "Body", default)]
    body: Option<Value>,
}

impl HttpRequestData {
    /// The first value of a header, in any letter case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        match value {
            Value::String(text) => Some(text),
            Value::Array(list) => list.first()?.as_str(),
            _ => None,
        }
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
        match &self.body {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) if self.is_base64() => BASE64_STANDARD
                .decode(text)
                .unwrap_or_else(|_| text.clone().into_bytes()),
            Some(Value::String(text)) => text.clone().into_bytes(),
            // Hosts of the first generation handed JSON bodies over as values.
            Some(value) => value.to_string().into_bytes(),
        }
    }

    fn is_base64(&self) -> bool {
        let content_type = self.header("content-type").unwrap_or_default();
        content_type.starts_with("application/octet-stream")
            || content_type.starts_with("multipart/")
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

    fn request(json: &str) -> HttpRequestData {
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
}
