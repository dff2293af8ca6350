//! What is scored: lines of a file or of standard input, or the rows of a Parquet file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use score::ModelMetadata;
use wire::Limits;

#[cfg(feature = "parquet")]
use crate::bulk::{Around, ParquetRows};
use crate::bulk::{Format, Header, Lines, Position, Table, Window, open_table, unlike_text};

/// An input that is open.
pub(super) struct Input {
    bytes: Bytes,
    /// Its length, if that is known.
    pub(super) length: Option<u64>,
}

enum Bytes {
    Lines(Lines<Box<dyn BufRead + Send>>),
    /// With its name, for messages.
    #[cfg(feature = "parquet")]
    Parquet(File, String),
}

/// Where windows come from.
pub(super) enum Source {
    Lines(Lines<Box<dyn BufRead + Send>>),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetRows>),
}

/// How its rows become requests.
#[derive(Default)]
pub(super) struct Rows {
    /// For a table.
    pub(super) table: Option<Table>,
    /// For the columns of a Parquet file.
    #[cfg(feature = "parquet")]
    pub(super) around: Around,
}

/// Opens the input.
///
/// # Errors
/// If it cannot be read, or not in that format.
pub(super) fn open(file: &Path, format: Format, max_bytes: usize) -> anyhow::Result<Input> {
    let lines = |reader| Bytes::Lines(Lines::new(reader, format, max_bytes, Position::default()));
    if file.as_os_str() == "-" {
        if format == Format::Parquet {
            bail!(
                "--in - cannot be Parquet: what its columns are stands at the end of the file; save it, and name the file"
            );
        }
        let mut reader = BufReader::new(io::stdin());
        let start = reader.fill_buf().context("standard input cannot be read")?;
        if let Some(reason) = unlike_text(start) {
            bail!("standard input: {reason}");
        }
        return Ok(Input {
            bytes: lines(Box::new(reader)),
            length: None,
        });
    }
    let failed = || format!("{} cannot be read", file.display());
    let opened = File::open(file).with_context(failed)?;
    let found = opened.metadata().with_context(failed)?;
    let name = file.display();
    if found.is_dir() {
        bail!("{name}: it is a folder; expected a file with a row in each line");
    }
    let length = found.is_file().then_some(found.len());
    if format == Format::Parquet {
        return rows_of(opened, length, file);
    }
    let mut reader = BufReader::with_capacity(1 << 20, opened);
    if let Some(reason) = unlike_text(reader.fill_buf().with_context(failed)?) {
        bail!("{name}: {reason}");
    }
    Ok(Input {
        bytes: lines(Box::new(reader)),
        length,
    })
}

/// The rows of a Parquet file.
#[cfg(feature = "parquet")]
fn rows_of(opened: File, length: Option<u64>, file: &Path) -> anyhow::Result<Input> {
    if length.is_none() {
        let name = file.display();
        bail!("{name}: it is a pipe or device; Parquet is read from a file");
    }
    Ok(Input {
        bytes: Bytes::Parquet(opened, file.display().to_string()),
        length,
    })
}

#[cfg(not(feature = "parquet"))]
fn rows_of(_: File, _: Option<u64>, file: &Path) -> anyhow::Result<Input> {
    let name = file.display();
    bail!(
        "{name}: this handler was built without Parquet; build it with it: cargo build --release -p handler --features parquet"
    )
}

impl Input {
    /// Reads what stands before the rows.
    ///
    /// # Errors
    /// If it cannot be read, or its columns do not fit the model.
    pub(super) fn begin(
        self,
        header: Option<Header>,
        format: Format,
        metadata: &ModelMetadata,
        limits: Limits,
    ) -> anyhow::Result<(Source, Rows)> {
        let mut rows = Rows::default();
        let source = match self.bytes {
            Bytes::Lines(mut lines) => {
                if format == Format::Csv {
                    rows.table = Some(open_table(&mut lines, header, metadata, limits)?);
                }
                Source::Lines(lines)
            }
            #[cfg(feature = "parquet")]
            Bytes::Parquet(file, name) => {
                let opened = ParquetRows::open(file, metadata, limits.max_bytes);
                let mut source = opened.with_context(|| name.clone())?;
                let checked = source.check(metadata, limits);
                if let Err(problem) = checked.with_context(|| name.clone())? {
                    bail!("{name}: no row can be scored: {}", problem.message);
                }
                rows.around = source.around(metadata, limits);
                Source::Parquet(Box::new(source))
            }
        };
        Ok((source, rows))
    }
}

impl Source {
    /// The next rows, at most so many; they end with the one that reaches so many bytes. `None` at the end of the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn window(&mut self, rows: usize, bytes: usize) -> io::Result<Option<Window>> {
        match self {
            Self::Lines(lines) => lines.window(rows, bytes),
            #[cfg(feature = "parquet")]
            Self::Parquet(source) => source.window(rows, bytes),
        }
    }
}
