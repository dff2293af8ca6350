//! One session and the jobs it runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tracing::Span;

use super::job::{Job, Ran};
use super::wait::Wait;
use crate::error::ScoreError;
use crate::histogram::{RowCounts, Times};
use crate::model::{Model, RunError};
use crate::signature::Arranged;
use crate::signature::Rows;
use crate::tensor::Tensor;

/// What a model's sessions did so far. Cloning shares the figures.
#[derive(Debug, Clone, Default)]
pub struct BatchStats {
    /// How long jobs waited for a session.
    pub waits: Times,
    /// How long the runs took.
    pub runs: Times,
    /// Rows of the runs.
    pub run_rows: RowCounts,
}

pub(super) struct Session {
    model: Box<dyn Model>,
    /// Several rows of one job are run one after the other, since each gets its own result only alone.
    one_by_one: bool,
    stats: BatchStats,
}

impl Session {
    pub(super) fn new(model: Box<dyn Model>, rows: Rows, stats: BatchStats) -> Self {
        Self {
            model,
            one_by_one: rows == Rows::Alone,
            stats,
        }
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

    /// Lets the model do what need not delay answers.
    pub(super) fn after_run(&mut self) {
        self.model.after_run();
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
        let outcome = match self.rows_to_part(inputs) {
            Some(rows) => self.run_one_by_one(inputs, rows),
            None => self.run_once(inputs),
        };
        let infer = start.elapsed();
        // Failed runs count as well, because they take time too.
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

    /// How many rows have to be run one by one, if that is more than one. Optional inputs have no rows: each row gets them.
    fn rows_to_part(&self, inputs: &Arranged) -> Option<usize> {
        let required = inputs.tensors.len().saturating_sub(inputs.given.len());
        let mut rows = inputs.tensors.iter().take(required).map(Tensor::rows);
        let first = rows.next().flatten()?;
        let all_have = rows.all(|rows| rows == Some(first));
        (self.one_by_one && first > 1 && all_have).then_some(first)
    }

    /// Runs each row by itself and stacks the results.
    fn run_one_by_one(
        &mut self,
        inputs: &Arranged,
        rows: usize,
    ) -> Result<Vec<Tensor>, ScoreError> {
        let mut results: Vec<Vec<Tensor>> = Vec::with_capacity(rows);
        let required = inputs.tensors.len().saturating_sub(inputs.given.len());
        for row in 0..rows {
            let tensors = inputs.tensors.iter().enumerate();
            let alone = Arranged {
                tensors: tensors
                    .map(|(place, input)| match place < required {
                        true => input.take_rows(&[row]),
                        false => input.clone(),
                    })
                    .collect(),
                given: inputs.given.clone(),
            };
            let outputs = self.run_once(&alone)?;
            if outputs.iter().any(|output| output.rows() != Some(1)) {
                return Err(unlike_rows());
            }
            results.push(outputs);
        }
        let count = results.first().map_or(0, Vec::len);
        (0..count)
            .map(|output| Tensor::stack(results.iter().filter_map(|row| row.get(output))))
            .collect::<Option<_>>()
            .ok_or_else(unlike_rows)
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
            Ok(Err(error)) => Err(ScoreError::Internal(error.to_string())),
            Err(_) => Err(ScoreError::Internal("the model's run panicked".to_owned())),
        }
    }
}

/// What a model gives for one row is no row, or not one like those of other rows.
fn unlike_rows() -> ScoreError {
    ScoreError::ModelRejected(
        "each row is run by itself, and their results cannot be put together: they differ in shape; send one row per request"
            .to_owned(),
    )
}
