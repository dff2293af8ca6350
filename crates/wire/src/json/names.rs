//! Names of members that differ from what is expected: in another letter case, or written by a serializer in place of a list.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::bounded;

/// The end of an error text for an object with numbers for names where an array is expected.
pub(crate) fn numbered(name: &str) -> &'static str {
    match name {
        "0" | "1" => {
            "; JSON.stringify writes a typed array in this form, and PHP's json_encode an array with gaps: send a list \
             (Array.from, array_values)"
        }
        "value" | "Count" => {
            "; Windows PowerShell's ConvertTo-Json writes a list in this form: convert the whole object at once, with -Depth 10"
        }
        _ => "",
    }
}

/// Whether an object has one of these members, in any letter case, with underscores or without.
pub(crate) fn has_member(object: &[u8], known: &[&'static str]) -> bool {
    let mut names = BTreeSet::new();
    let text = std::str::from_utf8(object).unwrap_or_default();
    // An object with too many members, or none at all, has those that were read.
    let _ = bounded::each_name(text, "", &mut names);
    let mut names = names.iter();
    names.any(|name| known.iter().any(|known| plain(known) == plain(name)))
}

fn plain(name: &str) -> String {
    name.replace('_', "").to_ascii_lowercase()
}

/// The end of an error text: the first member whose name differs from one of `known` in letter case or underscores only.
pub(crate) fn other_case(object: &[u8], known: &[&'static str]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(object);
    let (found, right) = json.deserialize_map(OtherCase(known)).ok()??;
    Some(format!("{found:?} is not known; spell it {right:?}"))
}

struct OtherCase<'k>(&'k [&'static str]);

impl<'de> Visitor<'de> for OtherCase<'_> {
    type Value = Option<(String, &'static str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            members.next_value::<IgnoredAny>()?;
            let is_other = |right: &&&str| **right != name && plain(right) == plain(&name);
            if found.is_none() && name.len() < 40 {
                let right = self.0.iter().find(is_other);
                found = right.map(|right| (name.into_owned(), *right));
            }
        }
        Ok(found)
    }
}

/// Words for members in another letter case, as .NET writes them by itself.
pub(crate) fn misspelt(object: &str, members: &[&'static str]) -> String {
    let other = other_case(object.as_bytes(), members);
    other.map(|other| format!("; {other}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_another_letter_case_are_found() {
        const KNOWN: &[&str] = &["data", "Inputs", "input_data"];
        let found = |object: &str| other_case(object.as_bytes(), KNOWN);
        for (object, right) in [
            (r#"{"x": {"Data": 1}, "Data": [1]}"#, "data"),
            (r#"{"inputs": {}}"#, "Inputs"),
            (r#"{"inputData": {}}"#, "input_data"),
            (r#"{"InputData": {}}"#, "input_data"),
            (r#"{"dat\u0041": {}}"#, "data"),
        ] {
            let words = found(object).unwrap();
            assert!(words.ends_with(&format!("spell it {right:?}")), "{words}");
        }
        for object in [r#"{"data": 1}"#, r#"{"rows": 1}"#, "[]", "{\"Data\":"] {
            assert_eq!(found(object), None, "{object}");
        }
    }
}
