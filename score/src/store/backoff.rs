//! Growing pauses between attempts.

use std::time::Duration;

/// Pauses between attempts at something that fails: each is twice as long as the one before, up to a limit.
///
/// ```
/// use std::time::Duration;
///
/// use score::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(150));
/// let pauses: Vec<u128> = (0..4).map(|_| backoff.next_pause().as_millis()).collect();
/// assert_eq!(pauses, [50, 100, 150, 150]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with the pause `first`, or with `max` if that is shorter.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            next: first,
        }
    }

    /// The same after so many failed attempts: the first pause is as long as the one that would follow them.
    #[must_use]
    pub fn after(mut self, failures: u32) -> Self {
        let factor = 2u32.saturating_pow(failures);
        self.next = self.first.saturating_mul(factor);
        self
    }

    /// The pause before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next.min(self.max);
        self.next = pause.saturating_mul(2);
        pause
    }

    /// The same, up to `spread` of it shorter or longer at random, so that processes which failed together do not try
    /// again together.
    pub fn next_pause_spread(&mut self, spread: f64) -> Duration {
        spread_out(self.next_pause(), spread)
    }

    /// An attempt succeeded: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// `time`, up to `spread` of it shorter or longer at random; `spread` is between 0 and 1.
pub(crate) fn spread_out(time: Duration, spread: f64) -> Duration {
    time.mul_f64(1.0 + spread * (2.0 * fastrand::f64() - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_limit_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let pauses = [1, 2, 4, 5, 5].map(|seconds| seconds * SECOND);
        assert_eq!(pauses.map(|_| backoff.next_pause()), pauses);
        backoff.reset();
        assert_eq!(backoff.next_pause(), SECOND);
    }

    #[test]
    fn earlier_failures_count_and_too_many_do_not_overflow() {
        let backoff = Backoff::new(SECOND, 5 * SECOND);
        assert_eq!(backoff.after(0).next_pause(), SECOND);
        assert_eq!(backoff.after(2).next_pause(), 4 * SECOND);
        assert_eq!(backoff.after(u32::MAX).next_pause(), 5 * SECOND);
        assert_eq!(Backoff::new(SECOND, SECOND / 2).next_pause(), SECOND / 2);
    }

    #[test]
    fn spread_pauses_stay_within_their_part() {
        for _ in 0..100 {
            let pause = Backoff::new(SECOND, SECOND).next_pause_spread(0.25);
            assert!(
                SECOND * 3 / 4 <= pause && pause <= SECOND * 5 / 4,
                "{pause:?}"
            );
        }
    }
}
