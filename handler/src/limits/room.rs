//! Room for bodies: bounded for all of them together.
//!
//! Callers who get to read a refusal are refused at once where it is taken. The host's own calls wait instead, since the
//! host brings back at once what fails, and gives up after a few times. A body that is being read keeps what it has while it
//! waits for more: so only one of those that wait may grow at a time, and what it waits for is held by bodies that have
//! come whole, which give it back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use crate::problem::Problem;

/// What a call of the host may bring before it has to have its turn: small ones pass by a large one that comes slowly.
const FREE_BYTES: usize = 256 << 10;

/// What bodies may take.
#[derive(Debug, Clone)]
pub(crate) struct BodyLimits {
    /// How long one body, or a pause of one that waits, may take to come.
    pub(crate) time: Duration,
    /// Room for all bodies together, in units of [`BodyLimits::UNIT`] bytes.
    room: Arc<Semaphore>,
    units: usize,
    /// Held by the one body that may wait for room while it is being read, until it has come whole or is dropped; it waits
    /// for the semaphore meanwhile, so this is a lock of tokio's.
    turn: Arc<Mutex<()>>,
}

impl BodyLimits {
    /// Bytes that one permit stands for.
    pub(crate) const UNIT: usize = 4096;

    /// Room for `bytes` bytes in all.
    pub(crate) fn new(bytes: usize, time: Duration) -> Self {
        let units = bytes.div_ceil(Self::UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            time,
            room: Arc::new(Semaphore::new(units)),
            units,
            turn: Arc::default(),
        }
    }

    /// Bytes that bodies take now.
    pub(crate) fn in_use(&self) -> usize {
        (self.units - self.room.available_permits()) * Self::UNIT
    }

    fn bytes(&self) -> usize {
        self.units.saturating_mul(Self::UNIT)
    }

    /// For a body that waits until then, or does not wait.
    pub(crate) fn room(&self, wait_until: Option<Instant>) -> Room {
        Room {
            limits: self.clone(),
            wait_until,
            turn: None,
            taken: None,
        }
    }
}

/// The room of one body, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    limits: BodyLimits,
    wait_until: Option<Instant>,
    turn: Option<OwnedMutexGuard<()>>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn units(&self) -> usize {
        self.taken
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Sees that `needed` bytes of a body that is being read have room, and `spare` more if there are.
    ///
    /// # Errors
    /// 503 if there is no room in time, 413 if all the room there is would not do.
    pub(crate) async fn grow(&mut self, needed: usize, spare: usize) -> Result<(), Problem> {
        if needed <= self.units() * BodyLimits::UNIT {
            return Ok(());
        }
        if let Some(until) = self.wait_until {
            if needed <= FREE_BYTES && self.taken.is_none() {
                return Ok(());
            }
            if self.turn.is_none() {
                let turn = timeout_at(until, self.limits.turn.clone().lock_owned());
                self.turn = Some(turn.await.map_err(|_| full())?);
            }
        }
        self.take(needed, spare).await
    }

    /// Keeps room for just so many bytes: all of the body is there.
    ///
    /// # Errors
    /// As [`Room::grow`], for a small body that had no room so far.
    pub(crate) async fn complete(&mut self, bytes: usize) -> Result<(), Problem> {
        self.turn = None;
        self.take(bytes, 0).await?;
        self.shrink(bytes);
        Ok(())
    }

    /// Gives back what more than so many bytes take.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self
            .units()
            .saturating_sub(bytes.div_ceil(BodyLimits::UNIT));
        if let Some(taken) = &mut self.taken {
            drop(taken.split(surplus));
        }
    }

    async fn take(&mut self, needed: usize, spare: usize) -> Result<(), Problem> {
        let taken = self.units();
        let missing = |bytes: usize| {
            let units = bytes.div_ceil(BodyLimits::UNIT).saturating_sub(taken);
            u32::try_from(units).unwrap_or(u32::MAX)
        };
        let least = missing(needed);
        if least == 0 {
            return Ok(());
        }
        if self.wait_until.is_some() && needed > self.limits.bytes() {
            return Err(Problem::beyond_all_room(self.limits.bytes()));
        }
        let room = &self.limits.room;
        let found = match room.clone().try_acquire_many_owned(missing(needed + spare)) {
            Err(TryAcquireError::NoPermits) if spare > 0 => {
                room.clone().try_acquire_many_owned(least)
            }
            found => found,
        };
        let more = match (found, self.wait_until) {
            (Ok(more), _) => more,
            (Err(_), None) => return Err(full()),
            (Err(_), Some(until)) => {
                let more = timeout_at(until, room.clone().acquire_many_owned(least)).await;
                more.ok().and_then(Result::ok).ok_or_else(full)?
            }
        };
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

fn full() -> Problem {
    Problem::busy("too many bytes of other requests are in flight")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: usize = BodyLimits::UNIT;

    fn limits(units: usize) -> BodyLimits {
        BodyLimits::new(units * UNIT, Duration::from_secs(60))
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(40))
    }

    #[tokio::test(start_paused = true)]
    async fn two_half_read_bodies_never_wait_for_each_other() {
        // Each has half of all the room, and needs more than half.
        let (all, half) = (1000, 500 * UNIT);
        let limits = limits(all);
        let read = |limits: BodyLimits| async move {
            let mut room = limits.room(soon());
            for bytes in (half..=900 * UNIT).step_by(50 * UNIT) {
                room.grow(bytes, 0).await.unwrap();
                tokio::task::yield_now().await;
            }
            room.complete(900 * UNIT).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let start = Instant::now();
        let reads: Vec<_> = (0..4).map(|_| tokio::spawn(read(limits.clone()))).collect();
        for one in reads {
            one.await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(4));
        assert_eq!(limits.in_use(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_passes_a_large_one_that_comes_slowly() {
        let limits = limits(1000);
        let mut large = limits.room(soon());
        large.grow(300 * UNIT, 0).await.unwrap();
        let (mut small, start) = (limits.room(soon()), Instant::now());
        small.grow(UNIT, 0).await.unwrap();
        small.complete(UNIT).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(limits.in_use(), 301 * UNIT);
        // Another large one has to wait for its turn.
        let mut second = limits.room(soon());
        let waits = tokio::spawn(async move { second.grow(100 * UNIT, 0).await.map(|()| second) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waits.is_finished());
        large.complete(200 * UNIT).await.unwrap();
        assert!(waits.await.unwrap().is_ok());
        assert_eq!(limits.in_use(), 201 * UNIT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_waits_is_refused_or_can_never_come() {
        let limits = limits(10);
        let mut all = limits.room(None);
        all.grow(10 * UNIT, 0).await.unwrap();
        let mut other = limits.room(None);
        assert_eq!(other.grow(1, 0).await.unwrap_err().status(), 503);
        let (mut waits, start) = (limits.room(soon()), Instant::now());
        let refused = waits.complete(1).await.unwrap_err();
        assert_eq!((refused.status(), start.elapsed().as_secs()), (503, 40));
        let mut endless = limits.room(soon());
        let refused = endless.complete(10 * UNIT + 1).await.unwrap_err();
        assert_eq!(refused.status(), 413);
        assert!(refused.message.contains("SCORE_MAX_WAITING_BYTES"));
        all.shrink(9 * UNIT);
        other.grow(1, 5 * UNIT).await.unwrap();
        drop((all, other));
        assert_eq!(limits.in_use(), 0);
    }
}
