//! TensorFlow Serving's REST API, predict: `instances` in row format, `inputs` in columnar format.
//!
//! Source: TensorFlow Serving, "RESTful API"; KServe, "V1 Inference Protocol", which has the same path, body and answer.

use serde_json::Value;

use score::ScoreError;

use super::{
    AnswerForm, Dialect, MODEL, Operation, Protocol, ProtocolRoute, Request, VERSION, alone,
    answer, method,
};
use crate::body::amended;
use crate::dialect::Body;
use crate::error_form;
use crate::refusal::lower_case_inputs;
use crate::rows::tabular;
use crate::schema::parts::{Parts, predictions, rows_by_name};
use crate::schema::{closed, open};

/// The routes of TensorFlow Serving and of KServe's V1 protocol; the list of models and one model's state are in
/// `text_api::models`, since OpenAI's clients ask for them at the same paths.
pub(crate) static PROTOCOL: Protocol = Protocol {
    name: "TensorFlow Serving and KServe V1",
    section: "tensorflow-serving-and-kserve-v1",
    purpose: "predict and the signature; of one version, and its state, below `/versions/{version}`",
    errors: &error_form::TEXT,
    routes: &[
        route(
            &["v1", "models", "{model}:predict"],
            "predict",
            Operation::Score,
        ),
        route(
            &["v1", "models", MODEL, "versions", "{version}:predict"],
            "version_predict",
            Operation::Score,
        ),
        route(
            &["v1", "models", MODEL, "metadata"],
            "signature",
            Operation::Signature,
        ),
        route(
            &["v1", "models", MODEL, "versions", VERSION, "metadata"],
            "version_signature",
            Operation::Signature,
        ),
        route(
            &["v1", "models", "{model}:classify"],
            "classify",
            NO_EXAMPLES,
        ),
        route(&["v1", "models", "{model}:regress"], "regress", NO_EXAMPLES),
        route(
            &["v1", "models", MODEL, "versions", "{version}:classify"],
            "version_classify",
            NO_EXAMPLES,
        ),
        route(
            &["v1", "models", MODEL, "versions", "{version}:regress"],
            "version_regress",
            NO_EXAMPLES,
        ),
        route(
            &["v1", "models", MODEL, "versions", VERSION],
            "version_status",
            Operation::Status,
        ),
        route(
            &["v1", "models", "{model}:explain"],
            "explain",
            Operation::Refuse("nothing explains this model; :predict scores rows"),
        ),
    ],
};

/// Both take `tf.Example`, which ONNX models do not.
const NO_EXAMPLES: Operation = Operation::Refuse(
    "this model has no signature that takes examples; send {\"instances\": rows} to :predict instead",
);

const fn route(
    path: &'static [&'static str],
    id: &'static str,
    operation: Operation,
) -> ProtocolRoute {
    let summary = match operation {
        Operation::Status => "The state of the model, as TensorFlow Serving tells it",
        Operation::Signature => "Inputs and outputs of the model, as TensorFlow Serving tells them",
        _ => "Score in the form of TensorFlow Serving and KServe V1",
    };
    ProtocolRoute {
        path,
        id,
        summary,
        operation,
    }
}

/// `{"instances": [...]}`
pub(crate) static INSTANCES: Dialect = Dialect {
    name: "TensorFlow Serving",
    member: "instances",
    body: r#"`{"instances": rows}`"#,
    answer: r#"`{"predictions": [7,2]}`; an object for each row if there are several outputs"#,
    sample: r#"{"instances":"$list"}"#,
    under: Some("predictions"),
    options: &["signature_name"],
    recognises: alone,
    read: |request| {
        let inputs = tabular::read(request.context("instances"), request.value)?;
        Ok(Body::rows_of(inputs, AnswerForm::of(&INSTANCES)))
    },
    write: answer::write_under,
    request_schema: |parts| Some(open([("instances", parts.rows.clone())], 1)),
    answer_schema: predictions_schema,
};

fn predictions_schema(parts: &Parts<'_>) -> Value {
    closed([("predictions", predictions(parts))], 1)
}

/// `{"inputs": {...}}`, which MLflow's clients write too. Bodies of MLflow may have `params`, those of TensorFlow Serving
/// `signature_name`; a body with neither is answered in both forms.
pub(crate) static INPUTS: Dialect = Dialect {
    name: "TensorFlow Serving",
    member: "inputs",
    body: r#"`{"inputs": {"a": [...], "b": [...]}}`"#,
    answer: r#"`{"outputs": [7,2]}`, and the same under `predictions` unless `signature_name` is given"#,
    sample: r#"{"inputs":"$columns"}"#,
    under: Some("outputs"),
    options: &["signature_name"],
    recognises: |value, members| {
        let own = members.get("signature_name").is_some();
        own || (value.get().starts_with('{') && members.get("params").is_none())
    },
    read: read_columns,
    write: answer::write_under,
    request_schema: |parts| {
        let columns = rows_by_name(&parts.metadata.signature);
        Some(open([("inputs", columns)], 1))
    },
    answer_schema: |parts| open([("outputs", parts.result.clone())], 1),
};

fn read_columns(request: &Request<'_>) -> Result<Body, ScoreError> {
    let inputs = tabular::read(request.context("inputs"), request.value)
        .map_err(|error| amended(error, || lower_case_inputs(request.value)))?;
    let own = request.members.get("signature_name").is_some();
    Ok(Body::rows_of(
        inputs,
        AnswerForm {
            output: method::output(&request.members, request.metadata)?,
            also: (!own).then_some("predictions"),
            ..AnswerForm::of(&INPUTS)
        },
    ))
}
