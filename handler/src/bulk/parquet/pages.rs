//! The pages of a column, unpacked here and not by the crate, which takes what a page says of its size on trust. Whatever a
//! file says, no more than [`MAX_HELD`] bytes of pages are held at a time.

use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::basic::{CompressionCodec, Encoding, Type as Physical};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use ruzstd::decoding::StreamingDecoder;

use super::delta;

/// Bytes of pages that all columns of a row group hold at a time: some writers make one page of a whole column.
const MAX_HELD: usize = 512 << 20;
/// A read of a column without lists ends with the page that reaches so many bytes: texts that are read keep their pages.
const READ_BYTES: usize = 4 << 20;
/// Values of one page, and of the pages that one read of a column takes: they may take no bytes at all.
const MAX_VALUES: usize = 1 << 26;

/// A file that gives no more bytes at once than may be held.
pub(super) struct Source(pub(super) File);

impl Length for Source {
    fn len(&self) -> u64 {
        Length::len(&self.0)
    }
}

impl ChunkReader for Source {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        // Before memory is taken for what the file does not have.
        let end = start.checked_add(length as u64);
        if length > MAX_HELD {
            return Err(too_large());
        }
        match end.is_some_and(|end| end <= self.len()) {
            true => self.0.get_bytes(start, length),
            false => Err(ParquetError::EOF("the file ends early".to_owned())),
        }
    }
}

/// What the columns of a file hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Bytes of pages.
    bytes: AtomicUsize,
    /// Values and bytes of the pages that the current read has taken.
    values: AtomicUsize,
    read: AtomicUsize,
}

impl Held {
    /// Another read of a column begins.
    pub(super) fn begin_read(&self) {
        self.values.store(0, Relaxed);
        self.read.store(0, Relaxed);
    }

    /// Whether a read of a column without lists ends here, to go on in another one.
    pub(super) fn is_full(&self) -> bool {
        self.read.load(Relaxed) >= READ_BYTES
    }
}

/// Reads the pages of one column in one row group.
pub(super) struct Pages {
    packed: SerializedPageReader<Source>,
    codec: CompressionCodec,
    column: ColumnChunkMetaData,
    held: Arc<Held>,
    /// Bytes that the dictionary and the current page hold of those.
    own: [usize; 2],
}

impl Pages {
    /// Of a column whose row group has so many rows.
    ///
    /// # Errors
    /// If the column's own description is damaged.
    pub(super) fn new(
        source: &Arc<Source>,
        column: &ColumnChunkMetaData,
        rows: usize,
        held: &Arc<Held>,
    ) -> Result<Self> {
        let offsets = [
            Some(column.data_page_offset()),
            column.dictionary_page_offset(),
        ];
        let mut offsets = offsets.into_iter().flatten();
        if column.compressed_size() < 0 || offsets.any(|offset| offset < 0) {
            // The crate panics.
            return Err(ParquetError::General(
                "a column begins before the file does".to_owned(),
            ));
        }
        let codec = column.compression_codec();
        // The crate gives pages as they are then.
        let plain = column.clone().into_builder();
        let plain = plain.set_compression_codec(CompressionCodec::UNCOMPRESSED);
        let plain = plain.build()?;
        Ok(Self {
            packed: SerializedPageReader::new(source.clone(), &plain, rows, None)?,
            codec,
            column: plain,
            held: held.clone(),
            own: [0; 2],
        })
    }

    /// Bytes that may still be held.
    fn left(&self) -> usize {
        MAX_HELD.saturating_sub(self.held.bytes.load(Relaxed))
    }

    /// Takes account of a new dictionary (0) or a new page (1) in the stead of the last one.
    fn hold(&mut self, which: usize, bytes: usize) -> Result<()> {
        self.release(which);
        if bytes > self.left() {
            return Err(too_large());
        }
        self.own[which] = bytes;
        self.held.bytes.fetch_add(bytes, Relaxed);
        // A dictionary is kept for all reads.
        let read = self.held.read.fetch_add(which * bytes, Relaxed);
        match read > MAX_HELD {
            true => Err(too_large()),
            false => Ok(()),
        }
    }

    fn release(&mut self, which: usize) {
        self.held.bytes.fetch_sub(self.own[which], Relaxed);
        self.own[which] = 0;
    }

    fn unpacked(&mut self, mut page: Page) -> Result<Page> {
        self.release(usize::from(page.is_data_page()));
        let count = page.num_values() as usize;
        let taken = self.held.values.fetch_add(count, Relaxed);
        if taken + count > MAX_VALUES {
            return Err(ParquetError::General(format!(
                "column {:?} has more than {MAX_VALUES} values in one page or row",
                self.column.column_path().string()
            )));
        }
        let (codec, left) = (self.codec, self.left());
        let unpack = |bytes: &Bytes| unpack(codec, bytes, left);
        match &mut page {
            Page::DictionaryPage {
                buf, num_values, ..
            } => {
                *buf = unpack(buf)?;
                // Each value takes a byte at least, and a place in memory.
                let count = *num_values as usize;
                if count > buf.len() {
                    return Err(ParquetError::EOF("a dictionary ends early".to_owned()));
                }
                let bytes = buf.len() + count * bytes_in_memory(self.column.column_type());
                self.hold(0, bytes)?;
            }
            Page::DataPage { buf, .. } => {
                *buf = unpack(buf)?;
                let bytes = buf.len();
                self.hold(1, bytes)?;
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                ..
            } => {
                let levels = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                if levels > buf.len() {
                    return Err(ParquetError::EOF("a page ends early".to_owned()));
                }
                if *is_compressed && codec != CompressionCodec::UNCOMPRESSED {
                    let values = unpack(&buf.slice(levels..))?;
                    *buf = [&buf[..levels], &values].concat().into();
                }
                let bytes = buf.len();
                self.hold(1, bytes)?;
            }
        }
        self.decoded(page)
    }

    /// Texts that are written as differences come out plain: the crate's decoder takes memory for as many as they say to be.
    fn decoded(&mut self, page: Page) -> Result<Page> {
        use Encoding as E;
        let is_text = self.column.column_type() == Physical::BYTE_ARRAY;
        match page.encoding() {
            E::PLAIN | E::PLAIN_DICTIONARY | E::RLE_DICTIONARY | E::RLE => Ok(page),
            E::BYTE_STREAM_SPLIT | E::DELTA_BINARY_PACKED if !is_text => Ok(page),
            encoding @ (E::DELTA_LENGTH_BYTE_ARRAY | E::DELTA_BYTE_ARRAY) if is_text => {
                let most = self.left();
                let page = delta::plain(page, encoding, self.column.column_descr(), most)?;
                let bytes = page.buffer().len();
                self.hold(1, bytes)?;
                Ok(page)
            }
            other => Err(ParquetError::General(format!(
                "column {:?}: values in the encoding {other} are not read; write the file with another one",
                self.column.column_path().string()
            ))),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.release(0);
        self.release(1);
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        if self.held.is_full() && self.column.column_descr().max_rep_level() == 0 {
            return Ok(None);
        }
        let page = self.packed.get_next_page()?;
        page.map(|page| self.unpacked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.packed.skip_next_page()
    }
}

fn too_large() -> ParquetError {
    ParquetError::General(format!(
        "its pages take more than {} MiB of memory at a time; write it with smaller row groups or pages",
        MAX_HELD >> 20
    ))
}

/// What the bytes are unpacked, if that is no more than `most`.
fn unpack(codec: CompressionCodec, packed: &Bytes, most: usize) -> Result<Bytes> {
    use CompressionCodec as C;
    if packed.is_empty() || codec == C::UNCOMPRESSED {
        return Ok(packed.clone());
    }
    let damaged = |error: &dyn std::fmt::Display| {
        ParquetError::General(format!("a page cannot be unpacked: {error}"))
    };
    let reader: Box<dyn Read + '_> = match codec {
        C::SNAPPY => {
            let length = snap::raw::decompress_len(packed).map_err(|error| damaged(&error))?;
            if length > most {
                return Err(too_large());
            }
            let unpacked = snap::raw::Decoder::new().decompress_vec(packed);
            return Ok(unpacked.map_err(|error| damaged(&error))?.into());
        }
        C::GZIP => Box::new(MultiGzDecoder::new(&packed[..])),
        C::ZSTD => Box::new(StreamingDecoder::new(&packed[..]).map_err(|error| damaged(&error))?),
        other => {
            return Err(ParquetError::General(format!(
                "it is packed with {other:?}; expected snappy, zstd, gzip or nothing"
            )));
        }
    };
    let mut unpacked = Vec::new();
    let read = reader.take(most as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(|error| damaged(&error))?;
    match unpacked.len() > most {
        true => Err(too_large()),
        false => Ok(unpacked.into()),
    }
}

/// What a decoded value takes, beside the bytes of a text.
fn bytes_in_memory(column: Physical) -> usize {
    match column {
        Physical::BOOLEAN => 1,
        Physical::INT32 | Physical::FLOAT => 4,
        Physical::INT64 | Physical::DOUBLE => 8,
        Physical::INT96 => 12,
        Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => size_of::<ByteArray>(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    #[test]
    fn a_page_is_unpacked_to_no_more_than_it_may_have() {
        use CompressionCodec as C;
        let plain = vec![7; 1 << 20];
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let snappy = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        let zstd = compress_to_vec(&plain[..], CompressionLevel::Fastest);
        for (codec, packed) in [
            (C::GZIP, gzip.finish().unwrap()),
            (C::SNAPPY, snappy),
            (C::ZSTD, zstd),
        ] {
            let packed = Bytes::from(packed);
            assert_eq!(unpack(codec, &packed, plain.len()).unwrap(), plain);
            let error = unpack(codec, &packed, plain.len() - 1).unwrap_err();
            assert!(
                error.to_string().contains("write it with smaller"),
                "{error}"
            );
            let cut = unpack(codec, &packed.slice(..packed.len() / 2), plain.len());
            assert!(cut.is_err(), "{codec:?}");
            assert!(unpack(codec, &Bytes::new(), 0).unwrap().is_empty());
        }
        let error = unpack(C::BROTLI, &Bytes::from_static(b"a"), 9).unwrap_err();
        assert!(error.to_string().contains("packed with BROTLI"), "{error}");
    }
}
