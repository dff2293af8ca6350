//! The models of this process: loaded once, then looked up by every request.

mod cache;
mod folder;
mod load;
mod registry;
mod runtime;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use score::{FeatureStore, Scorer, quoted};

pub(crate) use cache::open_cache;
pub(crate) use folder::Loadable;
use load::load_models;
pub(crate) use load::{below, scorer_options};
pub(crate) use registry::{Registry, State};
pub(crate) use runtime::{find_runtime, library_in};

/// A model that serves, or why it does not.
pub(crate) type ModelSlot = Result<Arc<Scorer>, String>;

/// Which model a path or a message asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// The default model, if there is no name.
    pub(crate) name: Option<&'a str>,
    /// Any version, if there is none here. Without a name it has no meaning.
    pub(crate) version: Option<&'a str>,
}

/// All models by name.
pub(crate) struct Models {
    slots: BTreeMap<String, ModelSlot>,
    default: Option<String>,
    features: Option<FeatureStore>,
    runtime: String,
    /// When they were loaded.
    since: SystemTime,
}

/// Why there is no model to score with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoModel {
    /// Models are still being loaded.
    Loading,
    /// Several would do, and none is named; the text names them.
    Unnamed(String),
    /// There is none of that name, or no default; the text names those there are.
    Unknown(String),
    /// It failed to load.
    Broken(String),
}

fn no_texts() -> NoModel {
    NoModel::Unknown("no model takes texts".to_owned())
}

impl Models {
    /// The model of that name if it takes texts; without a name the only one that does, or the default one.
    ///
    /// # Errors
    /// If there is no such model; the text names those that take texts.
    pub(crate) fn taking_texts(&self, name: Option<&str>) -> Result<&Arc<Scorer>, NoModel> {
        let takes = |scorer: &&Arc<Scorer>| scorer.metadata().text.is_some();
        let taking = || self.slots.values().flatten().filter(takes);
        let mut some = taking();
        match (name, some.next(), some.next()) {
            (None, Some(only), None) => return Ok(only),
            (None, Some(_), Some(_)) if self.default.is_none() => {}
            (None, None, _) if self.default.is_none() => return Err(no_texts()),
            _ => {
                let found = self.get(name)?;
                if takes(&found) {
                    return Ok(found);
                }
                if let Some(name) = name {
                    let name = quoted(name);
                    return Err(NoModel::Unknown(format!("model {name} takes no texts")));
                }
            }
        }
        let names: Vec<&str> = taking().map(|scorer| &*scorer.metadata().name).collect();
        match names[..] {
            [] => Err(no_texts()),
            _ => Err(NoModel::Unnamed(format!(
                "name the model that is to take the texts: {}",
                names.join(", ")
            ))),
        }
    }

    /// The model of that name, or the default one.
    pub(crate) fn get(&self, name: Option<&str>) -> Result<&Arc<Scorer>, NoModel> {
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
                "there is no model {}; there are: {}",
                quoted(name),
                known()
            ))),
        }
    }

    /// The model of that name, if it has that version or none is asked for.
    pub(crate) fn find(&self, wanted: Wanted<'_>) -> Result<&Arc<Scorer>, NoModel> {
        let scorer = self.get(wanted.name)?;
        let (name, served) = (&scorer.metadata().name, &scorer.metadata().version);
        match wanted.version {
            Some(wanted) if wanted != served => Err(NoModel::Unknown(format!(
                "model {name:?} has no version {}; version {served:?} is served",
                quoted(wanted)
            ))),
            _ => Ok(scorer),
        }
    }

    /// All models by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &ModelSlot)> {
        self.slots.iter().map(|(name, slot)| (name.as_str(), slot))
    }

    /// Those that serve, by name.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = (&str, &Scorer)> {
        self.all()
            .filter_map(|(name, slot)| Some((name, &**slot.as_ref().ok()?)))
    }

    /// Where rows lie that requests name by key; `None` if no model takes keys, or no Redis is set.
    pub(crate) fn features(&self) -> Option<&FeatureStore> {
        self.features.as_ref()
    }

    /// When they were loaded, in seconds since 1970.
    pub(crate) fn since(&self) -> u64 {
        let since = self.since.duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
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
