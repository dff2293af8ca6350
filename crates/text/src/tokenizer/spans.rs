//! Where the tokens of a text lie in it, for models that tag them.

use score::TokenSpan;
use tokenizers::Encoding;
use tokenizers::models::ModelWrapper;

use super::Tokenizer;

impl Tokenizer {
    /// The tokens of `text` that are neither special nor of the prompt. The tokenizer was given a part of prompt and text that
    /// begins after `before` code points; there its tokens lie at `offsets`, without special tokens.
    pub(super) fn spans(
        &self,
        encoding: &Encoding,
        offsets: &[(usize, usize)],
        prompt: &str,
        text: &str,
        before: usize,
    ) -> Vec<TokenSpan> {
        let points: Vec<char> = text.chars().collect();
        let prompted = prompt.chars().count();
        let original = self.original_points(prompt, text);
        // From the tokenizer's code points to those of prompt and text, and without the prompt.
        let begins = |at: usize| {
            let at = at + before;
            let at = original
                .as_ref()
                .map_or(Some(at), |points| points.get(at).copied());
            at.unwrap_or(prompted + points.len())
        };
        let in_text = |at: usize| at.saturating_sub(prompted).min(points.len());
        let unknown = self.unknown_id();
        let special = encoding.get_special_tokens_mask().iter();
        let tokens = encoding.get_ids().iter().zip(special).enumerate();
        let tokens = tokens.filter(|(_, (_, special))| **special == 0);
        let tokens = tokens.map(|(place, (id, _))| (place, id)).zip(offsets);
        let span = |((place, id), (from, to)): ((usize, &u32), &(usize, usize))| {
            let from_whole = begins(*from);
            let to_whole = match to > from {
                true => begins(to - 1) + 1,
                false => from_whole,
            };
            if from_whole < prompted && to_whole <= prompted {
                return None;
            }
            let at = (in_text(from_whole), in_text(to_whole));
            let unknown = unknown == Some(*id);
            Some(TokenSpan {
                place,
                at,
                continues: !unknown && self.continues(*id, at, &points),
                unknown,
            })
        };
        tokens.filter_map(span).collect()
    }

    /// Whether a token goes on with the word before it: what transformers' pipeline guesses.
    fn continues(&self, id: u32, (from, to): (usize, usize), text: &[char]) -> bool {
        if self.marks_subwords() {
            let name = self.inner.id_to_token(id).unwrap_or_default();
            return name.chars().count() != to.saturating_sub(from);
        }
        let around = from
            .checked_sub(1)
            .and_then(|before| text.get(before..text.len().min(from + 1)));
        around.is_some_and(|around| !around.contains(&' '))
    }

    /// Whether names of tokens that go on with a word begin with a mark, such as `##`.
    fn marks_subwords(&self) -> bool {
        match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => !model.continuing_subword_prefix.is_empty(),
            ModelWrapper::BPE(model) => {
                let prefix = model.continuing_subword_prefix.as_ref();
                prefix.is_some_and(|prefix| !prefix.is_empty())
            }
            ModelWrapper::WordLevel(_) | ModelWrapper::Unigram(_) => false,
        }
    }

    /// The id for what the vocabulary does not have.
    fn unknown_id(&self) -> Option<u32> {
        let named = self
            .settings
            .head
            .as_ref()
            .and_then(|head| head.unknown.as_deref());
        let own = match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => Some(model.unk_token.as_str()),
            ModelWrapper::WordLevel(model) => Some(model.unk_token.as_str()),
            ModelWrapper::BPE(model) => model.unk_token.as_deref(),
            ModelWrapper::Unigram(_) => Some("<unk>"),
        };
        self.inner.token_to_id(named.or(own)?)
    }

    /// For each code point of prompt and text in lower case, the one it is from; `None` where nothing is written otherwise.
    pub(super) fn original_points(&self, prompt: &str, text: &str) -> Option<Vec<usize>> {
        if !self.settings.lower_case {
            return None;
        }
        let points = prompt.chars().chain(text.chars()).enumerate();
        let lower = points.flat_map(|(at, point)| point.to_lowercase().map(move |_| at));
        Some(lower.collect())
    }
}

#[cfg(test)]
mod tests {
    use score::{Task, TextOptions, Tokenized, Truncate};

    use super::super::tests::with_head;
    use super::*;
    use crate::strategy::Strategy;

    const FILE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/text/tiny/tokenizer.json"
    );

    fn tokenizer(lower_case: bool, max_chars: usize) -> Tokenizer {
        let mut settings = with_head(32, Task::Tag, Strategy::default());
        settings.lower_case = lower_case;
        settings.max_chars = max_chars;
        Tokenizer::new(&std::fs::read(FILE).unwrap(), &settings).unwrap()
    }

    fn tagged(tokenizer: &Tokenizer, text: &str, prompt: &str, truncate: Truncate) -> Tokenized {
        let options = TextOptions {
            prompt: Some(prompt.to_owned()),
            truncate: Some(truncate),
            max_tokens: None,
        };
        tokenizer.tokenize(text, &options).unwrap()
    }

    fn part(text: &str, span: &TokenSpan) -> String {
        let points = text.chars().skip(span.at.0);
        points.take(span.at.1 - span.at.0).collect()
    }

    fn parts(tokens: &Tokenized, text: &str) -> Vec<String> {
        tokens.spans.iter().map(|span| part(text, span)).collect()
    }

    #[test]
    fn tokens_lie_in_the_callers_text_behind_emoji_and_accents() {
        let tokenizer = tokenizer(false, 2048);
        for text in [
            "\u{1f9c0}\u{1f468}\u{200d}\u{1f469} the cat",
            "e\u{301}te\u{301} \u{65e5}\u{672c} the cat",
            "\u{130}\u{130} the cat",
        ] {
            for prompt in ["", "it is ", "\u{1f9c0} is: "] {
                let tokens = tagged(&tokenizer, text, prompt, Truncate::Right);
                let parts = parts(&tokens, text);
                assert_eq!(parts[parts.len() - 2..], ["the", "cat"], "{text} {prompt}");
                let cat = tokens.spans.last().unwrap();
                assert_eq!(cat.at.1, text.chars().count());
                assert!(!cat.continues && !cat.unknown);
            }
        }
    }

    #[test]
    fn what_is_left_of_a_text_that_repeats_itself_lies_at_its_end() {
        let text = "cat ".repeat(1000);
        let tokens = tagged(&tokenizer(false, 2048), &text, "", Truncate::Left);
        assert_eq!(tokens.spans.last().unwrap().at, (3996, 3999));
        let tokens = tagged(&tokenizer(false, 2048), &text, "", Truncate::Right);
        assert_eq!(tokens.spans[0].at, (0, 3));
    }

    #[test]
    fn tokens_of_a_text_in_lower_case_lie_in_the_text_as_it_is_given() {
        let tokens = tokenizer(true, 2048);
        let tokens = tokens
            .tokens("\u{130}\u{130} cat dog", Some(""), false)
            .unwrap();
        let cat = tokens.iter().find(|token| token.text == "cat").unwrap();
        assert_eq!(cat.at, (3, 6));
    }

    #[test]
    fn the_space_in_front_of_a_token_is_no_part_of_it() {
        let file = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "decoder": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 5], "cls": ["<s>", 4], "trim_offsets": true,
              "add_prefix_space": false},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "\u0120": 2, "\u0120b": 3, "<s>": 4, "</s>": 5},
              "merges": ["\u0120 b"]}}"#;
        let settings = with_head(32, Task::Tag, Strategy::default());
        let tokenizer = Tokenizer::new(file.as_bytes(), &settings).unwrap();
        let tokens = tagged(&tokenizer, "a bab", "", Truncate::Right);
        let at: Vec<_> = tokens
            .spans
            .iter()
            .map(|span| (span.at, span.continues))
            .collect();
        let expected = [
            ((0, 1), false),
            ((2, 3), false),
            ((3, 4), true),
            ((4, 5), true),
        ];
        assert_eq!(at, expected);
        assert_eq!(tokens.ids, [4, 0, 3, 0, 1, 5]);
    }

    #[test]
    fn lower_case_of_other_length_moves_nothing() {
        let text = "\u{130}\u{130}\u{130} The CAT";
        let tokens = tagged(&tokenizer(true, 2048), text, "", Truncate::Right);
        let parts = parts(&tokens, text);
        assert_eq!(parts[parts.len() - 2..], ["The", "CAT"]);
    }

    #[test]
    fn what_is_cut_off_in_front_is_counted() {
        let text = format!("{}the cat", "\u{1f9c0} ".repeat(100));
        let tokens = tagged(&tokenizer(false, 20), &text, "it is ", Truncate::Left);
        assert!(tokens.cut);
        let parts = parts(&tokens, &text);
        assert_eq!(parts[parts.len() - 2..], ["the", "cat"]);
        assert_eq!(tokens.spans.last().unwrap().at, (204, 207));
        let tokens = tagged(&tokenizer(false, 20), &text, "it is ", Truncate::Right);
        assert_eq!(tokens.spans[0].at, (0, 1));
    }
}
