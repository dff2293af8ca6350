//! From the caller's URL to a function, and the URL as it is after the host has taken it apart and printed it again.

use std::collections::BTreeMap;

use super::host_config::{Function, HostConfig};

/// What a forwarding host does not encode in a query besides letters and digits.
const IN_QUERY: &str = "!$()*,;@";

/// Values of a route's parameters; optional ones that were not given are `None`.
pub type RouteValues = BTreeMap<String, Option<String>>;

/// The HTTP function that answers `method` on `path`, and its route's values.
///
/// # Errors
///
/// The status with which the host itself answers.
pub fn find<'a>(
    config: &'a HostConfig,
    method: &str,
    path: &str,
) -> Result<(&'a Function, RouteValues), u16> {
    let matching: Vec<(&Function, RouteValues, usize)> = config
        .functions
        .iter()
        .filter(|function| function.trigger().kind == "httpTrigger" && !function.is_disabled)
        .filter_map(|function| {
            let template = template(config, function);
            let values = match_route(&template, path)?;
            let literals = template
                .split('/')
                .filter(|part| !part.starts_with('{'))
                .count();
            Some((function, values, literals))
        })
        .collect();
    matching
        .into_iter()
        .filter(|(function, ..)| takes_method(function, method))
        .max_by_key(|(_, _, literals)| *literals)
        .map(|(function, values, _)| (function, values))
        .ok_or(404)
}

/// The path as the host's web server hands it on: decoded once, an encoded slash and what is not UTF-8 left as they are,
/// dot segments resolved.
pub fn received_path(path: &str) -> String {
    without_dots(&decode(path, true))
}

/// The received path as a forwarded request carries it: parsed and printed as an address, which decodes once more.
pub fn forwarded_path(received: &str) -> String {
    let cut = received.split(['?', '#']).next().unwrap_or_default();
    let parsed = cut.trim_end().replace('\\', "/");
    let mut printed = String::new();
    let mut characters = parsed.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '%' => match escaped_byte_at(parsed.as_bytes(), index) {
                Some(byte) if is_unreserved(byte) => {
                    printed.push(char::from(byte));
                    characters.nth(1);
                }
                Some(_) => printed.push('%'),
                None => printed.push_str("%25"),
            },
            kept if kept.is_ascii()
                && (is_unreserved(kept as u8) || "/:@!$&'()*+,;=[]".contains(kept)) =>
            {
                printed.push(kept);
            }
            other => printed.push_str(&encode(other.encode_utf8(&mut [0; 4]), "")),
        }
    }
    without_dots(&printed)
}

/// The received path as a proxied request carries it: encoded again, percent signs too.
pub fn proxied_path(received: &str) -> String {
    encode(received, "/:@!$&'()*+,;=")
}

/// A path without segments of one or two dots.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                kept.extend(is_last.then_some(""));
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

/// The query's keys and values: keys that differ by case only are one, their values are joined by a comma.
pub fn query(raw: &str) -> Vec<(String, String)> {
    let grouped = grouped(raw).into_iter();
    grouped
        .map(|(key, values)| (key, values.join(",")))
        .collect()
}

/// The query's keys with the last of their values.
pub fn last_values(raw: &str) -> Vec<(String, String)> {
    let grouped = grouped(raw).into_iter();
    grouped
        .map(|(key, mut values)| (key, values.pop().unwrap_or_default()))
        .collect()
}

fn grouped(raw: &str) -> Vec<(String, Vec<String>)> {
    let mut grouped: Vec<(String, Vec<String>)> = Vec::new();
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (
            decode(&key.replace('+', " "), false),
            decode(&value.replace('+', " "), false),
        );
        let mut found = grouped.iter_mut();
        match found.find(|(found, _)| found.eq_ignore_ascii_case(&key)) {
            Some((_, values)) => values.push(value),
            None => grouped.push((key, vec![value])),
        }
    }
    grouped
}

/// The query string as a forwarded request carries it, with the question mark; empty if there are no keys.
pub fn forwarded_query(raw: &str) -> String {
    let parts: Vec<String> = query(raw)
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key, IN_QUERY), encode(value, IN_QUERY)))
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("?{}", parts.join("&"))
}

fn template(config: &HostConfig, function: &Function) -> String {
    let route = match function.trigger().setting("route") {
        "" => function.name.as_str(),
        route => route.trim_matches('/'),
    };
    format!("{}/{route}", config.route_prefix)
}

fn takes_method(function: &Function, method: &str) -> bool {
    let methods = function.trigger().settings["methods"].as_array();
    methods.is_none_or(|methods| {
        methods.iter().any(|allowed| {
            allowed
                .as_str()
                .is_some_and(|allowed| allowed.eq_ignore_ascii_case(method))
        })
    })
}

/// The values of a template's parameters if a received path has its form. A path with an empty segment has none.
fn match_route(template: &str, path: &str) -> Option<RouteValues> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = path.split('/');
    if segments.clone().any(str::is_empty) {
        return None;
    }
    let mut values = RouteValues::new();
    for part in template.split('/').filter(|part| !part.is_empty()) {
        let Some(parameter) = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
        else {
            if !segments.next()?.eq_ignore_ascii_case(part) {
                return None;
            }
            continue;
        };
        let name = parameter
            .trim_start_matches('*')
            .split([':', '=', '?'])
            .next()?;
        if parameter.starts_with('*') {
            let rest: Vec<&str> = segments.by_ref().collect();
            let value = Some(rest.join("/")).filter(|rest| !rest.is_empty());
            values.insert(name.to_owned(), value);
            continue;
        }
        let value = segments.next().map(str::to_owned);
        if value.is_none() && !parameter.ends_with('?') {
            return None;
        }
        values.insert(name.to_owned(), value);
    }
    segments.next().is_none().then_some(values)
}

/// Percent-decoding of what gives UTF-8; other escapes stay as they are, with `keep_slash` an encoded slash too.
fn decode(text: &str, keep_slash: bool) -> String {
    let mut decoded = String::new();
    let mut index = 0;
    while index < text.len() {
        let mut bytes = Vec::new();
        while let Some(byte) = escaped_byte_at(text.as_bytes(), index + 3 * bytes.len()) {
            bytes.push(byte);
        }
        if bytes.is_empty() {
            let character = text[index..].chars().next().unwrap_or_default();
            decoded.push(character);
            index += character.len_utf8();
            continue;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = (1..=rest.len().min(4))
                .find(|length| std::str::from_utf8(&rest[..*length]).is_ok());
            match length {
                Some(1) if keep_slash && rest[0] == b'/' => {
                    decoded.push_str(&text[index..index + 3])
                }
                Some(length) => decoded.push_str(&String::from_utf8_lossy(&rest[..length])),
                None => decoded.push_str(&text[index..index + 3]),
            }
            let length = length.unwrap_or(1);
            rest = &rest[length..];
            index += 3 * length;
        }
    }
    decoded
}

fn encode(text: &str, kept: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if is_unreserved(byte) || kept.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

fn escaped_byte_at(text: &[u8], index: usize) -> Option<u8> {
    let digits = text.get(index..index + 3)?.strip_prefix(b"%")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarding_host_decodes_paths_twice() {
        let sent = |path: &str| forwarded_path(&received_path(path));
        assert_eq!(sent("/api/score/iris"), "/api/score/iris");
        assert_eq!(sent("/api/a%20b/%C3%A9"), "/api/a%20b/%C3%A9");
        assert_eq!(sent("/api/a%2Fb"), "/api/a%2Fb");
        assert_eq!(sent("/api/%2541"), "/api/A");
        assert_eq!(sent("/api/a%3Fb/c"), "/api/a");
        assert_eq!(sent("/api/a%20"), "/api/a");
        assert_eq!(sent("/api/100%25"), "/api/100%25");
        assert_eq!(sent("/api/x/../%FF"), "/api/%FF");
        assert_eq!(sent("/api/score/..%5C..%5Cother"), "/other");
        assert_eq!(sent("/api/score/%252e%252e/%252e%252e/"), "/");
    }

    #[test]
    fn a_proxying_host_decodes_paths_once_and_encodes_them_again() {
        let sent = |path: &str| proxied_path(&received_path(path));
        assert_eq!(sent("/api/%41%20b"), "/api/A%20b");
        assert_eq!(sent("/api/a%2Fb"), "/api/a%252Fb");
        assert_eq!(sent("/api/%FF"), "/api/%25FF");
        for path in ["/api/%2541", "/api/a%5Cb", "/api/a%3Fb", "/api/a%23b"] {
            assert_eq!(sent(path), path);
        }
        assert_eq!(
            sent("/api/score/..%5C..%5Cother"),
            "/api/score/..%5C..%5Cother"
        );
    }

    #[test]
    fn queries_are_rebuilt_from_a_dictionary() {
        assert_eq!(forwarded_query("a=1&a=2"), "?a=1,2");
        assert_eq!(forwarded_query("a=1&b=x&A=2"), "?a=1,2&b=x");
        assert_eq!(forwarded_query("flag"), "?flag=");
        assert_eq!(forwarded_query("q=a+b%20c"), "?q=a%20b%20c");
        assert_eq!(forwarded_query("x=%zz&y=%FF"), "?x=%25zz&y=%25FF");
        assert_eq!(forwarded_query(""), "");
    }

    #[test]
    fn routes_match_by_segment() {
        let values = |template: &str, path: &str| match_route(template, path);
        let model = |value: Option<&str>| {
            Some(RouteValues::from([(
                "model".to_owned(),
                value.map(str::to_owned),
            )]))
        };
        assert_eq!(
            values("api/score/{model?}", "/api/score/iris"),
            model(Some("iris"))
        );
        assert_eq!(values("api/score/{model?}", "/API/Score/"), model(None));
        assert_eq!(values("api/score/{model?}", "/api/score/a/b"), None);
        assert_eq!(values("api/score/{model}", "/api/score"), None);
        assert_eq!(values("api/score/{*model}", "/api/score"), model(None));
        assert_eq!(
            values("api/score/{*model}", "/api/score/v2/models/a b"),
            model(Some("v2/models/a b"))
        );
        assert_eq!(values("api/score/{*model}", "/api/nope"), None);
        assert_eq!(values("api/score/{*model}", "/api/score//iris"), None);
    }
}
