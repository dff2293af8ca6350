//! The threads that own a model's sessions, and the bounded queue before them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::ScoreError;
use crate::model::{Model, RunError};
use crate::rows::Rows;
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
    inputs: Vec<Tensor>,
    rows: usize,
    since: Instant,
    reply: oneshot::Sender<Result<Ran, ScoreError>>,
    /// The job's place in the queue; given back when the job is dropped, run or not.
    _place: OwnedSemaphorePermit,
}

/// Hands work to the sessions. They end when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Batcher {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
    max_waiting_rows: usize,
}

impl Batcher {
    /// Starts one thread for each session.
    pub(crate) fn start(
        name: &str,
        models: Vec<Box<dyn Model>>,
        rows: Rows,
        limits: BatchLimits,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = unbounded();
        let max_waiting_rows = limits.max_waiting_rows.min(Semaphore::MAX_PERMITS);
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
        Ok(Self {
            jobs,
            places: Arc::new(Semaphore::new(max_waiting_rows)),
            max_waiting_rows,
        })
    }

    /// Runs `rows` rows as soon as a session is free.
    ///
    /// Dropping the future takes the job out of the queue, unless it is running already.
    ///
    /// # Errors
    /// [`ScoreError::Overloaded`] at once if too many rows wait; else what the run gave.
    pub(crate) async fn run(&self, inputs: Vec<Tensor>, rows: usize) -> Result<Ran, ScoreError> {
        // A request larger than the whole queue may have it to itself.
        let places = rows.clamp(1, self.max_waiting_rows) as u32;
        let place = self
            .places
            .clone()
            .try_acquire_many_owned(places)
            .map_err(|_| ScoreError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let job = Job {
            inputs,
            rows,
            since: Instant::now(),
            reply,
            _place: place,
        };
        let stopped = || ScoreError::Internal("the model's threads have ended".to_owned());
        self.jobs.send(job).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Rows that wait or run now.
    pub(crate) fn waiting_rows(&self) -> usize {
        self.max_waiting_rows - self.places.available_permits()
    }
}

struct Worker {
    model: Box<dyn Model>,
    queue: Receiver<Job>,
    max_batch_rows: usize,
}

impl Worker {
    fn work(mut self) {
        let mut next = None;
        while let Some(first) = next.take().or_else(|| self.queue.recv().ok()) {
            let mut jobs = Vec::with_capacity(1);
            if !first.reply.is_closed() {
                jobs.push(first);
            }
            next = self.take_company(&mut jobs);
            self.run(jobs);
        }
    }

    /// Adds what waits already and fits, without waiting for more. The first job that does not fit starts the next run.
    fn take_company(&self, jobs: &mut Vec<Job>) -> Option<Job> {
        let mut rows: usize = jobs.iter().map(|job| job.rows).sum();
        while rows < self.max_batch_rows {
            let job = match self.queue.try_recv() {
                Ok(job) if job.reply.is_closed() => continue,
                Ok(job) => job,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            };
            let fits = jobs
                .first()
                .is_none_or(|first| same_row_shapes(first, &job));
            if !fits || rows + job.rows > self.max_batch_rows {
                return Some(job);
            }
            rows += job.rows;
            jobs.push(job);
        }
        None
    }

    fn run(&mut self, mut jobs: Vec<Job>) {
        if jobs.len() > 1 {
            match self.run_together(&jobs) {
                Some(answers) => {
                    for (job, answer) in jobs.into_iter().zip(answers) {
                        let _ = job.reply.send(Ok(answer));
                    }
                    return;
                }
                // One of them may be at fault: each for itself then.
                None => jobs.retain(|job| !job.reply.is_closed()),
            }
        }
        for job in jobs {
            let start = Instant::now();
            let answer = self.run_once(&job.inputs).map(|outputs| Ran {
                outputs,
                queue: start - job.since,
                infer: start.elapsed(),
            });
            // Whoever asked may have gone.
            let _ = job.reply.send(answer);
        }
    }

    fn run_together(&mut self, jobs: &[Job]) -> Option<Vec<Ran>> {
        let start = Instant::now();
        let inputs: Vec<Tensor> = (0..jobs[0].inputs.len())
            .map(|input| Tensor::stack(jobs.iter().map(|job| &job.inputs[input])))
            .collect::<Option<_>>()?;
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
    fn run_once(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ScoreError> {
        match catch_unwind(AssertUnwindSafe(|| self.model.run(inputs))) {
            Ok(Ok(outputs)) => Ok(outputs),
            Ok(Err(RunError::Rejected(reason))) => Err(ScoreError::ModelRejected(reason)),
            Ok(Err(RunError::Failed(reason))) => Err(ScoreError::Internal(reason)),
            Err(_) => Err(ScoreError::Internal("the model's run panicked".to_owned())),
        }
    }
}

fn same_row_shapes(a: &Job, b: &Job) -> bool {
    let pairs = a.inputs.iter().zip(&b.inputs);
    let mut shapes = pairs.map(|(a, b)| a.row_shape() == b.row_shape());
    shapes.all(|same| same)
}

#[cfg(test)]
mod tests;
