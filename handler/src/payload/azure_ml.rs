//! `{"data": ...}`: what the entry scripts of Azure ML take and give.

use std::collections::BTreeMap;

use score::{
    InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError, Tensor, TensorSpec,
};
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fast::Plan;
use super::write::Nested;
use super::{careful, fast};

/// Reads the member `data`: nested arrays for a model with one input, or an object of such by input name.
pub(super) fn read(
    data: &RawValue,
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let text = data.get();
    if text.starts_with('{') {
        return read_by_name(text, signature, max_nesting);
    }
    let [spec] = &signature.inputs[..] else {
        let message = format!(
            "this model has {} inputs: give \"data\" as an object by input name, with {}",
            signature.inputs.len(),
            signature.describe_inputs()
        );
        return Err(ScoreError::invalid("data", message));
    };
    Ok(vec![NamedTensor {
        name: spec.name.clone(),
        tensor: read_tensor(text, spec, "data", max_nesting)?,
    }])
}

fn read_by_name(
    text: &str,
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|e| ScoreError::invalid("data", e.to_string()))?;
    members
        .into_iter()
        .map(|(name, value)| {
            let Some(spec) = signature.input(&name) else {
                let message = format!(
                    "the model has no input {name:?}; it takes {}",
                    signature.describe_inputs()
                );
                return Err(ScoreError::invalid("data", message));
            };
            let target = format!("data.{name}");
            let tensor = read_tensor(value.get(), spec, &target, max_nesting)?;
            Ok(NamedTensor { name, tensor })
        })
        .collect()
}

fn read_tensor(
    text: &str,
    spec: &TensorSpec,
    target: &str,
    max_nesting: usize,
) -> Result<Tensor, ScoreError> {
    let plan = Plan::for_input(spec, text.len());
    let tensor = match fast::read_array(text, spec.element_type, plan) {
        Some(tensor) => tensor,
        None => careful::read_array(text, spec.element_type, target, max_nesting)?,
    };
    spec.check(&tensor, target)?;
    Ok(tensor)
}

/// The bare result if one output is selected, else an object of results by output name.
pub(super) fn write(
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> serde_json::Result<Vec<u8>> {
    let chosen = || {
        let indices = metadata.default_outputs.iter();
        indices.filter_map(|index| response.outputs.get(*index))
    };
    let nested = |tensor: &'_ Tensor| -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Nested::new(tensor.shape(), tensor.data()))
    };
    let mut all = chosen();
    if let (Some(only), None) = (all.next(), all.next()) {
        return nested(&only.tensor);
    }
    let mut body = Vec::with_capacity(256);
    let mut json = serde_json::Serializer::new(&mut body);
    let mut map = json.serialize_map(None)?;
    for NamedTensor { name, tensor } in chosen() {
        map.serialize_entry(name, &Nested::new(tensor.shape(), tensor.data()))?;
    }
    map.end()?;
    Ok(body)
}

/// A request that the model can score as it is: one row of zeros, empty strings or `false`.
pub(crate) fn sample_request(signature: &ModelSignature) -> Value {
    match &signature.inputs[..] {
        [spec] => json!({ "data": sample(spec) }),
        specs => {
            let members = specs.iter().map(|spec| (spec.name.clone(), sample(spec)));
            json!({ "data": members.collect::<serde_json::Map<_, _>>() })
        }
    }
}

fn sample(spec: &TensorSpec) -> Value {
    let element = match spec.element_type {
        score::ElementType::Bool => json!(false),
        score::ElementType::String => json!(""),
        _ => json!(0),
    };
    let lengths = spec.signed_shape();
    lengths.iter().rev().fold(element, |inner, length| {
        Value::Array(vec![inner; usize::try_from(*length).unwrap_or(1)])
    })
}
