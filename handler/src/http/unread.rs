//! Answers that are not written yet: their memory stays counted, however long a client takes to read them.

use bytes::Bytes;

use super::reply::Reply;
use crate::limits::Room;
use crate::problem::Problem;

/// Up to this size answers are not counted: there is one for each connection at most, and most are smaller.
const UNCOUNTED_BYTES: usize = 16 << 10;

impl Reply {
    /// Counts a large answer for which nothing is held yet among the bytes of bodies, until it is written or its connection
    /// ends. `room` is what the request has had.
    ///
    /// # Errors
    /// 503 if there is no room for it.
    pub(super) async fn hold(&mut self, mut room: Room) -> Result<(), Problem> {
        if self.body.len() > UNCOUNTED_BYTES {
            room.complete(self.body.len()).await?;
            self.body = until_written(std::mem::take(&mut self.body), Some(room));
        }
        Ok(())
    }
}

/// The bytes of an answer, with what is held for them if there are many: hyper drops them when the socket has taken the last
/// one, or when the connection ends.
pub(super) fn until_written<H: Send + 'static>(bytes: Bytes, held: Option<H>) -> Bytes {
    match held {
        Some(_held) if bytes.len() > UNCOUNTED_BYTES => Bytes::from_owner(Counted { bytes, _held }),
        _ => bytes,
    }
}

struct Counted<H> {
    bytes: Bytes,
    _held: H,
}

impl<H> AsRef<[u8]> for Counted<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::BodyLimits;

    #[tokio::test]
    async fn an_answer_has_room_until_its_bytes_are_gone() {
        let limits = BodyLimits::new(64 * BodyLimits::UNIT, Duration::from_secs(1));
        let mut room = limits.room(None);
        room.grow(1, 0).await.unwrap();
        let mut reply = Reply::json(vec![b' '; 40 * BodyLimits::UNIT]);
        reply.hold(room).await.unwrap();
        assert_eq!(limits.in_use(), 40 * BodyLimits::UNIT);
        // A second one does not fit beside it, however little its body took.
        let mut second = Reply::json(vec![b' '; 40 * BodyLimits::UNIT]);
        let refused = second.hold(limits.room(None)).await.unwrap_err();
        assert_eq!(refused.status(), 503);
        let mut rest = reply.body;
        let written = rest.split_to(rest.len() - 1);
        drop(written);
        assert_eq!(limits.in_use(), 40 * BodyLimits::UNIT);
        drop(rest);
        assert_eq!(limits.in_use(), 0);
    }

    #[tokio::test]
    async fn small_answers_are_not_counted() {
        let limits = BodyLimits::new(BodyLimits::UNIT, Duration::from_secs(1));
        let mut reply = Reply::json(vec![b' '; UNCOUNTED_BYTES]);
        reply.hold(limits.room(None)).await.unwrap();
        assert_eq!((limits.in_use(), reply.body.len()), (0, UNCOUNTED_BYTES));
    }
}
