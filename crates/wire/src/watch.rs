//! What readers ask while they work: whether they may take more memory, and whether their work is still wanted.

use std::fmt::Debug;

use score::ScoreError;

/// Watches over the reading of one body.
///
/// What costs no more than a small factor of a body's bytes is taken at once, when the reading begins; what may cost more is
/// taken step by step, each time before it is allocated.
pub trait Watch: Debug + Sync {
    /// Takes so many bytes more; `false` if there are none, and then the reading is over.
    fn take(&self, bytes: usize) -> bool;

    /// Gives back bytes that were taken and are free again.
    fn give_back(&self, bytes: usize);

    /// Whether the reading is to end: memory was refused, or the caller is gone.
    fn is_over(&self) -> bool;
}

/// Lets everything pass, for bodies that are not a caller's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn take(&self, _bytes: usize) -> bool {
        true
    }

    fn give_back(&self, _bytes: usize) {}

    fn is_over(&self) -> bool {
        false
    }
}

/// The error that ends a reading which is over. No caller sees its text: it becomes `PayloadError::Stopped`.
pub(crate) fn stopped() -> ScoreError {
    ScoreError::InvalidInput {
        target: None,
        message: "the body is not read to its end".to_owned(),
    }
}

/// Takes bytes for something that grows, in steps.
#[derive(Debug)]
pub(crate) struct Growth<'a> {
    watch: &'a dyn Watch,
    taken: usize,
}

impl<'a> Growth<'a> {
    /// Bytes taken at a time.
    const STEP: usize = 256 << 10;

    pub(crate) fn new(watch: &'a dyn Watch) -> Self {
        Self { watch, taken: 0 }
    }

    /// Sees that `bytes` bytes in all are taken.
    ///
    /// # Errors
    /// [`stopped`], if there are none or the reading is over.
    pub(crate) fn reach(&mut self, bytes: usize) -> Result<(), ScoreError> {
        if bytes <= self.taken {
            return Ok(());
        }
        let more = (bytes - self.taken).max(Self::STEP);
        self.taken += more;
        match self.watch.take(more) && !self.watch.is_over() {
            true => Ok(()),
            false => Err(stopped()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// So many bytes and no more.
    #[derive(Debug)]
    pub(crate) struct Budget {
        left: AtomicUsize,
        over: AtomicBool,
    }

    impl Budget {
        pub(crate) fn of(bytes: usize) -> Self {
            Self {
                left: AtomicUsize::new(bytes),
                over: AtomicBool::new(false),
            }
        }

        pub(crate) fn left(&self) -> usize {
            self.left.load(Ordering::Relaxed)
        }
    }

    impl Watch for Budget {
        fn take(&self, bytes: usize) -> bool {
            let left = self.left().checked_sub(bytes);
            match left {
                Some(left) => self.left.store(left, Ordering::Relaxed),
                None => self.over.store(true, Ordering::Relaxed),
            }
            left.is_some()
        }

        fn give_back(&self, bytes: usize) {
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }

        fn is_over(&self) -> bool {
            self.over.load(Ordering::Relaxed)
        }
    }

    /// Over from the second look on.
    #[derive(Debug, Default)]
    pub(crate) struct Looks(AtomicUsize);

    impl Looks {
        pub(crate) fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Watch for Looks {
        fn take(&self, _bytes: usize) -> bool {
            true
        }

        fn give_back(&self, _bytes: usize) {}

        fn is_over(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) > 0
        }
    }

    #[test]
    fn what_grows_is_taken_in_steps() {
        let budget = Budget::of(2 * Growth::STEP);
        let mut growth = Growth::new(&budget);
        for bytes in 0..=Growth::STEP {
            growth.reach(bytes).unwrap();
        }
        assert_eq!(budget.left(), Growth::STEP);
        growth.reach(Growth::STEP + 1).unwrap();
        assert_eq!(budget.left(), 0);
        assert!(growth.reach(2 * Growth::STEP + 1).is_err());
    }
}
