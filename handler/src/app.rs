//! What all requests share, and the order in which it comes to life.

use std::sync::Arc;

use anyhow::{Context, bail};
use score::{CachePolicy, Memo, MemoStore, RedisStore, RemoteOptions};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore, oneshot, watch};
use tracing::{info, warn};

use crate::config::Config;
use crate::counters::Counters;
use crate::event::{Kept, Warned};
use crate::limits::{BodyLimits, body_limits};
use crate::models::{Models, NoModel, State, load_models};
use crate::payload::Limits;
use crate::protocol::{Function, Trigger, read_functions};

/// Of the room for bodies, the part that results of batches that came back may take beside it.
const KEPT_SHARE: usize = 16;

/// The state of the process. Shared by all requests.
pub(crate) struct App {
    config: Config,
    functions: Vec<Function>,
    memo: Arc<Memo>,
    models: watch::Receiver<Option<Arc<Models>>>,
    /// Requests that may be in work at once.
    pub(crate) places: Semaphore,
    /// What their bodies may take.
    pub(crate) bodies: BodyLimits,
    /// Results of messages whose batch came back.
    pub(crate) kept: Kept,
    /// When it was last said that batches take too long.
    pub(crate) warned: Warned,
    pub(crate) counters: Counters,
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
            counters: Counters::default(),
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

    pub(crate) fn memo(&self) -> &Memo {
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

fn open_memo(config: &Config) -> anyhow::Result<Memo> {
    for remark in &config.redis_remarks {
        warn!("REDIS_CONNECTION_STRING: {remark}");
    }
    if config.cache == CachePolicy::Off {
        info!("results are not remembered: SCORE_CACHE_POLICY is off");
        return Ok(Memo::new(0, None));
    }
    let Some(redis) = &config.redis else {
        info!("no Redis is set: results are remembered in this process only");
        return Ok(Memo::new(config.l1_bytes, None));
    };
    info!("results are remembered in {}", redis.describe());
    let store: Arc<dyn MemoStore> = Arc::new(RedisStore::new(redis.clone())?);
    let options = RemoteOptions {
        budget: config.redis_timeout,
        ttl: config.cache_ttl,
        namespace: config.cache_namespace.clone(),
    };
    Ok(Memo::new(config.l1_bytes, Some((store, options))))
}
