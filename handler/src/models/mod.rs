//! The models of this process: loaded, looked up by every request, and exchanged while they serve if that is asked for.

mod cache;
mod folder;
mod load;
mod registry;
mod reload;
mod runtime;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use score::{FeatureStore, Scorer, Task, quoted};
use tokio::sync::OnceCell;

pub(crate) use cache::open_cache;
pub(crate) use folder::Loadable;
pub(crate) use load::{below, scorer_options};
pub(crate) use registry::{Registry, State};
pub(crate) use runtime::{find_runtime, library_in};

/// A model that serves, or why it does not.
pub(crate) type ModelSlot = Result<Arc<Scorer>, String>;

/// The versions of a model.
#[derive(Clone)]
pub(crate) struct Versions {
    /// The one for requests that name no version.
    newest: ModelSlot,
    /// The others, by version.
    others: BTreeMap<String, ModelSlot>,
}

/// What tells a version of a model from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionName<'a> {
    /// The name of the model.
    pub(crate) model: &'a str,
    /// The version, where the model has several; of one that could not be loaded it may be missing.
    pub(crate) version: Option<&'a str>,
}

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
    slots: BTreeMap<String, Versions>,
    default: Option<String>,
    features: Option<Arc<FeatureStore>>,
    runtime: String,
    /// When they were loaded.
    since: SystemTime,
    /// The OpenAPI document about them for generators and the whole one, once they have been asked for.
    pub(crate) openapi: [OnceCell<Bytes>; 2],
}

/// Why there is no model to score with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoModel {
    /// Models are still being loaded.
    Loading,
    /// Several would do, and none is named; the text names them.
    Unnamed(String),
    /// It is for another task; the text names those that would do.
    OtherTask(String),
    /// There is none of that name, or no default; the text names those there are.
    Unknown(String),
    /// It failed to load.
    Broken(String),
}

/// What a model is for, if it takes texts.
fn task(scorer: &Scorer) -> Option<Task> {
    scorer.metadata().text.as_ref().map(|text| text.task)
}

/// These tasks in words.
fn named(tasks: &[Task]) -> String {
    let names: Vec<&str> = tasks.iter().map(|task| task.as_str()).collect();
    names.join(" or ")
}

fn no_texts(tasks: &[Task]) -> NoModel {
    NoModel::Unknown(match tasks {
        [_, _, _, ..] => "no model takes texts".to_owned(),
        _ => format!("no model takes texts for the task {}", named(tasks)),
    })
}

fn other_task(name: &str, task: Task, tasks: &[Task], fitting: &[&str]) -> NoModel {
    let fitting = match fitting {
        [] => "no model is".to_owned(),
        _ => format!("those that are: {}", fitting.join(", ")),
    };
    NoModel::OtherTask(format!(
        "model {} is for the task {}, not for {}; {fitting}",
        quoted(name),
        task.as_str(),
        named(tasks)
    ))
}

impl Models {
    /// The model of that name if it is for one of these tasks. Without a name the only one for the first of the tasks that any
    /// model is for; else the default one.
    ///
    /// # Errors
    /// If there is no such model; the text names those that would do.
    pub(crate) fn for_tasks(
        &self,
        name: Option<&str>,
        tasks: &[Task],
    ) -> Result<&Arc<Scorer>, NoModel> {
        let Some(name) = name else {
            return self.usual_for(tasks);
        };
        let found = self.get(Some(name))?;
        match task(found) {
            Some(task) if tasks.contains(&task) => Ok(found),
            Some(task) => Err(other_task(name, task, tasks, &self.names_for(tasks))),
            None => Err(NoModel::Unknown(format!(
                "model {} takes no texts",
                quoted(name)
            ))),
        }
    }

    fn usual_for(&self, tasks: &[Task]) -> Result<&Arc<Scorer>, NoModel> {
        for wanted in tasks {
            let mut of = self.serving_for(std::slice::from_ref(wanted));
            match (of.next(), of.next()) {
                (None, _) => {}
                (Some(only), None) => return Ok(only),
                (Some(_), Some(_)) => break,
            }
        }
        if self.default.is_some() {
            let default = self.get(None)?;
            if task(default).is_some_and(|task| tasks.contains(&task)) {
                return Ok(default);
            }
        }
        match &self.names_for(tasks)[..] {
            [] => Err(no_texts(tasks)),
            names => Err(NoModel::Unnamed(format!(
                "name the model that is to take the texts, in the path or as \"model\" in the body: {}",
                names.join(", ")
            ))),
        }
    }

    /// Models that serve and are for one of these tasks.
    fn serving_for(&self, tasks: &[Task]) -> impl Iterator<Item = &Arc<Scorer>> {
        let newest = self.slots.values().map(|versions| &versions.newest);
        let fits = |scorer: &&Arc<Scorer>| task(scorer).is_some_and(|task| tasks.contains(&task));
        newest.flatten().filter(fits)
    }

    fn names_for(&self, tasks: &[Task]) -> Vec<&str> {
        let names = self.serving_for(tasks);
        names.map(|scorer| &*scorer.metadata().name).collect()
    }

    /// Whether a model has that name, loaded or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.slots.contains_key(name)
    }

    /// The model of that name, or the default one.
    pub(crate) fn get(&self, name: Option<&str>) -> Result<&Arc<Scorer>, NoModel> {
        let known = || self.slots.keys().cloned().collect::<Vec<_>>().join(", ");
        let name = match (name, &self.default) {
            (Some(name), _) => name,
            (None, Some(default)) => default,
            (None, None) => {
                let message = format!(
                    "name a model, in the path or as the property \"model\" of a message; there are: {}",
                    known()
                );
                return Err(NoModel::Unknown(message));
            }
        };
        match self.slots.get(name).map(|versions| &versions.newest) {
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
        let Some(version) = wanted.version.filter(|wanted| wanted != served) else {
            return Ok(scorer);
        };
        match self
            .slots
            .get(name)
            .and_then(|versions| versions.others.get(version))
        {
            Some(Ok(scorer)) => Ok(scorer),
            Some(Err(reason)) => Err(NoModel::Broken(format!(
                "version {version} of model {name:?} could not be loaded: {reason}"
            ))),
            None => Err(NoModel::Unknown(format!(
                "model {name:?} has no version {}; versions that are served: {}",
                quoted(version),
                self.versions_of(name).join(", ")
            ))),
        }
    }

    /// The versions of a model that serve, the one for requests that name none first.
    pub(crate) fn versions_of(&self, name: &str) -> Vec<&str> {
        let versions = self.slots.get(name).into_iter();
        let slots = versions.flat_map(|v| std::iter::once(&v.newest).chain(v.others.values()));
        let scorers = slots.filter_map(|slot| slot.as_ref().ok());
        scorers
            .map(|scorer| scorer.metadata().version.as_str())
            .collect()
    }

    /// All models by name, each in the version for requests that name none.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &ModelSlot)> {
        let slots = self.slots.iter();
        slots.map(|(name, versions)| (name.as_str(), &versions.newest))
    }

    /// All versions of all models. A version is named where its model has several.
    pub(crate) fn all_versions(&self) -> impl Iterator<Item = (VersionName<'_>, &ModelSlot)> {
        self.slots.iter().flat_map(|(model, versions)| {
            let several = versions.others.values().any(Result::is_ok);
            let newest = versions.newest.as_ref().ok();
            let newest = newest.map(|scorer| scorer.metadata().version.as_str());
            let name = |version| VersionName { model, version };
            let others = versions.others.iter();
            let others = others.map(move |(version, slot)| (name(Some(version)), slot));
            let newest = name(newest.filter(|_| several));
            std::iter::once((newest, &versions.newest)).chain(others)
        })
    }

    /// Those of them that serve.
    pub(crate) fn serving_versions(&self) -> impl Iterator<Item = (VersionName<'_>, &Scorer)> {
        self.all_versions()
            .filter_map(|(name, slot)| Some((name, &**slot.as_ref().ok()?)))
    }

    /// Those that serve, by name.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = (&str, &Scorer)> {
        self.all()
            .filter_map(|(name, slot)| Some((name, &**slot.as_ref().ok()?)))
    }

    /// Where rows lie that requests name by key; `None` if no model takes keys, or no Redis is set.
    pub(crate) fn features(&self) -> Option<&FeatureStore> {
        self.features.as_deref()
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
