//! How models are loaded, and what the log says of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{anyhow, bail};
use redis_store::RedisStore;
use score::{
    BatchLimits, Cache, FeatureOptions, FeatureReads, FeatureStore, LoadError, ModelFolder,
    ModelPlace, Runtime, Scorer, ScorerOptions,
};
use tracing::{error, info, warn};

use super::{Loadable, ModelSlot, Models, Versions, find_runtime};
use crate::config::{Config, SETTING_NAMES};

/// Loads models as the settings say.
pub(super) struct Loader {
    config: Config,
    memo: Arc<Cache>,
    runtime: Runtime,
}

/// A version of a model as it lies on disk.
type Version = (String, Result<ModelFolder, LoadError>);

/// The versions of a model.
struct Folders {
    /// Those to serve, the one for requests that name none first.
    wanted: Vec<Version>,
    /// Those that stand in for versions that cannot be loaded; not read yet.
    lower: Vec<ModelPlace>,
}

fn read(config: &Config, place: &ModelPlace) -> Folders {
    match place.versions(config.versions) {
        Ok((wanted, lower)) => Folders {
            wanted: wanted.iter().map(|place| version(config, place)).collect(),
            lower,
        },
        Err(error) => Folders {
            wanted: vec![(String::new(), Err(error))],
            lower: Vec::new(),
        },
    }
}

fn version(config: &Config, place: &ModelPlace) -> Version {
    let folder = ModelFolder::read(place);
    let folder = folder.and_then(|folder| folder.apart_from(&config.cache.namespace));
    (place.version(), folder)
}

/// Loads all models. The second part loads more of them later.
pub(super) fn load_models(
    config: &Config,
    memo: &Arc<Cache>,
    places: Vec<ModelPlace>,
) -> anyhow::Result<(Models, Loader)> {
    let library = find_runtime(config)?;
    let named = |place: ModelPlace| (place.name.clone(), read(config, &place));
    // At the same time: the files are digested while the library is loaded.
    let (runtime, folders) = thread::scope(|scope| {
        let folders = scope.spawn(|| places.into_iter().map(named).collect::<BTreeMap<_, _>>());
        (Runtime::load(&library), folders.join())
    });
    let runtime = runtime?
        .with_custom_ops(config.custom_ops)
        .with_setting_names(SETTING_NAMES);
    let folders = folders.map_err(|_| anyhow!("reading the models panicked"))?;
    let read = folders.values().flat_map(|folders| &folders.wanted);
    let read = read.filter_map(|(_, folder)| folder.as_ref().ok());
    let prefix = read.flat_map(|folder| &folder.options.features).next();
    let features = open_features(config, prefix)?.map(Arc::new);
    let loader = Loader {
        config: config.clone(),
        memo: memo.clone(),
        runtime,
    };
    let slots: BTreeMap<String, Versions> = folders
        .into_iter()
        .map(|(name, folders)| {
            let versions = loader.load_folders(&name, folders, |_| None);
            (name, versions)
        })
        .collect();
    if !slots.values().any(|versions| versions.newest.is_ok()) {
        let reasons: Vec<String> = slots
            .into_iter()
            .filter_map(|(name, versions)| Some(format!("{name}: {}", versions.newest.err()?)))
            .collect();
        let place = config.model_dir.display();
        if reasons.is_empty() {
            bail!("no model in {place}: put one into {place}/<name>/model.onnx");
        }
        bail!("no model in {place} can be loaded: {}", reasons.join("; "));
    }
    let models = Models {
        default: choose_default(config, &slots)?,
        slots,
        features,
        runtime: loader.runtime.build().to_owned(),
        since: SystemTime::now(),
        openapi: Default::default(),
    };
    Ok((models, loader))
}

/// Starts to connect to where features lie, if a model takes keys. Features are needed whether or not results are
/// remembered.
fn open_features(
    config: &Config,
    features: Option<&FeatureOptions>,
) -> anyhow::Result<Option<FeatureStore>> {
    let Some(features) = features else {
        return Ok(None);
    };
    let Some(redis) = &config.cache.redis else {
        warn!("no Redis is set: requests by key are refused");
        return Ok(None);
    };
    let budget = config.features_timeout.min(config.timeout);
    let store = RedisStore::with_patience(redis.clone(), budget)?;
    let reads = FeatureReads {
        budget,
        // The other half stays for requests that bring their rows.
        max_reads: config.max_requests.div_ceil(2),
        probe: format!("{}probe", features.prefix),
    };
    Ok(Some(FeatureStore::start(Arc::new(store), reads)))
}

impl Loader {
    /// Reads and loads the versions of one model. A version that cannot be loaded and serves stays.
    pub(super) fn load(
        &self,
        place: &ModelPlace,
        serving: impl Fn(&str) -> Option<Arc<Scorer>>,
    ) -> Versions {
        self.load_folders(&place.name, read(&self.config, place), serving)
    }

    /// The highest version that can be loaded is the one for requests that name none.
    fn load_folders(
        &self,
        name: &str,
        folders: Folders,
        serving: impl Fn(&str) -> Option<Arc<Scorer>>,
    ) -> Versions {
        let options = scorer_options(&self.config);
        let load = |(version, folder): Version| {
            let slot = folder
                .and_then(Loadable::of)
                .and_then(|model| model.load(&self.runtime, options, self.memo.clone()))
                .map(Arc::new)
                .map_err(|error| below(&self.config.model_dir, &error.to_string()));
            announce(name, &slot);
            let slot = slot.or_else(|reason| {
                let scorer = serving(&version).ok_or_else(|| reason.clone())?;
                stays(name, &version, &reason);
                Ok(scorer)
            });
            (version, slot)
        };
        let Folders { wanted, lower } = folders;
        let most = wanted.len();
        let mut slots: Vec<(String, ModelSlot)> = wanted.into_iter().map(load).collect();
        for place in &lower {
            if slots.iter().filter(|(_, slot)| slot.is_ok()).count() == most {
                break;
            }
            slots.push(load(version(&self.config, place)));
        }
        let first = slots.iter().position(|(_, slot)| slot.is_ok()).unwrap_or(0);
        let (_, newest) = slots.remove(first);
        Versions {
            newest,
            others: slots.into_iter().collect(),
        }
    }

    /// The models in place of others.
    pub(super) fn exchanged(&self, slots: BTreeMap<String, Versions>, old: &Models) -> Models {
        let default = choose_default(&self.config, &slots).unwrap_or_else(|error| {
            warn!("{error:#}");
            old.default.clone()
        });
        let features = old.features.clone().or_else(|| {
            let scorers = slots
                .values()
                .filter_map(|versions| versions.newest.as_ref().ok());
            let mut options = scorers.flat_map(|scorer| &scorer.metadata().options.features);
            let opened = open_features(&self.config, options.next());
            let opened = opened.inspect_err(|error| warn!("{error:#}"));
            opened.ok().flatten().map(Arc::new)
        });
        Models {
            slots,
            default,
            features,
            runtime: self.runtime.build().to_owned(),
            since: SystemTime::now(),
            openapi: Default::default(),
        }
    }
}

/// Longer runs would hold up the other requests of the thread that reads and answers them.
const MAX_INLINE: Duration = Duration::from_micros(100);

/// How the settings want models to be run.
pub(crate) fn scorer_options(config: &Config) -> ScorerOptions {
    ScorerOptions {
        sessions: config.sessions,
        cores: config.cores,
        max_rows: config.max_rows,
        timeout: config.timeout,
        batch: BatchLimits {
            max_waiting_rows: config.max_waiting_rows,
            max_batch_rows: config.max_batch_rows,
            max_inline: MAX_INLINE,
        },
        cache: config.cache.policy,
        samples: Some(wire::read_samples),
    }
}

/// The text with paths below the model folder only: callers get to read it, and need not know where the app lies.
pub(crate) fn below(folder: &Path, text: &str) -> String {
    text.replace(&format!("{}/", folder.display()), "")
}

fn choose_default(
    config: &Config,
    slots: &BTreeMap<String, Versions>,
) -> anyhow::Result<Option<String>> {
    if let Some(name) = &config.default_model {
        if !slots.contains_key(name) {
            let known: Vec<&str> = slots.keys().map(String::as_str).collect();
            return Err(anyhow!(
                "SCORE_DEFAULT_MODEL={name:?}: there is no such model; there are: {}",
                known.join(", ")
            ));
        }
        return Ok(Some(name.clone()));
    }
    let only = slots.keys().next().filter(|_| slots.len() == 1);
    Ok(only.cloned())
}

/// Says that what serves was not exchanged.
pub(super) fn stays(name: &str, version: &str, reason: &str) {
    error!(
        model = name,
        "the new files are not served, and version {version} stays: {reason}"
    );
}

fn announce(name: &str, slot: &ModelSlot) {
    match slot {
        Ok(scorer) => {
            let metadata = scorer.metadata();
            info!(
                model = name,
                version = metadata.version,
                inputs = metadata.signature.describe_inputs(),
                rows = metadata.character.rows.as_str(),
                because = metadata.character.evidence.as_str(),
                reason = metadata.character.rows_reason,
                deterministic = metadata.character.deterministic,
                memoize = metadata.memoize,
                options = metadata.options.origin,
                load_ms = metadata.load_time.as_millis() as u64,
                "model loaded"
            );
            if let Some(path) = wire::text_api::path_taken(name) {
                warn!(
                    model = name,
                    "the path /api/score/{path} is a route of its own, not this model's: reach the model at \
                     /api/score/v2/models/{name}/infer, or rename its folder"
                );
            }
            if let Some(warning) = &metadata.character.warning {
                warn!(model = name, "{warning}");
            }
        }
        Err(reason) => error!(model = name, "model not loaded: {reason}"),
    }
}
