//! What a request for texts asks for, whichever API it is of.

use score::ScoreError;

use super::VectorEncoding;
use super::search_skill::Record;
use crate::body::PayloadError;

/// What a request asks for, whichever API it is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRequest {
    /// The texts.
    pub texts: Vec<String>,
    /// The model that the body names.
    pub model: Option<String>,
    /// How the texts are to be treated.
    pub options: TextOptions,
    /// How vectors are to be written.
    pub encoding: VectorEncoding,
    /// Lists of token ids, for a request that brings them instead of texts.
    pub ids: Vec<Vec<u32>>,
    /// Whether special tokens are part of the answer.
    pub special: Option<bool>,
    pub(crate) form: Form,
}

/// What is made of the vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// They are answered.
    #[default]
    Vectors,
    /// The first one is compared with the others.
    Similarity,
    /// They are answered by record; a record without a text has none.
    Records(Vec<Record>),
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
        let texts = self.texts.iter();
        let texts: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
        let ids = self.ids.iter();
        texts + ids.map(|ids| size_of_val(&ids[..])).sum::<usize>()
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
}

/// A side of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    Right,
}
