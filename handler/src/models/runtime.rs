//! Where the library of ONNX Runtime lies.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::Config;

const LIBRARY_NAMES: [&str; 3] = [
    "libonnxruntime.so.1",
    "libonnxruntime.so",
    "libonnxruntime.dylib",
];

/// The library that is set, else one beside the program, else one in `bin` or the root of the app.
pub(crate) fn find_runtime(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(path) = &config.runtime_library {
        return Ok(path.clone());
    }
    let program = std::env::current_exe().context("the program cannot determine its own path")?;
    let beside = program.parent().unwrap_or(Path::new("."));
    let places = [
        beside.to_owned(),
        config.app_root.join("bin"),
        config.app_root.clone(),
    ];
    if let Some(library) = places.iter().find_map(|place| library_in(place)) {
        // Absolute, since the loader searches the system for a bare name.
        return std::path::absolute(&library)
            .with_context(|| format!("{} cannot be resolved", library.display()));
    }
    let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    bail!(
        "ONNX Runtime is missing: no {} in {}; run `make runtime` or set ORT_DYLIB_PATH",
        LIBRARY_NAMES[0],
        places.join(", ")
    )
}

/// ONNX Runtime in this very folder.
pub(crate) fn library_in(folder: &Path) -> Option<PathBuf> {
    let mut candidates = LIBRARY_NAMES.iter().map(|name| folder.join(name));
    candidates.find(|candidate| candidate.is_file())
}
