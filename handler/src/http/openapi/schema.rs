//! JSON Schemas of what a model takes and gives.

use score::{Dim, ElementType, ModelMetadata, ModelSignature, OutputForm, TensorSpec};
use serde_json::{Value, json};

/// What one element may be, in both directions.
pub(super) fn element(ty: ElementType) -> Value {
    match ty {
        ElementType::Bool => json!({ "type": "boolean" }),
        ElementType::Int8 => integer(ty, i8::MIN.into(), i8::MAX as u64),
        ElementType::Int16 => integer(ty, i16::MIN.into(), i16::MAX as u64),
        ElementType::Int32 => integer(ty, i32::MIN.into(), i32::MAX as u64),
        ElementType::Int64 => integer(ty, i64::MIN, i64::MAX as u64),
        ElementType::Uint8 => integer(ty, 0, u8::MAX.into()),
        ElementType::Uint16 => integer(ty, 0, u16::MAX.into()),
        ElementType::Uint32 => integer(ty, 0, u32::MAX.into()),
        ElementType::Uint64 => integer(ty, 0, u64::MAX),
        ElementType::Float16 | ElementType::BFloat16 => float(json!({ "type": "number" })),
        ElementType::Float32 => float(json!({ "type": "number", "format": "float" })),
        ElementType::Float64 => float(json!({ "type": "number", "format": "double" })),
        ElementType::String => json!({ "type": "string" }),
    }
}

fn integer(ty: ElementType, minimum: i64, maximum: u64) -> Value {
    json!({ "type": "integer", "format": ty.as_str(), "minimum": minimum, "maximum": maximum })
}

fn float(number: Value) -> Value {
    json!({ "oneOf": [number, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
}

/// A schema of the document's components.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn element_of(spec: &TensorSpec) -> Value {
    reference(spec.element_type.as_str())
}

/// An object of exactly these members, with the first `required` of them always there.
pub(super) fn closed<'a>(
    members: impl IntoIterator<Item = (&'a str, Value)>,
    required: usize,
) -> Value {
    let mut schema = open(members, required);
    schema["additionalProperties"] = false.into();
    schema
}

/// The same with room for other members.
pub(super) fn open<'a>(
    members: impl IntoIterator<Item = (&'a str, Value)>,
    required: usize,
) -> Value {
    let members: Vec<(&str, Value)> = members.into_iter().collect();
    let required: Vec<&str> = members.iter().take(required).map(|(name, _)| *name).collect();
    let members = members
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema));
    let members: serde_json::Map<String, Value> = members.collect();
    json!({ "type": "object", "properties": members, "required": required })
}

fn any_of(mut forms: Vec<Value>) -> Value {
    if forms.len() == 1 {
        return forms.remove(0);
    }
    json!({ "anyOf": forms })
}

/// Arrays within arrays, outermost axis first.
fn nested<'a>(axes: impl DoubleEndedIterator<Item = &'a Dim>, element: Value) -> Value {
    axes.rev().fold(element, |items, axis| match axis {
        Dim::Fixed(n) => json!({ "type": "array", "items": items, "minItems": n, "maxItems": n }),
        Dim::Dynamic(None) => json!({ "type": "array", "items": items }),
        Dim::Dynamic(Some(name)) => {
            json!({ "type": "array", "items": items, "description": name })
        }
    })
}

/// One input. Where a row is one value, the arrays around single values may be left out.
pub(super) fn tensor(spec: &TensorSpec) -> Value {
    let mut forms = vec![nested(spec.shape.iter(), element_of(spec))];
    if has_single_values(spec) {
        forms.push(nested(spec.shape.iter().take(1), element_of(spec)));
    }
    any_of(forms)
}

/// One row of an input; `None` for a scalar, which has none.
fn row(spec: &TensorSpec) -> Option<Value> {
    let (_, deeper) = spec.shape.split_first()?;
    let mut forms = vec![nested(deeper.iter(), element_of(spec))];
    if has_single_values(spec) {
        forms.push(element_of(spec));
    }
    Some(any_of(forms))
}

fn has_single_values(spec: &TensorSpec) -> bool {
    spec.shape.len() > 1 && spec.shape.iter().skip(1).all(|dim| *dim == Dim::Fixed(1))
}

/// All elements in one array.
fn flat(spec: &TensorSpec) -> Value {
    let count = spec.shape.iter().try_fold(1usize, |count, dim| match dim {
        Dim::Fixed(n) => count.checked_mul(*n),
        Dim::Dynamic(_) => None,
    });
    let axis = count.map_or(Dim::Dynamic(None), Dim::Fixed);
    nested([axis].iter(), element_of(spec))
}

/// Rows in all forms that are understood.
pub(super) fn rows(signature: &ModelSignature) -> Value {
    let mut forms = Vec::new();
    if let [only] = &signature.inputs[..] {
        forms.push(tensor(only));
    }
    let all = signature.inputs.iter().chain(&signature.optional);
    let members = all.map(|spec| (spec.name.as_str(), tensor(spec)));
    forms.push(closed(members, signature.inputs.len()));
    forms.extend(rows_as_objects(signature));
    if signature.inputs.len() > 1 {
        forms.extend(rows_in_order(signature));
    }
    any_of(forms)
}

fn rows_as_objects(signature: &ModelSignature) -> Option<Value> {
    let required = signature.inputs.iter();
    let mut members: Vec<_> = required
        .map(|spec| Some((spec.name.as_str(), row(spec)?)))
        .collect::<Option<_>>()?;
    let optional = signature.optional.iter();
    members.extend(optional.filter_map(|spec| Some((spec.name.as_str(), row(spec)?))));
    let object = closed(members, signature.inputs.len());
    Some(nested([row_axis(signature)?].into_iter(), object))
}

/// Rows as arrays with one value for each input.
pub(super) fn rows_in_order(signature: &ModelSignature) -> Option<Value> {
    let values: Vec<Value> = signature.inputs.iter().map(row).collect::<Option<_>>()?;
    let count = values.len();
    let array = json!({ "type": "array", "prefixItems": values, "minItems": count, "maxItems": count });
    Some(nested([row_axis(signature)?].into_iter(), array))
}

/// The axis that all inputs share.
fn row_axis(signature: &ModelSignature) -> Option<&Dim> {
    let mut axes = signature.inputs.iter().filter_map(|spec| spec.shape.first());
    let fixed = axes.clone().find(|dim| matches!(dim, Dim::Fixed(_)));
    fixed.or_else(|| axes.next())
}

/// A request in the Open Inference Protocol.
pub(super) fn protocol_request(signature: &ModelSignature) -> Value {
    let all = signature.inputs.iter().chain(&signature.optional);
    let mut inputs = json!({
        "type": "array",
        "minItems": signature.inputs.len(),
        "maxItems": all.clone().count(),
    });
    if all.clone().count() > 0 {
        inputs["items"] = any_of(all.map(protocol_input).collect());
    }
    let names: Vec<&str> = signature.outputs.iter().map(|spec| spec.name.as_str()).collect();
    let wish = open([("binary_data", json!({ "type": "boolean" }))], 0);
    let output = open([("name", json!({ "enum": names })), ("parameters", wish)], 1);
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
    if spec.shape.len() != 1 {
        data.push(nested(spec.shape.iter(), element_of(spec)));
    }
    protocol_tensor(spec, any_of(data), true)
}

/// `{"name", "datatype", "shape", "data"}`. Outputs may leave the data out, if it follows as bytes.
fn protocol_tensor(spec: &TensorSpec, data: Value, is_input: bool) -> Value {
    let mut shape = json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } });
    if is_input || !spec.shape.is_empty() {
        shape["minItems"] = spec.shape.len().into();
        shape["maxItems"] = spec.shape.len().into();
        shape["description"] = spec.to_string().into();
    }
    let members = [
        ("name", json!({ "const": spec.name })),
        ("datatype", json!({ "const": spec.element_type.datatype() })),
        ("shape", shape),
        ("data", data),
    ];
    open(members, if is_input { 4 } else { 3 })
}

/// An answer in the Open Inference Protocol.
pub(super) fn protocol_answer(metadata: &ModelMetadata) -> Value {
    let outputs = metadata.signature.outputs.iter();
    let outputs = outputs.map(|spec| {
        let data = json!({ "type": "array", "items": element_of(spec) });
        protocol_tensor(spec, data, false)
    });
    let members = [
        ("model_name", json!({ "const": metadata.name })),
        ("outputs", json!({ "type": "array", "items": any_of(outputs.collect()) })),
        ("model_version", json!({ "type": "string" })),
        ("id", json!({ "type": "string" })),
    ];
    open(members, 2)
}

/// One output a model answers with.
struct Answered<'a> {
    name: &'a str,
    schema: Value,
    /// One row of it, if it has rows.
    row: Option<Value>,
}

impl<'a> Answered<'a> {
    fn of(metadata: &'a ModelMetadata, index: usize) -> Option<Self> {
        let declared = metadata.signature.declared.get(index)?;
        let spec = |index: usize| metadata.signature.outputs.get(index);
        let (schema, row) = match declared.form {
            OutputForm::Tensor(index) => output(spec(index)?, &metadata.options.labels),
            OutputForm::Maps { values, .. } => {
                let values = spec(values)?;
                let row = json!({ "type": "object", "additionalProperties": element_of(values) });
                (nested(values.shape.iter().take(1), row.clone()), Some(row))
            }
            OutputForm::Sequence { elements, .. } => {
                let item = any_shape(element_of(spec(elements)?));
                (json!({ "type": "array", "items": item }), None)
            }
        };
        Some(Self { name: &declared.name, schema, row })
    }
}

/// Integers with labels are answered as text.
fn output(spec: &TensorSpec, labels: &[String]) -> (Value, Option<Value>) {
    let is_class = matches!(spec.element_type, ElementType::Int32 | ElementType::Int64);
    let element = if is_class && !labels.is_empty() {
        json!({ "type": "string" })
    } else {
        element_of(spec)
    };
    match spec.shape.split_first() {
        Some((_, deeper)) => {
            let row = nested(deeper.iter(), element.clone());
            (nested(spec.shape.iter(), element), Some(row))
        }
        None => (any_shape(element.clone()), Some(any_shape(element))),
    }
}

/// A model need not declare the shape of an output.
fn any_shape(element: Value) -> Value {
    any_of(vec![element, json!({ "type": "array" })])
}

fn answered(metadata: &ModelMetadata) -> Vec<Answered<'_>> {
    let indices = metadata.default_outputs.iter();
    indices.filter_map(|index| Answered::of(metadata, *index)).collect()
}

/// The bare result: the one output, or an object of outputs by name.
pub(super) fn result(metadata: &ModelMetadata) -> Value {
    let mut outputs = answered(metadata);
    if outputs.len() == 1 {
        return outputs.remove(0).schema;
    }
    let count = outputs.len();
    closed(outputs.into_iter().map(|output| (output.name, output.schema)), count)
}

/// What stands under `predictions`: one object per row if there are several outputs with the same rows, else the bare
/// result.
pub(super) fn predictions(metadata: &ModelMetadata, bare: Value) -> Value {
    let outputs = answered(metadata);
    let count = outputs.len();
    let rows = outputs.into_iter().map(|output| Some((output.name, output.row?)));
    match rows.collect::<Option<Vec<_>>>() {
        Some(rows) if count > 1 => {
            any_of(vec![json!({ "type": "array", "items": closed(rows, count) }), bare])
        }
        _ => bare,
    }
}
