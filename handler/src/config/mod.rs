//! All settings: environment variables, which is what app settings of a function app become. Read once, here.
//!
//! `table` has a row for each setting, `setting` says what a row is and makes values of texts, `reader` reads row by row and
//! collects mistakes. Everything else gets a [`Config`] and never sees the environment.

mod blobs;
mod cache;
mod callers;
mod environment;
mod hint;
mod reader;
mod redis;
mod setting;
mod table;
#[cfg(test)]
mod tests;
mod traces;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use score::SettingNames;

pub(crate) use blobs::BlobSettings;
pub(crate) use cache::CacheSettings;
pub(crate) use callers::{ApiKeys, HostNames, Origins};
pub use environment::Environment;
pub(crate) use environment::Stranger;
pub use setting::{Fallback, Kind, Secret, Setting};
pub use table::{Group, SETTINGS};
pub use traces::TraceSettings;

use reader::Reader;
use setting::Word;

/// The settings that errors of `score` name.
pub(crate) const SETTING_NAMES: SettingNames = SettingNames {
    library: "ORT_DYLIB_PATH",
    custom_ops: "SCORE_CUSTOM_OPS=on",
};

/// What `SCORE_LOG_FILTER` adds to. Libraries are silent unless it names them: ONNX Runtime repeats what is reported with the
/// request, fred and Azure's libraries repeat what the cache reports, and others log each step of a connection.
const USUAL_FILTER: &str =
    "info,ort=off,fred=off,azure=off,typespec=off,hyper_util=off,reqwest=off,rustls=off,h2=off";

/// Connections that may be open where nothing is set and the process may open enough files.
const USUAL_CONNECTIONS: usize = 2048;
/// Files that are left for everything but connections.
const OTHER_FILES: usize = 128;

/// Which requests may carry the envelope of a function. All of them have to come from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelopes {
    /// None: there is no Functions host.
    Refused,
    /// Those with a chunked body: a host never forwards a caller's request in that form.
    Chunked,
    /// Those with a `Content-Length` too, as the Core Tools send them, and curl in tests.
    AnyLength,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// When the program is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadyWhen {
    /// When a model serves.
    #[default]
    Any,
    /// When all models do.
    All,
}

impl Word for ReadyWhen {
    const WORDS: &'static [(&'static str, Self)] = &[("any", Self::Any), ("all", Self::All)];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// What happens to a message or blob that can never be scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnInvalid {
    /// It goes to the output `rejected`.
    #[default]
    Reject,
    /// Its invocation fails.
    Fail,
}

impl Word for OnInvalid {
    const WORDS: &'static [(&'static str, Self)] =
        &[("reject", Self::Reject), ("fail", Self::Fail)];
}

/// The settings of this process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether a Functions host started the process.
    pub hosted: bool,
    /// From which requests the envelopes of functions are taken.
    pub envelopes: Envelopes,
    /// The keys of callers; none where callers need none.
    pub(crate) api_keys: ApiKeys,
    /// Whether callers without a key are meant where nothing asks for one.
    pub(crate) allow_anonymous: bool,
    /// Names of this server beside those of its loopback address.
    pub(crate) allowed_hosts: HostNames,
    /// Origins whose pages may call from a browser.
    pub(crate) cors_origins: Origins,
    /// Whether callers are told what was remembered, and how long each step took.
    pub(crate) reveal: bool,
    /// The folder of host.json, function folders and models.
    pub app_root: PathBuf,
    /// The folder of model folders.
    pub model_dir: PathBuf,
    /// The model that answers when none is named.
    pub default_model: Option<String>,
    /// How many versions of each model are served.
    pub versions: usize,
    /// How often the folder of models is looked at for new ones, if it is.
    pub reload: Option<Duration>,
    /// Whether one model that failed to load makes the program not ready.
    pub ready_when: ReadyWhen,
    /// Whether models may bring libraries of operators, which are native code.
    pub custom_ops: bool,
    /// ONNX Runtime's shared library, if it is given.
    pub runtime_library: Option<PathBuf>,
    /// Threads that serve requests.
    pub threads: usize,
    /// Processor cores this process may use.
    pub cores: usize,
    /// Sessions per model, each of which computes one run at a time; `None` for as many as suit the model.
    pub sessions: Option<usize>,
    /// Bytes one body may have.
    pub max_body_bytes: usize,
    /// Bytes of all bodies that are being read or scored.
    pub max_waiting_bytes: usize,
    /// Rows one request may have.
    pub max_rows: usize,
    /// Arrays within arrays that one body may have.
    pub max_nesting: usize,
    /// Requests that are worked on at the same time.
    pub max_requests: usize,
    /// Rows that may wait for a session of one model.
    pub max_waiting_rows: usize,
    /// Rows of different requests that may share one run.
    pub max_batch_rows: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// How long a message or blob may take, waiting included.
    pub message_timeout: Duration,
    /// The same for a batch of messages.
    pub message_batch_timeout: Duration,
    /// Whether a message or blob that cannot be scored fails its invocation, instead of going to the output `rejected`.
    pub fail_invalid: bool,
    /// Where large blobs are.
    #[cfg_attr(not(feature = "blobs"), allow(dead_code, reason = "read and not used"))]
    pub(crate) blobs: BlobSettings,
    /// How long a request waits for models to load.
    pub load_timeout: Duration,
    /// How long to wait for a port that another process holds.
    pub bind_timeout: Duration,
    /// How long to go on serving after the signal to stop, while not ready.
    pub drain_delay: Duration,
    /// How long requests may take to finish after that.
    pub drain_timeout: Duration,
    /// The cache, and the store behind it.
    pub cache: CacheSettings,
    /// How long reading features by key may take.
    pub features_timeout: Duration,
    /// Connections that may be open.
    pub max_connections: usize,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long the sender of a body may pause.
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub send_timeout: Duration,
    /// Bytes that have to come or to be taken in a second.
    pub min_rate: u64,
    /// Whether browsers get the page where a model can be tried.
    pub page: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// From which time on a request, message or blob is logged as slow.
    pub log_slow: Duration,
    /// Which events are logged.
    pub log_filter: String,
    /// How traces are exported, if they are.
    pub traces: Option<TraceSettings>,
    /// What is probably a mistake but keeps nothing from working, for the log.
    pub remarks: Vec<String>,
}

/// What is wrong with settings. Each mistake names the variable, what it holds and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("setting {}", .0.join("\nsetting "))]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// Reads the settings from anything that knows values by name.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let names = table::all().flat_map(Setting::names);
        let set = names.filter_map(|name| Some((OsString::from(name), lookup(name)?.into())));
        Self::read(&set.collect())
    }

    /// Whether functions may be anonymous: callers send keys of this program's, or none are wanted.
    pub(crate) fn means_open(&self) -> bool {
        self.allow_anonymous || !self.api_keys.is_empty()
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn read(environment: &Environment) -> Result<Self, Mistakes> {
        let mut reader = Reader {
            environment,
            mistakes: Vec::new(),
        };
        let config = config(&mut reader);
        if reader.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(Mistakes(reader.mistakes))
        }
    }
}

fn config(reader: &mut Reader<'_>) -> Config {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (listen, hosted) = listen(reader);
    let app_root = reader.value(&table::APP_ROOT);
    let strangers = reader.environment.strangers();
    let mut remarks: Vec<String> = strangers
        .iter()
        .map(|name| format!("the variable {name}"))
        .collect();
    let api_keys = callers::read_keys(reader);
    let beyond = !hosted && !listen.ip().is_loopback();
    remarks.extend(callers::remarks(reader, &api_keys, hosted, beyond));
    Config {
        listen,
        hosted,
        envelopes: envelopes(reader, hosted),
        api_keys,
        allow_anonymous: reader.value(&table::ALLOW_ANONYMOUS),
        allowed_hosts: reader.value(&table::ALLOWED_HOSTS),
        cors_origins: reader.value(&table::CORS_ORIGINS),
        reveal: reader.value(&table::REVEAL),
        model_dir: app_root.join(reader.value(&table::MODEL_DIR)),
        default_model: reader.value(&table::DEFAULT_MODEL),
        versions: reader.value(&table::VERSIONS),
        reload: reload(reader),
        ready_when: reader.value(&table::READY),
        custom_ops: reader.value(&table::CUSTOM_OPS),
        runtime_library: reader
            .value(&table::RUNTIME_LIBRARY)
            .map(|path| app_root.join(path)),
        app_root,
        threads: reader.value(&table::THREADS).unwrap_or(cores),
        cores,
        sessions: reader.value(&table::SESSIONS),
        max_body_bytes: reader.value(&table::MAX_BODY_BYTES),
        max_waiting_bytes: reader.value(&table::MAX_WAITING_BYTES),
        max_rows: reader.value(&table::MAX_ROWS),
        max_nesting: reader.value(&table::MAX_NESTING),
        max_requests: reader.value(&table::MAX_REQUESTS),
        max_waiting_rows: reader.value(&table::MAX_WAITING_ROWS),
        max_batch_rows: reader.value(&table::MAX_BATCH_ROWS),
        timeout: reader.value(&table::TIMEOUT),
        message_timeout: reader.value(&table::MESSAGE_TIMEOUT),
        message_batch_timeout: reader.value(&table::MESSAGE_BATCH_TIMEOUT),
        fail_invalid: reader.value(&table::ON_INVALID) == OnInvalid::Fail,
        blobs: blobs::read(reader),
        load_timeout: reader.value(&table::LOAD_TIMEOUT),
        bind_timeout: reader.value(&table::BIND_TIMEOUT),
        drain_delay: drain_delay(reader, hosted),
        drain_timeout: reader.value(&table::DRAIN_TIMEOUT),
        cache: cache::read(reader),
        features_timeout: reader.value(&table::FEATURES_TIMEOUT),
        max_connections: max_connections(reader),
        header_timeout: reader.value(&table::HEADER_TIMEOUT),
        body_timeout: reader.value(&table::BODY_TIMEOUT),
        send_timeout: reader.value(&table::SEND_TIMEOUT),
        min_rate: reader.value(&table::MIN_RATE),
        page: reader.value(&table::PAGE),
        log_format: reader.value(&table::LOG),
        log_slow: reader.value(&table::LOG_SLOW),
        log_filter: log_filter(reader),
        traces: traces::read(reader.environment, &mut remarks),
        remarks,
    }
}

/// The usual directives, then the setting's: a later directive replaces an earlier one for the same target.
fn log_filter(reader: &mut Reader<'_>) -> String {
    format!("{USUAL_FILTER},{}", reader.value(&table::LOG_FILTER))
}

fn reload(reader: &mut Reader<'_>) -> Option<Duration> {
    let interval = reader.value(&table::RELOAD_INTERVAL);
    reader.value(&table::RELOAD).then_some(interval)
}

/// A host sends no more requests once it stops the program.
fn drain_delay(reader: &mut Reader<'_>, hosted: bool) -> Duration {
    let delay = reader.value(&table::DRAIN_DELAY).unwrap_or_default();
    if hosted { Duration::ZERO } else { delay }
}

/// A Functions host names the port, and connects to 127.0.0.1 and to no other address.
fn listen(reader: &mut Reader<'_>) -> (SocketAddr, bool) {
    let loopback = Ipv4Addr::LOCALHOST.into();
    if reader.is_set(&table::HOST_PORT) {
        let port = reader.value(&table::HOST_PORT).unwrap_or_default();
        return (SocketAddr::new(loopback, port), true);
    }
    let port = reader.value(&table::PORT);
    let address = reader.value(&table::BIND).unwrap_or(loopback);
    (SocketAddr::new(address, port), false)
}

/// Connections have to leave files for Redis, models and the log: without them nothing is accepted, and nothing is told.
fn max_connections(reader: &mut Reader<'_>) -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(now, _)| now);
    let most = usize::try_from(files).unwrap_or(usize::MAX);
    let most = most.saturating_sub(OTHER_FILES).max(1);
    match reader.value(&table::MAX_CONNECTIONS) {
        None => most.min(USUAL_CONNECTIONS),
        Some(wanted) if wanted <= most => wanted,
        Some(wanted) => {
            let name = table::MAX_CONNECTIONS.setting.name;
            reader.mistakes.push(format!(
                "{name}=\"{wanted}\": expected {most} or fewer, because the process may open {files} files; raise that limit \
                 (`ulimit -n`) or lower the setting"
            ));
            most
        }
    }
}

fn envelopes(reader: &mut Reader<'_>, hosted: bool) -> Envelopes {
    let wanted = reader.value(&table::ENVELOPES);
    match (hosted, wanted) {
        (true, _) if reader.is_set(&table::CORE_TOOLS) => Envelopes::AnyLength,
        (true, _) => Envelopes::Chunked,
        (false, true) => Envelopes::AnyLength,
        (false, false) => Envelopes::Refused,
    }
}
