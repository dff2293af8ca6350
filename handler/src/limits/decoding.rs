//! Room for what large bodies become: bytes once they are unpacked, and the tensors that are read from them.
//!
//! Bodies as they came have room of their own ([`BodyLimits`](super::BodyLimits)), which they keep while they wait here: one
//! account for both would let bodies that wait to be read keep the room that reading them takes.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use wire::{Declared, Unpacked};

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

    /// What a body unpacks to if it is small, packed and unpacked; `None` if it needs a turn.
    pub(crate) fn small(body: &[u8], declared: Declared<'_>, max_bytes: usize) -> Option<Unpacked> {
        if wire::claimed_bytes(body) >= LARGE_BYTES {
            return None;
        }
        let most = max_bytes.min(LARGE_BYTES - 1);
        match wire::unpack(body, declared, most) {
            Unpacked::More if most < max_bytes => None,
            unpacked => Some(unpacked),
        }
    }

    /// What a body unpacks to, and a turn to read it, with room for all that it can become if it has `max_bytes` bytes or
    /// fewer. One that would take more than there is takes all of it.
    ///
    /// # Errors
    /// 503 if there is none within a second.
    pub(crate) async fn turn(
        &self,
        body: &[u8],
        declared: Declared<'_>,
        max_bytes: usize,
    ) -> Result<(Turn, Unpacked), Problem> {
        let until = Instant::now() + WAIT;
        let turn = timeout_at(until, self.turns.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(full)?;
        let claimed = wire::claimed_bytes(body).min(max_bytes);
        let mut room = self.room_for(body, claimed, until).await?;
        let unpack = |most| blocking::apart_if(true, || wire::unpack(body, declared, most));
        let mut unpacked = unpack(claimed);
        if claimed < max_bytes && matches!(unpacked, Unpacked::More) {
            let counted = blocking::apart_if(true, || wire::unpacked_bytes(body, max_bytes));
            // Two that kept theirs while they wait for more would wait for each other.
            drop(room);
            room = self.room_for(body, counted, until).await?;
            unpacked = unpack(max_bytes);
        }
        Ok((Turn { turn, room }, unpacked))
    }

    /// Room to read a body that unpacks to so many bytes.
    async fn room_for(
        &self,
        body: &[u8],
        unpacked: usize,
        until: Instant,
    ) -> Result<OwnedSemaphorePermit, Problem> {
        let beside = if unpacked == body.len() { 0 } else { unpacked };
        let needed = unpacked.saturating_mul(FACTOR).saturating_add(beside);
        let units = needed.div_ceil(BodyLimits::UNIT).min(self.units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = timeout_at(until, self.room.clone().acquire_many_owned(units)).await;
        room.ok().and_then(Result::ok).ok_or_else(full)
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
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_packed_body_has_room_for_what_it_unpacks_to_whatever_it_claims() {
        const MAX: usize = 1 << 20;
        let decoding = Decoding::new(64 << 20);
        let small = |body: &[u8]| Decoding::small(body, Declared::default(), MAX);
        let fits = small(&gzip(&vec![b' '; LARGE_BYTES - 1])).unwrap();
        assert!(matches!(fits, Unpacked::Whole(Ok(bytes)) if bytes.len() == LARGE_BYTES - 1));
        let large = vec![b' '; 2 * LARGE_BYTES];
        // The last member claims to be small.
        let members = [gzip(&large), gzip(b"{}")].concat();
        for (body, bytes) in [(gzip(&large), large.len()), (members, large.len() + 2)] {
            assert!(small(&body).is_none());
            let read = decoding.turn(&body, Declared::default(), MAX).await;
            let (turn, unpacked) = read.unwrap();
            assert!(matches!(unpacked, Unpacked::Whole(Ok(unpacked)) if unpacked.len() == bytes));
            let units = (bytes * (FACTOR + 1)).div_ceil(BodyLimits::UNIT);
            assert_eq!(turn.room.num_permits(), units);
        }
        let bomb = gzip(&vec![b' '; MAX + 1]);
        let (_turn, unpacked) = decoding
            .turn(&bomb, Declared::default(), MAX)
            .await
            .unwrap();
        assert!(matches!(unpacked, Unpacked::More));
        // Where so little may come, more is too large and needs no turn.
        let refused = Decoding::small(&gzip(&[b' '; 4096]), Declared::default(), 1000);
        assert!(matches!(refused, Some(Unpacked::More)));
    }

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
        let turn = async || decoding.turn(&body, Declared::default(), 1 << 20).await;
        assert!(Decoding::small(&body, Declared::default(), 1 << 20).is_none());
        assert!(Decoding::small(&body[1..], Declared::default(), 1 << 20).is_some());
        let turns = decoding.turns.available_permits();
        let mut held = Vec::new();
        for _ in 0..turns {
            held.push(turn().await.unwrap());
        }
        let taken = turns * FACTOR * LARGE_BYTES / BodyLimits::UNIT;
        assert_eq!(decoding.room.available_permits(), decoding.units - taken);
        let refused = turn().await.unwrap_err();
        assert_eq!(refused.status(), 503);
        held.pop();
        assert!(turn().await.is_ok());
    }
}
