//! A server whose clock jumps.

use std::io::Write as _;
use std::path::Path;

use futures_util::future::{FutureExt, LocalBoxFuture};
use tempfile::NamedTempFile;

use super::fault::Effect::Misses;
use super::fault::{Backend, Fault};
use super::pair::tell;
use crate::support::redis::{RedisOptions, RedisServer};
use functions_host::host::HostOptions;

/// Debian's places for it, by machine.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// A server that takes the time from a file.
#[derive(Debug)]
pub(crate) struct Clocked {
    server: RedisServer,
    offset: NamedTempFile,
}

impl Clocked {
    /// Starts it at the right time.
    ///
    /// # Panics
    ///
    /// If libfaketime is missing.
    pub(crate) async fn start() -> Self {
        let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
        let library =
            library.expect("no libfaketime: run `make test` or `apt-get install faketime`");
        let offset = NamedTempFile::new().expect("a temporary file");
        let options = RedisOptions::default()
            // libfaketime allocates while it tells the time, and jemalloc asks for the time while it allocates: with
            // libc before jemalloc, the server uses libc's allocator.
            .variable("LD_PRELOAD", format!("{library}:libc.so.6"))
            .variable("FAKETIME_TIMESTAMP_FILE", offset.path().to_string_lossy())
            .variable("FAKETIME_NO_CACHE", "1")
            // Only the time of day jumps: that is what happens to machines.
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        set(&offset, "+0");
        let server = RedisServer::start_with(options).await;
        Self { server, offset }
    }
}

impl Backend for Clocked {
    fn settings(&self) -> HostOptions {
        HostOptions::default().setting("REDIS_URL", self.server.url())
    }

    fn prepare(&self) -> LocalBoxFuture<'_, ()> {
        tell(&self.server, "FLUSHALL").boxed_local()
    }
}

/// All of them. Entries live for a day, give or take a tenth.
pub(crate) fn list() -> Vec<Fault<Clocked>> {
    vec![Fault::new(
        "clock a day ahead, then back",
        Misses,
        |clocked| async move { set(&clocked.offset, "+27h") }.boxed_local(),
        |clocked| async move { set(&clocked.offset, "+0") }.boxed_local(),
    )]
}

fn set(offset: &NamedTempFile, text: &str) {
    // In place and in one go: the server may read it at any time.
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(offset.path())
        .expect("a temporary file");
    file.write_all(format!("{text:<8}\n").as_bytes())
        .expect("a temporary file can be written");
}
