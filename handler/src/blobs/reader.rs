//! A blob as bytes that a thread reads, while the ranges behind them are fetched.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::storage::{Fault, Place, Storage};

/// The bytes of one version of a blob. It must be read on a thread that may wait.
pub(super) struct BlobReader {
    ranges: mpsc::Receiver<Result<Bytes, Fault>>,
    range: Bytes,
    /// Bytes that are still to come behind the range.
    left: u64,
}

impl BlobReader {
    /// From there to the end, which has to be behind it or there. Two ranges are held at most, and one more while it is
    /// fetched.
    pub(super) fn new(
        storage: Arc<Storage>,
        place: Place,
        etag: String,
        (start, end): (u64, u64),
    ) -> Self {
        let (send, ranges) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut at = start;
            while at < end {
                let range = storage.read(&place, &etag, at).await;
                let read = range.as_ref().map_or(0, Bytes::len) as u64;
                let range = match range {
                    Ok(range) if range.is_empty() => {
                        Err(Fault::Other("the blob ended early".to_owned()))
                    }
                    range => range,
                };
                let failed = range.is_err();
                if send.send(range).await.is_err() || failed {
                    return;
                }
                at += read;
            }
        });
        Self {
            ranges,
            range: Bytes::new(),
            left: end.saturating_sub(start),
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let taken = bytes.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&bytes[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.range.is_empty() && self.left > 0 {
            let gone = || Fault::Other("the blob is not fetched any more".to_owned());
            let range = self.ranges.blocking_recv().unwrap_or_else(|| Err(gone()));
            self.range = range.map_err(io::Error::other)?;
            self.left = self.left.saturating_sub(self.range.len() as u64);
        }
        Ok(&self.range)
    }

    fn consume(&mut self, bytes: usize) {
        self.range.advance(bytes.min(self.range.len()));
    }
}

/// The fault behind an error of a [`BlobReader`].
pub(super) fn fault_of(error: &io::Error) -> Fault {
    let fault = error.get_ref().and_then(|error| error.downcast_ref());
    fault
        .cloned()
        .unwrap_or_else(|| Fault::Other(error.to_string()))
}
