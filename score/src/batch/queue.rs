//! Jobs that wait, sessions that are free, and how the two meet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Ran;
use super::session::Session;
use super::wait::Wait;
use crate::error::ScoreError;
use crate::signature::Arranged;

pub(super) struct Job {
    pub(super) inputs: Arranged,
    pub(super) rows: usize,
    pub(super) wait: Wait,
    pub(super) reply: oneshot::Sender<Result<Ran, ScoreError>>,
    /// The job's permit for the queue; returned when the job is dropped, run or not.
    pub(super) place: Arc<OwnedSemaphorePermit>,
}

impl Job {
    /// Returns the permit first, because the receiver of the answer may send the next request at once. Also drops the
    /// request's span: if the process ends after the answer, it would be lost.
    pub(super) fn answer(self, answer: Result<Ran, ScoreError>) {
        let Self {
            reply, place, wait, ..
        } = self;
        drop((place, wait));
        // The request may have been cancelled.
        let _ = reply.send(answer);
    }
}

/// Jobs in the order they came, for all sessions of a model.
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// Only the thread that took a session's number from the free list locks it.
    sessions: Vec<Mutex<Session>>,
    /// What a row takes, as a moving average; 0 until a run has shown it.
    row_nanos: AtomicU64,
}

struct QueueState {
    jobs: VecDeque<Job>,
    /// The numbers of the idle sessions.
    free: Vec<usize>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(sessions: Vec<Session>) -> Self {
        Self {
            state: Mutex::new(QueueState {
                jobs: VecDeque::new(),
                free: (0..sessions.len()).collect(),
                closed: false,
            }),
            sessions: sessions.into_iter().map(Mutex::new).collect(),
            changed: Condvar::new(),
            row_nanos: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Nothing that runs under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Drops the jobs whose callers have gone, and with them their places.
    pub(super) fn drop_abandoned(&self) {
        self.lock().jobs.retain(|job| !job.reply.is_closed());
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// A session for a caller that prefers to run now, if there is an idle one and no work is waiting. While
    /// other sessions are at work only very short runs are let in: others are better collected for a common run.
    pub(super) fn take_free(&self, rows: usize, longest: Duration) -> Option<FreeSession<'_>> {
        let row_nanos = self.row_nanos.load(Ordering::Relaxed);
        let expected = Duration::from_nanos(row_nanos.saturating_mul(rows as u64));
        if row_nanos == 0 || expected > longest {
            return None;
        }
        let mut state = self.lock();
        let idle = state.free.len() == self.sessions.len();
        if !state.jobs.is_empty() || !(idle || expected <= longest / 10) {
            return None;
        }
        let number = state.free.pop()?;
        Some(FreeSession {
            queue: self,
            number,
        })
    }

    /// Waits for a job and a session, and takes those jobs that may share the run and wait already; it does not wait
    /// for more. Jobs whose caller has gone are dropped. `None` when the queue is closed.
    pub(super) fn take(&self, max_batch_rows: usize) -> Option<(Vec<Job>, FreeSession<'_>)> {
        let mut state = self.lock();
        let (first, number) = loop {
            let abandoned = |job: &Job| job.reply.is_closed();
            while state.jobs.front().is_some_and(abandoned) {
                state.jobs.pop_front();
            }
            if state.jobs.is_empty() && state.closed {
                return None;
            }
            if !state.jobs.is_empty()
                && let Some(number) = state.free.pop()
                && let Some(job) = state.jobs.pop_front()
            {
                break (job, number);
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        };
        let mut rows = first.rows;
        let mut jobs = vec![first];
        while let Some(next) = state.jobs.front() {
            if next.reply.is_closed() {
                state.jobs.pop_front();
                continue;
            }
            rows = rows.saturating_add(next.rows);
            if rows > max_batch_rows || !same_row_shapes(&jobs[0], next) {
                break;
            }
            jobs.extend(state.jobs.pop_front());
        }
        let session = FreeSession {
            queue: self,
            number,
        };
        Some((jobs, session))
    }

    /// Learns from a run.
    pub(super) fn ran(&self, rows: usize, infer: Duration) {
        let nanos = u64::try_from(infer.as_nanos()).unwrap_or(u64::MAX) / rows.max(1) as u64;
        let before = self.row_nanos.load(Ordering::Relaxed);
        let average = match before {
            0 => nanos,
            _ => before / 8 * 7 + nanos / 8,
        };
        // Two runs that end at once may lose one of the measurements.
        self.row_nanos.store(average.max(1), Ordering::Relaxed);
    }
}

/// The right to a session; it goes back when this is dropped.
pub(super) struct FreeSession<'a> {
    queue: &'a Queue,
    number: usize,
}

impl FreeSession<'_> {
    pub(super) fn lock(&mut self) -> MutexGuard<'_, Session> {
        let session = self.queue.sessions[self.number].lock();
        session.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FreeSession<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.free.push(self.number);
        let waiting = !state.jobs.is_empty();
        drop(state);
        if waiting {
            self.queue.changed.notify_one();
        }
    }
}

/// Jobs with optional inputs keep to themselves: those inputs have no rows.
fn same_row_shapes(a: &Job, b: &Job) -> bool {
    let pairs = a.inputs.tensors.iter().zip(&b.inputs.tensors);
    let mut shapes = pairs.map(|(a, b)| a.row_shape() == b.row_shape());
    a.inputs.given.is_empty() && b.inputs.given.is_empty() && shapes.all(|same| same)
}
