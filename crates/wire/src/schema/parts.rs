//! The parts from which the schemas of all dialects are built.

use score::{
    Dim, ElementType, ModelMetadata, ModelOptions, ModelSignature, OutputForm, TensorSpec,
};
use serde_json::{Value, json};

use super::{any_of, any_shape, closed, element_of, nested, open, reference, row, tensor};

/// The parts from which the schemas of all dialects are built.
pub(crate) struct Parts<'a> {
    pub(crate) metadata: &'a ModelMetadata,
    /// Rows in all accepted forms.
    pub(crate) rows: Value,
    /// The bare result.
    pub(crate) result: Value,
    pub(crate) protocol_request: Value,
    pub(crate) protocol_answer: Value,
}

impl<'a> Parts<'a> {
    /// References to the components of the model.
    pub(crate) fn of(metadata: &'a ModelMetadata) -> Self {
        let part = |part: &str| reference(&format!("{}.{part}", metadata.name));
        Self {
            metadata,
            rows: part("rows"),
            result: part("result"),
            protocol_request: part("protocol_request"),
            protocol_answer: part("protocol_answer"),
        }
    }
}

/// A table as pandas splits it. Columns may come in any order, so only those of a lone input have a type.
pub(crate) fn split(parts: &Parts<'_>) -> Value {
    let (signature, rows) = (&parts.metadata.signature, &parts.rows);
    let list = || json!({ "type": "array" });
    let data = match &signature.inputs[..] {
        [_] => any_of(
            [rows.clone()]
                .into_iter()
                .chain(rows_in_order(signature))
                .collect(),
        ),
        _ => json!({ "type": "array", "items": list() }),
    };
    open([("columns", list()), ("data", data), ("index", list())], 2)
}

/// Rows in all accepted forms.
pub(crate) fn rows(signature: &ModelSignature) -> Value {
    let mut forms = Vec::new();
    if let [only] = &signature.inputs[..] {
        forms.push(tensor(only));
    }
    forms.push(rows_by_name(signature));
    forms.extend(rows_as_objects(signature));
    if signature.inputs.len() > 1 {
        forms.extend(rows_in_order(signature));
    }
    any_of(forms)
}

pub(crate) fn rows_by_name(signature: &ModelSignature) -> Value {
    let all = signature.inputs.iter().chain(&signature.optional);
    let members = all.map(|spec| (spec.name.as_str(), tensor(spec)));
    closed(members, signature.inputs.len())
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
fn rows_in_order(signature: &ModelSignature) -> Option<Value> {
    let values: Vec<Value> = signature.inputs.iter().map(row).collect::<Option<_>>()?;
    let count = values.len();
    let array =
        json!({ "type": "array", "prefixItems": values, "minItems": count, "maxItems": count });
    Some(nested([row_axis(signature)?].into_iter(), array))
}

/// The axis that all inputs share.
fn row_axis(signature: &ModelSignature) -> Option<&Dim> {
    const UNDECLARED: &Dim = &Dim::Dynamic(None);
    let mut axes = signature
        .inputs
        .iter()
        .filter_map(|spec| match &spec.shape {
            Some(dims) => dims.first(),
            None => Some(UNDECLARED),
        });
    let fixed = axes.clone().find(|dim| matches!(dim, Dim::Fixed(_)));
    fixed.or_else(|| axes.next())
}

/// One output that a model answers with.
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
            OutputForm::Tensor(index) => {
                let spec = spec(index)?;
                match row_of_classes(&metadata.options, spec, element_of(spec)) {
                    Some(row) => (nested(spec.dims().iter().take(1), row.clone()), Some(row)),
                    None => output(spec, metadata.options.labels_of(&spec.name)),
                }
            }
            OutputForm::Maps { values, .. } => {
                let values = spec(values)?;
                let row = json!({ "type": "object", "additionalProperties": element_of(values) });
                (nested(values.dims().iter().take(1), row.clone()), Some(row))
            }
            OutputForm::Sequence { elements, .. } => {
                let item = any_shape(element_of(spec(elements)?));
                (json!({ "type": "array", "items": item }), None)
            }
        };
        Some(Self {
            name: &declared.name,
            schema,
            row,
        })
    }
}

/// One row of an output whose values are told by class; `None` for any other.
pub(crate) fn row_of_classes(
    options: &ModelOptions,
    spec: &TensorSpec,
    element: Value,
) -> Option<Value> {
    let own = options.output.get(&spec.name)?;
    let is_float = spec.element_type.is_float();
    match own.top_k {
        _ if !is_float || spec.dims().len() != 2 => None,
        Some(top) => {
            let class = [("label", json!({ "type": "string" })), ("score", element)];
            Some(json!({ "type": "array", "items": open(class, 2), "maxItems": top }))
        }
        None if own.labels().is_empty() => None,
        None => Some(json!({ "type": "object", "additionalProperties": element })),
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
    match spec.dims().split_first() {
        Some((_, deeper)) => {
            let row = nested(deeper.iter(), element.clone());
            (nested(spec.dims().iter(), element), Some(row))
        }
        None => (any_shape(element.clone()), Some(any_shape(element))),
    }
}

fn answered(metadata: &ModelMetadata) -> Vec<Answered<'_>> {
    let indices = metadata.default_outputs.iter();
    indices
        .filter_map(|index| Answered::of(metadata, *index))
        .collect()
}

/// The bare result: the one output, or an object of outputs by name.
pub(crate) fn result(metadata: &ModelMetadata) -> Value {
    let mut outputs = answered(metadata);
    if outputs.len() == 1 {
        return outputs.remove(0).schema;
    }
    let count = outputs.len();
    closed(
        outputs
            .into_iter()
            .map(|output| (output.name, output.schema)),
        count,
    )
}

/// The value of `predictions`: one object per row if there are several outputs with the same rows, else the bare
/// result.
pub(crate) fn predictions(parts: &Parts<'_>) -> Value {
    let bare = parts.result.clone();
    let outputs = answered(parts.metadata);
    let count = outputs.len();
    let rows = outputs
        .into_iter()
        .map(|output| Some((output.name, output.row?)));
    match rows.collect::<Option<Vec<_>>>() {
        Some(rows) if count > 1 => any_of(vec![
            json!({ "type": "array", "items": closed(rows, count) }),
            bare,
        ]),
        _ => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{passengers, spec};

    #[test]
    fn rows_of_several_inputs_are_objects_either_way_or_arrays_in_order() {
        let rows = rows(&passengers());
        let [by_name, objects, arrays] = &rows["anyOf"].as_array().unwrap()[..] else {
            panic!("three forms in {rows}");
        };
        let string = reference("string");
        let required = json!(["age", "sex"]);
        assert_eq!(by_name["required"], required);
        assert_eq!(by_name["properties"]["sex"]["items"], string);
        assert_eq!(by_name["properties"]["factor"], reference("float64"));
        assert_eq!(objects["items"]["required"], required);
        assert_eq!(objects["items"]["properties"]["sex"], string);
        assert!(objects["items"]["properties"]["factor"].is_null());
        assert_eq!(arrays["items"]["prefixItems"][1], string);
        assert_eq!(arrays["items"]["maxItems"], 2);
    }

    #[test]
    fn a_fixed_number_of_rows_holds_in_every_form() {
        let x = spec("x", ElementType::Int8, &[2, 3]);
        let rows = rows(&ModelSignature::of_tensors(vec![x], vec![]));
        assert_eq!(rows["anyOf"][0]["minItems"], 2);
        assert_eq!(rows["anyOf"][1]["properties"]["x"]["maxItems"], 2);
        assert_eq!(rows["anyOf"][2]["maxItems"], 2);
    }

    #[test]
    fn labels_make_classes_text_and_leave_other_outputs_alone() {
        let labels = ["cat".to_owned()];
        let class = spec("label", ElementType::Int64, &[-1]);
        let score = spec("p", ElementType::Float32, &[-1]);
        assert_eq!(output(&class, &labels).0["items"]["type"], "string");
        assert_eq!(output(&class, &[]).0["items"], reference("int64"));
        assert_eq!(output(&score, &labels).1, Some(reference("float32")));
        let undeclared = crate::samples::undeclared("y", ElementType::Float32);
        assert_eq!(output(&undeclared, &[]).0["anyOf"][1]["type"], "array");
    }

    #[test]
    fn rows_may_be_objects_where_an_input_declares_no_shape() {
        let column = spec("c", ElementType::Float32, &[-1, 1]);
        let x = crate::samples::undeclared("x", ElementType::Float32);
        let objects = rows_as_objects(&ModelSignature::of_tensors(vec![column, x], vec![]));
        assert_eq!(objects.unwrap()["items"]["required"], json!(["c", "x"]));
    }
}
