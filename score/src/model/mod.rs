//! Models: what they are, where they lie, and the only call into ONNX Runtime.

mod character;
mod declared;
mod file_buf;
mod files;
mod folder;
mod graph;
mod kind;
mod made_up;
mod missing;
mod onnx;
mod onnx_file;
mod options;
mod options_file;
mod picture;
mod preprocessor;
mod probe;
mod refusal;
mod text_folder;

pub(crate) use character::examine;
pub use character::{Character, Evidence};
pub use files::ModelFiles;
pub use folder::{ModelFolder, ModelOptions, ModelPlace, check_name, find_models};
pub(crate) use graph::Reading;
pub use onnx::{OnnxModel, Runtime};
pub(crate) use options::check_inputs;
pub use options::{FeatureFormat, FeatureOptions, ImageLayout, InputOptions, MissingValues};
pub use picture::{Background, Resample, Resize};

use crate::signature::ModelSignature;
use crate::tensor::Tensor;

/// Why one run gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// The model cannot work with these values; other values may be fine.
    #[error("{0}")]
    Rejected(String),
    /// The runtime or this program failed.
    #[error("{0}")]
    Failed(String),
}

/// Something that turns input tensors into output tensors, one run at a time.
pub trait Model: Send {
    /// What goes in and out.
    fn signature(&self) -> &ModelSignature;

    /// Runs once on tensors that fit the signature: all required inputs in its order, then the optional ones with the
    /// indices `given`. The tensors of the outputs come in the signature's order too.
    ///
    /// # Errors
    /// [`RunError`] says whose fault it was.
    fn run(&mut self, inputs: &[Tensor], given: &[usize]) -> Result<Vec<Tensor>, RunError>;

    /// Called on the session's thread when the results of a run are on their way, for what need not delay them.
    fn after_run(&mut self) {}
}
