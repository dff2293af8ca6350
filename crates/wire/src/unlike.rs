//! Bodies that are not JSON objects: what they look like, and what to send instead. Used only after reading has failed.

mod data_contract;

use score::ModelSignature;
use serde::de::IgnoredAny;

use crate::body::Declared;
use crate::format::charset;
use crate::format::is_packed;
use crate::format::raw;
use crate::format::{NPY_MAGIC, XLS_MAGIC, ZIP_MAGIC};
use crate::json::base64;
use crate::watch::Unwatched;

/// The body inside a wrapping that clients of queues put around it, where there is only one way to read that: JSON, a
/// numpy array, a picture or gzip in base64, JSON inside a JSON string, and what .NET's data contract serializer makes of
/// texts and bytes.
pub(crate) fn unwrap(body: &[u8]) -> Option<Vec<u8>> {
    let text = body.trim_ascii();
    match text.first()? {
        b'"' => string_with_json(text).map(String::into_bytes),
        b'e' | b'7' => base64_with_json(text),
        b'/' => base64_with_json(text).or_else(|| base64_with_signature(text)),
        // The first characters, in base64, of formats that begin with a signature.
        b'k' | b'i' | b'U' | b'H' => base64_with_signature(text),
        b'@' => data_contract::from_binary(body),
        b'<' => data_contract::from_xml(text),
        _ => None,
    }
}

/// The end of an error text: what a body looks like, and what its sender has to change.
pub(crate) fn advice(body: &[u8], signature: &ModelSignature) -> Option<String> {
    let text = body.trim_ascii();
    if data_contract::looks_like_it(text) {
        return Some(
            "the body was written by .NET's data contract serializer, as by new BrokeredMessage(object); send the UTF-8 bytes of \
             the JSON: new BrokeredMessage(new MemoryStream(bytes), true), or Azure.Messaging.ServiceBus"
                .to_owned(),
        );
    }
    match std::str::from_utf8(text) {
        Ok(text) if !text.contains(is_control) => advice_on_text(text).map(str::to_owned),
        _ => Some(advice_on_bytes(body, signature)),
    }
}

fn is_control(c: char) -> bool {
    c.is_ascii_control() && !c.is_ascii_whitespace()
}

fn advice_on_bytes(body: &[u8], signature: &ModelSignature) -> String {
    let length = body.len();
    if body.starts_with(ZIP_MAGIC) {
        return "the body is a zip file, such as an Excel workbook or numpy's .npz; save a table as CSV and send it as text/csv, \
                or send one array as .npy"
            .to_owned();
    }
    if body.starts_with(XLS_MAGIC) {
        return "the body is an Excel workbook; save the table as CSV and send it as text/csv"
            .to_owned();
    }
    // Protocols 2 to 5.
    if matches!(body, [0x80, 2..=5, ..]) {
        return "the body is a Python pickle; send JSON, or the array by numpy.save".to_owned();
    }
    match raw::fits(length, signature) {
        Some(spec) => format!(
            "the body is binary, and its {length} bytes are whole rows of input {:?}, {spec}; if they are little-endian \
             elements, send them with Content-Type: application/octet-stream",
            spec.name
        ),
        None => format!(
            "the body is {length} bytes of binary data; send JSON, or name their type in Content-Type"
        ),
    }
}

fn advice_on_text(text: &str) -> Option<&'static str> {
    let lower: String = text
        .chars()
        .take(200)
        .collect::<String>()
        .to_ascii_lowercase();
    let starts = |starts: &[&str]| starts.iter().any(|start| lower.starts_with(start));
    Some(if base64_with_json(text.as_bytes()).is_some() {
        "the body is JSON in base64; send the JSON itself"
    } else if string_with_json(text.as_bytes()).is_some() {
        "the body is a JSON string that holds JSON, so it was encoded twice; send the object, encoded once (without the second \
         json.dumps, JSON.stringify or JsonSerializer.Serialize)"
    } else if starts(&["<!doctype html", "<html"]) {
        "the body is an HTML page; send JSON"
    } else if starts(&["<"]) {
        "the body is XML; send JSON"
    } else if starts(&["--"]) && lower.contains("content-disposition:") {
        "the body is a form with parts (multipart/form-data); send the file or the JSON alone as the body, with its own \
         Content-Type (curl --data-binary @file, not -F)"
    } else if starts(&["[object "]) {
        "the body is the name of a JavaScript object; send JSON.stringify(object)"
    } else if starts(&["b'", "b\""]) {
        "the body is the text of a Python bytes object; send the bytes, or their .decode()"
    } else if starts(&["'{", "'["]) {
        "single quotes stand around the body; Windows' cmd.exe passes them on: write \"{\\\"data\\\": ...}\", or send a file \
         (curl -d @body.json)"
    } else if starts(&["{"]) {
        advice_on_object(&lower)?
    } else if is_form(&lower) {
        "the body is a form (application/x-www-form-urlencoded); send the object as JSON: requests' json= instead of data=, \
         ConvertTo-Json in PowerShell, JSON.stringify in JavaScript"
    } else if is_csv(text) {
        "the body is comma-separated values; send them with Content-Type: text/csv"
    } else {
        return None;
    })
}

/// The advice on a text that begins like an object and is not one.
fn advice_on_object(lower: &str) -> Option<&'static str> {
    let inside = lower.trim_start_matches('{').trim_start();
    let word = inside.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let named = word.len() < inside.len();
    if inside.starts_with('\'') {
        Some(
            "its names stand in single quotes, as str() of a Python dict writes them; send json.dumps(object)",
        )
    } else if named && word.trim_start().starts_with(':') {
        Some(
            "its names stand without quotes, as when a shell has removed them; send a file (curl -d @body.json), or escape the \
             quotes",
        )
    } else if named && word.trim_start().starts_with('=') {
        Some(
            "its names stand without quotes, as toString() of a Java map writes them; send what a JSON library writes",
        )
    } else {
        None
    }
}

/// `data=...`, percent-encoded or not.
fn is_form(lower: &str) -> bool {
    let first = lower.split('&').next().unwrap_or_default();
    let name_char = |c: char| c.is_ascii_alphanumeric() || "_.-+%[]".contains(c);
    let named = |(name, _): (&str, &str)| !name.is_empty() && name.chars().all(name_char);
    !first.contains('\n') && first.split_once('=').is_some_and(named)
}

/// Several lines or columns that begin with a number.
fn is_csv(text: &str) -> bool {
    let first = text
        .split([',', ';', '\t', '\n'])
        .next()
        .unwrap_or_default();
    first.len() < text.len() && first.trim().parse::<f64>().is_ok()
}

fn base64_with_json(text: &[u8]) -> Option<Vec<u8>> {
    // `{"`, `{` with white space or the half of a UTF-16 character behind it, and the marks of UTF-8 and UTF-16.
    let starts: [&[u8]; 4] = [b"ey", b"ew", b"77u/", b"//57"];
    if !starts.iter().any(|start| text.starts_with(start)) {
        return None;
    }
    let is_json = |bytes: &Vec<u8>| {
        let text = charset::to_utf8(bytes, Declared::default(), &Unwatched);
        text.is_ok_and(|text| serde_json::from_slice::<IgnoredAny>(&text).is_ok())
    };
    base64::decode(text).filter(is_json)
}

fn base64_with_signature(text: &[u8]) -> Option<Vec<u8>> {
    // 16 characters hold the longest signature; most texts are not base64 of a signature and are not copied.
    let begin = base64::decode(text.get(..16)?)?;
    let known = begin.starts_with(NPY_MAGIC) || is_packed(&begin);
    known.then(|| base64::decode(text)).flatten()
}

fn string_with_json(text: &[u8]) -> Option<String> {
    if !text.starts_with(b"\"") {
        return None;
    }
    let inner: String = serde_json::from_slice(text).ok()?;
    inner.trim_start().starts_with('{').then_some(inner)
}

#[cfg(test)]
mod tests;
