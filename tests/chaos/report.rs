//! The table: what each fault did, and whether that is allowed.

use std::fmt::Write as _;
use std::time::Duration;

use super::fault::Effect;
use super::form::Form;
use crate::support::app_root::repository;

/// `REDIS_TIMEOUT`, as it is by default.
const LOOK_UP_BUDGET: Duration = Duration::from_millis(50);
const HITS_AGAIN_WITHIN: Duration = Duration::from_secs(2);

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
    /// From the fault's end to the first answer with hits.
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

impl Row {
    /// What is not as it must be.
    fn objections(&self, effect: Effect, noise: Duration) -> Vec<String> {
        let mut objections = Vec::new();
        let mut check = |is_met: bool, text: String| {
            if !is_met {
                objections.push(format!("{}: {text}", self.fault));
            }
        };
        let failure = self.first_failure.clone().unwrap_or_default();
        check(
            self.failed == 0,
            format!("{} failed: {failure}", self.failed),
        );
        check(self.wrong == 0, format!("{} wrong answers", self.wrong));
        let limit = self.without_cache_first + LOOK_UP_BUDGET + noise;
        let text = format!("p99 at first {:?}, more than {limit:?}", self.first);
        check(self.first <= limit, text);
        if effect == Effect::Outage {
            let limit = self.without_cache_during.mul_f64(1.1) + noise;
            let text = format!(
                "p99 with the gate shut {:?}, more than {limit:?}",
                self.during
            );
            check(self.during <= limit, text);
        }
        let in_time = self.hits_again.is_some_and(|t| t < HITS_AGAIN_WITHIN);
        check(
            in_time,
            format!("hits came back after {:?}", self.hits_again),
        );
        let (asked, served) = (self.asked_during, self.served_during);
        match effect {
            Effect::Outage => check(
                asked * 20 <= served && served > 0,
                format!("{asked} of {served} requests asked Redis: no outage"),
            ),
            Effect::Misses => check(self.incomplete > 0, "nothing was missed".to_owned()),
            Effect::RefusedWrites => {
                check(self.dropped_writes > 0, "all writes succeeded".to_owned());
                // A busy machine may shut the gate for a moment, the fault must not.
                let text = format!("only {asked} of {served} asked Redis");
                check(asked * 10 >= served * 9, text);
            }
        }
        objections
    }

    fn cells(&self) -> [String; 10] {
        let hits_again = match self.hits_again {
            Some(time) => format!("{} ms", time.as_millis()),
            None => "never".to_owned(),
        };
        [
            self.fault.to_owned(),
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

const HEADINGS: [&str; 10] = [
    "fault",
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

    /// Judges a row and adds it.
    pub(crate) fn add(&mut self, row: Row, effect: Effect) {
        self.objections
            .extend(row.objections(effect, self.form.noise));
        self.line(row.cells());
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
