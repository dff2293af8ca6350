//! The environment of the process: values by name, and names that look like settings but are none.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;

use serde::Serialize;

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

/// Names of this program alone begin so, in upper or lower case.
const OWN_WORD: &str = "SCORE";

/// What deployments with azd and this project's tools read: no settings, but no mistakes either.
const DEPLOYMENT_NAMES: [&str; 23] = [
    "SCORE_ALWAYS_READY",
    "SCORE_DEPLOY_CONTAINER_APP",
    "SCORE_DEPLOY_IMAGE",
    "SCORE_DEPLOY_ZIP",
    "SCORE_HANDLER",
    "SCORE_HOSTING",
    "SCORE_IMAGE",
    "SCORE_INSTANCE_CONCURRENCY",
    "SCORE_INSTANCE_MEMORY",
    "SCORE_KEY_DELAY",
    "SCORE_KEY_SECONDS",
    "SCORE_LARGE_BLOBS",
    "SCORE_LOCAL",
    "SCORE_MAX_INSTANCES",
    "SCORE_MAX_REPLICAS",
    "SCORE_MIN_REPLICAS",
    "SCORE_MODELS",
    "SCORE_PLAN_SKU",
    "SCORE_REDIS_CLUSTERING",
    "SCORE_REDIS_SKU",
    "SCORE_SMOKE_SECONDS",
    "SCORE_SMOKE_URL",
    "SCORE_TRIGGERS",
];

/// One change for so many letters behind the prefix, or a part of them: with more, the one name is not a misspelled form
/// of the other.
const LETTERS_PER_ERROR: usize = 4;
/// Fewer letters behind the prefix are the beginning of too many names.
const LETTERS_OF_BEGINNING: usize = 2;

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

    /// Variables that are no settings but look like one of this program, each with the one that it is almost spelled like,
    /// if there is one.
    pub(crate) fn strangers(&self) -> Vec<Stranger<'_>> {
        let set = self.values.keys().map(String::as_str);
        let unknown = set.filter(|name| !self.is_of_kubernetes(name));
        let unknown = unknown.filter_map(|variable| {
            let meant = nearest(variable);
            (meant.is_some() || looks_own(variable)).then_some(Stranger { variable, meant })
        });
        unknown.collect()
    }

    /// Whether Kubernetes sets variables of this name for a service, such as `score` or `score-api`.
    fn is_of_kubernetes(&self, name: &str) -> bool {
        let port = name.strip_suffix("_PORT");
        port.is_some_and(|service| self.values.contains_key(&format!("{service}_SERVICE_PORT")))
            || name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
                let port = name.split_once(protocol).map(|(port, _)| port);
                let digits = port.and_then(|port| port.rsplit_once("_PORT_"));
                digits.is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
            })
    }
}

/// A variable that is no setting but looks like one.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stranger<'a> {
    /// Its name.
    variable: &'a str,
    /// The setting that is probably meant.
    meant: Option<&'static str>,
}

impl fmt::Display for Stranger<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = self.variable;
        match self.meant {
            Some(meant) => write!(
                f,
                "{variable} is not a setting and has no effect; did you mean {meant}?"
            ),
            None => write!(
                f,
                "{variable} is not a setting and has no effect unless a function.json names it; `handler settings` lists \
                 all settings"
            ),
        }
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

/// Whether a name is meant for this program: no other one begins its names so.
fn looks_own(variable: &str) -> bool {
    let own = variable.get(..OWN_WORD.len());
    own.is_some_and(|own| own.eq_ignore_ascii_case(OWN_WORD))
        && variable[OWN_WORD.len()..].starts_with(['_', '-', '.'])
        && !is_known(variable)
}

fn is_known(variable: &str) -> bool {
    let mut settings = table::all().flat_map(Setting::names);
    DEPLOYMENT_NAMES.contains(&variable) || settings.any(|name| name == variable)
}

/// Letters and digits of a name: tools write a separator as _, __, - or a dot, and names in lower case.
fn letters(name: &str) -> String {
    let mut letters = name.to_ascii_uppercase();
    letters.retain(|letter| letter.is_ascii_alphanumeric());
    letters
}

/// The setting that a variable is almost spelled like, that it begins, or that begins it.
fn nearest(variable: &str) -> Option<&'static str> {
    let wanted = letters(variable);
    let prefix = OWN_PREFIXES
        .iter()
        .find(|prefix| wanted.starts_with(**prefix))?;
    if is_known(variable) {
        return None;
    }
    let rest = &wanted[prefix.len()..];
    let names = || table::all().flat_map(Setting::names);
    // Names of Redis and of ONNX Runtime have no prefix.
    if let Some(name) = names().find(|name| *prefix == OWN_WORD && letters(name) == rest) {
        return Some(name);
    }
    let long_enough = *prefix == OWN_WORD && rest.len() >= LETTERS_OF_BEGINNING;
    let begun = names().filter(|name| long_enough && letters(name).starts_with(&wanted));
    let most = rest.len().div_ceil(LETTERS_PER_ERROR);
    let misspelled = names()
        .map(|name| (strsim::damerau_levenshtein(&letters(name), &wanted), name))
        .filter(|(errors, _)| *errors <= most);
    let beginning =
        names().filter(|name| *prefix == OWN_WORD && wanted.starts_with(&letters(name)));
    begun
        .min_by_key(|name| name.len())
        .or_else(|| misspelled.min().map(|(_, name)| name))
        .or_else(|| beginning.max_by_key(|name| name.len()))
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
            ("SCORE_CORS", "SCORE_CORS_ORIGINS"),
            ("SCORE_L1", "SCORE_L1_BYTES"),
            ("SCORE_MODEL", "SCORE_MODEL_DIR"),
            ("SCORE_MAX_BODY", "SCORE_MAX_BODY_BYTES"),
            ("SCORE_CACHE", "SCORE_CACHE_TTL"),
            ("SCORE_LOG_LEVEL", "SCORE_LOG"),
            ("SCORE_LOGLEVEL", "SCORE_LOG"),
        ] {
            assert_eq!(nearest(name), Some(meant), "{name}");
        }
    }

    fn strangers(variables: &[(&str, &str)]) -> Vec<String> {
        let environment: Environment = variables.iter().copied().collect();
        let strangers = environment.strangers();
        strangers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_other_name_of_this_program_is_told() {
        for name in ["SCORE_TOKEN", "score.token", "SCORE_MY_ORDERS", "SCORE_"] {
            assert_eq!(nearest(name), None, "{name}");
            let told = strangers(&[(name, "s3cret")]).concat();
            assert!(
                told.contains(name) && told.contains("`handler settings`"),
                "{told}"
            );
            assert!(!told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn names_that_other_programs_use_are_left_alone() {
        for name in [
            "SCORE_TIMEOUT",
            // What Kubernetes sets for services of the names score, score-api and redis.
            "SCORE_SERVICE_HOST",
            "SCORE_SERVICE_PORT",
            "SCORE_SERVICE_PORT_HTTP",
            "SCORE_PORT_80_TCP",
            "SCORE_PORT_80_TCP_PORT",
            "SCORE_API_SERVICE_HOST",
            "SCORE_API_PORT_80_TCP_ADDR",
            "REDIS_SERVICE_HOST",
            "REDIS_PORT",
            "REDIS_PORT_6379_TCP_ADDR",
            // What other clients of Redis call theirs.
            "REDIS_HOST",
            "REDIS_PASSWORD",
            "REDIS_USER",
            "REDIS_SSL",
            "REDIS_TLS",
            "REDIS_DB",
            // What deployments with azd read.
            "SCORE_MODELS",
            "SCORE_TRIGGERS",
            "SCORE_PLAN_SKU",
            "SCORE_HOSTING",
            "SCOREBOARD_URL",
            "URL",
        ] {
            assert_eq!(strangers(&[(name, "1")]), [""; 0], "{name}");
        }
        let service = [
            ("SCORE_API_PORT", "tcp://10.0.0.1:80"),
            ("SCORE_API_SERVICE_PORT", "80"),
        ];
        assert_eq!(strangers(&service), [""; 0]);
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
