//! One line per event on standard output; errors on standard error, which is what the host takes for errors.
//!
//! A thread for each of the two writes the lines. What reads them may stop reading: then the lines that wait are bounded, and
//! further ones are dropped and counted, but requests, probes and signals go on.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use tracing::{Level, Subscriber, debug, warn};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::printable::{OneLine, printable};
use super::traces::Traces;
use crate::config::{Config, LogFormat};

/// Lines that may wait for each of the two outputs. A line is a few hundred bytes; texts of callers are cut before.
const MAX_WAITING_LINES: usize = 4096;

/// Lines of each output that were dropped. Logging is one for the whole process, and so is this.
static DROPPED: OnceLock<[ErrorCounter; 2]> = OnceLock::new();

/// Lines that were dropped because too many waited to be read.
pub(crate) fn dropped_lines() -> u64 {
    let counters = DROPPED.get().into_iter().flatten();
    counters.map(|counter| counter.dropped_lines() as u64).sum()
}

/// What must be ended before the process ends. Dropping it writes the lines that wait, for about a second at most.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<Traces>,
    _writers: [WorkerGuard; 2],
}

impl Telemetry {
    /// Sends the remaining spans, if there are any, within that time.
    pub(crate) fn end(&self, time: Duration) {
        if let Some(traces) = &self.traces {
            traces.end(time);
        }
    }
}

/// The two outputs.
#[derive(Clone)]
struct Outputs {
    out: OneLine,
    error: OneLine,
}

impl Outputs {
    /// Starts their threads, which end when the guards are dropped.
    fn start() -> (Self, [WorkerGuard; 2]) {
        let builder = |name| {
            NonBlockingBuilder::default()
                .buffered_lines_limit(MAX_WAITING_LINES)
                .lossy(true)
                .thread_name(name)
        };
        let (out, out_guard) = builder("log").finish(io::stdout());
        let (error, error_guard) = builder("log errors").finish(io::stderr());
        DROPPED.get_or_init(|| [out.error_counter(), error.error_counter()]);
        let (out, error) = (OneLine(out), OneLine(error));
        (Self { out, error }, [out_guard, error_guard])
    }
}

/// Starts logging and tracing for the whole process. Where traces cannot be exported, everything else still starts.
pub fn start_logging(config: &Config) -> Telemetry {
    let started = config.traces.as_ref().map(Traces::start);
    let (traces, failed) = match started.transpose() {
        Ok(traces) => (traces, None),
        Err(reason) => (None, Some(reason.to_string())),
    };
    let (outputs, writers) = Outputs::start();
    start(config, outputs, traces.as_ref());
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
    Telemetry {
        traces,
        _writers: writers,
    }
}

fn start(config: &Config, outputs: Outputs, traces: Option<&Traces>) {
    let filter = EnvFilter::new(&config.log_filter);
    let Some(traces) = traces else {
        // A filter for the whole registry, not only for the lines: then no layer wants spans, and none are made.
        let registry = Registry::default()
            .with(filter)
            .with(filter_fn(|metadata| metadata.is_event()));
        return registry.with(lines(config.log_format, outputs)).init();
    };
    let events = filter.and(filter_fn(|metadata| metadata.is_event()));
    let lines = lines(config.log_format, outputs).with_filter(events);
    Registry::default().with(lines).with(traces.layer()).init();
}

/// Colours are off: the host stores the lines.
fn lines<S>(format: LogFormat, outputs: Outputs) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        // Otherwise it reports on standard error that standard output is gone, and panics if that is gone too.
        .log_internal_errors(false)
        .with_writer(
            outputs
                .error
                .with_max_level(Level::ERROR)
                .or_else(outputs.out),
        );
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
        let line = line.to_string();
        let _ = writeln!(out, "{prefix}{}", printable(&line, true));
    }
}

/// Writes the answer of a command to standard output.
///
/// # Errors
/// If standard output is closed or cannot be written.
pub(crate) fn answer(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(printable(text, true).as_bytes())
        .context("standard output cannot be written")
}
