//! When the process has to end.

use std::future::pending;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{info, warn};

/// Reports when the process has to end: after SIGTERM or SIGINT (Ctrl-C in `func start` reaches the whole process group), or
/// when the host of a hosted process has ended. If the process still runs `limit` later, this ends it.
///
/// It has a thread and a runtime of its own, so that it works while all other threads are busy.
pub(crate) fn watch_for_stop(
    hosted: bool,
    limit: Duration,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let (tell, told) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("signals cannot be watched")?;
    let watch = async move {
        let reason = stop(hosted).await;
        // There is no receiver any more if the process is already ending.
        let _ = tell.send(());
        info!("{reason}: stopping");
        tokio::time::sleep(limit).await;
        std::process::exit(0);
    };
    std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || runtime.block_on(watch))
        .context("signals cannot be watched")?;
    Ok(told)
}

/// Completes with the reason to stop.
async fn stop(hosted: bool) -> &'static str {
    tokio::select! {
        () = received(SignalKind::terminate()) => "SIGTERM",
        () = received(SignalKind::interrupt()) => "SIGINT",
        () = orphaned(), if hosted => "the host has ended",
    }
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut stream) => {
            stream.recv().await;
        }
        Err(error) => {
            warn!(%error, "signals cannot be received");
            pending().await
        }
    }
}

/// Returns when the parent process has ended. On Linux a host that crashes does not end its children, and an orphan would
/// hold the port. (PR_SET_PDEATHSIG does not help: it follows the parent's thread.)
async fn orphaned() {
    let parent = std::os::unix::process::parent_id();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while std::os::unix::process::parent_id() == parent {
        ticks.tick().await;
    }
}
