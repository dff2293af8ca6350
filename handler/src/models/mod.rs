//! The models of this process: loaded once, then looked up by every request.

mod load;
mod runtime;

use std::collections::BTreeMap;

use score::{FeatureStore, Scorer};

pub(crate) use load::{below, load_models, scorer_options};
pub(crate) use runtime::{find_runtime, library_in};

/// A model that serves, or why it does not.
pub(crate) type ModelSlot = Result<Scorer, String>;

/// All models by name.
pub(crate) struct Models {
    slots: BTreeMap<String, ModelSlot>,
    default: Option<String>,
    features: Option<FeatureStore>,
    runtime: String,
}

/// Why there is no model to score with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoModel {
    /// Models are still being loaded.
    Loading,
    /// There is none of that name, or no default; the text names those there are.
    Unknown(String),
    /// It failed to load.
    Broken(String),
}

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Models are still being loaded.
    Loading,
    /// Loading has ended, and at least one model serves.
    Ready,
    /// Loading has ended, and none serves.
    Failed,
}

impl Models {
    /// The model of that name, or the default one.
    pub(crate) fn get(&self, name: Option<&str>) -> Result<&Scorer, NoModel> {
        let known = || self.slots.keys().cloned().collect::<Vec<_>>().join(", ");
        let name = match (name, &self.default) {
            (Some(name), _) => name,
            (None, Some(default)) => default,
            (None, None) => {
                let message = format!("name a model in the path; there are: {}", known());
                return Err(NoModel::Unknown(message));
            }
        };
        match self.slots.get(name) {
            Some(Ok(scorer)) => Ok(scorer),
            Some(Err(reason)) => Err(NoModel::Broken(format!(
                "model {name:?} could not be loaded: {reason}"
            ))),
            None => Err(NoModel::Unknown(format!(
                "there is no model {name:?}; there are: {}",
                known()
            ))),
        }
    }

    /// The model of that name, if it has that version or none is asked for.
    pub(crate) fn get_version(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<&Scorer, NoModel> {
        let scorer = self.get(Some(name))?;
        let served = &scorer.metadata().version;
        match version {
            Some(version) if version != served => Err(NoModel::Unknown(format!(
                "model {name:?} has no version {version:?}; version {served:?} is served"
            ))),
            _ => Ok(scorer),
        }
    }

    /// All models by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &ModelSlot)> {
        self.slots.iter().map(|(name, slot)| (name.as_str(), slot))
    }

    /// Where rows lie that requests name by key; `None` if no model takes keys, or no Redis is set.
    pub(crate) fn features(&self) -> Option<&FeatureStore> {
        self.features.as_ref()
    }

    /// What ONNX Runtime says of its build.
    pub(crate) fn runtime(&self) -> &str {
        &self.runtime
    }

    /// The name of the model that answers when none is named.
    pub(crate) fn default_name(&self) -> Option<&str> {
        self.default.as_deref()
    }
}
