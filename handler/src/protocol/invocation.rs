//! The envelope: what the host posts to `/<FunctionName>` and what it wants back.
//!
//! Sources: the host's `ScriptInvocationContextExtensions` (request) and `HttpScriptInvocationResult` (answer).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// One call by the host. `Metadata` is not read: a message body can forge its members.
#[derive(Debug, Deserialize)]
pub(crate) struct Invocation<'a> {
    /// Values by binding name, each encoded as its trigger prescribes.
    #[serde(rename = "Data", borrow)]
    pub(crate) data: BTreeMap<String, &'a RawValue>,
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
}

impl InvocationResponse {
    /// An answer with one value for the binding of that name.
    pub(crate) fn with_output(binding: &str, value: Value) -> Self {
        if binding == "$return" {
            Self {
                return_value: Some(value),
                ..Self::default()
            }
        } else {
            Self {
                outputs: BTreeMap::from([(binding.to_owned(), value)]),
                ..Self::default()
            }
        }
    }
}
