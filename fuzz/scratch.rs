//! A folder for readers that read files.

use std::path::Path;
use std::sync::OnceLock;

/// The same folder as long as the process runs.
///
/// # Panics
/// If none can be made.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| tempfile::tempdir().expect("a temporary folder"))
        .path()
}
