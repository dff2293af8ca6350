//! Bodies of bounded size, with or without a declared length.
//!
//! The host sends envelopes chunked, without Content-Length, so the limit holds while reading. (warp's own
//! `content_length_limit` answers 411 to such a request.)

use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::error;
use warp::http::{HeaderMap, header};

use super::pace::Pace;
use super::upload::{self, Upload};
use crate::blocking::LARGE_BYTES;
use crate::event::{Batch, BatchIntake};
use crate::limits::{BodyLimits, Given, Room};
use crate::problem::{ErrorCode, Problem};
use crate::protocol::{EventTrigger, NotAnInvocation};

/// What is read of a refused body, and for how long, so that the sender gets to read the refusal.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// What is kept of a body that is too large, if its end is wanted.
const TAIL_BYTES: usize = 64 << 10;
/// For how much of a body that is only announced memory is set aside.
const ANNOUNCED_BYTES: usize = 1 << 20;
/// By how much the room of a batch grows at once.
const BATCH_STEP: usize = 1 << 20;

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadRules<'a> {
    /// The bytes it may have; not for a batch, of which each message has a limit of its own.
    pub(super) max_bytes: usize,
    /// How long it may take to come, and to wait for room instead of being refused at once.
    pub(super) wait: Option<Duration>,
    /// Whether to read a larger one to its end and keep that, instead of refusing it.
    pub(super) keep_tail: bool,
    /// The function whose messages are taken out of it as they come.
    pub(super) batch_of: Option<&'a EventTrigger>,
    /// How fast it has to come while it is read.
    pub(super) pace: Pace,
}

impl ReadRules<'_> {
    /// For callers who get to read a refusal.
    pub(super) fn at_most(max_bytes: usize, pace: Pace) -> Self {
        Self {
            max_bytes,
            wait: None,
            pace,
            keep_tail: false,
            batch_of: None,
        }
    }
}

/// A body that was read to its end, and the room it takes until it is dropped.
#[derive(Debug)]
pub(super) struct BodyBytes {
    pub(super) bytes: BytesMut,
    /// Whether it was too large and this is only its end.
    pub(super) is_tail: bool,
    /// The messages that were taken out of it; then there are no bytes.
    pub(super) batch: Option<Result<Batch, NotAnInvocation>>,
    /// When its reading began.
    pub(super) since: Instant,
    pub(super) room: Option<Room>,
}

impl BodyBytes {
    /// For a reader; large ones are taken out, so that they can be shared with the thread that reads them.
    pub(super) fn given(&mut self) -> Given<'_> {
        match self.bytes.len() < LARGE_BYTES {
            true => Given::Small(&self.bytes),
            false => Given::Shared(self.bytes.split().freeze()),
        }
    }
}

impl From<Vec<u8>> for BodyBytes {
    /// A part of a body whose room is taken already.
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Bytes::from(bytes).into(),
            is_tail: false,
            batch: None,
            since: Instant::now(),
            room: None,
        }
    }
}

/// Reads a body.
///
/// # Errors
/// 413 as soon as it is known to be larger, 503 if bodies together take too much room, 400 if the sender breaks off, 408
/// if it is too slow.
pub(super) async fn read<S, B>(
    mut body: Upload<S>,
    headers: &HeaderMap,
    mut rules: ReadRules<'_>,
    limits: &BodyLimits,
) -> Result<BodyBytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf + Send + 'static,
{
    let since = Instant::now();
    let wait = rules.wait;
    let until = since + wait.unwrap_or(limits.time);
    let mut room = limits.room(wait.map(|_| until));
    let reading = async {
        match rules.batch_of {
            // In a box: what only batches need would be copied with the future of every request.
            Some(trigger) => Box::pin(intake(&mut body, trigger, &mut rules, &mut room)).await,
            None => collect(&mut body, headers, &mut rules, &mut room).await,
        }
    };
    // What waits for room says so itself.
    let outcome = match wait {
        Some(_) => reading.await,
        None => timeout_at(until, reading)
            .await
            .unwrap_or_else(|_| Err(Problem::too_late(limits.time))),
    };
    match outcome {
        Ok((bytes, is_tail, batch)) => {
            if let Some(Err(_)) = &batch {
                tokio::spawn(drain(body));
            }
            Ok(BodyBytes {
                bytes,
                is_tail,
                batch,
                since,
                room: Some(room),
            })
        }
        Err(problem) => {
            // Others may quote what came.
            if wait.is_some() && matches!(problem.status(), 408 | 413 | 503) {
                error!(
                    "a call of the host could not be read; its messages will be delivered again and at last dead-lettered: {}",
                    problem.message
                );
            }
            // A slow sender is not worth waiting for.
            if problem.code != ErrorCode::TooSlow {
                tokio::spawn(drain(body));
            }
            Err(problem)
        }
    }
}

/// Bytes, whether they are the end only, and messages.
type Content = (BytesMut, bool, Option<Result<Batch, NotAnInvocation>>);

async fn collect<S, B>(
    body: &mut S,
    headers: &HeaderMap,
    rules: &mut ReadRules<'_>,
    room: &mut Room,
) -> Result<Content, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    let declared = declared_length(headers).unwrap_or(0);
    if declared > rules.max_bytes {
        return too_large(body, BytesMut::new(), rules).await;
    }
    // Neither room nor memory is taken for what is only announced.
    let mut bytes = BytesMut::with_capacity(declared.min(ANNOUNCED_BYTES));
    while let Some(chunk) = next(body, &mut rules.pace).await? {
        let needed = bytes.len() + chunk.remaining();
        if needed > rules.max_bytes {
            append(&mut bytes, chunk);
            room.shrink(0);
            return too_large(body, bytes, rules).await;
        }
        let spare = match declared.checked_sub(needed) {
            Some(missing) => missing.min(bytes.len()),
            None => bytes.len(),
        };
        room.grow(needed, spare).await?;
        if needed > bytes.capacity() && needed < declared {
            // All of the rest at once, so that it is not moved again.
            bytes.reserve(declared - bytes.len());
        }
        append(&mut bytes, chunk);
    }
    if rules.wait.is_some() {
        room.complete(bytes.len()).await?;
    }
    Ok((bytes, false, None))
}

/// Takes the messages of a batch out of its envelope.
async fn intake<S, B>(
    body: &mut S,
    trigger: &EventTrigger,
    rules: &mut ReadRules<'_>,
    room: &mut Room,
) -> Result<Content, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    let mut intake = BatchIntake::new(trigger, rules.max_bytes);
    while let Some(mut chunk) = next(body, &mut rules.pace).await? {
        let needed = intake.held() + chunk.remaining();
        room.grow(needed, BATCH_STEP).await?;
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            match intake.feed(piece) {
                Ok(()) => {}
                Err(
                    reason @ (NotAnInvocation::TooMuchMetadata(_)
                    | NotAnInvocation::TooManyMessages(_)),
                ) => {
                    return Err(Problem::new(ErrorCode::TooLarge, reason.to_string()));
                }
                Err(reason) => return Ok((BytesMut::new(), false, Some(Err(reason)))),
            }
            let length = piece.len();
            chunk.advance(length);
        }
    }
    room.complete(intake.held()).await?;
    Ok((BytesMut::new(), false, Some(intake.finish())))
}

/// The next bytes. Only the time counts in which they are waited for here: neither a wait for room nor other work does.
async fn next<S, B>(body: &mut S, pace: &mut Pace) -> Result<Option<B>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    let mut chunk = body.next();
    let (chunk, waited) = match futures_util::poll!(&mut chunk) {
        Poll::Ready(chunk) => (chunk, Duration::ZERO),
        Poll::Pending => {
            let start = Instant::now();
            let chunk = timeout(pace.left(), chunk).await;
            let chunk = chunk.map_err(|_| pace.too_slow())?;
            (chunk, start.elapsed())
        }
    };
    let chunk = chunk.transpose();
    let chunk = chunk.map_err(|error| upload::broken(&error))?;
    pace.moved(chunk.as_ref().map_or(0, Buf::remaining), waited);
    Ok(chunk)
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
    rules: &mut ReadRules<'_>,
) -> Result<Content, Problem>
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
    while let Some(chunk) = next(body, &mut rules.pace).await? {
        append(&mut tail, chunk);
        if tail.len() > 2 * TAIL_BYTES {
            tail = BytesMut::from(&tail[tail.len() - TAIL_BYTES..]);
        }
    }
    Ok((tail, true, None))
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Reads a body that is not wanted, if there is one: closing the connection on a sender that is still sending would
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

/// Reads a body to its end and forgets it. The task of its own ends by itself: with the body or the connection, or once
/// [`DRAIN_BYTES`] or [`DRAIN_TIME`] are used up. A body that its sender holds back is not sent for.
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

    fn at_most(max_bytes: usize) -> ReadRules<'static> {
        ReadRules::at_most(max_bytes, Pace::new(240, Duration::from_secs(5)))
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
        let rules = at_most(max_bytes);
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
        assert_eq!(refused.status(), 413);
    }

    #[tokio::test]
    async fn believes_a_declared_length_that_is_too_large() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 5.into());
        let body = stream::pending::<Result<Bytes, warp::Error>>();
        let body = Upload::new(body, &headers);
        assert_eq!(
            read(body, &headers, at_most(4), &limits())
                .await
                .unwrap_err()
                .status(),
            413
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_only_announced_takes_no_room() {
        let limits = limits();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, (1 << 20).into());
        let body = stream::once(async { Ok::<_, warp::Error>(Bytes::from_static(b"{")) });
        let body = Upload::new(body.chain(stream::pending()), &headers);
        let reading = read(body, &headers, at_most(1 << 20), &limits);
        let seen = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            limits.in_use()
        };
        tokio::select! {
            _ = reading => unreachable!("it never ends"),
            in_use = seen => assert_eq!(in_use, BodyLimits::UNIT),
        }
    }

    /// Reads a body of so many pieces, each of which comes after such a pause.
    async fn read_slowly(
        pieces: usize,
        piece: &'static [u8],
        pause: Duration,
        rules: ReadRules<'_>,
    ) -> (Result<BodyBytes, Problem>, Duration) {
        let slowly = stream::unfold(0, move |number| async move {
            tokio::time::sleep(pause).await;
            let chunk = Ok::<_, warp::Error>(Bytes::from_static(piece));
            (number < pieces).then_some((chunk, number + 1))
        });
        let start = Instant::now();
        let (body, headers) = uploaded(slowly);
        let outcome = read(body, &headers, rules, &limits()).await;
        (outcome, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_on_a_slow_sender() {
        let second = Duration::from_secs(1);
        let read = async |pieces, piece, pause| {
            let (outcome, took) = read_slowly(pieces, piece, pause, at_most(1 << 20)).await;
            (outcome.map_err(|problem| problem.status()), took)
        };
        // Drop by drop: five seconds, and a moment for each byte.
        let (outcome, took) = read(4096, b" ", second).await;
        assert_eq!(outcome.unwrap_err(), 408);
        assert!(took >= 5 * second && took < 6 * second, "{took:?}");
        // A pause at the end, however much has come before.
        let (outcome, took) = read(3, &[b' '; 100_000], 6 * second).await;
        assert_eq!((outcome.unwrap_err(), took), (408, 5 * second));
        // Fast enough, for as long as a body may take.
        let (outcome, _) = read(50, &[b' '; 240], second).await;
        assert_eq!(outcome.unwrap().bytes.len(), 50 * 240);
        let (outcome, took) = read(100, &[b' '; 240], second).await;
        assert_eq!((outcome.unwrap_err(), took), (408, 60 * second));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_is_read_does_not_count() {
        let limits = BodyLimits::new(BodyLimits::UNIT, Duration::from_secs(60));
        let mut all = limits.room(None);
        all.grow(1, 0).await.unwrap();
        let rules = ReadRules {
            wait: Some(Duration::from_secs(240)),
            ..at_most(1 << 20)
        };
        // There is no room for as long as 100 seconds.
        let held = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(all);
        };
        let (body, headers) = uploaded(stream::iter([Ok(Bytes::from_static(b"{}"))]));
        let (outcome, ()) = tokio::join!(read(body, &headers, rules, &limits), held);
        assert_eq!(outcome.unwrap().bytes, "{}");
    }

    #[tokio::test]
    async fn bodies_share_room_and_give_it_back() {
        let limits = BodyLimits::new(2 * BodyLimits::UNIT, Duration::from_secs(60));
        let first = read_chunks(&["a"], 9, &limits).await.unwrap();
        let second = read_chunks(&["b"], 9, &limits).await.unwrap();
        assert_eq!(
            read_chunks(&["c"], 9, &limits).await.unwrap_err().status(),
            503
        );
        drop((first, second));
        assert!(read_chunks(&["c"], 9, &limits).await.is_ok());
        assert_eq!(limits.in_use(), 0);
    }
}
