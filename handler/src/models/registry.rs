//! Models behind a thread that loads them: requests ask at once, or wait until loading has ended.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use score::Cache;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::{Models, NoModel, load_models};
use crate::config::Config;

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

/// The models, once they are loaded.
pub(crate) struct Registry {
    models: watch::Receiver<Option<Arc<Models>>>,
    /// How long a request waits for loading to end.
    patience: Duration,
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
                let outcome = load_models(&of_loader, &memo).map(|models| {
                    publish.send_replace(Some(Arc::new(models)));
                });
                // The receiver is gone if the process is stopping already.
                let _ = finished.send(outcome);
            })
            .context("no thread for loading models")?;
        let registry = Self {
            models,
            patience: config.load_timeout,
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

    /// How far loading is, without waiting.
    pub(crate) fn state(&self) -> State {
        match &*self.models.borrow() {
            Some(models) if models.loaded().next().is_some() => State::Ready,
            Some(_) => State::Failed,
            // The thread that loads them has given up.
            None if self.models.has_changed().is_err() => State::Failed,
            None => State::Loading,
        }
    }
}
