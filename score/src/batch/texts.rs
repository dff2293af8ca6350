//! Waiting of texts for the sessions of a text model. Texts of all requests share runs by their lengths.

#[cfg(test)]
pub(crate) mod fake;
mod job;
mod queue;
mod share;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::warn;

use super::BatchLimits;
use super::session::BatchStats;
use crate::error::ScoreError;
use crate::model::{
    OpenSession, Passage, RunError, TextModel, TextSession, TokenizeError, Tokenized, Wanted,
};
use crate::tensor::Tensor;
use crate::text::TextOptions;
use job::Job;
use queue::{Chunk, Queue, Ready, Run, Work};

/// How long further sessions wait for the first run, and how long they leave the processor to its answer.
const FIRST_RUN: Duration = Duration::from_secs(1);
const FIRST_ANSWER: Duration = Duration::from_millis(50);

/// Hands texts to the sessions of a text model. Their threads end with it.
pub(crate) struct TextBatcher {
    model: Arc<dyn TextModel>,
    queue: Arc<Queue>,
    permits: Arc<Semaphore>,
    max_waiting: usize,
    /// One permit: for work of the tokenizer alone.
    tokenizing: Arc<Semaphore>,
    /// The thread that opens further sessions.
    opening: Option<JoinHandle<()>>,
}

/// Where the time of a request's texts went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RanTexts {
    /// Texts of the run; where there were several runs, the texts of the request.
    pub(crate) texts: usize,
    pub(crate) queue: Duration,
    pub(crate) infer: Duration,
}

/// The places of texts in their request, and the outputs of each.
pub(crate) type TextResults = Vec<(usize, Vec<Tensor>)>;

impl Drop for TextBatcher {
    fn drop(&mut self) {
        self.queue.close();
        // The program may end next, and the runtime with it.
        if let Some(opening) = self.opening.take() {
            let _ = opening.join();
        }
    }
}

impl TextBatcher {
    /// Starts the thread of the first session. Those of `later` are opened once its first run has ended, or after a second, so
    /// that the first answer need not share the processor with that.
    pub(crate) fn start(
        name: &str,
        model: Arc<dyn TextModel>,
        first: Box<dyn TextSession>,
        later: Vec<OpenSession>,
        limits: BatchLimits,
        stats: BatchStats,
    ) -> std::io::Result<Self> {
        let max_waiting = limits.max_waiting_rows.clamp(1, Semaphore::MAX_PERMITS);
        let threads = Threads {
            name: name.to_owned(),
            queue: Arc::new(Queue::new(stats.clone())),
            model: model.clone(),
            stats,
        };
        // Before the threads, so that the first one ends if the other cannot be started.
        let mut batcher = Self {
            queue: threads.queue.clone(),
            permits: Arc::new(Semaphore::new(max_waiting)),
            model,
            max_waiting,
            tokenizing: Arc::new(Semaphore::new(1)),
            opening: None,
        };
        threads.start(first)?;
        if !later.is_empty() {
            let thread = thread::Builder::new().name(format!("{name}-more"));
            batcher.opening = Some(thread.spawn(move || threads.open(later))?);
        }
        Ok(batcher)
    }

    /// What all sessions share.
    pub(crate) fn model(&self) -> &Arc<dyn TextModel> {
        &self.model
    }

    /// The turn of a request that needs the tokenizer alone.
    pub(crate) fn tokenizing(&self) -> &Arc<Semaphore> {
        &self.tokenizing
    }

    /// Runs texts as soon as sessions are free. `done` is called with the results of each run, in any order; its error ends
    /// the request.
    ///
    /// When the future is dropped, texts that are not running yet never will.
    ///
    /// # Errors
    /// [`ScoreError::Overloaded`] at once if too many texts wait; else the first error of a text or of `done`.
    pub(crate) async fn run(
        &self,
        texts: Vec<Passage>,
        options: &TextOptions,
        wanted: Wanted,
        mut done: impl FnMut(TextResults) -> Result<(), ScoreError>,
    ) -> Result<RanTexts, ScoreError> {
        let count = texts.len();
        let mut ran = RanTexts {
            texts: count,
            queue: Duration::ZERO,
            infer: Duration::ZERO,
        };
        if count == 0 {
            return Ok(ran);
        }
        // A request larger than the whole queue may have it to itself.
        let permits = count.clamp(1, self.max_waiting) as u32;
        let permits = self.take_permits(permits).or_else(|| {
            self.queue.drop_abandoned();
            self.take_permits(permits)
        });
        let permits = permits.ok_or(ScoreError::Overloaded)?;
        let start = Instant::now();
        let (reply, mut parts) = mpsc::unbounded_channel();
        let job = Job::new(texts, options.clone(), wanted, reply, permits);
        self.queue.push(job);
        let mut left = count;
        while left > 0 {
            let lost = || ScoreError::Internal("the run ended without a result".to_owned());
            let part = parts.recv().await.ok_or_else(lost)??;
            if part.rows.len() == count {
                ran.texts = part.texts;
                ran.infer = part.infer;
            } else {
                ran.infer = start.elapsed().saturating_sub(part.queue);
            }
            ran.queue = part.queue;
            left = left.saturating_sub(part.rows.len());
            done(part.rows)?;
        }
        Ok(ran)
    }

    fn take_permits(&self, permits: u32) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_many_owned(permits).ok()
    }

    /// Texts that wait or run now.
    pub(crate) fn waiting_texts(&self) -> usize {
        self.max_waiting - self.permits.available_permits()
    }
}

/// Starts the threads of sessions.
struct Threads {
    name: String,
    queue: Arc<Queue>,
    model: Arc<dyn TextModel>,
    stats: BatchStats,
}

impl Threads {
    fn start(&self, session: Box<dyn TextSession>) -> std::io::Result<()> {
        let number = self.queue.add_session();
        let worker = Worker {
            name: self.name.clone(),
            number,
            queue: self.queue.clone(),
            model: self.model.clone(),
            session,
            stats: self.stats.clone(),
        };
        let thread = thread::Builder::new().name(format!("{}-{number}", self.name));
        thread.spawn(move || worker.work()).map(drop)
    }

    /// Opens one session after the other, as long as the model is in use.
    fn open(&self, later: Vec<OpenSession>) {
        self.queue.wait_for_run(FIRST_RUN);
        thread::sleep(FIRST_ANSWER);
        for open in later {
            if self.queue.is_closed() {
                return;
            }
            if let Some(session) = open()
                && let Err(error) = self.start(session)
            {
                warn!(model = self.name, %error, "a session has no thread, so the model goes on with fewer sessions");
            }
        }
    }
}

/// The thread of one session.
struct Worker {
    /// The model's name, for errors.
    name: String,
    /// That of the session.
    number: usize,
    queue: Arc<Queue>,
    model: Arc<dyn TextModel>,
    session: Box<dyn TextSession>,
    stats: BatchStats,
}

impl Worker {
    /// A panic is the failure of the texts it hits; the thread and the session go on.
    fn work(mut self) {
        while let Some(work) = self.queue.take(self.number, || self.model.run_slots()) {
            match work {
                Work::Tokenize(chunk) => self.tokenize(chunk),
                Work::Run(run) => {
                    self.run(run);
                    let _ = catch_unwind(AssertUnwindSafe(|| self.session.after_run()));
                }
            }
        }
    }

    fn tokenize(&self, chunk: Chunk) {
        let tokenize = |(row, text): &(usize, Passage)| {
            let tokenized = catch_unwind(AssertUnwindSafe(|| {
                self.model.tokenize(text, &chunk.options)
            }));
            let text = match tokenized {
                Ok(Ok(text)) => Ok(text),
                Ok(Err(error)) => Err(refusal(error, *row)),
                Err(_) => Err(ScoreError::Internal("the tokenizer panicked".to_owned())),
            };
            (*row, text)
        };
        let texts = chunk.texts.iter().map(tokenize).collect();
        self.queue.tokenized(chunk.job(), texts);
    }

    fn run(&mut self, run: Run) {
        let Run {
            wanted,
            texts,
            spans,
        } = run;
        let start = Instant::now();
        let outcome = self.run_together(&texts, wanted);
        let infer = start.elapsed();
        self.stats.runs.observe(infer);
        self.stats.run_rows.observe(texts.len());
        let count = texts.len();
        match outcome {
            Ok(results) => {
                drop(spans);
                let results = texts.into_iter().zip(results.into_iter().map(Ok));
                self.queue.answer(results.collect(), count, infer);
            }
            Err(error) => {
                for span in &spans {
                    span.record("otel.status_code", "ERROR");
                    span.record("error.type", error.code().as_str());
                }
                drop(spans);
                if count == 1 {
                    let results = texts.into_iter().map(|text| (text, Err(error.clone())));
                    self.queue.answer(results.collect(), count, infer);
                } else {
                    self.run_apart(texts, wanted);
                }
            }
        }
    }

    /// One of the texts is at fault: each for itself then.
    fn run_apart(&mut self, texts: Vec<Ready>, wanted: Wanted) {
        for text in texts {
            let start = Instant::now();
            let outcome = self.run_together(std::slice::from_ref(&text), wanted);
            let infer = start.elapsed();
            self.stats.runs.observe(infer);
            self.stats.run_rows.observe(1);
            let result = outcome.map(|mut results| results.pop().unwrap_or_default());
            self.queue.answer(vec![(text, result)], 1, infer);
        }
    }

    fn run_together(
        &mut self,
        texts: &[Ready],
        wanted: Wanted,
    ) -> Result<Vec<Vec<Tensor>>, ScoreError> {
        let these: Vec<&Tokenized> = texts.iter().map(|text| &text.text).collect();
        let session = &mut self.session;
        match catch_unwind(AssertUnwindSafe(|| session.run(&these, wanted))) {
            Ok(Ok(results)) if results.len() == texts.len() => Ok(results),
            Ok(Ok(_)) => Err(ScoreError::Internal(
                "the run gave results for other texts than it got".to_owned(),
            )),
            Ok(Err(RunError::Rejected(reason))) => Err(ScoreError::ModelRejected(reason)),
            Ok(Err(RunError::Failed(reason))) => Err(ScoreError::Internal(reason)),
            // Texts of a run that fails run once more, each alone.
            Ok(Err(RunError::NoNumber(value))) => Err(ScoreError::NoScore {
                model: self.name.clone(),
                row: 0,
                value,
            }),
            Err(_) => Err(ScoreError::Internal("the model's run panicked".to_owned())),
        }
    }
}

/// Why the text of this row has no tokens.
pub(crate) fn refusal(error: TokenizeError, row: usize) -> ScoreError {
    match error {
        TokenizeError::TooLong {
            part,
            tokens,
            limit,
        } => ScoreError::TextTooLong {
            row,
            part,
            tokens,
            limit,
        },
        TokenizeError::Failed(reason) => ScoreError::ModelRejected(reason),
    }
}

#[cfg(test)]
mod tests;
