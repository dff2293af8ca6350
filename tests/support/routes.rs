//! From the caller's URL to a function, and the URL as it is after the host has taken it apart and printed it again.

use std::collections::BTreeMap;

use super::host_config::{Function, HostConfig};

/// Values of a route's parameters; optional ones that were not given are `None`.
pub(crate) type RouteValues = BTreeMap<String, Option<String>>;

/// The HTTP function that answers `method` on `path`, and its route's values.
///
/// # Errors
///
/// The status with which the host itself answers.
pub(crate) fn find<'a>(
    config: &'a HostConfig,
    method: &str,
    path: &str,
) -> Result<(&'a Function, RouteValues), u16> {
    let matching: Vec<(&Function, RouteValues, usize)> = config
        .functions
        .iter()
        .filter(|function| function.trigger().kind == "httpTrigger")
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

/// The path as a forwarded request carries it: decoded once, printed, and parsed again.
pub(crate) fn forwarded_path(path: &str) -> String {
    let decoded = decode(path, true);
    let cut = decoded.split(['?', '#']).next().unwrap_or_default();
    let mut printed = String::new();
    let mut characters = cut.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '%' => match escaped_byte(&cut[index..]) {
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
            other => printed.push_str(&encode(other.encode_utf8(&mut [0; 4]))),
        }
    }
    printed
}

/// The query's keys and values: keys that differ by case only are one, their values are joined by a comma.
pub(crate) fn query(raw: &str) -> Vec<(String, String)> {
    let mut joined: Vec<(String, String)> = Vec::new();
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (
            decode(&key.replace('+', " "), false),
            decode(&value.replace('+', " "), false),
        );
        match joined
            .iter_mut()
            .find(|(found, _)| found.eq_ignore_ascii_case(&key))
        {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => joined.push((key, value)),
        }
    }
    joined
}

/// The query string as a forwarded request carries it, with the question mark; empty if there are no keys.
pub(crate) fn forwarded_query(raw: &str) -> String {
    let parts: Vec<String> = query(raw)
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
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

fn match_route(template: &str, path: &str) -> Option<RouteValues> {
    let mut segments = path
        .trim_matches('/')
        .split('/')
        .filter(|part| !part.is_empty());
    let mut values = RouteValues::new();
    for part in template.split('/').filter(|part| !part.is_empty()) {
        let Some(parameter) = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
        else {
            if !decode(segments.next()?, true).eq_ignore_ascii_case(part) {
                return None;
            }
            continue;
        };
        let name = parameter
            .trim_start_matches('*')
            .split([':', '=', '?'])
            .next()?;
        if parameter.starts_with('*') {
            let rest: Vec<String> = segments
                .by_ref()
                .map(|segment| decode(segment, true))
                .collect();
            let value = Some(rest.join("/")).filter(|rest| !rest.is_empty());
            values.insert(name.to_owned(), value);
            continue;
        }
        let value = segments.next().map(|segment| decode(segment, true));
        if value.is_none() && !parameter.ends_with('?') {
            return None;
        }
        values.insert(name.to_owned(), value);
    }
    segments.next().is_none().then_some(values)
}

/// Percent-decoding; with `keep_slash` an encoded slash stays as it is.
fn decode(text: &str, keep_slash: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut index = 0;
    while index < text.len() {
        let escaped =
            escaped_byte_at(text.as_bytes(), index).filter(|byte| !(keep_slash && *byte == b'/'));
        bytes.push(escaped.unwrap_or(text.as_bytes()[index]));
        index += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if is_unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

fn escaped_byte(text: &str) -> Option<u8> {
    escaped_byte_at(text.as_bytes(), 0)
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
    fn paths_are_decoded_and_printed_again() {
        assert_eq!(forwarded_path("/api/score/iris"), "/api/score/iris");
        assert_eq!(forwarded_path("/api/a%20b/%C3%A9"), "/api/a%20b/%C3%A9");
        assert_eq!(forwarded_path("/api/a%2Fb"), "/api/a%2Fb");
        assert_eq!(forwarded_path("/api/%2541"), "/api/A");
        assert_eq!(forwarded_path("/api/a%3Fb/c"), "/api/a");
        assert_eq!(forwarded_path("/api/a%23b"), "/api/a");
        assert_eq!(forwarded_path("/api/100%25"), "/api/100%25");
    }

    #[test]
    fn queries_are_rebuilt_from_a_dictionary() {
        assert_eq!(forwarded_query("a=1&a=2"), "?a=1%2C2");
        assert_eq!(forwarded_query("a=1&b=x&A=2"), "?a=1%2C2&b=x");
        assert_eq!(forwarded_query("flag"), "?flag=");
        assert_eq!(forwarded_query("q=a+b%20c"), "?q=a%20b%20c");
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
            values("api/score/{*model}", "/api/score/v2/models/a%20b"),
            model(Some("v2/models/a b"))
        );
        assert_eq!(values("api/score/{*model}", "/api/nope"), None);
    }
}
