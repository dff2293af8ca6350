//! Text models: texts in, vectors out.
//!
//! A text model is a folder with an ONNX file and a tokenizer, as sentence-transformers, optimum and the hub leave them.
//! [`TextFolder`] reads it, and [`TextFolder::load`] starts a [`score::Scorer`] whose model takes texts: it tokenizes
//! them, runs them in batches bounded by tokens, and pools the vectors of tokens to one vector for each text.
//!
//! The scorer cuts requests into rows, remembers results and joins requests as for every other model. Its key is the
//! text, so a text that is known is never tokenized.

mod company;
mod config;
mod dense;
#[cfg(any(test, feature = "fuzz"))]
pub mod entry_points;
mod folder;
mod graph;
mod load;
mod model;
mod options;
mod pooling;
mod settings;
mod tokenizer;

pub use folder::TextFolder;
pub use options::StoredAs;
pub use pooling::Pooling;
pub use settings::Stored;
pub use tokenizer::Tokenizer;

#[cfg(test)]
#[path = "../../../fuzz/bounded.rs"]
mod bounded;
