//! Azurite: one service of a storage account, in memory.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::port;
use super::python::installed;

const START_LIMIT: Duration = Duration::from_secs(60);

/// One service; killed when dropped.
#[derive(Debug)]
pub struct Azurite {
    port: u16,
    process: Child,
}

impl Azurite {
    /// Starts the service `blob` or `queue` and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it is not installed or does not start.
    pub fn start(service: &str) -> Self {
        Self::start_with(service, &[])
    }

    /// The same with TLS, and tokens of Microsoft Entra ID beside the account's key. Azurite looks at their time, audience and
    /// issuer, and not at their signature.
    ///
    /// # Panics
    ///
    /// As [`Azurite::start`].
    pub fn start_secured(service: &str, certificate: &Path, key: &Path) -> Self {
        let [certificate, key] =
            [certificate, key].map(|path| path.to_str().expect("a path in UTF-8"));
        Self::start_with(
            service,
            &["--oauth", "basic", "--cert", certificate, "--key", key],
        )
    }

    fn start_with(service: &str, options: &[&str]) -> Self {
        let port = port::free();
        let program = format!("node_modules/azurite/dist/src/{service}/main.js");
        let process = Command::new("node")
            .arg(installed("azurite").join(program))
            .args([&format!("--{service}Port"), &port.to_string()])
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
            .arg("--inMemoryPersistence")
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}"));
        let service = Self { port, process };
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "Azurite does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        service
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
