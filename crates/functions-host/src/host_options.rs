//! How a test wants the handler started, and the environment that the host gives it.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::PathBuf;

use super::app_folder::AppFolder;

/// The setting by which the Core Tools run a host: it sends envelopes with their length.
pub const CORE_TOOLS: (&str, &str) = ("FUNCTIONS_CORETOOLS_ENVIRONMENT", "Development");

thread_local! {
    /// What hosts do with HTTP in a test that runs once more by another mode than host.json's.
    static MODE_OF_TEST: Cell<Option<Mode>> = const { Cell::new(None) };
}

/// Runs a whole test with hosts that forward instead of what host.json says.
pub fn forwarding(test: fn()) {
    MODE_OF_TEST.set(Some(Mode::Forwarded));
    let result = std::panic::catch_unwind(test);
    MODE_OF_TEST.set(None);
    if let Err(reason) = result {
        std::panic::resume_unwind(reason);
    }
}

/// What [`forwarding`] asks for.
pub(super) fn mode_of_test() -> Option<Mode> {
    MODE_OF_TEST.get()
}

/// How HTTP requests reach the handler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The caller's request with the host's changes.
    Forwarded,
    /// The caller's request relayed, as newer hosts can.
    Proxied,
    /// Wrapped in an envelope.
    Envelope {
        /// Sent in chunks, as in Azure, or with its length, as under the Core Tools.
        chunked: bool,
    },
}

impl Mode {
    /// The two in which a caller's own request arrives.
    pub const HTTP: [Self; 2] = [Self::Forwarded, Self::Proxied];

    /// Every way, for tests that go through them.
    pub const ALL: [Self; 4] = [
        Self::Forwarded,
        Self::Proxied,
        Self::Envelope { chunked: true },
        Self::Envelope { chunked: false },
    ];
}

/// What a test wants different from a normal start.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// App settings.
    pub settings: Vec<(String, String)>,
    /// Variables the host would set.
    pub withheld: Vec<String>,
    /// Instead of what host.json says.
    pub mode: Option<Mode>,
    /// Instead of the app root.
    pub directory: Option<PathBuf>,
    /// Instead of a free one.
    pub port: Option<u16>,
    /// A process in between that can be killed.
    pub has_parent: bool,
    /// What callers of functions that are not anonymous have to show.
    pub key: Option<String>,
    /// Whether the host has telemetry, and gives each request a `traceparent`.
    pub has_telemetry: bool,
}

impl HostOptions {
    /// An app setting, that is a variable of the handler's environment; it wins over the host's own.
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Leaves out a variable that the host would set.
    pub fn without(mut self, name: &str) -> Self {
        self.withheld.push(name.to_owned());
        self
    }

    /// How HTTP requests travel, in place of what host.json says.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Another working directory than the app root.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// A certain port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// A host that asks for this function key.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// A host with Application Insights.
    pub fn with_telemetry(mut self) -> Self {
        self.has_telemetry = true;
        self
    }

    /// The host under the Core Tools: it may send envelopes with a length.
    pub fn core_tools(self) -> Self {
        self.setting(CORE_TOOLS.0, CORE_TOOLS.1)
    }

    /// Starts the handler below a process that `FunctionsHost::crash` kills.
    pub fn with_parent(mut self) -> Self {
        self.has_parent = true;
        self
    }
}

impl<const COUNT: usize> From<[(&str, &str); COUNT]> for HostOptions {
    fn from(settings: [(&str, &str); COUNT]) -> Self {
        settings
            .into_iter()
            .fold(Self::default(), |options, (name, value)| {
                options.setting(name, value)
            })
    }
}

/// The handler's environment: this process's PATH and HOME, the app's settings, and the host's own variables.
pub fn environment(app: &AppFolder, options: &HostOptions, port: u16) -> Vec<(String, String)> {
    let inherited = std::env::vars().filter(|(name, _)| name == "PATH" || name == "HOME");
    let own = [
        ("FUNCTIONS_WORKER_RUNTIME", "custom".to_owned()),
        (
            "AzureWebJobsStorage",
            "UseDevelopmentStorage=true".to_owned(),
        ),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()),
        ("FUNCTIONS_HTTPWORKER_PORT", port.to_string()),
        // new for each start, filled in by the host
        ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", String::new()),
        ("FUNCTIONS_HTTPWORKER_ID", String::new()),
        ("FUNCTIONS_APP_ROOT_PATH", app.path().display().to_string()),
    ];
    let own = own
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let mut variables: HashMap<String, String> = inherited.chain(own).collect();
    variables.retain(|name, _| !options.withheld.contains(name));
    variables.extend(options.settings.iter().cloned());
    variables.into_iter().collect()
}
