//! `handler serve`: serves models from anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use score::{ModelPlace, find_models};
use tempfile::TempDir;

use super::arguments::ServeArguments;
use super::model_source::ModelSource;
use crate::config::Config;

/// The settings of a server of some models, and what must stay while it serves.
#[derive(Debug)]
pub struct Served {
    /// What to run.
    pub config: Config,
    /// Links to the models, where they do not lie in one folder already.
    _links: Option<TempDir>,
}

/// The settings with what the command line says of them.
///
/// # Errors
/// If a path holds no model, or two models have the same name.
pub fn served(arguments: &ServeArguments, mut config: Config) -> anyhow::Result<Served> {
    if let Some(port) = arguments.port {
        config.listen.set_port(port);
    }
    let links = match &arguments.models[..] {
        [] => None,
        [folder] if is_model_dir(folder)? => {
            config.model_dir = std::path::absolute(folder)?;
            None
        }
        models => {
            let links = links(models)?;
            config.model_dir = links.path().to_owned();
            Some(links)
        }
    };
    Ok(Served {
        config,
        _links: links,
    })
}

/// Whether the server can take the folder as its folder of models.
fn is_model_dir(folder: &Path) -> anyhow::Result<bool> {
    Ok(folder.is_dir()
        && !has_versions(folder)
        && places_in(folder)?.iter().any(ModelPlace::has_model))
}

/// Whether the folder is a model whose versions are folders: each by itself they would be models named by a number.
fn has_versions(folder: &Path) -> bool {
    let place = ModelPlace::of_folder(folder);
    let places = find_models(folder).unwrap_or_default();
    place.is_ok_and(|place| place.has_model()) && places.iter().all(|place| is_version(&place.name))
}

fn is_version(name: &str) -> bool {
    name.parse::<u64>().is_ok()
}

fn places_in(folder: &Path) -> anyhow::Result<Vec<ModelPlace>> {
    find_models(folder).with_context(|| format!("{} cannot be read", folder.display()))
}

/// A folder whose model folders are links to the models.
fn links(models: &[PathBuf]) -> anyhow::Result<TempDir> {
    let links = tempfile::Builder::new()
        .prefix("score-models-")
        .tempdir()
        .context("no temporary folder can be made")?;
    let mut known = BTreeMap::new();
    for path in models {
        for name in link(path, links.path())? {
            if let Some(other) = known.insert(name.clone(), path) {
                bail!(
                    "two models are called {name:?}: {} and {}; rename one",
                    other.display(),
                    path.display()
                );
            }
        }
    }
    Ok(links)
}

/// Links what the path holds, and tells its names.
fn link(path: &Path, links: &Path) -> anyhow::Result<Vec<String>> {
    let places = match path.is_dir() && !has_versions(path) {
        true => places_in(path)?,
        false => Vec::new(),
    };
    if !places.iter().any(ModelPlace::has_model) {
        let model = ModelSource::read(path)?;
        let own = links.join(&model.name);
        match &model.place {
            Some(place) => link_one(place.folder(), &own)?,
            None => link_files(&model, &own)?,
        }
        return Ok(vec![model.name]);
    }
    for place in &places {
        if place
            .folder()
            .file_name()
            .is_some_and(|name| is_version(&name.to_string_lossy()))
        {
            bail!(
                "{}: among several models name the folder of its versions",
                path.display()
            );
        }
        link_one(place.folder(), &links.join(&place.name))?;
    }
    Ok(places.into_iter().map(|place| place.name).collect())
}

/// The ONNX file may be called anything, and others may lie beside it, so that its folder is no model folder.
fn link_files(model: &ModelSource, own: &Path) -> anyhow::Result<()> {
    for (from, to) in &model.files.files {
        link_one(from, &own.join(to))?;
    }
    Ok(())
}

fn link_one(from: &Path, to: &Path) -> anyhow::Result<()> {
    let from = std::path::absolute(from)?;
    let failed = || format!("{} cannot be linked", from.display());
    to.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .with_context(failed)?;
    match symlink(&from, to) {
        // Two of one name: the caller says which.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.with_context(failed),
    }
}
