//! Texts that wait: which are tokenized next, and which share the next run.
//!
//! A request's texts are tokenized by the threads of the sessions, a few at a time and not far ahead of the runs. Each run
//! begins with the next text of the request whose turn it is; texts of any request join it, of equal length first, then
//! neighbours in length. So a request of one text waits for one run of each request before it, however long those are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::Span;

use super::job::{Job, Part};
use super::share::{Sessions, Waiting};
use crate::batch::session::BatchStats;
use crate::error::ScoreError;
use crate::model::{Passage, Tokenized, Wanted};
use crate::tensor::Tensor;
use crate::text::TextOptions;

/// Tokens of one request that wait for a run; the texts behind them are not tokenized yet.
const AHEAD_TOKENS: usize = 4096;

/// Where a text stands among those that are ready: texts of equal length next to each other, the oldest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    wanted: Wanted,
    length: usize,
    number: Reverse<u64>,
}

/// A text that is ready to be run.
pub(super) struct Ready {
    job: u64,
    /// Its place among the texts of its job.
    pub(super) row: usize,
    pub(super) text: Tokenized,
}

/// Texts to be tokenized.
pub(super) struct Chunk {
    job: u64,
    pub(super) options: Arc<TextOptions>,
    pub(super) texts: Vec<(usize, Passage)>,
}

/// Texts that share a run.
pub(super) struct Run {
    pub(super) wanted: Wanted,
    pub(super) texts: Vec<Ready>,
    /// One for each job with texts in it.
    pub(super) spans: Vec<Span>,
}

/// What a thread does next.
pub(super) enum Work {
    Tokenize(Chunk),
    Run(Run),
}

/// All texts that wait for the sessions of a model.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is work, or the queue is closed.
    changed: Condvar,
    /// The first run has ended, or the queue is closed.
    has_run: Condvar,
    stats: BatchStats,
}

#[derive(Default)]
struct State {
    jobs: HashMap<u64, Job>,
    /// Jobs with texts that are not tokenized.
    fresh: VecDeque<u64>,
    /// Jobs with texts that are ready, the next one first.
    turns: VecDeque<u64>,
    ready: BTreeMap<Slot, Ready>,
    sessions: Sessions,
    /// The number of the next job or text.
    next: u64,
    has_run: bool,
    closed: bool,
}

impl Queue {
    /// Without sessions.
    pub(super) fn new(stats: BatchStats) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            has_run: Condvar::new(),
            stats,
        }
    }

    pub(super) fn push(&self, job: Job) {
        let mut state = self.state.lock();
        let number = state.number();
        state.jobs.insert(number, job);
        state.fresh.push_back(number);
        self.changed.notify_one();
    }

    /// Drops the jobs whose callers have gone, and with them their permits.
    pub(super) fn drop_abandoned(&self) {
        let mut state = self.state.lock();
        let jobs = state.jobs.iter().filter(|(_, job)| job.is_abandoned());
        for number in jobs.map(|(number, _)| *number).collect::<Vec<u64>>() {
            state.remove_job(number);
        }
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
        self.has_run.notify_all();
    }

    /// The number of one session more.
    pub(super) fn add_session(&self) -> usize {
        self.state.lock().sessions.add()
    }

    /// Waits until the first run has ended or the queue is closed, but not for longer than this.
    pub(super) fn wait_for_run(&self, at_most: Duration) {
        let mut state = self.state.lock();
        let waits = |state: &mut State| !state.has_run && !state.closed;
        self.has_run.wait_while_for(&mut state, waits, at_most);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Waits for work for a session, which has ended what it had; `None` when the queue is closed. `slots` says how many
    /// tokens texts may share a run with.
    pub(super) fn take(&self, session: usize, slots: impl Fn() -> Option<usize>) -> Option<Work> {
        let mut state = self.state.lock();
        state.sessions.end(session);
        loop {
            // Tokenizing is short, and lets texts find company.
            let work = match state.next_chunk() {
                Some(chunk) => Some(Work::Tokenize(chunk)),
                None => state.next_run(slots(), &self.stats).map(Work::Run),
            };
            if let Some(next) = &work {
                match next {
                    Work::Tokenize(chunk) => state.sessions.tokenize(session, chunk.texts.len()),
                    Work::Run(run) => state.sessions.run(session, run.slots()),
                }
                if !state.fresh.is_empty() || !state.turns.is_empty() {
                    self.changed.notify_one();
                }
                return work;
            }
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Texts of a chunk are tokenized: they are ready, or their job fails.
    pub(super) fn tokenized(&self, job: u64, texts: Vec<(usize, Result<Tokenized, ScoreError>)>) {
        let mut state = self.state.lock();
        for (row, text) in texts {
            match text {
                Ok(text) => state.add(Ready { job, row, text }),
                Err(error) => state.fail(job, error),
            }
        }
        self.changed.notify_one();
    }

    /// What a run gave for some of its texts, and how many texts it had.
    pub(super) fn answer(
        &self,
        results: Vec<(Ready, Result<Vec<Tensor>, ScoreError>)>,
        texts: usize,
        infer: Duration,
    ) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.has_run, true) {
            self.has_run.notify_all();
        }
        let mut parts: BTreeMap<u64, Vec<(usize, Vec<Tensor>)>> = BTreeMap::new();
        for (text, result) in results {
            match result {
                Ok(outputs) => parts.entry(text.job).or_default().push((text.row, outputs)),
                Err(error) => state.fail(text.job, error.at_rows(|_| Some(text.row))),
            }
        }
        for (number, rows) in parts {
            let Some(job) = state.jobs.get_mut(&number) else {
                continue;
            };
            let part = Part {
                rows,
                texts,
                infer,
                queue: job.queued(),
            };
            match job.is_complete_with(part.rows.len()) {
                true => {
                    if let Some(job) = state.remove_job(number) {
                        job.end(Ok(part));
                    }
                }
                false => job.tell(part),
            }
        }
    }
}

impl Run {
    /// Its tokens, padding included.
    fn slots(&self) -> usize {
        let lengths = self.texts.iter().map(|ready| ready.text.ids.len());
        lengths.max().unwrap_or(0) * self.texts.len()
    }
}

impl Chunk {
    pub(super) fn job(&self) -> u64 {
        self.job
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn next_chunk(&mut self) -> Option<Chunk> {
        let mut place = 0;
        while let Some(number) = self.fresh.get(place).copied() {
            let Some(job) = self.jobs.get_mut(&number).filter(|job| !job.is_abandoned()) else {
                self.remove_job(number);
                self.fresh.remove(place);
                continue;
            };
            if job.ahead >= AHEAD_TOKENS {
                place += 1;
                continue;
            }
            let chunk = Chunk {
                job: number,
                options: job.options.clone(),
                texts: job.next_texts(),
            };
            self.fresh.remove(place);
            if job.has_more() {
                self.fresh.push_back(number);
            }
            return Some(chunk);
        }
        None
    }

    fn add(&mut self, ready: Ready) {
        let text = self.number();
        let Some(job) = self.jobs.get_mut(&ready.job) else {
            return;
        };
        let length = ready.text.ids.len();
        job.waiting.insert(text, length);
        job.ahead += length;
        if !std::mem::replace(&mut job.has_turn, true) {
            self.turns.push_back(ready.job);
        }
        let slot = Slot {
            wanted: job.wanted,
            length,
            number: Reverse(text),
        };
        self.ready.insert(slot, ready);
    }

    fn next_run(&mut self, slots: Option<usize>, stats: &BatchStats) -> Option<Run> {
        let (seed, first) = self.seed()?;
        let share = |most| self.sessions.share(most, seed.length, self.waiting());
        let mut share = slots.map(share);
        let mut texts = vec![first];
        let mut longest = seed.length;
        while let Some(share) = &mut share
            && let Some(next) = self.companion(seed.wanted, longest, texts.len())
        {
            let length = longest.max(next.length);
            if !share.takes(next.length, length.saturating_mul(texts.len() + 1)) {
                break;
            }
            let Some(text) = self.take_ready(next) else {
                break;
            };
            longest = length;
            texts.push(text);
        }
        let mut numbers: Vec<u64> = texts.iter().map(|text| text.job).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut spans = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(job) = self.jobs.get_mut(&number) {
                if let Some(waited) = job.begin() {
                    stats.waits.observe(waited);
                }
                spans.push(job.wait.end(texts.len()));
            }
        }
        Some(Run {
            wanted: seed.wanted,
            texts,
            spans,
        })
    }

    fn waiting(&self) -> Waiting {
        let jobs = self.jobs.values();
        jobs.fold(Waiting::default(), |all, job| Waiting {
            tokens: all.tokens + job.ahead,
            texts: all.texts + job.fresh(),
        })
    }

    /// The oldest text of the job whose turn it is.
    fn seed(&mut self) -> Option<(Slot, Ready)> {
        while let Some(number) = self.turns.pop_front() {
            let Some(job) = self.jobs.get_mut(&number).filter(|job| !job.is_abandoned()) else {
                self.remove_job(number);
                continue;
            };
            job.has_turn = job.waiting.len() > 1;
            let oldest = job.oldest();
            if job.has_turn {
                self.turns.push_back(number);
            }
            // Its last texts may have gone with those of others.
            if let Some(slot) = oldest
                && let Some(text) = self.take_ready(slot)
            {
                return Some((slot, text));
            }
        }
        None
    }

    /// The text that costs a run of so many texts least: of equal length, else the next shorter or longer one.
    fn companion(&mut self, wanted: Wanted, longest: usize, texts: usize) -> Option<Slot> {
        loop {
            let oldest_of = |length| Slot {
                wanted,
                length,
                number: Reverse(0),
            };
            let mut shorter = self.ready.range(..=oldest_of(longest));
            let shorter = shorter.next_back().map(|(slot, _)| *slot);
            let shorter = shorter.filter(|slot| slot.wanted == wanted);
            let mut longer = self.ready.range(oldest_of(longest)..);
            let longer = longer.next().map(|(slot, _)| *slot);
            let longer = longer.filter(|slot| slot.wanted == wanted);
            let shorter = shorter.map(|slot| (longest - slot.length, slot));
            let longer = longer.map(|slot| ((slot.length - longest).saturating_mul(texts), slot));
            let cheapest = shorter
                .into_iter()
                .chain(longer)
                .min_by_key(|(cost, _)| *cost);
            let (_, slot) = cheapest?;
            let job = self.ready.get(&slot)?.job;
            if self.jobs.get(&job).is_some_and(|job| !job.is_abandoned()) {
                return Some(slot);
            }
            self.remove_job(job);
            // A text without a job would be found again.
            self.ready.remove(&slot);
        }
    }

    fn take_ready(&mut self, slot: Slot) -> Option<Ready> {
        let ready = self.ready.remove(&slot)?;
        if let Some(job) = self.jobs.get_mut(&ready.job) {
            job.waiting.remove(&slot.number.0);
            job.ahead = job.ahead.saturating_sub(slot.length);
        }
        Some(ready)
    }

    fn remove_job(&mut self, number: u64) -> Option<Job> {
        let job = self.jobs.remove(&number)?;
        for slot in job.slots() {
            self.ready.remove(&slot);
        }
        Some(job)
    }

    fn fail(&mut self, number: u64, error: ScoreError) {
        if let Some(job) = self.remove_job(number) {
            job.end(Err(error));
        }
    }
}

impl Job {
    fn slot(&self, number: u64, length: usize) -> Slot {
        Slot {
            wanted: self.wanted,
            length,
            number: Reverse(number),
        }
    }

    fn oldest(&self) -> Option<Slot> {
        let (number, length) = self.waiting.first_key_value()?;
        Some(self.slot(*number, *length))
    }

    fn slots(&self) -> impl Iterator<Item = Slot> {
        let waiting = self.waiting.iter();
        waiting.map(|(number, length)| self.slot(*number, *length))
    }

    /// How long it waited, if its first run begins now.
    fn begin(&mut self) -> Option<Duration> {
        if self.started.is_some() {
            return None;
        }
        self.started = Some(Instant::now());
        Some(self.queued())
    }
}
