//! The schemas of a model that generators of clients can use: one form of each thing, of types that every language has.
//! Lists have no lengths, of which some generators make tuples, and floats are numbers alone.

use score::{Dim, ElementType, ModelMetadata, OutputForm, TensorSpec};
use serde_json::{Map, Value, json};

use crate::sample::{sample_shape, sample_values};
use crate::schema::parts::row_of_classes;
use crate::schema::{open, reference};

/// The components of one model, by the part of their name after the model's. Those of the Open Inference Protocol are left
/// out if no single type of JSON fits all elements.
pub fn schemas(metadata: &ModelMetadata) -> Vec<(&'static str, Value)> {
    let rows = Rows::of(metadata);
    let mut parts = vec![
        ("request", open([("data", rows.schema)], 1)),
        ("answer", result(metadata)),
    ];
    if let Some(row) = rows.row {
        parts.push(("row", row));
    }
    if let Some((request, answer)) = protocol(metadata) {
        parts.push(("protocol_request", request));
        parts.push(("protocol_answer", answer));
    }
    parts
}

/// A request of one row in the form of these schemas, which the model can score as it is. `None` for wide models.
pub fn sample(metadata: &ModelMetadata) -> Option<Value> {
    let values = sample_values(metadata)?;
    let signature = &metadata.signature;
    let first = |value: &Value| value.get(0).cloned();
    let data = match &signature.inputs[..] {
        [only] => {
            let (_, value) = values.into_iter().next()?;
            match columns(metadata, only) {
                [] => value,
                names => {
                    let cells = first(&value)?.as_array()?.clone();
                    let row = names.iter().cloned().zip(cells);
                    json!([row.collect::<Map<_, _>>()])
                }
            }
        }
        inputs if rows_are_objects(inputs) => {
            let members = values.iter().map(|(spec, value)| {
                let mut value = first(value)?;
                while spec.has_single_values() && value.is_array() {
                    value = first(&value)?;
                }
                Some((spec.name.clone(), value))
            });
            json!([members.collect::<Option<Map<_, _>>>()?])
        }
        _ => {
            let members = values.into_iter();
            let members = members.map(|(spec, value)| (spec.name.clone(), value));
            Value::Object(members.collect())
        }
    };
    Some(json!({ "data": data }))
}

/// Whether a row has a value of each input.
fn rows_are_objects(inputs: &[TensorSpec]) -> bool {
    let has_rows = |spec: &TensorSpec| !spec.shape.as_ref().is_some_and(Vec::is_empty);
    !inputs.is_empty() && inputs.iter().all(has_rows)
}

/// The value of `data`.
struct Rows {
    schema: Value,
    /// The component that the schema refers to, if a row is an object.
    row: Option<Value>,
}

impl Rows {
    fn of(metadata: &ModelMetadata) -> Self {
        let signature = &metadata.signature;
        let (inputs, optional) = (&signature.inputs[..], &signature.optional);
        let row = match inputs {
            [only] => match columns(metadata, only) {
                [] => {
                    return Self {
                        schema: input(only),
                        row: None,
                    };
                }
                names => {
                    let cell = || element(only.element_type);
                    open(
                        names.iter().map(|name| (name.as_str(), cell())),
                        names.len(),
                    )
                }
            },
            inputs if rows_are_objects(inputs) => {
                let optional = optional
                    .iter()
                    .filter(|spec| rows_are_objects(std::slice::from_ref(spec)));
                let all = inputs.iter().chain(optional);
                open(
                    all.map(|spec| (spec.name.as_str(), in_row(spec))),
                    inputs.len(),
                )
            }
            inputs => {
                let all = inputs.iter().chain(optional);
                return Self {
                    schema: open(
                        all.map(|spec| (spec.name.as_str(), input(spec))),
                        inputs.len(),
                    ),
                    row: None,
                };
            }
        };
        Self {
            schema: array(reference(&format!("{}.row", metadata.name))),
            row: Some(row),
        }
    }
}

/// The names of the input's columns, if `model.toml` gives them.
fn columns<'a>(metadata: &'a ModelMetadata, spec: &TensorSpec) -> &'a [String] {
    let options = metadata.options.inputs.get(&spec.name);
    let options = options.filter(|_| spec.may_be_matrix());
    options.map_or(&[], |options| &options.columns)
}

/// The value of an input in one row.
fn in_row(spec: &TensorSpec) -> Value {
    match spec.has_single_values() {
        true => element(spec.element_type),
        false => nested(sample_shape(spec).len().saturating_sub(1), spec),
    }
}

fn array(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// Arrays within arrays, as many as there are axes.
fn nested(axes: usize, spec: &TensorSpec) -> Value {
    (0..axes).fold(element(spec.element_type), |items, _| array(items))
}

/// A whole input; rows of values if it declares no shape.
fn input(spec: &TensorSpec) -> Value {
    let mut schema = nested(sample_shape(spec).len(), spec);
    schema["description"] = spec.to_string().into();
    schema
}

/// One element. There are formats for what C#, Java and Go have types for; NaN and infinities are texts, which only the
/// description of the document tells.
fn element(ty: ElementType) -> Value {
    match ty {
        ElementType::Bool => json!({ "type": "boolean" }),
        ElementType::String => json!({ "type": "string" }),
        ElementType::Float16 | ElementType::BFloat16 | ElementType::Float32 => {
            json!({ "type": "number", "format": "float" })
        }
        ElementType::Float64 => json!({ "type": "number", "format": "double" }),
        ElementType::Int8
        | ElementType::Int16
        | ElementType::Int32
        | ElementType::Uint8
        | ElementType::Uint16 => json!({ "type": "integer", "format": "int32" }),
        ElementType::Uint32 | ElementType::Int64 => json!({ "type": "integer", "format": "int64" }),
        ElementType::Uint64 => json!({ "type": "integer" }),
    }
}

/// The bare result: the one output, or an object of outputs by name.
fn result(metadata: &ModelMetadata) -> Value {
    let signature = &metadata.signature;
    let declared = metadata.default_outputs.iter();
    let declared = declared.filter_map(|index| signature.declared.get(*index));
    let mut outputs: Vec<(&str, Value)> = declared
        .filter_map(|output| Some((&*output.name, self::output(metadata, output.form)?)))
        .collect();
    if outputs.len() == 1 {
        return outputs.remove(0).1;
    }
    let count = outputs.len();
    open(outputs, count)
}

fn output(metadata: &ModelMetadata, form: OutputForm) -> Option<Value> {
    let spec = |index: usize| metadata.signature.outputs.get(index);
    Some(match form {
        OutputForm::Tensor(index) => {
            let spec = spec(index)?;
            let is_class = matches!(spec.element_type, ElementType::Int32 | ElementType::Int64);
            let (options, element) = (&metadata.options, element(spec.element_type));
            if let Some(row) = row_of_classes(options, spec, element.clone()) {
                return Some(array(row));
            }
            let element = match is_class && !options.labels_of(&spec.name).is_empty() {
                true => json!({ "type": "string" }),
                false => element,
            };
            match &spec.shape {
                Some(dims) => dims.iter().fold(element, |items, _: &Dim| array(items)),
                None => any("Arrays within arrays; how many, the model does not declare."),
            }
        }
        OutputForm::Maps { values, .. } => {
            let values = element(spec(values)?.element_type);
            array(json!({ "type": "object", "additionalProperties": values }))
        }
        OutputForm::Sequence { .. } => array(any("Arrays within arrays.")),
    })
}

/// Any value.
fn any(description: &str) -> Value {
    json!({ "description": description })
}

/// Whether the components have the Open Inference Protocol.
pub fn has_protocol(metadata: &ModelMetadata) -> bool {
    protocol_elements(metadata).is_some()
}

/// The element of all inputs and that of all outputs.
fn protocol_elements(metadata: &ModelMetadata) -> Option<[Value; 2]> {
    let signature = &metadata.signature;
    let inputs = signature.inputs.iter().chain(&signature.optional);
    Some([shared(inputs)?, shared(signature.outputs.iter())?])
}

/// A request and an answer of the Open Inference Protocol.
fn protocol(metadata: &ModelMetadata) -> Option<(Value, Value)> {
    let [inputs, outputs] = protocol_elements(metadata)?;
    let text = || json!({ "type": "string" });
    let tensors = |element: Value| {
        let members = [
            ("name", text()),
            ("datatype", text()),
            (
                "shape",
                array(json!({ "type": "integer", "format": "int64" })),
            ),
            ("data", array(element)),
        ];
        array(open(members, 4))
    };
    let request = [("inputs", tensors(inputs)), ("id", text())];
    let answer = [
        ("model_name", text()),
        ("outputs", tensors(outputs)),
        ("model_version", text()),
        ("id", text()),
    ];
    Some((open(request, 1), open(answer, 2)))
}

/// The schema of an element that fits all tensors.
fn shared<'a>(specs: impl Iterator<Item = &'a TensorSpec>) -> Option<Value> {
    let mut elements = specs.map(|spec| element(spec.element_type));
    let first = elements.next()?;
    let is_number = |element: &Value| element["type"] == "number" || element["type"] == "integer";
    let all: Vec<Value> = elements.collect();
    if all.iter().all(|other| *other == first) {
        return Some(first);
    }
    let mut every = all.iter().chain([&first]);
    every
        .all(is_number)
        .then(|| json!({ "type": "number", "format": "double" }))
}

#[cfg(test)]
mod tests {
    use score::ModelSignature;

    use super::*;
    use crate::samples::{self, passengers, spec};
    use crate::{Body, Declared, Limits, decode};

    fn part(metadata: &ModelMetadata, name: &str) -> Option<Value> {
        let mut parts = schemas(metadata).into_iter();
        parts
            .find(|(part, _)| *part == name)
            .map(|(_, schema)| schema)
    }

    fn is_read(metadata: &ModelMetadata) -> bool {
        let body = sample(metadata).unwrap().to_string();
        let limits = Limits {
            max_bytes: body.len(),
            max_nesting: 8,
            max_rows: 8,
        };
        let read = decode(body.as_bytes(), Declared::default(), metadata, limits);
        matches!(read, Ok(Body::Rows(_)))
    }

    #[test]
    fn one_matrix_is_an_array_of_arrays_without_lengths() {
        let x = spec("x", ElementType::Float32, &[-1, 784]);
        let y = spec("label", ElementType::Int64, &[-1]);
        let metadata = samples::metadata(ModelSignature::of_tensors(vec![x], vec![y]));
        let data = &part(&metadata, "request").unwrap()["properties"]["data"];
        let number = json!({ "type": "number", "format": "float" });
        assert_eq!(data["items"], array(number.clone()));
        assert!(data["maxItems"].is_null() && data["items"]["maxItems"].is_null());
        let label = json!({ "type": "integer", "format": "int64" });
        assert_eq!(part(&metadata, "answer"), Some(array(label)));
        let infer = part(&metadata, "protocol_request").unwrap();
        let tensor = &infer["properties"]["inputs"]["items"]["properties"];
        assert_eq!(tensor["data"]["items"], number);
        assert!(part(&metadata, "row").is_none());
        assert!(is_read(&metadata));
    }

    #[test]
    fn named_columns_and_several_inputs_make_rows_of_objects() {
        let x = spec("x", ElementType::Float64, &[-1, 2]);
        let mut metadata = samples::metadata(ModelSignature::of_tensors(vec![x], vec![]));
        let options = metadata.options.inputs.entry("x".to_owned()).or_default();
        options.columns = vec!["age".to_owned(), "sepal length (cm)".to_owned()];
        let row = part(&metadata, "row").unwrap();
        assert_eq!(row["required"], json!(["age", "sepal length (cm)"]));
        assert_eq!(row["properties"]["age"]["format"], "double");
        assert!(is_read(&metadata));

        let metadata = samples::metadata(passengers());
        let row = part(&metadata, "row").unwrap();
        assert_eq!(row["required"], json!(["age", "sex"]));
        assert_eq!(row["properties"]["age"]["type"], "number");
        assert_eq!(row["properties"]["sex"]["type"], "string");
        assert!(
            part(&metadata, "protocol_request").is_none(),
            "of several types"
        );
        assert!(is_read(&metadata));
    }

    #[test]
    fn inputs_without_rows_or_shapes_have_a_form_too() {
        let x = spec("x", ElementType::Float32, &[-1, 2]);
        let factor = spec("factor", ElementType::Float32, &[]);
        let any = samples::undeclared("any", ElementType::Int64);
        for inputs in [vec![x, factor], vec![any], vec![]] {
            let metadata = samples::metadata(ModelSignature::of_tensors(inputs, vec![]));
            assert!(part(&metadata, "row").is_none());
            assert!(is_read(&metadata), "{}", sample(&metadata).unwrap());
        }
    }
}
