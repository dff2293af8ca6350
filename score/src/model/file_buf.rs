//! A file that is decoded as it is read. Weights, which are most of a model, are never read: neither what the decoder
//! skips, nor long byte strings.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use prost::bytes::{Buf, Bytes};
use prost::{DecodeError, Message};

const BUFFER_BYTES: usize = 8 << 10;
/// Longer byte strings are weights. Names, texts and lists of axes have a few hundred bytes.
const MAX_STRING_BYTES: usize = 64 << 10;

/// The message that a file holds. Byte strings of more than 64 KiB come out empty.
///
/// # Errors
/// The outer one if the file cannot be read, the inner one if it holds no such message.
pub(super) fn decode<M: Message + Default>(path: &Path) -> io::Result<Result<M, DecodeError>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut content = FileBuf::new(file, bytes);
    let decoded = M::decode(&mut content);
    content.failure().map(|()| decoded)
}

/// The rest of a file.
struct FileBuf {
    file: File,
    left: usize,
    buffer: Vec<u8>,
    start: usize,
    failed: Option<io::Error>,
}

impl FileBuf {
    /// The whole of a file of so many bytes.
    fn new(file: File, bytes: u64) -> Self {
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
    fn failure(self) -> io::Result<()> {
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

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        if count > MAX_STRING_BYTES {
            self.advance(count);
            return Bytes::new();
        }
        let mut copy = vec![0; count];
        self.copy_to_slice(&mut copy);
        copy.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Strings {
        #[prost(bytes = "bytes", repeated, tag = "1")]
        all: Vec<Bytes>,
    }

    #[test]
    fn weights_come_out_empty_and_what_follows_them_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let all = [3, MAX_STRING_BYTES, MAX_STRING_BYTES + 1, 0, 200_000, 5];
        let string = |count: &usize| Bytes::from(vec![7; *count]);
        let written = Strings {
            all: all.iter().map(string).collect(),
        };
        std::fs::write(file.path(), written.encode_to_vec()).unwrap();
        let read = decode::<Strings>(file.path()).unwrap().unwrap();
        let expected = [3, MAX_STRING_BYTES, 0, 0, 0, 5];
        assert_eq!(read.all, expected.iter().map(string).collect::<Vec<_>>());
    }
}
