//! A file that is decoded as it is read. What the decoder skips is never read: weights are most of a model.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use prost::bytes::Buf;

const BUFFER_BYTES: usize = 8 << 10;

/// The rest of a file.
pub(super) struct FileBuf {
    file: File,
    left: usize,
    buffer: Vec<u8>,
    start: usize,
    failed: Option<io::Error>,
}

impl FileBuf {
    /// The whole of a file of so many bytes.
    pub(super) fn new(file: File, bytes: u64) -> Self {
        let mut new = Self {
            file,
            left: usize::try_from(bytes).unwrap_or(usize::MAX),
            buffer: Vec::new(),
            start: 0,
            failed: None,
        };
        new.fill(0);
        new
    }

    /// Why the file could not be read. What was decoded is of no use then.
    pub(super) fn failure(self) -> io::Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Goes on behind so many bytes that are not in the buffer.
    fn fill(&mut self, skipped: usize) {
        self.start = 0;
        self.buffer.resize(self.left.min(BUFFER_BYTES), 0);
        if self.failed.is_none()
            && let Err(error) = read_behind(&mut self.file, skipped, &mut self.buffer)
        {
            // A decoder asks for no more than it was promised, so it gets that much.
            self.buffer.fill(0);
            self.failed = Some(error);
        }
    }
}

fn read_behind(file: &mut File, skipped: usize, buffer: &mut [u8]) -> io::Result<()> {
    if skipped > 0 {
        let skipped = i64::try_from(skipped).map_err(io::Error::other)?;
        file.seek(SeekFrom::Current(skipped))?;
    }
    file.read_exact(buffer)
}

impl Buf for FileBuf {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn advance(&mut self, count: usize) {
        let buffered = self.buffer.len() - self.start;
        self.left -= count;
        match count.checked_sub(buffered) {
            None => self.start += count,
            Some(skipped) => self.fill(skipped),
        }
    }
}
