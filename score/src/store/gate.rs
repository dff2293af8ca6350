//! The circuit breaker in front of the shared store.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::Notify;

/// Failures in a row after which requests stop asking the store.
const TRIP_AFTER: u32 = 3;

/// Lets requests through to the store while it answers. It starts shut; the supervisor of the connection opens it.
///
/// While it is shut no request touches the store: a store that is down costs nothing, instead of one time-out each.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicBool,
    /// How often it was opened.
    openings: AtomicU32,
    failures: AtomicU32,
    tripped: Notify,
}

/// Leave to ask the store, good until the gate is shut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    opening: u32,
}

impl Gate {
    /// Whether requests may ask the store.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Leave to ask the store, while the gate is open.
    pub(crate) fn pass(&self) -> Option<Pass> {
        self.is_open().then(|| Pass {
            opening: self.openings.load(Ordering::Relaxed),
        })
    }

    /// Lets requests through again.
    pub(crate) fn open(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.openings.fetch_add(1, Ordering::Relaxed);
        self.open.store(true, Ordering::Release);
    }

    /// The store answered.
    pub(crate) fn succeeded(&self) {
        // Read before writing: at full load every request passes here, and a store would bounce the cache line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The store failed; shuts the gate at the third time in a row. What began before the gate was opened last says
    /// nothing about the store now. `true` if the gate was shut by this.
    pub(crate) fn failed(&self, pass: Pass) -> bool {
        if pass.opening != self.openings.load(Ordering::Relaxed) {
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let shut = failures >= TRIP_AFTER && self.open.swap(false, Ordering::AcqRel);
        if shut {
            self.tripped.notify_one();
        }
        shut
    }

    /// Waits until the gate is shut by failures.
    pub(crate) async fn tripped(&self) {
        self.tripped.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(gate: &Gate, times: usize) {
        for _ in 0..times {
            if let Some(pass) = gate.pass() {
                gate.failed(pass);
            }
        }
    }

    #[test]
    fn shuts_after_three_failures_in_a_row() {
        let gate = Gate::default();
        assert!(!gate.is_open(), "starts shut");
        gate.open();
        fail(&gate, 2);
        gate.succeeded();
        fail(&gate, 2);
        assert!(gate.is_open());
        fail(&gate, 1);
        assert!(!gate.is_open());
    }

    #[test]
    fn what_began_before_it_was_opened_does_not_count() {
        let gate = Gate::default();
        gate.open();
        let old = gate.pass().unwrap();
        fail(&gate, 3);
        gate.open();
        for _ in 0..3 {
            gate.failed(old);
        }
        assert!(gate.is_open());
    }

    #[tokio::test]
    async fn tells_the_supervisor_even_if_it_listens_late() {
        let gate = Gate::default();
        gate.open();
        fail(&gate, 3);
        gate.tripped().await;
    }
}
