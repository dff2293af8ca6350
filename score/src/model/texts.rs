//! What a text model has to do: the contract between the queue of texts and a tokenizer with its sessions.

use std::sync::Arc;

use super::RunError;
use crate::error::TextPart;
use crate::tensor::Tensor;
use crate::text::{TextOptions, TokenSpan};

/// A text that a caller sends, or a pair of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passage {
    /// The first text of a pair.
    pub query: Option<Arc<str>>,
    /// The text; of a pair, the second one.
    pub text: String,
}

impl Passage {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.query.as_deref().map_or(0, str::len)
    }
}

impl From<String> for Passage {
    fn from(text: String) -> Self {
        Self { query: None, text }
    }
}

/// A text as the model gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokenized {
    /// The ids of its tokens, special tokens included.
    pub ids: Vec<u32>,
    /// For each token, which of two texts it belongs to.
    pub types: Vec<u32>,
    /// Whether a part of the text was cut off.
    pub cut: bool,
    /// How many of the first tokens belong to a prompt that does not take part in pooling.
    pub skipped: usize,
    /// Where its tokens lie in the text, for models that tag them; else empty.
    pub spans: Vec<TokenSpan>,
}

/// Why a text has no tokens for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizeError {
    /// It is longer than the model's limit, and is to be refused then.
    #[error("the text is longer than {limit} tokens")]
    TooLong {
        /// What is too long: of a pair, which text.
        part: TextPart,
        /// Its tokens, special tokens included; `None` for one with too many characters to count them.
        tokens: Option<usize>,
        /// Tokens that the model sees.
        limit: usize,
    },
    /// The tokenizer's own words.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for TokenizeError {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// A token as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its name in the vocabulary, such as `##ing`.
    pub name: String,
    /// Whether it stands for no part of the text, such as `[CLS]`.
    pub special: bool,
    /// Where it begins and ends in the text, in Unicode code points as Python counts them. The prompt is part of the text.
    pub at: (usize, usize),
    /// That part of the text; the name of a special token.
    pub text: String,
}

/// What is wanted of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// The outputs of the model's signature.
    Outputs,
    /// Two tensors for each text: whether it was cut, bool `[1]`, and the vectors of its tokens, float32 `[tokens,width]`.
    TokenVectors,
}

/// What all sessions of a text model share. Its functions compute; they are called on threads that may block.
pub trait TextModel: Send + Sync {
    /// The tokens of a text with its prompt, or of a pair, cut to the model's limits.
    ///
    /// # Errors
    /// If the text is longer than the limit and longer texts are refused, or the tokenizer fails.
    fn tokenize(
        &self,
        passage: &Passage,
        options: &TextOptions,
    ) -> Result<Tokenized, TokenizeError>;

    /// How many tokens a run of several texts may have at present, padding included; `None` while each text has to run alone
    /// to get the same bits in every company. A longer text always runs alone.
    fn run_slots(&self) -> Option<usize>;

    /// The tokens of a text, which is not cut, in words. `prompt` is put in front of it instead of the model's own.
    ///
    /// # Errors
    /// What the tokenizer says.
    fn tokens(
        &self,
        text: &str,
        prompt: Option<&str>,
        special: bool,
    ) -> Result<Vec<Token>, TokenizeError>;

    /// The name of a token in the vocabulary.
    fn token(&self, id: u32) -> Option<String>;

    /// The text of tokens that follow each other, by their names.
    ///
    /// # Errors
    /// What the tokenizer says.
    fn join(&self, names: Vec<String>) -> Result<String, TokenizeError>;

    /// The text of these ids, with or without special tokens.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizeError>;
}

/// Opens one session more of a model that serves already; `None` if that fails, which it has told the log.
pub type OpenSession = Box<dyn FnOnce() -> Option<Box<dyn TextSession>> + Send>;

/// One session of a text model, on a thread of its own.
pub trait TextSession: Send {
    /// Runs texts together. Returns for each of them what is wanted: the outputs of the model's signature as tensors of one
    /// row, or the vectors of its tokens.
    ///
    /// # Errors
    /// [`RunError`] says whether the texts or the runtime are at fault.
    fn run(&mut self, texts: &[&Tokenized], wanted: Wanted) -> Result<Vec<Vec<Tensor>>, RunError>;

    /// Called when the results of a run are on their way, for what need not delay them.
    fn after_run(&mut self) {}
}
