//! The body of a request before it is read, and what becomes of it if it is not.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use warp::http::{HeaderMap, HeaderValue, header};

use crate::problem::Problem;

/// A body, whose sender may hold it back until it gets `100 Continue`. hyper sends that when the body is first polled.
pub(super) struct Upload<S> {
    stream: Pin<Box<S>>,
    held: Held,
}

/// Whether a body is held back by its sender.
#[derive(Clone)]
pub(super) struct Held(Option<Arc<AtomicBool>>);

impl Held {
    /// True until the body is polled.
    pub(super) fn is_back(&self) -> bool {
        let held = self.0.as_ref();
        held.is_some_and(|back| back.load(Ordering::Relaxed))
    }
}

impl<S> Upload<S> {
    pub(super) fn new(stream: S, headers: &HeaderMap) -> Self {
        let expect = headers.get(header::EXPECT).map(HeaderValue::as_bytes);
        let waits = expect.is_some_and(|expect| expect.eq_ignore_ascii_case(b"100-continue"));
        Self {
            stream: Box::pin(stream),
            held: Held(waits.then(|| Arc::new(AtomicBool::new(true)))),
        }
    }

    pub(super) fn held(&self) -> &Held {
        &self.held
    }
}

impl<S: Stream> Stream for Upload<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if let Some(back) = &self.held.0 {
            back.store(false, Ordering::Relaxed);
        }
        self.stream.as_mut().poll_next(context)
    }
}

/// Why a body could not be read to its end.
pub(super) fn broken(error: &warp::Error) -> Problem {
    if causes(error).any(is_end) {
        return Problem::client_closed();
    }
    // hyper's words about the chunks.
    let cause = causes(error).last();
    let cause = cause.map_or_else(String::new, ToString::to_string);
    Problem::bad_request(format!("the body cannot be read: {cause}"))
}

/// Whether the connection has ended, and not only sent something that is no chunk.
fn is_end(cause: &(dyn Error + 'static)) -> bool {
    let http = cause.downcast_ref::<hyper::Error>();
    let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
    http.is_some_and(|error| error.is_incomplete_message() || error.is_canceled())
        || matches!(
            io,
            Some(
                ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::TimedOut
            )
        )
}

fn causes(error: &warp::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    iter::successors(Some(first), |error| {
        let error: &(dyn Error + 'static) = *error;
        error.source()
    })
}
