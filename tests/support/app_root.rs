//! The app folder as it lies after a deployment, in a temporary directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use super::host_config::read_json;

const RUNTIME: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so.1"
};

/// A temporary app folder; removed with the last clone, one of which every host keeps.
#[derive(Clone, Debug)]
pub(crate) struct AppRoot {
    folder: Arc<TempDir>,
}

impl AppRoot {
    /// The repository's host.json and functions, the handler, ONNX Runtime, and no models.
    ///
    /// # Panics
    ///
    /// If ONNX Runtime is not there yet.
    pub(crate) fn new() -> Self {
        let app = Self::bare();
        copy(
            &repository().join("host.json"),
            &app.path().join("host.json"),
        );
        for function in function_folders(&repository()) {
            let name = function.file_name().expect("a folder has a name");
            let target = app.path().join(name);
            std::fs::create_dir(&target).expect("a new folder");
            copy(
                &function.join("function.json"),
                &target.join("function.json"),
            );
        }
        app.link_handler();
        app.link_runtime();
        app
    }

    /// The same with the sample model under `models/mnist`.
    pub(crate) fn with_sample() -> Self {
        let app = Self::new();
        app.link_model("mnist", &repository().join("models/mnist"));
        app
    }

    /// An empty app folder: no host.json, no functions, no handler; `models/` is there.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("app-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary folder");
        std::fs::create_dir(folder.path().join("models")).expect("a new folder");
        Self {
            folder: Arc::new(folder),
        }
    }

    /// An app folder that is complete already.
    pub(crate) fn of(folder: TempDir) -> Self {
        Self {
            folder: Arc::new(folder),
        }
    }

    /// Absolute path of the folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Copies a model to `models/<name>/model.onnx`, with the text of its model.toml if given.
    pub(crate) fn add_model(&self, name: &str, onnx: impl AsRef<Path>, settings: Option<&str>) {
        let file = format!("models/{name}/model.onnx");
        self.write(&file, "");
        copy(onnx.as_ref(), &self.path().join(&file));
        if let Some(settings) = settings {
            self.write(&format!("models/{name}/model.toml"), settings);
        }
    }

    /// Links a whole model folder to `models/<name>`.
    pub(crate) fn link_model(&self, name: &str, folder: &Path) {
        assert!(folder.is_dir(), "no model folder {}", folder.display());
        link(folder, &self.path().join("models").join(name));
    }

    /// Removes `models/<name>`.
    pub(crate) fn remove_model(&self, name: &str) {
        let model = self.path().join("models").join(name);
        let removed = match model.is_symlink() {
            true => std::fs::remove_file(&model),
            false => std::fs::remove_dir_all(&model),
        };
        removed.unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    }

    /// Writes a file, replacing what is there; its folders are made.
    pub(crate) fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("a new folder");
        std::fs::write(&path, content)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Changes a JSON file, `host.json` or `score_queue/function.json`, before the host reads it.
    pub(crate) fn edit_json(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = read_json(&self.path().join(file));
        change(&mut value);
        self.write(file, value.to_string());
    }

    fn link_handler(&self) {
        let program = Path::new(env!("CARGO_BIN_EXE_handler"));
        let target = self.path().join("bin/handler");
        std::fs::create_dir_all(self.path().join("bin")).expect("a new folder");
        if std::fs::hard_link(program, &target).is_err() {
            link(program, &target);
        }
    }

    fn link_runtime(&self) {
        let library = repository().join("bin").join(RUNTIME);
        assert!(
            library.exists(),
            "bin/{RUNTIME} not found: run `make runtime` first"
        );
        link(&library, &self.path().join("bin").join(RUNTIME));
    }
}

/// Where host.json and the sample models lie.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a member lies in the workspace")
        .to_path_buf()
}

/// The folders in `root` that hold a function.json.
pub(crate) fn function_folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).expect("the repository can be read");
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|folder| folder.join("function.json").is_file())
        .collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

fn link(from: &Path, to: &Path) {
    let from = from
        .canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    std::os::unix::fs::symlink(&from, to)
        .unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}
