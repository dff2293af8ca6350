//! The dialects: one module for each.

pub(crate) mod azure_ml;
pub(crate) mod keys;
pub(crate) mod open_inference;
