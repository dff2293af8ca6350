//! JSON: read in one pass where it is plain, once more with words for a mistake, and written.

pub(crate) mod bounded;
pub(crate) mod diagnose;
pub(crate) mod element;
pub(crate) mod nested;
pub(crate) mod number;
pub(crate) mod number_array;
pub(crate) mod output;
pub(crate) mod scanner;
pub(crate) mod write;
