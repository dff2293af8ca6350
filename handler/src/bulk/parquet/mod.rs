//! Parquet files: rows from the crate's readers of columns, and results through its writers of columns. Arrow's arrays would
//! take as long to compile again, and rows have to become lines all the same.
//!
//! A row becomes a line of JSON with a value for each column, so that numbers, texts and missing values are read by the rules
//! of requests. [`pages`] bounds what a file can make the readers hold ([`footer`] for its end, [`delta`] for texts), [`columns`] says which columns are taken, [`cells`]
//! writes their values, and [`ParquetRows`] puts them into windows.

mod cells;
mod columns;
mod delta;
mod footer;
mod outputs;
mod pages;
mod results;
mod rows;

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::errors::ParquetError;

pub(crate) use results::ParquetResults;
pub(crate) use rows::ParquetRows;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParquetInputError {
    /// Not a Parquet file, or a damaged one.
    #[error("not a Parquet file that can be read: {0}")]
    File(String),
    /// The reader of the file has panicked.
    #[error("not a Parquet file that can be read: it is damaged")]
    Damaged,
    /// A column holds what no model takes.
    #[error(
        "column {0}: expected numbers, truth values, texts or lists of these, found {1}; leave the column out, or write it as a \
         number or a text"
    )]
    Column(String, String),
    /// Which one is meant cannot be told.
    #[error("column {0} stands in the file more than once; give each column a name of its own")]
    Repeated(String),
    /// There is nothing to make rows of.
    #[error("the file has no columns")]
    NoColumns,
}

impl From<ParquetError> for ParquetInputError {
    fn from(error: ParquetError) -> Self {
        let text = error.to_string();
        let reason = text.strip_prefix("Parquet error: ").unwrap_or(&text);
        // Texts of the file may be in it.
        Self::File(reason.chars().take(300).collect())
    }
}

/// What the work gives; a panic over a damaged file is an error.
fn guarded<T, E: From<ParquetInputError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(ParquetInputError::Damaged.into()))
}
