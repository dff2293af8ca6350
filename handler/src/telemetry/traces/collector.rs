//! The connection to the collector. It belongs to the thread that sends, and nobody else waits for it.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

use super::NotStarted;
use crate::config::TraceSettings;

/// Sends to the collector, and says once when it does not answer and once when it does again.
#[derive(Debug)]
pub(super) struct Collector {
    /// Of its own: it must work while the process ends, and whatever the threads that serve are busy with.
    runtime: Runtime,
    client: Box<dyn HttpClient>,
    failing: AtomicBool,
}

impl Collector {
    /// Certificates are read for `https` alone: an image may well have none.
    pub(super) fn new(settings: &TraceSettings) -> Result<Self, NotStarted> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(NotStarted::Runtime)?;
        Ok(Self {
            runtime,
            client: client(settings)?,
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

fn client(settings: &TraceSettings) -> Result<Box<dyn HttpClient>, NotStarted> {
    if !settings.is_https {
        let client = HyperClient::with_default_connector(settings.timeout, None);
        return Ok(Box::new(client));
    }
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|_| NotStarted::Certificates)?
        .https_only()
        .enable_http1()
        .build();
    Ok(Box::new(HyperClient::new(
        connector,
        settings.timeout,
        None,
    )))
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // Between two requests the runtime stands still, so that nobody would see the collector close the connection.
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let outcome = self.runtime.block_on(self.client.send_bytes(request));
        self.note(&outcome);
        outcome
    }
}
