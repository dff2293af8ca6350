//! Bodies of bounded size, with or without a declared length.
//!
//! The host sends envelopes chunked, without Content-Length, so the limit holds while reading. (warp's own
//! `content_length_limit` answers 411 to such a request.)

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use warp::http::{HeaderMap, header};

use super::reply::Problem;

/// How long a sender may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(30);
/// What is read of a refused body, and for how long, so that the sender gets to read the refusal.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 as soon as it is known to be larger, 400 if the sender breaks off or falls silent.
pub(super) async fn read<S, B>(body: S, headers: &HeaderMap, limit: usize) -> Result<Bytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf + Send + 'static,
{
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut body = Box::pin(body);
    if declared.is_some_and(|length| length > limit) {
        tokio::spawn(drain(body));
        return Err(Problem::too_large(limit));
    }
    let mut read = BytesMut::with_capacity(declared.unwrap_or(0).min(limit));
    loop {
        let next = tokio::time::timeout(SILENCE, body.next()).await;
        let Ok(next) = next else {
            return Err(Problem::bad_request(format!(
                "the body stopped for {SILENCE:?}"
            )));
        };
        let mut chunk = match next {
            None => return Ok(read.freeze()),
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) => return Err(Problem::bad_request("the body ended early")),
        };
        if chunk.remaining() > limit - read.len() {
            tokio::spawn(drain(body));
            return Err(Problem::too_large(limit));
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            read.extend_from_slice(piece);
            let length = piece.len();
            chunk.advance(length);
        }
    }
}

/// Reads on and throws away: closing the connection on a sender that is still sending would lose the answer.
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
    use futures_util::stream;

    use super::*;

    async fn read_chunks(chunks: &[&'static str], limit: usize) -> Result<Bytes, Problem> {
        let chunks: Vec<Result<Bytes, warp::Error>> = chunks
            .iter()
            .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
            .collect();
        read(stream::iter(chunks), &HeaderMap::new(), limit).await
    }

    #[tokio::test]
    async fn counts_bytes_while_reading() {
        assert_eq!(read_chunks(&["ab", "cd"], 4).await.unwrap(), "abcd");
        let refused = read_chunks(&["ab", "cd", "e"], 4).await.unwrap_err();
        assert_eq!(refused.status, 413);
    }

    #[tokio::test]
    async fn believes_a_declared_length_that_is_too_large() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 5.into());
        let body = stream::pending::<Result<Bytes, warp::Error>>();
        assert_eq!(read(body, &headers, 4).await.unwrap_err().status, 413);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_on_a_silent_sender() {
        let body = stream::pending::<Result<Bytes, warp::Error>>();
        let refused = read(body, &HeaderMap::new(), 4).await.unwrap_err();
        assert_eq!(refused.status, 400);
    }
}
