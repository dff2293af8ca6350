//! The Open Inference Protocol (KServe V2), with its binary tensor data and classification extensions:
//! `{"inputs": [{name, shape, datatype, data}]}`.
//!
//! Source: "Open Inference Protocol", rest/predict-v2; Triton, "Binary Tensor Data Extension" and "Classification
//! Extension".

mod answer;
mod asked;
mod classes;
pub(crate) mod fast;
mod routes;
pub(crate) mod schema;

use score::{
    ElementType, ModelSignature, NamedTensor, ScoreError, Shape, Tensor, TensorData, TensorSpec,
    element_count,
};
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{AnswerForm, Dialect, Members, Request};
use crate::body::amended;
use crate::context::{Context, shown};
use crate::convert;
use crate::dialect::Body;
use crate::json::bounded::{AtMost, each};
use crate::json::diagnose::{self, Items};
use crate::json::names;
use crate::json::names::misspelt;
use crate::json::nested::{self, Plan};
use crate::json::parse;
use crate::rows::pictures;
use crate::rows::tabular::as_column;
use crate::watch;
pub(crate) use asked::Asked;
pub(crate) use routes::PROTOCOL;

/// `{"inputs": [{...}]}`
pub(crate) static OPEN_INFERENCE: Dialect = Dialect {
    name: "Open Inference Protocol",
    member: "inputs",
    body: r#"`{"inputs": [{"name": "x", "shape": [1,784], "datatype": "FP32", "data": [...]}]}`, data flat or nested; `"outputs": [{"name": ...}]` to choose"#,
    answer: r#"`{"model_name", "outputs": [{"name", "datatype", "shape", "data"}]}`"#,
    sample: r#"{"inputs":"$tensors"}"#,
    under: None,
    options: &["id", "outputs", "parameters"],
    recognises,
    read: read_body,
    write: answer::write,
    request_schema: |parts| Some(parts.protocol_request.clone()),
    answer_schema: |parts| parts.protocol_answer.clone(),
};

/// The extensions of the protocol that the handler serves.
pub const EXTENSIONS: &[&str] = &[
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "statistics",
];

/// Axes a shape may have; numpy's arrays have 64 at most.
const MAX_AXES: usize = 64;

const MEMBERS: &[&str] = &["name", "shape", "datatype", "data", "parameters"];

/// A list of objects with members of the protocol, in any letter case; an empty list is one of no inputs.
fn recognises(value: &RawValue, _: &Members<'_>) -> bool {
    let Some(first) = value.get().strip_prefix('[').map(str::trim_ascii_start) else {
        return false;
    };
    first.starts_with(']') || (first.starts_with('{') && names_a_tensor(value))
}

fn names_a_tensor(list: &RawValue) -> bool {
    let mut found = true;
    let items = Items(|_, first: &str| {
        // As it is, or as .NET writes it by itself.
        found = names::has_member(first.as_bytes(), MEMBERS);
        false
    });
    // Only the first value is looked at; it ends with an error there.
    let _ = serde_json::Deserializer::from_str(list.get()).deserialize_seq(items);
    found
}

fn read_body(request: &Request<'_>) -> Result<Body, ScoreError> {
    let inputs = read(request.context("inputs"), request.value, request.binary)?;
    let option = |name| request.members.get(name);
    let (id, outputs, parameters) = (option("id"), option("outputs"), option("parameters"));
    let asked = Asked::read(id, outputs, parameters, request.metadata)?;
    Ok(body_of(inputs, asked))
}

/// The inputs, with the options of the request.
pub(crate) fn body_of(inputs: Vec<NamedTensor>, asked: Asked) -> Body {
    let answer = AnswerForm {
        asked: Some(asked),
        ..AnswerForm::of(&OPEN_INFERENCE)
    };
    Body::rows_of(inputs, answer)
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: AtMost<u64, MAX_AXES>,
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

/// Reads the member `inputs`; binary tensors are cut from `binary` in the order of the inputs.
///
/// Source: the binary tensor data extension of the Open Inference Protocol.
fn read(
    context: Context<'_>,
    inputs: &RawValue,
    mut binary: &[u8],
) -> Result<Vec<NamedTensor>, ScoreError> {
    let most = context.signature.inputs.len() + context.signature.optional.len();
    let mut tensors: Vec<NamedTensor> = Vec::with_capacity(most);
    each(inputs.get(), "inputs", |position, input| {
        let target = format!("inputs[{position}]");
        let input: Input<'_> =
            parse(input, &target).map_err(|error| amended(error, || misspelt(input, MEMBERS)))?;
        let tensor = read_input(context, input, &mut binary, &target)?;
        // One too many passes: an input that is given twice is refused later, by its name.
        if tensors.len() > most {
            let message = format!("{target}: more than the {most} inputs of the model");
            return Err(ScoreError::invalid(target, message));
        }
        tensors.push(tensor);
        Ok(())
    })?;
    if !binary.is_empty() {
        return Err(left_over(binary));
    }
    Ok(tensors)
}

/// The error for binary data that no input declares.
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
    if let Some(read) = read_pictures(context, &input, binary, target) {
        return read;
    }
    let (spec, given) = find_input(&input, context.signature, target)?;
    let AtMost(axes) = &input.shape;
    let shape: Option<Shape> = axes.iter().map(|n| usize::try_from(*n).ok()).collect();
    let sized = shape.and_then(|shape| Some((element_count(&shape)?, shape)));
    let name = &input.name;
    let (count, shape) = sized.ok_or_else(|| {
        let message = format!("input {name:?}: shape {axes:?} is too large");
        ScoreError::invalid(target, message)
    })?;
    if let Some(rows) = shape.first() {
        context.may_have_rows(*rows)?;
    }
    let data_target = &format!("{target}.data");
    let written = written_type(context, &input, given, (spec, count))?;
    let data = match written == spec.element_type {
        true => read_data(context, spec, &input, count, binary, data_target)?,
        false => {
            let element_type = written;
            let spec = TensorSpec {
                element_type,
                ..spec.clone()
            };
            read_data(context, &spec, &input, count, binary, data_target)?
        }
    };
    let data = convert::converted(data, spec, data_target, context.watch)?;
    let got = data.len();
    let tensor = Tensor::new(shape, data).map_err(|_| {
        let message = format!("input {name:?}: shape {axes:?} needs {count} values, got {got}");
        ScoreError::invalid(data_target, message)
    })?;
    let tensor = as_column(tensor, spec);
    spec.check(&tensor, target)?;
    let name = input.name;
    Ok(NamedTensor { name, tensor })
}

/// The type of which the elements are read, `given` or the input's own. Bytes are of the type that the request names; JSON is
/// read as the input's type, but integers that become floats have to be exact.
fn written_type(
    context: Context<'_>,
    input: &Input<'_>,
    given: ElementType,
    (spec, count): (&TensorSpec, usize),
) -> Result<ElementType, ScoreError> {
    let own = spec.element_type;
    let Some(text) = input.data else {
        return Ok(given);
    };
    if given.is_float() || !own.is_float() {
        return Ok(own);
    }
    // Every element is at least two characters long.
    let elements = count.min(text.get().len() / 2);
    let bytes = given.size().unwrap_or(1).saturating_mul(elements);
    match context.watch.take(bytes) {
        true => Ok(given),
        false => Err(watch::stopped()),
    }
}

/// The elements of an input, of which there should be `count`, of the type in `spec`: its member `data`, or its bytes behind the JSON.
fn read_data(
    context: Context<'_>,
    spec: &TensorSpec,
    input: &Input<'_>,
    count: usize,
    binary: &mut &[u8],
    target: &str,
) -> Result<TensorData, ScoreError> {
    let (name, AtMost(shape)) = (&input.name, &input.shape);
    let ty = spec.element_type;
    let wrong = |message: String| ScoreError::invalid(target, format!("input {name:?}: {message}"));
    let size = input.parameters.as_ref().and_then(|p| p.binary_data_size);
    match (size, input.data) {
        (Some(size), None) => {
            let (bytes, rest) = binary
                .split_at_checked(size)
                .ok_or_else(|| wrong(format!("the body ends before its {size} binary bytes")))?;
            *binary = rest;
            TensorData::from_le_bytes(ty, count, bytes).ok_or_else(|| {
                let datatype = ty.datatype();
                wrong(format!(
                    "{size} binary bytes are no {datatype} of shape {shape:?}"
                ))
            })
        }
        (None, Some(data)) => {
            let text = data.get();
            let plan = Plan::new(1, count);
            let tensor = match nested::read_array(text, ty, plan, context.watch) {
                Some(tensor) => tensor,
                None => diagnose::read_array(context, text, spec, target)?,
            };
            // Flat or nested: only the order of the elements and their number count.
            Ok(tensor.into_parts().1)
        }
        (Some(_), Some(_)) => Err(wrong("give data or binary_data_size, not both".to_owned())),
        (None, None) => Err(wrong("missing field `data`".to_owned())),
    }
}

/// Pictures in a BYTES tensor, for an input of numbers that takes pictures. The tensor's shape says only how many there are.
fn read_pictures(
    context: Context<'_>,
    input: &Input<'_>,
    binary: &mut &[u8],
    target: &str,
) -> Option<Result<NamedTensor, ScoreError>> {
    let spec = context.signature.input(&input.name)?;
    let is_bytes = ElementType::from_datatype(&input.datatype) == Some(ElementType::String);
    if !is_bytes || spec.element_type == ElementType::String {
        return None;
    }
    let target = format!("{target}.data");
    let size = input.parameters.as_ref().and_then(|p| p.binary_data_size);
    let read = match (size, input.data) {
        (None, Some(data)) => pictures::read(context, data.get(), spec, &target)?,
        (Some(size), None) => {
            let (bytes, rest) = binary.split_at_checked(size)?;
            let read = pictures::read_binary(context, bytes, spec, &target)?;
            *binary = rest;
            read
        }
        _ => return None,
    };
    let name = spec.name.clone();
    Some(read.map(|tensor| NamedTensor { name, tensor }))
}

/// The input, and the type that the request says its elements have.
fn find_input<'a>(
    input: &Input<'_>,
    signature: &'a ModelSignature,
    target: &str,
) -> Result<(&'a TensorSpec, ElementType), ScoreError> {
    let name = &input.name;
    let wrong = |message: String| Err(ScoreError::invalid(target, message));
    let Some(spec) = signature.input(name) else {
        return wrong(format!(
            "the model has no input {}; it takes {}",
            shown(name),
            signature.describe_inputs()
        ));
    };
    let expected = spec.element_type.datatype();
    match ElementType::from_datatype(&input.datatype) {
        Some(ty) if convert::converts(ty, spec.element_type) => Ok((spec, ty)),
        Some(ty) => wrong(format!(
            "input {name:?}: expected datatype {expected} ({spec}), got {}{}",
            ty.datatype(),
            convert::advice(spec)
        )),
        None => wrong(format!(
            "input {name:?}: datatype {} is not known; expected {expected}",
            shown(&input.datatype)
        )),
    }
}

/// An input or output in the model's description; the shape is `null` if none is declared.
pub fn tensor_document(spec: &TensorSpec) -> Value {
    json!({
        "name": spec.name,
        "datatype": spec.element_type.datatype(),
        "shape": spec.shape.as_ref().map(|_| spec.signed_shape()),
    })
}

/// An input or output in the protocol's model metadata. The protocol cannot express an undeclared shape, and its clients
/// expect a list of numbers: one axis of any length comes closest.
pub fn protocol_tensor_document(spec: &TensorSpec) -> Value {
    let mut document = tensor_document(spec);
    if spec.shape.is_none() {
        document["shape"] = json!([-1]);
    }
    document
}
