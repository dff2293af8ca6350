//! Traces: where they come from (W3C trace context) and where they go (OTLP).
//!
//! Traces are plain `tracing` spans, here and in `score`. Without a collector no layer wants them, and each costs a check of
//! a flag.

mod collector;

use std::io;
use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::config::TraceSettings;
use collector::Collector;

/// W3C trace context as it came with a request or a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Trace, parent and whether it is sampled.
    pub(crate) parent: Option<String>,
    /// What tracing systems have added.
    pub(crate) state: Option<String>,
}

impl Extractor for Origin {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent.as_deref(),
            "tracestate" => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

impl Origin {
    /// From a look-up of headers or properties by lower-case name.
    pub(crate) fn new(get: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            parent: get("traceparent"),
            state: get("tracestate"),
        }
    }

    /// Whether this is a `traceparent` that can be continued.
    pub(crate) fn is_readable(parent: &str) -> bool {
        let origin = Self {
            parent: Some(parent.to_owned()),
            state: None,
        };
        origin.context().is_some()
    }

    fn context(&self) -> Option<Context> {
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), self);
        context.span().span_context().is_valid().then_some(context)
    }

    /// Which trace to continue: this one, of the host's call, or that of the sender of the request or message. Usually they
    /// are the same. A host that does not export traces may still send a trace of its own, which is not sampled.
    pub(crate) fn or_of_sender<'a>(&'a self, sender: &'a Self) -> &'a Self {
        match (self.span_context(), sender.span_context()) {
            (None, Some(_)) => sender,
            (Some(own), Some(theirs))
                if own.trace_id() != theirs.trace_id() && !own.is_sampled() =>
            {
                sender
            }
            _ => self,
        }
    }

    fn span_context(&self) -> Option<SpanContext> {
        Some(self.context()?.span().span_context().clone())
    }

    /// Makes a span that has not been entered yet a part of this trace, if this is one.
    pub(crate) fn adopt(&self, span: &Span) {
        if span.is_disabled() {
            return;
        }
        if let Some(context) = self.context() {
            // It fails only for a span that was entered.
            let _ = span.set_parent(context);
        }
    }

    /// Links a span to this trace.
    pub(crate) fn link(&self, span: &Span) {
        if span.is_disabled() {
            return;
        }
        if let Some(context) = self.span_context() {
            span.add_link(context);
        }
    }
}

/// Why traces are not exported although a collector is set. Without the values of variables, which may hold secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    /// The exporter needs a runtime of its own.
    #[error("traces are not exported: their runtime cannot be started: {0}")]
    Runtime(io::Error),
    /// The collector's certificate could not be checked.
    #[error(
        "traces are not exported: there are no certificates to check an https collector with; install ca-certificates or \
         set SSL_CERT_FILE"
    )]
    Certificates,
    /// The exporter refuses the variables.
    #[error(
        "traces are not exported: a variable OTEL_EXPORTER_OTLP_... has a value that the exporter refuses"
    )]
    Settings,
}

/// The exporter of spans.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the thread that sends spans in batches. What the settings leave out the SDK reads itself: name, resource,
    /// sampler, headers, limits of the queue.
    ///
    /// # Errors
    /// [`NotStarted`]; the program serves all the same.
    pub(crate) fn start(settings: &TraceSettings) -> Result<Self, NotStarted> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(settings)?)
            .build()
            // The text of its error quotes the address.
            .map_err(|_| NotStarted::Settings)?;
        let mut resource = Resource::builder();
        if !settings.is_named {
            resource = resource.with_service_name("score");
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.with_attribute(version).build());
        Ok(Self(provider.build()))
    }

    /// Takes the spans of this program, not those of libraries.
    pub(crate) fn layer<S>(&self) -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let ours = |metadata: &Metadata<'_>| {
            let root = metadata.target().split("::").next();
            metadata.is_span() && matches!(root, Some("handler" | "score"))
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("score"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(ours))
    }

    /// Sends the remaining spans, within that time.
    pub(crate) fn end(&self, time: Duration) {
        // Spans that the collector does not take are lost.
        let _ = self.0.shutdown_with_timeout(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_senders_trace_is_continued_where_the_hosts_cannot_be_read() {
        let origin = |parent: &str| Origin {
            parent: Some(parent.to_owned()),
            state: None,
        };
        let valid = origin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let broken = origin("|4bf92f3577b34da6.1.");
        assert_eq!(broken.or_of_sender(&valid), &valid);
        assert_eq!(valid.or_of_sender(&broken), &valid);
    }

    #[test]
    fn only_a_valid_trace_is_continued() {
        let origin = |parent: &str| Origin {
            parent: Some(parent.to_owned()),
            state: Some("vendor=1".to_owned()),
        };
        let valid = origin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let context = valid.context().unwrap();
        let span = context.span().span_context().clone();
        assert!(span.is_sampled() && span.is_remote());
        assert_eq!(span.trace_state().header(), "vendor=1");
        for broken in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "|4bf92f3577b34da6.1.",
        ] {
            assert!(origin(broken).context().is_none(), "{broken}");
        }
        assert!(Origin::default().context().is_none());
    }
}
