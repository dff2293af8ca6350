//! The handler on a thread of the test's own process, for tests of what needs no process.
//!
//! It costs neither a start of a process nor a load of ONNX Runtime, which all handlers of the test binary share. There is
//! no log: tests of log lines, signals and ends start the program.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::OnceLock;

use functions_host::host::{FunctionsHost, HostOptions};
use handler::Config;
use tokio::sync::oneshot;

use super::app_root::{self, AppRoot};

/// Keeps ONNX Runtime loaded between the tests: a process cannot load it a second time.
static RUNTIME: OnceLock<score::Runtime> = OnceLock::new();

/// Starts a handler with the app's settings and waits until it answers `GET /`.
///
/// # Panics
///
/// If it ends or does not answer.
pub(crate) async fn start(app: &AppRoot, options: impl Into<HostOptions>) -> FunctionsHost {
    FunctionsHost::start_in_process(app, options, serve).await
}

fn serve(
    environment: HashMap<String, String>,
    listener: TcpListener,
    stop: oneshot::Receiver<()>,
) -> Result<(), String> {
    RUNTIME.get_or_init(|| {
        score::Runtime::load(&app_root::runtime_library()).unwrap_or_else(|error| panic!("{error}"))
    });
    let config = Config::from_lookup(|name| environment.get(name).cloned());
    let config = config.map_err(|mistakes| mistakes.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        // Its sender is gone when the test ends.
        let shutdown = async {
            let _ = stop.await;
        };
        handler::serve(config, listener, shutdown).await
    });
    outcome.map_err(|error: anyhow::Error| format!("{error:#}"))
}
