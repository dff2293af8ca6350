//! Files of any length, line by line in bounded memory: what `handler score` does with files, whatever their bytes come from
//! and go to.
//!
//! [`Lines`] cuts the bytes of a reader into windows of lines, a [`Lane`] turns a window into lines of results and of
//! refusals, and [`Run`] does so for a few windows at a time and gives [`window::Done`] in their order. For a table, [`open_table`]
//! reads its header first. Each [`window::Done`] has the bytes to append to the results and to the refusals, and says in
//! `tally.end` how far the file is done then: a [`Position`] that other [`Lines`] go on from.

mod item;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;
mod run;
mod start;
mod table;
mod window;

pub(crate) use item::ID;
pub(crate) use lines::{Lines, Position, Window};
#[cfg(feature = "parquet")]
pub(crate) use parquet::{ParquetResults, ParquetRows};
pub(crate) use run::{Run, WINDOW_BYTES, WINDOW_LINES, windows_of};
pub(crate) use start::unlike_text;
pub(crate) use table::{Table, open_table};
#[cfg(feature = "parquet")]
pub(crate) use window::Around;
pub(crate) use window::{Lane, Tally};
#[cfg(feature = "blobs")]
pub(crate) use {run::RunError, run::read_windows, table::TableError};

/// How the lines of a file are written, and those of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON value in each line: a row, an object with the row's inputs, or a request of OpenAI's batch form.
    Jsonl,
    /// A table, with a header or without one.
    Csv,
    /// Columns with names and types; no lines.
    Parquet,
}

impl Format {
    /// By the end of a name.
    pub(crate) fn of(name: &std::path::Path) -> Option<Self> {
        match name.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// What the first line of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The names of the columns.
    Present,
    /// A row.
    Absent,
}
