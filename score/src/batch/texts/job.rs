//! The texts of one request, from the queue to their results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::batch::wait::Wait;
use crate::error::ScoreError;
use crate::model::{Passage, Wanted};
use crate::tensor::Tensor;
use crate::text::TextOptions;

/// Texts that are tokenized at once, and their bytes: at most about a millisecond's work. Few, so that all threads have some
/// of a short request's texts.
const CHUNK_TEXTS: usize = 4;
const CHUNK_BYTES: usize = 8 << 10;

/// The results of some texts of a job.
pub(super) struct Part {
    /// The place of each text in its job, and its outputs.
    pub(super) rows: Vec<(usize, Vec<Tensor>)>,
    /// How many texts the run had, those of other jobs included.
    pub(super) texts: usize,
    /// How long the run took.
    pub(super) infer: Duration,
    /// How long the job waited for its first run.
    pub(super) queue: Duration,
}

/// The texts of one request.
pub(super) struct Job {
    texts: Vec<Passage>,
    /// The first text that is not tokenized.
    next: usize,
    /// Texts without a result.
    open: usize,
    pub(super) options: Arc<TextOptions>,
    pub(super) wanted: Wanted,
    /// The numbers of texts that are ready, with their lengths.
    pub(super) waiting: BTreeMap<u64, usize>,
    /// The tokens of those texts.
    pub(super) ahead: usize,
    /// Whether it is among the jobs that get a turn.
    pub(super) has_turn: bool,
    pub(super) wait: Wait,
    pub(super) started: Option<Instant>,
    reply: mpsc::UnboundedSender<Result<Part, ScoreError>>,
    /// One for each text; they are given back when the job is dropped.
    permits: OwnedSemaphorePermit,
}

impl Job {
    pub(super) fn new(
        texts: Vec<Passage>,
        options: TextOptions,
        wanted: Wanted,
        reply: mpsc::UnboundedSender<Result<Part, ScoreError>>,
        permits: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            next: 0,
            open: texts.len(),
            texts,
            options: Arc::new(options),
            wanted,
            waiting: BTreeMap::new(),
            ahead: 0,
            has_turn: false,
            wait: Wait::begin(),
            started: None,
            reply,
            permits,
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// The next texts to be tokenized; they leave the job.
    pub(super) fn next_texts(&mut self) -> Vec<(usize, Passage)> {
        let (mut bytes, mut texts) = (0, Vec::new());
        while let Some(text) = self.texts.get_mut(self.next) {
            bytes += text.bytes();
            if !texts.is_empty() && (texts.len() == CHUNK_TEXTS || bytes > CHUNK_BYTES) {
                break;
            }
            texts.push((self.next, std::mem::take(text)));
            self.next += 1;
        }
        texts
    }

    pub(super) fn has_more(&self) -> bool {
        self.fresh() > 0
    }

    /// Texts that are not tokenized, and that no thread is at.
    pub(super) fn fresh(&self) -> usize {
        self.texts.len() - self.next
    }

    /// How long it has waited for its first run.
    pub(super) fn queued(&self) -> Duration {
        self.started.unwrap_or_else(Instant::now) - self.wait.since
    }

    /// Counts results; whether they are the last ones.
    pub(super) fn is_complete_with(&mut self, results: usize) -> bool {
        self.open = self.open.saturating_sub(results);
        self.open == 0
    }

    pub(super) fn tell(&self, part: Part) {
        // Fails where the caller has gone.
        let _ = self.reply.send(Ok(part));
    }

    /// Gives the permits back first: the caller who gets the last result may come again at once.
    pub(super) fn end(self, last: Result<Part, ScoreError>) {
        let Self {
            reply,
            permits,
            wait,
            ..
        } = self;
        drop((permits, wait));
        let _ = reply.send(last);
    }
}
