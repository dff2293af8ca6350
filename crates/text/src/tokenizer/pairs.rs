//! Pairs of texts: both are tokenized by themselves, cut together, and joined as the tokenizer's template for pairs says.

use score::{TextOptions, TextPart, TokenizeError, Tokenized, Truncate};
use tokenizers::{
    Encoding, TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};

use super::{Tokenizer, direction, in_words};
use crate::strategy::Strategy;

impl Tokenizer {
    /// The tokens of a pair, cut to the model's limits: one limit for both.
    ///
    /// # Errors
    /// If the pair is longer than the limit and longer pairs are refused, or the other text of the pair than the one to be
    /// cut is longer by itself, or the tokenizer fails.
    pub fn tokenize_pair(
        &self,
        query: &str,
        text: &str,
        options: &TextOptions,
    ) -> Result<Tokenized, TokenizeError> {
        let truncate = options.truncate.unwrap_or(self.settings.truncate);
        let limit = self.settings.max_tokens;
        let (query, text) = (self.prepared("", query), self.prepared("", text));
        let direction = direction(truncate);
        let (first, second) = (
            self.bounded(&query, direction),
            self.bounded(&text, direction),
        );
        let bounded = first.len() < query.len() || second.len() < text.len();
        let refuse = truncate == Truncate::Refuse;
        let too_long = |part, tokens| TokenizeError::TooLong {
            part,
            tokens,
            limit,
        };
        if refuse && bounded {
            return Err(too_long(TextPart::Pair, None));
        }
        let first = self.plain(first)?;
        let (second, cut) = self.short(second, direction, options.max_tokens)?;
        let tokens = first.len() + second.len() + self.special_of_pair;
        if refuse && tokens > limit {
            return Err(too_long(TextPart::Pair, Some(tokens)));
        }
        let (first, second) = self.cut_pair(first, second, direction)?;
        let whole = self.inner.post_process(first, second, true);
        let whole = whole.map_err(|error| in_words(&*error))?;
        Ok(Tokenized {
            ids: whole.get_ids().to_vec(),
            types: whole.get_type_ids().to_vec(),
            cut: cut || bounded || tokens > limit,
            skipped: 0,
            spans: Vec::new(),
        })
    }

    /// Both texts of a pair, cut to what the model sees of them together, and with the types of a first and a second text.
    fn cut_pair(
        &self,
        first: Encoding,
        second: Encoding,
        direction: TruncationDirection,
    ) -> Result<(Encoding, Option<Encoding>), TokenizeError> {
        let limit = self.settings.max_tokens;
        let strategy = self.settings.head.as_ref().map(|head| head.strategy);
        let strategy = strategy.unwrap_or_default();
        // The one that is not cut, if the other one alone is.
        let (part, uncut) = match strategy {
            Strategy::OnlyFirst => (TextPart::Second, second.len()),
            _ => (TextPart::First, first.len()),
        };
        let params = TruncationParams {
            direction,
            // Room for both is made sure of where the model takes pairs.
            max_length: limit.saturating_sub(self.special_of_pair),
            strategy: match strategy {
                Strategy::LongestFirst => TruncationStrategy::LongestFirst,
                Strategy::OnlyFirst => TruncationStrategy::OnlyFirst,
                Strategy::OnlySecond => TruncationStrategy::OnlySecond,
            },
            stride: 0,
        };
        // It fails only where nothing would be left of the text to be cut.
        let both = truncate_encodings(first, Some(second), &params);
        let uncut = uncut + self.special_of_pair;
        let (mut first, mut second) = both.map_err(|_| TokenizeError::TooLong {
            part,
            tokens: Some(uncut),
            limit,
        })?;
        first.take_overflowing();
        if let Some(second) = &mut second {
            second.take_overflowing();
            // A tokenizer without a template for pairs leaves the types as they come.
            second.set_type_ids(vec![1; second.len()]);
        }
        Ok((first, second))
    }
}

#[cfg(test)]
mod tests {
    use score::Task;

    use super::super::tests::with_head;
    use super::*;

    const FILE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/text/tiny/tokenizer.json"
    );

    fn tokenizer(max_tokens: usize, strategy: Strategy) -> Tokenizer {
        let settings = with_head(max_tokens, Task::Rerank, strategy);
        Tokenizer::new(&std::fs::read(FILE).unwrap(), &settings).unwrap()
    }

    fn lengths(pair: &Tokenized) -> (usize, usize) {
        let second = pair.types.iter().filter(|ty| **ty == 1).count();
        (pair.types.len() - second, second)
    }

    #[test]
    fn pairs_have_one_limit_and_are_cut_as_the_model_asks() {
        let none = TextOptions::default();
        let (short, long) = ("the cat", "the ferry the ferry the ferry the ferry");
        let whole = tokenizer(64, Strategy::LongestFirst);
        let all = whole.tokenize_pair(short, long, &none).unwrap();
        let (first, second) = lengths(&all);
        assert!(!all.cut && first < second, "{first} {second}");
        let longest = tokenizer(10, Strategy::LongestFirst);
        let cut = longest.tokenize_pair(short, long, &none).unwrap();
        assert!(cut.cut);
        assert_eq!((lengths(&cut), cut.ids.len()), ((first, 10 - first), 10));
        let swapped = longest.tokenize_pair(long, short, &none).unwrap();
        assert_eq!(swapped.ids.len(), 10);
        let second = tokenizer(10, Strategy::OnlySecond);
        assert_eq!(second.tokenize_pair(short, long, &none).unwrap(), cut);
        let only_first = tokenizer(10, Strategy::OnlyFirst);
        for (tokenizer, (query, text), part) in [
            (&second, (long, short), TextPart::First),
            (&only_first, (short, long), TextPart::Second),
        ] {
            let alone = whole.tokenize_pair(long, "", &none).unwrap().ids.len();
            let refused = tokenizer.tokenize_pair(query, text, &none).unwrap_err();
            let expected = TokenizeError::TooLong {
                part,
                tokens: Some(alone),
                limit: 10,
            };
            assert_eq!(refused, expected);
        }
    }

    #[test]
    fn without_a_template_the_second_text_still_has_its_type() {
        let file = std::fs::read(FILE).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&file).unwrap();
        json["post_processor"] = serde_json::Value::Null;
        let settings = with_head(64, Task::Rerank, Strategy::LongestFirst);
        let tokenizer = Tokenizer::new(json.to_string().as_bytes(), &settings).unwrap();
        let pair = tokenizer.tokenize_pair("the cat", "a dog", &TextOptions::default());
        assert_eq!(pair.unwrap().types, [0, 0, 1, 1]);
    }

    #[test]
    fn a_request_may_bound_the_text_of_a_pair() {
        let options = |most| TextOptions {
            max_tokens: Some(most),
            ..TextOptions::default()
        };
        let tokenizer = tokenizer(64, Strategy::LongestFirst);
        let pair = |most| tokenizer.tokenize_pair("the cat", "the ferry the ferry", &options(most));
        let (cut, whole) = (pair(2).unwrap(), pair(60).unwrap());
        assert!(cut.cut && !whole.cut);
        // With the separator behind it.
        assert_eq!(lengths(&cut).1, 3);
        let empty = tokenizer
            .tokenize_pair("", "", &TextOptions::default())
            .unwrap();
        assert_eq!((empty.ids.len(), empty.cut), (3, false));
    }
}
