//! The envelope: what the host posts to `/<FunctionName>` and what it wants back.
//!
//! Sources: the host's `ScriptInvocationContextExtensions` (request) and `HttpScriptInvocationResult` (answer).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::http_binding::HttpResponseData;

/// Bindings that one function may have; apps have two or three.
const MAX_BINDINGS: usize = 64;
/// The most characters of a name that an error quotes.
const MAX_QUOTED: usize = 60;

/// One call by the host.
#[derive(Debug, Deserialize)]
pub(crate) struct Invocation<'a> {
    /// Values by binding name, each encoded as its trigger prescribes.
    #[serde(rename = "Data", borrow)]
    data: Bindings<'a>,
    /// What the trigger knows; a message body can forge some of it.
    #[serde(rename = "Metadata", borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// Why something is no call by the host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAnInvocation {
    /// It is not the JSON expected.
    #[error("not an invocation: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The same, where it is read as it comes.
    #[error("not an invocation: {0}")]
    Unread(Cow<'static, str>),
    /// The value of a binding with cardinality many is no list.
    #[error("Data.{0}: expected a list of messages")]
    NoList(String),
    /// The metadata of a batch is larger than may be held.
    #[error(
        "the metadata of the messages is larger than {0} bytes (SCORE_MAX_BODY_BYTES): set a smaller maxMessageBatchSize \
         in host.json"
    )]
    TooMuchMetadata(usize),
    /// There are more messages than one call may bring.
    #[error("more than {0} messages in one call: set a smaller maxMessageBatchSize in host.json")]
    TooManyMessages(usize),
    /// The binding of function.json is missing.
    #[error("Data has no member {binding:?}; it has {present:?}")]
    NoSuchBinding {
        /// The one of function.json.
        binding: String,
        /// Those that came.
        present: Vec<String>,
    },
}

impl NotAnInvocation {
    pub(super) fn malformed(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Unread(reason.into())
    }
}

impl<'a> Invocation<'a> {
    /// Reads an envelope.
    pub(crate) fn parse(envelope: &'a [u8]) -> Result<Self, NotAnInvocation> {
        Ok(serde_json::from_slice(envelope)?)
    }

    /// The value of a binding.
    pub(crate) fn data(&self, binding: &str) -> Result<&'a RawValue, NotAnInvocation> {
        let Bindings(all) = &self.data;
        // Of several with one name the last one counts, as everywhere in JSON.
        let named = all.iter().rev().find(|(name, _)| name == binding);
        let shown = |name: &str| name.chars().take(MAX_QUOTED).collect();
        match named {
            Some((_, value)) => Ok(value),
            None => Err(NotAnInvocation::NoSuchBinding {
                binding: binding.to_owned(),
                present: all.iter().map(|(name, _)| shown(name)).collect(),
            }),
        }
    }

    /// The JSON of `Metadata`.
    pub(crate) fn metadata(&self) -> &'a str {
        self.metadata.map_or("{}", RawValue::get)
    }
}

/// The members of `Data`, in their order.
#[derive(Debug)]
struct Bindings<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Bindings<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BindingsVisitor)
    }
}

struct BindingsVisitor;

impl<'de> Visitor<'de> for BindingsVisitor {
    type Value = Bindings<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of bindings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bindings<'de>, A::Error> {
        let mut bindings = Vec::new();
        while let Some(binding) = map.next_entry()? {
            if bindings.len() == MAX_BINDINGS {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_BINDINGS} bindings"
                )));
            }
            bindings.push(binding);
        }
        Ok(Bindings(bindings))
    }
}

/// The value of an output binding.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// An answer to an HTTP caller.
    Http(HttpResponseData),
    /// Messages, each a text.
    Messages(Vec<String>),
    /// The content of a blob: text, or base64 of bytes.
    Text(String),
}

/// The whole answer to the host. Never an empty body: the host would wait for ever.
#[derive(Debug, Default, Serialize)]
pub(crate) struct InvocationResponse {
    /// Values by output-binding name; names are case-sensitive.
    #[serde(rename = "Outputs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) outputs: BTreeMap<String, Answer>,
    /// The value of a binding called `$return`.
    #[serde(rename = "ReturnValue", skip_serializing_if = "Option::is_none")]
    pub(crate) return_value: Option<Answer>,
    /// Lines for the function's own log.
    #[serde(rename = "Logs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) logs: Vec<String>,
}

impl InvocationResponse {
    /// Sets the value of the output binding of that name.
    pub(crate) fn put(&mut self, binding: &str, value: Answer) {
        if binding == "$return" {
            self.return_value = Some(value);
        } else {
            self.outputs.insert(binding.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_bounded_and_an_error_names_them_in_short() {
        let of = |data: &str| format!(r#"{{"Data":{{{data}}},"Metadata":{{}}}}"#);
        let many: Vec<String> = (0..=MAX_BINDINGS).map(|n| format!("\"{n}\":1")).collect();
        let refused = Invocation::parse(of(&many.join(",")).as_bytes()).unwrap_err();
        assert!(
            refused.to_string().contains("more than 64 bindings"),
            "{refused}"
        );
        let envelope = of(&format!("\"{}\":1,\"req\":1,\"req\":2", "x".repeat(9000)));
        let call = Invocation::parse(envelope.as_bytes()).unwrap();
        assert_eq!(call.data("req").unwrap().get(), "2");
        let missing = call.data("message").unwrap_err().to_string();
        assert!(missing.len() < 200, "{missing}");
    }
}
