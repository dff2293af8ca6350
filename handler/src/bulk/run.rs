//! Window after window: a few are scored at a time, and what becomes of them comes in their order.

use std::collections::VecDeque;
use std::io;
#[cfg(feature = "blobs")]
use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use score::Cache;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument;

#[cfg(feature = "blobs")]
use super::lines::Lines;
use super::lines::Window;
use super::window::{Done, Lane};

/// Lines that are scored in one request: enough that what is done once for a request costs little, and a run is full.
pub(crate) const WINDOW_LINES: usize = 1024;
/// A window ends with the line that reaches so many bytes.
pub(crate) const WINDOW_BYTES: usize = 1 << 20;
/// Bytes of results that may wait to be stored before more are computed: what does not fit would not be stored.
const MAX_UNSTORED: usize = 4 << 20;
/// How long a store may take what waits for it.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// The windows of a file, and `None` at its end.
pub(crate) type Windows = mpsc::Receiver<io::Result<Option<Window>>>;

/// Why a file cannot be scored to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Of the reader behind the windows.
    #[error("the input cannot be read")]
    Input(#[from] io::Error),
    /// A fault of this program, or the end of the runtime.
    #[error("a window could not be scored")]
    Window(#[from] JoinError),
}

/// Scores the windows that a channel brings.
pub(crate) struct Run {
    lane: Arc<Lane>,
    cache: Arc<Cache>,
    windows: Windows,
    running: FuturesOrdered<JoinHandle<Done>>,
    /// The bytes of these windows, in their order.
    bytes: VecDeque<usize>,
    at_once: usize,
    is_open: bool,
}

impl Run {
    /// At most so many windows are in work at once.
    pub(crate) fn new(
        lane: Arc<Lane>,
        cache: Arc<Cache>,
        windows: Windows,
        at_once: usize,
    ) -> Self {
        Self {
            lane,
            cache,
            windows,
            running: FuturesOrdered::new(),
            bytes: VecDeque::new(),
            at_once: at_once.max(1),
            is_open: true,
        }
    }

    /// Takes no more windows; those in work are finished.
    pub(crate) fn stop(&mut self) {
        self.is_open = false;
    }

    /// What became of the next window; `None` when all are done. It may be dropped and called again: no window is lost.
    ///
    /// # Errors
    /// If the input cannot be read, or a window brings down the task that scores it.
    pub(crate) async fn next(&mut self) -> Result<Option<Done>, RunError> {
        loop {
            let is_free = self.is_open && self.has_room();
            if !self.is_open && self.running.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                Some(done) = self.running.next() => {
                    self.bytes.pop_front();
                    let mut done = done?;
                    if let Some(rest) = done.rest.take() {
                        self.bytes.push_front(rest.bytes());
                        let task = self.score(rest);
                        self.running.push_front(task);
                    }
                    return Ok(Some(done));
                }
                window = next_window(&mut self.windows, &self.cache), if is_free => match window? {
                    None => self.is_open = false,
                    Some(window) => {
                        self.bytes.push_back(window.bytes());
                        let task = self.score(window);
                        self.running.push_back(task);
                    }
                },
            }
        }
    }

    /// Whether one more window may be begun. Where lines are long, a window takes as much memory as many usual ones.
    fn has_room(&self) -> bool {
        let most = self.at_once.saturating_mul(WINDOW_BYTES);
        self.running.len() < self.at_once && self.bytes.iter().sum::<usize>() < most
    }

    fn score(&self, window: Window) -> JoinHandle<Done> {
        let lane = self.lane.clone();
        // In the trace of the call, where there is one.
        tokio::spawn(async move { lane.score(window).await }.in_current_span())
    }

    /// Waits until the results are stored, unless the store does not take them.
    pub(crate) async fn settle(&self) {
        settle(&self.cache, 0).await;
    }
}

async fn next_window(windows: &mut Windows, cache: &Cache) -> io::Result<Option<Window>> {
    settle(cache, MAX_UNSTORED).await;
    let window = windows.recv().await;
    // A reader that fails is not at the end of the file.
    window.unwrap_or_else(|| Err(io::Error::other("its reader has ended early")))
}

/// Waits until no more than so many bytes of results wait to be stored, unless the store does not take them.
async fn settle(cache: &Cache, most: usize) {
    let give_up = Instant::now() + STORE_PATIENCE;
    while cache.unstored_bytes() > most
        && cache.remote_is_up() == Some(true)
        && Instant::now() < give_up
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The windows of a reader of lines, as [`windows_of`] gives them.
#[cfg(feature = "blobs")]
pub(crate) fn read_windows<R: BufRead + Send + 'static>(
    mut lines: Lines<R>,
    rows: usize,
    bytes: usize,
) -> Windows {
    windows_of(move || lines.window(rows, bytes))
}

/// Reads windows on a thread of its own, which a read of standard input may hold for ever. It ends with the file, with an
/// error, or when the receiver is dropped.
pub(crate) fn windows_of(
    mut next: impl FnMut() -> io::Result<Option<Window>> + Send + 'static,
) -> Windows {
    let (send, receive) = mpsc::channel(1);
    std::thread::spawn(move || {
        loop {
            let window = next();
            let is_last = !matches!(window, Ok(Some(_)));
            if send.blocking_send(window).is_err() || is_last {
                return;
            }
        }
    });
    receive
}
