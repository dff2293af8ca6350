//! The options of a request in the protocol, beside its inputs.

use std::fmt;

use score::{ElementType, ModelMetadata, ModelSignature, OutputForm, ScoreError};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::{self, SerializeMap};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::context::shown;
use crate::json::bounded::{MAX_ECHO_BYTES, compact, each};
use crate::json::parse;

/// The options of a request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) id: Option<String>,
    /// The outputs to answer with.
    pub(super) outputs: Vec<AskedOutput>,
    /// Parameters that mean nothing here; they come back with the answer.
    pub(super) parameters: Parameters,
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

/// The parameters of a request, as text: a tree of them would cost many times as much.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// The object, if any of its members comes back. It is on one line: the answer may become a line of a file.
    text: String,
    binary_data_output: bool,
}

/// The parameter that is for this server, and does not come back.
const BINARY_DATA_OUTPUT: &str = "binary_data_output";

impl Parameters {
    fn read(raw: &RawValue) -> Result<Self, ScoreError> {
        let parameters: RequestParameters = parse(raw.get(), "parameters")?;
        let mut text = String::new();
        if parameters.are_others {
            check_returned("parameters", raw)?;
            text = compact(raw.get());
        }
        Ok(Self {
            text,
            binary_data_output: parameters.binary_data_output.unwrap_or(false),
        })
    }

    /// Whether none comes back with the answer.
    pub(super) fn are_none(&self) -> bool {
        self.text.is_empty()
    }
}

/// Refuses what is too large to come back with the answer.
fn check_returned(member: &str, raw: &RawValue) -> Result<(), ScoreError> {
    let bytes = raw.get().len();
    if bytes <= MAX_ECHO_BYTES {
        return Ok(());
    }
    let message = format!(
        "{member}: {bytes} bytes are too many to be returned with the answer; send at most {MAX_ECHO_BYTES}"
    );
    Err(ScoreError::invalid(member, message))
}

/// Those that come back, as they are written.
impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let map = serializer.serialize_map(None)?;
        let mut reader = serde_json::Deserializer::from_str(&self.text);
        let map = reader.deserialize_map(Returned(map));
        map.map_err(ser::Error::custom)?.end()
    }
}

/// Writes the members of an object that come back.
struct Returned<M>(M);

impl<'de, M: SerializeMap> Visitor<'de> for Returned<M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<M, A::Error> {
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            if name != BINARY_DATA_OUTPUT {
                let written = self.0.serialize_entry(&name, value);
                written.map_err(A::Error::custom)?;
            }
        }
        Ok(self.0)
    }
}

/// What the names of parameters say.
struct RequestParameters {
    binary_data_output: Option<bool>,
    are_others: bool,
}

impl<'de> Deserialize<'de> for RequestParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RequestParametersVisitor)
    }
}

struct RequestParametersVisitor;

impl<'de> Visitor<'de> for RequestParametersVisitor {
    type Value = RequestParameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut binary_data_output, mut are_others) = (None, false);
        while let Some(name) = members.next_key::<String>()? {
            if name != BINARY_DATA_OUTPUT {
                members.next_value::<IgnoredAny>()?;
                are_others = true;
            } else if binary_data_output.replace(members.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(BINARY_DATA_OUTPUT));
            }
        }
        Ok(RequestParameters {
            binary_data_output: binary_data_output.flatten(),
            are_others,
        })
    }
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
        let id = id.map(|id| check_returned("id", id).and_then(|()| parse(id.get(), "id")));
        let id = id.transpose()?;
        let parameters = parameters.map(Parameters::read).transpose()?;
        let parameters = parameters.unwrap_or_default();
        let all_binary = parameters.binary_data_output;
        let mut chosen = match outputs {
            Some(list) => requested_outputs(list, &metadata.signature, all_binary)?,
            None => Vec::new(),
        };
        // An empty list asks for nothing in particular.
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
            parameters,
        })
    }
}

/// Reads the member `outputs`.
fn requested_outputs(
    list: &RawValue,
    signature: &ModelSignature,
    all_binary: bool,
) -> Result<Vec<AskedOutput>, ScoreError> {
    let mut chosen: Vec<AskedOutput> = Vec::new();
    each(list.get(), "outputs", |position, output| {
        let target = format!("outputs[{position}]");
        let output: RequestedOutput = parse(output, &target)?;
        let output = output.find(signature, all_binary, &target)?;
        if chosen.iter().any(|other| other.source == output.source) {
            let message = format!("{target}: this output is asked for twice");
            return Err(ScoreError::invalid(target, message));
        }
        chosen.push(output);
        Ok(())
    })?;
    Ok(chosen)
}

/// What a declared output is answered with where nothing is asked for.
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
            "the model has no output {}; it has {}",
            shown(name),
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
