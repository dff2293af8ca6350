//! Which files a model consists of, and their digest.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::digesting::Digesting;
use super::folder::ModelOptions;
use super::hints::SAMPLES;
use super::onnx_file::OnnxFile;
use super::options_file::read_options;
use super::preprocessor::FILE as PREPROCESSOR;
use super::settled::Stamps;
use super::text_folder::{is_text, may_describe_texts, text_files};
use crate::error::LoadError;

/// What `model.toml` is called.
pub(super) const OPTIONS: &str = "model.toml";

/// The files of a model: what the ONNX file and `model.toml` name, through links too, and all else that lies there for
/// certain.
#[derive(Debug, Clone, Default)]
pub struct ModelFiles {
    /// Where each file lies, and its place in a copy of the model's folder.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// What lies there and is no part of the model, with the reason.
    pub left_out: Vec<String>,
    /// The library of custom operators.
    pub custom_ops: Option<PathBuf>,
}

impl ModelFiles {
    /// The files of a model that is one ONNX file, with the others that it and the `model.toml` beside it name.
    ///
    /// # Errors
    /// If a part is missing or has a mistake.
    pub fn of_file(file: &Path) -> Result<Self, LoadError> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let options = Some(folder.join(OPTIONS)).filter(|file| file.symlink_metadata().is_ok());
        let options = options.map_or_else(|| Ok(ModelOptions::default()), read_options)?;
        let parts = Parts::read(folder, file, options)?;
        let mut new = Self {
            custom_ops: parts.custom_ops(),
            ..Self::default()
        };
        new.files = parts
            .names
            .iter()
            .map(|name| (folder.join(name), name.clone()))
            .collect();
        if let Some((_, name)) = new.files.iter_mut().find(|(path, _)| path == file) {
            *name = "model.onnx".into();
        }
        new.files
            .extend(parts.options_file().map(|file| (file, OPTIONS.into())));
        Ok(new)
    }
}

/// What the ONNX file and `model.toml` say of the model's files.
pub(super) struct Parts {
    pub(super) options: ModelOptions,
    pub(super) is_text: bool,
    folder: PathBuf,
    /// The ONNX file, its external data, the library of operators and how pictures are prepared, below the folder.
    names: BTreeSet<PathBuf>,
    /// Files beside them that say how callers read answers.
    notes: BTreeSet<PathBuf>,
}

impl Parts {
    /// Reads the ONNX file, in `folder` or below it, and looks for the others.
    pub(super) fn read(
        folder: &Path,
        file: &Path,
        mut options: ModelOptions,
    ) -> Result<Self, LoadError> {
        let failed = |reason| LoadError::Model {
            path: file.display().to_string(),
            reason,
        };
        let notes = options.read_labels(folder)?;
        let around = file.parent().unwrap_or(Path::new(""));
        let below = around.strip_prefix(folder).unwrap_or(Path::new(""));
        let onnx = OnnxFile::read(file).map_err(failed)?;
        onnx.check_data(around).map_err(failed)?;
        let data = onnx.data.into_keys().map(|name| below.join(name));
        let mut names: BTreeSet<PathBuf> = data.collect();
        names.extend(file.file_name().map(|name| below.join(name)));
        if folder.join(PREPROCESSOR).is_file() {
            names.insert(PREPROCESSOR.into());
        }
        if let Some(name) = &options.custom_ops {
            if !folder.join(name).is_file() {
                return Err(options.wrong(&format!(
                    "custom_ops: there is no library {name:?} beside {}; put it there",
                    file.file_name().unwrap_or_default().display()
                )));
            }
            names.insert(name.into());
        }
        Ok(Self {
            is_text: is_text(folder, &options),
            folder: folder.to_owned(),
            options,
            names,
            notes,
        })
    }

    pub(super) fn custom_ops(&self) -> Option<PathBuf> {
        self.options
            .custom_ops
            .as_ref()
            .map(|name| self.folder.join(name))
    }

    fn options_file(&self) -> Option<PathBuf> {
        self.options.file.clone()
    }

    /// All files of the model: `below` is the place of the folder in a copy of the model.
    pub(super) fn list(&self, below: &Path) -> Result<ModelFiles, String> {
        let root = self.folder.canonicalize();
        let mut names = self.names.clone();
        if self.is_text {
            names.extend(text_files(&self.folder));
        }
        let mut list = Listing {
            root: root.map_err(|error| error.to_string())?,
            names,
            only: self.is_text.then_some(may_describe_texts),
            left_out: Vec::new(),
        };
        list.walk(&self.folder, Path::new(""))?;
        list.names.extend(self.notes.iter().cloned());
        let names = list.names.into_iter();
        let mut files: Vec<_> = names
            .map(|name| (self.folder.join(&name), below.join(name)))
            .collect();
        if let Some(file) = self.options_file() {
            let place = if file.parent() == Some(&*self.folder) {
                below
            } else {
                Path::new("")
            };
            files.push((file, place.join(OPTIONS)));
        }
        Ok(ModelFiles {
            files,
            left_out: list.left_out,
            custom_ops: self.custom_ops(),
        })
    }

    /// The files that the digest covers, with their names below the folder: all but `model.toml`, labels and sample rows. External data may have
    /// any name, so every file counts but those that certainly hold no weights. One file too many only costs remembered
    /// results; one too few would let a changed model answer with old ones. Of a text model only the files that the ONNX
    /// file names count here: its folder often holds several models.
    fn digested<'a>(&'a self, files: &'a ModelFiles) -> impl Iterator<Item = (&'a Path, &'a Path)> {
        files.files.iter().filter_map(|(file, _)| {
            let name = file.strip_prefix(&self.folder).ok()?;
            let is_named = self.names.contains(name);
            let is_note = name == Path::new(SAMPLES) || self.notes.contains(name);
            let counts = is_named || !self.is_text && !is_note;
            (counts && name != Path::new(OPTIONS)).then_some((&**file, name))
        })
    }

    /// What the system says of these files now.
    pub(super) fn stamps(&self, files: &ModelFiles) -> Result<Stamps, String> {
        Stamps::take(self.digested(files))
    }

    /// The digest of these files, which is made from now on.
    pub(super) fn digest(&self, files: &ModelFiles) -> Digesting {
        let digested = self.digested(files);
        let digested = digested.map(|(file, name)| (file.to_owned(), name.to_owned()));
        Digesting::start(digested.collect(), self.options.custom_ops.clone())
    }
}

struct Listing {
    root: PathBuf,
    names: BTreeSet<PathBuf>,
    /// Which files count beside those that are named; all of them if not given.
    only: Option<fn(&Path) -> bool>,
    left_out: Vec<String>,
}

impl Listing {
    /// Neither hidden files nor model cards are a part of a model. Links to folders are not followed, since they may lead
    /// in circles; links to files only within the folder, unless the model names them.
    fn walk(&mut self, folder: &Path, below: &Path) -> Result<(), String> {
        let failed = |error| format!("{} cannot be read: {error}", folder.display());
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), below.join(entry.file_name()));
            let is_card = path.extension() == Some(OsStr::new("md"));
            let is_options = name == Path::new(OPTIONS);
            if is_hidden(&path) || is_card || is_options || self.names.contains(&name) {
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.walk(&path, &name)?;
            } else if self.only.is_some_and(|counts| !counts(&name)) {
                continue;
            } else if kind.is_file() || kind.is_symlink() && self.leads_inside(&path) {
                self.names.insert(name);
            } else {
                let reason = match kind.is_symlink() {
                    true => "is a link to no file of this folder, and the model does not name it",
                    false => "is not a regular file",
                };
                self.left_out.push(format!("{} {reason}", name.display()));
            }
        }
        Ok(())
    }

    fn leads_inside(&self, link: &Path) -> bool {
        let target = link.canonicalize();
        target.is_ok_and(|target| target.starts_with(&self.root) && target.is_file())
    }
}

/// Hidden files are tools' own, such as those that macOS puts beside each file of an archive.
pub(super) fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests;
