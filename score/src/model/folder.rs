//! A model on disk: `<folder>/model.onnx`, what lies beside it, and `model.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::options::{INPUT_KEYS, InputOptions};
use crate::error::LoadError;
use crate::memo::Namespace;
use crate::rows::Rows;

/// Names that paths such as `/api/score/v2` need for themselves.
const RESERVED_NAMES: [&str; 3] = ["v2", "metrics", "openapi.json"];

/// What `model.toml` may say. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOptions {
    /// The outputs to answer with, in this order; all of them if not given.
    pub outputs: Option<Vec<String>>,
    /// Whether rows may be cut apart; found out by a probe if not given.
    rows: Option<RowsOption>,
    /// Whether results may be remembered; found out by a probe if not given.
    pub memoize: Option<bool>,
    /// The names of classes, by their number: integer outputs are answered with them where the dialect has no types.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Rows one request may hold; the setting of the whole app if not given.
    pub max_rows: Option<usize>,
    /// How long Redis keeps a result of this model, such as `"1h"`; the setting of the whole app if not given.
    #[serde(default, deserialize_with = "duration")]
    pub ttl: Option<Duration>,
    /// How callers may write inputs, by input name.
    #[serde(default)]
    pub inputs: BTreeMap<String, InputOptions>,
    /// Where rows lie that requests name by key; without it no request may.
    pub features: Option<FeatureOptions>,
}

/// Where and how features are stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureOptions {
    /// What stands before each key in the store. Requests reach nothing else.
    pub prefix: String,
    /// What each value is written in.
    #[serde(default)]
    pub format: FeatureFormat,
}

/// What one row of features is written in. It is told and not guessed: raw bytes may look like anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureFormat {
    /// An array, or an object by input name; also numpy's format, as no JSON text begins like it.
    #[default]
    Json,
    /// An array in numpy's format.
    Npy,
    /// Little-endian elements.
    Raw,
}

impl FeatureFormat {
    /// The name it has in `model.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Npy => "npy",
            Self::Raw => "raw",
        }
    }
}

fn refuse_senseless(options: &ModelOptions) -> Result<(), String> {
    if options.max_rows == Some(0) {
        return Err("max_rows: expected 1 or more".to_owned());
    }
    if let Some(features) = &options.features {
        // Whatever namespace this process has: others may share the store.
        refuse_prefix(&features.prefix, &Namespace::default())?;
    }
    for (name, input) in &options.inputs {
        let senseless = input.refuse_senseless();
        senseless.map_err(|reason| format!("inputs.{name}: {reason}"))?;
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
            "{text:?} is no time such as \"30s\" or \"24h\", ten years at most"
        ))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RowsOption {
    Independent,
    Together,
}

impl ModelOptions {
    /// What the file says about rows.
    pub fn rows(&self) -> Option<Rows> {
        self.rows.map(|rows| match rows {
            RowsOption::Independent => Rows::Independent,
            RowsOption::Together => Rows::Together,
        })
    }
}

/// A model as it lies on disk.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// The name by which callers choose the model.
    pub name: String,
    /// Its version: the number of its folder where versions lie side by side, else `1`.
    pub version: String,
    /// The ONNX file.
    pub file: PathBuf,
    /// The content of `model.toml`.
    pub options: ModelOptions,
    /// Digest of the ONNX file and of every other file beside it that may hold a part of the model.
    pub digest: blake3::Hash,
    /// How large those files are together.
    pub bytes: u64,
}

/// Where a model may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPlace {
    /// The name by which callers choose the model.
    pub name: String,
    folder: PathBuf,
}

impl ModelPlace {
    /// The model in this very folder, named after it; a folder named by a version is called like the one around it.
    ///
    /// # Errors
    /// If the folder cannot be told from the root, because there is no current directory.
    pub fn of_folder(folder: &Path) -> io::Result<Self> {
        let folder = std::path::absolute(folder)?;
        // `.../<name>/<version>` where Azure ML mounts one registered model.
        let is_version = version_of(&folder).is_some();
        let named = if is_version {
            folder.parent()
        } else {
            Some(&*folder)
        };
        Ok(Self {
            name: named.map(name_of).unwrap_or_default(),
            folder,
        })
    }
}

impl ModelFolder {
    /// Finds the newest version, reads `model.toml` and digests the files.
    ///
    /// # Errors
    /// If there is no ONNX file or more than one, a file cannot be read, or `model.toml` has a mistake.
    pub fn read(place: &ModelPlace) -> Result<Self, LoadError> {
        let failed = |path: &Path, reason: String| LoadError::Model {
            path: path.display().to_string(),
            reason,
        };
        if !is_usable_name(&place.name) {
            let reason = format!(
                "a model's name may hold letters, digits, '.', '_' and '-', and is not one of {}",
                RESERVED_NAMES.join(", ")
            );
            return Err(failed(&place.folder, reason));
        }
        let (folder, version) = newest_version(&place.folder);
        let file = onnx_file(&folder).map_err(|reason| failed(&folder, reason))?;
        let options = read_options(&folder.join("model.toml"))?;
        let (digest, bytes) =
            digest(&folder).map_err(|error| failed(&folder, error.to_string()))?;
        Ok(Self {
            name: place.name.clone(),
            version,
            file,
            options,
            digest,
            bytes,
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

    /// A mistake in `model.toml` that shows only beside the model.
    pub(crate) fn wrong_options(&self, reason: &str) -> LoadError {
        let file = self.file.with_file_name("model.toml");
        LoadError::Options {
            path: file.display().to_string(),
            reason: reason.to_owned(),
        }
    }
}

/// The models in `root`, sorted by name: every folder in it, or `root` itself if an ONNX file lies right there. Both
/// are ways in which Azure ML lays out `AZUREML_MODEL_DIR`.
///
/// # Errors
/// If `root` cannot be read.
pub fn find_models(root: &Path) -> io::Result<Vec<ModelPlace>> {
    if onnx_files(root)?.is_empty() {
        let mut places = Vec::new();
        for folder in folders_in(root)? {
            let name = name_of(&folder);
            if !name.starts_with('.') {
                places.push(ModelPlace { name, folder });
            }
        }
        return Ok(places);
    }
    let mut place = ModelPlace::of_folder(root)?;
    if !is_usable_name(&place.name) {
        place.name = "model".to_owned();
    }
    Ok(vec![place])
}

/// The folder with the highest number, if the model lies in numbered folders; else the folder itself.
fn newest_version(folder: &Path) -> (PathBuf, String) {
    let has_model = |folder: &PathBuf| onnx_files(folder).is_ok_and(|files| !files.is_empty());
    let here = folder.to_path_buf();
    if !has_model(&here) {
        let versions = folders_in(folder).unwrap_or_default().into_iter();
        let newest = versions
            .filter(has_model)
            .filter_map(|folder| Some((version_of(&folder)?, folder)))
            .max_by_key(|(version, _)| *version);
        if let Some((version, folder)) = newest {
            return (folder, version.to_string());
        }
    }
    let version = version_of(folder).unwrap_or(1);
    (here, version.to_string())
}

fn version_of(folder: &Path) -> Option<u64> {
    name_of(folder).parse().ok()
}

fn onnx_file(folder: &Path) -> Result<PathBuf, String> {
    let mut files = onnx_files(folder).map_err(|error| error.to_string())?;
    let usual = files.iter().position(|file| name_of(file) == "model.onnx");
    match (usual, files.len()) {
        (Some(index), _) => Ok(files.swap_remove(index)),
        (None, 1) => Ok(files.remove(0)),
        (None, 0) => Err("no model.onnx in it".to_owned()),
        (None, _) => Err("several ONNX files in it; call the one to serve model.onnx".to_owned()),
    }
}

fn onnx_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "onnx") && path.is_file());
    files.sort();
    Ok(files)
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut folders = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    Ok(folders)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The host prints and parses paths again on their way here, so names keep to what survives that.
fn is_usable_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !name.is_empty() && name.bytes().all(plain) && !RESERVED_NAMES.contains(&name)
}

fn read_options(file: &Path) -> Result<ModelOptions, LoadError> {
    let failed = |reason: String| LoadError::Options {
        path: file.display().to_string(),
        reason,
    };
    match fs::read_to_string(file) {
        Ok(text) => {
            let table = toml::from_str(&text);
            let table: toml::Table = table.map_err(|error| failed(one_line(&text, &error)))?;
            refuse_unknown_keys(&table).map_err(&failed)?;
            let options = toml::from_str(&text);
            let options = options.map_err(|error| failed(one_line(&text, &error)))?;
            refuse_senseless(&options).map_err(&failed)?;
            Ok(options)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ModelOptions::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

const KEYS: [&str; 8] = [
    "outputs", "rows", "memoize", "labels", "max_rows", "ttl", "inputs", "features",
];
const FEATURE_KEYS: [&str; 2] = ["prefix", "format"];

fn refuse_unknown_keys(table: &toml::Table) -> Result<(), String> {
    refuse_unknown(table, &KEYS, "")?;
    if let Some(features) = table.get("features").and_then(toml::Value::as_table) {
        refuse_unknown(features, &FEATURE_KEYS, "features: ")?;
    }
    let inputs = table.get("inputs").and_then(toml::Value::as_table);
    for (name, input) in inputs.into_iter().flatten() {
        let place = format!("inputs.{name}: ");
        refuse_unknown(
            input.as_table().unwrap_or(&toml::Table::new()),
            &INPUT_KEYS,
            &place,
        )?;
    }
    Ok(())
}

fn refuse_unknown(table: &toml::Table, known: &[&str], place: &str) -> Result<(), String> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let likeness = |known: &&&str| (strsim::jaro_winkler(known, key) * 1000.0) as u32;
    let nearest = known
        .iter()
        .max_by_key(likeness)
        .copied()
        .unwrap_or_default();
    Err(format!(
        "{place}unknown key {key:?}; did you mean {nearest:?}?"
    ))
}

/// The library's own text draws the place over several lines; a log has one line per event.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line = text[..start.min(text.len())].matches('\n').count() + 1;
    format!("line {line}: {}", error.message())
}

/// External data may have any name, so every file counts but those that certainly hold no weights. One file too many
/// only costs remembered results; one too few would let a changed model answer with old ones.
fn digest(folder: &Path) -> io::Result<(blake3::Hash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    for file in files_below(folder)? {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        if name == Path::new("model.toml") || name.extension().is_some_and(|e| e == "md") {
            continue;
        }
        let mut content = blake3::Hasher::new();
        content.update_reader(fs::File::open(&file)?)?;
        hasher.update(blake3::hash(name.as_os_str().as_encoded_bytes()).as_bytes());
        hasher.update(content.finalize().as_bytes());
        bytes += content.count();
    }
    Ok((hasher.finalize(), bytes))
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_what_survives_a_url_and_leave_the_reserved_paths_alone() {
        assert!(is_usable_name("iris-2.onnx_v1"));
        for bad in ["", "a b", "a/b", "ä", "v2", "metrics"] {
            assert!(!is_usable_name(bad), "{bad}");
        }
    }

    #[test]
    fn options_say_where_the_mistake_is() {
        let options: ModelOptions =
            toml::from_str("outputs = [\"label\"]\nrows = \"together\"").unwrap();
        assert_eq!(options.rows(), Some(Rows::Together));
        assert!(toml::from_str::<ModelOptions>("rows = \"apart\"").is_err());
        for ttl in ["soon", "0s", "11years", "580000000000years"] {
            let options = toml::from_str::<ModelOptions>(&format!("ttl = {ttl:?}"));
            assert!(options.is_err(), "{ttl}");
        }
        let picture = |text: &str| toml::from_str::<ModelOptions>(&format!("[inputs.x]\n{text}"));
        assert_eq!(picture("mean = 0.5").unwrap().inputs["x"].mean, [0.5]);
        assert_eq!(
            picture("std = [1.0, 2.0, 3.0]").unwrap().inputs["x"]
                .std
                .len(),
            3
        );
        assert!(picture("std = [1.0, 2.0]").is_err());
        for senseless in ["std = 0.0", "size = [0, 1]", "size = [1, 9999]"] {
            assert!(
                refuse_senseless(&picture(senseless).unwrap()).is_err(),
                "{senseless}"
            );
        }
        let refused = |text: &str| refuse_unknown_keys(&toml::from_str(text).unwrap()).unwrap_err();
        assert_eq!(
            refused("output = [\"label\"]"),
            r#"unknown key "output"; did you mean "outputs"?"#
        );
        assert_eq!(
            refused("[inputs.x]\nsizes = [1, 1]"),
            r#"inputs.x: unknown key "sizes"; did you mean "size"?"#
        );
        assert_eq!(
            refused("[features]\nprefixes = \"f:\""),
            r#"features: unknown key "prefixes"; did you mean "prefix"?"#
        );
    }

    #[test]
    fn features_have_a_prefix_of_their_own() {
        let read = |text: &str| toml::from_str::<ModelOptions>(&format!("[features]\n{text}"));
        let features = read("prefix = \"f:\"").unwrap().features.unwrap();
        assert_eq!(
            (&*features.prefix, features.format),
            ("f:", FeatureFormat::Json)
        );
        for wrong in [
            "",
            "format = \"raw\"",
            "prefix = \"f:\"\nformat = \"csv\"",
            "prefix = 1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let score = Namespace::default();
        for prefix in ["", "s", "score", "score:", "score:1:", "a\0b"] {
            assert!(refuse_prefix(prefix, &score).is_err(), "{prefix:?}");
        }
        for prefix in ["features:", "scores:", "Score:", "{f}:", "*"] {
            assert_eq!(refuse_prefix(prefix, &score), Ok(()), "{prefix:?}");
        }
    }

    #[test]
    fn finds_plain_folders_versions_and_a_bare_file() {
        let root = std::env::temp_dir().join(format!("score-models-{}", std::process::id()));
        let write = |file: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for file in [
            "a/model.onnx",
            "b/2/any.onnx",
            "b/10/m.onnx",
            "b/11/notes.txt",
            ".c/model.onnx",
        ] {
            write(file);
        }
        let places = find_models(&root).unwrap();
        let found: Vec<ModelFolder> = places
            .iter()
            .map(|place| ModelFolder::read(place).unwrap())
            .collect();
        let names: Vec<_> = found
            .iter()
            .map(|m| (m.name.as_str(), m.version.as_str()))
            .collect();
        assert_eq!(names, [("a", "1"), ("b", "10")]);

        let mounted = find_models(&root.join("b/10")).unwrap();
        let model = ModelFolder::read(&mounted[0]).unwrap();
        assert_eq!((model.name.as_str(), model.version.as_str()), ("b", "10"));

        write("a/second.onnx");
        write("d/one.onnx");
        write("d/two.onnx");
        write("e/notes.txt");
        for place in find_models(&root).unwrap() {
            let read = ModelFolder::read(&place);
            assert_eq!(
                read.is_ok(),
                ["a", "b"].contains(&&*place.name),
                "{}",
                place.name
            );
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
