//! One line per event on standard output; errors on standard error, which is what the host takes for errors.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use tracing::{Level, Subscriber, debug, warn};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::traces::Traces;
use crate::config::{Config, LogFormat};

/// What must be ended before the process ends.
#[derive(Debug)]
pub struct Telemetry(Option<Traces>);

impl Telemetry {
    /// Sends the remaining spans, if there are any, within that time.
    pub(crate) fn end(&self, time: Duration) {
        if let Some(traces) = &self.0 {
            traces.end(time);
        }
    }
}

/// Starts logging and tracing for the whole process. Where traces cannot be exported, everything else still starts.
pub fn start_logging(config: &Config) -> Telemetry {
    let started = config.traces.as_ref().map(Traces::start);
    let (traces, failed) = match started.transpose() {
        Ok(traces) => (traces, None),
        Err(reason) => (None, Some(reason.to_string())),
    };
    start(config, traces.as_ref());
    match &config.traces {
        Some(settings) if failed.is_none() => debug!(
            https = settings.is_https,
            timeout = ?settings.timeout,
            "traces are sent to a collector"
        ),
        _ => debug!("no traces are made"),
    }
    for remark in config.remarks.iter().chain(&failed) {
        warn!("{remark}");
    }
    Telemetry(traces)
}

fn start(config: &Config, traces: Option<&Traces>) {
    let filter = EnvFilter::new(&config.log_filter);
    let Some(traces) = traces else {
        // A filter for the whole registry, not only for the lines: then no layer wants spans, and none are made.
        let registry = Registry::default()
            .with(filter)
            .with(filter_fn(|metadata| metadata.is_event()));
        return registry.with(lines(config.log_format)).init();
    };
    let lines =
        lines(config.log_format).with_filter(filter.and(filter_fn(|metadata| metadata.is_event())));
    Registry::default().with(lines).with(traces.layer()).init();
}

/// Colours are off: the host stores the lines.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        // Otherwise it reports on standard error that standard output is gone, and panics if that is gone too.
        .log_internal_errors(false)
        .with_writer(io::stderr.with_max_level(Level::ERROR).or_else(io::stdout));
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Writes lines to standard error where there is no logging: before the settings are known, and in commands.
pub fn complain(prefix: &str, lines: impl IntoIterator<Item = impl Display>) {
    let mut out = io::stderr().lock();
    for line in lines {
        // With standard error closed there is no other output left.
        let _ = writeln!(out, "{prefix}{line}");
    }
}

/// Writes the answer of a command to standard output.
///
/// # Errors
/// If standard output is closed or cannot be written.
pub(crate) fn answer(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .context("standard output cannot be written")
}
