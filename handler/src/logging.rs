//! One line per event on standard output; errors on standard error, which is what the host takes for errors.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

use crate::config::{Config, LogFormat};

/// Starts logging for the whole process. Colours are off: the host stores the lines.
pub fn start_logging(config: &Config) {
    let writer = io::stderr.with_max_level(Level::ERROR).or_else(io::stdout);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.log_filter))
        .with_ansi(false)
        .with_target(false)
        // Otherwise it reports on standard error that standard output is gone, and panics if that is gone too.
        .log_internal_errors(false)
        .with_writer(writer);
    match config.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Writes lines to standard error, for when there is no logging: before the settings are known, and in commands.
pub fn complain(prefix: &str, lines: impl IntoIterator<Item = impl Display>) {
    let mut out = io::stderr().lock();
    for line in lines {
        // With standard error closed there is nobody left to tell.
        let _ = writeln!(out, "{prefix}{line}");
    }
}

/// Writes what a command was asked for to standard output.
///
/// # Errors
/// If nobody takes it.
pub(crate) fn answer(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .context("standard output cannot be written")
}
