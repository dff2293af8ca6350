//! What all requests share, and the order in which it comes to life.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use redis_store::RedisStore;
use score::{
    BatchLimits, Cache, CachePolicy, FeatureReads, FeatureStore, LoadError, ModelFolder,
    RemoteOptions, Runtime, Scorer, ScorerOptions, Store, find_models,
};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore, oneshot, watch};
use tracing::{error, info, warn};
use wire::Limits;

use crate::config::{Config, SETTING_NAMES};
use crate::event::{Kept, Warned};
use crate::http::BodyLimits;
use crate::metrics::Metrics;
use crate::protocol::{Function, Trigger, read_functions};

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

/// Of the room for bodies, the part that results of batches that came back may take beside it.
const KEPT_SHARE: usize = 16;

/// The state of the process. Shared by all requests.
pub(crate) struct App {
    config: Config,
    functions: Vec<Function>,
    memo: Arc<Cache>,
    models: watch::Receiver<Option<Arc<Models>>>,
    /// Requests that may be in work at once.
    pub(crate) places: Semaphore,
    /// What their bodies may take.
    pub(crate) bodies: BodyLimits,
    /// Results of messages whose batch came back.
    pub(crate) kept: Kept,
    /// When it was last said that batches take too long.
    pub(crate) warned: Warned,
    pub(crate) metrics: Metrics,
    /// The OpenAPI document, once somebody has asked for it.
    pub(crate) openapi: OnceCell<Vec<u8>>,
}

impl App {
    /// Reads the function folders, connects the cache and starts loading models on a thread of its own. The second
    /// part ends when they are loaded.
    pub(crate) fn start(
        config: Config,
    ) -> anyhow::Result<(Arc<Self>, impl Future<Output = anyhow::Result<()>> + use<>)> {
        let functions = read_functions(&config.app_root)?;
        if config.fail_invalid {
            refuse_failing_batches(&functions)?;
        }
        let memo = Arc::new(open_memo(&config)?);
        let (publish, models) = watch::channel(None);
        let (finished, loaded) = oneshot::channel();
        let loader = (config.clone(), memo.clone());
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                let outcome = load_models(&loader.0, &loader.1).map(|models| {
                    publish.send_replace(Some(Arc::new(models)));
                });
                // Nobody listens any more if the process is stopping already.
                let _ = finished.send(outcome);
            })
            .context("no thread for loading models")?;
        let app = Arc::new(Self {
            places: Semaphore::new(most_requests(&config)),
            bodies: BodyLimits::new(config.max_waiting_bytes, config.timeout),
            kept: Kept::new(config.max_waiting_bytes / KEPT_SHARE),
            warned: Warned::default(),
            config,
            functions,
            memo,
            models,
            metrics: Metrics::default(),
            openapi: OnceCell::new(),
        });
        let loading = async {
            loaded
                .await
                .unwrap_or_else(|_| bail!("loading models ended early"))
        };
        Ok((app, loading))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Requests and messages that are being scored now.
    pub(crate) fn requests_in_work(&self) -> usize {
        most_requests(&self.config) - self.places.available_permits()
    }

    /// What a body may take.
    pub(crate) fn limits(&self) -> Limits {
        body_limits(&self.config)
    }

    pub(crate) fn memo(&self) -> &Cache {
        &self.memo
    }

    /// The function of that name, as the host knows it.
    pub(crate) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The models, if they are loaded.
    pub(crate) fn models(&self) -> Result<Arc<Models>, NoModel> {
        self.models.borrow().clone().ok_or(NoModel::Loading)
    }

    /// How far loading is, without waiting.
    pub(crate) fn state(&self) -> State {
        match &*self.models.borrow() {
            Some(models) if models.all().any(|(_, slot)| slot.is_ok()) => State::Ready,
            Some(_) => State::Failed,
            // The thread that loads them has given up.
            None if self.models.has_changed().is_err() => State::Failed,
            None => State::Loading,
        }
    }

    /// The models, as soon as they are loaded, within the time a request may wait for that.
    pub(crate) async fn models_when_loaded(&self) -> Result<Arc<Models>, NoModel> {
        if let Ok(models) = self.models() {
            return Ok(models);
        }
        let mut models = self.models.clone();
        let ready = models.wait_for(Option::is_some);
        match tokio::time::timeout(self.config.load_timeout, ready).await {
            Ok(Ok(models)) => models.clone().ok_or(NoModel::Loading),
            _ => Err(NoModel::Loading),
        }
    }
}

fn most_requests(config: &Config) -> usize {
    config.max_requests.min(Semaphore::MAX_PERMITS)
}

/// One bad message must not fail the others of its batch, and a batch fails as a whole.
fn refuse_failing_batches(functions: &[Function]) -> anyhow::Result<()> {
    for Function { name, trigger } in functions {
        if matches!(trigger, Trigger::Event(event) if event.many) {
            bail!(
                "SCORE_ON_INVALID=\"fail\" does not go with \"cardinality\": \"many\" of function {name:?}: one bad message \
                 would fail all others of its batch. Set SCORE_ON_INVALID to \"reject\" (or leave it out), or set \
                 \"cardinality\": \"one\" in {name}/function.json"
            );
        }
    }
    Ok(())
}

fn open_memo(config: &Config) -> anyhow::Result<Cache> {
    for remark in &config.redis_remarks {
        warn!("REDIS_CONNECTION_STRING: {remark}");
    }
    if config.cache == CachePolicy::Off {
        info!("results are not remembered: SCORE_CACHE_POLICY is off");
        return Ok(Cache::new(0, None));
    }
    let Some(redis) = &config.redis else {
        info!("no Redis is set: results are remembered in this process only");
        return Ok(Cache::new(config.l1_bytes, None));
    };
    info!("results are remembered in {}", redis.describe());
    let store: Arc<dyn Store> = Arc::new(RedisStore::new(redis.clone())?);
    let options = RemoteOptions {
        budget: config.redis_timeout,
        ttl: config.cache_ttl,
        namespace: config.cache_namespace.clone(),
    };
    Ok(Cache::new(config.l1_bytes, Some((store, options))))
}

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
    let Some(redis) = &config.redis else {
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

fn load_models(config: &Config, memo: &Arc<Cache>) -> anyhow::Result<Models> {
    let library = find_runtime(config)?;
    let runtime = Runtime::load(&library, SETTING_NAMES)?.with_custom_ops(config.custom_ops);
    let places = find_models(&config.model_dir).with_context(|| {
        format!(
            "the model folder {} cannot be read",
            config.model_dir.display()
        )
    })?;
    let options = scorer_options(config);
    let folders: BTreeMap<_, _> = places
        .into_iter()
        .map(|place| {
            let folder = ModelFolder::read(&place);
            let folder = folder.and_then(|folder| folder.apart_from(&config.cache_namespace));
            (place.name, folder)
        })
        .collect();
    let features = open_features(config, &folders)?;
    let mut slots = BTreeMap::new();
    for (name, folder) in folders {
        let slot = folder
            .and_then(|folder| Scorer::load(&runtime, &folder, options, memo.clone()))
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
    })
}

/// What the settings allow a body to take.
pub(crate) fn body_limits(config: &Config) -> Limits {
    Limits {
        max_bytes: config.max_body_bytes,
        max_nesting: config.max_nesting,
        max_rows: config.max_rows,
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
        cache: config.cache,
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
            if let Some(warning) = &metadata.character.warning {
                warn!(model = name, "{warning}");
            }
        }
        Err(reason) => error!(model = name, "model not loaded: {reason}"),
    }
}

const LIBRARY_NAMES: [&str; 3] = [
    "libonnxruntime.so.1",
    "libonnxruntime.so",
    "libonnxruntime.dylib",
];

/// The library that is set, else one beside the program, else one in `bin` or the root of the app.
pub(crate) fn find_runtime(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(path) = &config.runtime_library {
        return Ok(path.clone());
    }
    let program = std::env::current_exe().context("the program does not know its own place")?;
    let beside = program.parent().unwrap_or(Path::new("."));
    let places = [
        beside.to_owned(),
        config.app_root.join("bin"),
        config.app_root.clone(),
    ];
    if let Some(library) = places.iter().find_map(|place| library_in(place)) {
        // Absolute, since the loader searches the system for a bare name.
        return std::path::absolute(&library)
            .with_context(|| format!("{} cannot be resolved", library.display()));
    }
    let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    bail!(
        "ONNX Runtime is missing: no {} in {}; run `make runtime` or set ORT_DYLIB_PATH",
        LIBRARY_NAMES[0],
        places.join(", ")
    )
}

/// ONNX Runtime in this very folder.
pub(crate) fn library_in(folder: &Path) -> Option<PathBuf> {
    let mut candidates = LIBRARY_NAMES.iter().map(|name| folder.join(name));
    candidates.find(|candidate| candidate.is_file())
}
