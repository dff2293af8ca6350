//! A private `redis-server` on a free loopback port, without persistence.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::certificates::Certificates;
use super::resp::{self, RespValue};
use functions_host::PATIENCE;
use functions_host::port;

/// How the server is set up.
#[derive(Clone, Debug, Default)]
pub(crate) struct RedisOptions {
    password: Option<String>,
    tls_names: Option<Vec<String>>,
    certificates: Option<Certificates>,
    has_expired_certificate: bool,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl RedisOptions {
    /// Clients must authenticate.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Also listens with TLS, with a certificate for localhost and 127.0.0.1; [`RedisServer::url`] is that one then.
    pub(crate) fn tls(self) -> Self {
        self.tls_for(&["localhost", "127.0.0.1"])
    }

    /// The same with a certificate for other names.
    pub(crate) fn tls_for(mut self, names: &[&str]) -> Self {
        self.tls_names = Some(names.iter().map(ToString::to_string).collect());
        self
    }

    /// The same with files that others have too.
    pub(crate) fn tls_with(mut self, certificates: &Certificates) -> Self {
        self.certificates = Some(certificates.clone());
        self
    }

    /// The same with a certificate whose time is over.
    pub(crate) fn expired_tls(mut self) -> Self {
        self.has_expired_certificate = true;
        self.tls()
    }

    /// Keeps no more than this; what happens then is up to `policy`, `noeviction` or `allkeys-lru`.
    pub(crate) fn max_memory(self, bytes: u64, policy: &str) -> Self {
        self.argument("--maxmemory", &bytes.to_string())
            .argument("--maxmemory-policy", policy)
    }

    /// There is an ACL user with all rights beside the default one.
    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        let rights = ["on", &format!(">{password}"), "~*", "+@all"].map(str::to_owned);
        self.arguments
            .extend(["--user".to_owned(), name.to_owned()]);
        self.arguments.extend(rights);
        self
    }

    /// A variable of the server's environment.
    pub(crate) fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Any other setting, `--maxclients` and its value.
    pub(crate) fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    options: RedisOptions,
    port: u16,
    tls: Option<(u16, Certificates)>,
    folder: TempDir,
    child: Mutex<Option<Child>>,
}

impl RedisServer {
    /// Starts a plain server without a password.
    ///
    /// # Panics
    ///
    /// If `redis-server` is missing or does not start.
    pub(crate) async fn start() -> Self {
        Self::start_with(RedisOptions::default()).await
    }

    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If `redis-server` is missing or does not start.
    pub(crate) async fn start_with(options: RedisOptions) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("redis-")
            .tempdir()
            .expect("a temporary folder");
        let own_certificates = options.tls_names.as_ref().map(|names| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Certificates::create(folder.path(), &names, options.has_expired_certificate)
        });
        let certificates = own_certificates.or_else(|| options.certificates.clone());
        let tls = certificates.map(|certificates| (port::free(), certificates));
        let server = Self {
            options,
            port: port::free(),
            tls,
            folder,
            child: Mutex::default(),
        };
        server.launch().await;
        server
    }

    /// Address for clients with the password, if any: `redis://` or, with TLS, `rediss://localhost`.
    pub(crate) fn url(&self) -> String {
        let password = self.options.password.as_ref();
        let user = password
            .map(|password| format!(":{password}@"))
            .unwrap_or_default();
        match &self.tls {
            Some((port, _)) => format!("rediss://{user}localhost:{port}"),
            None => format!("redis://{user}127.0.0.1:{}", self.port),
        }
    }

    /// The plain port, which is there with TLS too.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The port with TLS.
    ///
    /// # Panics
    ///
    /// If the server has none.
    pub(crate) fn tls_port(&self) -> u16 {
        self.tls.as_ref().expect("started with TLS").0
    }

    /// The authority that signed the server's certificate.
    ///
    /// # Panics
    ///
    /// If the server has no TLS.
    pub(crate) fn ca_file(&self) -> &Path {
        &self.certificates().ca
    }

    /// An authority that did not sign it.
    ///
    /// # Panics
    ///
    /// If the server has no TLS.
    pub(crate) fn other_ca_file(&self) -> &Path {
        &self.certificates().other_ca
    }

    /// A certificate for the server's key and names that [`RedisServer::other_ca_file`] signed.
    ///
    /// # Panics
    ///
    /// If the server has no TLS.
    pub(crate) fn other_certificate(&self) -> &Path {
        &self.certificates().other_certificate
    }

    /// The server's own certificate.
    ///
    /// # Panics
    ///
    /// If the server has no TLS.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificates().certificate
    }

    /// Runs one command on the plain port, authenticated if need be.
    ///
    /// # Panics
    ///
    /// If the server does not answer within 10 s.
    pub(crate) async fn command(&self, arguments: &[&[u8]]) -> RespValue {
        let reply = timeout(PATIENCE, self.try_command(arguments)).await;
        reply
            .expect("redis-server does not answer")
            .expect("redis-server is there")
    }

    /// Number of keys.
    pub(crate) async fn key_count(&self) -> i64 {
        self.command(&[b"DBSIZE"]).await.integer()
    }

    /// All keys that match the pattern, sorted.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<Vec<u8>> {
        let reply = self.command(&[b"KEYS", pattern.as_bytes()]).await;
        let mut keys: Vec<Vec<u8>> = reply
            .elements()
            .iter()
            .filter_map(|key| Some(key.bytes()?.to_vec()))
            .collect();
        keys.sort();
        keys
    }

    /// Waits until the server holds at least `count` keys; returns how many there are.
    ///
    /// # Panics
    ///
    /// If it does not within `limit`.
    pub(crate) async fn wait_for_keys(&self, count: i64, limit: Duration) -> i64 {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.key_count().await;
            if found >= count {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{found} of {count} keys after {limit:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A number from `INFO`, such as `total_commands_processed`.
    ///
    /// # Panics
    ///
    /// If there is no such number.
    pub(crate) async fn info(&self, name: &str) -> i64 {
        let text = self.command(&[b"INFO", b"everything"]).await.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = value.and_then(|value| value.trim().parse().ok());
        number.unwrap_or_else(|| panic!("INFO has no number {name}"))
    }

    /// SIGKILL; connections end and new ones are refused.
    pub(crate) fn stop(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it if it runs and starts it again, empty, on the same ports.
    pub(crate) async fn restart(&self) {
        self.stop();
        self.launch().await;
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT: goes on with what has piled up.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn certificates(&self) -> &Certificates {
        &self.tls.as_ref().expect("started with TLS").1
    }

    async fn try_command(&self, arguments: &[&[u8]]) -> std::io::Result<RespValue> {
        let mut replies = match &self.options.password {
            Some(password) => {
                resp::pipeline(self.port, &[&[b"AUTH", password.as_bytes()], arguments]).await?
            }
            None => resp::pipeline(self.port, &[arguments]).await?,
        };
        Ok(replies.pop().expect("one reply per command"))
    }

    async fn launch(&self) {
        let child = self
            .program()
            .spawn()
            .unwrap_or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => {
                    panic!(
                        "redis-server not found: run `make test` or `apt-get install redis-server`"
                    )
                }
                _ => panic!("redis-server: {error}"),
            });
        *self.child() = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !matches!(self.try_command(&[b"PING"]).await, Ok(RespValue::Simple(_))) {
            self.assert_running();
            assert!(Instant::now() < deadline, "redis-server does not answer");
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn program(&self) -> Command {
        let mut command = Command::new("redis-server");
        let port = self.port.to_string();
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command
            .arg("--dir")
            .arg(self.folder.path())
            .args(["--logfile", "log"]);
        if let Some((port, files)) = &self.tls {
            command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
            command.arg("--tls-cert-file").arg(&files.certificate);
            command.arg("--tls-key-file").arg(&files.key);
            command.arg("--tls-ca-cert-file").arg(&files.ca);
        }
        if let Some(password) = &self.options.password {
            command.args(["--requirepass", password]);
        }
        command.args(&self.options.arguments);
        command
            .envs(self.options.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn assert_running(&self) {
        let ended = self
            .child()
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten());
        if let Some(status) = ended {
            let said = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("redis-server ended, {status}: {said}");
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = self.child().as_ref() {
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
