//! Header lines between the caller, the host and the handler.

use serde_json::{Map, Value};

/// Headers that belong to the body; a forwarding host adds only two of them again.
const CONTENT_HEADERS: [&str; 11] = [
    "allow",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "expires",
    "last-modified",
];

/// Names that the host's web server knows, in its spelling and in the order in which it lists them; others follow.
const KNOWN_HEADERS: [&str; 42] = [
    "Accept",
    "Connection",
    "Host",
    "User-Agent",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Method",
    "Authorization",
    "baggage",
    "Cache-Control",
    "Content-Type",
    "Cookie",
    "Correlation-Context",
    "Date",
    "Expect",
    "From",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Max-Forwards",
    "Origin",
    "Pragma",
    "Proxy-Authorization",
    "Range",
    "Referer",
    "Request-Id",
    "TE",
    "traceparent",
    "tracestate",
    "Trailer",
    "Transfer-Encoding",
    "Translate",
    "Upgrade",
    "Upgrade-Insecure-Requests",
    "Via",
    "Warning",
    "Content-Length",
];

/// What a proxying host does not pass on: headers of the connection, and those it sets itself.
const NOT_PROXIED: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Headers of an answer that a forwarding host takes for lists, of which each element gets a line.
const LISTS: [&str; 8] = [
    "accept-ranges",
    "allow",
    "content-encoding",
    "content-language",
    "trailer",
    "upgrade",
    "vary",
    "via",
];

/// Headers in order; several values of one name are joined when they are sent on.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(String, Vec<String>)>);

impl Headers {
    /// Without those that belong to the body.
    pub fn without_content(&self) -> Self {
        self.kept(|name| !CONTENT_HEADERS.contains(&name))
    }

    /// Only those that belong to the body.
    pub fn content(&self) -> Self {
        self.kept(|name| CONTENT_HEADERS.contains(&name))
    }

    /// Without those that a proxying host drops.
    pub fn proxied(&self) -> Self {
        self.kept(|name| !NOT_PROXIED.contains(&name))
    }

    fn kept(&self, keeps: impl Fn(&str) -> bool) -> Self {
        let mut kept = self.clone();
        kept.0.retain(|(name, _)| keeps(&name.to_ascii_lowercase()));
        kept
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a header before all others.
    pub fn prepend(&mut self, name: &str, value: &str) {
        self.0.insert(0, (name.to_owned(), vec![value.to_owned()]));
    }

    /// Adds the headers of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Adds a value to those of its name.
    pub fn append(&mut self, name: &str, value: &str) {
        match self
            .0
            .iter_mut()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
        {
            Some((_, values)) => values.push(value.to_owned()),
            None => self.0.push((name.to_owned(), vec![value.to_owned()])),
        }
    }

    /// Replaces all values of a name where it stands, or adds it.
    pub fn set(&mut self, name: &str, value: &str) {
        let mut found = self.0.iter_mut();
        match found.find(|(found, _)| found.eq_ignore_ascii_case(name)) {
            Some((_, values)) => *values = vec![value.to_owned()],
            None => self.append(name, value),
        }
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &str) {
        self.0
            .retain(|(found, _)| !found.eq_ignore_ascii_case(name));
    }

    /// All values of a name as they are sent on one line.
    pub fn get(&self, name: &str) -> Option<String> {
        let found = self
            .0
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(name, values)| join(name, values))
    }

    /// Whether the body comes in chunks.
    pub fn is_chunked(&self) -> bool {
        self.get("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    /// One line per name.
    pub fn joined(&self) -> Vec<(String, String)> {
        self.0
            .iter()
            .map(|(name, values)| (name.clone(), join(name, values)))
            .collect()
    }

    /// In the order and spelling of the host's web server.
    pub fn as_received(&self) -> Self {
        let position = |name: &str| {
            let mut known = KNOWN_HEADERS.iter();
            known.position(|known| known.eq_ignore_ascii_case(name))
        };
        let mut received = self.clone();
        for (name, _) in &mut received.0 {
            if let Some(position) = position(name) {
                KNOWN_HEADERS[position].clone_into(name);
            }
        }
        received
            .0
            .sort_by_key(|(name, _)| position(name).unwrap_or(KNOWN_HEADERS.len()));
        received
    }

    /// An object of texts, as in an envelope's metadata.
    pub fn texts(&self) -> Value {
        let entries = self.0.iter();
        entries
            .map(|(name, values)| (name.clone(), values.join(",").into()))
            .collect::<Map<_, _>>()
            .into()
    }

    /// An object of arrays, as in an envelope.
    pub fn arrays(&self) -> Value {
        let entries = self.0.iter();
        entries
            .map(|(name, values)| (name.clone(), values.clone().into()))
            .collect::<Map<_, _>>()
            .into()
    }
}

/// Several values on one line, as the host's client prints them.
fn join(name: &str, values: &[String]) -> String {
    let separator = match name.to_ascii_lowercase().as_str() {
        "cookie" => "; ",
        "user-agent" => " ",
        _ => ", ",
    };
    values.join(separator)
}

/// A content type as the host prints it again.
///
/// # Errors
///
/// If it cannot parse it: such a request is not forwarded.
pub fn media_type(text: &str) -> Result<String, String> {
    let form = regex::Regex::new(
        r#"^[\w!#$&^.+*'|~%-]+/[\w!#$&^.+*'|~%-]+\s*(;\s*[\w-]+\s*=\s*("[^"]*"|[^\s;"]+)\s*)*$"#,
    );
    match form.is_ok_and(|form| form.is_match(text.trim())) {
        true => {
            let parts: Vec<&str> = text.split(';').map(str::trim).collect();
            Ok(parts.join("; "))
        }
        false => Err(format!("not a content type: {text}")),
    }
}

/// An answer's headers as a forwarding host gives them to the caller.
///
/// # Errors
///
/// If a value is not ASCII: the caller gets a 500.
pub fn answered(headers: Vec<(String, String)>) -> Result<Vec<(String, String)>, String> {
    if let Some((name, _)) = headers.iter().find(|(_, value)| !value.is_ascii()) {
        return Err(format!("header {name} is not ASCII"));
    }
    let split = |(name, value): (String, String)| -> Vec<(String, String)> {
        if !LISTS.contains(&name.to_ascii_lowercase().as_str()) {
            return vec![(name, value)];
        }
        let parts = value.split(',').map(|part| part.trim().to_owned());
        parts.map(|part| (name.clone(), part)).collect()
    };
    Ok(headers.into_iter().flat_map(split).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_name_go_on_one_line() {
        let mut headers = Headers::default();
        for (name, value) in [
            ("x-a", "1"),
            ("Cookie", "a=1"),
            ("X-A", "2"),
            ("cookie", "b=2"),
        ] {
            headers.append(name, value);
        }
        assert_eq!(headers.get("X-a").as_deref(), Some("1, 2"));
        assert_eq!(headers.get("cookie").as_deref(), Some("a=1; b=2"));
    }

    #[test]
    fn known_headers_come_first_and_in_the_servers_order() {
        let mut headers = Headers::default();
        for name in ["X-A", "content-length", "HOST", "Cookie", "accept"] {
            headers.append(name, "1");
        }
        let names: Vec<String> = headers
            .as_received()
            .joined()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["Accept", "Host", "Cookie", "Content-Length", "X-A"]);
    }

    #[test]
    fn media_types_are_parsed_and_printed() {
        for (good, printed) in [
            ("application/json", "application/json"),
            (
                "application/json;charset=UTF-8",
                "application/json; charset=UTF-8",
            ),
            ("a/b; c=\"d e\"", "a/b; c=\"d e\""),
        ] {
            assert_eq!(media_type(good).as_deref(), Ok(printed));
        }
        for bad in ["json", "application/", "application/json;", "a/b, c/d", ""] {
            assert!(media_type(bad).is_err(), "{bad}");
        }
    }
}
