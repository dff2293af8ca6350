//! What a setting is: one row of the table, and how its text becomes a value.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use score::{EntrySecret, EntrySecretError, Namespace, NamespaceError};

/// Longer times are slips, and would overflow the clock.
const MAX_TIME: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// One row of the table: what the reader, `handler settings` and docs/settings.md know of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// Variables that are read in this order where the first one is not set.
    pub aliases: &'static [&'static str],
    /// Which values there are.
    pub kind: Kind,
    /// What counts where no variable is set.
    pub default: Fallback,
    /// Under which condition the setting matters, such as `with Redis`; empty for always.
    pub applies: &'static str,
    /// What it does, in one sentence or two.
    pub meaning: &'static str,
    /// The page in docs/ that says more, perhaps with a heading; empty for none.
    pub see: &'static str,
    /// Whether its value may be shown.
    pub secret: Secret,
}

impl Setting {
    /// What a row need not mention.
    pub(super) const USUAL: Self = Self {
        name: "",
        aliases: &[],
        kind: Kind::Text("text"),
        default: Fallback::Described("none"),
        applies: "",
        meaning: "",
        see: "",
        secret: Secret::No,
    };

    /// The variables that are read, the one that wins first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// A value of this setting as it may be shown: without what is secret of it.
    pub fn shown(&self, value: &str) -> String {
        match self.secret {
            Secret::No => value.to_owned(),
            Secret::Whole => HIDDEN.to_owned(),
            Secret::InAddress => without_login(value).unwrap_or_else(|| HIDDEN.to_owned()),
        }
    }
}

/// Which values a setting takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number.
    Number {
        /// What is counted, in the plural.
        unit: &'static str,
        /// The smallest number that is taken.
        minimum: u64,
        /// The largest, if it is smaller than what the machine can count.
        maximum: Option<u64>,
    },
    /// A port number.
    Port,
    /// A time with its unit.
    Time,
    /// A time with its unit, or `0`, which means for ever.
    TimeOrZero,
    /// One of these words, in upper or lower case.
    Words(fn() -> Vec<&'static str>),
    /// Text of this form, in words with their article.
    Text(&'static str),
}

impl Kind {
    /// What is expected, as an error or a table says it.
    pub fn expected(&self) -> String {
        match self {
            Self::Number {
                unit,
                minimum,
                maximum,
            } => match maximum {
                None => format!("a whole number of {unit}, {minimum} or more"),
                Some(maximum) => format!("a whole number of {unit}, {minimum} to {maximum}"),
            },
            Self::Port => "a port number, 0 to 65535".to_owned(),
            Self::Time => "a time with its unit, such as 50ms, 30s or 24h".to_owned(),
            Self::TimeOrZero => "a time with its unit, such as 30s or 24h, or 0".to_owned(),
            Self::Words(words) => match words().split_last() {
                Some((last, [])) => (*last).to_owned(),
                Some((last, others)) => format!("{} or {last}", others.join(", ")),
                None => String::new(),
            },
            Self::Text(form) => (*form).to_owned(),
        }
    }
}

/// What counts where a setting is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This text, read as if it were set.
    Value(&'static str),
    /// What the program finds out or does itself, in words.
    Described(&'static str),
}

impl Fallback {
    /// The default as documentation shows it.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Value(text) | Self::Described(text) => text,
        }
    }
}

/// What of a value must not be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// Nothing: all of it may be shown.
    No,
    /// All of it.
    Whole,
    /// It is an address, of which scheme, host and port may be shown.
    InAddress,
}

const HIDDEN: &str = "(hidden)";

/// Scheme, host and port of an address; `None` where it is not certain which part is a password.
fn without_login(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let end = |text: &str| text.find(['/', '?', '#']).unwrap_or(text.len());
    let authority = &rest[..end(rest)];
    // An @ behind the authority comes from a password with a slash or question mark in it.
    if rest[authority.len()..].contains('@') {
        return None;
    }
    let host = authority.rsplit('@').next()?;
    Some(format!("{scheme}://{host}"))
}

/// A setting whose value has a type.
pub(crate) struct Typed<T: 'static> {
    pub(crate) setting: Setting,
    /// Makes a value of a text that is not empty; otherwise says what was expected.
    pub(super) parse: fn(&Setting, &str) -> Result<T, String>,
}

/// A type whose values are words.
pub(super) trait Word: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

impl Word for bool {
    const WORDS: &'static [(&'static str, Self)] = &[("on", true), ("off", false)];
}

pub(super) const fn number<T: TryFrom<u64>>(
    unit: &'static str,
    minimum: u64,
    setting: Setting,
) -> Typed<T> {
    let kind = Kind::Number {
        unit,
        minimum,
        maximum: None,
    };
    Typed {
        setting: Setting { kind, ..setting },
        parse: parse_number,
    }
}

pub(super) const fn number_between<T: TryFrom<u64>>(
    unit: &'static str,
    minimum: u64,
    maximum: u64,
    setting: Setting,
) -> Typed<T> {
    let kind = Kind::Number {
        unit,
        minimum,
        maximum: Some(maximum),
    };
    Typed {
        setting: Setting { kind, ..setting },
        parse: parse_number,
    }
}

pub(super) const fn optional_number<T: TryFrom<u64>>(
    unit: &'static str,
    minimum: u64,
    setting: Setting,
) -> Typed<Option<T>> {
    let kind = Kind::Number {
        unit,
        minimum,
        maximum: None,
    };
    Typed {
        setting: Setting { kind, ..setting },
        parse: |setting, text| parse_number(setting, text).map(Some),
    }
}

pub(super) const fn port(setting: Setting) -> Typed<u16> {
    Typed {
        setting: Setting {
            kind: Kind::Port,
            ..setting
        },
        parse: parse_number,
    }
}

pub(super) const fn optional_port(setting: Setting) -> Typed<Option<u16>> {
    Typed {
        setting: Setting {
            kind: Kind::Port,
            ..setting
        },
        parse: |setting, text| parse_number(setting, text).map(Some),
    }
}

pub(super) const fn time(setting: Setting) -> Typed<Duration> {
    Typed {
        setting: Setting {
            kind: Kind::Time,
            ..setting
        },
        parse: parse_time,
    }
}

/// `None` where it is not set.
pub(super) const fn optional_time(setting: Setting) -> Typed<Option<Duration>> {
    Typed {
        setting: Setting {
            kind: Kind::Time,
            ..setting
        },
        parse: |setting, text| parse_time(setting, text).map(Some),
    }
}

/// `None` for a text of `0`.
pub(super) const fn time_or_zero(setting: Setting) -> Typed<Option<Duration>> {
    Typed {
        setting: Setting {
            kind: Kind::TimeOrZero,
            ..setting
        },
        parse: |setting, text| match text {
            "0" => Ok(None),
            _ => parse_time(setting, text).map(Some),
        },
    }
}

pub(super) const fn choice<T: Word>(setting: Setting) -> Typed<T> {
    let words = || T::WORDS.iter().map(|(word, _)| *word).collect();
    Typed {
        setting: Setting {
            kind: Kind::Words(words),
            ..setting
        },
        parse: parse_word,
    }
}

pub(super) const fn path(setting: Setting) -> Typed<PathBuf> {
    Typed {
        setting: Setting {
            kind: Kind::Text("a path"),
            ..setting
        },
        parse: |_, text| Ok(PathBuf::from(text)),
    }
}

pub(super) const fn optional_path(setting: Setting) -> Typed<Option<PathBuf>> {
    Typed {
        setting: Setting {
            kind: Kind::Text("a path"),
            ..setting
        },
        parse: |_, text| Ok(Some(PathBuf::from(text))),
    }
}

pub(super) const fn text(form: &'static str, setting: Setting) -> Typed<Option<String>> {
    Typed {
        setting: Setting {
            kind: Kind::Text(form),
            ..setting
        },
        parse: |_, text| Ok(Some(text.to_owned())),
    }
}

/// The name of a container, by the rules of blob storage.
pub(super) const fn container(setting: Setting) -> Typed<String> {
    Typed {
        setting: Setting {
            kind: Kind::Text(
                "the name of a container: 3 to 63 lower-case letters, digits and single hyphens",
            ),
            ..setting
        },
        parse: |setting, text| {
            let parts = || text.split('-');
            let is_part = |part: &str| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            };
            let fits = (3..=63).contains(&text.len()) && parts().all(is_part);
            fits.then(|| text.to_owned())
                .ok_or_else(|| setting.kind.expected())
        },
    }
}

pub(super) const fn address(setting: Setting) -> Typed<Option<IpAddr>> {
    Typed {
        setting: Setting {
            kind: Kind::Text("an IP address"),
            ..setting
        },
        parse: |setting, text| {
            let address = text.parse().map_err(|_| setting.kind.expected())?;
            Ok(Some(address))
        },
    }
}

pub(super) const fn namespace(setting: Setting) -> Typed<Namespace> {
    Typed {
        setting,
        parse: |_, text| {
            text.parse()
                .map_err(|error: NamespaceError| error.to_string())
        },
    }
}

pub(super) const fn entry_secret(setting: Setting) -> Typed<Option<EntrySecret>> {
    Typed {
        setting,
        parse: |_, text| {
            let secret = text.parse().map(Some);
            secret.map_err(|error: EntrySecretError| error.to_string())
        },
    }
}

/// The directives of a log filter, as they are.
pub(super) const fn log_filter(setting: Setting) -> Typed<String> {
    Typed {
        setting,
        parse: |setting, text| match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("{} ({error})", setting.kind.expected())),
        },
    }
}

fn parse_number<T: TryFrom<u64>>(setting: &Setting, text: &str) -> Result<T, String> {
    let taken = match setting.kind {
        Kind::Number {
            minimum, maximum, ..
        } => minimum..=maximum.unwrap_or(u64::MAX),
        _ => 0..=u64::MAX,
    };
    let number = text.parse().ok().filter(|number| taken.contains(number));
    number
        .and_then(|number: u64| T::try_from(number).ok())
        .ok_or_else(|| setting.kind.expected())
}

fn parse_time(setting: &Setting, text: &str) -> Result<Duration, String> {
    // To humantime M is a month, which is never what is meant here.
    let time = humantime::parse_duration(text)
        .ok()
        .filter(|_| !text.contains('M'));
    time.filter(|time| !time.is_zero() && *time <= MAX_TIME)
        .ok_or_else(|| setting.kind.expected())
}

fn parse_word<T: Word>(setting: &Setting, text: &str) -> Result<T, String> {
    let found = T::WORDS
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text));
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| setting.kind.expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_logins_and_secrets_not_at_all() {
        let shown = |secret, value: &str| {
            let setting = Setting {
                secret,
                ..Setting::USUAL
            };
            setting.shown(value)
        };
        for (value, expected) in [
            ("rediss://:hunter2@h:6380/0", "rediss://h:6380"),
            ("rediss://me:hunter2@h", "rediss://h"),
            ("redis-cluster://a:1,b:2", "redis-cluster://a:1,b:2"),
            (
                "https://collector:4318/?key=hunter2",
                "https://collector:4318",
            ),
            ("https://hunter2@collector/hunter2", "https://collector"),
            ("redis://:hun@ter2@h", "redis://h"),
            // Part of these is a password, and it is not clear which.
            ("redis://:hun/ter2@h", HIDDEN),
            ("redis://h?password=hun@ter2", HIDDEN),
            ("hunter2", HIDDEN),
        ] {
            assert_eq!(shown(Secret::InAddress, value), expected, "{value}");
        }
        assert_eq!(shown(Secret::Whole, "hunter2"), HIDDEN);
        assert_eq!(shown(Secret::No, "60s"), "60s");
    }
}
