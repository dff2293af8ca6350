//! Results as a Parquet file: the column `line`, and one for each output of the model.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, Repetition, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use score::ModelMetadata;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::outputs::Output;

/// A row group ends with the window that reaches so many bytes of values, or so many rows.
const GROUP_BYTES: usize = 32 << 20;
const GROUP_ROWS: usize = 1 << 20;

/// Writes results, row group by row group. Without [`ParquetResults::finish`] the file cannot be read.
pub(crate) struct ParquetResults<W: Write + Send> {
    target: Target<W>,
    lines: Vec<i64>,
    outputs: Vec<Output>,
}

enum Target<W: Write + Send> {
    /// What the columns hold is seen in the first result.
    New(Option<W>),
    Open(SerializedFileWriter<W>),
}

#[derive(Deserialize)]
struct Scored<'a> {
    line: i64,
    #[serde(borrow)]
    result: &'a RawValue,
}

impl<W: Write + Send> ParquetResults<W> {
    /// For the results of a model.
    pub(crate) fn new(target: W, metadata: &ModelMetadata) -> Self {
        let outputs = metadata.default_outputs.iter();
        let outputs = outputs.filter_map(|at| metadata.signature.declared.get(*at));
        Self {
            target: Target::New(Some(target)),
            lines: Vec::new(),
            outputs: outputs
                .map(|output| Output::new(output, metadata))
                .collect(),
        }
    }

    /// Takes lines of results in JSON.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn push(&mut self, lines: &[u8]) -> io::Result<()> {
        for line in lines.split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                self.push_one(&serde_json::from_slice(line)?)?;
            }
        }
        let bytes: usize = self.outputs.iter().map(Output::bytes).sum();
        match bytes >= GROUP_BYTES || self.lines.len() >= GROUP_ROWS {
            true => self.write_group().map_err(failed),
            false => Ok(()),
        }
    }

    fn push_one(&mut self, scored: &Scored<'_>) -> io::Result<()> {
        let json = scored.result.get();
        let values: Vec<&str> = match self.outputs.len() {
            1 => vec![json],
            _ => {
                let values: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
                let names = self.outputs.iter().map(|output| values.get(output.name()));
                let values: Option<Vec<_>> = names.map(|value| Some((*value?).get())).collect();
                values.ok_or_else(|| io::Error::other("a result lacks an output of the model"))?
            }
        };
        if matches!(self.target, Target::New(_)) {
            for (output, json) in self.outputs.iter_mut().zip(&values) {
                output.look_at(json);
            }
            self.open().map_err(failed)?;
        }
        for (output, json) in self.outputs.iter_mut().zip(values) {
            output.push(json)?;
        }
        self.lines.push(scored.line);
        Ok(())
    }

    fn open(&mut self) -> Result<(), ParquetError> {
        let Target::New(target) = &mut self.target else {
            return Ok(());
        };
        let line = Type::primitive_type_builder("line", Physical::INT64);
        let line = line.with_repetition(Repetition::REQUIRED).build()?;
        let mut fields = vec![Arc::new(line)];
        for output in &self.outputs {
            fields.push(output.field()?);
        }
        let schema = Type::group_type_builder("results")
            .with_fields(fields)
            .build()?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let Some(target) = target.take() else {
            return Err(ParquetError::General(
                "the file could not be begun".to_owned(),
            ));
        };
        let writer =
            SerializedFileWriter::new(target, Arc::new(schema), Arc::new(properties.build()))?;
        self.target = Target::Open(writer);
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let Target::Open(writer) = &mut self.target else {
            return Ok(());
        };
        let mut group = writer.next_row_group()?;
        if let Some(mut column) = group.next_column()? {
            let column_writer = column.typed::<parquet::data_type::Int64Type>();
            column_writer.write_batch(&self.lines, None, None)?;
            column.close()?;
        }
        self.lines.clear();
        for output in &mut self.outputs {
            if let Some(column) = group.next_column()? {
                output.write(column)?;
            }
        }
        group.close()?;
        Ok(())
    }

    /// Writes what is left, and the end of the file.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.open().map_err(failed)?;
        if !self.lines.is_empty() {
            self.write_group().map_err(failed)?;
        }
        match self.target {
            Target::Open(writer) => writer.into_inner().map_err(failed),
            Target::New(_) => Err(io::Error::other("the file could not be begun")),
        }
    }
}

/// The error of the system, if it is one.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}
