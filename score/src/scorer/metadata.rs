//! What is known about a loaded model.

use std::time::Duration;

use crate::cache::ModelDigest;
use crate::model::{Character, Evidence, Hints, ModelOptions};
use crate::signature::{ModelSignature, Rows};
use crate::text::TextMetadata;

/// What is known about a loaded model.
#[derive(Debug, Clone)]
pub struct ModelMetadata {
    /// The name callers use.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Inputs and outputs.
    pub signature: ModelSignature,
    /// The outputs to answer with unless the caller asks for others, as indices into [`ModelSignature::declared`].
    pub default_outputs: Vec<usize>,
    /// What the probe found or `model.toml` says.
    pub character: Character,
    /// Whether results are remembered.
    pub memoize: bool,
    /// What `model.toml` says.
    pub options: ModelOptions,
    /// What is known about a text model; `None` for any other.
    pub text: Option<TextMetadata>,
    /// What is known of the values that it takes.
    pub hints: Hints,
    /// Digest of the model's files and of the runtime.
    pub digest: ModelDigest,
    /// How long loading and probing took, whose runs are the first ones of a session.
    pub load_time: Duration,
}

impl ModelMetadata {
    /// For a model of a kind of its own: version 1, without options, deterministic, all outputs by default. Results are
    /// remembered. `digest` covers everything that the answers depend on beside the inputs.
    pub fn new(
        name: impl Into<String>,
        signature: ModelSignature,
        rows: Rows,
        digest: ModelDigest,
    ) -> Self {
        Self {
            name: name.into(),
            version: "1".to_owned(),
            default_outputs: (0..signature.declared.len()).collect(),
            signature,
            character: Character {
                rows,
                evidence: Evidence::Declared,
                rows_reason: "the kind of model is made so".to_owned(),
                operator: None,
                warning: None,
                deterministic: Some(true),
            },
            memoize: true,
            options: ModelOptions::default(),
            text: None,
            hints: Hints::default(),
            digest: digest.with_rows(rows),
            load_time: Duration::ZERO,
        }
    }
}
