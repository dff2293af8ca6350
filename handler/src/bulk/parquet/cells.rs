//! The values of one column, row by row, as JSON.

use std::sync::Arc;

use half::f16;
use parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use parquet::data_type::{
    AsBytes, BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray,
    FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescPtr;
use serde::Serialize;
use wire::{Double, Float};

use super::columns::{Column, Kind};
use super::pages::{Held, Pages};

/// Rows that are read at once, if they do not have lists.
const BATCH: usize = 1024;
/// Elements of lists that are read at once, about.
const BATCH_ELEMENTS: usize = 1 << 16;

/// The values of one column of a row group.
pub(super) trait Cells: Send {
    /// Appends the value of the next row, and leaves out what goes far beyond `most` bytes. Says how many bytes these are, about.
    ///
    /// # Errors
    /// If the file is damaged, or the column ends before the row group does.
    fn write(&mut self, text: &mut Vec<u8>, most: usize) -> Result<usize>;

    /// Whether there are no more rows.
    ///
    /// # Errors
    /// If the file is damaged.
    fn is_done(&mut self) -> Result<bool>;
}

/// Reads a column. `wide` is for models that take doubles: floats are written as the doubles that they are.
pub(super) fn cells(
    column: &Column,
    description: ColumnDescPtr,
    pages: Pages,
    held: &Arc<Held>,
    wide: bool,
) -> Box<dyn Cells> {
    let parts = Parts {
        column,
        description,
        pages,
        held,
    };
    match column.kind {
        Kind::Bool => parts.typed::<BoolType>(|value, text| {
            text.extend(if *value { &b"true"[..] } else { b"false" });
        }),
        Kind::Int32 => parts.typed::<Int32Type>(|value, text| integer(*value, text)),
        Kind::Uint32 => {
            parts.typed::<Int32Type>(|value, text| integer(value.cast_unsigned(), text))
        }
        Kind::Int64 => parts.typed::<Int64Type>(|value, text| integer(*value, text)),
        Kind::Uint64 => {
            parts.typed::<Int64Type>(|value, text| integer(value.cast_unsigned(), text))
        }
        Kind::Float16 => parts.typed::<FixedLenByteArrayType>(half),
        Kind::Float32 if wide => {
            parts.typed::<FloatType>(|value, text| number(Double((*value).into()), text))
        }
        Kind::Float32 => parts.typed::<FloatType>(|value, text| number(Float(*value), text)),
        Kind::Float64 => parts.typed::<DoubleType>(|value, text| number(Double(*value), text)),
        Kind::Text => parts.typed::<ByteArrayType>(word),
    }
}

struct Parts<'a> {
    column: &'a Column,
    description: ColumnDescPtr,
    pages: Pages,
    held: &'a Arc<Held>,
}

impl Parts<'_> {
    fn typed<T: DataType>(self, write: fn(&T::T, &mut Vec<u8>)) -> Box<dyn Cells> {
        let reader = get_column_reader(self.description, Box::new(self.pages));
        Box::new(Typed::<T> {
            column: self.column.clone(),
            reader: get_typed_column_reader(reader),
            held: self.held.clone(),
            batch: match self.column.lists.is_empty() {
                true => BATCH,
                false => 16,
            },
            levels: [Vec::new(), Vec::new()],
            values: Vec::new(),
            count: 0,
            at: 0,
            value: 0,
            write,
            most: 0,
            left_out: 0,
        })
    }
}

struct Typed<T: DataType> {
    column: Column,
    reader: ColumnReaderImpl<T>,
    held: Arc<Held>,
    /// Rows that the next read takes.
    batch: usize,
    /// Definition levels, and repetition levels, of what is read. Those that are always the same are left out.
    levels: [Vec<i16>; 2],
    values: Vec<T::T>,
    /// Levels that are read, and those of them that are written; and values that are written.
    count: usize,
    at: usize,
    value: usize,
    write: fn(&T::T, &mut Vec<u8>),
    /// Bytes of a row that are written at most, and those that were left out.
    most: usize,
    left_out: usize,
}

impl<T: DataType> Typed<T> {
    /// Reads some more rows; `false` at the end.
    fn read(&mut self) -> Result<bool> {
        let [defined, repeated] = &mut self.levels;
        defined.clear();
        repeated.clear();
        self.values.clear();
        (self.at, self.value) = (0, 0);
        let (rows, _, levels) = loop {
            self.held.begin_read();
            let (defined, repeated) = (Some(&mut *defined), Some(&mut *repeated));
            let read = self
                .reader
                .read_records(self.batch, defined, repeated, &mut self.values)?;
            if read.0 > 0 || !self.held.is_full() {
                break read;
            }
        };
        self.count = levels;
        if !self.column.lists.is_empty() && rows > 0 {
            self.batch = (BATCH_ELEMENTS / (levels / rows).max(1)).clamp(1, BATCH);
        }
        Ok(rows > 0)
    }

    /// Writes the value of one level, with the brackets of the lists that begin there. `open` are the lists around it that have
    /// begun in the same row.
    fn element(&mut self, open: &mut usize, text: &mut Vec<u8>) {
        let defined = self.levels[0].get(self.at).copied();
        let defined = defined.unwrap_or(self.column.defined);
        self.at += 1;
        for list in &self.column.lists[*open..] {
            if defined < list.present {
                return text.extend(b"null");
            }
            text.push(b'[');
            *open += 1;
            if defined < list.filled {
                return;
            }
        }
        match self.values.get(self.value) {
            Some(value) if defined == self.column.defined => {
                let bytes = value.as_bytes().len();
                if bytes > self.most {
                    self.left_out += bytes;
                    text.extend(b"\"...\"");
                } else {
                    (self.write)(value, text);
                }
                self.value += 1;
            }
            _ => text.extend(b"null"),
        }
    }
}

impl<T: DataType> Cells for Typed<T> {
    fn write(&mut self, text: &mut Vec<u8>, most: usize) -> Result<usize> {
        if self.at == self.count && !self.read()? {
            let column = &self.column.name;
            let message = format!("column {column:?} has fewer values than its row group has rows");
            return Err(ParquetError::EOF(message));
        }
        (self.most, self.left_out) = (most, 0);
        let mut open = 0;
        self.element(&mut open, text);
        while self.at < self.count && !self.column.lists.is_empty() {
            let again = self.levels[1].get(self.at).copied().unwrap_or(0);
            let Some(again) = usize::try_from(again).ok().filter(|again| *again > 0) else {
                break;
            };
            for _ in again..open {
                text.push(b']');
            }
            open = open.min(again);
            text.push(b',');
            let before = text.len();
            self.element(&mut open, text);
            if text.len() > most {
                self.left_out += text.len() - before;
                text.truncate(before);
            }
        }
        text.extend(std::iter::repeat_n(b']', open));
        Ok(self.left_out)
    }

    fn is_done(&mut self) -> Result<bool> {
        Ok(self.at == self.count && !self.read()?)
    }
}

fn integer(value: impl itoa::Integer, text: &mut Vec<u8>) {
    text.extend(itoa::Buffer::new().format(value).as_bytes());
}

fn half(value: &FixedLenByteArray, text: &mut Vec<u8>) {
    match value.data().first_chunk() {
        Some(bytes) => number(Float(f16::from_le_bytes(*bytes).into()), text),
        None => text.extend(b"null"),
    }
}

/// Vectors take all that is written to them.
fn number(value: impl Serialize, text: &mut Vec<u8>) {
    drop(serde_json::to_writer(text, &value));
}

fn word(value: &ByteArray, text: &mut Vec<u8>) {
    let word = String::from_utf8_lossy(value.data());
    drop(serde_json::to_writer(&mut *text, &word));
    if matches!(word, std::borrow::Cow::Owned(_)) {
        // A byte that no text has, so that the row is refused as a line in another encoding is.
        text.insert(text.len() - 1, 0xff);
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::metadata::ParquetMetaDataReader;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::columns::columns_of;
    use super::super::pages::Source;
    use super::*;

    /// Reads end before the rows that were asked for, where these take much memory.
    #[test]
    fn long_texts_are_read_few_at_a_time() {
        let file = tempfile::tempfile().unwrap();
        let schema = parse_message_type("message m { optional binary a (UTF8); }").unwrap();
        let properties = WriterProperties::builder().set_data_page_size_limit(1);
        let properties = properties
            .set_write_batch_size(1)
            .set_dictionary_enabled(false);
        let (schema, properties) = (Arc::new(schema), Arc::new(properties.build()));
        let mut writer = SerializedFileWriter::new(&file, schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<ByteArray> = (0..9_u8)
            .map(|at| vec![b'a' + at; 3 << 20].into())
            .collect();
        let mut defined = vec![1; 10];
        defined[4] = 0;
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&texts, Some(&defined), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();

        let source = Arc::new(Source(file));
        let metadata = ParquetMetaDataReader::new()
            .parse_and_finish(&*source)
            .unwrap();
        let columns = columns_of(metadata.file_metadata().schema_descr()).unwrap();
        let (chunk, held) = (metadata.row_group(0).column(0), Arc::default());
        let pages = Pages::new(&source, chunk, 10, &held).unwrap();
        let mut cells = cells(&columns[0], chunk.column_descr_ptr(), pages, &held, false);
        let mut row = |most| {
            let mut text = Vec::new();
            let left_out = cells.write(&mut text, most).unwrap();
            (text.get(1).copied(), text.len(), left_out)
        };
        let whole = (3 << 20) + 2;
        for (at, expected) in b"abcd".iter().enumerate() {
            assert_eq!(row(whole), (Some(*expected), whole, 0), "{at}");
        }
        assert_eq!(row(whole), (Some(b'u'), 4, 0));
        assert_eq!(row(whole), (Some(b'e'), whole, 0));
        assert_eq!(row(1000), (Some(b'.'), 5, 3 << 20));
        for expected in b"ghi" {
            assert_eq!(row(whole), (Some(*expected), whole, 0));
        }
        assert!(cells.is_done().unwrap());
        assert!(cells.write(&mut Vec::new(), 9).is_err());
    }
}
