//! Folders of text models, as far as their files go: which ONNX file is served, and what belongs to it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::folder::ModelOptions;
use super::small_file::read_small_file;
use crate::error::LoadError;

/// The file that makes a folder one of a text model.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// The file that lists the modules of sentence-transformers.
const MODULES: &str = "modules.json";
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
    match name.filter(|name| is_below(name)) {
        Some(name) if name.extension().is_some_and(|e| e == "onnx") => Ok(Some(name.to_owned())),
        _ => Err(options.wrong(&format!(
            "text.file: expected an ONNX file below the model's folder, such as \"onnx/model_int8.onnx\"; found {}",
            file.to_string().chars().take(200).collect::<String>()
        ))),
    }
}

/// Whether a folder is to be served as a text model: `model.toml` has a table `[text]` whose task is not `"tensors"`, or
/// there is what sentence-transformers writes, or a tokenizer with the config of a model whose task is known.
pub(super) fn is_text(folder: &Path, options: &ModelOptions) -> bool {
    match &options.text {
        Some(text) => text.get("task").and_then(toml::Value::as_str) != Some("tensors"),
        None => {
            let is_file = |name: &str| folder.join(name).is_file();
            is_file(MODULES) || is_file(TOKENIZER) && has_known_head(folder)
        }
    }
}

/// Whether config.json names a bare transformer, such as `BertModel`, or one with a head whose results have a known meaning.
fn has_known_head(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Config {
        architectures: Vec<String>,
    }
    let file = folder.join("config.json");
    let text = read_small_file(&file, MAX_CONFIG_BYTES).ok();
    let config = text.and_then(|text| serde_json::from_slice::<Config>(&text).ok());
    let first = config.and_then(|config| config.architectures.into_iter().next());
    const ENDS: [&str; 4] = [
        "Model",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForMaskedLM",
    ];
    first.is_some_and(|name| ENDS.iter().any(|end| name.ends_with(end)))
}

/// The files that say how texts become vectors, as sentence-transformers writes them: below the folder, as far as they are
/// there. The code that serves text models reads them, so they belong to the model through links, too: downloads of the
/// Hugging Face hub consist of links out of their folder.
pub(super) fn text_files(folder: &Path) -> BTreeSet<PathBuf> {
    let modules = Module::read_all(folder).into_iter();
    let listed = modules.filter(|module| is_below(&module.path));
    let mut files: BTreeSet<PathBuf> = listed
        .chain([Module::default(), Module::of_pooling()])
        .flat_map(|module| module.files().map(move |name| module.path.join(name)))
        .collect();
    files.retain(|name| folder.join(name).is_file());
    files
}

/// A module of sentence-transformers: by default the transformer, in the folder itself.
#[derive(Default, Deserialize)]
struct Module {
    #[serde(default)]
    path: PathBuf,
    #[serde(default, rename = "type")]
    kind: String,
}

impl Module {
    /// Those that are listed. What is wrong with the list is said when the model is read.
    fn read_all(folder: &Path) -> Vec<Self> {
        let text = read_small_file(&folder.join(MODULES), MAX_CONFIG_BYTES).ok();
        let modules = text.and_then(|text| serde_json::from_slice(&text).ok());
        modules.unwrap_or_default()
    }

    /// The pooling where there is no list.
    fn of_pooling() -> Self {
        Self {
            path: "1_Pooling".into(),
            kind: "Pooling".to_owned(),
        }
    }

    /// The files that are read of it. The weights of the transformer are in the ONNX file.
    fn files(&self) -> std::slice::Iter<'static, &'static str> {
        const TRANSFORMER: &[&str] = &[
            TOKENIZER,
            "tokenizer_config.json",
            "config.json",
            MODULES,
            "config_sentence_transformers.json",
            "sentence_bert_config.json",
            "sentence_roberta_config.json",
            "sentence_distilbert_config.json",
            "sentence_camembert_config.json",
            "sentence_albert_config.json",
            "sentence_xlm-roberta_config.json",
            "sentence_xlnet_config.json",
        ];
        let is_transformer = self.kind.is_empty() || self.kind.ends_with("Transformer");
        match is_transformer {
            true => TRANSFORMER.iter(),
            false => ["config.json", "model.safetensors"].iter(),
        }
    }
}

fn is_below(name: &Path) -> bool {
    let plain = |part| matches!(part, Component::Normal(_));
    name.components().all(plain)
}

/// Whether another file beside a text model may belong to it: all JSON. Beside the model lies much else: other variants,
/// weights for other programs.
pub(super) fn may_describe_texts(name: &Path) -> bool {
    name.extension().is_some_and(|e| e == "json")
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
            r#"{"architectures":["BertForQuestionAnswering"]}"#,
        );
        assert!(!is(""));
        for name in [
            "BertForSequenceClassification",
            "RobertaForTokenClassification",
            "DistilBertForMaskedLM",
        ] {
            write("config.json", &format!("{{\"architectures\":[{name:?}]}}"));
            assert!(is("") && !is("[text]\ntask = \"tensors\""));
        }
        write("config.json", r#"{"architectures":["BertModel"]}"#);
        assert!(is("") && !is("[text]\ntask = \"tensors\""));
        write("config.json", "[]");
        write("modules.json", "[]");
        assert!(is(""));
    }

    #[test]
    fn of_the_files_beside_the_model_those_belong_to_it_that_are_read() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        for name in [
            "tokenizer.json",
            "1_Pooling/config.json",
            "custom/dense/config.json",
            "custom/dense/model.safetensors",
            "model.safetensors",
            "onnx/model_fp16.onnx",
            "openvino/openvino_model.bin",
        ] {
            write(name, "");
        }
        let listed = || text_files(root.path()).into_iter().collect::<Vec<_>>();
        let expected = ["1_Pooling/config.json", "tokenizer.json"].map(PathBuf::from);
        assert_eq!(listed(), expected);
        write("0_Transformer/model.safetensors", "");
        write("0_Transformer/tokenizer_config.json", "");
        let modules = ["0_Transformer", "custom/dense", "../up", "/etc"].map(|path| {
            let kind = if path.starts_with('0') {
                "models.Transformer"
            } else {
                "models.Dense"
            };
            format!("{{\"path\": {path:?}, \"type\": {kind:?}}}")
        });
        write(MODULES, &format!("[{}, {{}}]", modules.join(",")));
        let expected = [
            "0_Transformer/tokenizer_config.json",
            "1_Pooling/config.json",
            "custom/dense/config.json",
            "custom/dense/model.safetensors",
            MODULES,
            "tokenizer.json",
        ];
        assert_eq!(listed(), expected.map(PathBuf::from));
        assert!(may_describe_texts(Path::new("special_tokens_map.json")));
        assert!(!may_describe_texts(Path::new("model.safetensors")));
    }
}
