//! What the host makes of the values in an envelope's answer: what reaches the broker, the blob or the HTTP caller.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::answer::Answer;
use super::host_config::Binding;
use super::iso8601::{self, DateTime};
use super::newtonsoft::{compact, indented, number_text};

/// What one output binding writes.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputValue {
    /// Bodies of the messages, in order.
    Messages(Vec<Vec<u8>>),
    /// Content of the blob.
    Blob(Vec<u8>),
    /// Answer to the HTTP caller.
    Http(Answer),
    /// A value that cannot be written to a blob: a blob without a byte is left, and the invocation fails.
    Unwritable(String),
}

impl OutputValue {
    /// Message bodies as text.
    ///
    /// # Panics
    ///
    /// If it is not messages of UTF-8.
    pub fn texts(&self) -> Vec<String> {
        let Self::Messages(bodies) = self else {
            panic!("not messages: {self:?}");
        };
        let text = |body: &Vec<u8>| String::from_utf8(body.clone()).expect("a message of UTF-8");
        bodies.iter().map(text).collect()
    }

    /// The blob's bytes.
    ///
    /// # Panics
    ///
    /// If it is not a blob.
    pub fn blob(&self) -> &[u8] {
        match self {
            Self::Blob(content) => content,
            other => panic!("not a blob: {other:?}"),
        }
    }
}

/// A value after the host's JSON reader and its guess at base64.
enum Held<'a> {
    Bytes(Vec<u8>),
    Text(&'a str),
    Date(DateTime),
    Other(&'a Value),
}

/// What `binding` writes for `value` of `Outputs`; nothing for null. With `guesses` a text that is base64 is decoded.
///
/// # Errors
///
/// Why the invocation fails.
pub fn decode(
    binding: &Binding,
    value: &Value,
    guesses: bool,
) -> Result<Option<OutputValue>, String> {
    if binding.kind == "http" {
        return http_answer(value).map(|answer| Some(OutputValue::Http(answer)));
    }
    if value.is_null() {
        return Ok(None);
    }
    let held = hold(value, guesses && !binding.is_binary());
    match binding.kind.as_str() {
        "serviceBus" | "queue" => {
            messages(held, &binding.kind).map(|bodies| Some(OutputValue::Messages(bodies)))
        }
        "blob" => Ok(Some(match content(held) {
            Ok(bytes) => OutputValue::Blob(bytes),
            Err(reason) => OutputValue::Unwritable(reason),
        })),
        other => Err(format!("no rule for outputs of type {other}")),
    }
}

/// Bytes of a text that is standard base64; blanks and line breaks do not count.
pub fn guess_base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    let dense: String = text
        .chars()
        .filter(|found| !" \t\r\n".contains(*found))
        .collect();
    LENIENT.decode(dense).ok()
}

fn hold(value: &Value, guesses: bool) -> Held<'_> {
    let Value::String(text) = value else {
        return Held::Other(value);
    };
    if let Some(date) = iso8601::parse(text) {
        return Held::Date(date);
    }
    match guess_base64(text).filter(|_| guesses) {
        Some(bytes) => Held::Bytes(bytes),
        None => Held::Text(text),
    }
}

fn messages(held: Held<'_>, kind: &str) -> Result<Vec<Vec<u8>>, String> {
    Ok(match held {
        Held::Bytes(_) if kind == "serviceBus" => vec![b"System.Byte[]".to_vec()],
        Held::Bytes(bytes) => vec![bytes],
        Held::Text(text) if looks_like_json(text) => {
            let parsed: Value = serde_json::from_str(text)
                .map_err(|error| format!("output is not JSON: {error}"))?;
            each(&parsed)
        }
        Held::Text(text) => vec![text.into()],
        Held::Date(date) => vec![date.culture_text().into()],
        Held::Other(value) => each(value),
    })
}

/// One message per element of an array, one for anything else.
fn each(value: &Value) -> Vec<Vec<u8>> {
    match value {
        Value::Array(items) => items.iter().map(|item| body(item).into()).collect(),
        single => vec![body(single).into()],
    }
}

fn body(value: &Value) -> String {
    match value {
        Value::String(text) => match iso8601::parse(text) {
            Some(date) => date.culture_text(),
            None => text.clone(),
        },
        Value::Null => String::new(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number_text(number),
        Value::Array(_) | Value::Object(_) => indented(value),
    }
}

fn looks_like_json(text: &str) -> bool {
    let text = text.trim();
    (text.starts_with('{') && text.ends_with('}')) || (text.starts_with('[') && text.ends_with(']'))
}

fn content(held: Held<'_>) -> Result<Vec<u8>, String> {
    Ok(match held {
        Held::Bytes(bytes) => bytes,
        Held::Text(text) => text.into(),
        Held::Date(_) => return Err("a date cannot be written to a blob".to_owned()),
        Held::Other(Value::Bool(truth)) => vec![u8::from(*truth)],
        Held::Other(Value::Number(number)) => match number.as_i64() {
            Some(integer) => i32::try_from(integer).map_or_else(
                |_| integer.to_le_bytes().to_vec(),
                |small| small.to_le_bytes().to_vec(),
            ),
            None => number.as_f64().unwrap_or_default().to_le_bytes().to_vec(),
        },
        Held::Other(value) => compact(value).into(),
    })
}

/// The answer to the HTTP caller made from the value of an `http` output.
fn http_answer(value: &Value) -> Result<Answer, String> {
    const SHAPE: &str = "output should have 'StatusCode', 'Status', 'Body' and 'Headers'";
    let parsed: Value;
    let members = match value {
        Value::String(text) => {
            parsed = serde_json::from_str(text).map_err(|_| SHAPE.to_owned())?;
            parsed.as_object()
        }
        other => other.as_object(),
    };
    let members = members.ok_or(SHAPE)?;
    let member = |name: &str| {
        let found = members
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or(&Value::Null, |(_, value)| value)
    };
    let headers = http_headers(member("headers"))?;
    let has_type = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content = match member("body") {
        Value::Null => String::new(),
        object @ (Value::Object(_) | Value::Array(_)) if has_type => compact(object),
        other => body(other),
    };
    let mut answer = Answer::new(http_status(member("statusCode"))?, headers, content.into());
    let charset = "; charset=utf-8";
    if !has_type && !answer.body.is_empty() {
        let plain = ("Content-Type".to_owned(), format!("text/plain{charset}"));
        answer.headers.push(plain);
    }
    for (name, value) in &mut answer.headers {
        if name.eq_ignore_ascii_case("content-type") && !value.contains("charset") {
            value.push_str(charset);
        }
    }
    Ok(answer)
}

fn http_status(value: &Value) -> Result<u16, String> {
    let status = match value {
        Value::Null => Some(200),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    status
        .and_then(|status| u16::try_from(status).ok())
        .ok_or_else(|| format!("not a status code: {value}"))
}

fn http_headers(value: &Value) -> Result<Vec<(String, String)>, String> {
    let entries = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Object(entries) => entries,
        other => return Err(format!("headers are not an object: {other}")),
    };
    entries
        .iter()
        .map(|(name, value)| match value {
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(format!("header {name} breaks the answer: {value}"))
            }
            scalar => Ok((name.clone(), body(scalar))),
        })
        .collect()
}

#[cfg(test)]
#[path = "outputs_tests.rs"]
mod tests;
