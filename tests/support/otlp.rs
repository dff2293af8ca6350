//! A collector of traces on a loopback port: OTLP over HTTP, as protobuf.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::time::sleep;
use warp::Filter;
use warp::http::{HeaderMap, StatusCode};

use functions_host::PATIENCE;

/// How the collector behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    /// It takes all.
    Well,
    /// It answers 503.
    Refusing,
    /// It takes requests and never answers.
    Hanging,
    /// It takes all and closes connections that are idle for a moment.
    Impatient,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    spans: Vec<Span>,
    resource: BTreeMap<String, String>,
    headers: HeaderMap,
    requests: usize,
}

/// A collector; it goes with the test's runtime.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Collector {
    /// Starts one that takes all.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Well,
            spans: Vec::new(),
            resource: BTreeMap::new(),
            headers: HeaderMap::new(),
            requests: 0,
        }));
        let collector = Self { port, state };
        let taker = collector.clone();
        let routes = warp::post()
            .and(warp::path!("v1" / "traces"))
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .then(move |headers, body: bytes::Bytes| {
                let taker = taker.clone();
                async move {
                    let status = taker.take(headers, &body).await;
                    warp::reply::with_status("", status)
                }
            });
        let service = TowerToHyperService::new(warp::service(routes));
        let server = collector.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(server.idle_time())
                    .serve_connection(TokioIo::new(stream), service.clone());
                tokio::spawn(serving);
            }
        });
        collector
    }

    /// hyper has one bound for how long a connection may be idle and how long a head may take.
    fn idle_time(&self) -> Duration {
        match self.lock().mood {
            Mood::Impatient => Duration::from_millis(100),
            _ => Duration::from_secs(60),
        }
    }

    async fn take(&self, headers: HeaderMap, body: &[u8]) -> StatusCode {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let mood = {
            let mut state = self.lock();
            state.requests += 1;
            state.headers = headers;
            state.mood
        };
        match mood {
            Mood::Well | Mood::Impatient => {}
            Mood::Refusing => return StatusCode::SERVICE_UNAVAILABLE,
            Mood::Hanging => std::future::pending().await,
        }
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let mut state = self.lock();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            state.resource = attributes(&resource.attributes);
            for of_scope in of_resource.scope_spans {
                state.spans.extend(of_scope.spans);
            }
        }
        StatusCode::OK
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` has to be.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on it behaves so.
    pub(crate) fn is(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// Requests that came, answered or not.
    pub(crate) fn requests(&self) -> usize {
        self.lock().requests
    }

    /// A header of the last request.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.lock().headers.get(name).cloned();
        value.map(|value| value.to_str().unwrap().to_owned())
    }

    /// What the last spans say of the program.
    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        self.lock().resource.clone()
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.lock().spans.clone()
    }

    /// The first span of this name, of any trace, as soon as there is one.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub(crate) async fn span(&self, name: &str) -> Span {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(span) = self.spans().into_iter().find(|span| span.name == name) {
                return span;
            }
            assert!(Instant::now() < deadline, "no span {name:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The spans of one trace, as soon as there are so many.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub(crate) async fn trace(&self, trace_id: &str, count: usize) -> Trace {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut spans = self.spans();
            spans.retain(|span| hex(&span.trace_id) == trace_id);
            spans.sort_by_key(|span| span.start_time_unix_nano);
            let trace = Trace(spans);
            if trace.0.len() >= count {
                return trace;
            }
            assert!(
                Instant::now() < deadline,
                "fewer than {count} spans:\n{}",
                trace.tree()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The spans of one trace in the order of their starts.
#[derive(Debug)]
pub(crate) struct Trace(pub(crate) Vec<Span>);

impl Trace {
    /// The only span of this name.
    pub(crate) fn span(&self, name: &str) -> &Span {
        let mut named = self.0.iter().filter(|span| span.name == name);
        match (named.next(), named.next()) {
            (Some(span), None) => span,
            _ => panic!("not exactly one span {name:?}:\n{}", self.tree()),
        }
    }

    /// The names of those below the span of this name.
    pub(crate) fn below(&self, name: &str) -> Vec<&str> {
        let parent = &self.span(name).span_id;
        let children = self.0.iter().filter(|span| span.parent_span_id == *parent);
        children.map(|span| span.name.as_str()).collect()
    }

    /// For people.
    pub(crate) fn tree(&self) -> String {
        let mut text = String::new();
        let ids: Vec<&Vec<u8>> = self.0.iter().map(|span| &span.span_id).collect();
        let start = self.0.first().map_or(0, |span| span.start_time_unix_nano);
        for span in &self.0 {
            if !ids.contains(&&span.parent_span_id) {
                self.write(&mut text, span, start, 0);
            }
        }
        text
    }

    fn write(&self, text: &mut String, span: &Span, start: u64, depth: usize) {
        let micros = |nanos: u64| nanos.saturating_sub(start) / 1000;
        let (from, to) = (
            micros(span.start_time_unix_nano),
            micros(span.end_time_unix_nano),
        );
        let indent = "  ".repeat(depth);
        let attributes: Vec<String> = attributes(&span.attributes)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        writeln!(
            text,
            "{indent}{} [{from}..{to} us] {}",
            span.name,
            attributes.join(" ")
        )
        .unwrap();
        let children = self.0.iter().filter(|c| c.parent_span_id == span.span_id);
        for child in children {
            self.write(text, child, start, depth + 1);
        }
    }
}

/// Names and values, as text.
pub(crate) fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = pairs.iter();
    pairs
        .map(|pair| (pair.key.clone(), text(&pair.value)))
        .collect()
}

/// Bytes as W3C trace context writes them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
