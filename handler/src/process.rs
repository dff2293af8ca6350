//! When the process has to end.

use std::future::pending;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{info, warn};

/// Tells when the process has to end: SIGTERM or SIGINT came (Ctrl-C in `func start` reaches the whole process group),
/// or a hosted process has lost its host. If the process is still there `limit` later, it is ended.
///
/// On a thread and a runtime of its own, so that it works however busy the others are.
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
        stop(hosted).await;
        // There is no receiver any more if the process is already ending.
        let _ = tell.send(());
        tokio::time::sleep(limit).await;
        std::process::exit(0);
    };
    std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || runtime.block_on(watch))
        .context("signals cannot be watched")?;
    Ok(told)
}

async fn stop(hosted: bool) {
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
            warn!(%error, "signals cannot be received");
            pending().await
        }
    }
}

/// Ends when the parent process has ended. On Linux the host does not end its children when it dies itself, and an
/// orphan would hold the port. (PR_SET_PDEATHSIG would not do: it looks at the parent's thread.)
async fn orphaned() {
    let parent = std::os::unix::process::parent_id();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while std::os::unix::process::parent_id() == parent {
        ticks.tick().await;
    }
}
