//! Jobs that wait, sessions that are free, and how the two meet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::job::Job;
use super::session::Session;

/// Jobs in the order they came, for all sessions of a model.
pub(super) struct Queue {
    /// Locked to add or take jobs and sessions, never while a session runs.
    state: Mutex<QueueState>,
    /// Wakes a session's thread: there is a job, or the queue is closed.
    changed: Condvar,
    /// Locked for a run, and only by the holder of the session's number, so that no lock is ever waited for.
    sessions: Vec<Mutex<Session>>,
    /// What a row takes, as a moving average; 0 until a run has shown it.
    row_nanos: AtomicU64,
}

struct QueueState {
    jobs: VecDeque<Job>,
    /// The numbers of the sessions that no thread uses now.
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

    pub(super) fn push(&self, job: Job) {
        self.state.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Drops the jobs whose callers have gone, and with them their places.
    pub(super) fn drop_abandoned(&self) {
        self.state.lock().jobs.retain(|job| !job.reply.is_closed());
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// A session for a caller who would rather run now than wait, if there is one and no job waits already. While
    /// other sessions are at work only very short runs are let in: others are better collected for a common run.
    pub(super) fn take_free(&self, rows: usize, longest: Duration) -> Option<FreeSession<'_>> {
        let row_nanos = self.row_nanos.load(Ordering::Relaxed);
        let expected = Duration::from_nanos(row_nanos.saturating_mul(rows as u64));
        if row_nanos == 0 || expected > longest {
            return None;
        }
        let mut state = self.state.lock();
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
        let mut state = self.state.lock();
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
            self.changed.wait(&mut state);
        };
        let mut rows = first.rows;
        let mut jobs = vec![first];
        while let Some(next) = state.jobs.front() {
            if next.reply.is_closed() {
                state.jobs.pop_front();
                continue;
            }
            rows = rows.saturating_add(next.rows);
            if rows > max_batch_rows || !jobs[0].has_row_shapes_of(next) {
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
        // Two runs that end at the same time may lose one of the two times.
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
        self.queue.sessions[self.number].lock()
    }
}

impl Drop for FreeSession<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.free.push(self.number);
        let waiting = !state.jobs.is_empty();
        drop(state);
        if waiting {
            self.queue.changed.notify_one();
        }
    }
}
