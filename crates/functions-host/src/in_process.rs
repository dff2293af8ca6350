//! A handler that runs on a thread of the test's own process, for tests of what needs no process.

use std::collections::HashMap;
use std::fmt;
use std::net::TcpListener;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// Serves on the bound socket with the variables of an environment, until the sender of the last argument is gone.
///
/// # Errors
///
/// Why it cannot serve.
pub type Serve =
    fn(HashMap<String, String>, TcpListener, oneshot::Receiver<()>) -> Result<(), String>;

/// A handler on its thread. Dropping it stops the handler and waits for its end, so that a test process never exits while
/// another thread is inside native code.
pub(crate) struct InProcess {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl InProcess {
    /// Starts the thread.
    pub(crate) fn start(
        serve: Serve,
        environment: HashMap<String, String>,
        listener: TcpListener,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let serving = move || {
            if let Err(reason) = serve(environment, listener, stopped) {
                panic!("the handler ended: {reason}");
            }
        };
        let thread = std::thread::Builder::new().name("handler".to_owned());
        Self {
            stop: Some(stop),
            thread: Some(thread.spawn(serving).expect("a thread")),
        }
    }

    /// Whether it still serves.
    pub(crate) fn is_running(&self) -> bool {
        let thread = self.thread.as_ref();
        thread.is_some_and(|thread| !thread.is_finished())
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        let failed = matches!(ended, Some(Err(_)));
        assert!(!failed || std::thread::panicking(), "the handler failed");
    }
}
