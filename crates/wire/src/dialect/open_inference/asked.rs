//! The options of a request in the protocol, beside its inputs.

use score::{ElementType, ModelMetadata, ModelSignature, OutputForm, ScoreError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::parse;

/// The options of a request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) id: Option<String>,
    /// The outputs to answer with.
    pub(super) outputs: Vec<AskedOutput>,
    /// Parameters that have no effect here; the answer repeats them.
    pub(super) parameters: Map<String, Value>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct AskedOutput {
    pub(super) source: Source,
    /// Whether the output's data follows the JSON as bytes.
    pub(super) binary: bool,
    /// How many classes to answer with instead of the tensor.
    pub(super) classes: Option<usize>,
}

/// Where an output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// One tensor, by its position in the signature.
    Tensor(usize),
    /// A sequence of tensors, by its position among the declared outputs: one output for each element.
    Sequence(usize),
}

#[derive(Deserialize)]
struct RequestedOutput {
    name: String,
    #[serde(default)]
    parameters: Option<OutputParameters>,
}

#[derive(Deserialize, Default)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<usize>,
}

#[derive(Deserialize, Default)]
struct RequestParameters {
    binary_data_output: Option<bool>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Asked {
    pub(crate) fn read(
        id: Option<&RawValue>,
        outputs: Option<&RawValue>,
        parameters: Option<&RawValue>,
        metadata: &ModelMetadata,
    ) -> Result<Self, ScoreError> {
        // Clients that write unset members as null mean that the members are absent.
        let given = |raw: &&RawValue| raw.get() != "null";
        let (id, outputs) = (id.filter(given), outputs.filter(given));
        let parameters = parameters.filter(given);
        let id = id.map(|id| parse("id", id)).transpose()?;
        let parameters = parameters.map(|p| parse::<RequestParameters>("parameters", p));
        let parameters = parameters.transpose()?.unwrap_or_default();
        let all_binary = parameters.binary_data_output.unwrap_or(false);
        let requested = outputs.map(|o| parse::<Vec<RequestedOutput>>("outputs", o));
        let requested = requested.transpose()?.unwrap_or_default();
        let mut chosen = Vec::with_capacity(requested.len());
        for (position, output) in requested.into_iter().enumerate() {
            let target = format!("outputs[{position}]");
            let output = output.find(&metadata.signature, all_binary, &target)?;
            chosen.push(output);
            let twice = chosen.iter().filter(|other| other.source == output.source);
            if twice.count() > 1 {
                let message = format!("{target}: this output is asked for twice");
                return Err(ScoreError::invalid(target, message));
            }
        }
        // An empty list selects the usual outputs.
        if chosen.is_empty() {
            let sources = metadata.default_outputs.iter();
            let sources = sources.flat_map(|index| usual_sources(&metadata.signature, *index));
            chosen.extend(sources.map(|source| AskedOutput {
                source,
                binary: all_binary,
                classes: None,
            }));
        }
        Ok(Self {
            id,
            outputs: chosen,
            parameters: parameters.others,
        })
    }
}

/// The answer to a declared output if the request selects no outputs.
fn usual_sources(signature: &ModelSignature, declared: usize) -> impl Iterator<Item = Source> {
    let form = signature.declared.get(declared).map(|output| output.form);
    let (first, second) = match form {
        Some(OutputForm::Tensor(index)) => (Some(Source::Tensor(index)), None),
        Some(OutputForm::Maps { keys, values }) => {
            (Some(Source::Tensor(keys)), Some(Source::Tensor(values)))
        }
        Some(OutputForm::Sequence { .. }) => (Some(Source::Sequence(declared)), None),
        None => (None, None),
    };
    first.into_iter().chain(second)
}

impl RequestedOutput {
    fn find(
        self,
        signature: &ModelSignature,
        all_binary: bool,
        target: &str,
    ) -> Result<AskedOutput, ScoreError> {
        let parameters = self.parameters.unwrap_or_default();
        let source = find_output(signature, &self.name, target)?;
        // Triton refuses `classification` for an output without classes.
        let classes = parameters.classification.filter(|classes| *classes > 0);
        if classes.is_some() && !has_classes(signature, source) {
            let message = format!(
                "{target}: classification needs an output that is one tensor of numbers, which {:?} is not; leave the \
                 parameter out",
                self.name
            );
            return Err(ScoreError::invalid(target, message));
        }
        Ok(AskedOutput {
            source,
            binary: parameters.binary_data.unwrap_or(all_binary),
            classes,
        })
    }
}

fn find_output(signature: &ModelSignature, name: &str, target: &str) -> Result<Source, ScoreError> {
    let is_sequence = |form| matches!(form, OutputForm::Sequence { .. });
    let mut declared = signature.declared.iter();
    let sequence = declared.position(|output| output.name == name && is_sequence(output.form));
    if let Some(index) = sequence {
        return Ok(Source::Sequence(index));
    }
    let specs = &signature.outputs;
    let index = specs.iter().position(|spec| spec.name == name);
    index.map(Source::Tensor).ok_or_else(|| {
        let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let message = format!(
            "the model has no output {name:?}; it has {}",
            known.join(", ")
        );
        ScoreError::invalid(target, message)
    })
}

fn has_classes(signature: &ModelSignature, source: Source) -> bool {
    let Source::Tensor(index) = source else {
        return false;
    };
    let ty = signature.outputs.get(index).map(|spec| spec.element_type);
    ty.is_some_and(|ty| !matches!(ty, ElementType::String | ElementType::Bool))
}
