//! The model that scores the lines, and the cache that knows results of earlier runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use score::{Cache, CachePolicy, ModelFolder, ModelPlace, Runtime, Scorer};

use super::STORE_PATIENCE;
use crate::commands::arguments::ServeArguments;
use crate::commands::check::places_in;
use crate::commands::serve::{Served, served};
use crate::config::{Config, SETTING_NAMES};
use crate::models::{Loadable, find_runtime, open_cache, scorer_options};
use crate::telemetry::logging::complain;

/// No line is given up because it takes long: no client waits for it.
const TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Loads the model with that name or path, or the only one.
///
/// # Errors
/// If there is no such model, or it cannot be loaded.
pub(super) async fn load(
    model: Option<&str>,
    config: &Config,
) -> anyhow::Result<(Arc<Scorer>, Arc<Cache>, Option<Served>)> {
    // What lies elsewhere is found through a folder of links.
    let elsewhere = match model {
        Some(model) if is_path(model, config) => {
            let models = vec![PathBuf::from(model)];
            Some(served(
                &ServeArguments { models, port: None },
                config.clone(),
            )?)
        }
        _ => None,
    };
    let mut config = elsewhere
        .as_ref()
        .map_or(config, |served| &served.config)
        .clone();
    // To compute a window again takes longer than to wait for it.
    config.cache.redis_timeout = config.cache.redis_timeout.max(STORE_PATIENCE);
    // What this process alone remembers, no later run finds: rows that cost less than a look-up are computed.
    if config.cache.redis.is_none() && config.cache.policy == CachePolicy::Always {
        config.cache.policy = CachePolicy::Auto;
    }
    let config = &config;
    let name = match elsewhere {
        Some(_) => None,
        None => model.or(config.default_model.as_deref()),
    };
    let place = chosen(places_in(config)?, name)?;
    let cache = Arc::new(open_cache(config)?);
    let onnx = Runtime::load(&find_runtime(config)?)?
        .with_custom_ops(config.custom_ops)
        .with_setting_names(SETTING_NAMES);
    let mut options = scorer_options(config);
    options.timeout = TIMEOUT;
    // What waits is bounded by the windows.
    options.batch.max_waiting_rows = usize::MAX >> 1;
    let folder = ModelFolder::read(&place)?.apart_from(&config.cache.namespace)?;
    let scorer = Loadable::of(folder)?.load(&onnx, options, cache.clone());
    let scorer = scorer.with_context(|| format!("model {}", place.name))?;
    connected(&cache).await;
    Ok((Arc::new(scorer), cache, elsewhere))
}

/// Whether the word is a path, and no name in the model folder.
fn is_path(model: &str, config: &Config) -> bool {
    let is_file = Path::new(model).exists() && !config.model_dir.join(model).exists();
    model.contains('/') || model.ends_with(".onnx") || is_file
}

fn chosen(places: Vec<ModelPlace>, name: Option<&str>) -> anyhow::Result<ModelPlace> {
    let names: Vec<String> = places.iter().map(|place| place.name.clone()).collect();
    let mut fitting = places
        .into_iter()
        .filter(|place| name.is_none_or(|name| place.name == name));
    match (fitting.next(), fitting.next(), name) {
        (Some(place), None, _) => Ok(place),
        (None, _, Some(name)) => bail!(
            "there is no model {name:?}; --model takes the path of a model, or one of: {}",
            names.join(", ")
        ),
        _ => bail!(
            "there are several models; choose one with --model: {}",
            names.join(", ")
        ),
    }
}

/// Without results of earlier runs all would be computed again.
async fn connected(cache: &Cache) {
    let give_up = Instant::now() + STORE_PATIENCE;
    while cache.remote_is_up() == Some(false) {
        if Instant::now() > give_up {
            return complain(
                "warning: ",
                ["Redis does not answer: its results are not used"],
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
