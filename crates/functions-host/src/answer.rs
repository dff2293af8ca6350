//! An HTTP answer as the caller sees it.

use serde_json::Value;

/// What came back for one HTTP request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names as received, in order.
    pub headers: Vec<(String, String)>,
    /// The body without transfer coding.
    pub body: Vec<u8>,
    /// The invocation id that the host gave to the request; empty without a host.
    pub invocation_id: String,
    /// Why the host itself made this answer; `None` if the handler did.
    pub host_error: Option<String>,
}

impl Answer {
    /// An answer with this status, headers and body.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Self {
            status,
            headers,
            body,
            invocation_id: String::new(),
            host_error: None,
        }
    }

    /// An answer with an empty body that the host makes without, or in spite of, the handler.
    pub fn from_host(status: u16, error: impl Into<String>) -> Self {
        Self {
            host_error: Some(error.into()),
            ..Self::new(status, Vec::new(), Vec::new())
        }
    }

    /// The first header of this name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All headers of this name, in any letter case.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is not JSON; the message shows the whole answer.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "not JSON ({error}): status {}, headers {:?}, body {}, host error {:?}",
                self.status,
                self.headers,
                self.text(),
                self.host_error
            )
        })
    }

    /// The member at a JSON pointer of the body.
    ///
    /// # Panics
    ///
    /// If the body is not JSON or has no such member.
    pub fn at(&self, pointer: &str) -> Value {
        let body = self.json();
        match body.pointer(pointer) {
            Some(found) => found.clone(),
            None => panic!("nothing at {pointer} in {body}"),
        }
    }

    /// The same answer if its status is `status`.
    ///
    /// # Panics
    ///
    /// If it is another one; the message shows the body.
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "body {}, host error {:?}",
            self.text(),
            self.host_error
        );
        self
    }
}
