//! The models in the model folder, as keys in Redis name them.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use score::{ModelDigest, ModelFolder, ModelTag, Runtime, find_models};

use crate::config::Config;
use crate::models::{Loadable, find_runtime};

/// Models by name; the text says why one cannot be read.
#[derive(Default)]
pub(super) struct KnownModels(BTreeMap<String, Result<ModelTag, String>>);

impl KnownModels {
    /// Digests the files of all models. No model is loaded, but ONNX Runtime is: its build is part of the digest.
    pub(super) fn read(config: &Config) -> anyhow::Result<Self> {
        let runtime = Runtime::load(&find_runtime(config)?)?;
        let places = find_models(&config.model_dir).with_context(|| {
            let place = config.model_dir.display();
            format!("the model folder {place} cannot be read")
        })?;
        let models = places.iter().map(|place| {
            let model = ModelFolder::read(place).and_then(Loadable::of);
            let read = model.and_then(|model| model.digest());
            let read = read.map(|digest| ModelDigest::new(&digest, runtime.build()).tag());
            (place.name.clone(), read.map_err(|error| error.to_string()))
        });
        Ok(Self(models.collect()))
    }

    /// The names of the models whose entries have this tag: several if their files are the same.
    pub(super) fn names_of(&self, tag: ModelTag) -> Vec<&str> {
        let models = self.0.iter();
        models
            .filter(|(_, known)| **known == Ok(tag))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The tag of the model of this name.
    pub(super) fn tag_of(&self, name: &str) -> anyhow::Result<ModelTag> {
        match self.0.get(name) {
            Some(Ok(tag)) => Ok(*tag),
            Some(Err(reason)) => Err(anyhow!("model {name:?} cannot be read: {reason}")),
            None => {
                let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
                Err(anyhow!(
                    "there is no model {name:?}; there are: {} (a former model is named by its digest, see `handler cache stats`)",
                    names.join(", ")
                ))
            }
        }
    }
}
