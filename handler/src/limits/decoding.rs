//! Room for what large bodies become: bytes once they are unpacked, and the tensors that are read from them.
//!
//! Bodies as they came have room of their own ([`BodyLimits`](super::BodyLimits)), which they keep while they wait here: one
//! account for both would let bodies that wait to be read keep the room that reading them takes.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::BodyLimits;
use crate::blocking::{self, LARGE_BYTES};
use crate::problem::Problem;

/// What reading makes of one byte, at most: an element has two bytes of text or more, and eight in a tensor or fewer. A raw
/// tensor is copied once, so that this is more than it takes; text in cells takes about as much.
const FACTOR: usize = 4;
/// How long a body waits for its turn and for room before it is refused.
const WAIT: Duration = Duration::from_secs(1);

/// Bounds how many large bodies are read at once, and what they become.
#[derive(Debug)]
pub(crate) struct Decoding {
    /// As many turns as there are cores: more would only take more memory.
    turns: Arc<Semaphore>,
    /// In units of [`BodyLimits::UNIT`] bytes.
    room: Arc<Semaphore>,
    units: usize,
}

/// A turn to read a body, and the room for what it becomes.
#[derive(Debug)]
pub(crate) struct Turn {
    turn: OwnedSemaphorePermit,
    room: OwnedSemaphorePermit,
}

impl Decoding {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let units = bytes
            .div_ceil(BodyLimits::UNIT)
            .min(Semaphore::MAX_PERMITS)
            .min(u32::MAX as usize);
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            turns: Arc::new(Semaphore::new(cores)),
            room: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// Whether a body is so large, packed or unpacked, that it needs a turn.
    pub(crate) fn needs_turn(body: &[u8]) -> bool {
        body.len() >= LARGE_BYTES || wire::unpacked_bytes(body, LARGE_BYTES) >= LARGE_BYTES
    }

    /// A turn to read this body, with room for all that it can become if it has `max_bytes` bytes or fewer. One that would
    /// take more than there is takes all of it.
    ///
    /// # Errors
    /// 503 if there is none within a second.
    pub(crate) async fn turn(&self, body: &[u8], max_bytes: usize) -> Result<Turn, Problem> {
        let until = Instant::now() + WAIT;
        let turn = timeout_at(until, self.turns.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(full)?;
        let unpacked = blocking::apart_if(true, || wire::unpacked_bytes(body, max_bytes));
        let beside = if unpacked == body.len() { 0 } else { unpacked };
        let needed = unpacked.saturating_mul(FACTOR).saturating_add(beside);
        let units = needed.div_ceil(BodyLimits::UNIT).min(self.units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = timeout_at(until, self.room.clone().acquire_many_owned(units)).await;
        let room = room.ok().and_then(Result::ok).ok_or_else(full)?;
        Ok(Turn { turn, room })
    }
}

impl Turn {
    /// Ends the turn; what was read has so many bytes, whose room is kept until the return value is dropped.
    pub(crate) fn end(self, bytes: usize) -> OwnedSemaphorePermit {
        let Self { turn, mut room } = self;
        drop(turn);
        let kept = bytes.div_ceil(BodyLimits::UNIT);
        drop(room.split(room.num_permits().saturating_sub(kept)));
        room
    }
}

fn full() -> Problem {
    Problem::busy("too many large bodies are being read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true, flavor = "current_thread")]
    async fn what_a_body_was_read_into_keeps_its_room_and_no_more() {
        let decoding = Decoding::new(8 << 20);
        let turns = decoding.turns.available_permits();
        let all = decoding.units;
        let room = decoding.room.clone().acquire_many_owned(all as u32).await;
        let turn = decoding.turns.clone().acquire_owned().await.unwrap();
        let turn = Turn {
            turn,
            room: room.unwrap(),
        };
        assert_eq!(decoding.room.available_permits(), 0);
        let kept = turn.end(BodyLimits::UNIT + 1);
        assert_eq!(decoding.turns.available_permits(), turns);
        assert_eq!(decoding.room.available_permits(), all - 2);
        drop(kept);
        assert_eq!(decoding.room.available_permits(), all);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn large_bodies_wait_for_a_turn_and_are_refused_after_a_second() {
        let decoding = Decoding::new(64 << 20);
        let body = vec![b' '; LARGE_BYTES];
        assert!(Decoding::needs_turn(&body));
        assert!(!Decoding::needs_turn(&body[1..]));
        let turns = decoding.turns.available_permits();
        let mut held = Vec::new();
        for _ in 0..turns {
            held.push(decoding.turn(&body, 1 << 20).await.unwrap());
        }
        let taken = turns * FACTOR * LARGE_BYTES / BodyLimits::UNIT;
        assert_eq!(decoding.room.available_permits(), decoding.units - taken);
        let refused = decoding.turn(&body, 1 << 20).await.unwrap_err();
        assert_eq!(refused.status(), 503);
        held.pop();
        assert!(decoding.turn(&body, 1 << 20).await.is_ok());
    }
}
