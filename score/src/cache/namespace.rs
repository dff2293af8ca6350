//! The names under which entries lie in Redis: `<namespace>:2:<model>:<unit>`.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

/// Between the namespace and the model: the version of keys and values. It changes whenever older entries must not be found.
const PREFIX: &str = ":2:";
const MAX_LENGTH: usize = 64;
const MODEL_DIGITS: usize = 16;
const UNIT_DIGITS: usize = 64;

/// The first part of every key in Redis. What lies in another namespace is never found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(Arc<str>);

/// A [`Namespace`] that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to {MAX_LENGTH} characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
pub struct NamespaceError;

impl FromStr for Namespace {
    type Err = NamespaceError;

    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        // No colon, which separates the parts of a key; no braces, since a hash tag would put all entries on one node
        // of a cluster; nothing that is special in the patterns of SCAN.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(NamespaceError)
        }
    }
}

impl Default for Namespace {
    /// `score`
    fn default() -> Self {
        Self("score".into())
    }
}

impl Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Namespace {
    /// What all keys of this namespace and format begin with.
    pub(super) fn prefix(&self) -> String {
        // Room for the rest of a key, since most prefixes become one.
        let mut prefix = String::with_capacity(self.0.len() + 4 + MODEL_DIGITS + UNIT_DIGITS);
        prefix.push_str(&self.0);
        prefix.push_str(PREFIX);
        prefix
    }

    /// A key that is never written.
    pub(super) fn probe_key(&self) -> String {
        self.prefix() + "probe"
    }

    /// The glob pattern of the keys of one model, or of all.
    pub fn pattern(&self, model: Option<ModelTag>) -> String {
        match model {
            Some(model) => format!("{}{model}:*", self.prefix()),
            None => self.prefix() + "*",
        }
    }

    /// The model whose entry lies under `key`; `None` if it is no key of this namespace.
    pub fn model_of(&self, key: &[u8]) -> Option<ModelTag> {
        let key = std::str::from_utf8(key).ok()?;
        let (model, unit) = key.strip_prefix(&self.prefix())?.split_once(':')?;
        let is_unit = unit.len() == UNIT_DIGITS && unit.bytes().all(is_digit);
        is_unit.then(|| model.parse().ok()).flatten()
    }
}

/// What a key in Redis says of the model: the first 8 bytes of its digest, as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelTag(pub(super) u64);

/// Text that is no [`ModelTag`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MODEL_DIGITS} hexadecimal digits, in lower case")]
pub struct ModelTagError;

impl FromStr for ModelTag {
    type Err = ModelTagError;

    fn from_str(text: &str) -> Result<Self, ModelTagError> {
        if text.len() != MODEL_DIGITS || !text.bytes().all(is_digit) {
            return Err(ModelTagError);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| ModelTagError)?;
        Ok(Self(number))
    }
}

impl Display for ModelTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn is_digit(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_keeps_to_what_is_plain_in_keys_patterns_and_slots() {
        let longest = "n".repeat(64);
        for good in ["score", "Shop.EU-west_2", "7", &longest] {
            assert_eq!(good.parse::<Namespace>().unwrap().to_string(), good);
        }
        let longer = "n".repeat(65);
        for bad in [
            "", "a:b", "{a}", "a*", "a?", "[a]", "a\\", "a b", "ä", &longer,
        ] {
            assert_eq!(bad.parse::<Namespace>(), Err(NamespaceError), "{bad}");
        }
    }

    #[test]
    fn only_whole_keys_of_the_namespace_belong_to_a_model() {
        let (score, unit) = (Namespace::default(), "0f".repeat(32));
        let key = |start: &str| format!("{start}{unit}").into_bytes();
        let model = "00000000000000ab".parse().unwrap();
        assert_eq!(model, ModelTag(0xab));
        assert_eq!(
            score.model_of(&key("score:2:00000000000000ab:")),
            Some(model)
        );
        for foreign in [
            key("scores:2:00000000000000ab:"),
            key("score:1:00000000000000ab:"),
            key("score:2:00000000000000AB:"),
            key("score:2:+0000000000000ab:"),
            key("score:2:ab:"),
            key("score:2:00000000000000ab:00"),
            score.probe_key().into_bytes(),
            b"score:2:\xff".to_vec(),
        ] {
            assert_eq!(score.model_of(&foreign), None);
        }
        assert_eq!(score.pattern(Some(model)), "score:2:00000000000000ab:*");
        assert_eq!(score.pattern(None), "score:2:*");
    }
}
