//! One connection: how long each of its parts may take, and how long ago its last complete request was.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use super::pace::Pace;

/// How long a connection may be idle: longer than the host keeps idle connections, so that it never sends into one that is
/// being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// In place of a time: a request of the connection is complete and not answered yet.
const IN_WORK: u64 = u64::MAX;

/// What the settings say about connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// How long a request's head may take from its first byte.
    pub(super) head: Duration,
    /// How answers have to be taken.
    pub(super) answers: Pace,
}

/// What is known of an open connection by all that serve it.
#[derive(Debug)]
pub(super) struct Connection {
    limits: ConnectionLimits,
    opened: Instant,
    /// Milliseconds since `epoch` at the last complete request, or else at the beginning.
    last_complete: AtomicU64,
    epoch: Instant,
    state: Mutex<State>,
    is_closed: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When the connection is closed unless something happens before.
    deadline: Option<Instant>,
    /// Whether a part of the latest request's body may still come; it may do so behind the answer.
    is_body_open: bool,
    /// Since when an answer waits for the other side to take bytes.
    blocked: Option<Instant>,
    answers: Pace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// A part of a head has.
    Head,
    /// A head has; reading the body has time limits of its own.
    Request,
    /// The answer is being sent.
    Answer,
}

impl Connection {
    /// One that was opened now; times are told from `epoch` on.
    pub(super) fn new(limits: ConnectionLimits, epoch: Instant) -> Arc<Self> {
        let opened = Instant::now();
        Arc::new(Self {
            limits,
            opened,
            last_complete: AtomicU64::new(millis(opened - epoch)),
            epoch,
            state: Mutex::new(State {
                phase: Phase::Idle,
                deadline: Some(opened + IDLE_TIMEOUT),
                is_body_open: false,
                blocked: None,
                answers: limits.answers,
            }),
            is_closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// When its last complete request came, for comparison with others; `None` while one is in work.
    pub(super) fn last_complete(&self) -> Option<u64> {
        let last = self.last_complete.load(Ordering::Relaxed);
        (last != IN_WORK && !self.is_closed.load(Ordering::Relaxed)).then_some(last)
    }

    /// Has it closed by the task that serves it.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The head of a request has come.
    pub(super) fn head_came(self: &Arc<Self>, body: Incoming) -> RequestBody {
        let mut state = self.state.lock();
        (state.phase, state.deadline) = (Phase::Request, None);
        state.is_body_open = true;
        if body.is_end_stream() {
            self.request_came();
        }
        RequestBody {
            body,
            connection: self.clone(),
        }
    }

    /// All of a request is there.
    pub(super) fn request_came(&self) {
        self.last_complete.store(IN_WORK, Ordering::Relaxed);
    }

    /// All of a body is there. Behind its answer there is no work left.
    fn body_came(&self) {
        if self.state.lock().phase == Phase::Request {
            self.request_came();
        }
    }

    /// The answer is there, and is sent from now on.
    pub(super) fn answered(&self) {
        let mut state = self.state.lock();
        (state.phase, state.answers) = (Phase::Answer, self.limits.answers);
        if self.last_complete.load(Ordering::Relaxed) == IN_WORK {
            self.last_complete
                .store(millis(self.epoch.elapsed()), Ordering::Relaxed);
        }
    }

    fn has_read(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Idle && !state.is_body_open {
            state.phase = Phase::Head;
            state.deadline = Some(Instant::now() + self.limits.head);
        }
    }

    fn has_written(&self, bytes: usize) {
        let mut state = self.state.lock();
        if let Some(since) = state.blocked.take() {
            state.answers.moved(bytes, since.elapsed());
            state.deadline = None;
        }
    }

    fn is_blocked(&self) {
        let mut state = self.state.lock();
        if state.blocked.is_none() {
            let now = Instant::now();
            state.blocked = Some(now);
            state.deadline = Some(now + state.answers.left());
        }
    }

    fn has_sent_all(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Answer {
            state.phase = Phase::Idle;
            state.deadline = Some(Instant::now() + IDLE_TIMEOUT);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(IN_WORK - 1)
}

/// The body of a request, which tells its connection when it is there.
pub(super) struct RequestBody {
    body: Incoming,
    connection: Arc<Connection>,
}

impl Body for RequestBody {
    type Data = <Incoming as Body>::Data;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.connection.body_came();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.connection.state.lock().is_body_open = false;
    }
}

/// The socket of a connection, which tells it what is read and written.
pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => self.connection.has_written(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.is_blocked(),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // What the other side does not take would be kept by the system otherwise, for minutes.
        if self.connection.state.lock().blocked.is_some() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.connection.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper calls this when all is written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.has_sent_all();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

pin_project! {
    /// The work of a connection, until it ends, is closed or has used up its time.
    pub(super) struct Watched<F> {
        #[pin]
        work: F,
        connection: Arc<Connection>,
        // One timer for all deadlines: it is moved only where one is nearer than the time it is set to.
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F> Watched<F> {
    pub(super) fn new(work: F, connection: Arc<Connection>) -> Self {
        Self {
            work,
            connection,
            timer: None,
        }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        this.connection.waker.register(context.waker());
        if this.connection.is_closed.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if this.work.poll(context).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let (deadline, phase) = {
                let state = this.connection.state.lock();
                (state.deadline, state.phase)
            };
            let Some(deadline) = deadline else {
                return Poll::Pending;
            };
            match this.timer.as_ref().as_pin_ref() {
                Some(timer) if timer.deadline() <= deadline => {}
                _ => this.timer.set(Some(sleep_until(deadline))),
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(context));
            }
            if Instant::now() >= deadline {
                let age = this.connection.opened.elapsed();
                debug!(?phase, ?age, "a connection has used up its time");
                return Poll::Ready(());
            }
            this.timer.set(None);
        }
    }
}
