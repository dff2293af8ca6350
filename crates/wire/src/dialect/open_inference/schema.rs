//! The schemas of a request and an answer in the Open Inference Protocol.

use score::{ModelMetadata, ModelSignature, OutputForm, TensorSpec};
use serde_json::{Value, json};

use crate::schema::{any_of, any_shape, element_of, flat, nested, open};

/// A request in the Open Inference Protocol.
pub(crate) fn protocol_request(signature: &ModelSignature) -> Value {
    let all = signature.inputs.iter().chain(&signature.optional);
    let mut inputs = json!({
        "type": "array",
        "minItems": signature.inputs.len(),
        "maxItems": all.clone().count(),
    });
    if all.clone().count() > 0 {
        inputs["items"] = any_of(all.map(protocol_input).collect());
    }
    let names: Vec<&str> = signature
        .outputs
        .iter()
        .map(|spec| spec.name.as_str())
        .collect();
    let classes = json!({
        "type": "integer", "minimum": 0,
        "description": "How many of the highest values to answer with, as texts \"value:index:label\".",
    });
    let wish = [
        ("binary_data", json!({ "type": "boolean" })),
        ("classification", classes),
    ];
    let wish = open(wish, 0);
    let output = open(
        [("name", json!({ "enum": names })), ("parameters", wish)],
        1,
    );
    let parameters = open([("binary_data_output", json!({ "type": "boolean" }))], 0);
    let members = [
        ("inputs", inputs),
        ("outputs", json!({ "type": "array", "items": output })),
        ("id", json!({ "type": "string" })),
        ("parameters", parameters),
    ];
    open(members, 1)
}

fn protocol_input(spec: &TensorSpec) -> Value {
    let mut data = vec![flat(spec)];
    match &spec.shape {
        None => data.push(any_shape(element_of(spec))),
        Some(dims) if dims.len() != 1 => data.push(nested(dims.iter(), element_of(spec))),
        Some(_) => {}
    }
    protocol_tensor(spec, any_of(data), true)
}

/// `{"name", "datatype", "shape", "data"}`. Outputs may leave the data out, if it follows as bytes.
fn protocol_tensor(spec: &TensorSpec, data: Value, is_input: bool) -> Value {
    let mut shape = json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } });
    let axes = spec.dims().len();
    if axes > 0 || (is_input && spec.shape.is_some()) {
        let fewest = if is_input && spec.has_single_values() {
            1
        } else {
            axes
        };
        shape["minItems"] = fewest.into();
        shape["maxItems"] = axes.into();
    }
    shape["description"] = spec.to_string().into();
    let members = [
        ("name", json!({ "const": spec.name })),
        ("datatype", json!({ "const": spec.element_type.datatype() })),
        ("shape", shape),
        ("data", data),
    ];
    open(members, if is_input { 4 } else { 3 })
}

/// An answer in the Open Inference Protocol.
pub(crate) fn protocol_answer(metadata: &ModelMetadata) -> Value {
    let outputs = metadata.signature.outputs.iter();
    let outputs = outputs.map(|spec| {
        let data = json!({ "type": "array", "items": element_of(spec) });
        protocol_tensor(spec, data, false)
    });
    let outputs = outputs.chain([class_strings()]).chain(sequences(metadata));
    let members = [
        ("model_name", json!({ "const": metadata.name })),
        (
            "outputs",
            json!({ "type": "array", "items": any_of(outputs.collect()) }),
        ),
        ("model_version", json!({ "type": "string" })),
        ("id", json!({ "type": "string" })),
    ];
    open(members, 2)
}

/// An output whose `classification` was requested.
fn class_strings() -> Value {
    let members = [
        ("name", json!({ "type": "string" })),
        ("datatype", json!({ "const": "BYTES" })),
        (
            "shape",
            json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } }),
        ),
        (
            "data",
            json!({ "type": "array", "items": { "type": "string" } }),
        ),
    ];
    open(members, 3)
}

/// The outputs that are sequences: one for each element, with the name of the sequence and a number.
fn sequences(metadata: &ModelMetadata) -> impl Iterator<Item = Value> {
    let signature = &metadata.signature;
    signature.declared.iter().filter_map(|output| {
        let OutputForm::Sequence { elements, .. } = output.form else {
            return None;
        };
        let spec = signature.outputs.get(elements)?;
        let name = json!({
            "type": "string", "pattern": r"\.[0-9]+$",
            "description": format!("{0}.0, {0}.1 and so on", output.name),
        });
        let members = [
            ("name", name),
            ("datatype", json!({ "const": spec.element_type.datatype() })),
            (
                "shape",
                json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } }),
            ),
            (
                "data",
                json!({ "type": "array", "items": element_of(spec) }),
            ),
        ];
        Some(open(members, 3))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{passengers, spec};
    use crate::schema::reference;
    use score::ElementType;

    #[test]
    fn protocol_inputs_say_their_name_type_and_rank() {
        let request = protocol_request(&passengers());
        let inputs = &request["properties"]["inputs"];
        assert_eq!(
            (&inputs["minItems"], &inputs["maxItems"]),
            (&json!(2), &json!(3))
        );
        let sex = &inputs["items"]["anyOf"][1]["properties"];
        assert_eq!(sex["name"]["const"], "sex");
        assert_eq!(sex["datatype"]["const"], "BYTES");
        assert_eq!(sex["shape"]["maxItems"], 1);
        assert_eq!(sex["data"]["items"], reference("string"));
        let none = protocol_request(&ModelSignature::default());
        assert_eq!(none["properties"]["inputs"]["maxItems"], 0);
    }

    #[test]
    fn protocol_inputs_may_have_any_rank_or_that_of_a_list_where_these_are_taken() {
        let column = spec("c", ElementType::Float32, &[-1, 1]);
        let x = crate::samples::undeclared("x", ElementType::Float32);
        let signature = ModelSignature::of_tensors(vec![column, x], vec![]);
        let inputs = &protocol_request(&signature)["properties"]["inputs"]["items"]["anyOf"];
        let shape = |input: usize| &inputs[input]["properties"]["shape"];
        assert_eq!(
            (&shape(0)["minItems"], &shape(0)["maxItems"]),
            (&json!(1), &json!(2))
        );
        assert!(shape(1)["minItems"].is_null() && shape(1)["maxItems"].is_null());
        assert_eq!(shape(1)["description"], "float32 of any shape");
    }
}
