//! What a body holds.

use score::{NamedTensor, TensorData};

use super::AnswerForm;

/// What a body holds.
#[derive(Debug)]
pub enum Body {
    /// The rows themselves.
    Rows(Decoded),
    /// The keys under which the rows lie.
    Keys(Vec<String>),
}

impl Body {
    pub(crate) fn rows_of(inputs: Vec<NamedTensor>, answer: AnswerForm) -> Self {
        Self::Rows(Decoded {
            inputs,
            answer,
            by_position: false,
        })
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Keys(keys) => text_bytes(keys),
            Self::Rows(rows) => rows.bytes(),
        }
    }

    /// How many rows it has or names.
    pub fn row_count(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.len(),
            Self::Rows(rows) => rows.row_count(),
        }
    }

    /// The rows, if the body has them itself.
    pub fn rows(self) -> Option<Decoded> {
        match self {
            Self::Rows(decoded) => Some(decoded),
            Self::Keys(_) => None,
        }
    }
}

/// The content of a body that has its rows itself.
#[derive(Debug)]
pub struct Decoded {
    /// The tensors, in the order in which the body gives them.
    pub inputs: Vec<NamedTensor>,
    /// How to answer the request.
    pub answer: AnswerForm,
    /// Whether columns were taken by position, because the model has no names to compare theirs with.
    pub by_position: bool,
}

impl Decoded {
    /// About how many bytes its tensors take.
    pub fn bytes(&self) -> usize {
        let each = self.inputs.iter().map(|input| match input.tensor.data() {
            TensorData::String(texts) => text_bytes(texts),
            data => data.len() * data.element_type().size().unwrap_or(1),
        });
        each.sum()
    }

    /// How many rows it has: the longest first axis of its tensors.
    pub fn row_count(&self) -> usize {
        let each = self.inputs.iter().filter_map(|input| input.tensor.rows());
        each.max().unwrap_or(1)
    }
}

fn text_bytes(texts: &[String]) -> usize {
    let held = texts.iter().map(|text| size_of::<String>() + text.len());
    held.sum()
}
