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

/// Names that the host's web server spells its own way.
const KNOWN_HEADERS: [&str; 12] = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Cache-Control",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Host",
    "Transfer-Encoding",
    "User-Agent",
    "Origin",
];

/// Headers in order; several values of one name are joined when they are sent on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers(Vec<(String, Vec<String>)>);

impl Headers {
    /// Without those that belong to the body.
    pub(crate) fn without_content(&self) -> Self {
        let mut kept = self.clone();
        kept.0
            .retain(|(name, _)| !CONTENT_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
        kept
    }

    /// Adds a value to those of its name.
    pub(crate) fn append(&mut self, name: &str, value: &str) {
        match self
            .0
            .iter_mut()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
        {
            Some((_, values)) => values.push(value.to_owned()),
            None => self.0.push((name.to_owned(), vec![value.to_owned()])),
        }
    }

    /// Replaces all values of a name.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.append(name, value);
    }

    /// Removes a name.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0
            .retain(|(found, _)| !found.eq_ignore_ascii_case(name));
    }

    /// All values of a name as they are sent on one line.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let found = self
            .0
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(name, values)| join(name, values))
    }

    /// Whether the body comes in chunks.
    pub(crate) fn is_chunked(&self) -> bool {
        self.get("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    /// One line per name.
    pub(crate) fn joined(&self) -> Vec<(String, String)> {
        self.0
            .iter()
            .map(|(name, values)| (name.clone(), join(name, values)))
            .collect()
    }

    /// Names that the web server knows in its own spelling.
    pub(crate) fn canonical(&self) -> Self {
        let spelled = |name: &String| {
            let known = KNOWN_HEADERS
                .iter()
                .find(|known| known.eq_ignore_ascii_case(name));
            known.map_or_else(|| name.clone(), ToString::to_string)
        };
        Self(
            self.0
                .iter()
                .map(|(name, values)| (spelled(name), values.clone()))
                .collect(),
        )
    }

    /// An object of arrays, as in an envelope.
    pub(crate) fn arrays(&self) -> Value {
        let entries = self.canonical().0.into_iter();
        entries
            .map(|(name, values)| (name, values.into()))
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

/// The host cannot forward a body whose content type it cannot parse.
pub(crate) fn check_media_type(text: &str) -> Result<(), String> {
    let form = regex::Regex::new(
        r#"^[\w!#$&^.+*'|~%-]+/[\w!#$&^.+*'|~%-]+\s*(;\s*[\w-]+\s*=\s*("[^"]*"|[^\s;"]+)\s*)*;?$"#,
    );
    match form.is_ok_and(|form| form.is_match(text.trim())) {
        true => Ok(()),
        false => Err(format!("not a content type: {text}")),
    }
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
    fn media_types_are_checked_loosely() {
        for good in [
            "application/json",
            "application/json; charset=UTF-8",
            "text/csv;header=present",
            "a/b; c=\"d e\"",
        ] {
            assert_eq!(check_media_type(good), Ok(()), "{good}");
        }
        for bad in ["json", "application/", "application/json charset", ""] {
            assert!(check_media_type(bad).is_err(), "{bad}");
        }
    }
}
