//! The JSON form of the Open Inference Protocol (KServe V2): `{"inputs": [{name, shape, datatype, data}]}`.
//!
//! Source: "Open Inference Protocol", rest/predict-v2.

use score::{
    ElementType, InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError, Shape,
    Tensor, element_count,
};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fast::Plan;
use super::write::Nested;
use super::{careful, fast};

/// What the caller asked for beside the inputs.
#[derive(Debug)]
pub(crate) struct Asked {
    id: Option<String>,
    /// Outputs by their index in the signature, in the caller's order; `None` for the model's default.
    outputs: Option<Vec<usize>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct RequestedOutput {
    name: String,
}

impl Asked {
    pub(super) fn read(
        id: Option<&RawValue>,
        outputs: Option<&RawValue>,
        signature: &ModelSignature,
    ) -> Result<Self, ScoreError> {
        let id = match id {
            Some(id) => Some(parse("id", id)?),
            None => None,
        };
        let Some(outputs) = outputs else {
            return Ok(Self { id, outputs: None });
        };
        let requested: Vec<RequestedOutput> = parse("outputs", outputs)?;
        let find = |(position, output): (usize, &RequestedOutput)| {
            let specs = &signature.outputs;
            let index = specs.iter().position(|spec| spec.name == output.name);
            index.ok_or_else(|| {
                let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
                let message = format!(
                    "the model has no output {:?}; it has {}",
                    output.name,
                    known.join(", ")
                );
                ScoreError::invalid(format!("outputs[{position}]"), message)
            })
        };
        let outputs: Vec<usize> = requested
            .iter()
            .enumerate()
            .map(find)
            .collect::<Result<_, _>>()?;
        // An empty list asks for nothing in particular.
        Ok(Self {
            id,
            outputs: (!outputs.is_empty()).then_some(outputs),
        })
    }
}

/// Reads the member `inputs`.
pub(super) fn read(
    inputs: &RawValue,
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let inputs: Vec<&RawValue> = parse("inputs", inputs)?;
    inputs
        .into_iter()
        .enumerate()
        .map(|(position, input)| {
            let target = format!("inputs[{position}]");
            let input: Input<'_> = parse(&target, input)?;
            read_input(input, signature, &target, max_nesting)
        })
        .collect()
}

fn read_input(
    input: Input<'_>,
    signature: &ModelSignature,
    target: &str,
    max_nesting: usize,
) -> Result<NamedTensor, ScoreError> {
    let name = input.name;
    let wrong = |message: String| ScoreError::invalid(target, message);
    let Some(spec) = signature.input(&name) else {
        return Err(wrong(format!(
            "the model has no input {name:?}; it takes {}",
            signature.describe_inputs()
        )));
    };
    let Some(ty) = ElementType::from_datatype(&input.datatype) else {
        return Err(wrong(format!(
            "input {name:?}: datatype {:?} is not known; expected {}",
            input.datatype,
            spec.element_type.datatype()
        )));
    };
    if ty != spec.element_type {
        return Err(wrong(format!(
            "input {name:?}: expected datatype {} ({spec}), got {}",
            spec.element_type.datatype(),
            ty.datatype()
        )));
    }
    let shape: Option<Shape> = input
        .shape
        .iter()
        .map(|n| usize::try_from(*n).ok())
        .collect();
    let sized = shape.and_then(|shape| Some((element_count(&shape)?, shape)));
    let (count, shape) = sized.ok_or_else(|| {
        wrong(format!(
            "input {name:?}: shape {:?} is too large",
            input.shape
        ))
    })?;
    let data_target = format!("{target}.data");
    let text = input.data.get();
    let tensor = match fast::read_array(text, ty, Plan::new(1, count, text.len())) {
        Some(tensor) => tensor,
        None => careful::read_array(text, ty, &data_target, max_nesting)?,
    };
    // Flat or nested: only the order of the elements and their number count.
    let got = tensor.data().len();
    let tensor = Tensor::new(shape, tensor.into_parts().1).map_err(|_| {
        let shape = &input.shape;
        let message = format!("input {name:?}: shape {shape:?} needs {count} values, got {got}");
        ScoreError::invalid(data_target, message)
    })?;
    spec.check(&tensor, target)?;
    Ok(NamedTensor { name, tensor })
}

fn parse<'a, T: Deserialize<'a>>(target: &str, json: &'a RawValue) -> Result<T, ScoreError> {
    serde_json::from_str(json.get())
        .map_err(|error| ScoreError::invalid(target, format!("{target}: {error}")))
}

#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Outputs<'a>,
}

struct Outputs<'a> {
    response: &'a InferenceResponse,
    indices: &'a [usize],
}

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.indices.len()))?;
        for output in self
            .indices
            .iter()
            .filter_map(|i| self.response.outputs.get(*i))
        {
            let data = output.tensor.data();
            seq.serialize_element(&Output {
                name: &output.name,
                datatype: output.tensor.element_type().datatype(),
                shape: output.tensor.shape(),
                data: Nested::flat(&[data.len()], data),
            })?;
        }
        seq.end()
    }
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [usize],
    data: Nested<'a>,
}

/// Writes `{"model_name", "model_version", "id", "outputs": [...]}` with flat data.
pub(super) fn write(
    asked: &Asked,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Answer {
        model_name: &metadata.name,
        model_version: MODEL_VERSION,
        id: asked.id.as_deref(),
        outputs: Outputs {
            response,
            indices: asked.outputs.as_ref().unwrap_or(&metadata.default_outputs),
        },
    })
}

/// Models lie in one folder each, without versions.
pub(crate) const MODEL_VERSION: &str = "1";
