//! All settings: environment variables, which is what app settings of a function app become. Read once, here.

mod traces;

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use redis_store::RedisConfig;
use score::{CachePolicy, Namespace, NamespaceError, SettingNames};

pub use traces::TraceSettings;

use crate::entra::{EntraCredentials, Identity};

/// The settings that errors of `score` name.
pub(crate) const SETTING_NAMES: SettingNames = SettingNames {
    library: "ORT_DYLIB_PATH",
    custom_ops: "SCORE_CUSTOM_OPS=on",
};

/// One setting as the documentation lists it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// Its default, in words where there is no value.
    pub default: &'static str,
}

/// Libraries that are silent unless `SCORE_LOG_FILTER` names them: ONNX Runtime repeats what is reported with the request,
/// fred and Azure's libraries repeat what the cache reports, and others tell each step of a connection.
const SILENT: &str =
    "ort=off,fred=off,azure=off,typespec=off,hyper_util=off,reqwest=off,rustls=off,h2=off";
const AT_LEAST_ONE: &str = "a whole number, 1 or more";
/// Longer times are slips, and would overflow the clock.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Every setting this program reads, with the default it has. The table in docs/settings.md is checked against it.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "SCORE_MODEL_DIR",
        default: "models",
    },
    Setting {
        name: "AZUREML_MODEL_DIR",
        default: "none",
    },
    Setting {
        name: "SCORE_DEFAULT_MODEL",
        default: "the only model",
    },
    Setting {
        name: "SCORE_CUSTOM_OPS",
        default: "off",
    },
    Setting {
        name: "SCORE_PORT",
        default: "7071",
    },
    Setting {
        name: "SCORE_BIND",
        default: "127.0.0.1",
    },
    Setting {
        name: "SCORE_ENVELOPES",
        default: "off",
    },
    Setting {
        name: "ORT_DYLIB_PATH",
        default: "beside the program",
    },
    Setting {
        name: "SCORE_THREADS",
        default: "number of cores",
    },
    Setting {
        name: "SCORE_SESSIONS",
        default: "by size",
    },
    Setting {
        name: "SCORE_MAX_BODY_BYTES",
        default: "33554432",
    },
    Setting {
        name: "SCORE_MAX_WAITING_BYTES",
        default: "268435456",
    },
    Setting {
        name: "SCORE_MAX_ROWS",
        default: "10000",
    },
    Setting {
        name: "SCORE_MAX_NESTING",
        default: "16",
    },
    Setting {
        name: "SCORE_MAX_REQUESTS",
        default: "512",
    },
    Setting {
        name: "SCORE_MAX_WAITING_ROWS",
        default: "20000",
    },
    Setting {
        name: "SCORE_MAX_BATCH_ROWS",
        default: "64",
    },
    Setting {
        name: "SCORE_TIMEOUT",
        default: "60s",
    },
    Setting {
        name: "SCORE_MESSAGE_TIMEOUT",
        default: "4m",
    },
    Setting {
        name: "SCORE_MESSAGE_BATCH_TIMEOUT",
        default: "45s",
    },
    Setting {
        name: "SCORE_ON_INVALID",
        default: "reject",
    },
    Setting {
        name: "SCORE_LOAD_TIMEOUT",
        default: "30s",
    },
    Setting {
        name: "SCORE_BIND_TIMEOUT",
        default: "5s",
    },
    Setting {
        name: "SCORE_DRAIN_TIMEOUT",
        default: "800ms",
    },
    Setting {
        name: "SCORE_CACHE_POLICY",
        default: "always",
    },
    Setting {
        name: "SCORE_CACHE_TTL",
        default: "24h",
    },
    Setting {
        name: "SCORE_CACHE_NAMESPACE",
        default: "score",
    },
    Setting {
        name: "SCORE_L1_BYTES",
        default: "67108864",
    },
    Setting {
        name: "REDIS_URL",
        default: "none",
    },
    Setting {
        name: "REDIS_CONNECTION_STRING",
        default: "none",
    },
    Setting {
        name: "REDIS_AUTH",
        default: "key",
    },
    Setting {
        name: "AZURE_CLIENT_ID",
        default: "none",
    },
    Setting {
        name: "REDIS_TIMEOUT",
        default: "50ms",
    },
    Setting {
        name: "SCORE_FEATURES_TIMEOUT",
        default: "2s",
    },
    Setting {
        name: "REDIS_CA_FILE",
        default: "the system's certificates",
    },
    Setting {
        name: "SCORE_PAGE",
        default: "on",
    },
    Setting {
        name: "SCORE_LOG",
        default: "text",
    },
    Setting {
        name: "SCORE_LOG_SLOW",
        default: "1s",
    },
    Setting {
        name: "SCORE_LOG_FILTER",
        default: "info",
    },
    Setting {
        name: "OTEL_EXPORTER_OTLP_ENDPOINT",
        default: "none",
    },
];

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
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
    /// The folder of host.json, function folders and models.
    pub app_root: PathBuf,
    /// The folder of model folders.
    pub model_dir: PathBuf,
    /// The model that answers when none is named.
    pub default_model: Option<String>,
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
    /// Requests that may be in work at once.
    pub max_requests: usize,
    /// Rows that may wait for one model.
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
    /// How long a request waits for models to load.
    pub load_timeout: Duration,
    /// How long to wait for a taken port.
    pub bind_timeout: Duration,
    /// How long requests in work may take to end after the signal to stop.
    pub drain_timeout: Duration,
    /// When remembered results are looked up.
    pub cache: CachePolicy,
    /// How long Redis keeps a result; `None` for ever.
    pub cache_ttl: Option<Duration>,
    /// The first part of every key in Redis.
    pub cache_namespace: Namespace,
    /// Room for results in this process.
    pub l1_bytes: u64,
    /// The shared store.
    pub redis: Option<RedisConfig>,
    /// What was assumed about the connection string, for the log.
    pub redis_remarks: Vec<String>,
    /// How long one look-up in Redis may take.
    pub redis_timeout: Duration,
    /// How long reading features by key may take.
    pub features_timeout: Duration,
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
    /// What was ignored about traces, for the log.
    pub trace_remarks: Vec<String>,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// All mistakes at once, each naming the variable, what it holds and what was expected.
    pub fn from_env() -> Result<Self, Vec<String>> {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads it")]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads settings from anything that knows values by name. An empty value counts as not set.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut reader = Reader {
            lookup: &|name| lookup(name).filter(|value| !value.trim().is_empty()),
            mistakes: Vec::new(),
        };
        let config = reader.config();
        if reader.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(reader.mistakes)
        }
    }
}

struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    fn config(&mut self) -> Config {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (listen, hosted) = self.listen();
        let app_root = PathBuf::from(self.text("FUNCTIONS_APP_ROOT_PATH").unwrap_or(".".into()));
        let (redis, redis_remarks) = self.redis();
        let mut trace_remarks = Vec::new();
        Config {
            listen,
            hosted,
            envelopes: self.envelopes(hosted),
            model_dir: app_root.join(self.model_dir()),
            default_model: self.text("SCORE_DEFAULT_MODEL"),
            custom_ops: self.choice("SCORE_CUSTOM_OPS", &[("off", false), ("on", true)]),
            runtime_library: self.text("ORT_DYLIB_PATH").map(|path| app_root.join(path)),
            app_root,
            threads: self.at_least_one_or("SCORE_THREADS", cores),
            cores,
            sessions: self
                .text("SCORE_SESSIONS")
                .map(|_| self.at_least_one("SCORE_SESSIONS")),
            max_body_bytes: self.at_least_one("SCORE_MAX_BODY_BYTES"),
            max_waiting_bytes: self.at_least_one("SCORE_MAX_WAITING_BYTES"),
            max_rows: self.at_least_one("SCORE_MAX_ROWS"),
            max_nesting: self.at_least_one("SCORE_MAX_NESTING"),
            max_requests: self.at_least_one("SCORE_MAX_REQUESTS"),
            max_waiting_rows: self.at_least_one("SCORE_MAX_WAITING_ROWS"),
            max_batch_rows: self.at_least_one("SCORE_MAX_BATCH_ROWS"),
            timeout: self.duration("SCORE_TIMEOUT"),
            message_timeout: self.duration("SCORE_MESSAGE_TIMEOUT"),
            message_batch_timeout: self.duration("SCORE_MESSAGE_BATCH_TIMEOUT"),
            fail_invalid: self.choice("SCORE_ON_INVALID", &[("reject", false), ("fail", true)]),
            load_timeout: self.duration("SCORE_LOAD_TIMEOUT"),
            bind_timeout: self.duration("SCORE_BIND_TIMEOUT"),
            drain_timeout: self.duration("SCORE_DRAIN_TIMEOUT"),
            cache: self.choice(
                "SCORE_CACHE_POLICY",
                &[
                    ("always", CachePolicy::Always),
                    ("auto", CachePolicy::Auto),
                    ("off", CachePolicy::Off),
                ],
            ),
            cache_ttl: self.cache_ttl(),
            cache_namespace: self.cache_namespace(),
            l1_bytes: self.number("SCORE_L1_BYTES", "a number of bytes"),
            redis,
            redis_remarks,
            redis_timeout: self.duration("REDIS_TIMEOUT"),
            features_timeout: self.duration("SCORE_FEATURES_TIMEOUT"),
            page: self.choice("SCORE_PAGE", &[("on", true), ("off", false)]),
            log_format: self.choice(
                "SCORE_LOG",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
            log_slow: self.duration("SCORE_LOG_SLOW"),
            log_filter: self.log_filter(),
            traces: traces::read(self.lookup, &mut trace_remarks),
            trace_remarks,
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
    }

    fn wrong(&mut self, name: &str, value: &str, expected: &str) {
        self.mistakes
            .push(format!("{name}={value:?}: expected {expected}"));
    }

    /// The value, or the default of [`SETTINGS`].
    fn with_default(&self, name: &str) -> String {
        let default = || SETTINGS.iter().find(|setting| setting.name == name);
        let value = self
            .text(name)
            .or_else(|| Some(default()?.default.to_owned()));
        value.unwrap_or_default().trim().to_owned()
    }

    fn number<T: FromStr + Default>(&mut self, name: &str, expected: &str) -> T {
        let value = self.with_default(name);
        value.parse().unwrap_or_else(|_| {
            self.wrong(name, &value, expected);
            T::default()
        })
    }

    fn at_least_one(&mut self, name: &str) -> usize {
        let number: usize = self.number(name, AT_LEAST_ONE);
        if self.with_default(name).parse() == Ok(0) {
            self.wrong(name, "0", AT_LEAST_ONE);
        }
        number
    }

    fn at_least_one_or(&mut self, name: &str, default: usize) -> usize {
        match self.text(name) {
            Some(_) => self.at_least_one(name),
            None => default,
        }
    }

    fn duration(&mut self, name: &str) -> Duration {
        let value = self.with_default(name);
        match humantime::parse_duration(&value) {
            Ok(duration) if !duration.is_zero() && duration <= MAX_DURATION => duration,
            _ => {
                self.wrong(
                    name,
                    &value,
                    "a time with its unit, such as 50ms, 30s or 24h",
                );
                Duration::ZERO
            }
        }
    }

    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let wanted = self.with_default(name).to_ascii_lowercase();
        match choices.iter().find(|(word, _)| *word == wanted) {
            Some((_, choice)) => *choice,
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                self.wrong(name, &wanted, &words.join(" or "));
                choices[0].1
            }
        }
    }

    fn cache_ttl(&mut self) -> Option<Duration> {
        const NAME: &str = "SCORE_CACHE_TTL";
        (self.with_default(NAME) != "0").then(|| self.duration(NAME))
    }

    fn cache_namespace(&mut self) -> Namespace {
        const NAME: &str = "SCORE_CACHE_NAMESPACE";
        let value = self.with_default(NAME);
        value.parse().unwrap_or_else(|error: NamespaceError| {
            self.wrong(NAME, &value, &error.to_string());
            Namespace::default()
        })
    }

    fn log_filter(&mut self) -> String {
        const NAME: &str = "SCORE_LOG_FILTER";
        let value = self.with_default(NAME);
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&value) {
            let expected = format!("filter directives such as info or score=debug ({error})");
            self.wrong(NAME, &value, &expected);
        }
        // A later directive replaces an earlier one for the same target.
        format!("{SILENT},{value}")
    }

    fn model_dir(&self) -> String {
        let own = self.text("SCORE_MODEL_DIR");
        own.or_else(|| self.text("AZUREML_MODEL_DIR"))
            .unwrap_or_else(|| self.with_default("SCORE_MODEL_DIR"))
    }

    /// The host names the port; the second name is what older hosts use. It connects to 127.0.0.1 and nowhere else.
    fn listen(&mut self) -> (SocketAddr, bool) {
        for name in ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"] {
            if self.text(name).is_some() {
                let port = self.number(name, "a port number");
                return (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), true);
            }
        }
        let port = self.number("SCORE_PORT", "a port number");
        let address = self.with_default("SCORE_BIND");
        let address = address.parse().unwrap_or_else(|_| {
            self.wrong("SCORE_BIND", &address, "an IP address");
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        });
        (SocketAddr::new(address, port), false)
    }

    fn envelopes(&mut self, hosted: bool) -> Envelopes {
        let wanted = self.choice("SCORE_ENVELOPES", &[("off", false), ("on", true)]);
        match (hosted, wanted) {
            (true, _) if self.text("FUNCTIONS_CORETOOLS_ENVIRONMENT").is_some() => {
                Envelopes::AnyLength
            }
            (true, _) => Envelopes::Chunked,
            (false, true) => Envelopes::AnyLength,
            (false, false) => Envelopes::Refused,
        }
    }

    fn redis(&mut self) -> (Option<RedisConfig>, Vec<String>) {
        let url = self.text("REDIS_URL");
        let connection_string = self.text("REDIS_CONNECTION_STRING");
        let entra = self.choice("REDIS_AUTH", &[("key", false), ("entra", true)]);
        let parsed = match (&url, &connection_string) {
            (None, None) => {
                if entra {
                    self.mistakes.push(
                        "REDIS_AUTH=entra: expected REDIS_URL too, such as rediss://<host>:10000"
                            .into(),
                    );
                }
                return (None, Vec::new());
            }
            (Some(_), Some(_)) => {
                self.mistakes.push(
                    "REDIS_URL and REDIS_CONNECTION_STRING: set one of them, not both".into(),
                );
                return (None, Vec::new());
            }
            (Some(url), None) => named(
                "REDIS_URL",
                RedisConfig::from_url(url.trim()).map(|c| (c, Vec::new())),
            ),
            (None, Some(text)) => named(
                "REDIS_CONNECTION_STRING",
                RedisConfig::from_connection_string(text),
            ),
        };
        match parsed {
            Ok((mut config, remarks)) => {
                config.ca_file = self.text("REDIS_CA_FILE").map(PathBuf::from);
                if entra {
                    self.use_entra(&mut config);
                }
                (Some(config), remarks)
            }
            Err(mistake) => {
                // Without the value: it may hold a key.
                self.mistakes.push(mistake);
                (None, Vec::new())
            }
        }
    }

    fn use_entra(&mut self, config: &mut RedisConfig) {
        if config.username.is_some() || config.password.is_some() {
            let mistake = "REDIS_AUTH=entra: expected an address without user and password, for which the identity and \
                           its token stand";
            self.mistakes.push(mistake.into());
        }
        // A token is a key to every cache the identity may use, so it never crosses a network in the clear. Within the
        // machine there is no network, and tests can do without certificates.
        if config.tls.is_none() && !config.hosts.iter().all(|(host, _)| is_loopback(host)) {
            let mistake = "REDIS_AUTH=entra: expected TLS, that is rediss:// or ssl=True";
            self.mistakes.push(mistake.into());
        }
        // What the platform sets where an app has a managed identity.
        let managed = ["IDENTITY_ENDPOINT", "IDENTITY_HEADER"];
        let identity = match managed.iter().all(|name| self.text(name).is_some()) {
            true => Identity::Managed {
                client_id: self.text("AZURE_CLIENT_ID"),
            },
            false => Identity::Developer,
        };
        config.credentials = Some(Arc::new(EntraCredentials::new(identity)));
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

fn named<T, E: Display>(name: &str, outcome: Result<T, E>) -> Result<T, String> {
    outcome.map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tracing::Level;
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        Config::from_lookup(|name| {
            let found = settings.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_settings_it_listens_on_loopback_7071_without_redis() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:7071");
        assert!(!config.hosted && config.redis.is_none());
        assert_eq!(config.model_dir, Path::new("./models"));
    }

    #[test]
    fn the_hosts_port_wins_and_stays_on_loopback() {
        for name in ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"] {
            let config = read(&[(name, "4711"), ("SCORE_BIND", "0.0.0.0")]).unwrap();
            assert_eq!(config.listen.to_string(), "127.0.0.1:4711");
            assert!(config.hosted);
        }
    }

    #[test]
    fn envelopes_come_from_a_host_or_by_a_setting() {
        let host = ("FUNCTIONS_CUSTOMHANDLER_PORT", "4711");
        let tools = ("FUNCTIONS_CORETOOLS_ENVIRONMENT", "true");
        let on = ("SCORE_ENVELOPES", "on");
        for (settings, expected) in [
            (&[][..], Envelopes::Refused),
            (&[tools], Envelopes::Refused),
            (&[on], Envelopes::AnyLength),
            (&[host], Envelopes::Chunked),
            // It relaxes nothing under a host.
            (&[host, on], Envelopes::Chunked),
            (&[host, tools], Envelopes::AnyLength),
        ] {
            assert_eq!(read(settings).unwrap().envelopes, expected, "{settings:?}");
        }
    }

    #[test]
    fn empty_values_count_as_not_set() {
        assert!(read(&[("REDIS_URL", ""), ("SCORE_TIMEOUT", " ")]).is_ok());
    }

    #[test]
    fn reports_every_mistake_at_once_and_no_secret() {
        let mistakes = read(&[
            ("SCORE_PORT", "web"),
            ("SCORE_MAX_ROWS", "0"),
            ("REDIS_TIMEOUT", "50"),
            ("SCORE_CACHE_POLICY", "sometimes"),
            ("REDIS_URL", "amqp://:hunter2@h"),
            ("SCORE_LOG_FILTER", "a=b=c"),
            ("SCORE_CACHE_NAMESPACE", "eu:west"),
        ])
        .unwrap_err();
        assert_eq!(mistakes.len(), 7, "{mistakes:#?}");
        let all = mistakes.join("\n");
        assert!(all.contains(r#"REDIS_TIMEOUT="50": expected a time with its unit"#));
        assert!(all.contains("always or auto or off"));
        assert!(all.contains(r#"SCORE_CACHE_NAMESPACE="eu:west": expected 1 to 64 characters"#));
        assert!(!all.contains("hunter2"));
    }

    #[test]
    fn entra_needs_an_address_with_tls_and_without_a_password() {
        let with = |url: &str| {
            let settings = [("REDIS_AUTH", "entra"), ("REDIS_URL", url)];
            read(&settings).map(|config| config.redis.unwrap().describe())
        };
        for (url, expected) in [
            ("", "expected REDIS_URL"),
            ("rediss://:hunter2@h", "without user and password"),
            ("rediss://me@h", "without user and password"),
            ("redis://h", "expected TLS"),
            ("redis-cluster://127.0.0.1,h", "expected TLS"),
        ] {
            let mistakes = with(url).unwrap_err();
            assert!(mistakes[0].contains(expected), "{mistakes:?}");
            assert!(mistakes.len() == 1 && !mistakes[0].contains("hunter2"));
        }
        for url in ["rediss://h", "redis://[::1]:7000", "redis://localhost"] {
            assert!(with(url).unwrap().contains("Entra ID"), "{url}");
        }
        let wrong = read(&[("REDIS_AUTH", "ntlm"), ("REDIS_URL", "redis://h")]);
        assert!(wrong.unwrap_err()[0].contains("key or entra"));
    }

    #[test]
    fn libraries_are_silent_unless_the_filter_names_them() {
        let heard = |filter: &str| {
            let config = read(&[("SCORE_LOG_FILTER", filter)]).unwrap();
            let filter = EnvFilter::new(&config.log_filter);
            let registry = tracing_subscriber::registry().with(filter);
            tracing::subscriber::with_default(registry, || {
                let library = tracing::enabled!(target: "fred::router", Level::WARN);
                let own = tracing::enabled!(target: "handler::scoring", Level::DEBUG);
                (library, own)
            })
        };
        assert_eq!(heard(""), (false, false));
        assert_eq!(heard("debug"), (false, true));
        assert_eq!(heard("debug,fred=warn"), (true, true));
    }

    #[test]
    fn a_ttl_of_0_means_for_ever() {
        assert_eq!(read(&[("SCORE_CACHE_TTL", "0")]).unwrap().cache_ttl, None);
    }

    #[test]
    fn paths_are_resolved_against_the_app_root() {
        let config = read(&[
            ("FUNCTIONS_APP_ROOT_PATH", "/app"),
            ("SCORE_MODEL_DIR", "m"),
        ])
        .unwrap();
        assert_eq!(config.model_dir, Path::new("/app/m"));
    }
}
