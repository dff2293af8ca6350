//! Watches a host's child as the Functions host does: restarts it after a crash, and gives up after the third.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::host::FunctionsHost;

/// So many crashes stop the host.
const MAX_ERRORS: usize = 3;
/// If more time than this lies between two crashes, older ones are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(30 * 60);
/// How long the child may take to its first answer.
const INITIALIZATION_TIMEOUT: Duration = Duration::from_secs(30);
/// Exit code by which a child asks for a restart.
const RESTART_CODE: i32 = 200;

/// Whether invocations can be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// They go to the child, whether it lives or has ended with exit code 0.
    Initialized,
    /// They wait.
    Starting,
    /// The host has given up.
    Stopped(String),
}

/// Keeps the child of a host alive until it is dropped.
#[derive(Debug)]
pub struct Supervisor {
    watched: Arc<Watched>,
    watcher: JoinHandle<()>,
}

#[derive(Debug)]
struct Watched {
    host: Arc<FunctionsHost>,
    state: watch::Sender<State>,
    errors: Mutex<Errors>,
    /// Ends that a test has caused and that do not count.
    excused: AtomicUsize,
    restarts: AtomicUsize,
}

impl Supervisor {
    /// Watches the child of a host that is ready.
    pub fn start(host: &Arc<FunctionsHost>) -> Self {
        let watched = Arc::new(Watched {
            host: Arc::clone(host),
            state: watch::Sender::new(State::Initialized),
            errors: Mutex::default(),
            excused: AtomicUsize::new(0),
            restarts: AtomicUsize::new(0),
        });
        let watcher = tokio::spawn(watch_child(Arc::clone(&watched)));
        Self { watched, watcher }
    }

    /// Waits until invocations can be sent.
    ///
    /// # Errors
    ///
    /// If the host has stopped, or the wait was so long that it stops now.
    pub async fn initialized(&self) -> Result<(), String> {
        let mut state = self.watched.state.subscribe();
        let waiting = state.wait_for(|state| *state != State::Starting);
        let limit = INITIALIZATION_TIMEOUT * (MAX_ERRORS as u32 + 1);
        let waited = timeout(limit, waiting).await;
        match waited {
            Ok(Ok(found)) => match &*found {
                State::Stopped(reason) => Err(reason.clone()),
                _ => Ok(()),
            },
            _ => {
                let reason = "the child was not initialized in time: the host stops".to_owned();
                self.watched.set(State::Stopped(reason.clone()));
                Err(reason)
            }
        }
    }

    /// Kills the child as from outside; does not count as a crash. Invocations in work fail, others wait.
    pub fn kill_child(&self) {
        self.watched.excused.fetch_add(1, Ordering::SeqCst);
        self.watched.set(State::Starting);
        self.watched.host.kill();
    }

    /// Lets invocations wait from now on if the child has crashed.
    pub fn look_at_child(&self) {
        let status = self.watched.host.exit_status();
        if status.is_some_and(|status| status.code() != Some(0)) {
            self.watched.state.send_if_modified(|state| {
                let was_initialized = *state == State::Initialized;
                if was_initialized {
                    *state = State::Starting;
                }
                was_initialized
            });
        }
    }

    /// Sends the child a signal that counts as a crash if it ends of it.
    pub fn signal_child(&self, signal: Signal) {
        self.watched.host.signal(signal);
    }

    /// How often a new child was started.
    pub fn restarts(&self) -> usize {
        self.watched.restarts.load(Ordering::SeqCst)
    }

    /// Whether invocations can be sent.
    pub fn state(&self) -> State {
        self.watched.state.borrow().clone()
    }

    /// Waits until the host has given up.
    ///
    /// # Panics
    ///
    /// If it has not within `limit`.
    pub async fn wait_stopped(&self, limit: Duration) -> String {
        let mut state = self.watched.state.subscribe();
        let stopped = state.wait_for(|state| matches!(state, State::Stopped(_)));
        let stopped = timeout(limit, stopped).await.expect("the host stops");
        match &*stopped.expect("the supervisor lives") {
            State::Stopped(reason) => reason.clone(),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Watched {
    fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    fn is_excused(&self) -> bool {
        let less = |count: usize| count.checked_sub(1);
        let taken = self
            .excused
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        taken.is_ok()
    }

    fn is_one_too_many(&self) -> bool {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.add(Instant::now()) >= MAX_ERRORS
    }
}

/// Crashes that still count.
#[derive(Debug, Default)]
struct Errors(Vec<Instant>);

impl Errors {
    /// Adds one and says how many there are.
    fn add(&mut self, now: Instant) -> usize {
        if self.0.last().is_some_and(|last| now - *last > FORGET_AFTER) {
            self.0.clear();
        }
        self.0.push(now);
        self.0.len()
    }
}

async fn watch_child(watched: Arc<Watched>) {
    loop {
        let Some(status) = watched.host.exit_status() else {
            sleep(Duration::from_millis(2)).await;
            continue;
        };
        match on_exit(&watched, status) {
            Reaction::Nothing => return,
            Reaction::Stop => {
                let reason = "Exceeded http worker restart retry count. Shutting down";
                return watched.set(State::Stopped(reason.to_owned()));
            }
            Reaction::Restart => {}
        }
        watched.set(State::Starting);
        watched.restarts.fetch_add(1, Ordering::SeqCst);
        watched.host.start_again();
        match watched.host.wait_ready(INITIALIZATION_TIMEOUT).await {
            Ok(_) => watched.set(State::Initialized),
            // counted like a crash when the loop sees the end
            Err(_) => watched.host.kill(),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Reaction {
    Nothing,
    Restart,
    Stop,
}

fn on_exit(watched: &Watched, status: ExitStatus) -> Reaction {
    match status.code() {
        _ if status.signal().is_some() && watched.is_excused() => Reaction::Restart,
        Some(0) => Reaction::Nothing,
        Some(RESTART_CODE) => Reaction::Restart,
        _ if watched.is_one_too_many() => Reaction::Stop,
        _ => Reaction::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_crashes_are_forgotten_after_half_an_hour_of_peace() {
        let mut errors = Errors::default();
        let start = Instant::now();
        assert_eq!(errors.add(start), 1);
        assert_eq!(errors.add(start + FORGET_AFTER), 2);
        let later = start + 2 * FORGET_AFTER + Duration::from_secs(1);
        assert_eq!(errors.add(later), 1);
        assert_eq!(errors.add(later), 2);
        assert_eq!(errors.add(later), MAX_ERRORS);
    }
}
