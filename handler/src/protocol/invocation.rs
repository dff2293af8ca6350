//! The envelope: what the host posts to `/<FunctionName>` and what it wants back.
//!
//! Sources: the host's `ScriptInvocationContextExtensions` (request) and `HttpScriptInvocationResult` (answer).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// One call by the host.
#[derive(Debug, Deserialize)]
pub(crate) struct Invocation<'a> {
    /// Values by binding name, each encoded as its trigger prescribes.
    #[serde(rename = "Data", borrow)]
    data: BTreeMap<String, &'a RawValue>,
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
        let value = self.data.get(binding).copied();
        value.ok_or_else(|| NotAnInvocation::NoSuchBinding {
            binding: binding.to_owned(),
            present: self.data.keys().cloned().collect(),
        })
    }

    /// The JSON of `Metadata`.
    pub(crate) fn metadata(&self) -> &'a str {
        self.metadata.map_or("{}", RawValue::get)
    }
}

/// The whole answer to the host. Never an empty body: the host would wait for ever.
#[derive(Debug, Default, Serialize)]
pub(crate) struct InvocationResponse {
    /// Values by output-binding name; names are case-sensitive.
    #[serde(rename = "Outputs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) outputs: BTreeMap<String, Value>,
    /// The value of a binding called `$return`.
    #[serde(rename = "ReturnValue", skip_serializing_if = "Option::is_none")]
    pub(crate) return_value: Option<Value>,
    /// Lines for the function's own log.
    #[serde(rename = "Logs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) logs: Vec<String>,
}

impl InvocationResponse {
    /// Sets the value of the output binding of that name.
    pub(crate) fn put(&mut self, binding: &str, value: Value) {
        if binding == "$return" {
            self.return_value = Some(value);
        } else {
            self.outputs.insert(binding.to_owned(), value);
        }
    }
}
