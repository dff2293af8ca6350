//! The table `[text]` of `model.toml`.

use std::collections::BTreeMap;

use score::{Activation, LoadError, ModelFolder, Task, Truncate, refuse_unknown};
use serde::{Deserialize, Serialize};

use crate::pooling::Pooling;
use crate::strategy::Strategy;

/// Tokens that one run may have; a run of BERT's size takes a few GB with that many.
const MAX_BATCH_TOKENS: usize = 65_536;

/// The keys of `[text]`.
const KEYS: [&str; 16] = [
    "task",
    "file",
    "pooling",
    "normalize",
    "max_tokens",
    "max_chars",
    "truncate",
    "prompt",
    "prompts",
    "dimensions",
    "batch_tokens",
    "max_texts",
    "store",
    "activation",
    "pairs",
    "truncation_strategy",
];

/// What `[text]` may say. Everything is optional; what is given overrules the files of the folder.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextOptions {
    /// What the model is for.
    pub(crate) task: Option<Task>,
    /// The ONNX file, below the folder. It is read by `score`, before this.
    #[serde(rename = "file")]
    _file: Option<String>,
    /// How the vectors of tokens become one vector.
    pub(crate) pooling: Option<Pooling>,
    /// Whether vectors are answered with length 1.
    pub(crate) normalize: Option<bool>,
    /// Tokens of a text that the model sees, special tokens included.
    pub(crate) max_tokens: Option<usize>,
    /// Characters of a text that are tokenized.
    pub(crate) max_chars: Option<usize>,
    /// What becomes of longer texts.
    pub(crate) truncate: Option<Truncate>,
    /// What is put in front of each text.
    pub(crate) prompt: Option<String>,
    /// Prompts by name.
    pub(crate) prompts: Option<BTreeMap<String, String>>,
    /// The first so many numbers of each vector are answered.
    pub(crate) dimensions: Option<usize>,
    /// Tokens of one run, padding included.
    pub(crate) batch_tokens: Option<usize>,
    /// Texts of one request.
    pub(crate) max_texts: Option<usize>,
    /// How the numbers of a vector, or logits, are stored.
    pub(crate) store: Option<StoredAs>,
    /// What makes scores of logits.
    pub(crate) activation: Option<Activation>,
    /// Whether a classifier takes pairs of texts.
    pub(crate) pairs: Option<bool>,
    /// Which text of a pair is cut.
    pub(crate) truncation_strategy: Option<Strategy>,
}

/// How the numbers of a vector are stored, and so how exact answers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredAs {
    /// In 4 bytes.
    #[default]
    Float32,
    /// In 2 bytes: 3 to 4 digits.
    Float16,
}

impl TextOptions {
    /// Reads the table.
    ///
    /// # Errors
    /// [`LoadError::Options`] names the key.
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, LoadError> {
        let table = folder.options.text.clone().unwrap_or_default();
        refuse_unknown(&table, &KEYS, "text: ").map_err(|reason| folder.wrong_options(&reason))?;
        let options = Self::deserialize(table).map_err(|error| {
            let lines: Vec<&str> = error.message().lines().map(str::trim).collect();
            folder.wrong_options(&format!("text: {}", lines.join(" ")))
        })?;
        options
            .refuse_senseless()
            .map_err(|reason| folder.wrong_options(&format!("text.{reason}")))?;
        Ok(options)
    }

    fn refuse_senseless(&self) -> Result<(), String> {
        for (key, number) in [
            ("max_tokens", self.max_tokens),
            ("max_chars", self.max_chars),
            ("dimensions", self.dimensions),
            ("batch_tokens", self.batch_tokens),
            ("max_texts", self.max_texts),
        ] {
            if number == Some(0) {
                return Err(format!("{key}: expected 1 or more; found 0"));
            }
        }
        match self.batch_tokens {
            Some(found) if found > MAX_BATCH_TOKENS => Err(format!(
                "batch_tokens: expected {MAX_BATCH_TOKENS} or less, since the memory of a run grows with it; found {found}"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TextOptions, String> {
        let options =
            toml::from_str::<TextOptions>(text).map_err(|error| error.message().to_owned())?;
        options.refuse_senseless()?;
        Ok(options)
    }

    #[test]
    fn the_list_of_keys_is_that_of_the_table() {
        let unknown = read("unknown = 1").unwrap_err();
        let named: Vec<&str> = unknown.split('`').skip(1).step_by(2).collect();
        assert_eq!(named[1..], KEYS);
    }

    #[test]
    fn keys_are_known_and_their_values_make_sense() {
        let all = read(
            "task = \"embedding\"\nfile = \"onnx/model.onnx\"\npooling = \"lasttoken\"\nnormalize = false\nmax_tokens = 8\n\
             max_chars = 9\ntruncate = \"refuse\"\nprompt = \"query: \"\ndimensions = 64\nbatch_tokens = 256\n\
             max_texts = 9\nstore = \"float16\"\n[prompts]\nquery = \"query: \"",
        )
        .unwrap();
        assert_eq!(all.truncate, Some(Truncate::Refuse));
        let ranks =
            "task = \"rerank\"\nactivation = \"none\"\ntruncation_strategy = \"only_second\"";
        assert_eq!(read(ranks).unwrap().task, Some(Task::Rerank));
        assert_eq!(
            read("task = \"embed\"").unwrap().task,
            Some(Task::Embedding)
        );
        assert_eq!(all.prompts.unwrap()["query"], "query: ");
        for (wrong, reason) in [
            ("dimensions = 0", "dimensions: expected 1 or more"),
            ("dimension = 8", "unknown field `dimension`"),
            ("pooling = \"median\"", "\"median\""),
            ("task = \"ranking\"", "unknown variant `ranking`"),
            ("activation = \"tanh\"", "unknown variant `tanh`"),
            ("truncation_strategy = \"x\"", "unknown variant `x`"),
            ("truncate = \"middle\"", "unknown variant `middle`"),
            ("store = \"int8\"", "unknown variant `int8`"),
            ("max_texts = 0", "max_texts: expected 1 or more"),
            (
                "batch_tokens = 65537",
                "batch_tokens: expected 65536 or less",
            ),
        ] {
            let message = read(wrong).unwrap_err();
            assert!(message.contains(reason), "{wrong}: {message}");
        }
    }
}
