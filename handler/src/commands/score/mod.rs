//! `handler score`: scores a file of any length, line by line, in bounded memory.
//!
//! A thread reads windows of lines, a few windows are scored at a time, and their results are written in order. What a run
//! has stored in the cache costs the next run a look-up, so that resuming needs no state beside the output.

mod input;
mod model;
mod output;
mod progress;
mod table;
mod window;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use score::Cache;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::arguments::{Format, Header, ScoreArguments};
use crate::config::Config;
use crate::limits::body_limits;
use crate::telemetry::logging::complain;
use input::{Lines, Window};
use output::{Kept, Output};
use progress::Progress;
use table::{TRIED, Table};
use window::{Lane, Tally};

/// Lines that are scored in one request: enough that what is done once for a request costs little, and a run is full.
const WINDOW_LINES: usize = 1024;
/// A window ends with the line that reaches so many bytes.
const WINDOW_BYTES: usize = 4 << 20;
/// Bytes of results that may wait to be stored before more are computed: what does not fit would not be stored.
const MAX_UNSTORED: usize = 4 << 20;
/// How long a store may take to be connected, and at the end to take what is left.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

type Source = Lines<Box<dyn BufRead + Send>>;

/// How the command ended.
struct End {
    failed: bool,
    stopped: bool,
}

/// Runs the command. The result is the status to exit with: 0 if every line was scored, 1 if some could not be, 2 if the command
/// could not run to its end, 130 after a signal to stop.
pub(crate) fn run(arguments: &ScoreArguments, config: &Config) -> i32 {
    match try_run(arguments, config) {
        Ok(End { stopped: true, .. }) => 130,
        Ok(End { failed, .. }) => failed.into(),
        Err(error) => {
            complain("error: ", [format!("{error:#}")]);
            2
        }
    }
}

fn try_run(arguments: &ScoreArguments, config: &Config) -> anyhow::Result<End> {
    let format = format_of(arguments)?;
    let (reader, length) = open(&arguments.input)?;
    let lines = Lines::new(reader, format, config.max_body_bytes);
    let tasks = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.cores)
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    tasks.block_on(async {
        // The links stay while the model is in use: one of texts opens files later, too.
        let (scorer, cache, _links) = model::load(arguments.model.as_deref(), config).await?;
        let lane = Lane {
            scorer,
            limits: body_limits(config),
            table: None,
        };
        let (output, kept) = output::open(arguments, format)?;
        let job = Job {
            lane,
            cache,
            output,
            rows: WINDOW_LINES.min(config.max_rows),
            at_once: config.cores + 1,
        };
        job.run(lines, kept, arguments.header, length).await
    })
}

/// By the names of the files, if it is not given.
fn format_of(arguments: &ScoreArguments) -> anyhow::Result<Format> {
    let of = |file: &Path| match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        _ => None,
    };
    let named = [of(&arguments.input), of(&arguments.output)];
    match (arguments.format, named) {
        (Some(format), _) => Ok(format),
        (None, [Some(one), Some(other)]) if one != other => {
            bail!("--in and --out have different formats; results have the format of the input")
        }
        (None, [Some(format), _] | [None, Some(format)]) => Ok(format),
        (None, [None, None]) => bail!(
            "neither --in nor --out ends with .jsonl, .ndjson or .csv; say which it is with --format jsonl or --format csv"
        ),
    }
}

/// The input, and its length if that is known.
fn open(file: &Path) -> anyhow::Result<(Box<dyn BufRead + Send>, Option<u64>)> {
    if file.as_os_str() == "-" {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let failed = || format!("{} cannot be read", file.display());
    let opened = File::open(file).with_context(failed)?;
    let found = opened.metadata().with_context(failed)?;
    if found.is_dir() {
        bail!(
            "{}: it is a folder; expected a file with a row in each line",
            file.display()
        );
    }
    let mut reader = BufReader::with_capacity(1 << 20, opened);
    let start = reader.fill_buf().with_context(failed)?;
    if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        bail!("{}: it is UTF-16; save it as UTF-8", file.display());
    }
    Ok((Box::new(reader), found.is_file().then_some(found.len())))
}

/// A file to score.
struct Job {
    lane: Lane,
    cache: Arc<Cache>,
    output: Output,
    rows: usize,
    at_once: usize,
}

impl Job {
    async fn run(
        mut self,
        mut lines: Source,
        kept: Kept,
        header: Option<Header>,
        length: Option<u64>,
    ) -> anyhow::Result<End> {
        if lines.format() == Format::Csv {
            self.read_header(&mut lines, header, kept.header)?;
        }
        if kept.line > 0 {
            self.skip(&mut lines, &kept).await?;
        }
        let stop = stop()?;
        let begin = Instant::now();
        let most = self.lane.scorer.metadata().options.max_rows;
        let rows = self.rows.min(most.unwrap_or(usize::MAX));
        let bytes = WINDOW_BYTES.min(self.lane.limits.max_bytes);
        let (mut output, at_once, cache) = (self.output, self.at_once, self.cache);
        let mut progress = Progress::new(length);
        let tally = score_all(
            self.lane,
            windows(lines, rows, bytes),
            stop.clone(),
            at_once,
            &cache,
            |done, tally| {
                output.write(&done.results, &done.errors)?;
                progress.tell(tally);
                Ok(())
            },
        );
        let tally = tally.await?;
        settle(&cache, 0).await;
        progress.end();
        let stopped = *stop.borrow();
        complain(
            "",
            [progress::summary(
                &tally,
                begin.elapsed(),
                output.errors_name(),
                stopped,
            )],
        );
        Ok(End {
            failed: tally.failed > 0 || kept.refused > 0,
            stopped,
        })
    }

    fn read_header(
        &mut self,
        lines: &mut Source,
        header: Option<Header>,
        is_written: bool,
    ) -> anyhow::Result<()> {
        let mut first = Vec::new();
        while first.len() < TRIED
            && let Some(line) = lines.line()?
        {
            if !line.is_blank() {
                first.push(line);
            }
        }
        let metadata = self.lane.scorer.metadata();
        let table = Table::of(&first, header, metadata, self.lane.limits);
        let (table, skipped) = table.map_err(|problem| {
            let reason = problem.message;
            anyhow!("the first line: {reason}; --header present says that it is a header, --header absent that it is a row")
        })?;
        if !is_written {
            self.output.write(&table.first_line(), b"")?;
        }
        lines.put_back(first.into_iter().skip(skipped));
        self.lane.table = Some(table);
        Ok(())
    }

    /// Goes on behind the last line that is done, if its result is still the same.
    async fn skip(&self, lines: &mut Source, kept: &Kept) -> anyhow::Result<()> {
        let other =
            "the output does not belong to this input and model; --force starts from the beginning";
        let last = loop {
            match lines.line()? {
                Some(line) if line.number < kept.line => {}
                Some(line) if line.number == kept.line => break line,
                _ => bail!(
                    "no row begins in line {}, of which the output has a result: {other}",
                    kept.line
                ),
            }
        };
        if self.lane.scorer.metadata().character.deterministic == Some(false) {
            return Ok(());
        }
        let window = Window {
            lines: vec![last],
            end: 0,
        };
        let again = self.lane.score(window).await.results;
        match kept
            .last
            .as_ref()
            .is_some_and(|last| again.strip_suffix(b"\n") == Some(last.as_bytes()))
        {
            true => Ok(()),
            false => bail!("line {} has another result now: {other}", kept.line),
        }
    }
}

/// Scores window after window, a few at a time, and shows what became of them in their order.
async fn score_all(
    lane: Lane,
    mut windows: mpsc::Receiver<io::Result<Window>>,
    mut stop: watch::Receiver<bool>,
    at_once: usize,
    cache: &Cache,
    mut show: impl FnMut(&window::Done, &Tally) -> anyhow::Result<()>,
) -> anyhow::Result<Tally> {
    let (lane, mut tally) = (Arc::new(lane), Tally::default());
    let mut running = FuturesOrdered::<JoinHandle<window::Done>>::new();
    let mut is_open = true;
    while is_open || !running.is_empty() {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop), if is_open => is_open = false,
            Some(done) = running.next() => {
                let done = done.context("a window could not be scored")?;
                tally.add(&done.tally);
                show(&done, &tally)?;
            }
            window = windows.recv(), if is_open && running.len() < at_once => match window {
                None => is_open = false,
                Some(window) => {
                    let window = window.context("the input cannot be read")?;
                    settle(cache, MAX_UNSTORED).await;
                    let lane = lane.clone();
                    running.push_back(tokio::spawn(async move { lane.score(window).await }));
                }
            },
        }
    }
    Ok(tally)
}

/// Waits until no more than so many bytes of results wait to be stored, unless the store does not take them.
async fn settle(cache: &Cache, most: usize) {
    let give_up = Instant::now() + STORE_PATIENCE;
    while cache.unstored_bytes() > most
        && cache.remote_is_up() == Some(true)
        && Instant::now() < give_up
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reads windows on a thread of its own, which a read of standard input may hold for ever.
fn windows(mut lines: Source, rows: usize, bytes: usize) -> mpsc::Receiver<io::Result<Window>> {
    let (send, receive) = mpsc::channel(1);
    std::thread::spawn(move || {
        while let Some(window) = lines.window(rows, bytes).transpose() {
            let failed = window.is_err();
            if send.blocking_send(window).is_err() || failed {
                return;
            }
        }
    });
    receive
}

/// Becomes true with the first signal to stop; a second one ends the process.
fn stop() -> anyhow::Result<watch::Receiver<bool>> {
    let failed = "signals cannot be watched";
    let mut interrupt = signal(SignalKind::interrupt()).context(failed)?;
    let mut terminate = signal(SignalKind::terminate()).context(failed)?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        for is_second in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if is_second {
                std::process::exit(130);
            }
            complain("", ["stopping: the lines in work are finished first"]);
            tell.send_replace(true);
        }
    });
    Ok(told)
}
