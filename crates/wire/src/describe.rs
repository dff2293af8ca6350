//! Requests and answers of one model in every dialect, as JSON Schemas for an OpenAPI document.

pub mod schema;

use score::{Dim, ElementType, ModelMetadata, ModelSignature, OutputForm, TensorSpec};
use serde_json::{Value, json};

use crate::dialect::DIALECTS;
use schema::{any_of, any_shape, closed, element_of, flat, nested, open, reference, row, tensor};

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
    fn of(metadata: &'a ModelMetadata) -> Self {
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

/// The components of one model, by the part of their name after the model's.
pub fn schemas(metadata: &ModelMetadata) -> Vec<(&'static str, Value)> {
    let signature = &metadata.signature;
    let parts = Parts::of(metadata);
    vec![
        ("rows", rows(signature)),
        ("request", request(&parts)),
        ("result", result(metadata)),
        ("answer", answer(&parts)),
        ("protocol_request", protocol_request(signature)),
        ("protocol_answer", protocol_answer(metadata)),
    ]
}

/// A JSON body in any dialect.
fn request(parts: &Parts<'_>) -> Value {
    let forms = DIALECTS.iter();
    let forms = forms.filter_map(|dialect| (dialect.request_schema)(parts));
    json!({ "oneOf": forms.collect::<Vec<_>>() })
}

/// A JSON answer in any dialect.
fn answer(parts: &Parts<'_>) -> Value {
    let mut forms: Vec<Value> = Vec::new();
    for dialect in DIALECTS {
        let form = (dialect.answer_schema)(parts);
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    any_of(forms)
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
fn rows(signature: &ModelSignature) -> Value {
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

/// A request in the Open Inference Protocol.
fn protocol_request(signature: &ModelSignature) -> Value {
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
fn protocol_answer(metadata: &ModelMetadata) -> Value {
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
            OutputForm::Tensor(index) => output(spec(index)?, &metadata.options.labels),
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
fn result(metadata: &ModelMetadata) -> Value {
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
    use crate::dialect::open_inference::OPEN_INFERENCE;

    fn spec(name: &str, element_type: ElementType, shape: &[i64]) -> TensorSpec {
        let dims = shape
            .iter()
            .map(|n| usize::try_from(*n).map_or(Dim::Dynamic(None), Dim::Fixed));
        TensorSpec {
            name: name.into(),
            element_type,
            shape: Some(dims.collect()),
        }
    }

    fn passengers() -> ModelSignature {
        let age = spec("age", ElementType::Float32, &[-1, 1]);
        let sex = spec("sex", ElementType::String, &[-1]);
        let mut signature = ModelSignature::of_tensors(vec![age, sex], vec![]);
        signature.optional = vec![spec("factor", ElementType::Float64, &[])];
        signature
    }

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
    fn a_request_is_of_one_dialect() {
        let metadata = crate::samples::metadata(passengers());
        let request = request(&Parts::of(&metadata));
        let forms = request["oneOf"].as_array().unwrap();
        // No keys, because no model.toml says where rows are stored.
        assert_eq!(forms.len(), DIALECTS.len() - 1);
        for (form, dialect) in forms.iter().zip(DIALECTS) {
            if std::ptr::eq(*dialect, &OPEN_INFERENCE) {
                assert_eq!(*form, reference("m.protocol_request"));
            } else {
                assert_eq!(form["required"], json!([dialect.member]));
            }
        }
    }

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
        let objects = rows_as_objects(&signature).unwrap();
        assert_eq!(objects["items"]["required"], json!(["c", "x"]));
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
}
