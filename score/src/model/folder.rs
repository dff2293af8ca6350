//! A model on disk: `<folder>/model.onnx`, what lies beside it, and `model.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

use crate::error::LoadError;
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
    /// How pictures become inputs, by input name.
    #[serde(default)]
    pub inputs: BTreeMap<String, ImageOptions>,
}

/// How a picture becomes an input. What is not given follows from the input's shape and type.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageOptions {
    /// Width and height in pixels to which pictures are scaled.
    pub size: Option<[u32; 2]>,
    /// The order of axes.
    pub layout: Option<ImageLayout>,
    /// By what 8-bit values are multiplied; 1/255 for floats and 1 for integers if not given.
    pub scale: Option<f32>,
    /// What is subtracted after scaling: one number, or one per channel.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// By what is divided then: one number, or one per channel.
    #[serde(default)]
    pub std: Vec<f32>,
}

/// The order of a picture's axes, after the row's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageLayout {
    /// Height, width; one channel of grey.
    Hw,
    /// Channels, height, width.
    Chw,
    /// Height, width, channels.
    Hwc,
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
    /// The folder's name, by which callers choose the model.
    pub name: String,
    /// The ONNX file.
    pub file: PathBuf,
    /// The content of `model.toml`.
    pub options: ModelOptions,
    /// Digest of the ONNX file and of every other file beside it that may hold a part of the model.
    pub digest: blake3::Hash,
}

impl ModelFolder {
    /// Reads the folder and digests its files.
    ///
    /// # Errors
    /// If there is no `model.onnx`, a file cannot be read, or `model.toml` has a mistake.
    pub fn read(folder: &Path) -> Result<Self, LoadError> {
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !is_usable_name(&name) {
            return Err(LoadError::Model {
                path: folder.display().to_string(),
                reason: format!(
                    "a model's name may hold letters, digits, '.', '_' and '-', and is not one of {}",
                    RESERVED_NAMES.join(", ")
                ),
            });
        }
        let file = folder.join("model.onnx");
        if !file.is_file() {
            return Err(LoadError::Model {
                path: file.display().to_string(),
                reason: "no such file".to_owned(),
            });
        }
        let options = read_options(&folder.join("model.toml"))?;
        let digest = digest(folder).map_err(|error| LoadError::Model {
            path: folder.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            name,
            file,
            options,
            digest,
        })
    }
}

impl ModelFolder {
    /// A mistake in `model.toml` that shows only beside the model.
    pub(crate) fn wrong_options(&self, reason: &str) -> LoadError {
        let file = self.file.with_file_name("model.toml");
        LoadError::Options {
            path: file.display().to_string(),
            reason: reason.to_owned(),
        }
    }
}

/// The folders in `root` that are models or ought to be, sorted by name.
///
/// # Errors
/// If `root` cannot be read.
pub fn find_models(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
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
        Ok(text) => toml::from_str(&text).map_err(|error| failed(one_line(&text, &error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ModelOptions::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The library's own text draws the place over several lines; a log has one line per event.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line = text[..start.min(text.len())].matches('\n').count() + 1;
    format!("line {line}: {}", error.message())
}

/// External data may have any name, so every file counts but those that certainly hold no weights. One file too many
/// only costs remembered results; one too few would let a changed model answer with old ones.
fn digest(folder: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    for file in files_below(folder)? {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        if name == Path::new("model.toml") || name.extension().is_some_and(|e| e == "md") {
            continue;
        }
        let mut content = blake3::Hasher::new();
        content.update_reader(fs::File::open(&file)?)?;
        hasher.update(blake3::hash(name.as_os_str().as_encoded_bytes()).as_bytes());
        hasher.update(content.finalize().as_bytes());
    }
    Ok(hasher.finalize())
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
        let unknown = toml::from_str::<ModelOptions>("output = [\"label\"]").unwrap_err();
        assert!(unknown.to_string().contains("`output`"), "{unknown}");
        assert!(toml::from_str::<ModelOptions>("rows = \"apart\"").is_err());
    }
}
