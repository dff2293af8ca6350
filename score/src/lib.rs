//! Scores ONNX models and remembers the results.
//!
//! One way through, down by calls and up by return values:
//!
//! 1. [`signature`](ModelSignature): names, element types and shapes of the request's tensors are checked;
//! 2. `rows`: the request is cut into units, one row each where the model's rows are independent;
//! 3. `cache`: one look-up for all units, in this process and in a shared store (through `store`, its supervisor and gate);
//! 4. `batch`: what is missing waits for a session, perhaps in company;
//! 5. `model`: the only call into ONNX Runtime;
//! 6. `cache`: new results are remembered, behind the answer;
//! 7. `rows`: old and new results are put together in the caller's order.
//!
//! `cost` watches steps 3 to 6 and decides, if it may, which requests go through `cache` at all.
//!
//! [`Scorer::score`] is these steps written out. `features` fetches rows that a request only names by key.
//!
//! Other kinds of models implement [`Model`] and are started by [`Scorer::start`]; other stores implement [`Store`].
//! Nothing here knows of HTTP, JSON, environment variables or the platform around the program.

mod batch;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod cache;
mod cost;
#[cfg(any(test, feature = "fuzz"))]
pub mod entry_points;
mod error;
mod features;
mod histogram;
mod model;
mod request;
mod rows;
mod scorer;
mod signature;
mod store;
mod tensor;
mod text;

pub use batch::{BatchLimits, BatchStats};
pub use cache::{
    Cache, CacheStats, EntrySecret, EntrySecretError, JointLookUp, ModelDigest, ModelTag,
    ModelTagError, Namespace, NamespaceError, RemoteOptions,
};
pub use cost::{CachePolicy, CostFigures};
pub use error::{ErrorCode, LoadError, ScoreError, TextPart, quoted, shortened};
pub use features::{FeatureError, FeatureReads, FeatureStats, FeatureStore, Fits};
pub use histogram::{RowCounts, Times};
pub use model::{
    Background, Character, Evidence, FeatureFormat, FeatureOptions, Hints, ImageLayout,
    InputOptions, KnownValues, MissingValues, Model, ModelFiles, ModelFolder, ModelOptions,
    ModelPlace, OnnxModel, OpenSession, OutputOptions, Passage, Resample, Resize, RunError,
    Runtime, SettingNames, Stamp, TextModel, TextSession, Token, TokenizeError, Tokenized, Wanted,
    check_name, find_models, move_weights_out, read_small_file, refuse_unknown,
};
pub use request::{CacheOutcome, CacheUse, InferenceRequest, InferenceResponse, Timings};
pub use scorer::{
    EachResponse, ModelMetadata, SampleReader, Scorer, ScorerOptions, ScorerStats, StoredText,
    check_options,
};
pub use signature::{Dim, ModelSignature, OutputForm, OutputSpec, Rows, TensorSpec};
pub use store::{Backoff, Store, StoreEntry, StoreError};
pub use tensor::{
    ElementType, NamedTensor, Shape, ShapeMismatch, Tensor, TensorData, element_count,
};
pub use text::{
    Activation, Aggregation, EMBEDDING, ENTITIES, Entity, LABEL, LOGITS, QUERY, SCORE, SCORES,
    TEXT, TOKENS, TRUNCATED, Task, TextMetadata, TextOptions, TokenSpan, Truncate, WEIGHTS, Weight,
    Words, entities, finished, highest, scores, stored_spans, weights,
};

#[cfg(test)]
#[path = "../../fuzz/bounded.rs"]
mod bounded;
