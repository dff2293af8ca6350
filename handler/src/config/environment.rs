//! The environment of the process: values by name, and names that look like misspelled settings.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::setting::Setting;
use super::table;

/// Environment variables.
#[derive(Debug, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    /// Variables whose values are not UTF-8.
    unreadable: BTreeSet<String>,
}

/// What a variable that may be meant as a setting begins with. Others, such as those of OpenTelemetry, also belong to
/// other programs.
const OWN_PREFIXES: [&str; 2] = ["SCORE", "REDIS"];

/// More changes than that, and the one name is not a misspelled form of the other; in a long name there may be more.
const MOST_TYPING_ERRORS: usize = 2;
/// One change for so many letters behind the prefix.
const LETTERS_PER_ERROR: usize = 4;

impl Environment {
    /// The environment of this process, as it is now.
    pub fn of_process() -> Self {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads it")]
        let variables = std::env::vars_os();
        variables.collect()
    }

    /// The value of a variable, without the spaces and line ends around it. An empty value counts as not set: app
    /// settings and templates of deployments often cannot leave one out.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name)?.trim();
        (!value.is_empty() && !self.is_service_link(name, value)).then_some(value)
    }

    /// Whether Kubernetes has set the variable: for a service named `score` it gives every container of the namespace
    /// `SCORE_PORT=tcp://10.0.0.1:80`, `SCORE_SERVICE_PORT=80` and more.
    fn is_service_link(&self, name: &str, value: &str) -> bool {
        let port = name
            .strip_suffix("_PORT")
            .and_then(|service| self.values.get(&format!("{service}_SERVICE_PORT")));
        port.is_some_and(|port| value.starts_with("tcp://") && value.ends_with(&format!(":{port}")))
    }

    /// The variable that sets this setting, and its value.
    pub(crate) fn find(&self, setting: &Setting) -> Option<(&'static str, &str)> {
        setting
            .names()
            .find_map(|name| Some((name, self.get(name)?)))
    }

    /// The value of a variable as it is, for those that a library reads a second time.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The variable of this setting whose value is not UTF-8, if there is one.
    pub(super) fn unreadable(&self, setting: &Setting) -> Option<&'static str> {
        setting.names().find(|name| self.unreadable.contains(*name))
    }

    /// Variables that are no settings but are spelled almost like one, each with that one.
    pub(crate) fn misspelled(&self) -> Vec<(&str, &'static str)> {
        let set = self.values.keys().map(String::as_str);
        set.filter_map(|name| Some((name, nearest(name)?)))
            .collect()
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => {
                    environment.values.insert(name, value);
                }
                Err(_) => {
                    environment.unreadable.insert(name);
                }
            }
        }
        environment
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            values: owned.collect(),
            unreadable: BTreeSet::new(),
        }
    }
}

/// The setting that a variable is almost spelled like.
fn nearest(variable: &str) -> Option<&'static str> {
    // Tools write a separator as _, __, - or a dot, and names in lower case.
    let letters = |name: &str| {
        let mut letters = name.to_ascii_uppercase();
        letters.retain(|letter| letter.is_ascii_alphanumeric());
        letters
    };
    let names = || table::all().flat_map(Setting::names);
    let wanted = letters(variable);
    let is_own = OWN_PREFIXES.iter().any(|prefix| wanted.starts_with(prefix));
    if !is_own || names().any(|name| name == variable) {
        return None;
    }
    // Names of Redis and of ONNX Runtime have no prefix.
    let rest = wanted.strip_prefix("SCORE").unwrap_or("");
    if let Some(name) = names().find(|name| letters(name) == rest) {
        return Some(name);
    }
    let most = MOST_TYPING_ERRORS.max(rest.len() / LETTERS_PER_ERROR);
    names()
        .map(|name| (strsim::damerau_levenshtein(&letters(name), &wanted), name))
        .filter(|(errors, _)| *errors <= most)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_name_that_is_almost_a_setting_is_told_which() {
        for (name, meant) in [
            ("SCORE_TIMOUT", "SCORE_TIMEOUT"),
            ("score_timeout", "SCORE_TIMEOUT"),
            ("SCORE__MAX_ROWS", "SCORE_MAX_ROWS"),
            ("SCORE_MAX_ROW", "SCORE_MAX_ROWS"),
            ("REDIS_URI", "REDIS_URL"),
            ("REDIS_CONNECTIONSTRING", "REDIS_CONNECTION_STRING"),
            ("SCORE_REDIS_URL", "REDIS_URL"),
            ("SCORE_REDIS_TIMEOUT", "REDIS_TIMEOUT"),
            ("SCORE_ORT_DYLIB_PATH", "ORT_DYLIB_PATH"),
            ("SCORE_MESSAGES_TIME_OUT", "SCORE_MESSAGE_TIMEOUT"),
        ] {
            assert_eq!(nearest(name), Some(meant), "{name}");
        }
    }

    #[test]
    fn names_that_other_programs_use_are_left_alone() {
        for name in [
            "SCORE_TIMEOUT",
            // What Kubernetes sets for services of the names score and redis.
            "SCORE_SERVICE_HOST",
            "SCORE_SERVICE_PORT",
            "SCORE_PORT_80_TCP",
            "SCORE_PORT_80_TCP_PORT",
            "REDIS_SERVICE_HOST",
            "REDIS_PORT",
            "REDIS_PORT_6379_TCP_ADDR",
            // What other clients of Redis call theirs.
            "REDIS_HOST",
            "REDIS_PASSWORD",
            "REDIS_USER",
            "REDIS_TLS",
            "REDIS_DB",
            // A name of the app's own in a function.json.
            "SCORE_MY_ORDERS",
            // What deployments with azd read.
            "SCORE_MODELS",
            "SCORE_TRIGGERS",
            "SCORE_PLAN_SKU",
            "SCORE_HOSTING",
            "URL",
        ] {
            assert_eq!(nearest(name), None, "{name}");
        }
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_not_a_setting() {
        let port = |variables: &[(&str, &str)]| {
            let environment: Environment = variables.iter().copied().collect();
            environment.get("SCORE_PORT").map(str::to_owned)
        };
        let link = ("SCORE_PORT", "tcp://10.43.161.118:80");
        assert_eq!(port(&[link, ("SCORE_SERVICE_PORT", "80")]), None);
        let six = ("SCORE_PORT", "tcp://[fd00::1]:80");
        assert_eq!(port(&[six, ("SCORE_SERVICE_PORT", "80")]), None);
        let own = ("SCORE_PORT", "8080");
        assert_eq!(port(&[own, ("SCORE_SERVICE_PORT", "80")]).unwrap(), "8080");
        // Without the other variables it comes from elsewhere, and is a mistake.
        assert!(port(&[link]).is_some());
        assert!(port(&[link, ("SCORE_SERVICE_PORT", "81")]).is_some());
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_neither_read_nor_taken_for_unset() {
        let value = OsString::from_vec(b"\xff60s".to_vec());
        let environment: Environment = [(OsString::from("SCORE_TIMEOUT"), value)]
            .into_iter()
            .collect();
        let timeout = &table::TIMEOUT.setting;
        assert_eq!(environment.find(timeout), None);
        assert_eq!(environment.unreadable(timeout), Some("SCORE_TIMEOUT"));
    }
}
