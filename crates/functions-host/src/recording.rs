//! What a real Functions host was seen to send and get, from `tests/data/recorded`.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Captures, Regex};
use serde_json::Value;

use super::repository;

// Compiled once: in a test build that takes milliseconds for each.
static LENGTH: LazyLock<Regex> = LazyLock::new(|| form("Content-Length: [0-9]+"));
static DATE: LazyLock<Regex> =
    LazyLock::new(|| form(r"(?<year>[0-9]{4})-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?<fraction>\.[0-9]+)?"));
/// What differs from run to run, and what it is replaced by.
static KINDS: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    [
        (
            form("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
            "GUID",
        ),
        (form(r"Host: 127\.0\.0\.1:[0-9]+"), "Host: 127.0.0.1:PORT"),
        (
            form(r#""PopReceipt":"\\"[^"\\]+\\"""#),
            r#""PopReceipt":"RECEIPT""#,
        ),
        (
            form(r#""SequenceNumber(Array)?":"[\[\]0-9,]+""#),
            r#""SequenceNumber$1":"N""#,
        ),
        (
            form(r#""ContentHash":"[^"]{24}""#),
            r#""ContentHash":"HASH""#,
        ),
    ]
});

fn form(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant")
}

/// One recorded case.
#[derive(Clone, Debug)]
pub struct Recording(Value);

/// A request as a caller sent it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header lines in order.
    pub headers: Vec<(String, String)>,
    /// Without the coding of its transfer.
    pub body: Vec<u8>,
}

/// A request as the handler got it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Request line and headers, with the empty line.
    pub head: String,
    /// Sizes of its chunks in hexadecimal as sent, the last one too; empty if it did not come in chunks.
    pub chunks: Vec<String>,
    /// Chunks joined.
    pub body: Vec<u8>,
}

/// What a handler does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Sends these bytes.
    Bytes(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Says nothing until the connection is closed.
    Hold,
}

impl Recording {
    /// The cases of a group.
    ///
    /// # Panics
    ///
    /// If there is no such group.
    pub fn group(group: &str) -> Vec<Self> {
        let path = repository().join(format!("tests/data/recorded/{group}.jsonl"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.lines()
            .map(|line| Self(serde_json::from_str(line).expect("a line of JSON")))
            .collect()
    }

    /// One case of a group.
    ///
    /// # Panics
    ///
    /// If there is no such case.
    pub fn case(group: &str, case: &str) -> Self {
        let mut cases = Self::group(group).into_iter();
        let found = cases.find(|recording| recording.name() == case);
        found.unwrap_or_else(|| panic!("no case {group}/{case}"))
    }

    /// The case's name.
    pub fn name(&self) -> &str {
        self.0["case"].as_str().expect("a name")
    }

    /// A member of the recording.
    pub fn member(&self, name: &str) -> &Value {
        &self.0[name]
    }

    /// What the caller sent, if the case has a caller.
    pub fn call(&self) -> Option<Call> {
        let mut bytes = bytes(&self.0, "client_request")?;
        if let Some(length) = self.0["client_request_body_omitted_length"].as_u64() {
            bytes.resize(bytes.len() + length as usize, b'1');
        }
        for part in self.0["client_request_parts"]
            .as_array()
            .into_iter()
            .flatten()
        {
            bytes.extend_from_slice(part.as_str().expect("text").as_bytes());
        }
        Some(Call::parse(&bytes))
    }

    /// What the handler got, each request as often as it came.
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.0["handler_requests"].as_array().expect("a list");
        let of = |value: &Value| {
            let times = value["times"].as_u64().expect("a number") as usize;
            std::iter::repeat_n(Request::of(value), times)
        };
        requests.iter().flat_map(of).collect()
    }

    /// What the handler answered, one after the other; the last one was given to all that followed.
    pub fn replies(&self) -> Vec<Reply> {
        let mut replies: Vec<Reply> = Vec::new();
        for answer in self.0["handler_answers"].as_array().expect("a list") {
            let mut sent = bytes(answer, "raw").or_else(|| bytes(answer, "head"));
            if let (Some(sent), Some(body)) = (&mut sent, bytes(answer, "body")) {
                sent.extend(body);
            }
            match (sent, replies.last_mut()) {
                // A later piece of the answer before.
                (Some(more), Some(Reply::Bytes(sent))) if !more.starts_with(b"HTTP/") => {
                    sent.extend(more);
                }
                (Some(sent), _) => replies.push(Reply::Bytes(sent)),
                (None, None) if answer["closed_by_host"] == true => replies.push(Reply::Hold),
                (None, None) => replies.push(Reply::Close),
                // It closed the connection after its answer.
                (None, Some(_)) => {}
            }
        }
        replies
    }

    /// Status, headers and body of what a caller got.
    ///
    /// # Panics
    ///
    /// If the caller got no answer.
    pub fn answer_of(holder: &Value) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let mut sent = bytes(holder, "raw")
            .or_else(|| bytes(holder, "head"))
            .expect("an answer");
        sent.extend(bytes(holder, "body").unwrap_or_default());
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        let sent = sent.strip_prefix(interim.as_slice()).unwrap_or(&sent);
        let (line, headers, body) = split(sent);
        let status = line[9..12].parse().expect("a status");
        (status, headers, body)
    }
}

impl Call {
    /// From the bytes that a caller sent.
    pub fn parse(sent: &[u8]) -> Self {
        let (line, headers, body) = split(sent);
        let mut words = line.split(' ');
        let mut word = || words.next().expect("a request line").to_owned();
        Self {
            method: word(),
            target: word(),
            headers,
            body,
        }
    }

    /// The headers as the stand-in takes them.
    pub fn header_pairs(&self) -> Vec<(&str, &str)> {
        let pairs = self.headers.iter();
        pairs.map(|(name, value)| (&**name, &**value)).collect()
    }
}

impl Request {
    fn of(value: &Value) -> Self {
        let head = bytes(value, "head").expect("a head");
        let length = value["body_omitted_length"].as_u64();
        let chunks = value["chunk_sizes"].as_array().into_iter().flatten();
        Self {
            head: String::from_utf8(head).expect("a head of UTF-8"),
            chunks: chunks
                .map(|size| size.as_str().expect("text").to_owned())
                .collect(),
            body: match length {
                Some(length) => vec![b'1'; length as usize],
                None => bytes(value, "body").unwrap_or_default(),
            },
        }
    }

    /// The bytes of the request as they were sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut sent = self.head.clone().into_bytes();
        if self.chunks.is_empty() {
            sent.extend_from_slice(&self.body);
            return sent;
        }
        let mut rest = &self.body[..];
        for size in &self.chunks {
            let length = usize::from_str_radix(size, 16).expect("a chunk's size");
            let (piece, behind) = rest.split_at(length);
            sent.extend(super::http1::chunk(piece));
            rest = behind;
        }
        sent
    }

    /// The same with what differs from run to run replaced by its kind. Of an envelope the length, and the sizes of the
    /// last two chunks, differ too.
    pub fn masked(&self) -> Self {
        let mut chunks = self.chunks.clone();
        let mut head = mask(&self.head);
        let is_envelope = self.body.starts_with(b"{\"Data\":");
        if is_envelope {
            chunks.truncate(chunks.len().saturating_sub(2));
            head = LENGTH.replace(&head, "Content-Length: N").into_owned();
        }
        let body = match std::str::from_utf8(&self.body) {
            Ok(text) if is_envelope => mask(text).into_bytes(),
            _ => self.body.clone(),
        };
        Self { head, chunks, body }
    }
}

/// A text with ids, dates, ports and numbers of a run replaced by what they are.
fn mask(text: &str) -> String {
    let mut masked = text.to_owned();
    for (form, kind) in KINDS.iter() {
        masked = form.replace_all(&masked, *kind).into_owned();
    }
    // Whether there is a fraction and a zone is part of the form. The first and the last year are the host's own.
    DATE.replace_all(&masked, |found: &Captures<'_>| {
        match (&found["year"], found.name("fraction")) {
            ("0001", _) => found[0].to_owned(),
            ("9999", None) => "DATE".to_owned(),
            ("9999", Some(_)) => found[0].to_owned(),
            (_, Some(_)) => "DATE.F".to_owned(),
            (_, None) => "DATE".to_owned(),
        }
    })
    .into_owned()
}

/// Start line, headers and body; a chunked body is joined.
fn split(sent: &[u8]) -> (String, Vec<(String, String)>, Vec<u8>) {
    let end = sent.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.expect("the end of a head");
    let head = String::from_utf8(sent[..end].to_vec()).expect("a head of UTF-8");
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let is_chunked = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
    let mut rest = &sent[end + 4..];
    if !is_chunked {
        return (line, headers, rest.to_vec());
    }
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("a chunk's size");
        let length = usize::from_str_radix(size, 16).expect("a chunk's size");
        let behind = &rest[end + 2..];
        body.extend_from_slice(&behind[..length]);
        rest = &behind[length + 2..];
        if length == 0 {
            break;
        }
    }
    (line, headers, body)
}

/// The bytes of a member that is text, or base64 under `<name>_b64`.
pub fn bytes(holder: &Value, name: &str) -> Option<Vec<u8>> {
    if let Some(text) = holder[name].as_str() {
        return Some(text.as_bytes().to_vec());
    }
    let encoded = holder[format!("{name}_b64")].as_str()?;
    Some(STANDARD.decode(encoded).expect("base64"))
}
