//! Models as the command line names them: a folder, or an ONNX file with the files that belong to it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use score::{ModelFiles, ModelFolder, ModelPlace, check_name, move_weights_out};

/// A model and the files it consists of.
#[derive(Debug)]
pub(crate) struct ModelSource {
    /// The name it is served under.
    pub(crate) name: String,
    /// Where it can be loaded from as it is; `None` for a single file.
    pub(crate) place: Option<ModelPlace>,
    /// Its files, each with its path below `models/<name>`.
    pub(crate) files: ModelFiles,
    /// The place of a text model's ONNX file below `models/<name>`.
    text: Option<PathBuf>,
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
        if !path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
        {
            bail!("model {shown}: expected a folder with a model.onnx, or a file *.onnx");
        }
        of_file(path).with_context(|| format!("model {shown}"))
    }

    /// Copies the files to `<models>/<name>`.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(crate) fn copy_to(&self, models: &Path) -> anyhow::Result<()> {
        for (from, to) in &self.files.files {
            // Tools write external data so that only its owner can read it, and the server runs as another user.
            copy(from, &models.join(&self.name).join(to), 0o644)?;
        }
        Ok(())
    }

    /// Moves the weights of a text model that was copied to `<models>/<name>` into a file of their own, if that is not where
    /// they are. Each of its sessions maps them then, where it would have a copy. Other models have a single session, or are
    /// small.
    ///
    /// # Errors
    /// If the copy cannot be read or written.
    pub(crate) fn move_weights_out(&self, models: &Path) -> anyhow::Result<()> {
        let Some(place) = &self.text else {
            return Ok(());
        };
        let file = models.join(&self.name).join(place);
        if let Some(data) = move_weights_out(&file)? {
            set_mode(&data, 0o644)
                .with_context(|| format!("{} cannot be written", data.display()))?;
        }
        Ok(())
    }
}

/// Copies one file and makes its folder. Copies the content of a link: the link would lead nowhere after a deployment.
///
/// # Errors
/// If it cannot be read or written.
pub(crate) fn copy(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("{} cannot be copied", from.display()))?;
    set_mode(to, mode).with_context(|| format!("{} cannot be written", to.display()))
}

#[cfg(unix)]
fn set_mode(file: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}

fn of_folder(folder: &Path) -> anyhow::Result<ModelSource> {
    let place = ModelPlace::of_folder(folder)?;
    let model = ModelFolder::read(&place)?;
    Ok(ModelSource {
        text: text_file(&model),
        name: model.name,
        place: Some(place),
        files: model.files,
    })
}

fn text_file(model: &ModelFolder) -> Option<PathBuf> {
    let mut files = model.files.files.iter().filter(|_| model.is_text);
    let (_, place) = files.find(|(from, _)| *from == model.file)?;
    Some(place.clone())
}

fn of_file(file: &Path) -> anyhow::Result<ModelSource> {
    let stem = file.file_stem().unwrap_or_default();
    let name = stem.to_string_lossy().into_owned();
    check_name(&name).map_err(|reason| {
        let better = possible_name(&name);
        anyhow!("it would be called {name:?}; {reason}; rename the file, such as to {better}.onnx")
    })?;
    Ok(ModelSource {
        name,
        place: None,
        files: ModelFiles::of_file(file)?,
        text: None,
    })
}

/// A name that a model may have, made of one that it may not.
fn possible_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let plain = words.join("_");
    let plain = plain.trim_start_matches('.');
    match check_name(plain) {
        Ok(()) => plain.to_owned(),
        // Nothing is left, or it is the name of a path.
        Err(_) => format!("{plain}_model").trim_start_matches('_').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &ModelSource) -> Vec<String> {
        let targets = source.files.files.iter();
        targets.map(|(_, to)| to.display().to_string()).collect()
    }

    /// A model that is an empty graph.
    const MODEL: &[u8] = b"\x3a\x00";

    #[test]
    fn a_file_of_an_impossible_name_is_told_a_possible_one() {
        for (name, possible) in [
            ("iris (1)", "iris_1"),
            ("my model", "my_model"),
            ("Été", "t"),
            ("..", "model"),
            ("模型", "model"),
            ("v2", "v2_model"),
        ] {
            assert_eq!(possible_name(name), possible);
            assert_eq!(check_name(possible), Ok(()));
        }
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("iris (1).onnx");
        fs::write(&file, MODEL).unwrap();
        let refused = refusal(&file);
        assert!(
            refused.ends_with("rename the file, such as to iris_1.onnx"),
            "{refused}"
        );
    }

    fn refusal(path: &Path) -> String {
        format!("{:#}", ModelSource::read(path).unwrap_err())
    }

    #[test]
    fn a_folder_brings_all_but_cards_and_hidden_files_of_its_newest_version() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("iris");
        for file in [
            "model.toml",
            "1/model.onnx",
            "2/any.onnx",
            "2/._any.onnx",
            "2/data/weights.bin",
            "2/README.md",
            "2/.git/config",
        ] {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, if file.ends_with("onnx") { MODEL } else { b"" }).unwrap();
        }
        let expected = ["2/any.onnx", "2/data/weights.bin", "model.toml"];
        for path in [folder.clone(), folder.join("2")] {
            let source = ModelSource::read(&path).unwrap();
            assert_eq!(source.name, "iris");
            assert_eq!(names(&source), expected);
        }
        fs::write(folder.join("2/model.toml"), "").unwrap();
        let source = ModelSource::read(&folder).unwrap();
        assert_eq!(names(&source)[2], "2/model.toml");
        let empty = root.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let said = refusal(&empty);
        assert!(said.contains("no model.onnx in it"), "{said}");
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
        assert!(refusal(&file).contains("external data \"model.weights\" is missing"));
        let others = ["model.toml", "other.onnx", "preprocessor_config.json"];
        for name in ["model.weights"].into_iter().chain(others) {
            fs::write(root.path().join(name), "").unwrap();
        }
        assert!(refusal(&file).contains("\"model.weights\" is an empty file"));
        fs::write(root.path().join("model.weights"), [0; 4]).unwrap();
        let source = ModelSource::read(&file).unwrap();
        assert_eq!(source.name, "seven");
        assert_eq!(
            names(&source),
            [
                "model.weights",
                "preprocessor_config.json",
                "model.onnx",
                "model.toml"
            ]
        );
        fs::write(&file, "no model").unwrap();
        assert!(refusal(&file).contains("not an ONNX model but a text file"));
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused() {
        let root = tempfile::tempdir().unwrap();
        for name in ["..onnx", "...onnx", "a b.onnx", "v2.onnx"] {
            let file = root.path().join(name);
            fs::write(&file, MODEL).unwrap();
            assert!(refusal(&file).contains("a model's name may hold"), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_bring_what_the_model_names_and_nothing_else() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let root = tempfile::tempdir().unwrap();
        let (blobs, folder) = (
            root.path().join("blobs"),
            root.path().join("snapshots/tiny"),
        );
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(&folder).unwrap();
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models");
        fs::copy(models.join("external.onnx"), blobs.join("11")).unwrap();
        fs::write(blobs.join("22"), 7f32.to_le_bytes()).unwrap();
        fs::set_permissions(blobs.join("22"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(blobs.join("33"), "a tokenizer").unwrap();
        fs::write(folder.join("labels.txt"), "").unwrap();
        for (target, name) in [
            ("../../blobs/11", "model.onnx"),
            ("../../blobs/22", "model.weights"),
            ("../../blobs/33", "tokenizer.json"),
            ("labels.txt", "classes.txt"),
            ("/etc/passwd", "passwd"),
            ("/dev/zero", "zero"),
            (".", "circle"),
            ("../..", "circle2"),
            ("itself", "itself"),
            ("nowhere", "nowhere"),
        ] {
            symlink(target, folder.join(name)).unwrap();
        }
        let source = ModelSource::read(&folder).unwrap();
        let expected = ["classes.txt", "labels.txt", "model.onnx", "model.weights"];
        assert_eq!(names(&source), expected);
        assert_eq!(
            source.files.left_out.len(),
            7,
            "{:?}",
            source.files.left_out
        );
        source.copy_to(root.path()).unwrap();
        let copy = root
            .path()
            .join("tiny/model.weights")
            .symlink_metadata()
            .unwrap();
        assert!(copy.is_file() && copy.permissions().mode() & 0o777 == 0o644);
        let copied = ModelFolder::read(&ModelPlace::of_folder(&root.path().join("tiny")).unwrap());
        let original = ModelFolder::read(&source.place.unwrap());
        assert_eq!(
            copied.unwrap().digest().unwrap(),
            original.unwrap().digest().unwrap()
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_would_never_end_is_not_read() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("m");
        fs::create_dir(&folder).unwrap();
        symlink("/dev/zero", folder.join("model.onnx")).unwrap();
        assert!(refusal(&folder).contains("model.onnx is not a regular file"));
        fs::remove_file(folder.join("model.onnx")).unwrap();
        fs::write(folder.join("model.onnx"), MODEL).unwrap();
        symlink("/dev/zero", folder.join("model.toml")).unwrap();
        assert!(refusal(&folder).contains("expected a text file"));
        fs::remove_file(folder.join("model.toml")).unwrap();
        let fifo = std::process::Command::new("mkfifo")
            .arg(folder.join("pipe"))
            .status();
        assert!(fifo.unwrap().success());
        let source = ModelSource::read(&folder).unwrap();
        assert_eq!(source.files.left_out, ["pipe is not a regular file"]);
    }
}
