//! Envelopes to the handler, and the host's verdict on their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::client::Request;
use super::host::FunctionsHost;
use super::host_config::Function;
use super::newtonsoft;
use super::outputs::{self, OutputValue};
use super::storage_queue::QueueMessage;
use super::triggers::{self, BlobEvent, Envelope, ServiceBusMessage};
use super::{http1, random};

/// The version that the host names in its headers.
pub const HOST_VERSION: &str = "4.1037.0.0";
/// Carries the invocation id.
pub const INVOCATION_ID_HEADER: &str = "X-Azure-Functions-InvocationId";
/// Carries [`HOST_VERSION`].
pub const HOST_VERSION_HEADER: &str = "X-Azure-Functions-HostVersion";

/// What [`judge`] says of an answer that never completes an invocation.
pub const HANGS: &str = "the invocation hangs until its timeout";

/// How an envelope's body travels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transport {
    /// `Transfer-Encoding: chunked`, each 1,024 characters: the host in Azure.
    Chunked,
    /// With `Content-Length`: the host under the Core Tools.
    ContentLength,
}

impl Transport {
    /// Both, for tests that go through them.
    pub const ALL: [Self; 2] = [Self::Chunked, Self::ContentLength];
}

/// A successful invocation.
#[derive(Clone, Debug)]
pub struct InvocationOutcome {
    /// What each output binding writes; those without a value are absent.
    pub outputs: BTreeMap<String, OutputValue>,
    /// Keys of `Outputs` that are no binding's name: the host drops their values.
    pub ignored: Vec<String>,
    /// Lines for the function's own log.
    pub logs: Vec<String>,
    /// `ReturnValue`, null if absent.
    pub return_value: Value,
    /// The handler's answer itself.
    pub raw: Answer,
}

impl InvocationOutcome {
    /// The messages of one output, parsed as JSON; none if the output was not written.
    ///
    /// # Panics
    ///
    /// If it is not messages of JSON.
    pub fn messages(&self, output: &str) -> Vec<Value> {
        let texts = self
            .outputs
            .get(output)
            .map(OutputValue::texts)
            .unwrap_or_default();
        let parse = |text: &String| {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        texts.iter().map(parse).collect()
    }

    /// The bytes of one blob output, if it was written.
    pub fn blob(&self, output: &str) -> Option<&[u8]> {
        self.outputs.get(output).map(OutputValue::blob)
    }
}

impl FunctionsHost {
    /// Posts one envelope and judges the answer.
    ///
    /// # Errors
    ///
    /// Why the host counts the invocation as failed.
    pub async fn invoke(
        &self,
        function: &str,
        data: Value,
        metadata: Value,
        transport: Transport,
    ) -> Result<InvocationOutcome, String> {
        let answer = self
            .post_envelope(function, data, metadata, transport)
            .await?;
        judge(self.config().function(function), answer)
    }

    /// Delivers one message to a Service Bus function of cardinality one, or several to one of cardinality many.
    ///
    /// # Errors
    ///
    /// Why the messages are abandoned.
    pub async fn deliver(
        &self,
        function: &str,
        messages: &[ServiceBusMessage],
        transport: Transport,
    ) -> Result<InvocationOutcome, String> {
        let declared = self.declared(function);
        let envelope = match messages {
            batch if declared.trigger().setting("cardinality") == "many" => {
                triggers::batch(declared, batch)?
            }
            [message] => triggers::single(declared, message),
            _ => panic!("{function} takes one message at a time"),
        };
        self.invoke_with(function, envelope, transport).await
    }

    /// Announces a blob to a blob function.
    ///
    /// # Errors
    ///
    /// Why the host will try again.
    pub async fn blob(
        &self,
        function: &str,
        event: &BlobEvent,
        transport: Transport,
    ) -> Result<InvocationOutcome, String> {
        let envelope = triggers::blob(self.declared(function), event);
        self.invoke_with(function, envelope, transport).await
    }

    /// Delivers a storage queue's message.
    ///
    /// # Errors
    ///
    /// Why the host will try again.
    pub async fn deliver_stored(
        &self,
        function: &str,
        message: &QueueMessage,
        transport: Transport,
    ) -> Result<InvocationOutcome, String> {
        let envelope = triggers::queue(self.declared(function), message)?;
        self.invoke_with(function, envelope, transport).await
    }

    /// Posts one envelope and returns the handler's answer as it is.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn post_envelope(
        &self,
        function: &str,
        data: Value,
        metadata: Value,
        transport: Transport,
    ) -> Result<Answer, String> {
        let body = newtonsoft::plain(&json!({ "Data": data, "Metadata": metadata }));
        self.post_body(function, body.as_bytes(), transport).await
    }

    /// Posts anything as if it were an envelope and returns the handler's answer as it is.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn post_body(
        &self,
        function: &str,
        body: &[u8],
        transport: Transport,
    ) -> Result<Answer, String> {
        assert!(
            transport == Transport::Chunked || self.is_core_tools(),
            "outside the Core Tools envelopes come in chunks: start with HostOptions::core_tools"
        );
        let invocation_id = random::guid();
        let json = "application/json; charset=utf-8".to_owned();
        let mut headers = vec![
            ("Host", format!("127.0.0.1:{}", self.port())),
            (HOST_VERSION_HEADER, HOST_VERSION.to_owned()),
            (INVOCATION_ID_HEADER, invocation_id.clone()),
            ("User-Agent", format!("Azure-Functions-Host/{HOST_VERSION}")),
        ];
        headers.extend(self.activity().map(|parent| ("traceparent", parent)));
        let body = match transport {
            Transport::Chunked => {
                headers.push(("Transfer-Encoding", "chunked".to_owned()));
                headers.push(("Content-Type", json));
                http1::chunked_text(body)
            }
            Transport::ContentLength => {
                headers.push(("Content-Type", json));
                headers.push(("Content-Length", body.len().to_string()));
                body.to_vec()
            }
        };
        let head = http1::head("POST", &format!("/{function}"), &headers);
        let answer = self.client().send(&Request { head, body }).await;
        let answer = answer.map_err(|failure| failure.to_string())?;
        Ok(Answer {
            invocation_id,
            ..answer
        })
    }

    /// Posts an envelope and judges the answer.
    ///
    /// # Errors
    ///
    /// Why the host counts the invocation as failed.
    pub async fn invoke_with(
        &self,
        function: &str,
        envelope: Envelope,
        transport: Transport,
    ) -> Result<InvocationOutcome, String> {
        self.invoke(function, envelope.data, envelope.metadata, transport)
            .await
    }

    fn declared(&self, function: &str) -> &Function {
        let found = self.config().function(function);
        found.unwrap_or_else(|| panic!("no folder {function} with a function.json"))
    }
}

/// What the host makes of an envelope's answer; without a function there are no output bindings.
///
/// # Errors
///
/// Why the invocation fails, or that it would hang until its timeout.
pub fn judge(function: Option<&Function>, answer: Answer) -> Result<InvocationOutcome, String> {
    let result = members(&answer)?;
    let logs = logs(result.get("logs"))?;
    let return_value = result.get("returnvalue").cloned().unwrap_or_default();
    let written = match result.get("outputs").unwrap_or(&Value::Null) {
        Value::Null => None,
        Value::Object(written) => Some(written),
        other => return Err(format!("Outputs is not an object: {other}")),
    };
    let outputs = function.map_or_else(
        || Ok(BTreeMap::new()),
        |function| decode_all(function, written, &return_value),
    )?;
    let is_known = |key: &String| {
        function.is_some_and(|function| function.outputs().any(|known| known.name == *key))
    };
    Ok(InvocationOutcome {
        outputs,
        ignored: written
            .map(|written| {
                written
                    .keys()
                    .filter(|key| !is_known(key))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default(),
        logs,
        return_value,
        raw: answer,
    })
}

/// The members of the answer's object by their names in lower case.
fn members(answer: &Answer) -> Result<BTreeMap<String, Value>, String> {
    if !(200..300).contains(&answer.status) {
        return Err(format!(
            "status {} does not indicate success: {}",
            answer.status,
            answer.text()
        ));
    }
    if answer.status == 204 || answer.body.is_empty() {
        return Err(format!("no content: {HANGS}"));
    }
    let content_type = answer.header("content-type").unwrap_or_default();
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if media_type != "application/json" && media_type != "text/json" {
        return Err(format!(
            "No MediaTypeFormatter is available to read content of type {content_type:?}"
        ));
    }
    match serde_json::from_slice(&answer.body) {
        Ok(Value::Null) => Err(format!("null: {HANGS}")),
        Ok(Value::Object(members)) => Ok(members
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect()),
        Ok(other) => Err(format!("not an object: {other}")),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

fn logs(value: Option<&Value>) -> Result<Vec<String>, String> {
    let lines = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(lines)) => lines,
        Some(other) => return Err(format!("Logs is not an array: {other}")),
    };
    lines
        .iter()
        .map(|line| {
            line.as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("Logs holds {line}"))
        })
        .collect()
}

fn decode_all(
    function: &Function,
    written: Option<&Map<String, Value>>,
    return_value: &Value,
) -> Result<BTreeMap<String, OutputValue>, String> {
    let returns = function.outputs().any(|binding| binding.name == "$return");
    let spread = return_value.as_object().filter(|_| !returns);
    let mut outputs = BTreeMap::new();
    for binding in function.outputs() {
        let named = written.and_then(|written| written.get(&binding.name));
        let value = match binding.name.as_str() {
            "$return" => Some(return_value).filter(|value| !value.is_null()),
            name => named.or_else(|| spread.and_then(|spread| spread.get(name))),
        };
        // A member of ReturnValue that gets to an output by its name is taken as it is.
        let guesses = binding.name == "$return" || named.is_some();
        let decoded = match value {
            Some(value) => outputs::decode(binding, value, guesses)
                .map_err(|error| format!("output {}: {error}", binding.name))?,
            None if binding.kind == "http" => {
                Some(OutputValue::Http(default_answer(written.is_some())))
            }
            None => None,
        };
        outputs.extend(decoded.map(|value| (binding.name.clone(), value)));
    }
    Ok(outputs)
}

/// What an HTTP caller gets when the handler gave no answer for it.
fn default_answer(has_outputs: bool) -> Answer {
    if !has_outputs {
        return Answer::new(204, Vec::new(), Vec::new());
    }
    let plain = ("Content-Type", "text/plain; charset=utf-8");
    Answer::new(
        200,
        vec![(plain.0.to_owned(), plain.1.to_owned())],
        b"{}".to_vec(),
    )
}

/// The limit of one request to the handler: one minute more than the function's.
pub fn request_limit(function_timeout: Option<Duration>) -> Duration {
    const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);
    function_timeout.map_or(FOREVER, |limit| limit + Duration::from_secs(60))
}

#[cfg(test)]
#[path = "invoke_tests.rs"]
mod tests;
