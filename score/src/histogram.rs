//! The bounds of the histograms. They are the same everywhere, so that the metrics of different steps can be compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// From the shortest run of a small model to the longest time a request may take unless it is set otherwise.
const SECONDS: [f64; 20] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Times, in seconds. Cloning shares the metric.
#[derive(Debug, Clone)]
pub struct Times {
    histogram: Histogram,
    /// The histogram does not tell its own.
    total: Arc<Total>,
}

#[derive(Debug, Default)]
struct Total {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            histogram: Histogram::new(SECONDS),
            total: Arc::default(),
        }
    }
}

impl Times {
    /// Counts one.
    pub fn observe(&self, time: Duration) {
        self.histogram.observe(time.as_secs_f64());
        self.total.count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = time.as_nanos() as u64;
        self.total
            .nanoseconds
            .fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The metric.
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.total.count.load(Ordering::Relaxed)
    }

    /// All of them together, in nanoseconds.
    pub fn nanoseconds(&self) -> u64 {
        self.total.nanoseconds.load(Ordering::Relaxed)
    }
}

/// Numbers of rows, 1 to 4096 by powers of two. Cloning shares the metric.
#[derive(Debug, Clone)]
pub struct RowCounts(Histogram);

impl Default for RowCounts {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(1.0, 2.0, 13)))
    }
}

impl RowCounts {
    /// Counts one.
    pub fn observe(&self, rows: usize) {
        self.0.observe(rows as f64);
    }

    /// The metric.
    pub fn histogram(&self) -> &Histogram {
        &self.0
    }
}
