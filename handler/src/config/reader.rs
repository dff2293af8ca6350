//! Reads settings one by one and collects every mistake.

use super::environment::Environment;
use super::hint::hint;
use super::setting::{Fallback, Secret, Setting, Typed};

/// How much of a wrong value a message quotes, in characters.
const MOST_QUOTED: usize = 200;

pub(super) struct Reader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) mistakes: Vec<String>,
}

impl Reader<'_> {
    /// The value in force. After a mistake it is some value of the type: with mistakes there is no `Config`.
    pub(super) fn value<T: Default>(&mut self, row: &Typed<T>) -> T {
        let setting = &row.setting;
        if let Some(name) = self.environment.unreadable(setting) {
            let mistake = format!("{name}: expected text in UTF-8");
            self.mistakes.push(mistake);
            return T::default();
        }
        let (name, text) = match (self.environment.find(setting), setting.default) {
            (Some(found), _) => found,
            (None, Fallback::Value(text)) => (setting.name, text),
            (None, Fallback::Described(_)) => return T::default(),
        };
        let parsed = match is_quoted(text) {
            true => Err(setting.kind.expected()),
            false => (row.parse)(setting, text),
        };
        parsed.unwrap_or_else(|expected| {
            self.wrong(setting, name, text, &expected);
            T::default()
        })
    }

    /// Whether the setting is set, even to a value that is not taken.
    pub(super) fn is_set<T>(&self, row: &Typed<T>) -> bool {
        self.environment.find(&row.setting).is_some()
    }

    fn wrong(&mut self, setting: &Setting, name: &str, text: &str, expected: &str) {
        let found = match setting.secret {
            Secret::No => {
                let start: String = text.chars().take(MOST_QUOTED).collect();
                let dots = if start.len() < text.len() { "..." } else { "" };
                format!("={start:?}{dots}")
            }
            _ => String::new(),
        };
        let hint = hint(setting, text).map_or_else(String::new, |hint| format!("; {hint}"));
        self.mistakes
            .push(format!("{name}{found}: expected {expected}{hint}"));
    }
}

/// Whether quotes were meant for a shell that never saw them.
pub(super) fn is_quoted(text: &str) -> bool {
    ['"', '\''].into_iter().any(|quote| {
        text.strip_prefix(quote)
            .is_some_and(|rest| rest.ends_with(quote))
    })
}
