//! The bytes of a picture, for as long as its reading is wanted.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

use crate::picture::STOPPED;
use crate::watch::Watch;

/// Bytes between two looks at whether the reading is over.
const WATCHED_BYTES: usize = 64 << 10;

/// Fails once the reading is over. Decoders of PNG and lossless WebP read while they unpack, so that they end there; those of
/// JPEG and lossy WebP have read everything before that.
pub(super) struct Bytes<'a> {
    bytes: Cursor<&'a [u8]>,
    watch: &'a dyn Watch,
    /// Where the watch is to be looked at next.
    look_at: u64,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8], watch: &'a dyn Watch) -> Self {
        Self {
            bytes: Cursor::new(bytes),
            watch,
            look_at: WATCHED_BYTES as u64,
        }
    }
}

impl BufRead for Bytes<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let at = self.bytes.position();
        if at >= self.look_at {
            self.look_at = at + WATCHED_BYTES as u64;
            if self.watch.is_over() {
                return Err(io::Error::other(STOPPED));
            }
        }
        let rest = self.bytes.fill_buf()?;
        Ok(&rest[..rest.len().min(WATCHED_BYTES)])
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl Seek for Bytes<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(position)
    }
}
