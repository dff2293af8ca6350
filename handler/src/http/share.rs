//! How the requests of one thread share it.
//!
//! A request is scored on the thread of its connection. Where many are there at once, everything else on the thread would wait
//! for all of them, the host's probe too. So a thread scores for [`SLICE`] at a stretch and then looks at its sockets. Requests
//! with long bodies wait for their turns meanwhile, one behind the other; short ones only let the others go first, once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::task::yield_now;
use warp::http::{HeaderMap, header};

/// How long requests may keep the thread before it looks at its sockets again.
const SLICE: Duration = Duration::from_millis(4);
/// From this length on, the work on a body takes long enough to be worth a turn.
const LONG_BYTES: usize = 4096;

/// The share that requests have in the time of one thread.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Nanoseconds since the thread has looked at its sockets, as far as that is known.
    used: AtomicU64,
    /// How many requests wait for a turn.
    waiting: AtomicUsize,
    turns: Arc<Notify>,
    /// Whether a task is there that gives new turns.
    is_renewed: AtomicBool,
}

impl Share {
    /// Lets a request share the thread with others.
    pub(super) fn limit<F>(self: &Arc<Self>, is_long: bool, request: F) -> Limited<F> {
        Limited {
            request,
            wait: Wait {
                share: self.clone(),
                is_long,
                turn: None,
                has_let_others_go: false,
            },
        }
    }

    fn is_used_up(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= SLICE.as_nanos() as u64
    }

    fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    fn note(&self, time: Duration) {
        self.used
            .fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Sees that the thread looks at its sockets and that the next turn begins then.
    fn renew(self: &Arc<Self>) {
        if self.is_renewed.swap(true, Ordering::SeqCst) {
            return;
        }
        let share = self.clone();
        tokio::spawn(async move {
            loop {
                // The scheduler looks at its sockets before it comes back.
                yield_now().await;
                share.used.store(0, Ordering::Relaxed);
                if share.has_waiting() {
                    share.turns.notify_one();
                    continue;
                }
                share.is_renewed.store(false, Ordering::SeqCst);
                // Who came meanwhile has seen a task and started none.
                if !share.has_waiting() || share.is_renewed.swap(true, Ordering::SeqCst) {
                    break;
                }
            }
        });
    }
}

/// Whether the work on a request may take long. A body of unknown length may.
pub(super) fn may_be_long(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) => length >= LONG_BYTES,
        None => headers.contains_key(header::TRANSFER_ENCODING),
    }
}

pin_project! {
    /// A request that waits for its turn where the thread has no time left.
    pub(super) struct Limited<F> {
        #[pin]
        request: F,
        wait: Wait,
    }
}

/// How a request waits for its turn.
struct Wait {
    share: Arc<Share>,
    is_long: bool,
    turn: Option<Turn>,
    has_let_others_go: bool,
}

/// A request's place in the queue; given up when it is dropped.
struct Turn {
    share: Arc<Share>,
    given: Pin<Box<OwnedNotified>>,
}

impl Turn {
    fn wait(share: &Arc<Share>) -> Self {
        share.waiting.fetch_add(1, Ordering::SeqCst);
        Self {
            share: share.clone(),
            given: Box::pin(share.turns.clone().notified_owned()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.share.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Wait {
    /// Ready once the request may use the thread.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.turn.is_none() {
            let is_free = !self.share.is_used_up();
            if is_free && !(self.is_long && self.share.has_waiting()) {
                return Poll::Ready(());
            }
            if self.is_long {
                self.turn = Some(Turn::wait(&self.share));
                self.share.renew();
            } else if std::mem::replace(&mut self.has_let_others_go, true) {
                return Poll::Ready(());
            } else {
                self.share.renew();
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if let Some(turn) = &mut self.turn {
            ready!(turn.given.as_mut().poll(context));
            self.turn = None;
        }
        Poll::Ready(())
    }
}

impl<F: Future> Future for Limited<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        ready!(this.wait.poll_turn(context));
        let Wait { share, is_long, .. } = this.wait;
        let start = Instant::now();
        let outcome = this.request.poll(context);
        share.note(start.elapsed());
        if *is_long && share.has_waiting() && !share.is_used_up() {
            share.turns.notify_one();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use warp::http::HeaderValue;

    use super::*;

    fn used_up() -> Arc<Share> {
        let share = Arc::<Share>::default();
        share.note(SLICE);
        share
    }

    #[tokio::test]
    async fn long_requests_go_one_behind_the_other_and_short_ones_pass_by() {
        let share = used_up();
        let order = Mutex::new(Vec::new());
        let request = |name: &'static str, is_long| {
            let (share, order) = (&share, &order);
            let work = async move {
                order.lock().unwrap().push(name);
                share.note(SLICE);
            };
            share.limit(is_long, work)
        };
        let (a, b, c) = (request("a", true), request("b", true), request("c", true));
        // One whose client goes away keeps no other from its turn.
        let mut gone = Box::pin(request("gone", true));
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        join_all([a, b, request("short", false), c]).await;
        assert_eq!(*order.lock().unwrap(), ["short", "a", "b", "c"]);
        assert!(!share.has_waiting());
    }

    #[tokio::test]
    async fn requests_that_fit_into_a_slice_do_not_wait() {
        let share = Arc::<Share>::default();
        let request = |is_long| Box::pin(share.limit(is_long, async {}));
        assert!(futures_util::poll!(request(true)).is_ready());
        assert!(futures_util::poll!(request(false)).is_ready());
        share.note(SLICE);
        assert!(futures_util::poll!(request(false)).is_pending());
        while share.is_used_up() {
            yield_now().await;
        }
        assert!(futures_util::poll!(request(true)).is_ready());
    }

    #[test]
    fn bodies_of_some_length_or_an_unknown_one_may_take_long() {
        let may_be_long = |name: header::HeaderName, value: &'static str| {
            let value = HeaderValue::from_static(value);
            may_be_long(&HeaderMap::from_iter([(name, value)]))
        };
        assert!(may_be_long(header::CONTENT_LENGTH, "4096"));
        assert!(!may_be_long(header::CONTENT_LENGTH, "4095"));
        assert!(may_be_long(header::TRANSFER_ENCODING, "chunked"));
        assert!(!super::may_be_long(&HeaderMap::new()));
    }
}
