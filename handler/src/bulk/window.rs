//! The lines of one window to the lines of its results: in one request where the rows allow it, each by itself where one of
//! them fails.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use score::{CacheOutcome, InferenceRequest, InferenceResponse, ModelMetadata, Scorer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::{AnswerForm, Body, Declared, Limits};

use super::lines::{Line, Position, Window};
use super::table::Table;
use crate::problem::{ErrorCode, Problem};

/// The start of the id of an answer in OpenAI's batch form; the number of the line follows.
pub(crate) const ID: &str = "line-";
/// What a refusal holds of its line, if that is longer.
const MAX_ORIGINAL: usize = 64 << 10;

/// A model, and how its rows are written.
pub(crate) struct Lane {
    scorer: Arc<Scorer>,
    limits: Limits,
    /// For tables; otherwise each line is JSON.
    table: Option<Table>,
}

/// What became of the lines of a window.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Lines of results, in order.
    pub(crate) results: Vec<u8>,
    /// Lines that cannot be scored, in order.
    pub(crate) errors: Vec<u8>,
    pub(crate) tally: Tally,
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
        let (hits, rows) = match response.cache {
            CacheOutcome::Asked { hits, rows } => (hits, rows),
            CacheOutcome::Bypass => (0, response.rows),
        };
        self.from_cache += hits as u64;
        self.computed += (rows - hits) as u64;
        if rows > hits {
            self.infer += response.timings.infer;
        }
    }
}

/// A line of OpenAI's batch form.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    custom_id: &'a RawValue,
    #[serde(borrow)]
    body: &'a RawValue,
}

type Text = Result<Vec<u8>, Problem>;

impl Lane {
    /// For the lines of a table, or else for lines of JSON. A line is a body: it may be as long as `limits` says.
    pub(crate) fn new(scorer: Arc<Scorer>, limits: Limits, table: Option<Table>) -> Self {
        Self {
            scorer,
            limits,
            table,
        }
    }

    /// Scores the lines of a window.
    pub(crate) async fn score(&self, window: Window) -> Done {
        let mut done = Done::default();
        let mut texts: Vec<Option<Text>> =
            window.lines.iter().map(|line| self.refused(line)).collect();
        let rows: Vec<usize> = (0..texts.len())
            .filter(|at| texts[*at].is_none() && self.item(&window.lines[*at]).is_none())
            .collect();
        if self.shares_requests() && rows.len() > 1 {
            let lines: Vec<&Line> = rows.iter().map(|at| &window.lines[*at]).collect();
            if let Ok(found) = self.rows(&lines, &mut done.tally).await {
                for (at, text) in rows.into_iter().zip(found) {
                    texts[at] = Some(Ok(text));
                }
            }
        }
        let alone = window.lines.iter().zip(&texts).map(async |(line, text)| {
            if text.is_some() {
                return None;
            }
            let mut tally = Tally::default();
            let text = self.alone(line, &mut tally).await;
            Some((text, tally))
        });
        let alone = join_all(alone).await;
        for (found, text) in alone.into_iter().zip(&mut texts) {
            if let Some((found, tally)) = found {
                *text = Some(found);
                done.tally.add(&tally);
            }
        }
        for (line, text) in window.lines.iter().zip(texts.into_iter().flatten()) {
            match text {
                Ok(text) => {
                    done.tally.scored += 1;
                    done.results.extend(text);
                }
                Err(problem) => {
                    done.tally.failed += 1;
                    done.errors.extend(refusal(line, &problem));
                }
            }
        }
        done.tally.end = window.end;
        done
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
        let is_object = self.table.is_none() && line.text.trim_ascii_start().starts_with(b"{");
        let may_be = is_object && memchr::memmem::find(&line.text, b"\"custom_id\"").is_some();
        may_be.then(|| serde_json::from_slice(&line.text).ok())?
    }

    /// The result of one line.
    async fn alone(&self, line: &Line, tally: &mut Tally) -> Text {
        let Some(item) = self.item(line) else {
            let mut found = self.rows(&[line], tally).await?;
            return found.pop().ok_or_else(Problem::internal);
        };
        let body = item.body.get().as_bytes();
        let (form, response) = self.ask(body, Declared::default()).await?;
        tally.count(&response);
        let answer = wire::encode(&form, None, self.metadata(), &response)?;
        if answer.content_type != "application/json" {
            return Err(Problem::bad_request(
                "a binary answer cannot stand in a line of JSON; leave out binary_data_output",
            ));
        }
        let (id, number) = (item.custom_id.get(), line.number);
        let mut text = format!(
            "{{\"id\":\"{ID}{number}\",\"custom_id\":{id},\"response\":{{\"status_code\":200,\"request_id\":\"{ID}{number}\",\"body\":"
        );
        text.push_str(&String::from_utf8_lossy(&answer.body));
        text.push_str("},\"error\":null}\n");
        Ok(text.into_bytes())
    }

    /// The results of rows that share a request, as lines.
    async fn rows(&self, lines: &[&Line], tally: &mut Tally) -> Result<Vec<Vec<u8>>, Problem> {
        let (body, declared) = match &self.table {
            Some(table) => (table.body(lines), table.declared()),
            None => (instances(lines)?, Declared::default()),
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
        let results = lines.iter().zip(results).map(|(line, result)| {
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
        results.collect()
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

    fn metadata(&self) -> &ModelMetadata {
        self.scorer.metadata()
    }
}

/// A request with a row from each line.
fn instances(lines: &[&Line]) -> Result<Vec<u8>, Problem> {
    let bytes: usize = lines.iter().map(|line| line.text.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 16);
    body.extend(b"{\"instances\":[");
    for (at, line) in lines.iter().enumerate() {
        // Otherwise one line could hold two rows, and another none.
        let is_value = serde_json::from_slice::<&RawValue>(&line.text);
        is_value.map_err(|error| {
            Problem::bad_request(format!("the line is not one JSON value: {error}"))
        })?;
        if at > 0 {
            body.push(b',');
        }
        body.extend(&line.text);
    }
    body.extend(b"]}");
    Ok(body)
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
    #[derive(Serialize)]
    struct Reason<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<&'a str>,
    }
    let kept = &line.text[..line.text.len().min(MAX_ORIGINAL)];
    let refusal = Refusal {
        line: line.number,
        reason: Reason {
            code: problem.code.as_str(),
            message: &problem.message,
            target: problem.target.as_deref(),
        },
        original: &String::from_utf8_lossy(kept),
        original_bytes: (kept.len() < line.text.len() || line.is_cut()).then_some(line.bytes),
    };
    let mut text = serde_json::to_vec(&refusal).unwrap_or_default();
    text.push(b'\n');
    text
}
