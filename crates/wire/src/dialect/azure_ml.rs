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

use crate::json::output::{self, Bare, ByRow};
use crate::refusal::amended;
use crate::rows::columns::{Context, Layout};
use crate::rows::tabular::{self, parse};
use crate::unlike;

/// Reads the value of `Inputs`: rows under a name of the caller's choice, or values by input name.
pub(crate) fn read_inputs(
    context: Context<'_>,
    value: &RawValue,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let members = parse(value.get(), context.target);
    let mut members: BTreeMap<String, &RawValue> =
        members.map_err(|error| amended(error, || list_of_tensors(value)))?;
    members.retain(|_, value| value.get() != "null");
    let only = members.iter().next().filter(|_| members.len() == 1);
    match only {
        // `{"data": [...]}` or `{"WebServiceInput0": [...]}`; a model may also have an input of that name.
        Some((name, rows)) if !context.knows(name, false) => {
            let target = &format!("{}.{name}", context.target);
            tabular::read(Context { target, ..context }, rows)
        }
        _ => tabular::read(context, value),
    }
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

/// Reads the value of `input_data`: `{"columns", "index", "data"}` as pandas splits a table, or what `data` takes. Says in
/// `by_position` if columns have names that nothing can be compared with, so that their order counts.
pub(crate) fn read_input_data(
    context: Context<'_>,
    value: &RawValue,
    by_position: &mut bool,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let text = value.get();
    let members: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(text).ok();
    let has = |name: &str| {
        let value = members.as_ref().and_then(|members| members.get(name));
        value.is_some_and(|value| value.get() != "null")
    };
    if !(has("data") && has("columns")) {
        let unsplit = match members.as_ref().and_then(|members| members.get("data")) {
            // Rows whose columns and index are null.
            Some(rows) if has("data") && !context.knows("data", false) => {
                let target = &format!("{}.data", context.target);
                tabular::read(Context { target, ..context }, rows)
            }
            _ => tabular::read(context, value),
        };
        return unsplit.map_err(|error| {
            let other = unlike::other_case(text.as_bytes(), &["columns", "index", "data"]);
            amended(error, || {
                other.map(|other| format!("; {other}")).unwrap_or_default()
            })
        });
    }
    let split: Split<'_> = parse(text, context.target)?;
    let names: Vec<String> = split
        .columns
        .into_iter()
        .flatten()
        .map(|name| {
            name.as_str()
                .map_or_else(|| name.to_string(), str::to_owned)
        })
        .collect();
    let target = &format!("{}.data", context.target);
    let context = Context { target, ..context };
    // A table without names is rows like any others.
    if names.is_empty() {
        return tabular::read(context, split.data);
    }
    let layout = match Layout::of_names(context, &names, false) {
        Ok(layout) => layout,
        // One matrix for a model with one input that has no names for columns: any names will do.
        Err(error) => match Layout::of_numbers(context, &names) {
            Some(layout) => layout,
            None if context.names_columns() || context.signature.inputs.len() != 1 => {
                return Err(error);
            }
            None => {
                *by_position = names.len() > 1;
                Layout::by_position(context, names.len())
            }
        },
    };
    if !layout.is_plain() {
        return tabular::read_rows(context, layout, &names, split.data.get());
    }
    let inputs = tabular::read(context, split.data)?;
    let width = inputs.first().and_then(|input| input.tensor.shape().get(1));
    match width {
        Some(width) if *width != names.len() => {
            let named = names.len();
            Err(context.wrong(format!(
                "rows have {width} values where {named} columns are named"
            )))
        }
        _ => Ok(inputs),
    }
}

/// Writes the bare result.
pub(crate) fn write(
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Bare(&output::chosen(metadata, response)))
}

/// Writes the result as the only member of an object.
pub(crate) fn write_under(
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
pub(crate) fn write_predictions(
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
