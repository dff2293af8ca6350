//! Requests of one row that a model can score as they are.

use score::{Dim, ElementType, ModelSignature, Shape, TensorSpec};
use serde_json::{Value, json};

/// The most values of a sample. A larger one says less than the shape does, and makes the answer long.
const MAX_SAMPLE_ELEMENTS: usize = 10_000;

/// One row of an input; one row of one value if it declares no shape.
pub fn sample_shape(spec: &TensorSpec) -> Shape {
    let Some(dims) = &spec.shape else {
        return vec![1, 1];
    };
    let lengths = dims.iter().map(|dim| match dim {
        Dim::Fixed(n) => *n,
        Dim::Dynamic(_) => 1,
    });
    lengths.collect()
}

/// A request that the model can score as it is: one row of zeros, empty strings or `false`. `None` for wide models.
pub fn sample_request(signature: &ModelSignature) -> Option<Value> {
    let one_row = |spec: &TensorSpec| {
        let shape = sample_shape(spec);
        let count = score::element_count(&shape)?;
        (count <= MAX_SAMPLE_ELEMENTS).then_some(shape)
    };
    let specs = signature.inputs.iter();
    let mut samples: Vec<(String, Value)> = specs
        .map(|spec| Some((spec.name.clone(), sample(spec, &one_row(spec)?))))
        .collect::<Option<_>>()?;
    if samples.len() == 1 {
        let (_, only) = samples.remove(0);
        return Some(json!({ "data": only }));
    }
    let members = serde_json::Map::from_iter(samples);
    Some(json!({ "data": members }))
}

fn sample(spec: &TensorSpec, shape: &[usize]) -> Value {
    let element = match spec.element_type {
        ElementType::Bool => json!(false),
        ElementType::String => json!(""),
        _ => json!(0),
    };
    let nest = |inner, length: &usize| Value::Array(vec![inner; *length]);
    shape.iter().rev().fold(element, nest)
}

/// The same request in the Open Inference Protocol.
pub fn protocol_sample(signature: &ModelSignature) -> Option<Value> {
    let sample = sample_request(signature)?;
    let data = &sample["data"];
    let inputs = signature.inputs.iter().map(|spec| {
        let data = if signature.inputs.len() == 1 {
            data
        } else {
            &data[&spec.name]
        };
        json!({
            "name": spec.name,
            "datatype": spec.element_type.datatype(),
            "shape": sample_shape(spec),
            "data": data,
        })
    });
    Some(json!({ "inputs": inputs.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_protocols_example_has_one_row() {
        let x = samples::spec("x", ElementType::Int8, &[-1, 2]);
        let example = protocol_sample(&ModelSignature::of_tensors(vec![x], vec![]));
        let input = json!({ "name": "x", "datatype": "INT8", "shape": [1, 2], "data": [[0, 0]] });
        assert_eq!(example, Some(json!({ "inputs": [input] })));
        let x = samples::undeclared("x", ElementType::Int8);
        let example = protocol_sample(&ModelSignature::of_tensors(vec![x], vec![]));
        let input = json!({ "name": "x", "datatype": "INT8", "shape": [1, 1], "data": [[0]] });
        assert_eq!(example, Some(json!({ "inputs": [input] })));
    }
}
