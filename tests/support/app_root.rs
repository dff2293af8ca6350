//! The product's app folder as it lies after a deployment, in a temporary directory.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use functions_host::app_folder::AppFolder;
pub(crate) use functions_host::repository;
use tempfile::TempDir;

const RUNTIME: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so.1"
};

/// An app folder with the handler, its functions and models.
#[derive(Clone, Debug)]
pub(crate) struct AppRoot(AppFolder);

impl Deref for AppRoot {
    type Target = AppFolder;

    fn deref(&self) -> &AppFolder {
        &self.0
    }
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
        // Beside the program, so that it can be linked into the folder.
        let folder = tempfile::Builder::new()
            .prefix("app-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary folder");
        std::fs::create_dir(folder.path().join("models")).expect("a new folder");
        Self::of(folder)
    }

    /// An app folder that is complete already.
    pub(crate) fn of(folder: TempDir) -> Self {
        Self(AppFolder::of(folder))
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

    fn link_handler(&self) {
        let program = program();
        let target = self.path().join("bin/handler");
        std::fs::create_dir_all(self.path().join("bin")).expect("a new folder");
        if std::fs::hard_link(&program, &target).is_err() {
            link(&program, &target);
        }
    }

    fn link_runtime(&self) {
        link(&runtime_library(), &self.path().join("bin").join(RUNTIME));
    }
}

/// The program under test: that of this build, or the one that `TEST_PROGRAM` names, such as a release build.
#[allow(
    clippy::disallowed_methods,
    reason = "a wish of the tests, no setting of the program"
)]
pub(crate) fn program() -> PathBuf {
    std::env::var_os("TEST_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_handler").into(), PathBuf::from)
}

/// ONNX Runtime as `make runtime` puts it into `bin`.
///
/// # Panics
///
/// If it is not there yet.
pub(crate) fn runtime_library() -> PathBuf {
    let library = repository().join("bin").join(RUNTIME);
    assert!(
        library.exists(),
        "bin/{RUNTIME} not found: run `make runtime` first"
    );
    library
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
