//! JSON values printed as the host's JSON library prints them.

use std::fmt::Write as _;

use serde_json::{Number, Value};

use super::iso8601;

/// An envelope: texts are printed as they are.
pub fn plain(value: &Value) -> String {
    let text = value.to_string();
    match text.is_ascii() {
        true => text,
        false => escape_separators(&text),
    }
}

/// Without line breaks, as for a blob made of an object or array.
pub fn compact(value: &Value) -> String {
    let mut text = String::new();
    print(value, None, &mut text);
    text
}

/// With line breaks and two blanks per level, as for a message made of an object.
pub fn indented(value: &Value) -> String {
    let mut text = String::new();
    print(value, Some(0), &mut text);
    text
}

/// A number inside JSON: floating-point numbers always show that they are.
pub fn number(number: &Number) -> String {
    let text = number_text(number);
    if number.is_f64() && !text.contains(['.', 'E']) {
        return text + ".0";
    }
    text
}

/// A number turned into plain text: shortest form, exponent from 1E+15 on and below 1E-05.
pub fn number_text(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    let scientific = format!("{value:E}");
    let (digits, exponent) = scientific.split_once('E').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-5..15).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}E{sign}{:02}", exponent.abs())
}

/// `text` as a JSON string.
pub fn string(text: &str) -> String {
    escape_separators(&Value::from(text).to_string())
}

fn escape_separators(json: &str) -> String {
    json.replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn print(value: &Value, level: Option<usize>, text: &mut String) {
    let inner = level.map(|level| level + 1);
    match value {
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(index, inner, text);
                print(item, inner, text);
            }
            break_line(level, text);
            text.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                separate(index, inner, text);
                let colon = if level.is_some() { ": " } else { ":" };
                let _ = write!(text, "{}{colon}", string(name));
                print(member, inner, text);
            }
            break_line(level, text);
            text.push('}');
        }
        Value::String(found) => {
            let printed = iso8601::parse(found).map(|at| at.json_text());
            text.push_str(&string(printed.as_deref().unwrap_or(found)));
        }
        Value::Number(found) => text.push_str(&number(found)),
        Value::Array(_) | Value::Object(_) | Value::Bool(_) | Value::Null => {
            let _ = write!(text, "{value}");
        }
    }
}

fn separate(index: usize, level: Option<usize>, text: &mut String) {
    if index > 0 {
        text.push(',');
    }
    break_line(level, text);
}

fn break_line(level: Option<usize>, text: &mut String) {
    if let Some(level) = level {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", level));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prints_numbers_as_dotnet_does() {
        let text = |value: Value| number(value.as_number().unwrap());
        assert_eq!(text(json!(7)), "7");
        assert_eq!(text(json!(7.0)), "7.0");
        assert_eq!(text(json!(0.5)), "0.5");
        assert_eq!(text(json!(1e21)), "1E+21");
        assert_eq!(text(json!(2.5e-7)), "2.5E-07");
        assert_eq!(number_text(json!(7.0).as_number().unwrap()), "7");
    }

    #[test]
    fn prints_objects_indented_and_compact() {
        let value = json!({"a": [1, {"b": null}], "c": {}, "d": "2026-03-01T10:00:05.000Z"});
        assert_eq!(
            indented(&value),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": null\n    }\n  ],\n  \"c\": {},\n  \"d\": \"2026-03-01T10:00:05Z\"\n}"
        );
        assert_eq!(
            compact(&value),
            r#"{"a":[1,{"b":null}],"c":{},"d":"2026-03-01T10:00:05Z"}"#
        );
    }

    #[test]
    fn escapes_line_separators() {
        assert_eq!(string("a\u{2028}\"\n"), r#""a\u2028\"\n""#);
    }
}
