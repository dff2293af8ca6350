//! What lies in the folder of models, as far as the system tells without reading files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use score::{ModelPlace, Stamp};

/// Folders within each other; models are two deep.
const MAX_DEPTH: usize = 6;
/// Files of one model that are looked at.
const MAX_FILES: usize = 10_000;

/// What the system says of the files of each model, by the model's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Snapshot(pub(super) BTreeMap<String, Vec<(PathBuf, Stamp)>>);

impl Snapshot {
    /// Of models at these places.
    pub(super) fn take(places: &[ModelPlace]) -> Self {
        let models = places.iter().map(|place| {
            let mut files = Vec::new();
            // What cannot be read now is missing in the list, and the next one differs.
            let _ = walk(place.folder(), MAX_DEPTH, &mut files);
            files.sort_by(|a, b| a.0.cmp(&b.0));
            (place.name.clone(), files)
        });
        Self(models.collect())
    }

    /// The names of the models that differ, those that are only in one of the two included.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let differs = |name: &&String| self.0.get(*name) != other.0.get(*name);
        let only_there = other.0.keys().filter(|name| !self.0.contains_key(*name));
        let names = self.0.keys().filter(differs).chain(only_there);
        names.map(String::as_str)
    }
}

/// Links are followed: in a volume of Kubernetes all files are links, which change their target all at once. Hidden files are
/// those of copies that are under way.
fn walk(folder: &Path, depth: usize, files: &mut Vec<(PathBuf, Stamp)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") || files.len() >= MAX_FILES {
            continue;
        }
        let Ok(found) = fs::metadata(&path) else {
            continue;
        };
        if found.is_dir() && depth > 0 {
            walk(&path, depth - 1, files)?;
        } else if found.is_file() {
            files.push((path, Stamp::of(&found)));
        }
    }
    Ok(())
}
