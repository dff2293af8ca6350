//! Models: what they have to do, where they lie, and the only call into ONNX Runtime.

mod character;
mod contract;
mod declared;
mod digesting;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod entry_points;
mod external_data;
mod file_buf;
mod files;
mod folder;
mod graph;
mod hints;
mod kind;
mod locale;
mod made_up;
mod missing;
mod onnx;
mod onnx_file;
mod onnx_proto;
mod options;
mod options_file;
mod output_options;
mod picture;
mod preprocessor;
mod probe;
mod refusal;
mod settled;
mod small_file;
mod text_folder;
mod texts;
mod versions;

pub use character::{Character, Evidence};
pub(crate) use character::{examine, widths};
pub use contract::{Model, RunError};
pub use external_data::move_weights_out;
pub use files::ModelFiles;
pub use folder::{ModelFolder, ModelOptions, ModelPlace, check_name, find_models};
pub use graph::KnownValues;
pub(crate) use graph::Reading;
pub use hints::Hints;
pub use onnx::{OnnxModel, Runtime};
pub(crate) use options::check_inputs;
pub use options::{FeatureFormat, FeatureOptions, ImageLayout, InputOptions, MissingValues};
pub use options_file::refuse_unknown;
pub use output_options::OutputOptions;
pub(crate) use output_options::check_outputs;
pub use picture::{Background, Resample, Resize};
pub use refusal::SettingNames;
pub use settled::Stamp;
pub use small_file::read_small_file;
pub use texts::{
    OpenSession, Passage, TextModel, TextSession, Token, TokenizeError, Tokenized, Wanted,
};
