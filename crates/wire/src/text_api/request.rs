//! What a request for texts asks for, whichever API it is of.

use score::{Activation, Aggregation, ScoreError};

use super::VectorEncoding;
use super::search_skill::Record;
use super::vectors::EmbeddingType;
use crate::body::PayloadError;

/// What a request asks for, whichever API it is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRequest {
    /// The texts; of pairs, the second ones.
    pub texts: Vec<String>,
    /// The first texts of pairs: one for all texts, or one for each. None where texts stand alone.
    pub queries: Vec<String>,
    /// The model that the body names.
    pub model: Option<String>,
    /// How the texts are to be treated.
    pub options: TextOptions,
    /// How vectors are to be written.
    pub encoding: VectorEncoding,
    /// How scores and tags are to be answered.
    pub results: ResultOptions,
    /// Lists of token ids, for a request that brings them instead of texts.
    pub ids: Vec<Vec<u32>>,
    /// Whether special tokens are part of the answer.
    pub special: Option<bool>,
    /// Whether the answer repeats the texts.
    pub repeats_texts: bool,
    pub(crate) form: Form,
}

/// The form of an answer, where a route has several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// A list with a result for each text.
    #[default]
    List,
    /// The result of the only text, without a list around it.
    One,
    /// Results in the order of pairs that each bring both texts.
    Pairs,
    /// The first vector is compared with the others.
    Similarity,
    /// Results by record; a record without a text has none.
    Records(Vec<Record>),
    /// Ranked documents inside an object.
    Documents,
    /// Vectors in each of these types.
    ByType(Vec<EmbeddingType>),
}

/// Why texts cannot be read.
#[derive(Debug)]
pub enum TextError {
    /// The body holds no texts.
    Empty(ScoreError),
    /// The body is malformed, too large or of another type.
    Payload(PayloadError),
}

impl From<PayloadError> for TextError {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}

impl From<ScoreError> for TextError {
    fn from(error: ScoreError) -> Self {
        Self::Payload(error.into())
    }
}

impl TextRequest {
    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let texts = self.texts.iter().chain(&self.queries);
        let texts: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
        let ids = self.ids.iter();
        texts + ids.map(|ids| size_of_val(&ids[..])).sum::<usize>()
    }

    /// Whether a text that was cut has a result in its answer. A record of Azure AI Search has an error instead, where the
    /// model `refuses` texts that are too long.
    pub fn answers_cut_texts(&self, refuses: bool) -> bool {
        !(refuses && matches!(self.form, Form::Records(_)))
    }

    /// About how many bytes so many numbers of vectors take in its answer.
    pub fn vector_bytes(&self, numbers: usize) -> usize {
        match &self.form {
            Form::ByType(types) => {
                let bytes = types.iter().map(|of| of.bytes(numbers));
                bytes.sum()
            }
            _ => self.encoding.bytes(numbers),
        }
    }
}

/// How the texts of a request are to be treated; what is `None` is as the model has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// How many numbers of each vector are wanted.
    pub dimensions: Option<usize>,
    /// Whether vectors are scaled to length 1.
    pub normalize: Option<bool>,
    /// The name of the prompt to put in front of each text.
    pub prompt_name: Option<String>,
    /// What the texts are: `query`, `document`. It selects a prompt where the model has one for that.
    pub input_type: Option<String>,
    /// Whether longer texts are cut.
    pub truncate: Option<bool>,
    /// The side on which they are cut.
    pub truncation_side: Option<Side>,
    /// Tokens of each text that the model is to see at most.
    pub max_tokens: Option<usize>,
}

/// How scores and tags are to be answered; what is `None` is as the model has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultOptions {
    /// What makes scores of logits.
    pub activation: Option<Activation>,
    /// How many of the best results are wanted.
    pub top: Option<usize>,
    /// How tagged tokens become entities.
    pub aggregation: Option<Aggregation>,
    /// Tags that are left out; `O` unless the request says otherwise.
    pub ignored: Option<Vec<String>>,
}

/// A side of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    Right,
}
