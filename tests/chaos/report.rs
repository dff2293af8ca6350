//! The table: what each fault did, and whether that is allowed.

use std::fmt::Write as _;
use std::time::Duration;

use super::fault::Effect;
use super::form::Form;
use crate::support::app_root::repository;

/// `REDIS_TIMEOUT`, as it is by default.
const LOOK_UP_BUDGET: Duration = Duration::from_millis(50);

/// What was measured around one fault. Times are 99th percentiles unless they say otherwise.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) served: usize,
    pub(crate) failed: usize,
    pub(crate) first_failure: Option<String>,
    pub(crate) wrong: usize,
    /// With the cache, before the fault.
    pub(crate) before: Duration,
    /// Without cache, at the same time as `first`.
    pub(crate) without_cache_first: Duration,
    /// From the fault's start until the gate must be shut.
    pub(crate) first: Duration,
    /// Without cache, at the same time as `during`.
    pub(crate) without_cache_during: Duration,
    /// The rest of the fault.
    pub(crate) during: Duration,
    /// From the fault's end until all known rows are found.
    pub(crate) hits_again: Option<Duration>,
    /// Requests during the rest of the fault.
    pub(crate) served_during: usize,
    /// How many of those asked Redis.
    pub(crate) asked_during: usize,
    /// Requests during the fault that asked and did not find all they should know.
    pub(crate) incomplete: usize,
    /// Results that were not stored during the fault.
    pub(crate) dropped_writes: u64,
}

/// What is not as it must be in one row.
#[derive(Debug, Default)]
pub(crate) struct Objections {
    /// Too late, which a busy machine may be to blame for.
    late: Vec<String>,
    /// What does not depend on the machine.
    wrong: Vec<String>,
}

impl Objections {
    /// Whether another run may show that it was the machine.
    pub(crate) fn may_be_chance(&self) -> bool {
        self.wrong.is_empty() && !self.late.is_empty()
    }

    /// All of them.
    pub(crate) fn into_texts(self) -> Vec<String> {
        [self.wrong, self.late].concat()
    }

    fn in_time(&mut self, is_met: bool, text: String) {
        if !is_met {
            self.late.push(text);
        }
    }

    fn right(&mut self, is_met: bool, text: String) {
        if !is_met {
            self.wrong.push(text);
        }
    }
}

impl Row {
    /// Judges it.
    pub(crate) fn objections(&self, effect: Effect, form: Form) -> Objections {
        let mut found = Objections::default();
        let failure = self.first_failure.clone().unwrap_or_default();
        found.right(
            self.failed == 0,
            format!("{} failed: {failure}", self.failed),
        );
        found.right(self.wrong == 0, format!("{} wrong answers", self.wrong));
        self.judge_latencies(effect, form, &mut found);
        self.judge_effect(effect, &mut found);
        match self.hits_again {
            Some(time) => found.in_time(
                time < form.hits_again,
                format!("hits came back after {time:?}"),
            ),
            None => found.right(false, "hits never came back".to_owned()),
        }
        found
    }

    fn judge_latencies(&self, effect: Effect, form: Form, found: &mut Objections) {
        let noise = form.noise_beside(self.without_cache_first);
        let limit = self.without_cache_first + LOOK_UP_BUDGET + noise;
        let text = format!("p99 at first {:?}, more than {limit:?}", self.first);
        found.in_time(self.first <= limit, text);
        let noise = form.noise_beside(self.without_cache_during);
        let limit = match effect {
            // The gate is shut.
            Effect::Outage => self.without_cache_during.mul_f64(1.1) + noise,
            Effect::Misses | Effect::RefusedWrites => {
                self.without_cache_during + LOOK_UP_BUDGET + noise
            }
        };
        let text = format!("p99 later {:?}, more than {limit:?}", self.during);
        found.in_time(self.during <= limit, text);
    }

    fn judge_effect(&self, effect: Effect, found: &mut Objections) {
        let (asked, served) = (self.asked_during, self.served_during);
        match effect {
            Effect::Outage => found.in_time(
                asked * 20 <= served && served > 0,
                format!("{asked} of {served} requests asked Redis: no outage"),
            ),
            Effect::Misses => found.right(self.incomplete > 0, "nothing was missed".to_owned()),
            Effect::RefusedWrites => {
                found.right(self.dropped_writes > 0, "all writes succeeded".to_owned());
                // Answers that are late on a busy machine shut the gate for a moment; the fault must not.
                let text = format!("only {asked} of {served} asked Redis");
                found.in_time(asked * 10 >= served * 9, text);
            }
        }
    }

    fn cells(&self, runs: usize) -> [String; HEADINGS.len()] {
        let hits_again = match self.hits_again {
            Some(time) => format!("{} ms", time.as_millis()),
            None => "never".to_owned(),
        };
        [
            self.fault.to_owned(),
            runs.to_string(),
            self.served.to_string(),
            self.failed.to_string(),
            self.wrong.to_string(),
            millis(self.before),
            millis(self.without_cache_first),
            millis(self.first),
            millis(self.without_cache_during),
            millis(self.during),
            hits_again,
        ]
    }
}

const HEADINGS: [&str; 11] = [
    "fault",
    "runs",
    "served",
    "failed",
    "wrong",
    "p99 with cache, before",
    "p99 without cache, at first",
    "p99 at first",
    "p99 without cache, later",
    "p99 later",
    "hits again after",
];

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// Rows so far and what is wrong with them.
#[derive(Debug)]
pub(crate) struct Report {
    form: Form,
    table: String,
    objections: Vec<String>,
}

impl Report {
    /// An empty table.
    pub(crate) fn new(form: Form) -> Self {
        let mut report = Self {
            form,
            table: String::new(),
            objections: Vec::new(),
        };
        report.line(HEADINGS.map(str::to_owned));
        let _ = writeln!(report.table, "|---|{}", "--:|".repeat(HEADINGS.len() - 1));
        report
    }

    /// Adds the last of so many runs of a fault, and what is not as it must be in it.
    pub(crate) fn add(&mut self, row: &Row, runs: usize, objections: Objections) {
        let texts = objections.into_texts().into_iter();
        self.objections
            .extend(texts.map(|text| format!("{}: {text}", row.fault)));
        self.line(row.cells(runs));
    }

    /// Ends the table, which the long form keeps as `target/chaos.md`.
    ///
    /// # Panics
    ///
    /// If anything was not as it must be.
    pub(crate) fn finish(self) {
        if self.form.is_long {
            let file = repository().join("target/chaos.md");
            std::fs::write(&file, &self.table).expect("target can be written");
        }
        assert!(
            self.objections.is_empty(),
            "\n{}",
            self.objections.join("\n")
        );
    }

    fn line(&mut self, cells: [String; HEADINGS.len()]) {
        let line = format!("| {} |", cells.join(" | "));
        println!("{line}");
        let _ = writeln!(self.table, "{line}");
    }
}
