//! The Azure Functions custom handler: everything about the host and HTTP, nothing about how scores are made.
//!
//! `http` receives the host's requests, `protocol` knows the shapes of its envelopes, `event` settles messages and blobs.
//! The crate `wire` turns bodies into tensors and back, and the crate `score` does the rest.

mod admission;
mod app;
#[cfg(feature = "blobs")]
mod blobs;
mod blocking;
mod bulk;
mod commands;
mod config;
mod counters;
mod entra;
mod event;
mod features;
mod http;
mod limits;
mod models;
mod problem;
mod process;
mod protocol;
mod scoring;
mod telemetry;
mod texts;

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::{info, warn};

use app::App;
pub use bulk::{Format, Header};
pub use commands::{
    Action, Arguments, CacheCommand, CheckArguments, Command, PackageArguments, PurgeArguments,
    ScoreArguments, ServeArguments, Served, SettingsArguments, execute, served,
};
pub use config::{
    Config, Envelopes, Environment, Fallback, Group, Kind, Mistakes, SETTINGS, Secret, Setting,
    TraceSettings,
};
use http::Workers;
pub use telemetry::logging::{Telemetry, complain, start_logging};
use telemetry::summary::Summary;

/// Serves until the process is told to stop.
///
/// # Errors
/// If the port stays taken, ONNX Runtime or every model fails to load, or the app folder is not usable.
pub fn run(config: Config, telemetry: &Telemetry) -> anyhow::Result<()> {
    // While it says that it is not ready, and then while requests in work finish.
    let grace = config.drain_delay + config.drain_timeout;
    let runtime = http::runtime()?;
    let stopped = OnceLock::new();
    let outcome = runtime.block_on(async {
        let told_to_stop = process::watch_for_stop(config.hosted, grace + LAST_WORD)?;
        // The host counts as failed what does not listen soon, so this comes first; models load behind it.
        let listener = bind(&config).await?;
        info!(address = %config.listen, hosted = config.hosted, "listening");
        let shutdown = async {
            // An error means that nothing watches any more, which only the end of the process can cause.
            let _ = told_to_stop.await;
            stopped.get_or_init(Instant::now);
        };
        serve(config, listener, shutdown).await
    });
    let used = stopped.get().map_or(Duration::ZERO, Instant::elapsed);
    telemetry.end(grace.saturating_sub(used).max(LAST_TRACES));
    runtime.shutdown_background();
    outcome
}

/// How much longer than requests in work the whole process may take to end.
const LAST_WORD: Duration = Duration::from_millis(150);

/// How long traces may take to be sent where requests in work have used up the time.
const LAST_TRACES: Duration = Duration::from_millis(100);

/// Serves the app that `config` describes on a bound socket until `shutdown` completes, then lets requests in work finish
/// for at most `config.drain_timeout`.
///
/// Needs a multi-threaded tokio runtime, and starts one more for each thread of `config.threads` beyond the first.
/// `config.listen` is not bound. It reads neither the environment nor signals, so that one process can serve several apps;
/// ONNX Runtime is loaded once for all of them.
///
/// # Errors
/// If ONNX Runtime or every model fails to load, or the app folder is not usable.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if !config.hosted && config.envelopes != Envelopes::Refused {
        warn!(
            "SCORE_ENVELOPES is on: every caller that reaches this port can send the envelopes of a Functions host; leave \
             it out except in tests"
        );
    }
    let workers = Workers::start(&Handle::current(), config.threads)?;
    let (app, loading) = App::start(config)?;
    let grace = app.config.drain_timeout;
    let shutdown = {
        let app = app.clone();
        async move {
            shutdown.await;
            app.is_ending.store(true, Ordering::Relaxed);
            tokio::time::sleep(app.config.drain_delay).await;
        }
    };
    let page = (!app.config.hosted).then(|| format!("http://{}/api/score", app.config.listen));
    let mut summary = Summary::new(app.admission.clone(), app.memo.clone());
    let serving = http::serve(app, listener, &workers, shutdown, grace);
    let serving = async {
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => return Ok(()),
            outcome = loading => outcome?,
        }
        if let Some(address) = page {
            info!(
                "ready: {address} shows what the models take, and in a browser lets them be tried"
            );
        }
        serving.await;
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = serving => outcome,
        never = summary.every_minute() => match never {},
    };
    summary.log();
    outcome
}

/// After a restart the former process may hold the port for a moment.
async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let give_up = tokio::time::Instant::now() + config.bind_timeout;
    loop {
        match TcpListener::bind(config.listen).await {
            Ok(listener) => return Ok(listener),
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && tokio::time::Instant::now() < give_up =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Err(error) => {
                let taken = error.kind() == std::io::ErrorKind::AddrInUse && !config.hosted;
                let hint = match taken {
                    true => "; another port is chosen by SCORE_PORT, or by --port of `serve`",
                    false => "",
                };
                bail!("cannot listen on {}: {error}{hint}", config.listen);
            }
        }
    }
}
