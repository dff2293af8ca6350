//! The JSON files of a text model's folder.

mod head;
mod mistake;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use score::{LoadError, quoted, read_small_file};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::pooling::Pooling;
use crate::sparse::SparsePooling;
use crate::strategy::Strategy;
pub(crate) use head::{Crosses, HeadConfig};

/// Longer ones are something else under that name.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// The vocabulary of a model for all languages takes 17 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// What Git LFS leaves of a file that it has not fetched.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Reads a file of at most so many bytes; `None` if there is none.
///
/// # Errors
/// If it cannot be read or is too long.
pub(crate) fn read_bytes(file: &Path, most: u64) -> Result<Option<Vec<u8>>, LoadError> {
    match read_small_file(file, most) {
        Ok(content) if content.starts_with(LFS_POINTER) => {
            let reason = "it is a Git LFS pointer, not the file itself: run `git lfs pull` in the clone it comes from";
            Err(wrong(file, reason.to_owned()))
        }
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(file, error.to_string())),
    }
}

/// The content of `tokenizer.json`.
///
/// # Errors
/// If it is missing or cannot be read.
pub(crate) fn read_tokenizer(folder: &Path) -> Result<Vec<u8>, LoadError> {
    let file = folder.join("tokenizer.json");
    read_bytes(&file, MAX_TOKENIZER_BYTES)?.ok_or_else(|| {
        let reason = "there is no such file, and a text model needs it; save the tokenizer there \
                      (AutoTokenizer.from_pretrained(...).save_pretrained(...)), or serve the model's own tensors by \
                      task = \"tensors\" in [text] of model.toml";
        wrong(&file, reason.to_owned())
    })
}

/// A mistake in a file of the folder.
pub(crate) fn wrong(file: &Path, reason: String) -> LoadError {
    LoadError::Model {
        path: file.display().to_string(),
        reason,
    }
}

pub(crate) fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, LoadError> {
    let Some(text) = read_bytes(file, MAX_CONFIG_BYTES)? else {
        return Ok(None);
    };
    // As Python reads it: an empty object may be written as nothing.
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_slice(&text);
    value
        .map(Some)
        .map_err(|error| wrong(file, mistake::explained(&text, &error)))
}

/// `config.json`: the transformer itself.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TransformerConfig {
    #[serde(default)]
    pub(crate) model_type: Option<String>,
    #[serde(default)]
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    pad_token_id: Option<i64>,
    /// The other members: whether positions are learned shows in their names.
    #[serde(flatten)]
    rest: BTreeMap<String, serde::de::IgnoredAny>,
}

impl TransformerConfig {
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        Ok(read(&folder.join("config.json"))?.unwrap_or_default())
    }

    /// The filler for shorter texts of a run, if the config names it. It is masked.
    pub(crate) fn padding(&self) -> Option<i64> {
        self.pad_token_id.filter(|id| *id >= 0)
    }

    /// Tokens beyond which there are no positions, if positions are learned; the model fails on longer texts.
    pub(crate) fn most_positions(&self) -> Option<usize> {
        let relative = ["rope_", "rotary_", "alibi", "relative_attention"];
        let is_relative = |key: &String| relative.iter().any(|start| key.starts_with(start));
        if self.rest.keys().any(is_relative) {
            return None;
        }
        // RoBERTa counts positions from the padding's id + 1.
        let from = match self.model_type.as_deref() {
            Some(
                "roberta" | "xlm-roberta" | "camembert" | "mpnet" | "longformer" | "data2vec-text",
            ) => 2,
            _ => 0,
        };
        self.max_position_embeddings?.checked_sub(from)
    }
}

/// `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerConfig {
    #[serde(default)]
    model_max_length: Option<f64>,
    #[serde(default)]
    pub(crate) truncation_side: Option<String>,
    #[serde(default)]
    truncation_strategy: Option<String>,
    #[serde(default)]
    pad_token: Option<TokenName>,
    #[serde(default)]
    unk_token: Option<TokenName>,
}

/// The name of a token, or an object that holds it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TokenName {
    Name(String),
    Token { content: String },
}

impl TokenizerConfig {
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        Ok(read(&folder.join("tokenizer_config.json"))?.unwrap_or_default())
    }

    /// Tokens of a text. A number such as 1e30 stands for none.
    pub(crate) fn max_tokens(&self) -> Option<usize> {
        let sensible = |length: &f64| (1.0..1e9).contains(length);
        self.model_max_length
            .filter(sensible)
            .map(|length| length as usize)
    }

    /// The token that fills up shorter texts.
    pub(crate) fn padding(&self) -> Option<&str> {
        self.pad_token.as_ref().map(TokenName::as_str)
    }

    /// The token for what the vocabulary does not have.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.unk_token.as_ref().map(TokenName::as_str)
    }

    /// Which text of a pair is cut, in a folder with this config.
    ///
    /// # Errors
    /// If it is none of the known ways.
    pub(crate) fn strategy(&self, folder: &Path) -> Result<Strategy, LoadError> {
        match self.truncation_strategy.as_deref() {
            None | Some("longest_first") => Ok(Strategy::LongestFirst),
            Some("only_first") => Ok(Strategy::OnlyFirst),
            Some("only_second") => Ok(Strategy::OnlySecond),
            Some(other) => {
                let found = quoted(other);
                let reason = format!(
                    "truncation_strategy: expected longest_first, only_first or only_second; found {found}"
                );
                Err(wrong(&folder.join("tokenizer_config.json"), reason))
            }
        }
    }
}

impl TokenName {
    fn as_str(&self) -> &str {
        match self {
            Self::Name(name) | Self::Token { content: name } => name,
        }
    }
}

/// `modules.json` of sentence-transformers: one entry.
#[derive(Debug, Deserialize)]
pub(crate) struct Module {
    #[serde(default)]
    pub(crate) path: String,
    #[serde(rename = "type")]
    full_type: String,
}

impl Module {
    /// The modules, in their order; `None` without the file.
    pub(crate) fn read_all(folder: &Path) -> Result<Option<Vec<Self>>, LoadError> {
        read(&folder.join("modules.json"))
    }

    /// The type without the Python module it is in, which differs between releases.
    pub(crate) fn kind(&self) -> &str {
        let kind = self.full_type.rsplit('.').next();
        kind.unwrap_or(&self.full_type)
    }
}

/// `sentence_bert_config.json`, which older releases named after the transformer.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SentenceConfig {
    #[serde(default)]
    pub(crate) max_seq_length: Option<usize>,
    #[serde(default)]
    pub(crate) do_lower_case: Option<bool>,
}

impl SentenceConfig {
    const NAMES: [&str; 7] = [
        "bert",
        "roberta",
        "distilbert",
        "camembert",
        "albert",
        "xlm-roberta",
        "xlnet",
    ];

    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        for name in Self::NAMES {
            if let Some(config) = read(&folder.join(format!("sentence_{name}_config.json")))? {
                return Ok(config);
            }
        }
        Ok(Self::default())
    }
}

/// `config_sentence_transformers.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PromptConfig {
    #[serde(default)]
    pub(crate) model_type: Option<String>,
    #[serde(default)]
    pub(crate) activation_fn: Option<String>,
    #[serde(default)]
    pub(crate) prompts: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) default_prompt_name: Option<String>,
}

impl PromptConfig {
    pub(crate) fn file(folder: &Path) -> PathBuf {
        folder.join("config_sentence_transformers.json")
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        Ok(read(&Self::file(folder))?.unwrap_or_default())
    }
}

/// `1_Pooling/config.json`: `pooling_mode` since sentence-transformers 5.4, before that a boolean for each way.
#[derive(Debug, Default, Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode: Option<Pooling>,
    #[serde(default, alias = "embedding_dimension")]
    word_embedding_dimension: Option<usize>,
    #[serde(default)]
    include_prompt: Option<bool>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
}

/// What a pooling config says.
#[derive(Debug)]
pub(crate) struct PoolingFile {
    pub(crate) pooling: Pooling,
    /// The width of a token's vector.
    pub(crate) width: Option<usize>,
    pub(crate) include_prompt: bool,
}

/// Reads the config in this folder of a module; `None` if there is none.
///
/// # Errors
/// If it is unreadable, or asks for a way to pool that is not known.
pub(crate) fn read_pooling(folder: &Path) -> Result<Option<PoolingFile>, LoadError> {
    let file = folder.join("config.json");
    let Some(config) = read::<PoolingConfig>(&file)? else {
        return Ok(None);
    };
    // In the order in which sentence-transformers concatenates them.
    let flags = [
        ("cls", config.pooling_mode_cls_token),
        ("max", config.pooling_mode_max_tokens),
        ("mean", config.pooling_mode_mean_tokens),
        (
            "mean_sqrt_len_tokens",
            config.pooling_mode_mean_sqrt_len_tokens,
        ),
        ("weightedmean", config.pooling_mode_weightedmean_tokens),
        ("lasttoken", config.pooling_mode_lasttoken),
    ];
    let mut names: Vec<&str> = flags
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() {
        names.push("mean");
    }
    let pooling = match config.pooling_mode {
        Some(pooling) => pooling,
        None => Pooling::of_names(names).map_err(|reason| wrong(&file, reason))?,
    };
    Ok(Some(PoolingFile {
        pooling,
        width: config.word_embedding_dimension,
        include_prompt: config.include_prompt.unwrap_or(true),
    }))
}

/// Reads the config of `SpladePooling` in this folder of a module.
///
/// # Errors
/// If it is missing, unreadable, or asks for a way to pool that is not known.
pub(crate) fn read_sparse(folder: &Path) -> Result<SparsePooling, LoadError> {
    let file = folder.join("config.json");
    read(&file)?.ok_or_else(|| missing_module(&file))
}

/// The config of a module that modules.json lists, and that is not there.
pub(crate) fn missing_module(file: &Path) -> LoadError {
    wrong(
        file,
        "there is no such file, and modules.json names its folder".to_owned(),
    )
}

/// `2_Dense/config.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct DenseConfig {
    pub(crate) in_features: usize,
    pub(crate) out_features: usize,
    #[serde(default = "yes")]
    pub(crate) bias: bool,
    #[serde(default)]
    pub(crate) activation_function: Option<String>,
    #[serde(default)]
    pub(crate) use_residual: bool,
    #[serde(default)]
    pub(crate) module_input_name: Option<String>,
}

fn yes() -> bool {
    true
}

impl DenseConfig {
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        let file = folder.join("config.json");
        read(&file)?.ok_or_else(|| missing_module(&file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: DeserializeOwned>(text: &str) -> T {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn learned_positions_bound_the_tokens() {
        let most = |text: &str| parse::<TransformerConfig>(text).most_positions();
        assert_eq!(
            most(r#"{"model_type":"bert","max_position_embeddings":512}"#),
            Some(512)
        );
        assert_eq!(
            most(r#"{"model_type":"xlm-roberta","max_position_embeddings":514}"#),
            Some(512)
        );
        assert_eq!(
            most(r#"{"max_position_embeddings":2048,"rope_theta":1e4}"#),
            None
        );
        assert_eq!(most("{}"), None);
    }

    #[test]
    fn a_tokenizers_limit_counts_only_if_it_is_one() {
        let most = |text: &str| parse::<TokenizerConfig>(text).max_tokens();
        assert_eq!(most(r#"{"model_max_length":512}"#), Some(512));
        assert_eq!(
            most(r#"{"model_max_length":1000000000000000019884624838656}"#),
            None
        );
        assert_eq!(most("{}"), None);
        let config: TokenizerConfig = parse(r#"{"pad_token":{"content":"<pad>","lstrip":false}}"#);
        assert_eq!(config.padding(), Some("<pad>"));
    }

    #[test]
    fn pooling_is_read_in_its_old_and_its_new_form() {
        let root = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(root.path().join("config.json"), text).unwrap();
            let file = read_pooling(root.path()).unwrap().unwrap();
            (file.pooling.to_string(), file.width, file.include_prompt)
        };
        let old = r#"{"word_embedding_dimension":384,"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true,
            "pooling_mode_max_tokens":false,"pooling_mode_mean_sqrt_len_tokens":false}"#;
        assert_eq!(read(old), ("mean".into(), Some(384), true));
        let new = r#"{"embedding_dimension":8,"pooling_mode":"lasttoken","include_prompt":false}"#;
        assert_eq!(read(new), ("lasttoken".into(), Some(8), false));
        let several = r#"{"pooling_mode":["cls","max"]}"#;
        assert_eq!(read(several).0, "cls+max");
        let both = r#"{"pooling_mode_cls_token":true,"pooling_mode_lasttoken":true}"#;
        assert_eq!(read(both).0, "cls+lasttoken");
        // As sentence-transformers takes a config without any way.
        assert_eq!(read(r#"{"pooling_mode_mean_tokens":false}"#).0, "mean");
        std::fs::write(root.path().join("config.json"), r#"{"pooling_mode":"avg"}"#).unwrap();
        let message = read_pooling(root.path()).err().unwrap().to_string();
        assert!(
            message.contains("config.json: pooling: expected cls"),
            "{message}"
        );
    }

    #[test]
    fn the_kind_of_a_module_is_the_last_part_of_its_type() {
        for full in [
            "sentence_transformers.models.Pooling",
            "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        ] {
            let module: Module = parse(&format!(
                r#"{{"idx":1,"path":"1_Pooling","type":"{full}"}}"#
            ));
            assert_eq!(module.kind(), "Pooling");
        }
    }
}
