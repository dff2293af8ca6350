//! The short form, which is part of all tests, and the long one.

use std::time::Duration;

/// How long things take and how strictly latencies are judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Whether the measurements are the purpose of the run.
    pub(crate) is_long: bool,
    /// Load with the cache in use, before each fault.
    pub(crate) before: Duration,
    /// From the fault's start until the gate must be shut.
    pub(crate) first: Duration,
    /// The rest of the fault.
    pub(crate) during: Duration,
    /// Between two requests of one client.
    pub(crate) pace: Duration,
    /// What the p99 may differ by although nothing is wrong, since the machine has other things to do: too few
    /// samples in the short form, and a debug build among other tests.
    pub(crate) noise: Duration,
    /// How soon after a fault all hits have to be back.
    pub(crate) hits_again: Duration,
    /// Rows of the run with draws from a Zipf distribution.
    pub(crate) zipf_rows: usize,
    /// Between two requests of one client of that run, so that several faults fit in.
    pub(crate) zipf_pace: Duration,
    /// How long a fault of that run lasts, and how long there is none.
    pub(crate) zipf_pause: Duration,
}

impl Form {
    /// The same beside what a request without a cache takes at the same time: in the short form, which is part of all
    /// tests, that shows how busy the machine is.
    pub(crate) fn noise_beside(self, without_cache: Duration) -> Duration {
        match self.is_long {
            true => self.noise,
            false => self.noise.max(2 * without_cache),
        }
    }

    /// The long form with `CHAOS=long`, else the short one.
    #[allow(
        clippy::disallowed_methods,
        reason = "a wish of the tests, no setting of the program"
    )]
    pub(crate) fn from_environment() -> Self {
        match std::env::var("CHAOS").as_deref() {
            Ok("long") => Self {
                is_long: true,
                before: Duration::from_secs(3),
                first: Duration::from_millis(300),
                during: Duration::from_secs(8),
                pace: Duration::from_millis(40),
                noise: Duration::from_millis(2),
                hits_again: Duration::from_secs(2),
                zipf_rows: 1_000_000,
                zipf_pace: Duration::from_millis(40),
                zipf_pause: Duration::from_millis(500),
            },
            _ => Self {
                is_long: false,
                before: Duration::from_millis(100),
                first: Duration::from_millis(300),
                during: Duration::from_millis(500),
                pace: Duration::from_millis(100),
                noise: Duration::from_millis(30),
                hits_again: Duration::from_secs(20),
                zipf_rows: 20_000,
                zipf_pace: Duration::from_millis(150),
                zipf_pause: Duration::from_millis(200),
            },
        }
    }
}
