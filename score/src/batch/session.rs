//! One session and the jobs it runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tracing::Span;

use super::queue::Job;
use super::wait::Wait;
use super::{BatchStats, Ran};
use crate::error::ScoreError;
use crate::model::{Model, RunError};
use crate::signature::Arranged;
use crate::tensor::Tensor;

pub(super) struct Session {
    model: Box<dyn Model>,
    stats: BatchStats,
}

impl Session {
    pub(super) fn new(model: Box<dyn Model>, stats: BatchStats) -> Self {
        Self { model, stats }
    }

    /// Runs jobs that may share a run, and answers them. `ran` is told the rows and the time of each run.
    pub(super) fn run_jobs(&mut self, mut jobs: Vec<Job>, ran: impl Fn(usize, Duration)) {
        if jobs.len() > 1
            && let Some(answers) = self.run_together(&mut jobs, &ran)
        {
            for (job, answer) in jobs.into_iter().zip(answers) {
                job.answer(Ok(answer));
            }
            return;
        }
        // Alone, or one of them is at fault: each for itself then.
        for mut job in jobs {
            if job.reply.is_closed() {
                continue;
            }
            let answer = self.run_alone(&job.inputs, job.rows, &mut job.wait, &ran);
            job.answer(answer);
        }
    }

    /// Runs the inputs of one job, whose wait ends.
    pub(super) fn run_alone(
        &mut self,
        inputs: &Arranged,
        rows: usize,
        wait: &mut Wait,
        ran: impl Fn(usize, Duration),
    ) -> Result<Ran, ScoreError> {
        let start = Instant::now();
        let span = wait.end(rows);
        let outcome = self.run_once(inputs);
        let infer = start.elapsed();
        // Whatever became of it: failed runs take time too.
        self.note(rows, infer, [span], &outcome);
        self.stats.waits.observe(start - wait.since);
        let outputs = outcome?;
        ran(rows, infer);
        Ok(Ran {
            outputs,
            rows,
            queue: start - wait.since,
            infer,
        })
    }

    fn run_together(
        &mut self,
        jobs: &mut [Job],
        ran: impl Fn(usize, Duration),
    ) -> Option<Vec<Ran>> {
        let start = Instant::now();
        let tensors = (0..jobs[0].inputs.tensors.len())
            .map(|input| Tensor::stack(jobs.iter().map(|job| &job.inputs.tensors[input])))
            .collect::<Option<_>>()?;
        let inputs = Arranged {
            tensors,
            given: Vec::new(),
        };
        let rows: usize = jobs.iter().map(|job| job.rows).sum();
        let spans: Vec<Span> = jobs.iter_mut().map(|job| job.wait.end(rows)).collect();
        let outcome = self.run_once(&inputs);
        let infer = start.elapsed();
        self.note(rows, infer, spans, &outcome);
        let outputs = outcome.ok()?;
        if outputs.iter().any(|tensor| tensor.rows() != Some(rows)) {
            return None;
        }
        ran(rows, infer);
        let mut from = 0;
        let answers = jobs.iter().map(|job| {
            let mine: Vec<usize> = (from..from + job.rows).collect();
            from += job.rows;
            self.stats.waits.observe(start - job.wait.since);
            Ran {
                outputs: outputs.iter().map(|o| o.take_rows(&mine)).collect(),
                rows,
                queue: start - job.wait.since,
                infer,
            }
        });
        Some(answers.collect())
    }

    /// Counts a run and ends its spans.
    fn note(
        &self,
        rows: usize,
        infer: Duration,
        spans: impl IntoIterator<Item = Span>,
        outcome: &Result<Vec<Tensor>, ScoreError>,
    ) {
        self.stats.runs.observe(infer);
        self.stats.run_rows.observe(rows);
        for span in spans {
            if let Err(error) = outcome {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", error.code().as_str());
            }
        }
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
