//! Azure ML: `{"data": ...}` is what entry scripts take, and `{"Inputs": ..., "GlobalParameters": ...}` what automated ML and the
//! designer generate.
//!
//! Source: the scoring scripts that automated ML generates; "Consume a deployed model as a web service".

use score::{NamedTensor, ScoreError};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::mlflow::read_named;
use super::{Answer, Body, Dialect, Request, alone, answer};
use crate::body::Encoded;
use crate::body::amended;
use crate::context::Context;
use crate::json::bounded;
use crate::json::output::Bare;
use crate::rows::tabular;
use crate::schema::parts::{Parts, rows_by_name};
use crate::schema::{any_of, closed, open};

/// `{"data": rows}`
pub(crate) static DATA: Dialect = Dialect {
    name: "Azure ML",
    member: "data",
    body: r#"`{"data": rows}`"#,
    answer: "the bare result, `[7,2]`; an object by output name if there are several outputs",
    sample: r#"{"data":"$rows"}"#,
    under: None,
    options: &["method", "GlobalParameters", "params", COLUMNS],
    recognises: alone,
    read: read_data,
    write: write_bare,
    request_schema: |parts| Some(open([("data", parts.rows.clone())], 1)),
    answer_schema: |parts| parts.result.clone(),
};

/// Beside `data`, as pandas splits a table: the names of its columns.
const COLUMNS: &str = "columns";

fn read_data(request: &Request<'_>) -> Result<Body, ScoreError> {
    let context = request.context("data");
    let Some(columns) = request.members.get(COLUMNS) else {
        return request.rows(&DATA, tabular::read(context, request.value)?);
    };
    let mut by_position = false;
    let inputs = read_named(context, (columns, COLUMNS), request.value, &mut by_position)?;
    request.table(&DATA, inputs, by_position)
}

/// `{"Inputs": ..., "GlobalParameters": ...}`
pub(crate) static INPUTS: Dialect = Dialect {
    name: "Azure ML",
    member: "Inputs",
    body: r#"`{"Inputs": {"data": rows}, "GlobalParameters": ...}`"#,
    answer: r#"`{"Results": [7,2]}`"#,
    sample: r#"{"Inputs":{"data":"$rows"}}"#,
    under: Some("Results"),
    options: &["GlobalParameters"],
    recognises: alone,
    read: |request| {
        request.rows(
            &INPUTS,
            read_inputs(request.context("Inputs"), request.value)?,
        )
    },
    write: answer::write_under,
    request_schema: inputs_schema,
    answer_schema: |parts| closed([("Results", parts.result.clone())], 1),
};

fn inputs_schema(parts: &Parts<'_>) -> Option<Value> {
    let named = json!({
        "type": "object", "additionalProperties": parts.rows, "minProperties": 1, "maxProperties": 1,
    });
    let inputs = any_of(vec![named, rows_by_name(&parts.metadata.signature)]);
    Some(open(
        [("Inputs", inputs), ("GlobalParameters", json!({}))],
        1,
    ))
}

/// Writes the bare result: the one output, or an object of outputs by name.
pub(crate) fn write_bare(answer: &Answer<'_>) -> serde_json::Result<Encoded> {
    serde_json::to_vec(&Bare(&answer.outputs())).map(Encoded::json)
}

/// Reads the value of `Inputs`: rows under a name of the caller's choice, or values by input name.
fn read_inputs(context: Context<'_>, value: &RawValue) -> Result<Vec<NamedTensor>, ScoreError> {
    let members = bounded::members(value.get(), context.target);
    let mut members = members.map_err(|error| amended(error, || list_of_tensors(value)))?;
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

/// The end of an error text for a list under `Inputs`, where the Open Inference Protocol's `inputs` is meant.
fn list_of_tensors(value: &RawValue) -> String {
    match value.get().starts_with('[') {
        true => "; the Open Inference Protocol's member is \"inputs\", in lower case".to_owned(),
        false => String::new(),
    }
}
