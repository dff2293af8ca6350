//! Lists and objects whose length the caller chooses, read value by value: what is kept of them costs no more than a
//! small factor of their text.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use score::{ScoreError, shortened};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::diagnose::Items;
use super::parse;

/// Members an object may have, and names a list. Each costs some hundred bytes beside its text.
pub(crate) const MAX_NAMES: usize = 1 << 16;
/// Characters of a value of the wrong kind that an error text shows.
const MAX_SHOWN: usize = 60;
/// Bytes of a value that comes back with the answer.
pub(crate) const MAX_ECHO_BYTES: usize = 64 << 10;

/// Hands the values of a list over one by one, as text, until one is refused; gives their number.
///
/// # Errors
/// That of `take`, or [`ScoreError::InvalidInput`] if it is no list.
pub(crate) fn each<'a>(
    text: &'a str,
    target: &str,
    mut take: impl FnMut(usize, &'a str) -> Result<(), ScoreError>,
) -> Result<usize, ScoreError> {
    refuse_unless('[', "an array", text, target)?;
    let mut mistake = None;
    let items = Items(|position, item| {
        mistake = take(position, item).err();
        mistake.is_none()
    });
    let length = serde_json::Deserializer::from_str(text).deserialize_seq(items);
    match mistake {
        Some(mistake) => Err(mistake),
        None => length.map_err(|error| {
            ScoreError::invalid(target, format!("{target}: {}", shortened(error)))
        }),
    }
}

/// Refuses a value of another kind: the library would tell the position in the value, which is not the one in the body.
fn refuse_unless(opening: char, kind: &str, text: &str, target: &str) -> Result<(), ScoreError> {
    let text = text.trim_start();
    match text.starts_with(opening) {
        true => Ok(()),
        false => {
            let (found, cut) = match text.char_indices().nth(MAX_SHOWN) {
                Some((end, _)) => (&text[..end], "..."),
                None => (text, ""),
            };
            let message = format!("{target}: expected {kind}, found {found}{cut}");
            Err(ScoreError::invalid(target, message))
        }
    }
}

/// The members of an object by their names, of which there may be [`MAX_NAMES`].
///
/// # Errors
/// [`ScoreError::InvalidInput`] if it is no object, or one with more members.
pub(crate) fn members<'a>(
    text: &'a str,
    target: &str,
) -> Result<BTreeMap<String, &'a RawValue>, ScoreError> {
    refuse_unless('{', "an object", text, target)?;
    parse::<Members<'_>>(text, target).map(|Members(members)| members)
}

struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            members.insert(name, value);
            if members.len() > MAX_NAMES {
                let message = format_args!("an object has more than {MAX_NAMES} members");
                return Err(A::Error::custom(message));
            }
        }
        Ok(Members(members))
    }
}

/// Adds the names of the members of the object at the start of a text to those that are known, of which there may be
/// [`MAX_NAMES`].
///
/// # Errors
/// [`ScoreError::InvalidInput`] if it is no object, or one name too many comes.
pub(crate) fn each_name(
    text: &str,
    target: &str,
    names: &mut BTreeSet<String>,
) -> Result<(), ScoreError> {
    refuse_unless('{', "an object", text, target)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize_map(NamesVisitor(names));
    read.map_err(|error| ScoreError::invalid(target, format!("{target}: {}", shortened(error))))
}

struct NamesVisitor<'a>(&'a mut BTreeSet<String>);

impl<'de> Visitor<'de> for NamesVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(names) = self;
        while let Some(name) = map.next_key::<Name<'_>>()? {
            map.next_value::<IgnoredAny>()?;
            if !names.contains(&*name.0) {
                names.insert(name.0.into_owned());
            }
            if names.len() > MAX_NAMES {
                let message = format_args!("rows have more than {MAX_NAMES} names");
                return Err(A::Error::custom(message));
            }
        }
        Ok(())
    }
}

/// A name, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A list of `N` values at most.
#[derive(Debug, Clone)]
pub(crate) struct AtMost<T, const N: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AtMostVisitor(PhantomData))
    }
}

struct AtMostVisitor<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for AtMostVisitor<T, N> {
    type Value = AtMost<T, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            if values.len() == N {
                return Err(A::Error::custom(format_args!("more than {N} values")));
            }
            values.push(value);
        }
        Ok(AtMost(values))
    }
}

/// JSON without the blanks between its tokens; each token stays as it is written.
pub(crate) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let kept = json.chars().filter(|c| {
        let keep = in_string || !matches!(c, ' ' | '\t' | '\r' | '\n');
        match c {
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && *c == '\\' && !escaped;
        keep
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_between_tokens_go_and_those_in_strings_stay() {
        let text = "{ \"a b\\\" \\\\\" :\n[1.50,\t\"\\\\\", 1e400 ] , \"é \": null }";
        assert_eq!(
            compact(text),
            "{\"a b\\\" \\\\\":[1.50,\"\\\\\",1e400],\"é \":null}"
        );
    }

    #[test]
    fn what_is_longer_than_its_bound_is_refused_while_it_is_read() {
        let list = |count| format!("[{}]", vec!["0"; count].join(","));
        let at_most = |count| serde_json::from_str::<AtMost<u64, 3>>(&list(count));
        assert_eq!(at_most(3).unwrap().0, [0, 0, 0]);
        assert!(at_most(4).unwrap_err().to_string().contains("more than 3"));

        let object = |count| {
            let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(
            members(&object(MAX_NAMES), "data").unwrap().len(),
            MAX_NAMES
        );
        let error = members(&object(MAX_NAMES + 1), "data").unwrap_err();
        assert!(error.to_string().contains("more than 65536 members"));
    }

    #[test]
    fn values_of_a_list_come_one_by_one_until_one_is_refused() {
        let mut seen = Vec::new();
        let length = each(r#"[1, "a", [2]]"#, "x", |position, item| {
            seen.push((position, item));
            Ok(())
        });
        assert_eq!(length.unwrap(), 3);
        assert_eq!(seen, [(0, "1"), (1, "\"a\""), (2, "[2]")]);
        let refused = each("[1, 2, 3]", "x", |position, _| match position {
            1 => Err(ScoreError::invalid("x[1]", "no".to_owned())),
            _ => Ok(()),
        });
        assert!(refused.unwrap_err().to_string().contains("no"));
        let error = each("7", "x", |_, _| Ok(())).unwrap_err();
        assert!(
            error.to_string().ends_with("x: expected an array, found 7"),
            "{error}"
        );
        let error = members(&format!("\"{}\"", "ä".repeat(99)), "x").unwrap_err();
        let found = format!("x: expected an object, found \"{}...", "ä".repeat(59));
        assert!(error.to_string().ends_with(&found), "{error}");
    }
}
