//! When the process has to end.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// Ends when SIGTERM or SIGINT comes (Ctrl-C in `func start` reaches the whole process group), or when a hosted
/// process has lost its host.
pub(crate) async fn stop(hosted: bool) {
    tokio::select! {
        () = received(SignalKind::terminate()) => info!("SIGTERM: stopping"),
        () = received(SignalKind::interrupt()) => info!("SIGINT: stopping"),
        () = orphaned(), if hosted => info!("the host has ended: stopping"),
    }
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut stream) => {
            stream.recv().await;
        }
        Err(error) => {
            warn!(%error, "a signal cannot be watched");
            pending().await
        }
    }
}

/// Ends when the parent process has ended. On Linux the host does not end its children when it dies itself, and an
/// orphan would hold the port. (PR_SET_PDEATHSIG would not do: it looks at the parent's thread.)
async fn orphaned() {
    let parent = std::os::unix::process::parent_id();
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    while std::os::unix::process::parent_id() == parent {
        ticks.tick().await;
    }
}
