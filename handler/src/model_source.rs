//! Models as a command line names them: a folder, or one ONNX file with what belongs to it.

mod external_data;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use score::{ModelFolder, ModelPlace};

/// A model and the files it consists of.
#[derive(Debug)]
pub(crate) struct ModelSource {
    /// The name it is served under.
    pub(crate) name: String,
    /// Where it can be loaded from as it lies; `None` for a bare file.
    pub(crate) place: Option<ModelPlace>,
    /// Where each file lies, and its place below `models/<name>`.
    files: Vec<(PathBuf, PathBuf)>,
}

impl ModelSource {
    /// Finds the files of a model.
    ///
    /// # Errors
    /// If there is no model, or a part of it is missing.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        if path.is_dir() {
            return of_folder(path).with_context(|| format!("model {shown}"));
        }
        if !path.exists() {
            bail!("model {shown}: there is no such file or folder");
        }
        if path.extension().is_none_or(|extension| extension != "onnx") {
            bail!("model {shown}: expected a folder with a model.onnx, or a file *.onnx");
        }
        of_file(path).with_context(|| format!("model {shown}"))
    }

    /// Copies the files to `<models>/<name>`.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(crate) fn copy_to(&self, models: &Path) -> anyhow::Result<()> {
        for (from, to) in &self.files {
            let to = models.join(&self.name).join(to);
            let folder = to.parent().unwrap_or(models);
            fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
            fs::copy(from, &to).with_context(|| format!("{} cannot be copied", from.display()))?;
        }
        Ok(())
    }
}

fn of_folder(folder: &Path) -> anyhow::Result<ModelSource> {
    let place = ModelPlace::of_folder(folder)?;
    let model = ModelFolder::read(&place)?;
    let served = model.file.parent().unwrap_or(folder);
    // A folder named by a version keeps that name: the version is served with it.
    let version = served
        .file_name()
        .filter(|name| name.to_string_lossy().parse::<u64>().is_ok());
    let below = version.map(PathBuf::from).unwrap_or_default();
    let mut files = Vec::new();
    collect(served, &below, &mut files)?;
    Ok(ModelSource {
        name: model.name,
        place: Some(place),
        files,
    })
}

/// All files but hidden ones and model cards; neither is a part of a model.
fn collect(folder: &Path, below: &Path, files: &mut Vec<(PathBuf, PathBuf)>) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be read", folder.display());
    for entry in fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let to = below.join(name);
        if path.is_dir() {
            collect(&path, &to, files)?;
        } else if path.extension().is_none_or(|extension| extension != "md") {
            files.push((path, to));
        }
    }
    files.sort();
    Ok(())
}

fn of_file(file: &Path) -> anyhow::Result<ModelSource> {
    let content = fs::read(file).context("it cannot be read")?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut files = vec![(file.to_owned(), PathBuf::from("model.onnx"))];
    for location in external_data::locations(&content)? {
        let data = folder.join(&location);
        if !data.is_file() {
            bail!("its external data {} is missing", data.display());
        }
        files.push((data, location));
    }
    for name in ["model.toml", "preprocessor_config.json"] {
        let beside = folder.join(name);
        if beside.is_file() {
            files.push((beside, PathBuf::from(name)));
        }
    }
    let stem = file.file_stem().unwrap_or_default();
    Ok(ModelSource {
        name: stem.to_string_lossy().into_owned(),
        place: None,
        files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &ModelSource) -> Vec<String> {
        let targets = source.files.iter().map(|(_, to)| to.display().to_string());
        targets.collect()
    }

    #[test]
    fn a_folder_brings_all_but_cards_and_hidden_files_of_its_newest_version() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("iris");
        for file in [
            "1/model.onnx",
            "2/any.onnx",
            "2/data/weights.bin",
            "2/model.toml",
            "2/README.md",
            "2/.git/config",
        ] {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let expected = ["2/any.onnx", "2/data/weights.bin", "2/model.toml"];
        for path in [folder.clone(), folder.join("2")] {
            let source = ModelSource::read(&path).unwrap();
            assert_eq!(source.name, "iris");
            assert_eq!(names(&source), expected);
        }
        let refusal = |path: &Path| format!("{:#}", ModelSource::read(path).unwrap_err());
        assert!(refusal(root.path()).contains("no model.onnx in it"));
        assert!(refusal(&root.path().join("iris.onnx")).ends_with("no such file or folder"));
        assert!(refusal(&folder.join("2/model.toml")).contains("expected a folder"));
        assert!(refusal(&folder.join("2/data/weights.bin")).contains("expected a folder"));
    }

    #[test]
    fn a_bare_file_brings_its_data_and_its_options() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models");
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("seven.onnx");
        fs::copy(models.join("external.onnx"), &file).unwrap();
        let refusal = format!("{:#}", ModelSource::read(&file).unwrap_err());
        assert!(
            refusal.contains("external data") && refusal.contains("model.weights"),
            "{refusal}"
        );
        let others = ["model.toml", "other.onnx", "preprocessor_config.json"];
        for name in ["model.weights"].into_iter().chain(others) {
            fs::write(root.path().join(name), "").unwrap();
        }
        let source = ModelSource::read(&file).unwrap();
        assert_eq!(source.name, "seven");
        assert_eq!(
            names(&source),
            [
                "model.onnx",
                "model.weights",
                "model.toml",
                "preprocessor_config.json"
            ]
        );
        fs::write(&file, "no model").unwrap();
        let refusal = format!("{:#}", ModelSource::read(&file).unwrap_err());
        assert!(refusal.contains("not an ONNX model"), "{refusal}");
    }
}
