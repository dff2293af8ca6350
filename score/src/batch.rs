//! The threads that own a model's sessions, and the bounded queue before them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::ScoreError;
use crate::model::{Model, RunError};
use crate::rows::Rows;
use crate::signature::Arranged;
use crate::tensor::Tensor;

/// How work waits and travels.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Rows that may wait or run; beyond that requests are refused.
    pub max_waiting_rows: usize,
    /// Rows of different requests that may share one run.
    pub max_batch_rows: usize,
}

/// The outputs of one job and where its time went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outputs: Vec<Tensor>,
    pub(crate) queue: Duration,
    pub(crate) infer: Duration,
}

struct Job {
    inputs: Arranged,
    rows: usize,
    since: Instant,
    reply: oneshot::Sender<Result<Ran, ScoreError>>,
    /// The job's place in the queue; given back when the job is dropped, run or not.
    _place: OwnedSemaphorePermit,
}

impl Job {
    /// Gives the place back first: whoever gets the answer may come again at once.
    fn answer(self, answer: Result<Ran, ScoreError>) {
        let Self { reply, _place, .. } = self;
        drop(_place);
        // Whoever asked may have gone.
        let _ = reply.send(answer);
    }
}

/// Jobs in the order they came, for all sessions of a model.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Nothing that runs under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Drops the jobs whose callers have gone, and with them their places.
    fn drop_abandoned(&self) {
        self.lock().jobs.retain(|job| !job.reply.is_closed());
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for a job and takes those that may share its run and wait already; it does not wait for more. Jobs whose
    /// caller has gone are dropped. `None` when the queue is closed.
    fn take(&self, max_batch_rows: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        let first = loop {
            match state.jobs.pop_front() {
                Some(job) if job.reply.is_closed() => {}
                Some(job) => break job,
                None if state.closed => return None,
                None => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
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
        Some(jobs)
    }
}

/// Hands work to the sessions. Their threads end with it.
pub(crate) struct Batcher {
    queue: Arc<Queue>,
    places: Arc<Semaphore>,
    max_waiting_rows: usize,
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
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let max_waiting_rows = limits.max_waiting_rows.clamp(1, Semaphore::MAX_PERMITS);
        // Before the threads, so that those already there end if one cannot be started.
        let batcher = Self {
            queue: queue.clone(),
            places: Arc::new(Semaphore::new(max_waiting_rows)),
            max_waiting_rows,
        };
        for (number, model) in models.into_iter().enumerate() {
            let worker = Worker {
                model,
                queue: queue.clone(),
                // Only rows that do not look at each other may share a run with strangers.
                max_batch_rows: match rows {
                    Rows::Independent => limits.max_batch_rows,
                    Rows::Together => 0,
                },
            };
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || worker.work())?;
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
        let places = rows.clamp(1, self.max_waiting_rows) as u32;
        let place = self.take_places(places).or_else(|| {
            self.queue.drop_abandoned();
            self.take_places(places)
        });
        let place = place.ok_or(ScoreError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let job = Job {
            inputs,
            rows,
            since: Instant::now(),
            reply,
            _place: place,
        };
        self.queue.push(job);
        let lost = |_| ScoreError::Internal("the run ended without a result".to_owned());
        answer.await.map_err(lost)?
    }

    fn take_places(&self, places: u32) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_many_owned(places).ok()
    }

    /// Rows that wait or run now.
    pub(crate) fn waiting_rows(&self) -> usize {
        self.max_waiting_rows - self.places.available_permits()
    }
}

struct Worker {
    model: Box<dyn Model>,
    queue: Arc<Queue>,
    max_batch_rows: usize,
}

impl Worker {
    /// A panic is the failure of the jobs it hits; the thread and its session go on.
    fn work(mut self) {
        while let Some(jobs) = self.queue.take(self.max_batch_rows) {
            let _ = catch_unwind(AssertUnwindSafe(|| self.run(jobs)));
        }
    }

    fn run(&mut self, jobs: Vec<Job>) {
        if jobs.len() > 1
            && let Some(answers) = self.run_together(&jobs)
        {
            for (job, answer) in jobs.into_iter().zip(answers) {
                job.answer(Ok(answer));
            }
            return;
        }
        // Alone, or one of them is at fault: each for itself then.
        for job in jobs {
            if job.reply.is_closed() {
                continue;
            }
            let start = Instant::now();
            let answer = self.run_once(&job.inputs).map(|outputs| Ran {
                outputs,
                queue: start - job.since,
                infer: start.elapsed(),
            });
            job.answer(answer);
        }
    }

    fn run_together(&mut self, jobs: &[Job]) -> Option<Vec<Ran>> {
        let start = Instant::now();
        let tensors = (0..jobs[0].inputs.tensors.len())
            .map(|input| Tensor::stack(jobs.iter().map(|job| &job.inputs.tensors[input])))
            .collect::<Option<_>>()?;
        let inputs = Arranged {
            tensors,
            given: Vec::new(),
        };
        let outputs = self.run_once(&inputs).ok()?;
        let rows: usize = jobs.iter().map(|job| job.rows).sum();
        if outputs.iter().any(|tensor| tensor.rows() != Some(rows)) {
            return None;
        }
        let infer = start.elapsed();
        let mut from = 0;
        let answers = jobs.iter().map(|job| {
            let mine: Vec<usize> = (from..from + job.rows).collect();
            from += job.rows;
            Ran {
                outputs: outputs.iter().map(|o| o.take_rows(&mine)).collect(),
                queue: start - job.since,
                infer,
            }
        });
        Some(answers.collect())
    }

    /// A panic below is this job's failure; the thread and its session go on.
    fn run_once(&mut self, inputs: &Arranged) -> Result<Vec<Tensor>, ScoreError> {
        match catch_unwind(AssertUnwindSafe(|| {
            self.model.run(&inputs.tensors, &inputs.given)
        })) {
            Ok(Ok(outputs)) => Ok(outputs),
            Ok(Err(RunError::Rejected(reason))) => Err(ScoreError::ModelRejected(reason)),
            Ok(Err(RunError::Failed(reason))) => Err(ScoreError::Internal(reason)),
            Err(_) => Err(ScoreError::Internal("the model's run panicked".to_owned())),
        }
    }
}

/// Jobs with optional inputs keep to themselves: those inputs have no rows.
fn same_row_shapes(a: &Job, b: &Job) -> bool {
    let pairs = a.inputs.tensors.iter().zip(&b.inputs.tensors);
    let mut shapes = pairs.map(|(a, b)| a.row_shape() == b.row_shape());
    a.inputs.given.is_empty() && b.inputs.given.is_empty() && shapes.all(|same| same)
}

#[cfg(test)]
mod tests;
