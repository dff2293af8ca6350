//! The lines of one window to the lines of its results: in one request where the rows allow it, in smaller ones where one of
//! them fails.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use score::{CacheOutcome, InferenceRequest, InferenceResponse, ModelMetadata, Scorer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::field::Empty;
use tracing::{Instrument, info_span};
use wire::{AnswerForm, Body, Declared, Limits};

use super::item::{ID, Item, Wanted};
use super::lines::{Line, Position, Window};
use super::table::Table;
use crate::counters::BulkCounters;
use crate::limits::Decoding;
use crate::problem::{ErrorCode, Problem, Reason};

/// Lines of a window that are asked apart at a time: requests of others wait behind no more of them.
const ALONE_AT_ONCE: usize = 64;
/// The bytes of those lines together, unless a single line has more: a few bytes of a request may become a thousand times as
/// many in its answer.
const ALONE_BYTES: usize = 16 << 10;
/// A window that has so many bytes of results is written before it goes on.
const WINDOW_RESULTS: usize = 4 << 20;
/// Rows that are scored before it is known how long a result is.
const FIRST_ROWS: usize = 32;

/// What a refusal holds of its line, if that is longer.
const MAX_ORIGINAL: usize = 64 << 10;

/// A model, and how its rows are written.
pub(crate) struct Lane {
    pub(super) scorer: Arc<Scorer>,
    pub(super) limits: Limits,
    /// For tables; otherwise each line is JSON.
    table: Option<Table>,
    around: Around,
    /// Memory for requests of texts.
    pub(super) decoding: Decoding,
    counters: Arc<BulkCounters>,
    /// The bytes of the longest result of a row so far.
    longest_result: AtomicUsize,
}

/// What stands around the rows of a request.
#[derive(Debug)]
pub(crate) struct Around {
    pub(super) head: Vec<u8>,
    pub(super) tail: &'static [u8],
    /// Whether each line is a value for sure, so that no line could hold two rows, and another none.
    pub(super) is_of_values: bool,
}

impl Default for Around {
    fn default() -> Self {
        Self {
            head: b"{\"instances\":[".to_vec(),
            tail: b"]}",
            is_of_values: false,
        }
    }
}

impl Around {
    /// A request with a row from each line.
    pub(super) fn body(&self, lines: &[&Line]) -> Vec<u8> {
        let bytes: usize = lines.iter().map(|line| line.text.len() + 1).sum();
        let mut body = Vec::with_capacity(self.head.len() + bytes + self.tail.len());
        body.extend(&self.head);
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend(&line.text);
        }
        body.extend(self.tail);
        body
    }
}

/// What became of the lines of a window.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Lines of results, in order.
    pub(crate) results: Vec<u8>,
    /// Lines that cannot be scored, in order.
    pub(crate) errors: Vec<u8>,
    /// Why some of those may be scored if they are tried again.
    #[cfg_attr(
        not(feature = "blobs"),
        allow(dead_code, reason = "files are read once")
    )]
    pub(crate) put_off: Option<Problem>,
    pub(crate) tally: Tally,
    /// Lines of the window that are still to be scored, once these results are written.
    pub(super) rest: Option<Window>,
}

impl Done {
    fn put(&mut self, line: &Line, text: Text) {
        match text {
            Ok(text) => {
                self.tally.scored += 1;
                self.results.extend(text);
            }
            Err(problem) => {
                self.tally.failed += 1;
                self.errors.extend(refusal(line, &problem));
                if problem.is_temporary() {
                    self.put_off = Some(problem);
                }
            }
        }
    }
}

/// Counts of lines, and times.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) scored: u64,
    pub(crate) failed: u64,
    pub(crate) from_cache: u64,
    /// Units that the model computed, and for how long.
    pub(crate) computed: u64,
    pub(crate) infer: Duration,
    /// How far the input is done.
    pub(crate) end: Position,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.scored += other.scored;
        self.failed += other.failed;
        self.from_cache += other.from_cache;
        self.computed += other.computed;
        self.infer += other.infer;
        self.end = other.end;
    }

    fn count(&mut self, response: &InferenceResponse) {
        self.count_rows(response.cache, response.rows, response.timings.infer);
    }

    /// Counts rows of which some were remembered; computing the others took `infer`.
    pub(super) fn count_rows(&mut self, cache: CacheOutcome, rows: usize, infer: Duration) {
        let (hits, rows) = match cache {
            CacheOutcome::Asked { hits, rows } => (hits, rows),
            CacheOutcome::Bypass => (0, rows),
        };
        self.from_cache += hits as u64;
        self.computed += (rows - hits) as u64;
        if rows > hits {
            self.infer += infer;
        }
    }
}

pub(super) type Text = Result<Vec<u8>, Problem>;

impl Lane {
    /// For the lines of a table, or else for lines of JSON. A line is a body: it may be as long as `limits` says.
    pub(crate) fn new(
        scorer: Arc<Scorer>,
        limits: Limits,
        table: Option<Table>,
        counters: Arc<BulkCounters>,
    ) -> Self {
        Self {
            scorer,
            limits,
            table,
            around: Around::default(),
            // Windows bound what their lines become.
            decoding: Decoding::unbounded(),
            counters,
            longest_result: AtomicUsize::new(0),
        }
    }

    /// With something else around the rows of a request.
    #[cfg(feature = "parquet")]
    pub(crate) fn with_rows(mut self, around: Around) -> Self {
        self.around = around;
        self
    }

    /// Scores the lines of a window, in a span of its own: all, or as many as `rest` leaves.
    pub(crate) async fn score(&self, window: Window) -> Done {
        let begin = Instant::now();
        let span = info_span!(
            "window",
            score.model = %self.metadata().name,
            score.line = window.lines.first().map(|line| line.number),
            score.lines = window.lines.len(),
            score.failed = Empty,
        );
        let done = self.lines(window).instrument(span.clone()).await;
        span.record("score.failed", done.tally.failed);
        let Tally { scored, failed, .. } = done.tally;
        self.counters.count(scored, failed, begin.elapsed());
        done
    }

    /// Part after part, until all lines are done or their results are as many as are kept at a time.
    async fn lines(&self, mut window: Window) -> Done {
        let mut done = Done::default();
        let mut at = 0;
        while at < window.lines.len() {
            let part = &window.lines[at..];
            let part = &part[..self.part_of(part)];
            self.part(part, &mut done).await;
            done.tally.end = part.last().map_or(window.end, |line| line.end);
            at += part.len();
            if done.results.len() + done.errors.len() >= WINDOW_RESULTS {
                break;
            }
        }
        let lines = window.lines.split_off(at);
        done.rest = (!lines.is_empty()).then_some(Window {
            lines,
            end: window.end,
        });
        done
    }

    /// How many of these lines are scored at once. What they become is bounded: of rows by the longest result so far, of
    /// requests, which may have many results each, by their own bytes.
    fn part_of(&self, lines: &[Line]) -> usize {
        let longest = self.longest_result.load(Ordering::Relaxed);
        let rows = match longest {
            0 => FIRST_ROWS,
            longest => (WINDOW_RESULTS / longest).max(1),
        };
        let (mut requests, mut bytes) = (0, 0);
        let fits = |line: &&Line| {
            let is_item = self.table.is_none() && Item::may_be(&line.text);
            if is_item {
                bytes += line.text.len();
            }
            if is_item || !self.shares_requests() {
                requests += 1;
            }
            requests <= ALONE_AT_ONCE && bytes <= ALONE_BYTES
        };
        lines.iter().take(rows).take_while(fits).count().max(1)
    }

    /// Scores lines together.
    async fn part(&self, lines: &[Line], done: &mut Done) {
        let items: Vec<Option<Item<'_>>> = lines.iter().map(|line| self.item(line)).collect();
        let mut texts: Vec<Option<Text>> = lines.iter().map(|line| self.refused(line)).collect();
        if self.shares_requests() {
            let is_row = |at: &usize| texts[*at].is_none() && items[*at].is_none();
            let rows: Vec<usize> = (0..lines.len()).filter(is_row).collect();
            let found: Vec<&Line> = rows.iter().map(|at| &lines[*at]).collect();
            let found = self.together(&found, &mut done.tally).await;
            for (at, text) in rows.into_iter().zip(found) {
                texts[at] = Some(text);
            }
        }
        let alone = (0..lines.len()).filter(|at| texts[*at].is_none());
        let alone: Vec<_> = alone
            .map(|at| self.alone(at, &lines[at], items[at].as_ref()))
            .collect();
        let mut alone = stream::iter(alone).buffered(ALONE_AT_ONCE);
        while let Some((at, text, tally)) = alone.next().await {
            texts[at] = Some(text);
            done.tally.add(&tally);
        }
        drop(alone);
        for (line, text) in lines.iter().zip(texts.into_iter().flatten()) {
            done.put(line, text);
        }
    }

    /// The result of a line that has a request of its own, and what it counts.
    async fn alone(&self, at: usize, line: &Line, item: Option<&Item<'_>>) -> (usize, Text, Tally) {
        let mut tally = Tally::default();
        let text = match item {
            Some(item) => self.answer(line, item, &mut tally).await,
            None => self.rows(&[line], &mut tally).await.and_then(only),
        };
        (at, text, tally)
    }

    /// The results of rows that share requests. Where a request fails, its halves are asked apart, so that a row that cannot
    /// be scored costs the others little.
    async fn together(&self, lines: &[&Line], tally: &mut Tally) -> Vec<Text> {
        let mut texts = Vec::with_capacity(lines.len());
        // What is left; the first lines are the last range.
        let all = Some(0..lines.len()).filter(|all| !all.is_empty());
        let mut left: Vec<_> = all.into_iter().collect();
        while let Some(range) = left.pop() {
            match self.rows(&lines[range.clone()], tally).await {
                Ok(found) => texts.extend(found.into_iter().map(Ok)),
                Err(problem) if range.len() == 1 => texts.push(Err(problem)),
                Err(_) => {
                    let middle = range.start + range.len() / 2;
                    left.push(middle..range.end);
                    left.push(range.start..middle);
                }
            }
        }
        texts
    }

    /// Whether the results of rows do not depend on which of them share a request.
    fn shares_requests(&self) -> bool {
        self.scorer.metadata().character.rows.are_cut_apart()
    }

    /// Why a line is not even read.
    fn refused(&self, line: &Line) -> Option<Text> {
        let too_long = line.is_cut() || line.text.len() > self.limits.max_bytes;
        too_long.then(|| {
            let (bytes, most) = (line.bytes, self.limits.max_bytes);
            let message = format!(
                "the line has {bytes} bytes, and at most {most} are read (SCORE_MAX_BODY_BYTES)"
            );
            Err(Problem::new(ErrorCode::TooLarge, message))
        })
    }

    fn item<'a>(&self, line: &'a Line) -> Option<Item<'a>> {
        match self.table {
            None => Item::of(&line.text),
            Some(_) => None,
        }
    }

    /// The answer to a line of OpenAI's batch form.
    async fn answer(&self, line: &Line, item: &Item<'_>, tally: &mut Tally) -> Text {
        let body = item.body.get().as_bytes();
        let body = match item.wanted(self.metadata())? {
            Wanted::Texts(take, model) => {
                let id = format!("{ID}{}", line.number);
                self.texts(&id, take, model, body, tally).await?
            }
            Wanted::Rows => {
                let (form, response) = self.ask(body, Declared::default()).await?;
                tally.count(&response);
                let answer = wire::encode(&form, None, self.metadata(), &response)?;
                if answer.content_type != "application/json" {
                    return Err(Problem::bad_request(
                        "a binary answer cannot stand in a line of JSON; leave out binary_data_output",
                    ));
                }
                answer.body
            }
        };
        Ok(item.answered(line.number, &body))
    }

    /// The results of rows that share a request, as lines.
    async fn rows(&self, lines: &[&Line], tally: &mut Tally) -> Result<Vec<Vec<u8>>, Problem> {
        let (body, declared) = match &self.table {
            Some(table) => (table.body(lines), table.declared()),
            None => (values(lines, &self.around)?, Declared::default()),
        };
        let (_, response) = self.ask(&body, declared).await?;
        if self.table.is_some() && response.rows != lines.len() {
            return Err(Problem::bad_request(
                "the record holds several rows: a quote in it is not closed, or a line ends with a carriage return alone",
            ));
        }
        let answer = wire::encode(&AnswerForm::by_row(), None, self.metadata(), &response)?;
        let results = by_row(&answer.body, lines.len()).ok_or_else(|| {
            Problem::bad_request("the model answers with another number of rows than it is given")
        })?;
        tally.count(&response);
        let mut longest = 0;
        let results = lines.iter().zip(results).map(|(line, result)| {
            longest = longest.max(result.get().len());
            let mut text = Vec::with_capacity(result.get().len() + 32);
            match &self.table {
                Some(table) => table.write(line.number, result, &mut text)?,
                None => {
                    let number = line.number;
                    // Vectors take all that is written to them.
                    let _ = writeln!(text, "{{\"line\":{number},\"result\":{}}}", result.get());
                }
            }
            Ok(text)
        });
        let results = results.collect();
        self.longest_result.fetch_max(longest, Ordering::Relaxed);
        results
    }

    async fn ask(
        &self,
        body: &[u8],
        declared: Declared<'_>,
    ) -> Result<(AnswerForm, InferenceResponse), Problem> {
        // Lines are bounded one by one; what stands around them in the request does not count.
        let limits = Limits {
            max_bytes: self.limits.max_bytes.max(body.len()),
            ..self.limits
        };
        let read = wire::decode(body, declared, self.metadata(), limits);
        let read = read.map_err(|error| Problem::from_payload(error, self.limits.max_bytes))?;
        let Body::Rows(read) = read else {
            return Err(Problem::bad_request(
                "rows of files cannot be named by key; give their values",
            ));
        };
        let request = InferenceRequest {
            inputs: read.inputs,
            ..InferenceRequest::default()
        };
        let scored = self.scorer.score(request).await;
        let response = scored.map_err(|error| Problem::from_scoring(error, &read.answer))?;
        Ok((read.answer, response))
    }

    pub(super) fn metadata(&self) -> &ModelMetadata {
        self.scorer.metadata()
    }
}

fn only(mut texts: Vec<Vec<u8>>) -> Text {
    texts.pop().ok_or_else(Problem::internal)
}

/// A request with a row from each line.
fn values(lines: &[&Line], around: &Around) -> Result<Vec<u8>, Problem> {
    for line in lines {
        let refused = match around.is_of_values {
            true => {
                let error = std::str::from_utf8(&line.text).err();
                error.map(|_| "a text of the row is not UTF-8".to_owned())
            }
            false => {
                let error = serde_json::from_slice::<&RawValue>(&line.text).err();
                error.map(|error| format!("the line is not one JSON value: {error}"))
            }
        };
        if let Some(refused) = refused {
            return Err(Problem::bad_request(refused));
        }
    }
    Ok(around.body(lines))
}

/// The result of each row; all of it for a single line whose result has no rows.
fn by_row(answer: &[u8], rows: usize) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        predictions: &'a RawValue,
    }
    let answer: Answer<'_> = serde_json::from_slice(answer).ok()?;
    match serde_json::from_str::<Vec<&RawValue>>(answer.predictions.get()) {
        Ok(results) if results.len() == rows => Some(results),
        _ => (rows == 1).then(|| vec![answer.predictions]),
    }
}

/// The line that tells why another cannot be scored.
fn refusal(line: &Line, problem: &Problem) -> Vec<u8> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        line: u64,
        reason: Reason<'a>,
        original: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        original_bytes: Option<u64>,
    }
    let kept = &line.text[..line.text.len().min(MAX_ORIGINAL)];
    let refusal = Refusal {
        line: line.number,
        reason: problem.reason(),
        original: &String::from_utf8_lossy(kept),
        original_bytes: (kept.len() < line.text.len() || line.is_cut()).then_some(line.bytes),
    };
    let mut text = serde_json::to_vec(&refusal).unwrap_or_default();
    text.push(b'\n');
    text
}
