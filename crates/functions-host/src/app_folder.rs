//! The folder of a Functions app, as it lies after a deployment.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use super::host_config::read_json;

/// A temporary app folder; removed with the last clone, one of which every host keeps.
#[derive(Clone, Debug)]
pub struct AppFolder {
    folder: Arc<TempDir>,
}

impl AppFolder {
    /// An empty app folder: no host.json, no functions, no handler.
    ///
    /// # Panics
    ///
    /// If the system's folder for temporary files cannot be written.
    pub fn bare() -> Self {
        let folder = tempfile::Builder::new().prefix("app-").tempdir();
        Self::of(folder.expect("a temporary folder"))
    }

    /// An app folder that is complete already.
    pub fn of(folder: TempDir) -> Self {
        Self {
            folder: Arc::new(folder),
        }
    }

    /// Absolute path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, replacing what is there; its folders are made.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("a new folder");
        std::fs::write(&path, content)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Changes a JSON file, `host.json` or `score_queue/function.json`, before the host reads it.
    ///
    /// # Panics
    ///
    /// If the file is not there or holds no JSON.
    pub fn edit_json(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = read_json(&self.path().join(file));
        change(&mut value);
        self.write(file, value.to_string());
    }
}
