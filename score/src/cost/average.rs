//! Moving averages: what was observed last counts most.

use std::time::{Duration, Instant};

/// Weights of an observation: the lower one while many come, the upper one after a long pause.
#[derive(Debug, Clone, Copy)]
struct Weights(f64, f64);

const OF_TIMES: Weights = Weights(1.0 / 32.0, 1.0 / 4.0);
/// More at once, since each is a yes or a no.
const OF_SHARES: Weights = Weights(1.0 / 64.0, 1.0 / 8.0);
/// Observations before an average is believed.
const ENOUGH: u32 = 8;
/// One time counts as this many times what was expected at most: a thread that lost its core says little about costs.
const MOST: f64 = 8.0;
const SLACK_SECONDS: f64 = 10e-6;

/// How much the next observation counts.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    observed: u32,
    last: Option<Instant>,
}

impl Pace {
    fn weigh(&mut self, Weights(least, most): Weights, now: Instant) -> f64 {
        let pause = self
            .last
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        self.observed = self.observed.saturating_add(1);
        // The first few make a plain mean.
        let early = 1.0 / f64::from(self.observed);
        pause.as_secs_f64().clamp(least, most).max(early)
    }
}

/// How often something is so.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Share {
    value: f64,
    pace: Pace,
}

impl Share {
    pub(super) fn note(&mut self, share: f64, now: Instant) {
        self.value += self.pace.weigh(OF_SHARES, now) * (share - self.value);
    }

    pub(super) fn get(&self) -> f64 {
        self.value
    }
}

/// A time that grows with a size, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Line {
    pub(super) fixed: f64,
    pub(super) each: f64,
}

impl Line {
    pub(super) fn at(self, size: f64) -> f64 {
        self.fixed + self.each * size
    }
}

/// Fits a [`Line`] to the times of things of different sizes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fit {
    pace: Pace,
    size: f64,
    seconds: f64,
    variance: f64,
    covariance: f64,
}

impl Fit {
    pub(super) fn note(&mut self, size: usize, took: Duration, now: Instant) {
        let (size, mut seconds) = (size as f64, took.as_secs_f64());
        if self.is_known() {
            seconds = seconds.min(MOST * self.line().at(size) + SLACK_SECONDS);
        }
        let weight = self.pace.weigh(OF_TIMES, now);
        let (size_off, seconds_off) = (size - self.size, seconds - self.seconds);
        self.size += weight * size_off;
        self.seconds += weight * seconds_off;
        self.variance = (1.0 - weight) * (self.variance + weight * size_off * size_off);
        self.covariance = (1.0 - weight) * (self.covariance + weight * size_off * seconds_off);
    }

    pub(super) fn is_known(&self) -> bool {
        self.pace.observed >= ENOUGH
    }

    /// The time for each unit of size, at sizes as they were.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.is_known() && self.size > 0.0).then(|| self.seconds / self.size)
    }

    /// What was never seen costs nothing.
    pub(super) fn line(&self) -> Line {
        if self.size <= 0.0 {
            return Line::default();
        }
        let proportional = self.seconds / self.size;
        // Sizes that hardly differ tell nothing about what a larger one would take.
        let differ = self.variance > 0.01 * self.size * self.size;
        let each = if differ {
            (self.covariance / self.variance).clamp(0.0, proportional)
        } else {
            proportional
        };
        Line {
            fixed: self.seconds - each * self.size,
            each,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: f64) -> Duration {
        Duration::from_secs_f64(micros * 1e-6)
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 0.02 * expected
    }

    #[test]
    fn tells_what_a_run_costs_from_what_its_rows_cost() {
        let (mut fit, now) = (Fit::default(), Instant::now());
        for size in [1, 64, 8, 1, 32, 64, 2, 1].repeat(8) {
            fit.note(size, micros(40.0 + 3.0 * size as f64), now);
        }
        let line = fit.line();
        assert!(near(line.fixed, 40e-6) && near(line.each, 3e-6), "{line:?}");
    }

    #[test]
    fn takes_times_as_proportional_while_all_sizes_are_the_same() {
        let (mut fit, now) = (Fit::default(), Instant::now());
        assert_eq!(fit.line(), Line::default());
        for _ in 0..50 {
            fit.note(4, micros(20.0), now);
        }
        assert!(near(fit.line().at(64.0), 320e-6));
    }

    #[test]
    fn one_slow_time_changes_little_and_lasting_slowness_is_believed_soon() {
        let (mut fit, now) = (Fit::default(), Instant::now());
        for _ in 0..100 {
            fit.note(1, micros(10.0), now);
        }
        fit.note(1, micros(50_000.0), now);
        assert!(fit.line().at(1.0) < 14e-6, "{:?}", fit.line());
        for _ in 0..100 {
            fit.note(1, micros(1_000.0), now);
        }
        assert!(fit.line().at(1.0) > 800e-6, "{:?}", fit.line());
    }

    #[test]
    fn what_is_seldom_observed_counts_for_more() {
        let (mut often, mut seldom) = (Share::default(), Share::default());
        let start = Instant::now();
        for step in 0..100 {
            often.note(0.0, start);
            seldom.note(0.0, start + Duration::from_secs(step));
        }
        often.note(1.0, start);
        seldom.note(1.0, start + Duration::from_secs(100));
        assert!(near(often.get(), 1.0 / 64.0) && near(seldom.get(), 1.0 / 8.0));
    }
}
