//! HTTP/1.1 by hand over a TCP connection, for requests that no client library would send.

use std::fmt::Write as _;
use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::answer::Answer;

/// One response, read to its end.
#[derive(Clone, Debug)]
pub struct RawResponse {
    /// Status, headers and body.
    pub answer: Answer,
    /// The body came in chunks.
    pub is_chunked: bool,
    /// Nothing in the response forbids another request on the same connection.
    pub keeps_alive: bool,
}

/// A connection to a port of 127.0.0.1; sending and receiving may go on side by side.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    /// Received but not yet used.
    pending: Mutex<Vec<u8>>,
}

/// Sends `pieces` on a new connection and reads one response.
pub async fn exchange(port: u16, pieces: &[&[u8]]) -> Result<Answer> {
    let connection = RawConnection::open(port).await?;
    connection
        .send_pieces(pieces, Duration::from_millis(5))
        .await?;
    let is_head = pieces
        .first()
        .is_some_and(|piece| piece.starts_with(b"HEAD "));
    Ok(connection.read_response(is_head).await?.answer)
}

/// Request line and headers, with the empty line behind them.
pub fn head<N: AsRef<str>, V: AsRef<str>>(
    method: &str,
    target: &str,
    headers: &[(N, V)],
) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{}: {}\r\n", name.as_ref(), value.as_ref());
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// `body` as one chunk per piece, cut at odd positions, with the last chunk behind them.
pub fn chunked(body: &[u8]) -> Vec<u8> {
    const LENGTHS: [usize; 6] = [1, 3, 7, 101, 4093, 16_381];
    let mut rest = body;
    let mut lengths = LENGTHS.into_iter();
    let pieces = std::iter::from_fn(|| {
        let length = lengths.next().unwrap_or(65_521).min(rest.len());
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        Some(piece).filter(|piece| !piece.is_empty())
    });
    pieces.chain([&b""[..]]).flat_map(chunk).collect()
}

/// `body` as chunks of what a proxying host reads at once, with the last chunk behind them.
pub fn chunked_whole(body: &[u8]) -> Vec<u8> {
    let pieces = body.chunks(64 * 1024);
    pieces.chain([&b""[..]]).flat_map(chunk).collect()
}

/// `body` in chunks of 1,024 characters, as the host writes envelopes; of as many bytes if it is not UTF-8.
pub fn chunked_text(body: &[u8]) -> Vec<u8> {
    const CHARACTERS: usize = 1024;
    let Ok(text) = std::str::from_utf8(body) else {
        return chunked_whole(body);
    };
    let mut coded = Vec::with_capacity(body.len() + body.len() / 100 + 64);
    let mut rest = text;
    while !rest.is_empty() {
        // The host counts as its strings do: a character beyond the first plane is two.
        let (mut count, mut end) = (0, rest.len());
        for (index, character) in rest.char_indices() {
            count += character.len_utf16();
            if count > CHARACTERS {
                end = index;
                break;
            }
        }
        let (piece, behind) = rest.split_at(end);
        coded.extend(chunk(piece.as_bytes()));
        rest = behind;
    }
    coded.extend(chunk(b""));
    coded
}

/// One chunk; the last one if there is nothing in it.
pub fn chunk(piece: &[u8]) -> Vec<u8> {
    let mut coded = format!("{:X}\r\n", piece.len()).into_bytes();
    coded.extend_from_slice(piece);
    coded.extend_from_slice(b"\r\n");
    coded
}

impl RawConnection {
    /// Connects to a port of 127.0.0.1.
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            pending: Mutex::default(),
        })
    }

    /// Sends all of `bytes`.
    pub async fn send(&self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends the pieces in separate packets, with `pause` between them.
    pub async fn send_pieces(&self, pieces: &[&[u8]], pause: Duration) -> Result<()> {
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                sleep(pause).await;
            }
            self.send(piece).await?;
        }
        Ok(())
    }

    /// Ends the sending direction only: the other side reads the end, and can still answer.
    pub async fn half_close(&mut self) -> Result<()> {
        std::future::poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context)).await
    }

    /// Closes at once with a reset, as a crashed client's machine does.
    pub fn reset(self) -> Result<()> {
        self.stream.set_zero_linger()
    }

    /// What has arrived so far and belongs to no response that was read.
    pub fn leftover(&self) -> Vec<u8> {
        self.pending().clone()
    }

    /// Waits until the other side closes; `false` if it did not within `limit`. What arrives meanwhile is kept.
    pub async fn is_closed_within(&self, limit: Duration) -> bool {
        let until_end = async { while matches!(self.receive().await, Ok(count) if count > 0) {} };
        timeout(limit, until_end).await.is_ok()
    }

    /// Whether the connection can take another request as far as one can tell without sending.
    pub fn is_idle(&self) -> bool {
        let mut byte = [0];
        let state = self.stream.try_read(&mut byte);
        self.pending().is_empty()
            && matches!(state, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads the next final response; with `is_head` none of its headers promises a body.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the connection ends first, `ConnectionAborted` if not a byte of the response had come.
    pub async fn read_response(&self, is_head: bool) -> Result<RawResponse> {
        loop {
            let (status, headers, minor) = self.read_head().await?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            return self
                .read_body(Answer::new(status, headers, Vec::new()), minor, is_head)
                .await;
        }
    }

    async fn read_head(&self) -> Result<(u16, Vec<(String, String)>, char)> {
        while self.pending().is_empty() {
            if self.receive().await? == 0 {
                return Err(Error::new(
                    ErrorKind::ConnectionAborted,
                    "closed before any response",
                ));
            }
        }
        let line = self.read_line().await?;
        let malformed = || {
            Error::new(
                ErrorKind::InvalidData,
                format!("not a status line: {line:?}"),
            )
        };
        let status = line.get(9..12).and_then(|digits| digits.parse().ok());
        let minor = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.chars().next());
        let (status, minor) = (status.ok_or_else(malformed)?, minor.ok_or_else(malformed)?);
        Ok((status, self.read_headers().await?, minor))
    }

    async fn read_headers(&self) -> Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                return Ok(headers);
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    format!("not a header: {line:?}"),
                ));
            };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    async fn read_body(
        &self,
        mut answer: Answer,
        minor: char,
        is_head: bool,
    ) -> Result<RawResponse> {
        let has_token = |name: &str, token: &str| {
            answer
                .header_values(name)
                .any(|value| value.to_ascii_lowercase().contains(token))
        };
        let is_chunked = has_token("transfer-encoding", "chunked");
        let mut keeps_alive = minor == '1' && !has_token("connection", "close");
        if is_head || matches!(answer.status, 101 | 204 | 304) {
            // no body, even if the headers announce one
        } else if is_chunked {
            answer.body = self.read_chunks().await?;
        } else if let Some(length) = answer.header("content-length") {
            let length = length
                .parse()
                .map_err(|_| Error::new(ErrorKind::InvalidData, "bad content-length"))?;
            answer.body = self.read_exactly(length).await?;
        } else {
            keeps_alive = false;
            while self.receive().await? > 0 {}
            answer.body = std::mem::take(&mut self.pending());
        }
        Ok(RawResponse {
            answer,
            is_chunked,
            keeps_alive,
        })
    }

    async fn read_chunks(&self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16).map_err(|_| {
                Error::new(
                    ErrorKind::InvalidData,
                    format!("not a chunk length: {line:?}"),
                )
            })?;
            if length == 0 {
                self.read_headers().await?;
                return Ok(body);
            }
            body.extend(self.read_exactly(length).await?);
            self.read_line().await?;
        }
    }

    /// The next line without its end.
    async fn read_line(&self) -> Result<String> {
        let mut searched = 0;
        loop {
            {
                let mut pending = self.pending();
                if let Some(offset) = pending[searched..].iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=searched + offset).collect();
                    return Ok(String::from_utf8_lossy(&line)
                        .trim_end_matches(['\r', '\n'])
                        .to_owned());
                }
                searched = pending.len();
            }
            self.receive_more().await?;
        }
    }

    async fn read_exactly(&self, length: usize) -> Result<Vec<u8>> {
        while self.pending().len() < length {
            self.receive_more().await?;
        }
        Ok(self.pending().drain(..length).collect())
    }

    async fn receive_more(&self) -> Result<()> {
        match self.receive().await? {
            0 => Err(Error::new(
                ErrorKind::UnexpectedEof,
                "closed within a response",
            )),
            _ => Ok(()),
        }
    }

    /// Waits for bytes and keeps them; 0 at the end of the stream.
    async fn receive(&self) -> Result<usize> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut buffer) {
                Ok(count) => {
                    self.pending().extend_from_slice(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
