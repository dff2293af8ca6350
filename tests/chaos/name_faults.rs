//! A host name that vanishes or comes to mean another machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::{FutureExt, LocalBoxFuture};
use tempfile::NamedTempFile;

use super::fault::Effect::Outage;
use super::fault::{Backend, Fault};
use super::pair::tell;
use crate::support::fault_proxy::FaultProxy;
use crate::support::redis::RedisServer;
use functions_host::host::HostOptions;

/// A name that exists nowhere else.
const NAME: &str = "cache.test";
/// Debian's places for it, by machine.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so",
    "/usr/lib/aarch64-linux-gnu/libnss_wrapper.so",
];

/// A server behind two addresses, and the handler's own list of host names.
#[derive(Debug)]
pub(crate) struct Named {
    server: RedisServer,
    here: FaultProxy,
    there: FaultProxy,
    hosts: NamedTempFile,
    edits: AtomicU64,
}

impl Named {
    /// Starts it with the name standing for the first address.
    pub(crate) async fn start() -> Self {
        let server = RedisServer::start().await;
        let here = FaultProxy::start(server.port());
        let elsewhere = (Ipv4Addr::new(127, 0, 0, 2), here.port());
        let there = FaultProxy::start_on(elsewhere.into(), server.port());
        let named = Self {
            hosts: NamedTempFile::new().expect("a temporary file"),
            edits: AtomicU64::new(0),
            server,
            here,
            there,
        };
        named.resolve_to(Some(named.here.ip()));
        named
    }

    /// What the name stands for from now on.
    fn resolve_to(&self, address: Option<IpAddr>) {
        let lines = match address {
            Some(address) => format!("{address} {NAME}\n"),
            None => "127.0.0.1 localhost\n".to_owned(),
        };
        std::fs::write(self.hosts.path(), lines).expect("a temporary file can be written");
        // The wrapper reads it again only when a whole second has passed since the last time.
        let edits = self.edits.fetch_add(1, Ordering::Relaxed);
        let newer = SystemTime::now() + Duration::from_secs(100 * (edits + 1));
        let file = std::fs::File::options().write(true).open(self.hosts.path());
        let touched = file.and_then(|file| file.set_modified(newer));
        touched.expect("a temporary file can be touched");
    }
}

impl Backend for Named {
    fn settings(&self) -> HostOptions {
        let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
        let library = library
            .expect("no libnss_wrapper: run `make test` or `apt-get install libnss-wrapper`");
        HostOptions::default()
            .setting("REDIS_URL", format!("redis://{NAME}:{}", self.here.port()))
            .setting("LD_PRELOAD", library)
            .setting("NSS_WRAPPER_HOSTS", self.hosts.path().to_string_lossy())
            // The system's resolver is asked next; it need not be patient.
            .setting("RES_OPTIONS", "timeout:1 attempts:1")
    }

    fn prepare(&self) -> LocalBoxFuture<'_, ()> {
        async {
            self.resolve_to(Some(self.here.ip()));
            self.here.pass();
            end_connections(&self.there).await;
            tell(&self.server, "FLUSHALL").await;
        }
        .boxed_local()
    }
}

/// All of them. Connections do not need a name once they are there, so they end too.
pub(crate) fn list() -> Vec<Fault<Named>> {
    vec![
        Fault::new(
            "host name gone",
            Outage,
            |named| {
                async {
                    named.resolve_to(None);
                    end_connections(&named.here).await;
                }
                .boxed_local()
            },
            |named| async { named.resolve_to(Some(named.here.ip())) }.boxed_local(),
        ),
        Fault::new(
            "host name moved to another address",
            Outage,
            |named| async { named.here.refuse() }.boxed_local(),
            |named| async { named.resolve_to(Some(named.there.ip())) }.boxed_local(),
        ),
    ]
}

async fn end_connections(proxy: &FaultProxy) {
    proxy.reset();
    // Long enough to be seen by every connection.
    tokio::time::sleep(Duration::from_millis(20)).await;
    proxy.pass();
}
