//! Folders of text models, as far as their files go: which ONNX file is served, and what belongs to it.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::folder::ModelOptions;
use super::small_file::read_small_file;
use crate::error::LoadError;

/// The file that makes a folder one of a text model.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// Longer ones are something else under that name.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The ONNX file that `[text]` in `model.toml` chooses, below the folder.
///
/// # Errors
/// If it is no name of a file below the folder.
pub(super) fn chosen_file(options: &ModelOptions) -> Result<Option<PathBuf>, LoadError> {
    let Some(file) = options.text.as_ref().and_then(|text| text.get("file")) else {
        return Ok(None);
    };
    let name = file.as_str().map(Path::new);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    match name.filter(|name| name.components().all(plain)) {
        Some(name) if name.extension().is_some_and(|e| e == "onnx") => Ok(Some(name.to_owned())),
        _ => Err(options.wrong(&format!(
            "text.file: expected an ONNX file below the model's folder, such as \"onnx/model_int8.onnx\"; found {}",
            file.to_string().chars().take(200).collect::<String>()
        ))),
    }
}

/// Whether a folder is to be served as a text model: `model.toml` has a table `[text]` whose task is not `"tensors"`, or
/// there is what sentence-transformers writes, or a tokenizer with the config of a model without a head.
pub(super) fn is_text(folder: &Path, options: &ModelOptions) -> bool {
    match &options.text {
        Some(text) => text.get("task").and_then(toml::Value::as_str) != Some("tensors"),
        None => {
            let is_file = |name: &str| folder.join(name).is_file();
            is_file("modules.json") || is_file(TOKENIZER) && has_no_head(folder)
        }
    }
}

/// Whether config.json names a bare transformer, such as `BertModel`; one with a head is `BertForMaskedLM`.
fn has_no_head(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Config {
        architectures: Vec<String>,
    }
    let file = folder.join("config.json");
    let text = read_small_file(&file, MAX_CONFIG_BYTES).ok();
    let config = text.and_then(|text| serde_json::from_slice::<Config>(&text).ok());
    let first = config.and_then(|config| config.architectures.into_iter().next());
    first.is_some_and(|name| name.ends_with("Model") || name.ends_with("EncoderModel"))
}

/// Whether a file may say how texts become vectors: JSON, and the weights of sentence-transformers' modules such as
/// `2_Dense/model.safetensors`. Beside the model lies much else: other variants, weights for other programs.
pub(super) fn may_describe_texts(name: &Path) -> bool {
    let is_json = name.extension().is_some_and(|e| e == "json");
    let parent = name.parent().and_then(Path::to_str).unwrap_or_default();
    let in_module = parent.starts_with(|c: char| c.is_ascii_digit());
    is_json
        || in_module
            && name
                .file_name()
                .is_some_and(|name| name == "model.safetensors")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn options(text: &str) -> ModelOptions {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_file_is_chosen_below_the_folder_only() {
        let chosen = |file: &str| chosen_file(&options(&format!("[text]\nfile = {file}")));
        let name = chosen("\"onnx/model_int8.onnx\"").unwrap();
        assert_eq!(name.as_deref(), Some(Path::new("onnx/model_int8.onnx")));
        assert_eq!(chosen_file(&options("")).unwrap(), None);
        for wrong in ["\"../m.onnx\"", "\"/m.onnx\"", "\"model.bin\"", "1"] {
            let message = chosen(wrong).unwrap_err().to_string();
            assert!(
                message.contains("text.file: expected an ONNX file"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_tokenizer_alone_makes_no_text_model() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        let is = |toml: &str| is_text(root.path(), &options(toml));
        assert!(!is("") && is("[text]") && !is("[text]\ntask = \"tensors\""));
        write(TOKENIZER, "{}");
        assert!(!is(""));
        write(
            "config.json",
            r#"{"architectures":["BertForSequenceClassification"]}"#,
        );
        assert!(!is(""));
        write("config.json", r#"{"architectures":["BertModel"]}"#);
        assert!(is("") && !is("[text]\ntask = \"tensors\""));
        write("config.json", "[]");
        write("modules.json", "[]");
        assert!(is(""));
    }

    #[test]
    fn of_the_files_beside_the_model_few_belong_to_it() {
        for (name, belongs) in [
            ("tokenizer.json", true),
            ("1_Pooling/config.json", true),
            ("2_Dense/model.safetensors", true),
            ("model.safetensors", false),
            ("onnx/model_fp16.onnx", false),
            ("openvino/openvino_model.bin", false),
        ] {
            assert_eq!(may_describe_texts(Path::new(name)), belongs, "{name}");
        }
    }
}
