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

use score::{ModelPlace, find_models};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::load::Loader;
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
            let mut new = self.loader.load(place);
            if let Some(old) = slots.get(name) {
                new = in_place_of(old, new, name);
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

/// The new versions; a version that cannot be loaded and serves already stays.
fn in_place_of(old: &Versions, mut new: Versions, name: &str) -> Versions {
    let Ok(serving) = &old.newest else {
        return new;
    };
    let serving = serving.metadata().version.as_str();
    let stays = |version: &str, reason: &str| {
        error!(
            model = name,
            "the new files are not served, and version {version} stays: {reason}"
        );
    };
    let highest = match &new.newest {
        Err(reason) => {
            stays(serving, reason);
            return old.clone();
        }
        Ok(scorer) => scorer.metadata().version.clone(),
    };
    let mut kept = 0;
    for (version, slot) in &mut new.others {
        let before = match version == serving {
            true => Some(&old.newest),
            false => old.others.get(version),
        };
        if let (Err(reason), Some(Ok(before))) = (&*slot, before) {
            stays(version, reason);
            *slot = Ok(before.clone());
            kept += 1;
        }
    }
    if number(serving) > number(&highest)
        && let Some(serving) = new.others.remove(serving)
    {
        let other = std::mem::replace(&mut new.newest, serving);
        new.others.insert(highest, other);
    }
    remove_lowest(&mut new, kept, |version| {
        version != serving && !old.others.contains_key(version)
    });
    new
}

/// Removes so many versions that are loaded for the first time, the lowest first: they stood in for versions that stay.
fn remove_lowest(versions: &mut Versions, count: usize, is_new: impl Fn(&str) -> bool) {
    let loaded = versions.others.iter().filter(|(_, slot)| slot.is_ok());
    let new = loaded.filter(|(version, _)| is_new(version));
    let mut new: Vec<String> = new.map(|(version, _)| version.clone()).collect();
    new.sort_by_key(|version| number(version));
    for version in new.iter().take(count) {
        versions.others.remove(version);
    }
}

fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}
