//! How long the other side of a connection may be waited for.

use std::time::Duration;

use crate::problem::Problem;

/// Bytes have to come, or to be taken, at a rate; there may be pauses, which are made up for by faster bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    bytes_per_second: u64,
    longest_pause: Duration,
    left: Duration,
}

impl Pace {
    /// At least so many bytes each second, but for pauses of so long together.
    pub(super) fn new(bytes_per_second: u64, longest_pause: Duration) -> Self {
        Self {
            bytes_per_second,
            longest_pause,
            left: longest_pause,
        }
    }

    /// How long the next byte may be waited for.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// Why a body is not read on.
    pub(super) fn too_slow(&self) -> Problem {
        Problem::too_slow(self.bytes_per_second, self.longest_pause)
    }

    /// So many bytes have moved after so long a wait. Bytes make up for earlier pauses, not for later ones: who has sent
    /// much may not hold it back for long.
    pub(super) fn moved(&mut self, bytes: usize, waited: Duration) {
        let bytes = bytes as f64 / self.bytes_per_second as f64;
        let earned = Duration::try_from_secs_f64(bytes).unwrap_or(self.longest_pause);
        let left = self.left.saturating_sub(waited);
        self.left = left.saturating_add(earned).min(self.longest_pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_lasts_and_pauses_are_made_up_for() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(240, 5 * second);
        for _ in 0..1000 {
            pace.moved(240, second);
            assert_eq!(pace.left(), 5 * second);
        }
        // A pause, then bytes that make up for it.
        pace.moved(1, 4 * second);
        assert!(pace.left() < second + second / 100);
        pace.moved(480, Duration::ZERO);
        assert!(pace.left() > 2 * second);
        // However much has come, the next pause is no longer.
        pace.moved(usize::MAX, Duration::ZERO);
        assert_eq!(pace.left(), 5 * second);
        for _ in 0..6 {
            pace.moved(1, second);
        }
        assert!(pace.left() < second / 200);
    }
}
