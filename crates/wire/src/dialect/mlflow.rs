//! MLflow: the bodies of its scoring server, and `input_data`, which Azure ML's endpoints for MLflow models take.
//!
//! Source: MLflow, "Deploy MLflow Model as a Local Inference Server", and Azure ML, "Deploy MLflow models to online
//! endpoints".

use score::{NamedTensor, ScoreError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{
    AnswerForm, Dialect, Operation, Protocol, ProtocolRoute, Request, alone, answer, azure_ml,
    method,
};
use crate::body::amended;
use crate::context::Context;
use crate::dialect::Body;
use crate::error_form;
use crate::json::bounded::{MAX_NAMES, compact, each};
use crate::json::names::misspelt;
use crate::json::parse;
use crate::rows::columns::Layout;
use crate::rows::pictures;
use crate::rows::tabular;
use crate::schema::parts::{Parts, predictions, split};
use crate::schema::{any_of, open};

/// The routes of MLflow's scoring server, which are those of Amazon SageMaker's containers too.
pub(crate) static PROTOCOL: Protocol = Protocol {
    name: "MLflow",
    section: "mlflow",
    purpose: "its scoring server, for the default model",
    errors: &error_form::MLFLOW,
    routes: &[
        ProtocolRoute {
            path: &["invocations"],
            id: "invocations",
            summary: "Score in the form of MLflow",
            operation: Operation::Invoke,
        },
        ProtocolRoute {
            path: &["ping"],
            id: "ping",
            summary: "Whether models are loaded",
            operation: Operation::Ping,
        },
        ProtocolRoute {
            path: &["health"],
            id: "health",
            summary: "Whether models are loaded",
            operation: Operation::Ping,
        },
        ProtocolRoute {
            path: &["version"],
            id: "version",
            summary: "The version of the server",
            operation: Operation::Version,
        },
    ],
};

/// The members that name a method.
const PARAMETERS: &[&str] = &["params"];

/// `{"input_data": ...}`
pub(crate) static INPUT_DATA: Dialect = Dialect {
    name: "MLflow on Azure ML",
    member: "input_data",
    body: r#"`{"input_data": {"columns": [...], "index": [...], "data": rows}}`, `{"input_data": rows}`"#,
    answer: "the bare result",
    sample: r#"{"input_data":{"columns":"$names","data":"$cells"}}"#,
    under: None,
    options: PARAMETERS,
    recognises: alone,
    read: |request| read_split_or_rows(&INPUT_DATA, request),
    write: azure_ml::write_bare,
    request_schema: |parts| {
        let table = any_of(vec![split(parts), parts.rows.clone()]);
        Some(open([("input_data", table)], 1))
    },
    answer_schema: |parts| parts.result.clone(),
};

/// `{"dataframe_split": {"columns", "index", "data"}}`
pub(crate) static DATAFRAME_SPLIT: Dialect = Dialect {
    name: "MLflow",
    member: "dataframe_split",
    body: r#"`{"dataframe_split": {"columns": [...], "index": [...], "data": rows}}`"#,
    sample: r#"{"dataframe_split":{"columns":"$names","data":"$cells"}}"#,
    request_schema: |parts| Some(open([("dataframe_split", split(parts))], 1)),
    read: |request| read_split_or_rows(&DATAFRAME_SPLIT, request),
    ..SCORING_SERVER
};

/// `{"dataframe_records": [{...}]}`
pub(crate) static DATAFRAME_RECORDS: Dialect = Dialect {
    name: "MLflow",
    member: "dataframe_records",
    body: r#"`{"dataframe_records": [{"age": 22, "sex": "m"}]}`"#,
    sample: r#"{"dataframe_records":"$records"}"#,
    request_schema: |parts| Some(open([("dataframe_records", parts.rows.clone())], 1)),
    read: |request| {
        let context = request.context("dataframe_records");
        request.rows(&DATAFRAME_RECORDS, tabular::read(context, request.value)?)
    },
    ..SCORING_SERVER
};

/// `{"inputs": rows}`, which TensorFlow Serving's clients write too. It stands behind the other dialects with that member.
pub(crate) static INPUTS: Dialect = Dialect {
    name: "MLflow",
    member: "inputs",
    body: r#"`{"inputs": rows}`"#,
    sample: r#"{"inputs":"$list"}"#,
    answer: r#"`{"predictions": [7,2]}`, and the same under `outputs` unless `params` is given"#,
    request_schema: |parts| {
        let list = json!({ "allOf": [parts.rows, { "type": "array" }] });
        Some(open([("inputs", list)], 1))
    },
    read: read_inputs,
    ..SCORING_SERVER
};

/// The parts that all dialects of MLflow's scoring server share.
const SCORING_SERVER: Dialect = Dialect {
    name: "MLflow",
    member: "",
    body: "",
    sample: "{}",
    under: Some("predictions"),
    answer: r#"`{"predictions": [7,2]}`; an object for each row if there are several outputs"#,
    options: PARAMETERS,
    recognises: alone,
    read: read_inputs,
    write: answer::write_under,
    request_schema: |_| None,
    answer_schema: predictions_schema,
};

fn predictions_schema(parts: &Parts<'_>) -> Value {
    open([("predictions", predictions(parts))], 1)
}

fn read_inputs(request: &Request<'_>) -> Result<Body, ScoreError> {
    let inputs = tabular::read(request.context("inputs"), request.value)?;
    let own = request.members.get("params").is_some();
    Ok(Body::rows_of(
        inputs,
        AnswerForm {
            output: method::output(&request.members, request.metadata)?,
            also: (!own).then_some("outputs"),
            ..AnswerForm::of(&INPUTS)
        },
    ))
}

fn read_split_or_rows(
    dialect: &'static Dialect,
    request: &Request<'_>,
) -> Result<Body, ScoreError> {
    let mut by_position = false;
    let context = request.context(dialect.member);
    let inputs = read_table(context, request.value, &mut by_position)?;
    request.table(dialect, inputs, by_position)
}

/// A table as pandas splits it. What is `null` is absent.
#[derive(Deserialize, Default)]
struct Split<'a> {
    #[serde(borrow, default)]
    columns: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The names of the columns of a split table. pandas writes numbers and lists for names that are no texts; they count as
/// they are written.
fn names_of_columns(columns: &RawValue, target: &str) -> Result<Vec<String>, ScoreError> {
    let mut names = Vec::new();
    each(columns.get(), target, |position, name| {
        if position == MAX_NAMES {
            let message = format!(
                "{target}: more than {MAX_NAMES} names; leave columns out and send the values in the model's order"
            );
            return Err(ScoreError::invalid(target, message));
        }
        names.push(match name.starts_with('"') {
            true => parse(name, target)?,
            false => compact(name),
        });
        Ok(())
    })?;
    Ok(names)
}

/// Reads a table: `{"columns", "index", "data"}` as pandas splits a table, or what `data` takes. Says in
/// `by_position` if columns have names that nothing can be compared with, so that their order counts.
fn read_table(
    context: Context<'_>,
    value: &RawValue,
    by_position: &mut bool,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let text = value.get();
    let Split { columns, data } = match text.starts_with('{') {
        true => serde_json::from_str(text).unwrap_or_default(),
        false => Split::default(),
    };
    let (Some(columns), Some(data)) = (columns, data) else {
        return read_unsplit(context, value, data);
    };
    let named = &format!("{}.columns", context.target);
    let target = &format!("{}.data", context.target);
    let context = Context { target, ..context };
    read_named(context, (columns, named), data, by_position)
}

/// Reads rows whose columns have names, which stand at the position beside them in the request.
pub(super) fn read_named(
    context: Context<'_>,
    (columns, named): (&RawValue, &str),
    data: &RawValue,
    by_position: &mut bool,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let names = names_of_columns(columns, named)?;
    if let Some(inputs) = pictures::read_only_input(context, data.get()) {
        return inputs;
    }
    // A table without names is rows like any others.
    if names.is_empty() {
        return tabular::read(context, data);
    }
    let layout = layout_of(context, &names, by_position)?;
    if !layout.is_plain() {
        return tabular::read_rows(context, layout, &names, data.get());
    }
    let inputs = tabular::read(context, data)?;
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

/// Reads a table that is not split. `data` are rows whose columns and index are `null`.
fn read_unsplit(
    context: Context<'_>,
    value: &RawValue,
    data: Option<&RawValue>,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let read = match data {
        Some(rows) if !context.knows("data", false) => {
            let target = &format!("{}.data", context.target);
            tabular::read(Context { target, ..context }, rows)
        }
        _ => tabular::read(context, value),
    };
    read.map_err(|error| {
        amended(error, || {
            misspelt(value.get(), &["columns", "index", "data"])
        })
    })
}

/// Columns by their names or numbers. One matrix for a model with one input that has no names for columns may have
/// columns of any names; `by_position` says then that their order counts.
fn layout_of<'a>(
    context: Context<'a>,
    names: &[String],
    by_position: &mut bool,
) -> Result<Layout<'a>, ScoreError> {
    Layout::of_names(context, names, false).or_else(|error| {
        if let Some(layout) = Layout::of_numbers(context, names) {
            return Ok(layout);
        }
        if context.names_columns() || context.signature.inputs.len() != 1 {
            return Err(error);
        }
        *by_position = names.len() > 1;
        Ok(Layout::by_position(context, names.len()))
    })
}
