//! What lies in a folder without an ONNX file, for those who expected a model there.

use std::fs;
use std::path::Path;

use super::folder::{folders_in, is_onnx, name_of, onnx_files};
use super::onnx_file::kind_of;

/// Files of other formats that are taken for models.
const OTHER_MODELS: [&str; 17] = [
    "safetensors",
    "pt",
    "pth",
    "bin",
    "ckpt",
    "gguf",
    "h5",
    "hdf5",
    "keras",
    "tflite",
    "pkl",
    "pickle",
    "joblib",
    "pmml",
    "ort",
    "cbm",
    "zip",
];

/// Why there is no model in the folder, and what to change.
pub(super) fn what_is_there(folder: &Path) -> String {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    if let Some(path) = entries.iter().find(|path| is_onnx(path)) {
        let name = name_of(path);
        return match path.metadata() {
            Ok(found) if found.is_dir() => {
                format!("{name} is a folder; move its files up, into the folder it is in")
            }
            Ok(_) => format!("{name} is not a regular file"),
            Err(_) => format!("{name} is a link that leads nowhere, or it cannot be read"),
        };
    }
    for inner in folders_in(folder).unwrap_or_default() {
        let name = name_of(&inner);
        if onnx_files(&inner).is_ok_and(|files| !files.is_empty()) {
            return format!(
                "no model.onnx in it, but in {name}; move the files up, or call their folder by a version number alone"
            );
        }
        // How Triton wants a model with external data.
        if inner.join("model.onnx").is_dir() {
            return format!("{name}/model.onnx is a folder; move its files up, into {name}");
        }
    }
    let is_other = |path: &&std::path::PathBuf| {
        let extension = path.extension().unwrap_or_default();
        OTHER_MODELS
            .iter()
            .any(|other| extension.eq_ignore_ascii_case(other))
            && path.is_file()
    };
    let other = entries.iter().find(is_other);
    let kind =
        other.and_then(|path| Some((name_of(path), kind_of(path, path.metadata().ok()?.len())?)));
    match kind {
        Some((name, kind)) => format!("no model.onnx in it; {name} is {kind}"),
        None => "no model.onnx in it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_put_there_instead_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        assert_eq!(what_is_there(folder), "no model.onnx in it");
        fs::write(
            folder.join("model.safetensors"),
            b"\x40\0\0\0\0\0\0\0{\"w\":",
        )
        .unwrap();
        assert!(what_is_there(folder).contains("model.safetensors is a safetensors file"));
        fs::create_dir(folder.join("onnx")).unwrap();
        fs::write(folder.join("onnx/model_quantized.onnx"), "").unwrap();
        assert!(what_is_there(folder).starts_with("no model.onnx in it, but in onnx; move"));
        fs::remove_dir_all(folder.join("onnx")).unwrap();
        fs::create_dir_all(folder.join("1/model.onnx")).unwrap();
        assert!(what_is_there(folder).starts_with("1/model.onnx is a folder; move"));
        fs::create_dir(folder.join("model.onnx")).unwrap();
        assert!(what_is_there(folder).starts_with("model.onnx is a folder; move"));
    }
}
