//! Rows in columns: which column belongs to which input, and how a cell is read.

pub(crate) mod cells;
pub(crate) mod columns;
pub(crate) mod pictures;
pub(crate) mod tabular;
