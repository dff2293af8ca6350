//! Texts into token ids: with its parts the only module that names the crate `tokenizers`.

mod pairs;
mod spans;

use std::borrow::Cow;

use score::{Task, TextOptions, TextPart, Token, TokenizeError, Tokenized, Truncate};
use tokenizers::models::ModelWrapper;
use tokenizers::{Decoder, Encoding, PostProcessor, TruncationDirection};

use crate::settings::Stored;

/// Turns texts into tokens as the model's `tokenizer.json` says. One serves all sessions of a model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    settings: Stored,
    /// How many special tokens a text gets.
    special: usize,
    /// How many a pair gets.
    special_of_pair: usize,
}

impl Tokenizer {
    /// Reads the content of `tokenizer.json`. What it says of padding and truncation does not count: the folder's other
    /// files do.
    ///
    /// # Errors
    /// If it is no tokenizer, or the limit leaves no room for a text.
    pub fn new(file: &[u8], settings: &Stored) -> Result<Self, String> {
        let inner = tokenizers::Tokenizer::from_bytes(file);
        let mut inner = inner.map_err(|error| {
            let reason = in_words(&*error);
            format!("expected a tokenizer of kind WordPiece, BPE, Unigram or WordLevel: {reason}")
        })?;
        inner.with_padding(None);
        let without = inner.with_truncation(None);
        without.map_err(|error| in_words(&*error))?;
        let processor = inner.get_post_processor();
        let added = |pair| processor.map_or(0, |processor| processor.added_tokens(pair));
        let pairs = settings.head.as_ref().is_some_and(|head| head.pairs);
        let (special, special_of_pair) = (added(false), added(true));
        let most = if pairs {
            special.max(special_of_pair)
        } else {
            special
        };
        if settings.max_tokens <= most {
            return Err(format!(
                "max_tokens: {} leave no room for a text beside {most} special tokens",
                settings.max_tokens
            ));
        }
        Ok(Self {
            inner,
            settings: settings.clone(),
            special,
            special_of_pair,
        })
    }

    /// How many tokens of a prompt do not take part in pooling. As sentence-transformers counts them: with what stands in
    /// front, without a special token behind.
    fn skipped(&self, prompt: &str) -> Result<usize, String> {
        if self.settings.include_prompt || prompt.is_empty() {
            return Ok(0);
        }
        let mut encoding = self.plain(prompt)?;
        let most = self.settings.max_tokens - self.special;
        cut(&mut encoding, most, TruncationDirection::Right);
        let encoding = self.complete(encoding)?;
        let ids = encoding.get_ids();
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

    /// The tokens of a text, with the prompt in front, cut to the model's limits.
    ///
    /// # Errors
    /// If the text is longer than the limit and longer texts are refused, or the tokenizer fails.
    pub fn tokenize(&self, text: &str, options: &TextOptions) -> Result<Tokenized, TokenizeError> {
        let prompt = options.prompt.as_ref().unwrap_or(&self.settings.prompt);
        let truncate = options.truncate.unwrap_or(self.settings.truncate);
        let limit = self.settings.max_tokens;
        let whole = text;
        let text = self.prepared(prompt, whole);
        let direction = direction(truncate);
        let bounded = self.bounded(&text, direction);
        let too_long = |tokens| TokenizeError::TooLong {
            part: TextPart::Text,
            tokens,
            limit,
        };
        let refuse = truncate == Truncate::Refuse;
        if refuse && bounded.len() < text.len() {
            return Err(too_long(None));
        }
        let (mut encoding, shortened) = self.short(bounded, direction, options.max_tokens)?;
        let tokens = encoding.len() + self.special;
        if refuse && tokens > limit {
            return Err(too_long(Some(tokens)));
        }
        // The tokenizer's own truncation knows one direction for all texts.
        cut(&mut encoding, limit - self.special, direction);
        let offsets = encoding.get_offsets().to_vec();
        let encoding = self.complete(encoding)?;
        let spans = match self.settings.task() {
            Task::Tag => {
                let before = bounded_at(&text, bounded, direction);
                self.spans(&encoding, &offsets, prompt, whole, before)
            }
            _ => Vec::new(),
        };
        Ok(Tokenized {
            ids: encoding.get_ids().to_vec(),
            types: encoding.get_type_ids().to_vec(),
            cut: shortened || bounded.len() < text.len() || tokens > limit,
            skipped: self.skipped(prompt)?,
            spans,
        })
    }

    /// The tokens of a text, which is not cut, in words. `prompt` is put in front of it instead of the model's own.
    ///
    /// # Errors
    /// What the tokenizer says.
    pub fn tokens(
        &self,
        text: &str,
        prompt: Option<&str>,
        special: bool,
    ) -> Result<Vec<Token>, TokenizeError> {
        let prompt = prompt.unwrap_or(&self.settings.prompt);
        let original = self.original_points(prompt, text);
        let text = self.prepared(prompt, text);
        let encoding = self.inner.encode_char_offsets(text.as_ref(), special);
        let encoding = encoding.map_err(|error| in_words(&*error))?;
        // Where each code point begins, and the end.
        let starts = text.char_indices().map(|(at, _)| at);
        let starts: Vec<usize> = starts.chain([text.len()]).collect();
        let part = |(from, to): (usize, usize)| {
            let bytes = starts.get(from).zip(starts.get(to));
            bytes.and_then(|(from, to)| text.get(*from..*to))
        };
        let ids = encoding.get_ids().iter().zip(encoding.get_tokens());
        let offsets = encoding.get_offsets().iter();
        let masks = encoding.get_special_tokens_mask().iter();
        let tokens = ids.zip(offsets).zip(masks).map(|(((id, name), at), mask)| {
            let special = *mask == 1;
            Token {
                id: *id,
                special,
                at: original_span(original.as_deref(), *at),
                text: match special {
                    true => name.clone(),
                    false => part(*at).unwrap_or_default().to_owned(),
                },
                name: name.clone(),
            }
        });
        Ok(tokens.collect())
    }

    /// The text of these ids, with or without special tokens.
    ///
    /// # Errors
    /// If an id is not in the vocabulary, which the tokenizer itself would pass over.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizeError> {
        if let Some(id) = ids.iter().find(|id| self.inner.id_to_token(**id).is_none()) {
            return Err(format!("id {id} is not in the vocabulary of the model").into());
        }
        let text = self.inner.decode(ids, skip_special);
        text.map_err(|error| in_words(&*error).into())
    }

    fn prepared<'a>(&self, prompt: &str, text: &'a str) -> Cow<'a, str> {
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
    fn bounded<'a>(&self, text: &'a str, direction: TruncationDirection) -> &'a str {
        let most = self.settings.max_chars;
        if text.len() <= most {
            return text;
        }
        match direction {
            TruncationDirection::Left => {
                let first = text.char_indices().rev().nth(most - 1);
                &text[first.map_or(0, |(at, _)| at)..]
            }
            TruncationDirection::Right => {
                let end = text.char_indices().nth(most);
                &text[..end.map_or(text.len(), |(at, _)| at)]
            }
        }
    }

    /// The tokens of a text without special tokens.
    fn plain(&self, text: &str) -> Result<Encoding, String> {
        // One text at a time: more would start a pool of threads, and gain nothing.
        let encoding = match self.settings.task() {
            // Where tokens lie costs a little more.
            Task::Tag => self.inner.encode_char_offsets(text, false),
            _ => self.inner.encode_fast(text, false),
        };
        encoding.map_err(|error| in_words(&*error))
    }

    /// The same, cut to as many tokens as the request asks for; and whether there were more.
    fn short(
        &self,
        text: &str,
        direction: TruncationDirection,
        most: Option<usize>,
    ) -> Result<(Encoding, bool), String> {
        let mut encoding = self.plain(text)?;
        match most.filter(|most| *most < encoding.len()) {
            None => Ok((encoding, false)),
            Some(most) => {
                cut(&mut encoding, most, direction);
                Ok((encoding, true))
            }
        }
    }

    /// The same tokens with special tokens. It moves offsets once more than it should.
    fn complete(&self, encoding: Encoding) -> Result<Encoding, String> {
        let whole = self.inner.post_process(encoding, None, true);
        whole.map_err(|error| in_words(&*error))
    }

    /// The name of a token in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The text of tokens that follow each other, by their names: as `convert_tokens_to_string` of transformers.
    ///
    /// # Errors
    /// What the tokenizer says.
    pub fn join(&self, names: Vec<String>) -> Result<String, TokenizeError> {
        match self.inner.get_decoder() {
            None => Ok(names.join(" ")),
            Some(decoder) => {
                let text = decoder.decode(names);
                text.map_err(|error| in_words(&*error).into())
            }
        }
    }
}

fn direction(truncate: Truncate) -> TruncationDirection {
    match truncate {
        Truncate::Left => TruncationDirection::Left,
        Truncate::Right | Truncate::Refuse => TruncationDirection::Right,
    }
}

/// Cuts tokens off; those are not kept.
fn cut(encoding: &mut Encoding, most: usize, direction: TruncationDirection) {
    encoding.truncate(most, 0, direction);
    encoding.take_overflowing();
}

/// Where code points of prompt and text in lower case lie in these as they are given.
fn original_span(original: Option<&[usize]>, (from, to): (usize, usize)) -> (usize, usize) {
    let found =
        original.and_then(|points| Some((*points.get(from)?, points.get(to.checked_sub(1)?)? + 1)));
    found.unwrap_or((from, to))
}

/// How many code points of a text stand before its part, which is its end where the beginning is cut off, else its beginning.
fn bounded_at(text: &str, part: &str, direction: TruncationDirection) -> usize {
    match direction {
        TruncationDirection::Right => 0,
        TruncationDirection::Left => text.chars().count() - part.chars().count(),
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::head::Head;
    use crate::options::StoredAs;
    use crate::strategy::Strategy;

    const FILE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/text/tiny/tokenizer.json"
    );

    pub(super) fn settings(max_tokens: usize, include_prompt: bool) -> Stored {
        Stored {
            pooling: None,
            pooling_is_set: false,
            include_prompt,
            prompt: "it is ".to_owned(),
            max_tokens,
            max_chars: 64 * max_tokens,
            truncate: Truncate::Right,
            lower_case: false,
            store: StoredAs::Float32,
            head: None,
        }
    }

    /// Settings of a model with a head.
    pub(super) fn with_head(max_tokens: usize, task: Task, strategy: Strategy) -> Stored {
        Stored {
            prompt: String::new(),
            head: Some(Head {
                task,
                pairs: task == Task::Rerank,
                strategy,
                pooling: crate::SparsePooling::default(),
                unknown: None,
            }),
            ..settings(max_tokens, true)
        }
    }

    /// The tokenizer of a token classifier that sees 32 tokens.
    pub(crate) fn tagging(file: &[u8]) -> Tokenizer {
        Tokenizer::new(file, &with_head(32, Task::Tag, Strategy::default())).unwrap()
    }

    fn tokenizer(max_tokens: usize, include_prompt: bool) -> Tokenizer {
        let settings = settings(max_tokens, include_prompt);
        Tokenizer::new(&std::fs::read(FILE).unwrap(), &settings).unwrap()
    }

    fn options(prompt: &str, truncate: Option<Truncate>) -> TextOptions {
        TextOptions {
            prompt: Some(prompt.to_owned()),
            truncate,
            max_tokens: None,
        }
    }

    #[test]
    fn a_request_may_bring_its_prompt_and_say_where_texts_are_cut() {
        let tokenizer = tokenizer(8, true);
        let ids = |text: &str, options| tokenizer.tokenize(text, &options).unwrap();
        let plain = ids("the ferry", options("", None));
        let prompted = ids("the ferry", TextOptions::default());
        assert_eq!(prompted, ids("it is the ferry", options("", None)));
        assert_ne!(plain, prompted);
        let all = "one two three four five six seven";
        let right = ids(all, options("", Some(Truncate::Right)));
        let left = ids(all, options("", Some(Truncate::Left)));
        assert!(right.cut && left.cut && right.ids.len() == 8 && left.ids.len() == 8);
        // The special tokens stay at both ends.
        assert_eq!((right.ids[0], right.ids[7]), (left.ids[0], left.ids[7]));
        assert_ne!(right.ids, left.ids);
        let refused = |text: &str| tokenizer.tokenize(text, &options("", Some(Truncate::Refuse)));
        assert_eq!(refused("the ferry").unwrap(), plain);
        let limit = 8;
        let TokenizeError::TooLong {
            part: TextPart::Text,
            tokens: Some(tokens),
            limit: 8,
        } = refused(all).unwrap_err()
        else {
            panic!("the text is too long");
        };
        assert!(tokens > limit);
        let endless = refused(&"a ".repeat(1000)).unwrap_err();
        assert_eq!(
            endless,
            TokenizeError::TooLong {
                part: TextPart::Text,
                tokens: None,
                limit
            }
        );
    }

    #[test]
    fn tokens_lie_in_the_text_by_code_points_and_ids_become_texts() {
        let tokenizer = tokenizer(32, true);
        let text = "k\u{e4}se \u{1f9c0} the cat";
        let tokens = tokenizer.tokens(text, Some(""), true).unwrap();
        let (first, last) = (&tokens[0], &tokens[tokens.len() - 1]);
        assert!(first.special && last.special && first.text == first.name);
        let points: Vec<char> = text.chars().collect();
        for token in tokens.iter().filter(|token| !token.special) {
            let part: String = points[token.at.0..token.at.1].iter().collect();
            assert_eq!(token.text, part);
        }
        let cat = tokens.iter().find(|token| token.text == "cat").unwrap();
        assert_eq!(cat.at, (11, 14));
        let without = tokenizer.tokens(text, Some(""), false).unwrap();
        assert_eq!(without.len(), tokens.len() - 2);
        let prompted = tokenizer.tokens(text, None, false).unwrap();
        assert!(prompted.len() > without.len());
        assert_eq!(tokenizer.decode(&[cat.id], true).unwrap(), "cat");
        let unknown = tokenizer.decode(&[cat.id, 1 << 20], true).unwrap_err();
        assert!(
            unknown
                .to_string()
                .contains("id 1048576 is not in the vocabulary")
        );
        assert_eq!(tokenizer.decode(&[first.id], true).unwrap(), "");
    }

    #[test]
    fn the_prompt_of_a_request_stays_out_of_pooling_where_the_models_does() {
        let tokenizer = tokenizer(32, false);
        let skipped = |prompt: &str| {
            let text = tokenizer.tokenize("the ferry", &options(prompt, None));
            text.unwrap().skipped
        };
        assert_eq!(skipped(""), 0);
        let own = tokenizer.tokenize("the ferry", &TextOptions::default());
        assert_eq!(own.unwrap().skipped, skipped("it is "));
        assert!(skipped("it is it is ") > skipped("it is "));
    }
}
