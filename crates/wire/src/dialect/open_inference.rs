//! The Open Inference Protocol (KServe V2), with its binary tensor data extension: `{"inputs": [{name, shape, datatype, data}]}`.
//!
//! Source: "Open Inference Protocol", rest/predict-v2.

pub(crate) mod fast;

use score::{
    ElementType, InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError, Shape,
    Tensor, TensorData, TensorSpec, element_count,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::Encoded;
use crate::json::diagnose;
use crate::json::nested;
use crate::json::output::tensors_of;
use crate::json::scanner::Plan;
use crate::json::write::Flat;
use crate::refusal::amended;
use crate::rows::columns::Context;
use crate::rows::tabular::as_column;
use crate::unlike;

/// What the caller asked for beside the inputs.
#[derive(Debug)]
pub struct Asked {
    id: Option<String>,
    /// What to answer with.
    outputs: Vec<AskedOutput>,
    /// Parameters that mean nothing here; they come back with the answer.
    parameters: Map<String, Value>,
}

#[derive(Debug, Clone, Copy)]
struct AskedOutput {
    /// Its place in the signature.
    index: usize,
    /// Whether its data is to follow the JSON as bytes.
    binary: bool,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    parameters: Option<InputParameters>,
}

#[derive(Deserialize, Default)]
struct InputParameters {
    binary_data_size: Option<usize>,
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
        // Clients that write unset members as null mean that they are not there.
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
        for (position, output) in requested.iter().enumerate() {
            let index = find_output(&metadata.signature, &output.name, position)?;
            if chosen
                .iter()
                .any(|asked: &AskedOutput| asked.index == index)
            {
                let message = format!("output {:?} is asked for twice", output.name);
                return Err(ScoreError::invalid(format!("outputs[{position}]"), message));
            }
            let parameters = output.parameters.as_ref();
            let binary = parameters.and_then(|parameters| parameters.binary_data);
            chosen.push(AskedOutput {
                index,
                binary: binary.unwrap_or(all_binary),
            });
        }
        // An empty list asks for nothing in particular.
        if chosen.is_empty() {
            let declared = &metadata.signature.declared;
            let default = metadata.default_outputs.iter();
            let default = default.filter_map(|index| declared.get(*index));
            let indices = default.flat_map(|output| tensors_of(output.form));
            chosen.extend(indices.map(|index| AskedOutput {
                index,
                binary: all_binary,
            }));
        }
        Ok(Self {
            id,
            outputs: chosen,
            parameters: parameters.others,
        })
    }
}

fn find_output(
    signature: &ModelSignature,
    name: &str,
    position: usize,
) -> Result<usize, ScoreError> {
    let specs = &signature.outputs;
    let index = specs.iter().position(|spec| spec.name == name);
    index.ok_or_else(|| {
        let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let message = format!(
            "the model has no output {name:?}; it has {}",
            known.join(", ")
        );
        ScoreError::invalid(format!("outputs[{position}]"), message)
    })
}

/// Reads the member `inputs`; binary tensors are cut from `binary` in the order of the inputs.
///
/// Source: the binary tensor data extension of the Open Inference Protocol.
pub(crate) fn read(
    context: Context<'_>,
    inputs: &RawValue,
    mut binary: &[u8],
) -> Result<Vec<NamedTensor>, ScoreError> {
    let inputs: Vec<&RawValue> = parse("inputs", inputs)?;
    let mut tensors = Vec::with_capacity(inputs.len());
    for (position, input) in inputs.into_iter().enumerate() {
        let target = format!("inputs[{position}]");
        let input: Input<'_> =
            parse(&target, input).map_err(|error| amended(error, || misspelt(input)))?;
        tensors.push(read_input(context, input, &mut binary, &target)?);
    }
    if !binary.is_empty() {
        return Err(left_over(binary));
    }
    Ok(tensors)
}

/// Words for members of an input in another letter case, as .NET writes them by itself.
fn misspelt(input: &RawValue) -> String {
    let members = &["name", "shape", "datatype", "data", "parameters"];
    let other = unlike::other_case(input.get().as_bytes(), members);
    other.map(|other| format!("; {other}")).unwrap_or_default()
}

/// Binary data that no input has asked for.
pub(crate) fn left_over(binary: &[u8]) -> ScoreError {
    let message = format!("{} bytes of binary data belong to no input", binary.len());
    ScoreError::invalid("inputs", message)
}

fn read_input(
    context: Context<'_>,
    input: Input<'_>,
    binary: &mut &[u8],
    target: &str,
) -> Result<NamedTensor, ScoreError> {
    let spec = find_input(&input, context.signature, target)?;
    let shape: Option<Shape> = input
        .shape
        .iter()
        .map(|n| usize::try_from(*n).ok())
        .collect();
    let sized = shape.and_then(|shape| Some((element_count(&shape)?, shape)));
    let (name, ty) = (input.name, spec.element_type);
    let (count, shape) = sized.ok_or_else(|| {
        let message = format!("input {name:?}: shape {:?} is too large", input.shape);
        ScoreError::invalid(target, message)
    })?;
    let data_target = format!("{target}.data");
    let wrong = |message: String| ScoreError::invalid(&data_target, message);
    let binary_data_size = input.parameters.and_then(|p| p.binary_data_size);
    let data = match (binary_data_size, input.data) {
        (Some(size), None) => {
            let (bytes, rest) = binary.split_at_checked(size).ok_or_else(|| {
                wrong(format!(
                    "input {name:?}: the body ends before its {size} binary bytes"
                ))
            })?;
            *binary = rest;
            TensorData::from_le_bytes(ty, count, bytes).ok_or_else(|| {
                wrong(format!(
                    "input {name:?}: {size} binary bytes are no {} of shape {:?}",
                    ty.datatype(),
                    input.shape
                ))
            })?
        }
        (None, Some(data)) => {
            let text = data.get();
            let plan = Plan::new(1, count);
            let tensor = match nested::read_array(text, ty, plan) {
                Some(tensor) => tensor,
                None => diagnose::read_array(context, text, spec, &data_target)?,
            };
            // Flat or nested: only the order of the elements and their number count.
            tensor.into_parts().1
        }
        (Some(_), Some(_)) => {
            return Err(wrong(format!(
                "input {name:?}: give data or binary_data_size, not both"
            )));
        }
        (None, None) => return Err(wrong(format!("input {name:?}: missing field `data`"))),
    };
    let got = data.len();
    let tensor = Tensor::new(shape, data).map_err(|_| {
        let shape = &input.shape;
        wrong(format!(
            "input {name:?}: shape {shape:?} needs {count} values, got {got}"
        ))
    })?;
    let tensor = as_column(tensor, spec);
    spec.check(&tensor, target)?;
    Ok(NamedTensor { name, tensor })
}

fn find_input<'a>(
    input: &Input<'_>,
    signature: &'a ModelSignature,
    target: &str,
) -> Result<&'a TensorSpec, ScoreError> {
    let name = &input.name;
    let wrong = |message: String| Err(ScoreError::invalid(target, message));
    let Some(spec) = signature.input(name) else {
        return wrong(format!(
            "the model has no input {name:?}; it takes {}",
            signature.describe_inputs()
        ));
    };
    let expected = spec.element_type.datatype();
    match ElementType::from_datatype(&input.datatype) {
        Some(ty) if ty == spec.element_type => Ok(spec),
        Some(ty) => wrong(format!(
            "input {name:?}: expected datatype {expected} ({spec}), got {}",
            ty.datatype()
        )),
        None => wrong(format!(
            "input {name:?}: datatype {:?} is not known; expected {expected}",
            input.datatype
        )),
    }
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
    #[serde(skip_serializing_if = "Map::is_empty")]
    parameters: &'a Map<String, Value>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Flat<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// Writes `{"model_name", "model_version", "id", "outputs": [...]}` with flat data, and binary data after it.
pub(crate) fn write(
    asked: &Asked,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> serde_json::Result<Encoded> {
    let mut binary = Vec::new();
    let mut outputs = Vec::with_capacity(asked.outputs.len());
    for AskedOutput {
        index,
        binary: as_bytes,
    } in &asked.outputs
    {
        let Some(NamedTensor { name, tensor }) = response.outputs.get(*index) else {
            continue;
        };
        let before = binary.len();
        if *as_bytes {
            tensor.data().append_le_bytes(&mut binary);
        }
        outputs.push(Output {
            name,
            datatype: tensor.element_type().datatype(),
            shape: tensor.shape(),
            parameters: as_bytes.then(|| BinarySize {
                binary_data_size: binary.len() - before,
            }),
            data: (!as_bytes).then(|| Flat(tensor.data())),
        });
    }
    let any_binary = asked.outputs.iter().any(|output| output.binary);
    let mut body = serde_json::to_vec(&Answer {
        model_name: &metadata.name,
        model_version: &metadata.version,
        id: asked.id.as_deref(),
        parameters: &asked.parameters,
        outputs,
    })?;
    if !any_binary {
        return Ok(Encoded::json(body));
    }
    let json_bytes = body.len();
    body.append(&mut binary);
    Ok(Encoded {
        body,
        content_type: "application/octet-stream",
        json_bytes: Some(json_bytes),
    })
}

/// An input or output as the model's description names it; the shape is `null` if none is declared.
pub fn tensor_document(spec: &TensorSpec) -> Value {
    json!({
        "name": spec.name,
        "datatype": spec.element_type.datatype(),
        "shape": spec.shape.as_ref().map(|_| spec.signed_shape()),
    })
}

/// The same as the protocol's model metadata names it. The protocol has no word for an undeclared shape, and its clients
/// want a list of numbers: one axis of any length comes closest.
pub fn protocol_tensor_document(spec: &TensorSpec) -> Value {
    let mut document = tensor_document(spec);
    if spec.shape.is_none() {
        document["shape"] = json!([-1]);
    }
    document
}
