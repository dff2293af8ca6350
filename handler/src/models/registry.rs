//! Models behind a thread that loads them: requests ask at once, or wait until loading has ended.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use score::{Cache, find_models};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::load::load_models;
use super::reload::Reload;
use super::snapshot::Snapshot;
use super::{Models, NoModel};
use crate::config::{Config, ReadyWhen};

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Models are still being loaded.
    Loading,
    /// Loading has ended, and at least one model serves; all of them if `SCORE_READY` says so.
    Ready,
    /// Loading has ended, and fewer serve.
    Failed,
    /// The process was told to end.
    Ending,
}

/// The models, once they are loaded.
pub(crate) struct Registry {
    models: watch::Receiver<Option<Arc<Models>>>,
    /// How long a request waits for loading to end.
    patience: Duration,
    ready_when: ReadyWhen,
}

/// Loads all models. Returns what watches their folder from now on, if it is to be watched.
fn load(
    config: &Config,
    memo: &Arc<Cache>,
    publish: watch::Sender<Option<Arc<Models>>>,
) -> anyhow::Result<Option<Reload>> {
    let model_dir = config.model_dir.clone();
    let places = find_models(&model_dir)
        .with_context(|| format!("the model folder {} cannot be read", model_dir.display()))?;
    // What changes while models are loaded is seen at the first look.
    let served = config.reload.map(|_| Snapshot::take(&places));
    let (models, loader) = load_models(config, memo, places)?;
    publish.send_replace(Some(Arc::new(models)));
    let watched = config.reload.zip(served);
    Ok(watched.map(|(interval, served)| Reload {
        loader,
        model_dir,
        interval,
        publish,
        served,
    }))
}

impl Registry {
    /// Starts to load models on a thread of its own. The second part ends when they are loaded.
    ///
    /// # Errors
    /// If the system gives no thread; the second part fails where no model can be loaded.
    pub(crate) fn start(
        config: &Config,
        memo: &Arc<Cache>,
    ) -> anyhow::Result<(Self, impl Future<Output = anyhow::Result<()>> + use<>)> {
        let (publish, models) = watch::channel(None);
        let (finished, loaded) = oneshot::channel();
        let (of_loader, memo) = (config.clone(), memo.clone());
        let runtime = Handle::current();
        // ONNX Runtime cannot be interrupted while it loads a file: the thread ends when loading does, or with the process.
        std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                match load(&of_loader, &memo, publish) {
                    Err(error) => drop(finished.send(Err(error))),
                    Ok(reload) => {
                        // The receiver is gone if the process is stopping already.
                        let _ = finished.send(Ok(()));
                        if let Some(reload) = reload {
                            reload.watch();
                        }
                    }
                }
            })
            .context("no thread for loading models")?;
        let registry = Self {
            models,
            patience: config.load_timeout,
            ready_when: config.ready_when,
        };
        let loading = async {
            loaded
                .await
                .unwrap_or_else(|_| bail!("loading models ended early"))
        };
        Ok((registry, loading))
    }

    /// The models, if they are loaded.
    pub(crate) fn now(&self) -> Result<Arc<Models>, NoModel> {
        self.models.borrow().clone().ok_or(NoModel::Loading)
    }

    /// The models, as soon as they are loaded, within the time a request may wait for that.
    pub(crate) async fn when_loaded(&self) -> Result<Arc<Models>, NoModel> {
        if let Ok(models) = self.now() {
            return Ok(models);
        }
        let mut models = self.models.clone();
        let ready = models.wait_for(Option::is_some);
        match tokio::time::timeout(self.patience, ready).await {
            Ok(Ok(models)) => models.clone().ok_or(NoModel::Loading),
            _ => Err(NoModel::Loading),
        }
    }

    fn are_enough(&self, models: &Models) -> bool {
        match self.ready_when {
            ReadyWhen::Any => models.loaded().next().is_some(),
            ReadyWhen::All => models.all().all(|(_, slot)| slot.is_ok()),
        }
    }

    /// How far loading is, without waiting.
    pub(crate) fn state(&self) -> State {
        match &*self.models.borrow() {
            Some(models) if self.are_enough(models) => State::Ready,
            Some(_) => State::Failed,
            // The thread that loads them has given up.
            None if self.models.has_changed().is_err() => State::Failed,
            None => State::Loading,
        }
    }
}
