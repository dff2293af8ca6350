//! `handler score`: scores a file of any length, line by line, in bounded memory.
//!
//! A thread reads windows of lines, a few windows are scored at a time, and their results are written in order. What a run
//! has stored in the cache costs the next run a look-up, so that resuming needs no state beside the output.

mod model;
mod output;
mod progress;
mod source;
#[cfg(feature = "parquet")]
mod whole;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use score::{Cache, Scorer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use wire::Limits;

use super::arguments::ScoreArguments;
use crate::bulk::{Format, Lane, Run, Tally, WINDOW_BYTES, WINDOW_LINES, Window, windows_of};
use crate::config::Config;
use crate::limits::body_limits;
use crate::telemetry::logging::complain;
use output::{Kept, Output};
use progress::Progress;
use source::Source;

/// How long a store may take to be connected.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

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
    let input = source::open(&arguments.input, format, config.max_body_bytes)?;
    let tasks = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.cores)
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    tasks.block_on(async {
        // The links stay while the model is in use: one of texts opens files later, too.
        let (scorer, cache, _links) = model::load(arguments.model.as_deref(), config).await?;
        let limits = body_limits(config);
        let length = input.length;
        let (source, rows) = input.begin(arguments.header, format, scorer.metadata(), limits)?;
        // After all that may be wrong with the input: an older output is kept until then.
        let (mut output, kept) = output::open(arguments, format, scorer.metadata())?;
        if let Some(table) = rows.table.as_ref().filter(|_| !kept.header) {
            output.write(&table.first_line(), b"")?;
        }
        let lane = Lane::new(scorer.clone(), limits, rows.table, Arc::default());
        #[cfg(feature = "parquet")]
        let lane = lane.with_rows(rows.around);
        let job = Job {
            lane: Arc::new(lane),
            scorer,
            cache,
            output,
            limits,
            rows: WINDOW_LINES.min(config.max_rows),
            at_once: config.cores + 1,
        };
        job.run(source, kept, length).await
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
            "neither --in nor --out ends with .jsonl, .ndjson, .csv or .parquet; say which it is with --format jsonl, csv or parquet"
        ),
    }
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
        mut source: Source,
        kept: Kept,
        length: Option<u64>,
    ) -> anyhow::Result<End> {
        if kept.line > 0 {
            self.skip(&mut source, &kept).await?;
        }
        let mut stop = stop()?;
        let begin = Instant::now();
        let most = self.scorer.metadata().options.max_rows;
        let rows = self.rows.min(most.unwrap_or(usize::MAX));
        let bytes = WINDOW_BYTES.min(self.limits.max_bytes);
        let windows = windows_of(move || source.window(rows, bytes));
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
        let left = self.output.end(stopped)?;
        let errors = self.output.errors_name();
        let mut summary = progress::summary(&tally, begin.elapsed(), errors);
        if stopped {
            summary.push_str(left);
        }
        complain("", [summary]);
        Ok(End {
            failed: tally.failed > 0 || kept.refused > 0,
            stopped,
        })
    }

    /// Goes on behind the last line that is done, if its result is still the same.
    async fn skip(&self, source: &mut Source, kept: &Kept) -> anyhow::Result<()> {
        let other =
            "the output does not belong to this input and model; --force starts from the beginning";
        #[allow(
            irrefutable_let_patterns,
            reason = "without Parquet there are only lines"
        )]
        let Source::Lines(lines) = source else {
            bail!(other);
        };
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
