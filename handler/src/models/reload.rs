//! Models that change while they are served (`SCORE_RELOAD=on`).
//!
//! The folder is looked at again and again: notices of the system (inotify) do not come from network shares, which is where
//! several servers read their models from, nor from a volume that another container writes. Whatever has changed is loaded once
//! it is the same in two looks; a copy that goes on is still another one. New models are loaded beside the old ones, which
//! answer until then, and whose memory is given back with their last request.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use score::{ModelPlace, Scorer, find_models};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::load::{Loader, stays};
use super::snapshot::Snapshot;
use super::{Models, Versions};

/// What watches the folder of models.
pub(super) struct Reload {
    pub(super) loader: Loader,
    pub(super) model_dir: PathBuf,
    pub(super) interval: Duration,
    pub(super) publish: watch::Sender<Option<Arc<Models>>>,
    /// The folder as it was when what is served was loaded.
    pub(super) served: Snapshot,
}

impl Reload {
    /// Watches until all receivers are gone.
    pub(super) fn watch(mut self) {
        let mut seen = self.served.clone();
        while !self.publish.is_closed() {
            thread::sleep(self.interval);
            let Some(places) = self.places() else {
                continue;
            };
            let now = Snapshot::take(&places);
            if now == seen && now != self.served {
                self.exchange(&places, &now);
                self.served = now.clone();
            }
            seen = now;
        }
    }

    /// The models there are. `None` if there are none: a share that is gone for a moment ends no service.
    fn places(&self) -> Option<Vec<ModelPlace>> {
        match find_models(&self.model_dir) {
            Ok(places) if places.is_empty() => None,
            Ok(places) => Some(places),
            Err(error) => {
                warn!(%error, "the folder of models cannot be read; the models that are loaded stay");
                None
            }
        }
    }

    /// Loads what has changed, and puts it in place of the old.
    fn exchange(&self, places: &[ModelPlace], now: &Snapshot) {
        let Some(old) = self.publish.borrow().clone() else {
            return;
        };
        let mut slots = old.slots.clone();
        for name in now.differing(&self.served) {
            let Some(place) = places.iter().find(|place| place.name == name) else {
                slots.remove(name);
                info!(model = name, "model removed");
                continue;
            };
            let before = old.slots.get(name);
            let new = self.loader.load(place, |version| serving(before?, version));
            if let (Some(before), Err(reason)) = (before, &new.newest)
                && let Ok(scorer) = &before.newest
            {
                stays(name, &scorer.metadata().version, reason);
                continue;
            }
            slots.insert(name.to_owned(), new);
        }
        if !slots
            .values()
            .any(|versions: &Versions| versions.newest.is_ok())
        {
            error!("none of the models can be served any more; those that are loaded stay");
            return;
        }
        let models = self.loader.exchanged(slots, &old);
        self.publish.send_replace(Some(Arc::new(models)));
    }
}

/// The scorer of a version that serves.
fn serving(versions: &Versions, version: &str) -> Option<Arc<Scorer>> {
    let newest = versions.newest.as_ref().ok();
    let newest = newest.filter(|scorer| scorer.metadata().version == version);
    let other = || versions.others.get(version)?.as_ref().ok();
    newest.or_else(other).cloned()
}
