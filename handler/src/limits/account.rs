//! Memory for what bodies become: what is unpacked and read, what scoring makes of it, and answers until they are written.
//!
//! Bodies as they came have memory of their own ([`BodyLimits`](super::BodyLimits)), which they keep while they wait here: one
//! account for both would let bodies that wait to be read keep the memory that reading them takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use wire::Watch;

use crate::problem::Problem;

/// What a request takes at least: one step, so that small ones ask once.
const LEAST_BYTES: usize = 16 << 10;

/// So many bytes, for all requests and messages together.
#[derive(Debug)]
pub(crate) struct Account {
    all: usize,
    free: AtomicUsize,
    /// Readers that wait for memory.
    waiting: AtomicUsize,
    turn: Mutex<()>,
    given_back: Condvar,
}

impl Account {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            all: bytes,
            free: AtomicUsize::new(bytes),
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            given_back: Condvar::new(),
        }
    }

    /// Bytes that are taken now.
    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.all - self.free.load(Ordering::SeqCst)
    }

    fn take_free(&self, bytes: usize) -> bool {
        let take = |free: usize| free.checked_sub(bytes);
        let taken = self
            .free
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        taken.is_ok()
    }

    /// Waits for them until then, if need be.
    fn take(&self, bytes: usize, until: Instant) -> bool {
        self.take_free(bytes) || bytes <= self.all && self.wait_for(bytes, until)
    }

    fn wait_for(&self, bytes: usize, until: Instant) -> bool {
        let mut turn = self.turn.lock();
        // Who gives back after this sees that a reader waits; what was given back before is seen below.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut in_time = true;
        let mut taken = self.take_free(bytes);
        while !taken && in_time {
            in_time = !self.given_back.wait_until(&mut turn, until).timed_out();
            taken = self.take_free(bytes);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.free.fetch_add(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let _turn = self.turn.lock();
            self.given_back.notify_all();
        }
    }

    /// Why one charge does not get so many bytes in all.
    fn refusal(&self, bytes: usize) -> Problem {
        match bytes > self.all {
            true => Problem::beyond_all_memory(self.all),
            false => Problem::busy("the bodies of other requests take too much memory"),
        }
    }
}

/// What one request or message has taken, until it is dropped. It is small, because it is moved with each answer.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Arc<Account>,
    bytes: usize,
}

impl Charge {
    /// Nothing yet.
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self { account, bytes: 0 }
    }

    /// Holds so many bytes from now on, more or less than before.
    ///
    /// # Errors
    /// 503 if there are not so many more, 413 if there never are.
    pub(crate) fn settle(&mut self, bytes: usize) -> Result<(), Problem> {
        let bytes = bytes.max(LEAST_BYTES);
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            None => self.account.give_back(self.bytes - bytes),
            Some(more) if !self.account.take_free(more) => {
                return Err(self.account.refusal(bytes));
            }
            Some(_) => {}
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Holds so many bytes at least.
    ///
    /// # Errors
    /// As [`Charge::settle`].
    pub(crate) fn reach(&mut self, bytes: usize) -> Result<(), Problem> {
        match bytes > self.bytes {
            true => self.settle(bytes),
            false => Ok(()),
        }
    }

    /// Holds what the other one holds too.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

/// What a reader on a thread of its own takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Reading {
    account: Arc<Account>,
    bytes: AtomicUsize,
    /// Until when it waits for memory.
    until: Instant,
    /// What it would have had when memory was refused; zero if none was.
    refused_at: AtomicUsize,
    /// Whether its caller went away.
    abandoned: AtomicBool,
}

impl Reading {
    /// Nothing yet; what has to wait for memory waits until then.
    pub(super) fn new(account: Arc<Account>, until: Instant) -> Self {
        Self {
            account,
            bytes: AtomicUsize::new(0),
            until,
            refused_at: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Why it is over, if memory was refused.
    pub(super) fn refusal(&self) -> Option<Problem> {
        let wanted = self.refused_at.load(Ordering::Relaxed);
        (wanted > 0).then(|| self.account.refusal(wanted))
    }

    /// Ends it: its caller is gone.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// What it has taken, once it is over.
    pub(super) fn into_charge(mut self) -> Charge {
        Charge {
            account: self.account.clone(),
            bytes: std::mem::take(self.bytes.get_mut()),
        }
    }
}

impl Watch for Reading {
    fn take(&self, bytes: usize) -> bool {
        let taken = self.account.take(bytes, self.until);
        if taken {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            let held = self.bytes.load(Ordering::Relaxed);
            self.refused_at
                .store(held.saturating_add(bytes), Ordering::Relaxed);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        let before = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                Some(held.saturating_sub(bytes))
            });
        self.account.give_back(before.unwrap_or(0).min(bytes));
    }

    fn is_over(&self) -> bool {
        self.refused_at.load(Ordering::Relaxed) > 0 || self.abandoned.load(Ordering::Relaxed)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.account.give_back(*self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const UNIT: usize = LEAST_BYTES;

    fn charge(account: &Arc<Account>) -> Charge {
        Charge::new(account.clone())
    }

    fn reading(account: &Arc<Account>, wait: Duration) -> Reading {
        Reading::new(account.clone(), Instant::now() + wait)
    }

    #[test]
    fn what_is_taken_is_given_back_and_no_more() {
        let account = Arc::new(Account::new(1000 * UNIT));
        let mut first = charge(&account);
        first.settle(600 * UNIT).unwrap();
        let mut second = charge(&account);
        assert_eq!(second.settle(401 * UNIT).unwrap_err().status(), 503);
        assert_eq!(second.settle(1001 * UNIT).unwrap_err().status(), 413);
        second.reach(400 * UNIT).unwrap();
        assert_eq!(second.reach(401 * UNIT).unwrap_err().status(), 503);
        second.reach(1).unwrap();
        first.settle(1).unwrap();
        assert_eq!(account.in_use(), 401 * UNIT);
        drop((first, second));
        assert_eq!(account.in_use(), 0);
    }

    #[test]
    fn a_reader_waits_for_memory_a_while() {
        let account = Arc::new(Account::new(1000 * UNIT));
        let mut held = charge(&account);
        held.settle(900 * UNIT).unwrap();
        let reader = reading(&account, Duration::from_secs(60));
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| reader.take(500 * UNIT));
            held.settle(500 * UNIT).unwrap();
            assert!(taken.join().unwrap());
        });
        let impatient = reading(&account, Duration::from_millis(1));
        assert!(!impatient.take(200 * UNIT) && impatient.is_over());
        assert_eq!(impatient.refusal().unwrap().status(), 503);
        reader.give_back(100 * UNIT);
        let mut read = reader.into_charge();
        assert_eq!(account.in_use(), 900 * UNIT);
        read.settle(UNIT).unwrap();
        assert_eq!(account.in_use(), 501 * UNIT);
        drop((held, read));
        let alone = reading(&account, Duration::from_secs(60));
        assert!(alone.take(800 * UNIT) && !alone.take(1001 * UNIT));
        assert_eq!(alone.refusal().unwrap().status(), 413);
    }

    #[test]
    fn a_reading_ends_once_its_caller_is_gone() {
        let account = Arc::new(Account::new(1000 * UNIT));
        let reader = reading(&account, Duration::ZERO);
        assert!(!reader.is_over());
        reader.abandon();
        assert!(reader.is_over() && reader.refusal().is_none());
    }
}
