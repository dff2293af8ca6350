//! What the program tells operators while it runs: log lines, and traces in both directions.

pub(crate) mod logging;
mod printable;
pub(crate) mod summary;
pub(crate) mod traces;
