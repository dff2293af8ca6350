//! Rows in columns: which column belongs to which input, and what stands in a cell.

pub(crate) mod cells;
pub(crate) mod columns;
pub(crate) mod pictures;
pub(crate) mod tabular;
