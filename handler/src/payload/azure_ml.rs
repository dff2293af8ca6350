//! The dialects of Azure ML and of the servers whose clients people have: all of them rows in, rows out.
//!
//! `{"data": ...}` is what entry scripts take; `{"Inputs": ..., "GlobalParameters": ...}` what automated ML and the
//! designer generate; `{"input_data": ...}` what MLflow models on Azure ML take; `{"instances": [...]}` is TensorFlow
//! Serving.

use std::collections::BTreeMap;

use score::{
    Dim, ElementType, InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError,
    Shape, TensorSpec,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::output::{self, Bare, ByRow};
use super::refusal::amended;
use super::tabular::{self, Context, parse};
use super::unlike;

/// Reads the value of `Inputs`: rows under a name of the caller's choice, or values by input name.
pub(super) fn read_inputs(
    value: &RawValue,
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let mut members: BTreeMap<String, &RawValue> =
        parse(value.get(), "Inputs").map_err(|error| amended(error, || list_of_tensors(value)))?;
    members.retain(|_, value| value.get() != "null");
    let only = members.iter().next().filter(|_| members.len() == 1);
    let (target, rows) = match only {
        // `{"data": [...]}` or `{"WebServiceInput0": [...]}`; a model may also have an input of that name.
        Some((name, rows)) if signature.input(name).is_none() => (format!("Inputs.{name}"), *rows),
        _ => ("Inputs".to_owned(), value),
    };
    let context = Context {
        signature,
        max_nesting,
        target: &target,
    };
    tabular::read(context, rows)
}

/// Words for a list under `Inputs`, where the `inputs` of the Open Inference Protocol are meant.
fn list_of_tensors(value: &RawValue) -> String {
    match value.get().starts_with('[') {
        true => "; the Open Inference Protocol's member is \"inputs\", in lower case".to_owned(),
        false => String::new(),
    }
}

#[derive(Deserialize)]
struct Split<'a> {
    #[serde(default)]
    columns: Option<Vec<Value>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Reads the value of `input_data`: `{"columns", "index", "data"}` as pandas splits a table, or what `data` takes.
pub(super) fn read_input_data(
    value: &RawValue,
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let text = value.get();
    let members: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(text).ok();
    let has = |name: &str| {
        let value = members.as_ref().and_then(|members| members.get(name));
        value.is_some_and(|value| value.get() != "null")
    };
    let is_split = has("data") && has("columns");
    let context = |target| Context {
        signature,
        max_nesting,
        target,
    };
    if !is_split {
        let unsplit = match members.as_ref().and_then(|members| members.get("data")) {
            // Rows whose columns and index are null.
            Some(rows) if has("data") && signature.input("data").is_none() => {
                tabular::read(context("input_data.data"), rows)
            }
            _ => tabular::read(context("input_data"), value),
        };
        return unsplit.map_err(|error| {
            let other = unlike::other_case(text.as_bytes(), &["columns", "index", "data"]);
            amended(error, || {
                other.map(|other| format!("; {other}")).unwrap_or_default()
            })
        });
    }
    let split: Split<'_> = parse(text, "input_data")?;
    let columns: Vec<String> = split
        .columns
        .into_iter()
        .flatten()
        .map(|name| {
            name.as_str()
                .map_or_else(|| name.to_string(), str::to_owned)
        })
        .collect();
    let context = context("input_data.data");
    // One matrix for a model with one input, whatever its columns are called there.
    if let [only] = &signature.inputs[..]
        && !columns.contains(&only.name)
    {
        return tabular::read(context, split.data);
    }
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    tabular::read_columns(context, &names, split.data.get())
}

/// Writes the bare result.
pub(super) fn write(
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Bare(&output::chosen(metadata, response)))
}

/// Writes the result as the only member of an object.
pub(super) fn write_under(
    member: &str,
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> serde_json::Result<Vec<u8>> {
    let outputs = output::chosen(metadata, response);
    serde_json::to_vec(&BTreeMap::from([(member, Bare(&outputs))]))
}

/// Writes `{"predictions": [...]}`, one element per row; outputs that are no rows are written as they are.
///
/// Source: TensorFlow Serving's REST API, predict, row format.
pub(super) fn write_predictions(
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> serde_json::Result<Vec<u8>> {
    let outputs = &output::chosen(metadata, response)[..];
    let rows = outputs.first().and_then(|output| output.value.rows());
    let same = outputs.iter().all(|output| output.value.rows() == rows);
    match rows {
        Some(rows) if outputs.len() > 1 && same => {
            serde_json::to_vec(&BTreeMap::from([("predictions", ByRow { outputs, rows })]))
        }
        _ => serde_json::to_vec(&BTreeMap::from([("predictions", Bare(outputs))])),
    }
}

/// Above this a sample says less than the shape does, and takes longer to send than to write.
const MAX_SAMPLE_ELEMENTS: usize = 10_000;

/// One row of an input; one row of one value if it declares no shape.
pub(crate) fn sample_shape(spec: &TensorSpec) -> Shape {
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
pub(crate) fn sample_request(signature: &ModelSignature) -> Option<Value> {
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
