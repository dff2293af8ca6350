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

use super::upload::{self, Upload};
use crate::problem::Problem;

/// What is read of a refused body, and for how long, so that the sender gets to read the refusal.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// How long the host's own calls wait for room: a refusal would only bring them back at once.
const ROOM_TIME: Duration = Duration::from_secs(5);
/// What is kept of a body that is too large, if its end is wanted.
const TAIL_BYTES: usize = 64 << 10;

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadRules {
    /// The bytes it may have.
    pub(super) max_bytes: usize,
    /// Whether to wait a little for room instead of refusing at once.
    pub(super) wait_for_room: bool,
    /// Whether to read a larger one to its end and keep that, instead of refusing it.
    pub(super) keep_tail: bool,
}

impl ReadRules {
    /// For callers who get to read a refusal.
    pub(super) fn at_most(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            wait_for_room: false,
            keep_tail: false,
        }
    }
}

/// What bodies may take.
#[derive(Clone)]
pub(crate) struct BodyLimits {
    /// How long one body may take to come.
    pub(crate) time: Duration,
    /// Room for all bodies together, in units of [`BodyLimits::UNIT`] bytes.
    pub(crate) room: Arc<Semaphore>,
    units: usize,
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
            units,
        }
    }

    /// Bytes that bodies take now.
    pub(crate) fn in_use(&self) -> usize {
        (self.units - self.room.available_permits()) * Self::UNIT
    }

    async fn take(&self, bytes: usize, rules: ReadRules) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(Self::UNIT)).unwrap_or(u32::MAX);
        if let Ok(taken) = self.room.clone().try_acquire_many_owned(units) {
            return Ok(taken);
        }
        let full = || Problem::busy("too many bytes of other requests are in work");
        if !rules.wait_for_room {
            return Err(full());
        }
        let room = self.room.clone().acquire_many_owned(units);
        match tokio::time::timeout(ROOM_TIME, room).await {
            Ok(Ok(taken)) => Ok(taken),
            _ => Err(full()),
        }
    }
}

/// A body that was read to its end, and the room it takes until it is dropped.
#[derive(Debug)]
pub(super) struct BodyBytes {
    pub(super) bytes: BytesMut,
    /// Whether it was too large and this is only its end.
    pub(super) is_tail: bool,
    _room: Option<OwnedSemaphorePermit>,
}

impl From<Vec<u8>> for BodyBytes {
    /// A part of a body whose room is taken already.
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: BytesMut::from(&bytes[..]),
            is_tail: false,
            _room: None,
        }
    }
}

/// Reads a body.
///
/// # Errors
/// 413 as soon as it is known to be larger, 503 if bodies together take too much room, 400 if the sender breaks off
/// or is too slow.
pub(super) async fn read<S, B>(
    mut body: Upload<S>,
    headers: &HeaderMap,
    rules: ReadRules,
    limits: &BodyLimits,
) -> Result<BodyBytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf + Send + 'static,
{
    let reading = collect(&mut body, headers, rules, limits);
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
    rules: ReadRules,
    limits: &BodyLimits,
) -> Result<BodyBytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    let declared = declared_length(headers).unwrap_or(0);
    if declared > rules.max_bytes {
        return too_large(body, BytesMut::new(), rules).await;
    }
    let mut room = limits.take(declared, rules).await?;
    let mut bytes = BytesMut::with_capacity(declared);
    while let Some(chunk) = next(body).await? {
        let needed = bytes.len() + chunk.remaining();
        if needed > rules.max_bytes {
            append(&mut bytes, chunk);
            drop(room);
            return too_large(body, bytes, rules).await;
        }
        let taken = room.num_permits() * BodyLimits::UNIT;
        if needed > taken {
            let more = (needed - taken).max(bytes.len());
            room.merge(limits.take(more, rules).await?);
        }
        append(&mut bytes, chunk);
    }
    Ok(BodyBytes {
        bytes,
        is_tail: false,
        _room: Some(room),
    })
}

async fn next<S, B>(body: &mut S) -> Result<Option<B>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
{
    let chunk = body.next().await.transpose();
    chunk.map_err(|error| upload::broken(&error))
}

fn append(bytes: &mut BytesMut, mut chunk: impl Buf) {
    while chunk.has_remaining() {
        let piece = chunk.chunk();
        bytes.extend_from_slice(piece);
        let length = piece.len();
        chunk.advance(length);
    }
}

/// Refuses a body, or reads on to its end if that is wanted; `read` is what has come so far.
async fn too_large<S, B>(
    body: &mut S,
    read: BytesMut,
    rules: ReadRules,
) -> Result<BodyBytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    if !rules.keep_tail {
        return Err(Problem::too_large(rules.max_bytes));
    }
    // A copy, so that what was read so far is given back.
    let mut tail = BytesMut::from(&read[read.len().saturating_sub(TAIL_BYTES)..]);
    drop(read);
    while let Some(chunk) = next(body).await? {
        append(&mut tail, chunk);
        if tail.len() > 2 * TAIL_BYTES {
            tail = BytesMut::from(&tail[tail.len() - TAIL_BYTES..]);
        }
    }
    Ok(BodyBytes {
        bytes: tail,
        is_tail: true,
        _room: None,
    })
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Reads a body that nobody wants, if there is one: closing the connection on a sender that is still sending would
/// lose the answer.
pub(super) fn discard<S, B>(body: Upload<S>, headers: &HeaderMap)
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf + Send + 'static,
{
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if chunked || declared_length(headers).is_some_and(|length| length > 0) {
        tokio::spawn(drain(body));
    }
}

/// A body that its sender holds back is not sent for.
async fn drain<S, B>(mut body: Upload<S>)
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    if body.held().is_back() {
        return;
    }
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

    fn uploaded<S>(body: S) -> (Upload<S>, HeaderMap) {
        let headers = HeaderMap::new();
        (Upload::new(body, &headers), headers)
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
        let rules = ReadRules::at_most(max_bytes);
        let (body, headers) = uploaded(stream::iter(chunks));
        read(body, &headers, rules, limits).await
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
        let body = Upload::new(body, &headers);
        assert_eq!(
            read(body, &headers, ReadRules::at_most(4), &limits())
                .await
                .unwrap_err()
                .status,
            413
        );
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_on_a_slow_sender() {
        let drop_by_drop = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, warp::Error>(Bytes::from_static(b" ")), ()))
        });
        let (body, headers) = uploaded(drop_by_drop);
        let refused = read(body, &headers, ReadRules::at_most(4096), &limits()).await;
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
