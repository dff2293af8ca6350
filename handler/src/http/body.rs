//! Bodies of bounded size, with or without a declared length.
//!
//! The host sends envelopes chunked, without Content-Length, so the limit holds while reading. (warp's own
//! `content_length_limit` answers 411 to such a request.)

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warp::http::{HeaderMap, header};

use super::reply::Problem;

/// What is read of a refused body, and for how long, so that the sender gets to read the refusal.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// What bodies may take.
#[derive(Clone)]
pub(crate) struct BodyLimits {
    /// How long one body may take to come.
    pub(crate) time: Duration,
    /// Room for all bodies together, in units of [`BodyLimits::UNIT`] bytes.
    pub(crate) room: Arc<Semaphore>,
}

impl BodyLimits {
    /// Bytes that one permit stands for.
    const UNIT: usize = 4096;

    /// Room for `bytes` bytes in all.
    pub(crate) fn new(bytes: usize, time: Duration) -> Self {
        let units = bytes.div_ceil(Self::UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            time,
            room: Arc::new(Semaphore::new(units)),
        }
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(Self::UNIT)).unwrap_or(u32::MAX);
        let taken = self.room.clone().try_acquire_many_owned(units);
        taken.map_err(|_| Problem::busy("too many bytes of other requests are in work"))
    }
}

/// A body that was read to its end, and the room it takes until it is dropped.
#[derive(Debug)]
pub(super) struct BodyBytes {
    pub(super) bytes: BytesMut,
    _room: Option<OwnedSemaphorePermit>,
}

impl From<Vec<u8>> for BodyBytes {
    /// A part of a body whose room is taken already.
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: BytesMut::from(&bytes[..]),
            _room: None,
        }
    }
}

/// Reads a body of at most `max_bytes` bytes.
///
/// # Errors
/// 413 as soon as it is known to be larger, 503 if bodies together take too much room, 400 if the sender breaks off
/// or is too slow.
pub(super) async fn read<S, B>(
    body: S,
    headers: &HeaderMap,
    max_bytes: usize,
    limits: &BodyLimits,
) -> Result<BodyBytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf + Send + 'static,
{
    let mut body = Box::pin(body);
    let reading = collect(&mut body, headers, max_bytes, limits);
    let outcome = tokio::time::timeout(limits.time, reading).await;
    let outcome = outcome.unwrap_or_else(|_| {
        let time = limits.time;
        Err(Problem::bad_request(format!(
            "the body did not come within {time:?}"
        )))
    });
    if outcome.is_err() {
        tokio::spawn(drain(body));
    }
    outcome
}

async fn collect<S, B>(
    body: &mut S,
    headers: &HeaderMap,
    max_bytes: usize,
    limits: &BodyLimits,
) -> Result<BodyBytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > max_bytes) {
        return Err(Problem::too_large(max_bytes));
    }
    let mut room = limits.take(declared.unwrap_or(0))?;
    let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0));
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| Problem::bad_request("the body ended early"))?;
        if chunk.remaining() > max_bytes - bytes.len() {
            return Err(Problem::too_large(max_bytes));
        }
        let needed = bytes.len() + chunk.remaining();
        let taken = room.num_permits() * BodyLimits::UNIT;
        if needed > taken {
            room.merge(limits.take((needed - taken).max(bytes.len()))?);
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            bytes.extend_from_slice(piece);
            let length = piece.len();
            chunk.advance(length);
        }
    }
    Ok(BodyBytes {
        bytes,
        _room: Some(room),
    })
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Reads a body that nobody wants, if there is one: closing the connection on a sender that is still sending would
/// lose the answer.
pub(super) fn discard<S, B>(body: S, headers: &HeaderMap)
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf + Send + 'static,
{
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if chunked || declared_length(headers).is_some_and(|length| length > 0) {
        tokio::spawn(drain(Box::pin(body)));
    }
}

async fn drain<S, B>(mut body: S)
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    let all = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = body.next().await {
            seen += chunk.remaining();
            if seen > DRAIN_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, all).await;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn limits() -> BodyLimits {
        BodyLimits::new(1 << 20, Duration::from_secs(60))
    }

    async fn read_chunks(
        chunks: &[&'static str],
        max_bytes: usize,
        limits: &BodyLimits,
    ) -> Result<BodyBytes, Problem> {
        let chunks: Vec<Result<Bytes, warp::Error>> = chunks
            .iter()
            .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
            .collect();
        read(stream::iter(chunks), &HeaderMap::new(), max_bytes, limits).await
    }

    #[tokio::test]
    async fn counts_bytes_while_reading() {
        let limits = limits();
        assert_eq!(
            read_chunks(&["ab", "cd"], 4, &limits).await.unwrap().bytes,
            "abcd"
        );
        let refused = read_chunks(&["ab", "cd", "e"], 4, &limits)
            .await
            .unwrap_err();
        assert_eq!(refused.status, 413);
    }

    #[tokio::test]
    async fn believes_a_declared_length_that_is_too_large() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 5.into());
        let body = stream::pending::<Result<Bytes, warp::Error>>();
        assert_eq!(
            read(body, &headers, 4, &limits()).await.unwrap_err().status,
            413
        );
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_on_a_slow_sender() {
        let drop_by_drop = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, warp::Error>(Bytes::from_static(b" ")), ()))
        });
        let refused = read(drop_by_drop, &HeaderMap::new(), 4096, &limits()).await;
        assert_eq!(refused.unwrap_err().status, 400);
    }

    #[tokio::test]
    async fn bodies_share_room_and_give_it_back() {
        let limits = BodyLimits::new(2 * BodyLimits::UNIT, Duration::from_secs(60));
        let first = read_chunks(&["a"], 9, &limits).await.unwrap();
        let second = read_chunks(&["b"], 9, &limits).await.unwrap();
        assert_eq!(
            read_chunks(&["c"], 9, &limits).await.unwrap_err().status,
            503
        );
        drop((first, second));
        assert!(read_chunks(&["c"], 9, &limits).await.is_ok());
        assert_eq!(limits.room.available_permits(), 2);
    }
}
