//! The connection to the collector. It belongs to the thread that sends spans; no request waits for it.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::{Builder, Runtime};
use tracing::{debug, info, warn};

use super::NotStarted;
use crate::config::TraceSettings;

/// Sends spans to the collector, and logs once when an export fails and once when exports work again.
#[derive(Debug)]
pub(super) struct Collector {
    /// Separate from that of the server: it must work while the process ends and while all other threads are busy.
    runtime: Runtime,
    client: Box<dyn HttpClient>,
    failing: AtomicBool,
}

impl Collector {
    /// Reads certificates for `https` only: many images have none.
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
                match self.failing.swap(false, Ordering::Relaxed) {
                    true => info!("traces are exported again"),
                    false => debug!("the collector has taken a batch of spans"),
                }
                return;
            }
            Ok(response) => format!("the collector answers {}", response.status()),
            Err(error) => match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        };
        match self.failing.swap(true, Ordering::Relaxed) {
            false => warn!(error, "traces cannot be exported"),
            true => debug!(error, "traces still cannot be exported"),
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
        // Between two requests the runtime does not run, so it would not notice that the collector closes the connection.
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let outcome = self.runtime.block_on(self.client.send_bytes(request));
        self.note(&outcome);
        outcome
    }
}
