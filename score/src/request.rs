//! What a caller asks and what comes back.

use std::time::Duration;

use crate::cache::JointLookUp;
use crate::tensor::NamedTensor;
use crate::text::TextOptions;

/// What a request may do with remembered results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheUse {
    /// Answer from the cache what it knows, remember the rest.
    #[default]
    Normal,
    /// Compute everything again and store it (`Cache-Control: no-cache`).
    Refresh,
    /// Neither look up nor remember (`Cache-Control: no-store`).
    Bypass,
}

/// Named tensors to score, in any order.
#[derive(Debug, Clone, Default)]
pub struct InferenceRequest {
    /// One tensor for each input of the model.
    pub inputs: Vec<NamedTensor>,
    /// What the request may do with remembered results.
    pub cache: CacheUse,
    /// For one of several requests whose look-ups in the shared store are made together.
    pub joint: Option<JointLookUp>,
    /// What it asks of a text model; any other model takes no notice.
    pub text: TextOptions,
}

/// How much of an answer was remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheOutcome {
    /// The cache was not asked.
    Bypass,
    /// The cache was asked for `rows` units and knew `hits` of them.
    Asked {
        /// Units found.
        hits: usize,
        /// Units asked for: rows, or 1 if the model's rows belong together.
        rows: usize,
    },
}

/// Where the time of one request went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Digests and look-ups.
    pub cache: Duration,
    /// Waiting for a free session.
    pub queue: Duration,
    /// Inside ONNX Runtime.
    pub infer: Duration,
}

/// The model's answer.
#[derive(Debug, Clone)]
pub struct InferenceResponse {
    /// All outputs of the model, in its order.
    pub outputs: Vec<NamedTensor>,
    /// The rows the request held; 1 if the model's rows belong together.
    pub rows: usize,
    /// How much of it was remembered.
    pub cache: CacheOutcome,
    /// Where the time went.
    pub timings: Timings,
}
