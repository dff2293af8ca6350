//! Waiting for a session: at once if the run is short and a session is free, else in a bounded queue, in company.

mod job;
mod queue;
mod session;
mod texts;
mod wait;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::ScoreError;
use crate::model::Model;
use crate::signature::Arranged;
use crate::signature::Rows;
use crate::tensor::Tensor;
use job::Job;
pub(crate) use job::Ran;
use queue::Queue;
pub use session::BatchStats;
use session::Session;
#[cfg(test)]
pub(crate) use texts::fake;
pub(crate) use texts::{RanTexts, TextBatcher, TextResults, refusal};
use wait::Wait;

/// How work waits and travels.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Rows that may wait or run; beyond that requests are refused.
    pub max_waiting_rows: usize,
    /// Rows that may share one run. Rows of different requests are collected up to here, and requests with more are cut,
    /// so that others need not wait for all of them; both only where rows are independent.
    pub max_batch_rows: usize,
    /// Runs expected to be no longer are made by the thread that asks, if a session is idle: waking another one takes
    /// tens of microseconds.
    pub max_inline: Duration,
}

/// Hands work to the sessions. Their threads end with it.
pub(crate) struct Batcher {
    queue: Arc<Queue>,
    places: Arc<Semaphore>,
    rows: Rows,
    sessions: usize,
    limits: BatchLimits,
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Batcher {
    /// Starts one thread for each session.
    pub(crate) fn start(
        name: &str,
        models: Vec<Box<dyn Model>>,
        rows: Rows,
        limits: BatchLimits,
        stats: BatchStats,
    ) -> std::io::Result<Self> {
        let sessions = models.len();
        let session = |model| Session::new(model, rows, stats.clone());
        let queue = Arc::new(Queue::new(models.into_iter().map(session).collect()));
        let limits = BatchLimits {
            max_waiting_rows: limits.max_waiting_rows.clamp(1, Semaphore::MAX_PERMITS),
            max_batch_rows: limits.max_batch_rows.max(1),
            ..limits
        };
        // Before the threads, so that those already there end if one cannot be started.
        let batcher = Self {
            queue: queue.clone(),
            places: Arc::new(Semaphore::new(limits.max_waiting_rows)),
            rows,
            sessions,
            limits,
        };
        // Only rows that do not look at each other may share a run with strangers.
        let max_batch_rows = match rows {
            Rows::Independent => limits.max_batch_rows,
            Rows::Alone | Rows::Together => 0,
        };
        for number in 0..sessions {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || work(&queue, max_batch_rows))?;
        }
        Ok(batcher)
    }

    /// Runs `rows` rows as soon as a session is free.
    ///
    /// When the future is dropped, a job that is not running yet never will.
    ///
    /// # Errors
    /// [`ScoreError::Overloaded`] at once if too many rows wait; else what the run gave.
    pub(crate) async fn run(&self, inputs: Arranged, rows: usize) -> Result<Ran, ScoreError> {
        // A request larger than the whole queue may have it to itself.
        let places = rows.clamp(1, self.limits.max_waiting_rows) as u32;
        let place = self.take_places(places).or_else(|| {
            self.queue.drop_abandoned();
            self.take_places(places)
        });
        let place = Arc::new(place.ok_or(ScoreError::Overloaded)?);
        if let Some(mut session) = self.queue.take_free(rows, self.limits.max_inline) {
            let ran = |rows, infer| self.queue.ran(rows, infer);
            return session
                .lock()
                .run_alone(&inputs, rows, &mut Wait::begin(), ran);
        }
        let part = self.part_of(rows);
        let cut = rows > part && inputs.given.is_empty();
        if cut && let Some(ran) = self.run_in_parts(&inputs, rows, part, &place).await? {
            return Ok(ran);
        }
        self.queued(inputs, rows, place).await
    }

    /// How many rows of a request with so many go to a session at once. Rows that run alone need no company: they are
    /// spread over all sessions.
    fn part_of(&self, rows: usize) -> usize {
        match self.rows {
            Rows::Independent => self.limits.max_batch_rows,
            Rows::Alone => rows
                .div_ceil(self.sessions)
                .clamp(1, self.limits.max_batch_rows),
            Rows::Together => usize::MAX,
        }
    }

    /// Waits for a run of its own or in company.
    async fn queued(
        &self,
        inputs: Arranged,
        rows: usize,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<Ran, ScoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job {
            inputs,
            rows,
            wait: Wait::begin(),
            reply,
            place,
        });
        let lost = |_| ScoreError::Internal("the run ended without a result".to_owned());
        answer.await.map_err(lost)?
    }

    /// Runs many rows in parts of so many, on all sessions. No more parts wait at any time than there are sessions: what others
    /// ask for meanwhile comes in between. `None` if the outputs of the parts do not fit together.
    async fn run_in_parts(
        &self,
        inputs: &Arranged,
        rows: usize,
        part: usize,
        place: &Arc<OwnedSemaphorePermit>,
    ) -> Result<Option<Ran>, ScoreError> {
        let start = Instant::now();
        let parts = stream::iter((0..rows).step_by(part)).map(|first| {
            let mine: Vec<usize> = (first..rows.min(first + part)).collect();
            let tensors = inputs.tensors.iter();
            let inputs = Arranged {
                tensors: tensors.map(|input| input.take_rows(&mine)).collect(),
                given: Vec::new(),
            };
            self.queued(inputs, mine.len(), place.clone())
        });
        let ran: Vec<Ran> = parts.buffered(self.sessions).try_collect().await?;
        let Some(first) = ran.first() else {
            return Ok(None);
        };
        let outputs = (0..first.outputs.len())
            .map(|output| Tensor::stack(ran.iter().filter_map(|part| part.outputs.get(output))))
            .collect::<Option<Vec<Tensor>>>();
        let fitting = outputs.filter(|all| all.iter().all(|output| output.rows() == Some(rows)));
        Ok(fitting.map(|outputs| Ran {
            outputs,
            rows,
            queue: first.queue,
            infer: start.elapsed().saturating_sub(first.queue),
        }))
    }

    fn take_places(&self, places: u32) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_many_owned(places).ok()
    }

    /// Rows that wait or run now.
    pub(crate) fn waiting_rows(&self) -> usize {
        self.limits.max_waiting_rows - self.places.available_permits()
    }
}

/// A panic is the failure of the jobs it hits; the thread and the session go on.
fn work(queue: &Queue, max_batch_rows: usize) {
    while let Some((jobs, mut session)) = queue.take(max_batch_rows) {
        let ran = |rows, infer| queue.ran(rows, infer);
        let _ = catch_unwind(AssertUnwindSafe(|| session.lock().run_jobs(jobs, ran)));
        let _ = catch_unwind(AssertUnwindSafe(|| session.lock().after_run()));
    }
}

#[cfg(test)]
mod tests;
