//! A server that proves who it is, until it cannot.

use std::path::Path;

use futures_util::future::{FutureExt, LocalBoxFuture};

use super::fault::Effect::Outage;
use super::fault::{Backend, Fault};
use super::pair::tell;
use crate::support::redis::{RedisOptions, RedisServer};
use functions_host::host::HostOptions;

/// A server with TLS.
#[derive(Debug)]
pub(crate) struct Tls(RedisServer);

impl Tls {
    /// Starts it.
    pub(crate) async fn start() -> Self {
        Self(RedisServer::start_with(RedisOptions::default().tls()).await)
    }

    /// New connections get this certificate; those that are there end.
    async fn show(&self, certificate: &Path) {
        let set = format!("CONFIG SET tls-cert-file {}", certificate.display());
        tell(&self.0, &set).await;
        tell(&self.0, "CLIENT KILL TYPE normal").await;
    }
}

impl Backend for Tls {
    fn settings(&self) -> HostOptions {
        HostOptions::default()
            .setting("REDIS_URL", self.0.url())
            .setting("REDIS_CA_FILE", self.0.ca_file().to_string_lossy())
    }

    fn prepare(&self) -> LocalBoxFuture<'_, ()> {
        tell(&self.0, "FLUSHALL").boxed_local()
    }
}

/// All of them.
pub(crate) fn list() -> Vec<Fault<Tls>> {
    vec![Fault::new(
        "certificate of another authority",
        Outage,
        |tls| tls.show(tls.0.other_certificate()).boxed_local(),
        |tls| tls.show(tls.0.certificate()).boxed_local(),
    )]
}
