//! What clients of other servers ask without scoring: states, signatures, configurations, counts. Only what is true of this
//! program is told; members that it has nothing to say about are left out.

use score::{ElementType, ModelMetadata, Scorer, TensorSpec, Times};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::dialect::Operation;
use wire::protocol_tensor_document;

use super::word;
use crate::app::App;
use crate::http::reply::Reply;
use crate::http::route::ModelRef;
use crate::models::{Models, NoModel, State};
use crate::problem::Problem;
use warp::http::StatusCode;

/// Answers a route of another server's.
///
/// # Errors
/// If there is no such model, models are still being loaded, or the route is one that refuses.
pub(super) async fn answer(
    app: &App,
    operation: Operation,
    model: Option<&ModelRef>,
) -> Result<Reply, Problem> {
    let registry = &app.admission.models;
    let document = match operation {
        Operation::Live => json!({ "live": true }),
        Operation::Ready => {
            registry.now()?;
            match app.state() {
                State::Ready => json!({ "ready": true }),
                _ => {
                    return Err(Problem::busy(
                        "not every model serves, or the program is about to end",
                    ));
                }
            }
        }
        Operation::ModelReady => {
            let models = registry.now()?;
            of(&models, model)?;
            json!({ "ready": true })
        }
        Operation::Ping => {
            registry.now()?;
            // MLflow's own answer is an empty line of JSON.
            return Ok(Reply::json(&b"\n"[..]));
        }
        Operation::Version => return Ok(word(StatusCode::OK, env!("CARGO_PKG_VERSION"))),
        Operation::Server => json!({
            "name": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": wire::EXTENSIONS,
        }),
        Operation::Refuse(instead) => return Err(Problem::bad_request(instead).at("path")),
        Operation::Statistics if model.is_none() => {
            let models = registry.when_loaded().await?;
            statistics(models.serving_versions().map(|(_, scorer)| scorer))
        }
        Operation::Statistics if model.is_some_and(ModelRef::names_no_version) => {
            let models = registry.when_loaded().await?;
            let name = &of(&models, model)?.metadata().name;
            let versions = models.serving_versions();
            let versions = versions.filter(|(version, _)| version.model == name);
            statistics(versions.map(|(_, scorer)| scorer))
        }
        operation => {
            let models = registry.when_loaded().await?;
            let scorer = of(&models, model)?;
            of_model(operation, &models, scorer, app.config.max_rows)?
        }
    };
    Ok(Reply::json(document.to_string().into_bytes()))
}

fn of<'a>(models: &'a Models, model: Option<&ModelRef>) -> Result<&'a Scorer, NoModel> {
    match model {
        Some(model) => model.find(models),
        None => models.get(None).map(|scorer| &**scorer),
    }
}

fn of_model(
    operation: Operation,
    models: &Models,
    scorer: &Scorer,
    max_rows: usize,
) -> Result<Value, Problem> {
    let metadata = scorer.metadata();
    Ok(match operation {
        Operation::Model => open_inference_metadata(metadata, &models.versions_of(&metadata.name)),
        Operation::Config => config(metadata, max_rows),
        Operation::Statistics => statistics(std::iter::once(scorer)),
        Operation::Status => status(metadata),
        Operation::Signature => signature(metadata),
        // Answered before, or scored.
        _ => return Err(Problem::internal()),
    })
}

/// Source: "Open Inference Protocol", model metadata.
fn open_inference_metadata(metadata: &ModelMetadata, versions: &[&str]) -> Value {
    let signature = &metadata.signature;
    json!({
        "name": metadata.name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": signature.inputs.iter().map(protocol_tensor_document).collect::<Vec<_>>(),
        "outputs": signature.outputs.iter().map(protocol_tensor_document).collect::<Vec<_>>(),
    })
}

const PLATFORM: &str = "onnxruntime_onnx";

/// Where rows are cut apart, the first axis of every tensor is the batch, which Triton leaves out of `dims`. It knows no
/// tensors without an axis of their own, so that a model that has some is told as one without batches.
///
/// Source: Triton, "Model Configuration Extension" and `model_config.proto`.
fn config(metadata: &ModelMetadata, max_rows: usize) -> Value {
    let signature = &metadata.signature;
    let all = signature.inputs.iter().chain(&signature.optional);
    let mut all = all.chain(&signature.outputs);
    let has_batch = |spec: &TensorSpec| spec.has_dynamic_rows() && spec.dims().len() > 1;
    let batched = metadata.character.rows.are_cut_apart() && all.all(has_batch);
    let tensors = |specs: &[TensorSpec], optional: bool| {
        let tensors = specs.iter().map(|spec| {
            let dims = spec.signed_shape();
            let mut tensor = json!({
                "name": spec.name,
                "data_type": triton_type(spec.element_type),
                "dims": if batched { &dims[1..] } else { &dims[..] },
            });
            if optional {
                tensor["optional"] = true.into();
            }
            tensor
        });
        tensors.collect::<Vec<_>>()
    };
    let mut input = tensors(&signature.inputs, false);
    input.extend(tensors(&signature.optional, true));
    json!({
        "name": metadata.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": if batched { max_rows } else { 0 },
        "input": input,
        "output": tensors(&signature.outputs, false),
    })
}

/// The names of `DataType` in `model_config.proto`.
fn triton_type(ty: ElementType) -> String {
    match ty {
        ElementType::String => "TYPE_STRING".to_owned(),
        ty => format!("TYPE_{}", ty.datatype()),
    }
}

/// What this program counts of these versions of models. Without a version in the path those of all versions are told.
///
/// Source: Triton, "Statistics Extension".
fn statistics<'a>(scorers: impl Iterator<Item = &'a Scorer>) -> Value {
    json!({ "model_stats": scorers.map(counted).collect::<Vec<_>>() })
}

/// Requests with their times, rows, and runs of the model.
fn counted(scorer: &Scorer) -> Value {
    let (metadata, stats) = (scorer.metadata(), scorer.stats());
    let (all, failed) = (&stats.requests, &stats.refused);
    let document = |count: u64, ns: u64| json!({ "count": count, "ns": ns });
    let times = |times: &Times| document(times.count(), times.nanoseconds());
    json!({
        "name": metadata.name,
        "version": metadata.version,
        "inference_count": stats.rows.get(),
        "execution_count": stats.batch.runs.count(),
        "inference_stats": {
            // One of them may be counted as a request only by now.
            "success": document(
                all.count().saturating_sub(failed.count()),
                all.nanoseconds().saturating_sub(failed.nanoseconds()),
            ),
            "fail": times(failed),
            "queue": times(&stats.batch.waits),
            "compute_infer": times(&stats.batch.runs),
        },
    })
}

/// Source: TensorFlow Serving, "Model status API".
fn status(metadata: &ModelMetadata) -> Value {
    json!({ "model_version_status": [{
        "version": metadata.version,
        "state": "AVAILABLE",
        "status": { "error_code": "OK", "error_message": "" },
    }] })
}

/// Source: TensorFlow Serving, "Model Metadata API".
fn signature(metadata: &ModelMetadata) -> Value {
    let signature = &metadata.signature;
    let tensors = |specs: &[TensorSpec]| {
        let tensors = specs
            .iter()
            .map(|spec| (spec.name.clone(), tensor_info(spec)));
        tensors.collect::<Map<String, Value>>()
    };
    json!({
        "model_spec": { "name": metadata.name, "signature_name": "", "version": metadata.version },
        "metadata": { "signature_def": { "signature_def": { "serving_default": {
            "inputs": tensors(&signature.inputs),
            "outputs": tensors(&signature.outputs),
            "method_name": "tensorflow/serving/predict",
        } } } },
    })
}

/// A tensor as protobuf's JSON has it: 64-bit integers are texts.
fn tensor_info(spec: &TensorSpec) -> Value {
    let lengths = spec.signed_shape().into_iter();
    let dims = lengths.map(|length| json!({ "size": length.to_string(), "name": "" }));
    json!({
        "name": spec.name,
        "dtype": tensorflow_type(spec.element_type),
        "tensor_shape": {
            "dim": dims.collect::<Vec<_>>(),
            "unknown_rank": spec.shape.is_none(),
        },
    })
}

/// The names of `DataType` in TensorFlow's `types.proto`.
fn tensorflow_type(ty: ElementType) -> &'static str {
    match ty {
        ElementType::Bool => "DT_BOOL",
        ElementType::Int8 => "DT_INT8",
        ElementType::Int16 => "DT_INT16",
        ElementType::Int32 => "DT_INT32",
        ElementType::Int64 => "DT_INT64",
        ElementType::Uint8 => "DT_UINT8",
        ElementType::Uint16 => "DT_UINT16",
        ElementType::Uint32 => "DT_UINT32",
        ElementType::Uint64 => "DT_UINT64",
        ElementType::Float16 => "DT_HALF",
        ElementType::BFloat16 => "DT_BFLOAT16",
        ElementType::Float32 => "DT_FLOAT",
        ElementType::Float64 => "DT_DOUBLE",
        ElementType::String => "DT_STRING",
    }
}

/// What the body of the index may ask for.
#[derive(Deserialize, Default)]
struct Wanted {
    #[serde(default)]
    ready: Option<bool>,
}

/// The state of each version of each model; of those that serve alone, if the body asks for it.
///
/// Source: Triton, "Model Repository Extension".
///
/// # Errors
/// If the body is no JSON of that kind, or models are still being loaded.
pub(crate) async fn index(app: &App, body: &[u8]) -> Result<Reply, Problem> {
    let wanted = match body.trim_ascii() {
        [] => Wanted::default(),
        body => serde_json::from_slice(body).map_err(|_| {
            Problem::bad_request("expected {\"ready\": true}, or no body for all models")
                .at("ready")
        })?,
    };
    let models = app.admission.models.when_loaded().await?;
    let all = models.all_versions().map(|(name, slot)| match slot {
        Ok(scorer) => json!({
            "name": name.model, "version": scorer.metadata().version, "state": "READY", "reason": "",
        }),
        Err(reason) => json!({
            "name": name.model, "version": name.version, "state": "UNAVAILABLE", "reason": reason,
        }),
    });
    let serves = |model: &Value| model["state"] == "READY";
    let all = all.filter(|model| wanted.ready != Some(true) || serves(model));
    let document = Value::Array(all.collect());
    Ok(Reply::json(document.to_string().into_bytes()))
}
