//! Two servers behind one address, of which one is the primary.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::LocalBoxFuture;
use tokio::task::JoinHandle;

use super::fault::Backend;
use crate::support::fault_proxy::FaultProxy;
use crate::support::redis::{RedisOptions, RedisServer};
use functions_host::eventually;
use functions_host::host::HostOptions;

/// What the handler knows.
pub(crate) const USER: &str = "score";
pub(crate) const PASSWORD: &str = "f1rst";

/// A primary, a spare server and the proxy before them.
#[derive(Debug)]
pub(crate) struct Pair {
    servers: [RedisServer; 2],
    primary: AtomicUsize,
    /// The address that the handler knows.
    pub(crate) proxy: FaultProxy,
    /// What runs for as long as a fault lasts.
    pub(crate) mischief: Mutex<Option<JoinHandle<()>>>,
}

impl Pair {
    /// Starts all of it.
    pub(crate) async fn start() -> Self {
        let options = RedisOptions::default()
            .user(USER, PASSWORD)
            .argument("--enable-debug-command", "yes")
            .argument("--enable-protected-configs", "yes")
            .argument("--repl-diskless-sync-delay", "0");
        let primary = RedisServer::start_with(options.clone()).await;
        let spare = RedisServer::start_with(options).await;
        Self {
            proxy: FaultProxy::start(primary.port()),
            servers: [primary, spare],
            primary: AtomicUsize::new(0),
            mischief: Mutex::default(),
        }
    }

    /// The server behind the proxy.
    pub(crate) fn primary(&self) -> &RedisServer {
        &self.servers[self.primary.load(Ordering::Relaxed)]
    }

    /// The other one.
    pub(crate) fn spare(&self) -> &RedisServer {
        &self.servers[1 - self.primary.load(Ordering::Relaxed)]
    }

    /// The spare server becomes the one behind the address.
    pub(crate) fn swap(&self) {
        self.primary.fetch_xor(1, Ordering::Relaxed);
        self.proxy.lead_to(self.primary().port());
    }

    /// The handler's setting.
    pub(crate) fn url(&self) -> String {
        format!("redis://{USER}:{PASSWORD}@127.0.0.1:{}", self.proxy.port())
    }
}

impl Backend for Pair {
    fn settings(&self) -> HostOptions {
        HostOptions::default().setting("REDIS_URL", self.url())
    }

    fn prepare(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            self.primary().command(&[b"FLUSHALL"]).await;
        })
    }
}

/// Runs a command given as words.
pub(crate) async fn tell(server: &RedisServer, command: &str) {
    let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    let reply = server.command(&words).await;
    let error = matches!(reply, crate::support::resp::RespValue::Error(_));
    assert!(!error, "{command}: {reply:?}");
}

/// Makes one server the other's copy and waits until it is.
pub(crate) async fn replicate(from: &RedisServer, to: &RedisServer) {
    tell(to, &format!("REPLICAOF 127.0.0.1 {}", from.port())).await;
    eventually("the replica is in step", || async {
        let info = to.command(&[b"INFO", b"replication"]).await.text();
        info.contains("master_link_status:up")
    })
    .await;
}
