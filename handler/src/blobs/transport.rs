//! How the storage client reaches its account: hyper, with the certificates of the system, as everything else here.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::entra::causes;

/// How long one request may take; its client tries it again.
const PATIENCE: Duration = Duration::from_secs(60);
/// What one answer may have: four times the range that is asked for.
const MOST_BYTES: usize = 16 << 20;

/// Connections to a storage account.
#[derive(Debug)]
pub(super) struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Http {
    /// # Errors
    /// If the system has no certificates.
    pub(super) fn new() -> io::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new());
        Ok(Self(client.build(connector)))
    }

    async fn answer(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let other = |error: hyper::http::Error| azure_core::Error::new(ErrorKind::Other, error);
        let mut sent = hyper::Request::builder()
            .method(request.method().as_ref())
            .uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            sent = sent.header(name.as_str(), value.as_str());
        }
        let Body::Bytes(bytes) = request.body() else {
            let message = "only bodies in memory are sent";
            return Err(azure_core::Error::with_message(ErrorKind::Other, message));
        };
        let sent = sent.body(Full::new(bytes.clone())).map_err(other)?;
        let answer = self.0.request(sent).await.map_err(|error| {
            let kind = match is_refused_certificate(&error) {
                true => ErrorKind::Other,
                false => ErrorKind::Io,
            };
            azure_core::Error::new(kind, error)
        });
        let (head, body) = answer?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(|error| azure_core::Error::new(ErrorKind::Io, error))?;
        let mut headers = Headers::new();
        for (name, value) in &head.headers {
            if let Ok(value) = value.to_str() {
                let name = HeaderName::from(name.as_str().to_owned());
                headers.insert(name, HeaderValue::from(value.to_owned()));
            }
        }
        let status = head.status.as_u16().into();
        Ok(AsyncRawResponse::from_bytes(
            status,
            headers,
            body.to_bytes(),
        ))
    }
}

/// What rustls refuses arrives as wrong data, wrapped once more. Another try, as after other faults of a connection, would end
/// the same.
fn is_refused_certificate(error: &legacy::Error) -> bool {
    let is_wrong = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .filter_map(|cause| cause.get_ref()?.downcast_ref())
        .any(is_wrong)
}

#[async_trait]
impl HttpClient for Http {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = timeout(PATIENCE, self.answer(request)).await;
        answer.unwrap_or_else(|late| Err(azure_core::Error::new(ErrorKind::Io, late)))
    }
}
