//! One call: lines of a blob from where earlier calls have stopped, until the blob or the time ends.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use score::{Cache, Scorer};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::message::{Job, MOST_BLOCKS, MOST_CALLS, Progress};
use super::output::{self, Committed, Output, Places};
use super::reader::{BlobReader, fault_of};
use super::storage::{Fault, Found, Place, Storage};
use crate::admission::Admission;
use crate::bulk::{
    Format, Lane, Lines, Position, Run, RunError, TableError, WINDOW_BYTES, WINDOW_LINES,
    open_table, read_windows, unlike_text,
};
use crate::models::Wanted;
use crate::problem::{ErrorCode, Problem};

/// How often a blob is begun again because it has changed, before that is told.
const MOST_RESTARTS: u32 = 20;
/// How many calls in a row may get no further.
const MOST_STALLS: u32 = 5;
/// Of the lines of a window, the part that is tried when the whole took too long.
const SMALLER: usize = 8;
/// How long something that may pass is given.
const PAUSE: Duration = Duration::from_secs(1);

/// What all calls share.
pub(super) struct Shared {
    pub(super) admission: Arc<Admission>,
    pub(super) cache: Arc<Cache>,
    pub(super) limits: wire::Limits,
    pub(super) max_rows: usize,
    pub(super) at_once: usize,
    pub(super) scored: String,
    pub(super) rejected: String,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Results and refusals are there.
    Done(Progress),
    /// They were there before.
    DoneBefore,
    /// There is more to do.
    Next(Job),
    /// There is no such blob any more.
    Gone,
    /// It can never be scored.
    Refused(Problem),
}

/// Why a call has to stop before the blob ends.
enum Stop {
    Fault(Fault),
    Problem(Problem),
}

impl Stop {
    /// Whether it may go on from the same line in a moment.
    fn may_pass(&self) -> bool {
        match self {
            Self::Fault(fault) => matches!(fault, Fault::Other(_)),
            Self::Problem(problem) => problem.is_temporary() || problem.is_internal(),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Fault(fault) => fault.to_string(),
            Self::Problem(problem) => problem.message.clone(),
        }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// The time of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    /// No window is begun after it.
    pub(super) enough: Instant,
    /// Windows in work are given up.
    pub(super) over: Instant,
}

/// Works on a blob.
///
/// # Errors
/// [`Problem`] if the account cannot be used: the host then brings the message again.
pub(super) async fn work(
    shared: &Shared,
    storage: Arc<Storage>,
    (spelled, mut job): (Vec<Place>, Job),
    time: Time,
) -> Result<Outcome, Problem> {
    let Some((place, found)) = find(&storage, spelled).await? else {
        return Ok(Outcome::Gone);
    };
    job.blob = format!("{}/{}", place.container, place.name);
    let places = Places::of(place, &shared.scored, &shared.rejected);
    let mut call = Call {
        shared,
        storage,
        places,
        found,
        job,
        time,
    };
    loop {
        let stop = match call.run().await {
            Ok(outcome) => return Ok(outcome),
            Err(stop) => stop,
        };
        let again = Instant::now() + PAUSE;
        if !stop.may_pass() || again >= time.enough {
            return call.stopped(stop).await;
        }
        debug!(reason = stop.reason(), "tried again after a pause");
        call.job.rows = call.rows_after(&stop);
        sleep_until(again).await;
    }
}

/// The blob in the first spelling under which there is one.
async fn find(storage: &Storage, spelled: Vec<Place>) -> Result<Option<(Place, Found)>, Problem> {
    for place in spelled {
        match storage.look_for(&place).await {
            Ok(Some(found)) => return Ok(Some((place, found))),
            Ok(None) => {}
            Err(fault) => return Err(unusable(&fault)),
        }
    }
    Ok(None)
}

fn unusable(fault: &Fault) -> Problem {
    Problem::busy(fault.to_string())
}

struct Call<'a> {
    shared: &'a Shared,
    storage: Arc<Storage>,
    places: Places,
    found: Found,
    job: Job,
    time: Time,
}

impl Call<'_> {
    async fn run(&mut self) -> Result<Outcome, Stop> {
        let scorer = self.scorer().await?;
        let metadata = scorer.metadata();
        let model = format!(
            "{}/{}@{}",
            metadata.name,
            metadata.version,
            metadata.digest.tag()
        );
        if let Some(done) = &self.job.done
            && (done.etag != self.found.etag
                || done.model != model
                || done.at.byte > self.found.bytes)
        {
            return Err(Fault::Changed.into());
        }
        let format = self.format()?;
        let mut done = self.job.done.clone().unwrap_or_else(|| Progress {
            etag: self.found.etag.clone(),
            model,
            at: Position::default(),
            scored: 0,
            failed: 0,
            blocks: Vec::new(),
        });
        let results = self.storage.look_for(&self.places.results).await?;
        if output::is_done(results.as_ref(), &done) {
            return Ok(Outcome::DoneBefore);
        }
        if let Some(done) = &self.job.done
            && !self.is_sealed(done).await?
        {
            return Err(Fault::BlocksLost.into());
        }
        self.score(scorer, format, &mut done).await?;
        if done.at.byte < self.found.bytes {
            return self.next(done).await;
        }
        let committed = output::commit(&self.storage, &self.places, &done, format).await?;
        Ok(match committed {
            Committed::Now => Outcome::Done(done),
            Committed::Before => Outcome::DoneBefore,
        })
    }

    /// The model that the blob's metadata names, or the usual one.
    async fn scorer(&self) -> Result<Arc<Scorer>, Problem> {
        let models = timeout_at(self.time.over, self.shared.admission.models.when_loaded());
        let late = |_| Problem::new(ErrorCode::Loading, "models are still being loaded");
        let models = models.await.map_err(late)??;
        let name = self.found.metadata.get("model").map(String::as_str);
        let wanted = Wanted {
            name,
            version: None,
        };
        Ok(models.find(wanted)?.clone())
    }

    /// By the name, or else by the content type.
    fn format(&self) -> Result<Format, Problem> {
        let coding = self.found.content_encoding.as_deref().unwrap_or("identity");
        let name = &self.places.source.name;
        if !coding.eq_ignore_ascii_case("identity") || name.to_ascii_lowercase().ends_with(".gz") {
            return Err(Problem::bad_request(
                "packed blobs are not taken: unpack it, as .csv or .jsonl",
            ));
        }
        let declared = self.found.content_type.as_deref().unwrap_or_default();
        let declared = declared
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let by_type = match declared.as_str() {
            "text/csv" | "application/csv" => Some(Format::Csv),
            "application/x-ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/jsonlines" => Some(Format::Jsonl),
            _ => None,
        };
        match Format::of(Path::new(name)).or(by_type) {
            Some(Format::Parquet) => Err(Problem::bad_request(
                "Parquet is not taken as a blob, because its results could not be written part by part; score the file with \
                 handler score, or write it as .csv or .jsonl",
            )),
            Some(format) => Ok(format),
            None => Err(Problem::bad_request(
                "the name ends with none of .jsonl, .ndjson and .csv, and the content type is neither text/csv nor \
                 application/x-ndjson",
            )),
        }
    }

    /// Lines from there on.
    fn lines(&self, format: Format, at: Position) -> Lines<BlobReader> {
        let range = (at.byte, self.found.bytes);
        let (place, etag) = (self.places.source.clone(), self.found.etag.clone());
        let reader = BlobReader::new(self.storage.clone(), place, etag, range);
        Lines::new(reader, format, self.shared.limits.max_bytes, at)
    }

    /// Scores lines until the blob ends or the time does, and writes what becomes of them. `done` is then how far that is.
    async fn score(
        &self,
        scorer: Arc<Scorer>,
        format: Format,
        done: &mut Progress,
    ) -> Result<(), Stop> {
        let mut output = Output::new(self.storage.clone(), self.places.clone());
        let start = done.at;
        let (lines, table) = self.open(&scorer, format, start).await?;
        if let Some(table) = table.as_ref().filter(|_| start == Position::default()) {
            output.push(&table.first_line(), b"").await?;
        }
        let most = scorer.metadata().options.max_rows.unwrap_or(usize::MAX);
        let rows = self
            .job
            .rows
            .unwrap_or(WINDOW_LINES)
            .min(self.shared.max_rows)
            .min(most)
            .max(1);
        let bytes = WINDOW_BYTES.min(self.shared.limits.max_bytes);
        let windows = read_windows(lines, rows, bytes);
        let counters = self.shared.admission.counters.bulk.clone();
        let lane = Arc::new(Lane::new(scorer, self.shared.limits, table, counters));
        let mut run = Run::new(
            lane,
            self.shared.cache.clone(),
            windows,
            self.shared.at_once,
        );
        let stopped = self.windows(&mut run, &mut output, done).await;
        // What is done is kept, for any reason to stop.
        let written = output.end().await?;
        if written.1 + written.2 > 0 {
            done.blocks.push(written);
        }
        match stopped {
            Err(Stop::Problem(problem)) if problem.is_temporary() && done.at != start => {
                debug!(
                    reason = problem.message,
                    "the rest is left to the next call"
                );
                Ok(())
            }
            Err(Stop::Fault(Fault::Other(reason))) if done.at != start => {
                debug!(reason, "the rest is left to the next call");
                Ok(())
            }
            stopped => stopped,
        }
    }

    async fn windows(
        &self,
        run: &mut Run,
        output: &mut Output,
        done: &mut Progress,
    ) -> Result<(), Stop> {
        let (mut is_late, start) = (false, done.at);
        loop {
            let next = tokio::select! {
                biased;
                // A call has to get further, however short its time is.
                () = sleep_until(self.time.enough), if !is_late && done.at != start => {
                    is_late = true;
                    run.stop();
                    continue;
                }
                () = sleep_until(self.time.over) => return Err(Problem::busy("the lines take longer than a call may").into()),
                next = run.next() => next,
            };
            let window = match next {
                Ok(Some(window)) => window,
                Ok(None) if is_late => return Ok(()),
                Ok(None) => {
                    // Blank lines at the end are in no window.
                    done.at.byte = self.found.bytes;
                    return Ok(());
                }
                Err(RunError::Input(error)) => return Err(fault_of(&error).into()),
                Err(RunError::Window(_)) => return Err(Problem::internal().into()),
            };
            // A line that was tried alone in so many calls is refused, and the others go on.
            let is_given_up =
                self.job.stalls >= MOST_STALLS && self.job.rows == Some(1) && done.at == start;
            if let Some(problem) = window.put_off
                && !(is_given_up && problem.is_for_time())
            {
                return Err(problem.into());
            }
            output.push(&window.results, &window.errors).await?;
            done.scored += window.tally.scored;
            done.failed += window.tally.failed;
            done.at = window.tally.end;
        }
    }

    /// The lines from there on, and the header of a table, which stands at the start.
    async fn open(
        &self,
        scorer: &Arc<Scorer>,
        format: Format,
        start: Position,
    ) -> Result<(Lines<BlobReader>, Option<crate::bulk::Table>), Stop> {
        let is_start = start == Position::default();
        if !is_start && format == Format::Jsonl {
            return Ok((self.lines(format, start), None));
        }
        let mut lines = self.lines(format, Position::default());
        let (scorer, limits) = (scorer.clone(), self.shared.limits);
        let opened = tokio::task::spawn_blocking(move || {
            let first = lines.reader().fill_buf().map_err(TableError::Input)?;
            if let Some(reason) = unlike_text(first) {
                return Err(TableError::Doubt(reason.to_owned()));
            }
            let table = match format {
                Format::Jsonl | Format::Parquet => None,
                Format::Csv => Some(open_table(&mut lines, None, scorer.metadata(), limits)?),
            };
            Ok((lines, table))
        });
        let opened = opened.await.map_err(|_| Problem::internal())?;
        let (lines, table) = opened.map_err(|error| match error {
            TableError::Input(error) => Stop::Fault(fault_of(&error)),
            TableError::Doubt(reason) => {
                Problem::bad_request(format!("the first line: {reason}")).into()
            }
            error => Problem::bad_request(error.to_string()).into(),
        })?;
        Ok(match is_start {
            true => (lines, table),
            false => (self.lines(format, start), table),
        })
    }

    /// Whether a call has got so far, as its message says.
    async fn is_sealed(&self, done: &Progress) -> Result<bool, Stop> {
        let seal = done.seal().map_err(|_| Problem::internal())?;
        Ok(self.storage.has_block(&self.places.results, &seal).await?)
    }

    /// The message for what is left, and the block that vouches for it.
    async fn next(&self, done: Progress) -> Result<Outcome, Stop> {
        let (results, refusals) = done.block_counts();
        if done.blocks.len() >= MOST_CALLS || results.max(refusals) >= MOST_BLOCKS {
            let reason = "the blob is too long to be scored by functions: split it, or score it by `handler score`";
            return Err(Problem::bad_request(reason).into());
        }
        let seal = done.seal().map_err(|_| Problem::internal())?;
        let content = Bytes::from_static(b"\n");
        self.storage
            .stage(&self.places.results, &seal, content)
            .await?;
        let rows = self.job.rows.map(|rows| rows.saturating_mul(2));
        Ok(Outcome::Next(Job {
            done: Some(done),
            rows: rows.filter(|rows| *rows < WINDOW_LINES),
            stalls: 0,
            ..self.job.clone()
        }))
    }

    /// Lines of a window after that.
    fn rows_after(&self, stop: &Stop) -> Option<usize> {
        match stop {
            Stop::Problem(problem) if problem.is_for_time() => {
                let rows = self.job.rows.unwrap_or(WINDOW_LINES);
                Some((rows / SMALLER).max(1))
            }
            _ => self.job.rows,
        }
    }

    /// What becomes of a blob with which this call got no further.
    async fn stopped(&self, stop: Stop) -> Result<Outcome, Problem> {
        let may_pass = stop.may_pass();
        let rows = self.rows_after(&stop);
        let problem = match stop {
            Stop::Fault(Fault::Missing) => return Ok(Outcome::Gone),
            Stop::Fault(Fault::Changed | Fault::BlocksLost)
                if self.job.restarts < MOST_RESTARTS =>
            {
                return Ok(Outcome::Next(Job {
                    done: None,
                    restarts: self.job.restarts + 1,
                    ..self.job.clone()
                }));
            }
            Stop::Fault(fault @ (Fault::Changed | Fault::BlocksLost)) => {
                Problem::bad_request(format!("{fault}, {MOST_RESTARTS} times"))
            }
            Stop::Fault(fault) => unusable(&fault),
            Stop::Problem(problem) => problem,
        };
        if !may_pass || self.job.stalls >= MOST_STALLS {
            return self.refuse(problem).await;
        }
        Ok(Outcome::Next(Job {
            rows,
            stalls: self.job.stalls + 1,
            ..self.job.clone()
        }))
    }

    /// Writes why the blob cannot be scored to where its refusals would be.
    async fn refuse(&self, problem: Problem) -> Result<Outcome, Problem> {
        let results = self.storage.look_for(&self.places.results).await;
        let results = results.map_err(|fault| unusable(&fault))?;
        if output::is_of(results.as_ref(), &self.found.etag) {
            return Ok(Outcome::DoneBefore);
        }
        let line = output::refusal(&self.job.blob, &problem)?;
        let written = async {
            let mut output = Output::new(self.storage.clone(), self.places.clone());
            output.push(b"", &line).await?;
            let written = output.end().await?;
            output::replace_refusals(&self.storage, &self.places.refusals, written).await
        };
        match written.await {
            Ok(()) => Ok(Outcome::Refused(problem)),
            Err(fault) => Err(unusable(&fault)),
        }
    }
}
