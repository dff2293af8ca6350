//! `handler score`: scores a file of any length, line by line, in bounded memory.
//!
//! A thread reads windows of lines, a few windows are scored at a time, and their results are written in order. What a run
//! has stored in the cache costs the next run a look-up, so that resuming needs no state beside the output.

mod model;
mod output;
mod progress;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use score::{Cache, Scorer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use wire::Limits;

use super::arguments::ScoreArguments;
use crate::bulk::{
    self, Format, Lane, Lines, Position, Run, Tally, WINDOW_BYTES, WINDOW_LINES, Window,
    open_table, unlike_text,
};
use crate::config::Config;
use crate::limits::body_limits;
use crate::telemetry::logging::complain;
use output::{Kept, Output};
use progress::Progress;

/// How long a store may take to be connected.
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
    let mut lines = Lines::new(reader, format, config.max_body_bytes, Position::default());
    let tasks = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.cores)
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    tasks.block_on(async {
        // The links stay while the model is in use: one of texts opens files later, too.
        let (scorer, cache, _links) = model::load(arguments.model.as_deref(), config).await?;
        let limits = body_limits(config);
        let table = match format {
            Format::Csv => Some(open_table(
                &mut lines,
                arguments.header,
                scorer.metadata(),
                limits,
            )?),
            Format::Jsonl => None,
        };
        // After all that may be wrong with the input: an older output is kept until then.
        let (mut output, kept) = output::open(arguments, format)?;
        if let Some(table) = table.as_ref().filter(|_| !kept.header) {
            output.write(&table.first_line(), b"")?;
        }
        let job = Job {
            lane: Arc::new(Lane::new(scorer.clone(), limits, table, Arc::default())),
            scorer,
            cache,
            output,
            limits,
            rows: WINDOW_LINES.min(config.max_rows),
            at_once: config.cores + 1,
        };
        job.run(lines, kept, length).await
    })
}

/// By the names of the files, if it is not given.
fn format_of(arguments: &ScoreArguments) -> anyhow::Result<Format> {
    let named = [&arguments.input, &arguments.output].map(|file| Format::of(file));
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
    let failed = || format!("{} cannot be read", file.display());
    let (mut reader, length): (Box<dyn BufRead + Send>, _) = if file.as_os_str() == "-" {
        (Box::new(BufReader::new(io::stdin())), None)
    } else {
        let opened = File::open(file).with_context(failed)?;
        let found = opened.metadata().with_context(failed)?;
        if found.is_dir() {
            bail!(
                "{}: it is a folder; expected a file with a row in each line",
                file.display()
            );
        }
        let reader = BufReader::with_capacity(1 << 20, opened);
        (Box::new(reader), found.is_file().then_some(found.len()))
    };
    if let Some(reason) = unlike_text(reader.fill_buf().with_context(failed)?) {
        bail!("{}: {reason}", file.display());
    }
    Ok((reader, length))
}

/// A file to score.
struct Job {
    lane: Arc<Lane>,
    scorer: Arc<Scorer>,
    cache: Arc<Cache>,
    output: Output,
    limits: Limits,
    rows: usize,
    at_once: usize,
}

impl Job {
    async fn run(
        mut self,
        mut lines: Source,
        kept: Kept,
        length: Option<u64>,
    ) -> anyhow::Result<End> {
        if kept.line > 0 {
            self.skip(&mut lines, &kept).await?;
        }
        let mut stop = stop()?;
        let begin = Instant::now();
        let most = self.scorer.metadata().options.max_rows;
        let rows = self.rows.min(most.unwrap_or(usize::MAX));
        let bytes = WINDOW_BYTES.min(self.limits.max_bytes);
        let windows = bulk::read_windows(lines, rows, bytes);
        let mut run = Run::new(self.lane, self.cache, windows, self.at_once);
        let (mut progress, mut tally) = (Progress::new(length), Tally::default());
        let mut stopped = false;
        loop {
            let done = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !stopped => {
                    stopped = true;
                    run.stop();
                    continue;
                }
                done = run.next() => done?,
            };
            let Some(done) = done else { break };
            tally.add(&done.tally);
            self.output.write(&done.results, &done.errors)?;
            progress.tell(&tally);
        }
        run.settle().await;
        progress.end();
        let errors = self.output.errors_name();
        complain(
            "",
            [progress::summary(&tally, begin.elapsed(), errors, stopped)],
        );
        Ok(End {
            failed: tally.failed > 0 || kept.refused > 0,
            stopped,
        })
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
        if self.scorer.metadata().character.deterministic == Some(false) {
            return Ok(());
        }
        let window = Window {
            end: last.end,
            lines: vec![last],
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
