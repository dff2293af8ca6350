//! How a request is to be answered, and what all dialects write alike.

use std::collections::BTreeMap;

use score::{InferenceResponse, ModelMetadata, NamedTensor, OutputOptions, TensorData};
use serde::{Serialize, Serializer};

use super::{Asked, Dialect, azure_ml, keys, tensorflow_serving};
use crate::body::Encoded;
use crate::json::output::{self, Bare, ByRow, Output};

/// How a request is to be answered.
#[derive(Debug)]
pub struct AnswerForm {
    pub(crate) dialect: &'static Dialect,
    /// The declared output to answer with, if the request asks for one other than the model's usual outputs.
    pub(crate) output: Option<usize>,
    /// A second member to answer under, if the request may be of either of two dialects.
    pub(crate) also: Option<&'static str>,
    /// The options of a request in the Open Inference Protocol.
    pub(crate) asked: Option<Asked>,
}

impl AnswerForm {
    pub(crate) fn of(dialect: &'static Dialect) -> Self {
        Self {
            dialect,
            output: None,
            also: None,
            asked: None,
        }
    }

    /// The bare result, as for bodies that are not JSON.
    pub fn bare() -> Self {
        Self::of(&azure_ml::DATA)
    }

    /// A value for each row, or an object of values by output name, in a list under `predictions`.
    pub fn by_row() -> Self {
        Self::of(&tensorflow_serving::INSTANCES)
    }

    /// The answer for rows that are stored under keys.
    pub fn of_stored_rows() -> Self {
        Self::of(&keys::KEYS)
    }

    /// Whether the rows do not come from the caller, so that no error may quote them.
    pub fn rows_are_stored(&self) -> bool {
        std::ptr::eq(self.dialect, &keys::KEYS)
    }

    /// The declared outputs to answer with.
    pub(crate) fn outputs<'a>(&'a self, metadata: &'a ModelMetadata) -> &'a [usize] {
        match &self.output {
            Some(output) => std::slice::from_ref(output),
            None => &metadata.default_outputs,
        }
    }
}

/// Results, and the form in which to answer with them.
pub(crate) struct Answer<'a> {
    pub(crate) form: &'a AnswerForm,
    pub(crate) metadata: &'a ModelMetadata,
    pub(crate) response: &'a InferenceResponse,
}

impl<'a> Answer<'a> {
    /// The outputs to answer with.
    pub(super) fn outputs(&self) -> Vec<Output<'a>> {
        let declared = self.form.outputs(self.metadata);
        output::chosen(self.metadata, declared, self.response)
    }
}

/// Writes the outputs under the dialect's member, [`Dialect::under`], and the same under the second member if the request may be
/// of two dialects.
pub(super) fn write_under(answer: &Answer<'_>) -> serde_json::Result<Encoded> {
    let outputs = &answer.outputs()[..];
    let members = answer
        .form
        .dialect
        .under
        .into_iter()
        .chain(answer.form.also);
    let values = members.map(|member| {
        let by_row = member == "predictions";
        (member, Under { outputs, by_row })
    });
    let document: BTreeMap<_, _> = values.collect();
    serde_json::to_vec(&document).map(Encoded::json)
}

/// Outputs under one member.
struct Under<'a> {
    outputs: &'a [Output<'a>],
    /// Whether several outputs with the same rows become one object for each row.
    by_row: bool,
}

impl Serialize for Under<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { outputs, by_row } = *self;
        let rows = outputs.first().and_then(|output| output.value.rows());
        let same = outputs.iter().all(|output| output.value.rows() == rows);
        match rows {
            Some(rows) if by_row && outputs.len() > 1 && same => {
                ByRow { outputs, rows }.serialize(serializer)
            }
            _ => Bare(outputs).serialize(serializer),
        }
    }
}

/// What a response and its answer take at most, before the answer is written.
pub fn response_bytes(
    form: &AnswerForm,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> usize {
    let options = &metadata.options;
    let own = options.output.values().flat_map(OutputOptions::labels);
    let label = options.labels.iter().chain(own).map(String::len).max();
    let label = label.map_or(0, |longest| size_of::<String>() + 6 * longest);
    let label = match options.output.is_empty() {
        true => label,
        // Each value may be a class with its place in a sort.
        false => label + size_of::<usize>() + r#"{"label":"","score":},"#.len() + MAX_DIGITS[3],
    };
    let each = response.outputs.iter().map(|NamedTensor { name, tensor }| {
        let brackets = 2 * tensor.shape().len() + 1;
        let (held, written) = match tensor.data() {
            TensorData::String(texts) => {
                let bytes: usize = texts.iter().map(String::len).sum();
                // A control character is written as six.
                (
                    bytes + size_of::<String>() * texts.len(),
                    6 * bytes + 2 * texts.len(),
                )
            }
            data => {
                let size = data.element_type().size().unwrap_or(1);
                (
                    data.len() * size,
                    data.len() * (MAX_DIGITS[size.ilog2().min(3) as usize] + label),
                )
            }
        };
        let names = tensor.rows().unwrap_or(1) * (name.len() + 4);
        held + written + tensor.data().len() * brackets + names
    });
    let all: usize = each.sum();
    // Under two members everything is written twice.
    all * if form.also.is_some() { 2 } else { 1 }
}

/// The most characters of a number of 1, 2, 4 and 8 bytes; a half is written as the number of 4 bytes that it is.
const MAX_DIGITS: [usize; 4] = [5, 16, 16, 26];
