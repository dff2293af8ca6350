//! The members at the top level of a body that any dialect knows.

use std::fmt;

use score::{ModelSignature, ScoreError};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::DIALECTS;
use crate::body::invalid;
use crate::json::names;
use crate::refusal::malformed;

/// The known members of a body. Values stay text until the model says how to read them.
pub(crate) struct Members<'a>(Vec<(&'static str, &'a RawValue)>);

/// The members that hold inputs, each once, in the order of the table.
fn of_inputs() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::with_capacity(DIALECTS.len());
    for dialect in DIALECTS {
        if !names.contains(&dialect.member) {
            names.push(dialect.member);
        }
    }
    names
}

/// Whether a member of that name holds the inputs in any dialect.
pub(crate) fn holds_inputs(name: &str) -> bool {
    DIALECTS.iter().any(|dialect| dialect.member == name)
}

/// The name as [`DIALECTS`] has it, if any dialect knows it.
fn known(name: &str) -> Option<&'static str> {
    let all = DIALECTS.iter();
    let mut all = all.flat_map(|dialect| std::iter::once(&dialect.member).chain(dialect.options));
    all.find(|known| **known == name).copied()
}

/// The end of an error text: the accepted forms.
pub(super) fn expected() -> String {
    let others: Vec<String> = of_inputs()
        .iter()
        .skip(1)
        .map(|name| format!("{name:?}"))
        .collect();
    format!(
        "expected {{\"data\": ...}}, or one of {} in place of \"data\"",
        others.join(", ")
    )
}

impl<'a> Members<'a> {
    /// # Errors
    /// [`ScoreError::InvalidInput`] if the body is not a JSON object, or has a member twice.
    pub(super) fn read(body: &'a [u8], signature: &ModelSignature) -> Result<Self, ScoreError> {
        serde_json::from_slice(body).map_err(|error| malformed(body, signature, &error))
    }

    /// The value of a member. `null` counts as absent, because many serializers write unset members as `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let value = self.0.iter().find(|(given, _)| *given == name)?.1;
        (value.get() != "null").then_some(value)
    }

    /// The only member that holds inputs.
    ///
    /// # Errors
    /// [`ScoreError::InvalidInput`] if there is none, or several.
    pub(super) fn only_inputs(
        &self,
        body: &[u8],
        signature: &ModelSignature,
    ) -> Result<(&'static str, &'a RawValue), ScoreError> {
        let names = of_inputs();
        let given = |name: &&'static str| Some((*name, self.get(name)?));
        let mut all = names.iter().filter_map(given);
        match (all.next(), all.next()) {
            (Some(only), None) => return Ok(only),
            (Some((one, _)), Some((other, _))) => {
                return Err(invalid(&format!(
                    "give either {one:?} or {other:?}, not both"
                )));
            }
            (None, _) => {}
        }
        let takes = signature.describe_inputs();
        let is_null = |name: &&&str| self.0.iter().any(|(given, _)| given == *name);
        if let Some(name) = names.iter().find(is_null) {
            let message = format!("{name} is null; expected rows; the model takes {takes}");
            return Err(ScoreError::invalid(*name, message));
        }
        let expected = expected();
        Err(invalid(&match names::other_case(body, &names) {
            Some(found) => format!("{found}; {expected}; the model takes {takes}"),
            None => format!("{expected}; the model takes {takes}"),
        }))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KnownMembers)
    }
}

struct KnownMembers;

impl<'de> Visitor<'de> for KnownMembers {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(&'static str, &'de RawValue)> = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            let Some(name) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if members.iter().any(|(given, _)| *given == name) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            members.push((name, map.next_value()?));
        }
        Ok(Members(members))
    }
}

/// A member's name, if any dialect knows it.
struct Name(Option<&'static str>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        Ok(Name(known(name)))
    }
}
