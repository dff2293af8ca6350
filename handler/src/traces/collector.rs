//! The connection to the collector. It belongs to the thread that sends, and nobody else waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

/// Sends to the collector, and says once when it does not answer and once when it does again.
#[derive(Debug)]
pub(super) struct Collector {
    /// Of its own: it must work while the process ends, and whatever the threads that serve are busy with.
    runtime: Runtime,
    client: HyperClient<HttpsConnector<HttpConnector>>,
    failing: AtomicBool,
}

impl Collector {
    /// A request may take so long.
    pub(super) fn new(timeout: Duration) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime for sending traces")?;
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .context("no certificates for sending traces")?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            runtime,
            client: HyperClient::new(connector, timeout, None),
            failing: AtomicBool::new(false),
        })
    }

    /// Without the address: it may hold a secret.
    fn note(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let error = match outcome {
            Ok(response) if response.status().is_success() => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    info!("traces are exported again");
                }
                return;
            }
            Ok(response) => format!("the collector answers {}", response.status()),
            Err(error) => match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        };
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(error, "traces cannot be exported");
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.runtime.block_on(self.client.send_bytes(request));
        self.note(&outcome);
        outcome
    }
}
