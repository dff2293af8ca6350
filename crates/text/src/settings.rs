//! What a text model does with texts, put together from `model.toml`, the files of the folder and, last, defaults.

use std::collections::BTreeMap;
use std::path::Path;

use score::{LoadError, ModelFolder, Task, Truncate};
use serde::Serialize;

use crate::config::{PromptConfig, SentenceConfig, TokenizerConfig, TransformerConfig, wrong};
use crate::head::{Head, Scoring};
use crate::modules::Modules;
use crate::options::{StoredAs, TextOptions};
use crate::pooling::Pooling;

/// Characters of a text that are tokenized, for each token that the model sees. No common language has longer tokens on
/// average, by far.
const CHARS_PER_TOKEN: usize = 64;
/// Where the gain of common runs ends: there the weights are read often enough, and what is computed leaves the
/// processor's cache.
const BATCH_TOKENS: usize = 256;
/// Texts of one request: 10,000 take longer than a request may.
const MAX_TEXTS: usize = 2048;
/// More is a slip: no model sees so many.
const MAX_TOKENS: usize = 1 << 20;

/// What a text model does with texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// What shapes a stored vector.
    pub stored: Stored,
    /// Whether vectors are answered with length 1.
    pub normalize: bool,
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// How many numbers of each vector are answered; all of them if not given.
    pub dimensions: Option<usize>,
    /// Tokens of one run, padding included; a longer text runs alone.
    pub batch_tokens: usize,
    /// Texts of one request.
    pub max_texts: usize,
    /// The filler for shorter texts of a run. It is masked, so it changes no vector.
    pub(crate) padding: Padding,
    /// Numbers of a token's vector, as the pooling's config says.
    pub(crate) width: Option<usize>,
    /// What makes answers of stored logits.
    pub(crate) scoring: Scoring,
}

/// What shapes a stored vector. All of it is part of the model's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// How the vectors of tokens become one vector; `None` if the folder does not say, as the ONNX file may do it.
    pub pooling: Option<Pooling>,
    /// Whether `pooling` is from `model.toml`, and so counts even if the ONNX file pools.
    pub pooling_is_set: bool,
    /// Whether the tokens of the prompt take part in pooling.
    pub include_prompt: bool,
    /// What is put in front of each text.
    pub prompt: String,
    /// Tokens of a text that the model sees, special tokens included.
    pub max_tokens: usize,
    /// Characters of a text, with its prompt, that are tokenized.
    pub max_chars: usize,
    /// What becomes of longer texts.
    pub truncate: Truncate,
    /// Whether texts are written in lower case before they are tokenized.
    pub lower_case: bool,
    /// How its numbers are stored. Float32 left no trace in digests before there was a choice.
    #[serde(skip_serializing_if = "is_float32")]
    pub store: StoredAs,
    /// What makes the result of a model that gives no vectors. That there is none left no trace before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
}

impl Stored {
    /// What the model is for.
    pub fn task(&self) -> Task {
        self.head.as_ref().map_or(Task::Embedding, |head| head.task)
    }
}

fn is_float32(store: &StoredAs) -> bool {
    *store == StoredAs::Float32
}

/// The filler for shorter texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Padding {
    Id(i64),
    Token(String),
}

impl Settings {
    /// Puts together what `model.toml` and the files say.
    ///
    /// # Errors
    /// If a file is unreadable, or it remains unclear what to do; the text names the setting.
    pub(crate) fn read(
        folder: &ModelFolder,
        options: &TextOptions,
        modules: &mut Modules,
    ) -> Result<Self, LoadError> {
        let tokenizer = TokenizerConfig::read(&modules.transformer)?;
        let (head, scoring) = Head::read(folder, options, modules, &tokenizer)?;
        let at = &modules.transformer;
        let transformer = TransformerConfig::read(at)?;
        let sentence = SentenceConfig::read(at)?;
        let max_tokens = max_tokens(folder, options, &sentence, &tokenizer, &transformer)?;
        let (prompts, prompt) = prompts(folder, options)?;
        if head.as_ref().is_some_and(|head| head.pairs) && !prompt.is_empty() {
            return Err(folder.wrong_options(
                "text.prompt: pairs of texts take no prompt; set prompt = \"\" in [text]",
            ));
        }
        let truncate = options
            .truncate
            .map_or_else(|| truncation_side(at, &tokenizer), Ok)?;
        let file = modules.pooling.take();
        let padding = match (transformer.padding(), tokenizer.padding()) {
            (Some(id), _) => Padding::Id(id),
            (None, Some(token)) => Padding::Token(token.to_owned()),
            (None, None) => Padding::Id(0),
        };
        Ok(Self {
            width: file.as_ref().and_then(|file| file.width),
            stored: Stored {
                pooling_is_set: options.pooling.is_some(),
                include_prompt: file.as_ref().is_none_or(|file| file.include_prompt),
                pooling: options.pooling.clone().or(file.map(|file| file.pooling)),
                prompt,
                max_tokens,
                max_chars: options
                    .max_chars
                    .unwrap_or(max_tokens.saturating_mul(CHARS_PER_TOKEN)),
                truncate,
                lower_case: sentence.do_lower_case.unwrap_or(false),
                store: options.store.unwrap_or_default(),
                head,
            },
            normalize: options.normalize.unwrap_or(modules.normalize),
            prompts,
            dimensions: options.dimensions,
            batch_tokens: options.batch_tokens.unwrap_or(BATCH_TOKENS),
            max_texts: options.max_texts.unwrap_or(MAX_TEXTS),
            padding,
            scoring,
        })
    }
}

fn max_tokens(
    folder: &ModelFolder,
    options: &TextOptions,
    sentence: &SentenceConfig,
    tokenizer: &TokenizerConfig,
    transformer: &TransformerConfig,
) -> Result<usize, LoadError> {
    let positions = transformer.most_positions();
    if let Some(most) = options.max_tokens {
        let bound = positions.unwrap_or(MAX_TOKENS);
        return match most > bound {
            false => Ok(most),
            true => Err(folder.wrong_options(&format!(
                "text.max_tokens: {most} is more than the model has positions for (max_position_embeddings in config.json); \
                 at most {bound} are possible"
            ))),
        };
    }
    let said = sentence.max_seq_length.or(tokenizer.max_tokens());
    let bounds = said.into_iter().chain(positions).filter(|most| *most > 0);
    bounds.min().map(|most| most.min(MAX_TOKENS)).ok_or_else(|| {
        folder.wrong_options(
            "text.max_tokens is needed: no file says how many tokens the model sees (max_seq_length in \
             sentence_bert_config.json, model_max_length in tokenizer_config.json, max_position_embeddings in config.json); \
             put max_tokens into [text] of model.toml",
        )
    })
}

fn truncation_side(folder: &Path, tokenizer: &TokenizerConfig) -> Result<Truncate, LoadError> {
    match tokenizer.truncation_side.as_deref() {
        None | Some("right") => Ok(Truncate::Right),
        Some("left") => Ok(Truncate::Left),
        Some(other) => Err(wrong(
            &folder.join("tokenizer_config.json"),
            format!(
                "truncation_side: expected \"right\" or \"left\"; found {:?}",
                other.chars().take(200).collect::<String>()
            ),
        )),
    }
}

/// All prompts by name, and the one that is used if a request names none.
fn prompts(
    folder: &ModelFolder,
    options: &TextOptions,
) -> Result<(BTreeMap<String, String>, String), LoadError> {
    let config = PromptConfig::read(&folder.folder)?;
    let mut prompts = config.prompts.unwrap_or_default();
    prompts.extend(options.prompts.clone().unwrap_or_default());
    let named = match (&options.prompt, config.default_prompt_name) {
        (Some(prompt), _) => prompt.clone(),
        (None, None) => String::new(),
        (None, Some(name)) => prompts.get(&name).cloned().ok_or_else(|| {
            let known: Vec<&str> = prompts.keys().map(String::as_str).collect();
            let name: String = name.chars().take(200).collect();
            let reason = format!(
                "default_prompt_name: there is no prompt {name:?}; there are: {}",
                known.join(", ")
            );
            wrong(&PromptConfig::file(&folder.folder), reason)
        })?,
    };
    Ok((prompts, named))
}
