//! Plays the Functions host for one handler: starts it, waits until it answers, watches, stops and restarts it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use regex::Regex;
use tokio::time::{sleep, timeout};

use super::app_folder::AppFolder;
use super::client::{Client, Failure, Request};
use super::host_config::HostConfig;
pub use super::host_options::{CORE_TOOLS, HostOptions, Mode};
use super::host_options::{environment, mode_of_test};
use super::in_process::{InProcess, Serve};
use super::process::{self, Launch, Level, Log, LogLine, Process};
use super::throttle::Throttle;
use super::{PATIENCE, http1, invoke, port, random};

/// Pause between two readiness probes.
const PROBE_PAUSE: Duration = Duration::from_millis(25);
/// How long the handler may take to its first answer.
const READY_LIMIT: Duration = PATIENCE;

/// What answers the host.
#[derive(Debug)]
enum Handler {
    Process(Mutex<Process>),
    InProcess(InProcess),
}

/// A host with its handler; dropping it kills the handler, and prints the log if the test has failed.
#[derive(Debug)]
pub struct FunctionsHost {
    config: HostConfig,
    mode: Mode,
    port: u16,
    launch: Launch,
    client: Arc<Client>,
    throttle: Throttle,
    key: Option<String>,
    has_telemetry: bool,
    is_core_tools: bool,
    handler: Handler,
    log: Log,
    startup_time: Mutex<Duration>,
    /// The folder has to outlive the process.
    _app: AppFolder,
}

impl FunctionsHost {
    /// Starts the handler and waits until it answers `GET /`.
    ///
    /// # Panics
    ///
    /// If it ends or does not answer within 30 s; its log is printed.
    pub async fn start(app: &AppFolder, options: impl Into<HostOptions>) -> Self {
        let host = Self::spawn(app, options);
        if let Err(error) = host.wait_ready(READY_LIMIT).await {
            panic!("{error}");
        }
        host
    }

    /// Starts the handler and does not wait.
    ///
    /// # Panics
    ///
    /// If the host would refuse the app, or the program cannot be started.
    pub fn spawn(app: &AppFolder, options: impl Into<HostOptions>) -> Self {
        Self::with(app, options.into(), |launch, log| {
            Handler::Process(Mutex::new(start(launch, log)))
        })
    }

    /// Starts the handler on a thread of this process, and waits until it answers `GET /`.
    ///
    /// It has no log, no process id and no exit status, and takes no signals.
    ///
    /// # Panics
    ///
    /// If the host would refuse the app, or the handler ends or does not answer within [`PATIENCE`].
    pub async fn start_in_process(
        app: &AppFolder,
        options: impl Into<HostOptions>,
        serve: Serve,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let options = options.into().port(address.port());
        let host = Self::with(app, options, |launch, _| {
            let environment: HashMap<_, _> = launch.environment.iter().cloned().collect();
            Handler::InProcess(InProcess::start(serve, environment, listener))
        });
        if let Err(error) = host.wait_ready(READY_LIMIT).await {
            panic!("{error}");
        }
        host
    }

    fn with(
        app: &AppFolder,
        mut options: HostOptions,
        start: impl FnOnce(&Launch, &Log) -> Handler,
    ) -> Self {
        if options.mode == Some(Mode::Envelope { chunked: false }) {
            options = options.core_tools();
        }
        let port = options.port.unwrap_or_else(port::free);
        let environment = environment(app, &options, port);
        let is_core_tools = environment.iter().any(|(name, _)| name == CORE_TOOLS.0);
        let config = HostConfig::read(app.path(), &environment.iter().cloned().collect());
        let mode = options.mode.or_else(mode_of_test);
        let mode = mode.unwrap_or(match (config.proxies, config.forwards) {
            (true, _) => Mode::Proxied,
            (false, true) => Mode::Forwarded,
            (false, false) => Mode::Envelope {
                chunked: !is_core_tools,
            },
        });
        let launch = launch(&config, environment, &options);
        let log = Log::default();
        Self {
            mode,
            port,
            handler: start(&launch, &log),
            client: Arc::new(Client::new(
                port,
                invoke::request_limit(config.function_timeout),
            )),
            throttle: Throttle::new(&config),
            key: options.key,
            has_telemetry: options.has_telemetry,
            is_core_tools,
            config,
            launch,
            log,
            startup_time: Mutex::default(),
            _app: app.clone(),
        }
    }

    /// Polls `GET /` until any answer comes; returns the time since the start of the process.
    ///
    /// # Errors
    ///
    /// If the handler ended or nothing answered within `limit`.
    pub async fn wait_ready(&self, limit: Duration) -> Result<Duration, String> {
        let head = http1::head("GET", "/", &[("Host", format!("127.0.0.1:{}", self.port))]);
        let probe = Request {
            head,
            body: Vec::new(),
        };
        let started = Instant::now();
        let polling = async {
            // only a socket error means not ready: the host takes even a broken answer for a sign of life
            while let Err(Failure::Connect(_)) = self.client.send(&probe).await {
                if let Some(end) = self.early_end() {
                    return Err(format!("the handler ended before it answered: {end}"));
                }
                sleep(PROBE_PAUSE).await;
            }
            Ok(self.started().unwrap_or(started).elapsed())
        };
        let ready = timeout(limit, polling).await;
        let time =
            ready.unwrap_or_else(|_| Err("initializing the handler timed out".to_owned()))?;
        *self
            .startup_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = time;
        Ok(time)
    }

    fn early_end(&self) -> Option<String> {
        match &self.handler {
            Handler::Process(_) => Some(self.exit_status()?.to_string()),
            Handler::InProcess(handler) => {
                (!handler.is_running()).then(|| "its thread says why".to_owned())
            }
        }
    }

    /// When its process was started, if it has one of its own.
    fn started(&self) -> Option<Instant> {
        match &self.handler {
            Handler::Process(_) => Some(self.process().started),
            Handler::InProcess(_) => None,
        }
    }

    /// Time from the last start of the process to its first answer to `GET /`.
    pub fn startup_time(&self) -> Duration {
        *self
            .startup_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The app's configuration as the host read it.
    pub fn config(&self) -> &HostConfig {
        &self.config
    }

    /// How HTTP requests travel.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The port the handler was told to listen on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the handler.
    pub fn pid(&self) -> i32 {
        self.process().pid()
    }

    /// The most memory the handler has had so far, in bytes.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn peak_memory(&self) -> usize {
        process::peak_memory(self.pid()).expect("the handler runs")
    }

    /// All lines the handler has written, over all its starts.
    ///
    /// # Panics
    ///
    /// If the handler runs in this process, where it has no log.
    pub fn logs(&self) -> Vec<LogLine> {
        let has_log = matches!(self.handler, Handler::Process(_));
        assert!(has_log, "the handler runs in this process and has no log");
        self.log.lines()
    }

    /// The lines that the host would show as errors.
    pub fn error_logs(&self) -> Vec<String> {
        let lines = self.logs().into_iter();
        lines
            .filter(|line| line.level == Level::Error)
            .map(|line| line.text)
            .collect()
    }

    /// Waits for a line that matches the regular expression `pattern`, also among those already written.
    ///
    /// # Panics
    ///
    /// If none comes within `limit`.
    pub async fn wait_for_log(&self, pattern: &str, limit: Duration) -> LogLine {
        let form = Regex::new(pattern).expect("a regular expression");
        let deadline = Instant::now() + limit;
        loop {
            if let Some(line) = self
                .logs()
                .into_iter()
                .find(|line| form.is_match(&line.text))
            {
                return line;
            }
            assert!(
                Instant::now() < deadline,
                "no log line matches {pattern:?} within {limit:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends the handler a signal.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// SIGKILL, as the host does when it stops; returns when the handler is gone.
    pub fn kill(&self) {
        self.process().kill();
        self.client.forget_connections();
    }

    /// Kills the handler's parent, as when the host itself crashes; needs [`HostOptions::with_parent`].
    pub fn crash(&self) {
        self.process().kill_parent();
    }

    /// Exit code or signal of the handler, if it has ended.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.process().exit_status()
    }

    /// Starts the handler on the same port and does not wait.
    pub fn start_again(&self) {
        self.client.forget_connections();
        *self.process() = start(&self.launch, &self.log);
    }

    /// Whether the handler runs.
    pub fn is_running(&self) -> bool {
        match &self.handler {
            Handler::Process(_) => self.process().is_running(),
            Handler::InProcess(handler) => handler.is_running(),
        }
    }

    /// Waits until the handler does not run any more, also after [`FunctionsHost::crash`]; `false` if it still does.
    pub async fn is_gone_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(2)).await;
        }
        true
    }

    /// Waits for the handler's end; all it wrote is in [`FunctionsHost::logs`] then.
    ///
    /// # Panics
    ///
    /// If it still runs after `limit`.
    pub async fn wait_exit(&self, limit: Duration) -> ExitStatus {
        assert!(
            self.is_gone_within(limit).await,
            "the handler still runs after {limit:?}"
        );
        let status = self
            .process()
            .exit_status()
            .expect("a child of this process that has ended");
        let deadline = Instant::now() + PATIENCE;
        while !self.process().has_read_all() && Instant::now() < deadline {
            sleep(Duration::from_millis(2)).await;
        }
        status
    }

    /// Ends the handler if it runs, and starts it again on the same port, as the host does after a crash.
    ///
    /// # Panics
    ///
    /// If it does not answer within 30 s.
    pub async fn restart(&self) {
        self.kill();
        self.start_again();
        if let Err(error) = self.wait_ready(READY_LIMIT).await {
            panic!("{error}");
        }
    }

    /// Prints all log lines to stderr.
    pub fn dump_logs(&self) {
        for line in self.log.lines() {
            eprintln!("[handler {:?}] {}", line.level, line.text);
        }
    }

    /// The client that the host sends its requests with, whose connections it keeps.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The client, for a task of its own.
    pub fn client_handle(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// How many HTTP requests may run and wait.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// What callers have to show.
    pub fn function_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether the host runs under the Core Tools.
    pub fn is_core_tools(&self) -> bool {
        self.is_core_tools
    }

    /// The `traceparent` of a new invocation.
    pub fn activity(&self) -> Option<String> {
        self.has_telemetry.then(random::traceparent)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        match &self.handler {
            Handler::Process(process) => process.lock().unwrap_or_else(PoisonError::into_inner),
            Handler::InProcess(_) => panic!("the handler has no process of its own"),
        }
    }
}

impl Drop for FunctionsHost {
    fn drop(&mut self) {
        // A handler in this process ends when its connections do.
        self.client.forget_connections();
        if std::thread::panicking() {
            self.dump_logs();
        }
    }
}

fn launch(
    config: &HostConfig,
    environment: Vec<(String, String)>,
    options: &HostOptions,
) -> Launch {
    let program = config.executable.to_string_lossy().into_owned();
    let directory = options.directory.as_ref();
    Launch {
        command: std::iter::once(program)
            .chain(config.arguments.iter().cloned())
            .collect(),
        environment,
        directory: directory.unwrap_or(&config.working_directory).clone(),
        has_parent: options.has_parent,
    }
}

fn start(launch: &Launch, log: &Log) -> Process {
    let mut launch = launch.clone();
    let worker_id = random::guid();
    for (name, value) in &mut launch.environment {
        if name == "FUNCTIONS_CUSTOMHANDLER_WORKER_ID" || name == "FUNCTIONS_HTTPWORKER_ID" {
            value.clone_from(&worker_id);
        }
    }
    Process::start(&launch, log)
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", launch.command[0]))
}
