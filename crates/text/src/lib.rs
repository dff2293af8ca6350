//! Text models: texts in, vectors, scores or tags out.
//!
//! A text model is a folder with an ONNX file and a tokenizer, as sentence-transformers, optimum and the hub leave them.
//! [`TextFolder`] reads it, and [`TextFolder::load`] starts a [`score::Scorer`] whose model takes texts, or pairs of texts: it
//! tokenizes them, runs them in batches bounded by tokens, and makes of the run's numbers what is stored of each text: a pooled
//! vector, the logits of its labels or of its tokens, or a sparse vector.
//!
//! The scorer cuts requests into rows, remembers results and joins requests as for every other model. Its key is the
//! text or the pair, so a text that is known is never tokenized.

mod company;
mod config;
mod dense;
#[cfg(any(test, feature = "fuzz"))]
pub mod entry_points;
mod folder;
mod graph;
mod head;
mod load;
mod model;
mod modules;
mod options;
mod pooled;
mod pooling;
mod results;
mod settings;
mod sparse;
mod strategy;
mod tokenizer;

pub use folder::TextFolder;
pub use head::Head;
pub use options::StoredAs;
pub use pooling::Pooling;
pub use settings::Stored;
pub use sparse::SparsePooling;
pub use strategy::Strategy;
pub use tokenizer::Tokenizer;

#[cfg(test)]
#[path = "../../../fuzz/bounded.rs"]
mod bounded;
