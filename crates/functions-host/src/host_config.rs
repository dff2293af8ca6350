//! What the Functions host reads from host.json and the function.json files, and what it refuses.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

// Compiled once: in a test build that takes milliseconds for each.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| form("%([^%]+)%"));
static FUNCTION_NAME: LazyLock<Regex> = LazyLock::new(|| form("^(?i)[a-z][a-z0-9_-]{0,127}$"));
static BINDING_NAME: LazyLock<Regex> =
    LazyLock::new(|| form(r"^([A-Za-z][A-Za-z0-9]{0,127}|\$return)$"));

fn form(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant")
}

/// The app's configuration as the host understands it.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Absolute if it lies under the app root, else a name for the PATH.
    pub executable: PathBuf,
    /// Variables replaced, split at blanks.
    pub arguments: Vec<String>,
    /// Where the executable is started.
    pub working_directory: PathBuf,
    /// HTTP functions get the caller's own request.
    pub forwards: bool,
    /// HTTP functions get the caller's own request, relayed by newer hosts.
    pub proxies: bool,
    /// In front of all routes, without slashes; `api` if not given.
    pub route_prefix: String,
    /// Limit of one invocation; `None` is unbounded.
    pub function_timeout: Option<Duration>,
    /// In the order of their names.
    pub functions: Vec<Function>,
    /// Section `extensions` of host.json.
    extensions: Value,
    /// App settings and the host's own variables.
    variables: HashMap<String, String>,
}

/// One folder with a function.json.
#[derive(Clone, Debug)]
pub struct Function {
    /// Name of the folder.
    pub name: String,
    /// All bindings in the order of the file.
    pub bindings: Vec<Binding>,
    /// Switched off by an app setting.
    pub is_disabled: bool,
}

/// One binding of a function.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Key in `Data` or `Outputs`; case counts.
    pub name: String,
    /// `httpTrigger`, `serviceBus`, ...
    pub kind: String,
    /// Whether it is an output.
    pub is_output: bool,
    /// The whole binding.
    pub settings: Value,
}

impl HostConfig {
    /// Reads the app folder; `variables` replace `%NAME%`.
    ///
    /// # Panics
    ///
    /// If the host would refuse the app; the message says why.
    pub fn read(root: &Path, variables: &HashMap<String, String>) -> Self {
        let host = read_json(&root.join("host.json"));
        assert_eq!(host["version"], "2.0", "host.json: version must be \"2.0\"");
        let custom = &host["customHandler"];
        let description = &custom["description"];
        let executable = expand(
            description["defaultExecutablePath"]
                .as_str()
                .unwrap_or_default(),
            variables,
        );
        assert!(
            !executable.is_empty(),
            "host.json: defaultExecutablePath is empty"
        );
        let under_root = root.join(&executable);
        let arguments: Vec<&str> = description["arguments"]
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        Self {
            executable: if under_root.exists() {
                under_root
            } else {
                executable.into()
            },
            arguments: split(&expand(&arguments.join(" "), variables)),
            working_directory: root
                .join(description["workingDirectory"].as_str().unwrap_or_default()),
            forwards: custom["enableForwardingHttpRequest"] == true,
            proxies: custom["enableProxyingHttpRequest"] == true,
            route_prefix: host["extensions"]["http"]["routePrefix"]
                .as_str()
                .unwrap_or("api")
                .trim_matches('/')
                .to_owned(),
            function_timeout: timeout(host["functionTimeout"].as_str()),
            functions: functions(root, variables),
            extensions: host["extensions"].clone(),
            variables: variables.clone(),
        }
    }

    /// A number of section `extensions`, at a JSON pointer.
    pub fn number(&self, pointer: &str, default: usize) -> usize {
        let found = self.extensions.pointer(pointer).and_then(Value::as_u64);
        found.map_or(default, |number| number as usize)
    }

    /// A text of section `extensions`, at a JSON pointer.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.extensions.pointer(pointer).and_then(Value::as_str)
    }

    /// A time span of section `extensions`, `HH:MM:SS` at a JSON pointer.
    pub fn time_span(&self, pointer: &str, default: Duration) -> Duration {
        let found = self.extensions.pointer(pointer).and_then(Value::as_str);
        found.map_or(default, |text| {
            time_span(text).unwrap_or_else(|| panic!("host.json: {pointer}: {text:?}"))
        })
    }

    /// A binding's setting with `%NAME%` replaced by the app setting.
    ///
    /// # Errors
    ///
    /// If there is no such app setting: the function is not indexed then.
    pub fn resolve(&self, text: &str) -> Result<String, String> {
        let mut names = VARIABLE.captures_iter(text);
        match names.find(|found| !self.variables.contains_key(&found[1])) {
            Some(missing) => Err(format!("'{}' does not resolve to a value.", &missing[0])),
            None => Ok(expand(text, &self.variables)),
        }
    }

    /// The function of this name; case counts, as in the paths the host posts to.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }
}

impl Function {
    /// Whether HTTP requests for it can be forwarded: one `httpTrigger` in, one `http` out, nothing else.
    pub fn is_forwardable(&self) -> bool {
        let kinds = |is_output: bool| -> Vec<&str> {
            self.bindings
                .iter()
                .filter(|binding| binding.is_output == is_output)
                .map(|binding| binding.kind.as_str())
                .collect()
        };
        kinds(false) == ["httpTrigger"] && kinds(true) == ["http"]
    }

    /// The binding that starts it.
    pub fn trigger(&self) -> &Binding {
        self.bindings
            .iter()
            .find(|binding| binding.kind.ends_with("Trigger"))
            .unwrap_or_else(|| panic!("function {} has no trigger", self.name))
    }

    /// What it writes to.
    pub fn outputs(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().filter(|binding| binding.is_output)
    }
}

impl Binding {
    /// A binding from its entry in function.json.
    pub fn new(settings: Value) -> Self {
        let text = |key: &str| settings[key].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            kind: text("type"),
            is_output: settings["direction"] == "out",
            settings,
        }
    }

    /// A setting that is text, or nothing.
    pub fn setting(&self, key: &str) -> &str {
        self.settings[key].as_str().unwrap_or_default()
    }

    /// Whether `dataType` is `binary`.
    pub fn is_binary(&self) -> bool {
        self.setting("dataType").eq_ignore_ascii_case("binary")
    }
}

/// Reads a JSON file.
///
/// # Panics
///
/// If it is missing or not JSON.
pub fn read_json(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn functions(root: &Path, variables: &HashMap<String, String>) -> Vec<Function> {
    let mut functions: Vec<Function> = std::fs::read_dir(root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .flatten()
        .filter(|entry| entry.path().join("function.json").is_file())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut file = read_json(&entry.path().join("function.json"));
            expand_all(&mut file, variables);
            let is_disabled = is_disabled(&name, variables);
            Function {
                is_disabled,
                ..function(name, &file)
            }
        })
        .collect();
    functions.sort_by(|one, other| one.name.cmp(&other.name));
    functions
}

fn function(name: String, file: &Value) -> Function {
    assert!(
        FUNCTION_NAME.is_match(&name) && !name.eq_ignore_ascii_case("host"),
        "{name} cannot be a function's name"
    );
    let entries = file["bindings"].as_array();
    let entries = entries.unwrap_or_else(|| panic!("{name}/function.json: no bindings"));
    let bindings: Vec<Binding> = entries.iter().cloned().map(Binding::new).collect();
    for binding in &bindings {
        assert!(
            BINDING_NAME.is_match(&binding.name),
            "{name}/function.json: {:?} cannot be a binding's name",
            binding.name
        );
    }
    let function = Function {
        name,
        bindings,
        is_disabled: false,
    };
    function.trigger();
    function
}

/// Whether one of the two settings that the host looks for switches a function off; case does not count.
fn is_disabled(function: &str, variables: &HashMap<String, String>) -> bool {
    let switches = [
        format!("AzureWebJobs.{function}.Disabled"),
        format!("AzureWebJobs_{function}_Disabled"),
    ];
    variables.iter().any(|(name, value)| {
        let is_switch = switches
            .iter()
            .any(|switch| switch.eq_ignore_ascii_case(name));
        is_switch && (value.eq_ignore_ascii_case("true") || value == "1")
    })
}

/// `%NAME%` replaced by the variable, unset ones by nothing.
fn expand(text: &str, variables: &HashMap<String, String>) -> String {
    let value = |found: &regex::Captures<'_>| variables.get(&found[1]).cloned().unwrap_or_default();
    VARIABLE.replace_all(text, value).into_owned()
}

/// The same in all texts of a JSON value; what there is no app setting for stays, to be complained of by its user.
fn expand_all(value: &mut Value, variables: &HashMap<String, String>) {
    match value {
        Value::String(text) => {
            for (name, setting) in variables {
                *text = text.replace(&format!("%{name}%"), setting);
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| expand_all(item, variables)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| expand_all(member, variables)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Arguments of a command line; quotes hold blanks together.
fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '"' => {
                is_quoted = !is_quoted;
                current.get_or_insert_default();
            }
            ' ' if !is_quoted => arguments.extend(current.take()),
            other => current.get_or_insert_default().push(other),
        }
    }
    arguments.extend(current);
    arguments
}

/// `HH:MM:SS`, or `-1` for none; 30 minutes if not given.
fn timeout(text: Option<&str>) -> Option<Duration> {
    let Some(text) = text else {
        return Some(Duration::from_secs(30 * 60));
    };
    if text == "-1" {
        return None;
    }
    let limit = time_span(text);
    Some(limit.unwrap_or_else(|| panic!("host.json: functionTimeout {text:?} is not HH:MM:SS")))
}

/// `HH:MM:SS`; the seconds may have a fraction.
fn time_span(text: &str) -> Option<Duration> {
    let parts: Option<Vec<f64>> = text.split(':').map(|part| part.parse().ok()).collect();
    match parts?[..] {
        [hours, minutes, seconds] => {
            Duration::try_from_secs_f64((hours * 60.0 + minutes) * 60.0 + seconds).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_split_at_blanks_unless_quoted() {
        let variables = HashMap::from([("A".to_owned(), "x y".to_owned())]);
        assert_eq!(
            split(&expand(r#"--a %A% "b c" %NONE%"#, &variables)),
            ["--a", "x", "y", "b c"]
        );
    }

    #[test]
    fn only_plain_http_functions_are_forwarded() {
        let of = |kinds: &[(&str, &str)]| {
            let list: Vec<Value> = kinds
                .iter()
                .enumerate()
                .map(|(index, (kind, direction))| json!({"type": kind, "direction": direction, "name": format!("b{index}")}))
                .collect();
            function("f".to_owned(), &json!({ "bindings": list })).is_forwardable()
        };
        assert!(of(&[("httpTrigger", "in"), ("http", "out")]));
        assert!(!of(&[
            ("httpTrigger", "in"),
            ("http", "out"),
            ("queue", "out")
        ]));
        assert!(!of(&[
            ("httpTrigger", "in"),
            ("blob", "in"),
            ("http", "out")
        ]));
        assert!(!of(&[("httpTrigger", "in")]));
        assert!(!of(&[("serviceBusTrigger", "in"), ("serviceBus", "out")]));
    }

    #[test]
    fn two_settings_switch_a_function_off() {
        let off = |name: &str, value: &str| {
            let variables = HashMap::from([(name.to_owned(), value.to_owned())]);
            is_disabled("score_queue", &variables)
        };
        assert!(off("AzureWebJobs.score_queue.Disabled", "true"));
        assert!(off("AzureWebJobs_score_queue_Disabled", "1"));
        assert!(off("AZUREWEBJOBS_SCORE_QUEUE_DISABLED", "True"));
        assert!(!off("AzureWebJobs_score_queue_Disabled", "false"));
        assert!(!off("AzureWebJobs__score_queue__Disabled", "true"));
        assert!(!off("AzureWebJobs_score-queue_Disabled", "true"));
        assert!(!off("AzureWebJobs_score_http_Disabled", "true"));
    }

    #[test]
    fn function_timeout_is_read() {
        assert_eq!(timeout(Some("00:05:10")), Some(Duration::from_secs(310)));
        assert_eq!(timeout(Some("-1")), None);
        assert_eq!(timeout(None), Some(Duration::from_secs(1800)));
        assert_eq!(time_span("00:00:01.5"), Some(Duration::from_millis(1500)));
        assert_eq!(time_span("00:05"), None);
        assert_eq!(time_span("00:05:x"), None);
    }
}
