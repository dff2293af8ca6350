//! How models are loaded, and what the log says of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use redis_store::RedisStore;
use score::{
    BatchLimits, Cache, FeatureReads, FeatureStore, LoadError, ModelFolder, ModelPlace, Runtime,
    ScorerOptions, find_models,
};
use tracing::{error, info, warn};

use super::{Loadable, ModelSlot, Models, find_runtime};
use crate::config::{Config, SETTING_NAMES};

/// Starts to connect to where features lie, if a model takes keys. Features are needed whether or not results are
/// remembered.
fn open_features(
    config: &Config,
    folders: &BTreeMap<String, Result<ModelFolder, LoadError>>,
) -> anyhow::Result<Option<FeatureStore>> {
    let folders = folders.values().flatten();
    let Some(features) = folders.flat_map(|f| &f.options.features).next() else {
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

pub(super) fn load_models(config: &Config, memo: &Arc<Cache>) -> anyhow::Result<Models> {
    let library = find_runtime(config)?;
    let places = find_models(&config.model_dir).with_context(|| {
        format!(
            "the model folder {} cannot be read",
            config.model_dir.display()
        )
    })?;
    let options = scorer_options(config);
    let read = |place: ModelPlace| {
        let folder = ModelFolder::read(&place);
        let folder = folder.and_then(|folder| folder.apart_from(&config.cache.namespace));
        (place.name, folder)
    };
    // At the same time: the files are digested while the library is loaded.
    let (runtime, folders) = thread::scope(|scope| {
        let folders = scope.spawn(|| places.into_iter().map(read).collect::<BTreeMap<_, _>>());
        (Runtime::load(&library), folders.join())
    });
    let runtime = runtime?
        .with_custom_ops(config.custom_ops)
        .with_setting_names(SETTING_NAMES);
    let folders = folders.map_err(|_| anyhow!("reading the models panicked"))?;
    let features = open_features(config, &folders)?;
    let mut slots = BTreeMap::new();
    for (name, folder) in folders {
        let slot = folder
            .and_then(Loadable::of)
            .and_then(|model| model.load(&runtime, options, memo.clone()))
            .map(Arc::new)
            .map_err(|error| below(&config.model_dir, &error.to_string()));
        announce(&name, &slot);
        slots.insert(name, slot);
    }
    if !slots.values().any(Result::is_ok) {
        let reasons: Vec<String> = slots
            .into_iter()
            .filter_map(|(name, slot)| Some(format!("{name}: {}", slot.err()?)))
            .collect();
        let place = config.model_dir.display();
        if reasons.is_empty() {
            bail!("no model in {place}: put one into {place}/<name>/model.onnx");
        }
        bail!("no model in {place} can be loaded: {}", reasons.join("; "));
    }
    let default = choose_default(config, &slots)?;
    Ok(Models {
        slots,
        default,
        features,
        runtime: runtime.build().to_owned(),
        since: SystemTime::now(),
    })
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
    slots: &BTreeMap<String, ModelSlot>,
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

fn announce(name: &str, slot: &ModelSlot) {
    match slot {
        Ok(scorer) => {
            let metadata = scorer.metadata();
            info!(
                model = name,
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
            if wire::text_api::is_reserved(name) {
                warn!(
                    model = name,
                    "the model's name is a path of its own: reach it at /api/score/v2/models/{name}/infer, or rename its folder"
                );
            }
            if let Some(warning) = &metadata.character.warning {
                warn!(model = name, "{warning}");
            }
        }
        Err(reason) => error!(model = name, "model not loaded: {reason}"),
    }
}
