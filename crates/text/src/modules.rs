//! `modules.json` of sentence-transformers: what is behind the transformer, and where its files lie.

use std::path::{Path, PathBuf};

use score::LoadError;

use crate::config::{Module, PoolingFile, missing_module, read_pooling, read_sparse, wrong};
use crate::sparse::SparsePooling;

/// What is missing of a language model that ranks by the logits of words, as Qwen3-Reranker does.
pub(crate) const NEEDS_HEAD: &str = "expected an architecture ...ForSequenceClassification, whose ONNX file gives \"logits\" \
     float32 [?,labels]. What compares the logits of words such as \"yes\" and \"no\" behind a prompt is not served as it is: \
     convert the model to a sequence classifier, whose head is the difference of the rows of these words, and export that";

/// The modules behind the transformer.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    /// Where the transformer's own files lie.
    pub(crate) transformer: PathBuf,
    /// The folders of its `Dense` modules.
    pub(crate) dense: Vec<PathBuf>,
    /// How a sparse model pools.
    pub(crate) sparse: Option<SparsePooling>,
    /// How vectors of tokens are pooled.
    pub(crate) pooling: Option<PoolingFile>,
    /// Whether vectors are scaled to length 1.
    pub(crate) normalize: bool,
}

impl Modules {
    /// Reads `modules.json`, or looks for a pooling's config without it.
    ///
    /// # Errors
    /// If a module is not known or not where it can be applied.
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        let mut new = Self {
            transformer: folder.to_owned(),
            ..Self::default()
        };
        let Some(modules) = Module::read_all(folder)? else {
            new.pooling = read_pooling(&folder.join("1_Pooling"))?;
            return Ok(new);
        };
        for module in &modules {
            let refuse = |reason: &str| {
                let kind: String = module.kind().chars().take(200).collect();
                let reason = format!(
                    "module {kind:?} {reason}; export the whole model to ONNX with an output sentence_embedding, and set \
                     pooling in [text] of model.toml if there is none"
                );
                Err(wrong(&folder.join("modules.json"), reason))
            };
            let path = below(folder, &module.path)?;
            match module.kind() {
                "Transformer" | "MLMTransformer" if new.pooling.is_none() => new.transformer = path,
                "SpladePooling" if new.pooling.is_none() => new.sparse = Some(read_sparse(&path)?),
                "Pooling" if new.pooling.is_none() => {
                    let found = read_pooling(&path)?;
                    let missing = || missing_module(&path.join("config.json"));
                    new.pooling = Some(found.ok_or_else(missing)?);
                }
                "Dense" if new.pooling.is_some() && !new.normalize => new.dense.push(path),
                "Normalize" if new.pooling.is_some() => new.normalize = true,
                "LogitScore" => {
                    let reason =
                        format!("module \"LogitScore\" is of a language model; {NEEDS_HEAD}");
                    return Err(wrong(&folder.join("modules.json"), reason));
                }
                // It does nothing outside training.
                "Dropout" => {}
                "Transformer" | "Pooling" | "Dense" | "Normalize" => {
                    return refuse("cannot be applied at that place");
                }
                _ => return refuse("is not known"),
            }
        }
        Ok(new)
    }

    /// Whether vectors of tokens are pooled to one vector.
    pub(crate) fn pools(&self) -> bool {
        self.pooling.is_some()
    }
}

/// A folder of a module, which must lie below the model's.
fn below(folder: &Path, path: &str) -> Result<PathBuf, LoadError> {
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if Path::new(path).components().all(plain) {
        return Ok(folder.join(path));
    }
    let path: String = path.chars().take(200).collect();
    let reason = format!("path: expected a folder below this one; found {path:?}");
    Err(wrong(&folder.join("modules.json"), reason))
}
