//! The settings and their values, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::config::{Environment, Fallback, Kind, SETTINGS, Secret, Setting, Stranger};

/// Everything that the command shows, in the form of its JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    settings: Vec<Row<'a>>,
    misspelled: Vec<Stranger<'a>>,
    mistakes: &'a [String],
}

/// One setting.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'static str,
    /// Variables that are read where the first one is not set.
    aliases: &'static [&'static str],
    group: &'static str,
    kind: &'static str,
    /// What a number counts.
    unit: Option<&'static str>,
    minimum: Option<u64>,
    maximum: Option<u64>,
    words: Option<Vec<&'static str>>,
    /// Kind, unit and bounds in words.
    expected: String,
    default: &'static str,
    /// When the setting matters; empty for always.
    applies: &'static str,
    meaning: &'static str,
    secret: bool,
    /// The value in force, without what is secret of it; `None` where the default is no value but a description.
    value: Option<String>,
    /// The variable that holds the value; `None` for the default.
    set_by: Option<&'a str>,
}

impl<'a> Report<'a> {
    pub(super) fn new(environment: &'a Environment, mistakes: &'a [String]) -> Self {
        let settings = SETTINGS.iter().flat_map(|group| {
            let rows = group.settings.iter();
            rows.map(|setting| row(group.heading, setting, environment))
        });
        Self {
            settings: settings.collect(),
            misspelled: environment.strangers(),
            mistakes,
        }
    }

    /// Two lines for each setting: its value and what it does.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut group = "";
        for row in &self.settings {
            if row.group != group {
                group = row.group;
                let _ = writeln!(text, "{}{group}", if text.is_empty() { "" } else { "\n" });
            }
            row.write(&mut text);
        }
        text
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.misspelled.iter().map(ToString::to_string).collect()
    }
}

impl Row<'_> {
    fn write(&self, text: &mut String) {
        let value = self.value.as_deref().unwrap_or(self.default);
        let origin = match self.set_by {
            None => "default".to_owned(),
            Some(variable) if variable == self.name => format!("default: {}", self.default),
            Some(variable) => format!("from {variable}; default: {}", self.default),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {} = {value}  ({origin})", self.name);
        let applies = match self.applies {
            "" => String::new(),
            applies => format!("; {applies}"),
        };
        let _ = writeln!(text, "      {}{applies}. {}", self.expected, self.meaning);
        if let (Some((last, _)), None) = (self.aliases.split_last(), self.set_by) {
            let _ = writeln!(text, "      Also read from {last}.");
        }
    }
}

fn row<'a>(group: &'static str, setting: &Setting, environment: &'a Environment) -> Row<'a> {
    let (kind, unit, minimum, maximum) = match setting.kind {
        Kind::Number {
            unit,
            minimum,
            maximum,
        } => ("number", Some(unit), Some(minimum), maximum),
        Kind::Port => ("port", None, Some(0), Some(u64::from(u16::MAX))),
        Kind::Time | Kind::TimeOrZero => ("time", None, None, None),
        Kind::Words(_) => ("word", None, None, None),
        Kind::Text(_) => ("text", None, None, None),
    };
    let found = environment.find(setting);
    let value = match (found, setting.default) {
        (Some((_, value)), _) => Some(setting.shown(value)),
        (None, Fallback::Value(value)) => Some(value.to_owned()),
        (None, Fallback::Described(_)) => None,
    };
    Row {
        name: setting.name,
        aliases: setting.aliases,
        group,
        kind,
        unit,
        minimum,
        maximum,
        words: match setting.kind {
            Kind::Words(words) => Some(words()),
            _ => None,
        },
        expected: setting.kind.expected(),
        default: setting.default.text(),
        applies: setting.applies,
        meaning: setting.meaning,
        secret: setting.secret != Secret::No,
        value,
        set_by: found.map(|(variable, _)| variable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_force_are_shown_without_secrets() {
        let environment = [
            ("SCORE_TIMEOUT", " 5s\r\n"),
            ("AZUREML_MODEL_DIR", "/azureml"),
            ("REDIS_URL", "rediss://:hunter2@h:6380"),
            ("REDIS_CONNECTION_STRING", "h:6380,password=hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"),
            ("SCORE_TIMOUT", "hunter2"),
        ]
        .into_iter()
        .collect();
        let report = Report::new(&environment, &[]);
        let text = report.text();
        for line in [
            "  SCORE_TIMEOUT = 5s  (default: 60s)\n",
            "  SCORE_MODEL_DIR = /azureml  (from AZUREML_MODEL_DIR; default: models)\n",
            "  SCORE_THREADS = number of cores  (default)\n",
            "  REDIS_URL = rediss://h:6380  (default: none)\n",
            "  REDIS_CONNECTION_STRING = (hidden)  (default: none)\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""value":"5s","set_by":"SCORE_TIMEOUT""#));
        assert!(json.contains(r#""variable":"SCORE_TIMOUT","meant":"SCORE_TIMEOUT""#));
        assert!(!json.contains("hunter2") && !text.contains("hunter2"));
    }
}
