//! A model on disk: `<folder>/model.onnx`, what lies beside it, and `model.toml`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use tracing::warn;

use super::digesting::Digesting;
use super::files::{ModelFiles, OPTIONS, Parts, is_hidden};
use super::missing::what_is_there;
use super::options::{FeatureOptions, InputOptions};
use super::options_file::read_options;
use super::output_options::OutputOptions;
use super::preprocessor::Preprocessor;
use super::settled::Stamps;
use super::text_folder::{TOKENIZER, chosen_file};
use super::versions::{newest_version, version_of};
use crate::cache::Namespace;
use crate::error::{LoadError, quoted};
use crate::signature::Rows;
use crate::signature::{ModelSignature, TensorSpec};

/// Names that paths such as `/api/score/v2` need for themselves.
const RESERVED_NAMES: [&str; 3] = ["v2", "metrics", "openapi.json"];

/// What `model.toml` may say. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOptions {
    /// The outputs to answer with, in this order; all of them if not given.
    pub outputs: Option<Vec<String>>,
    /// The versions to serve side by side, if the file lies beside their folders.
    pub versions: Option<Vec<u64>>,
    /// Whether rows may be cut apart; found out by a probe if not given.
    rows: Option<RowsOption>,
    /// Whether results may be remembered; found out by a probe if not given.
    pub memoize: Option<bool>,
    /// The names of classes, by their number: integer outputs are answered with them where the dialect has no types.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Rows one request may hold; the setting of the whole app if not given.
    pub max_rows: Option<usize>,
    /// How long the shared store keeps a result of this model, such as `"1h"`; the setting of the whole app if not given.
    #[serde(default, deserialize_with = "duration")]
    pub ttl: Option<Duration>,
    /// How callers may write inputs, by input name.
    #[serde(default)]
    pub inputs: BTreeMap<String, InputOptions>,
    /// How callers read outputs, by output name.
    #[serde(default)]
    pub output: BTreeMap<String, OutputOptions>,
    /// Where rows lie that requests name by key; without it no request may.
    pub features: Option<FeatureOptions>,
    /// The library beside the ONNX file that has the model's own operators.
    pub custom_ops: Option<String>,
    /// How texts become vectors. Its keys are read by the code that serves text models; here only `file` and `task` count.
    pub text: Option<toml::Table>,
    /// The file they were read from.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Which file that is, for people: below the model's folder, and what it overrules.
    #[serde(skip)]
    pub origin: String,
}

pub(super) fn refuse_senseless(options: &ModelOptions) -> Result<(), String> {
    if options.max_rows == Some(0) {
        return Err("max_rows: expected 1 or more".to_owned());
    }
    if let Some(features) = &options.features {
        // For any namespace of this process, because other processes may share the store.
        refuse_prefix(&features.prefix, &Namespace::default())?;
    }
    if let Some(name) = options
        .custom_ops
        .as_deref()
        .filter(|name| !is_file_name(name))
    {
        return Err(format!(
            "custom_ops: expected the name of a library beside model.onnx, such as \"libortextensions.so\"; found {}",
            quoted(name)
        ));
    }
    for (name, input) in &options.inputs {
        let senseless = input.refuse_senseless();
        senseless.map_err(|reason| format!("inputs.{name}: {reason}"))?;
    }
    for (name, output) in &options.output {
        let senseless = output.refuse_senseless();
        senseless.map_err(|reason| format!("output.{name}: {reason}"))?;
    }
    Ok(())
}

/// The prefix is all that keeps requests by key to features, so it must not lead to what else this program stores.
fn refuse_prefix(prefix: &str, namespace: &Namespace) -> Result<(), String> {
    if prefix.is_empty() || prefix.contains('\0') {
        return Err("features.prefix: expected text such as \"features:\"".to_owned());
    }
    let results = format!("{namespace}:");
    if prefix.starts_with(&results) || results.starts_with(prefix) {
        return Err(format!(
            "features.prefix: {prefix:?} leads to remembered results, which begin with {results:?}; choose another, such \
             as \"features:\""
        ));
    }
    Ok(())
}

/// Longer times are slips, and would overflow the clock.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match humantime::parse_duration(&text) {
        Ok(duration) if !duration.is_zero() && duration <= MAX_DURATION => Ok(Some(duration)),
        _ => Err(D::Error::custom(format!(
            "{text:?} is not a time such as \"30s\" or \"24h\", ten years at most"
        ))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RowsOption {
    Independent,
    Alone,
    Together,
}

impl ModelOptions {
    /// The fields of a hash that hold the values of one row of an input, in their order: its columns, or its own name if
    /// it takes one value a row. `None` if its columns are not named, or are not as many as its values.
    pub fn fields_of<'a>(&'a self, spec: &'a TensorSpec) -> Option<Vec<&'a str>> {
        let columns = self.inputs.get(&spec.name).map(|input| &input.columns[..]);
        let columns = columns.unwrap_or_default();
        let lengths = spec.signed_shape();
        let (free, fixed): (Vec<i64>, Vec<i64>) =
            lengths.iter().skip(1).partition(|length| **length < 0);
        let count = fixed.iter().try_fold(1usize, |n, length| {
            n.checked_mul(usize::try_from(*length).ok()?)
        })?;
        let fits = match (columns.len(), free.len()) {
            (0, 0) if count == 1 => return Some(vec![spec.name.as_str()]),
            (named, 0) => named == count,
            (named, 1) => count > 0 && named > 0 && named.is_multiple_of(count),
            _ => false,
        };
        (fits && !columns.is_empty()).then(|| columns.iter().map(String::as_str).collect())
    }

    /// What the file says about rows.
    pub fn rows(&self) -> Option<Rows> {
        self.rows.map(|rows| match rows {
            RowsOption::Independent => Rows::Independent,
            RowsOption::Alone => Rows::Alone,
            RowsOption::Together => Rows::Together,
        })
    }

    /// A mistake in the file.
    pub(super) fn wrong(&self, reason: &str) -> LoadError {
        let file = self.file.as_deref().unwrap_or(Path::new(OPTIONS));
        LoadError::Options {
            path: file.display().to_string(),
            reason: reason.to_owned(),
        }
    }
}

/// A model as it lies on disk.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// The name by which callers choose the model.
    pub name: String,
    /// Its version: the number of its folder where versions lie side by side, else `1`.
    pub version: String,
    /// Where the model lies: the folder of the version that is served.
    pub folder: PathBuf,
    /// The ONNX file, in that folder or below it.
    pub file: PathBuf,
    /// Whether the folder holds a text model: a tokenizer beside the ONNX file.
    pub is_text: bool,
    /// The content of `model.toml`.
    pub options: ModelOptions,
    digest: Digesting,
    /// How large the digested files are together.
    pub bytes: u64,
    /// All files of the model.
    pub files: ModelFiles,
    /// What the system said of the digested files before they were read.
    pub(super) stamps: Stamps,
}

/// Where a model may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPlace {
    /// The name by which callers choose the model.
    pub name: String,
    pub(super) folder: PathBuf,
    /// The folder around it, if this one is a version of the model.
    pub(super) around: Option<PathBuf>,
}

impl ModelPlace {
    /// The model in this very folder, named after it; a folder named by a version is called like the one around it.
    ///
    /// # Errors
    /// If the folder cannot be told from the root, because there is no current directory.
    pub fn of_folder(folder: &Path) -> io::Result<Self> {
        let folder = std::path::absolute(folder)?;
        // `.../<name>/<version>` is how model registries mount one version of a model.
        let is_version = version_of(&folder).is_some();
        let around = folder.parent().filter(|_| is_version).map(Path::to_owned);
        Ok(Self {
            name: name_of(around.as_deref().unwrap_or(&folder)),
            folder,
            around,
        })
    }

    /// The folder of the model, or of one version of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether an ONNX file lies there, or in a numbered version.
    pub fn has_model(&self) -> bool {
        let (folder, _) = newest_version(&self.folder);
        onnx_files(&folder).is_ok_and(|files| !files.is_empty())
    }
}

impl ModelFolder {
    /// Finds the newest version, reads `model.toml` and begins to digest the files.
    ///
    /// # Errors
    /// If there is no ONNX file or more than one, a file cannot be read, or `model.toml` has a mistake.
    pub fn read(place: &ModelPlace) -> Result<Self, LoadError> {
        let failed = |path: &Path, reason: String| LoadError::Model {
            path: path.display().to_string(),
            reason,
        };
        check_name(&place.name).map_err(|reason| failed(&place.folder, reason))?;
        let (folder, version) = newest_version(&place.folder);
        let whole = place.around.as_deref().unwrap_or(&place.folder);
        let below = folder.strip_prefix(whole).unwrap_or(Path::new(""));
        let (options_file, origin) = options_of(whole, below);
        let mut options = options_file.map_or_else(|| Ok(ModelOptions::default()), read_options)?;
        options.origin = origin;
        let file = match chosen_file(&options)? {
            Some(name) => folder.join(name),
            None => onnx_file(&folder).map_err(|reason| failed(&folder, reason))?,
        };
        let parts = Parts::read(&folder, &file, options)?;
        let files = parts
            .list(below)
            .map_err(|reason| failed(&folder, reason))?;
        let stamps = parts.stamps(&files);
        let stamps = stamps.map_err(|reason| failed(&folder, reason))?;
        let digest = parts.digest(&files);
        Ok(Self {
            name: place.name.clone(),
            version,
            is_text: parts.is_text,
            folder,
            file,
            options: parts.options,
            digest,
            bytes: stamps.bytes(),
            files,
            stamps,
        })
    }

    /// Digest of the ONNX file and of every other file beside it that may hold a part of the model. Of a text model it
    /// covers the ONNX file with its external data; the code that serves text models adds the rest. Waits until it is made.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn digest(&self) -> Result<blake3::Hash, LoadError> {
        self.digest.get().map_err(|reason| LoadError::Model {
            path: self.folder.display().to_string(),
            reason,
        })
    }

    /// Whether this is `before` [once more](Self::again), with files that were not read again.
    pub(super) fn is_still(&self, before: &Self) -> bool {
        self.digest.is(&before.digest)
    }

    /// The same model as its files are now: they may have been exchanged since they were digested. Files that the system
    /// says are the same are not read again.
    ///
    /// # Errors
    /// If a file cannot be read, or `model.toml` names another library of operators by now.
    pub(crate) fn again(&self) -> Result<Self, LoadError> {
        let failed = |reason| LoadError::Model {
            path: self.file.display().to_string(),
            reason,
        };
        let file = self.options.file.clone();
        let mut options = file.map_or_else(|| Ok(ModelOptions::default()), read_options)?;
        options.origin.clone_from(&self.options.origin);
        let parts = Parts::read(&self.folder, &self.file, options)?;
        if parts.options.custom_ops != self.options.custom_ops {
            return Err(
                self.wrong_options("custom_ops changed while the model was loaded; restart")
            );
        }
        let files = parts.list(Path::new("")).map_err(failed)?;
        let stamps = parts.stamps(&files).map_err(failed)?;
        if self.stamps.still_hold(&stamps) {
            return Ok(self.clone());
        }
        Ok(Self {
            digest: parts.digest(&files),
            bytes: stamps.bytes(),
            stamps,
            ..self.clone()
        })
    }

    /// The folder itself, if no request by key can lead from its features into `namespace`.
    ///
    /// # Errors
    /// [`LoadError::Options`] if the prefix of its features does.
    pub fn apart_from(self, namespace: &Namespace) -> Result<Self, LoadError> {
        let features = self.options.features.as_ref();
        match features.map_or(Ok(()), |f| refuse_prefix(&f.prefix, namespace)) {
            Ok(()) => Ok(self),
            Err(reason) => Err(self.wrong_options(&reason)),
        }
    }

    /// The content of `model.toml`, and what `preprocessor_config.json` adds for a model that takes pictures.
    pub(crate) fn options_for(&self, signature: &ModelSignature) -> ModelOptions {
        let mut options = self.options.clone();
        let spec = Preprocessor::input(signature);
        // Read here, while the model is loaded: after its digest was made, or where a change would show.
        if let (Some(preprocessor), Some(spec)) = (Preprocessor::read(&self.folder), spec) {
            let input = options.inputs.entry(spec.name.clone()).or_default();
            for remark in preprocessor.complete(spec, input) {
                warn!(model = self.name, "{remark}");
            }
        }
        options
    }

    /// A mistake in `model.toml` that shows only beside the model.
    pub fn wrong_options(&self, reason: &str) -> LoadError {
        self.options.wrong(reason)
    }
}

/// The `model.toml` of the version in `whole/below`, with words for it. Its own one overrules the one beside the versions
/// as a whole: a mixture of both would have to be put together in the head.
fn options_of(whole: &Path, below: &Path) -> (Option<PathBuf>, String) {
    let there = |folder: &Path| {
        let file = whole.join(folder).join(OPTIONS);
        // A link that leads nowhere is to be reported.
        file.symlink_metadata().is_ok().then_some(file)
    };
    let beside = Path::new("");
    match (there(below), there(beside)) {
        (Some(own), Some(_)) if below != beside => (
            Some(own),
            format!(
                "{}, instead of the one beside the versions",
                below.join(OPTIONS).display()
            ),
        ),
        (Some(own), _) => (Some(own), below.join(OPTIONS).display().to_string()),
        (None, Some(shared)) => (Some(shared), format!("{OPTIONS} beside the versions")),
        (None, None) => (None, "none".to_owned()),
    }
}

/// The models in `root`, sorted by name: every folder in it, or `root` itself if an ONNX file lies right there. Model
/// registries lay out the models of a deployment in both ways.
///
/// # Errors
/// If `root` cannot be read.
pub fn find_models(root: &Path) -> io::Result<Vec<ModelPlace>> {
    if onnx_files(root)?.is_empty() {
        let mut places = Vec::new();
        for folder in folders_in(root)? {
            let name = name_of(&folder);
            if !name.starts_with('.') {
                places.push(ModelPlace {
                    name,
                    folder,
                    around: None,
                });
            }
        }
        return Ok(places);
    }
    let mut place = ModelPlace::of_folder(root)?;
    if check_name(&place.name).is_err() {
        place.name = "model".to_owned();
    }
    Ok(vec![place])
}

fn onnx_file(folder: &Path) -> Result<PathBuf, String> {
    let mut files = onnx_files(folder).map_err(|error| error.to_string())?;
    let usual = files.iter().position(|file| name_of(file) == "model.onnx");
    match (usual, files.len()) {
        (Some(index), _) => Ok(files.swap_remove(index)),
        (None, 1) => Ok(files.remove(0)),
        (None, 0) => Err(what_is_there(folder)),
        (None, _) => Err(
            "several ONNX files in it; call the one to serve model.onnx, or name it as file in [text] of model.toml if it \
             is a text model"
                .to_owned(),
        ),
    }
}

/// The ONNX files of a model. Those of a text model may lie in a folder `onnx`, below its tokenizer.
pub(super) fn onnx_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let here = onnx_files_in(folder)?;
    let below = folder.join("onnx");
    if here.is_empty() && folder.join(TOKENIZER).is_file() && below.is_dir() {
        return onnx_files_in(&below);
    }
    Ok(here)
}

fn onnx_files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    files.retain(|path| is_onnx(path) && path.is_file());
    files.sort();
    Ok(files)
}

/// Whether a file is one to serve by its name.
pub(super) fn is_onnx(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|e| e.eq_ignore_ascii_case("onnx")) && !is_hidden(path)
}

pub(super) fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut folders = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    Ok(folders)
}

/// Whether it is the name of a file in a folder, and no path.
pub(super) fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

pub(super) fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Refuses a name that a model cannot be called by. The host prints and parses paths again on their way here, so names
/// keep to what survives that; those with a dot in front would be hidden, or lead out of the folder.
///
/// # Errors
/// The text says what a name may hold.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(plain)
        && !RESERVED_NAMES.contains(&name)
    {
        return Ok(());
    }
    Err(format!(
        "a model's name may hold letters, digits, '.', '_' and '-', does not begin with '.', and is not one of {}",
        RESERVED_NAMES.join(", ")
    ))
}

#[cfg(test)]
mod tests;
