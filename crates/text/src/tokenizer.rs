//! Texts into token ids: the only place that names the crate `tokenizers`.

use std::borrow::Cow;

use tokenizers::models::ModelWrapper;
use tokenizers::{Encoding, TruncationDirection, TruncationParams};

use crate::settings::{Stored, Truncate};

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
}

/// Turns texts into tokens as the model's `tokenizer.json` says. One serves all sessions of a model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    settings: Stored,
    /// Tokens of the prompt, if they do not take part in pooling.
    skipped: usize,
}

impl Tokenizer {
    /// Reads the content of `tokenizer.json`. What it says of padding and truncation does not count: the folder's other
    /// files do.
    ///
    /// # Errors
    /// If it is no tokenizer, or the limit leaves no room for a text.
    pub fn new(file: &[u8], settings: &Stored) -> Result<Self, String> {
        let mut inner =
            tokenizers::Tokenizer::from_bytes(file).map_err(|error| in_words(&*error))?;
        inner.with_padding(None);
        let inner_error = |error: tokenizers::Error| in_words(&*error);
        inner.with_truncation(None).map_err(inner_error)?;
        let special = inner.encode_fast("", true).map_err(inner_error)?.len();
        if settings.max_tokens <= special {
            return Err(format!(
                "max_tokens: {} leave no room for a text beside {special} special tokens",
                settings.max_tokens
            ));
        }
        let truncation = TruncationParams {
            max_length: settings.max_tokens,
            direction: match settings.truncate {
                Truncate::Left => TruncationDirection::Left,
                Truncate::Right | Truncate::Refuse => TruncationDirection::Right,
            },
            ..TruncationParams::default()
        };
        inner
            .with_truncation(Some(truncation))
            .map_err(inner_error)?;
        let mut new = Self {
            inner,
            settings: settings.clone(),
            skipped: 0,
        };
        if !settings.include_prompt && !settings.prompt.is_empty() {
            new.skipped = new.prompt_tokens()?;
        }
        Ok(new)
    }

    /// As sentence-transformers counts them: with what stands in front, without a special token behind.
    fn prompt_tokens(&self) -> Result<usize, String> {
        let ids = self.encode(&self.settings.prompt)?;
        let ids = ids.get_ids();
        let is_special = |id: &u32| {
            let added = self.inner.get_added_tokens_decoder();
            added.get(id).is_some_and(|token| token.special)
        };
        Ok(ids.len() - usize::from(ids.last().is_some_and(is_special)))
    }

    /// The kind of tokenizer: `WordPiece`, `BPE`, `Unigram` or `WordLevel`.
    pub fn kind(&self) -> &'static str {
        match self.inner.get_model() {
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
            ModelWrapper::Unigram(_) => "Unigram",
        }
    }

    /// The highest id that a text may get.
    pub fn highest_id(&self) -> u32 {
        self.inner.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// The id of a token, such as `[PAD]`.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokens of a text, with its prompt, cut to the model's limits.
    ///
    /// # Errors
    /// If the text is longer than the limit and longer texts are refused, or the tokenizer fails.
    pub fn tokenize(&self, text: &str) -> Result<Tokenized, String> {
        let text = self.prepared(text);
        let bounded = self.bounded(&text);
        let too_long = |tokens: &dyn std::fmt::Display| {
            let most = self.settings.max_tokens;
            format!(
                "a text of {tokens} tokens is longer than the model's {most}; shorten it, or let it be cut"
            )
        };
        let refuse = self.settings.truncate == Truncate::Refuse;
        if refuse && bounded.len() < text.len() {
            return Err(too_long(&format_args!(
                "more than {} characters and as many",
                self.settings.max_chars
            )));
        }
        let encoding = self.encode(bounded)?;
        let dropped = encoding.get_overflowing();
        if refuse && !dropped.is_empty() {
            return Err(too_long(&format_args!("more than {}", encoding.len())));
        }
        Ok(Tokenized {
            ids: encoding.get_ids().to_vec(),
            types: encoding.get_type_ids().to_vec(),
            cut: bounded.len() < text.len() || !dropped.is_empty(),
            skipped: self.skipped,
        })
    }

    fn prepared<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let prompt = &self.settings.prompt;
        let text = match prompt.is_empty() {
            true => Cow::Borrowed(text),
            false => Cow::Owned(format!("{prompt}{text}")),
        };
        match self.settings.lower_case {
            true => Cow::Owned(text.to_lowercase()),
            false => text,
        }
    }

    /// The part of a text that is tokenized at all: a megabyte would take half a second and 100 MB, for tokens that are
    /// cut off again.
    fn bounded<'a>(&self, text: &'a str) -> &'a str {
        let most = self.settings.max_chars;
        if text.len() <= most {
            return text;
        }
        match self.settings.truncate {
            Truncate::Left => {
                let first = text.char_indices().rev().nth(most - 1);
                &text[first.map_or(0, |(at, _)| at)..]
            }
            Truncate::Right | Truncate::Refuse => {
                let end = text.char_indices().nth(most);
                &text[..end.map_or(text.len(), |(at, _)| at)]
            }
        }
    }

    fn encode(&self, text: &str) -> Result<Encoding, String> {
        // One text at a time: more would start a pool of threads, and gain nothing.
        let encoding = self.inner.encode_fast(text, true);
        encoding.map_err(|error| in_words(&*error))
    }
}

fn in_words(error: &(dyn std::error::Error + Send + Sync)) -> String {
    let text = error.to_string();
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect()
}
