//! The readers of a model's files, for [`crate::entry_points`].

use std::fs;
use std::path::{Component, Path};

use super::onnx_file::OnnxFile;
use super::options_file::read_options;
use super::preprocessor::{FILE, Preprocessor};
use super::text_folder::{is_text, text_files};
use super::{ModelOptions, files};
use crate::signature::ModelSignature;

pub(crate) fn onnx(file: &Path) {
    let Ok(read) = OnnxFile::read(file) else {
        return;
    };
    let plain = |part| matches!(part, Component::Normal(_));
    assert!(read.data.keys().all(|name| name.components().all(plain)));
    let folder = file.parent().unwrap_or(file);
    // What is missing is an error, and errors are as good as data here.
    let _ = read.check_data(folder);
}

pub(crate) fn options(folder: &Path, data: &[u8], signature: &ModelSignature) {
    for name in [files::OPTIONS, FILE, "modules.json", "config.json"] {
        if fs::write(folder.join(name), data).is_err() {
            return;
        }
    }
    let read = read_options(folder.join(files::OPTIONS)).unwrap_or_default();
    for options in [&read, &ModelOptions::default()] {
        is_text(folder, options);
    }
    let preprocessor = Preprocessor::read(folder);
    if let (Some(preprocessor), Some(spec)) = (preprocessor, Preprocessor::input(signature)) {
        let mut input = read.inputs.get(&spec.name).cloned().unwrap_or_default();
        preprocessor.complete(spec, &mut input);
    }
    let plain = |part| matches!(part, Component::Normal(_));
    assert!(
        text_files(folder)
            .iter()
            .all(|name| name.components().all(plain))
    );
}
