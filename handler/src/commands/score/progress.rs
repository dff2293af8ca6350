//! What the command tells while it works, on standard error: a bar on a terminal, else a line every few seconds.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::bulk::Tally;

/// Between two lines where standard error is a file.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells how far a file is done.
pub(super) struct Progress {
    /// On a terminal.
    bar: Option<ProgressBar>,
    length: Option<u64>,
    begin: Instant,
    told: Instant,
}

impl Progress {
    /// For a file of so many bytes, if that is known.
    pub(super) fn new(length: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            bar: stderr().is_terminal().then(|| bar(length)),
            length,
            begin: now,
            told: now,
        }
    }

    /// Tells, unless it has just done so.
    pub(super) fn tell(&mut self, tally: &Tally) {
        if let Some(bar) = &self.bar {
            bar.set_message(counts(tally, self.begin.elapsed()));
            bar.set_position(tally.end.byte);
        } else if self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            // There is nothing to do if standard error is closed.
            let _ = writeln!(
                stderr(),
                "{}",
                line(tally, self.begin.elapsed(), self.length)
            );
        }
    }

    /// Removes the bar.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Its position is the bytes that are done, which tell how much time is left.
fn bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:20} {percent} %, {eta} left, {msg}",
        ),
        None => (ProgressBar::no_length(), "{spinner} {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn counts(tally: &Tally, time: Duration) -> String {
    let lines = tally.scored + tally.failed;
    let rate = lines as f64 / time.as_secs_f64().max(1e-3);
    format!(
        "{lines} lines, {rate:.0}/s, {} from the cache, {} failed",
        tally.from_cache, tally.failed
    )
}

fn line(tally: &Tally, time: Duration, length: Option<u64>) -> String {
    let mut text = counts(tally, time);
    if let Some(length) = length.filter(|length| *length > 0 && tally.end.byte > 0) {
        let part = tally.end.byte as f64 / length as f64;
        let left = time.as_secs_f64() * (1.0 / part - 1.0).max(0.0);
        text.push_str(&format!(", {:.0} %, {left:.0} s left", 100.0 * part));
    }
    text
}

/// What the command has done.
pub(super) fn summary(tally: &Tally, time: Duration, errors: &str) -> String {
    let lines = tally.scored + tally.failed;
    let seconds = time.as_secs_f64();
    let Tally {
        scored,
        failed,
        from_cache,
        ..
    } = tally;
    let mut text = format!(
        "{lines} lines in {seconds:.1} s: {scored} scored, {from_cache} of them from the cache, {failed} failed"
    );
    if *failed > 0 {
        text.push_str(&format!(" (see {errors})"));
    }
    if tally.computed > 0 && *from_cache > 0 {
        let each = tally.infer.as_secs_f64() / tally.computed as f64;
        text.push_str(&format!(
            "; the cache saved {:.1} s of computing",
            each * *from_cache as f64
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::Position;

    #[test]
    fn the_line_and_the_summary_have_counts_rates_and_what_is_left() {
        let tally = Tally {
            scored: 90,
            failed: 10,
            from_cache: 40,
            computed: 50,
            infer: Duration::from_secs(5),
            end: Position {
                line: 100,
                byte: 250,
            },
        };
        assert_eq!(
            line(&tally, Duration::from_secs(2), Some(1000)),
            "100 lines, 50/s, 40 from the cache, 10 failed, 25 %, 6 s left"
        );
        assert_eq!(
            summary(&tally, Duration::from_secs(2), "e"),
            "100 lines in 2.0 s: 90 scored, 40 of them from the cache, 10 failed (see e); the cache saved 4.0 s of computing"
        );
    }
}
