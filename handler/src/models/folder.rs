//! A model as it lies on disk, of either kind: one that takes tensors, or one that takes texts.

use std::sync::Arc;

use score::{Cache, LoadError, ModelFolder, Runtime, Scorer, ScorerOptions};
#[cfg(feature = "text")]
use text::TextFolder;

/// A model that can be loaded.
pub(crate) enum Loadable {
    /// Tensors in, tensors out.
    Tensors(Box<ModelFolder>),
    /// Texts in, vectors out.
    #[cfg(feature = "text")]
    Texts(Box<TextFolder>),
}

impl Loadable {
    /// What kind of model the folder holds. Of a text model all files but the ONNX file are read.
    ///
    /// # Errors
    /// If a file of a text model is missing or has a mistake.
    #[cfg(feature = "text")]
    pub(crate) fn of(folder: ModelFolder) -> Result<Self, LoadError> {
        Ok(match folder.is_text {
            true => Self::Texts(Box::new(TextFolder::read(&folder)?)),
            false => Self::Tensors(Box::new(folder)),
        })
    }

    /// A model of tensors: this build serves no texts.
    ///
    /// # Errors
    /// If `model.toml` asks for a text model.
    #[cfg(not(feature = "text"))]
    pub(crate) fn of(folder: ModelFolder) -> Result<Self, LoadError> {
        match folder.is_text && folder.options.text.is_some() {
            true => Err(folder.wrong_options(
                "text: this program was built without text models; build it with the feature \"text\"",
            )),
            false => Ok(Self::Tensors(Box::new(folder))),
        }
    }

    /// Digest of the model's files, and of the settings that shape its results. Waits until it is made.
    ///
    /// # Errors
    /// If a file of the model cannot be read.
    pub(crate) fn digest(&self) -> Result<blake3::Hash, LoadError> {
        match self {
            Self::Tensors(folder) => folder.digest(),
            #[cfg(feature = "text")]
            Self::Texts(folder) => folder.digest(),
        }
    }

    /// Loads the model. Blocks; not for an async thread.
    ///
    /// # Errors
    /// If it cannot be loaded, or `model.toml` does not fit it.
    pub(crate) fn load(
        self,
        runtime: &Runtime,
        options: ScorerOptions,
        memo: Arc<Cache>,
    ) -> Result<Scorer, LoadError> {
        match self {
            Self::Tensors(folder) => Scorer::load(runtime, &folder, options, memo),
            #[cfg(feature = "text")]
            Self::Texts(folder) => folder.load(runtime, options, memo),
        }
    }
}
