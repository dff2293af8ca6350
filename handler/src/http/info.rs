//! What can be asked without scoring: metadata, readiness, the OpenAPI document.

mod protocols;
mod tensors;

use std::collections::BTreeMap;

use score::{Character, Scorer, Task, TensorSpec, TextMetadata};
use serde_json::{Value, json};
use warp::http::{StatusCode, header};
use wire::{picture_document, sample_request, sample_rows};

use tensors::{input_document, output_document};

use super::head::Head;
use super::openapi;
use super::reply::Reply;
use super::route::Route;
use super::texts;
use crate::app::App;
use crate::models::{Models, State};
use crate::problem::Problem;

/// Answers everything but scoring.
pub(super) async fn answer(app: &App, head: &Head, route: &Route) -> Result<Reply, Problem> {
    let models = &app.admission.models;
    let document = match route {
        Route::Protocol(operation, model) => {
            return protocols::answer(app, *operation, model.as_ref()).await;
        }
        Route::Describe(name) => {
            let models = models.when_loaded().await?;
            let mut document = describe(&models, name.as_deref())?;
            if name.is_none() {
                // What clients of KServe's V1 protocol look for below their address, to see whether the server lives.
                document["status"] = "alive".into();
            }
            document
        }
        Route::OpenApi => {
            let form = match head.wants_all {
                true => openapi::Form::All,
                false => openapi::Form::Plain,
            };
            let mut reply = Reply::json(Vec::new());
            // Shared by all who ask for it.
            reply.body = openapi::written(app, form).await?;
            return Ok(reply);
        }
        Route::HealthLive => return Ok(word(StatusCode::OK, "alive")),
        Route::HealthReady => {
            let (status, state) = match app.state() {
                State::Ready => (StatusCode::OK, "ready"),
                State::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
                State::Failed => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
                State::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
            };
            return Ok(word(status, state));
        }
        Route::Text(target) => {
            let models = models.when_loaded().await?;
            texts::tell(&models, target)?
        }
        // They have ways of their own.
        Route::Score(_) | Route::Invocations | Route::Metrics => return Err(Problem::internal()),
    };
    Ok(Reply::json(document.to_string().into_bytes()))
}

pub(super) use protocols::index;

/// All that callers without a key are told. Probes must not be answered by a cache in between.
fn word(status: StatusCode, word: &str) -> Reply {
    let mut reply = Reply::typed(word.as_bytes().to_vec(), "text/plain; charset=utf-8");
    reply.status = status;
    reply.set_static(header::CACHE_CONTROL, "no-store");
    reply
}

/// One model, or all of them if there are several and none is the default.
fn describe(models: &Models, name: Option<&str>) -> Result<Value, Problem> {
    if name.is_none() && models.default_name().is_none() {
        let all: Vec<Value> = models
            .all()
            .map(|(name, slot)| match slot {
                Ok(scorer) => model_document(scorer),
                Err(reason) => json!({ "name": name, "error": reason }),
            })
            .collect();
        return Ok(json!({ "models": all }));
    }
    let scorer = models.get(name)?;
    Ok(model_document(scorer))
}

fn model_document(scorer: &Scorer) -> Value {
    let metadata = scorer.metadata();
    let (signature, character) = (&metadata.signature, &metadata.character);
    let chosen: Vec<&str> = metadata
        .default_outputs
        .iter()
        .filter_map(|index| Some(signature.declared.get(*index)?.name.as_str()))
        .collect();
    let input = |spec: &TensorSpec| input_document(metadata, spec);
    let output = |spec: &TensorSpec| output_document(metadata, spec);
    let mut document = json!({
        "name": metadata.name,
        "version": metadata.version,
        "platform": "onnxruntime",
        "digest": metadata.digest.to_hex(),
        "inputs": signature.inputs.iter().map(input).collect::<Vec<_>>(),
        "optional_inputs": signature.optional.iter().map(input).collect::<Vec<_>>(),
        "outputs": signature.outputs.iter().map(output).collect::<Vec<_>>(),
        "answers_with": chosen,
        "rows": rows_document(character),
        "deterministic": character.deterministic,
        "memoized": metadata.memoize,
        "rows_scored": scorer.stats().rows.get(),
        "rows_computed": scorer.stats().computed_rows.get(),
        "sample_request": sample_request(metadata),
    });
    if metadata.memoize {
        document["cache"] = cache_document(scorer);
    }
    if !metadata.options.labels.is_empty() {
        document["labels"] = json!(metadata.options.labels);
    }
    let samples = sample_rows(metadata);
    if !samples.is_empty() {
        document["samples"] = Value::Array(samples);
    }
    if let Some(picture) = picture_document(metadata) {
        document["picture"] = picture;
    }
    if let Some(text) = &metadata.text {
        document["text"] = text_document(text);
    }
    if let Some(features) = &metadata.options.features {
        document["features"] = json!({
            "format": features.format.as_str(),
            "sample_request": { "keys": ["42"] },
        });
    }
    document
}

/// What a text model does with texts.
pub(crate) fn text_document(text: &TextMetadata) -> Value {
    let mut document = json!({
        "task": text.task.as_str(),
        "tokenizer": text.tokenizer,
        "max_tokens": text.max_tokens,
        "max_chars": text.max_chars,
        "truncate": text.truncate.as_str(),
        "prompt": text.prompt,
        "prompts": text.prompts,
        "batch_tokens": text.batch_tokens,
        "max_texts": text.max_texts,
        "store": text.stored_as.as_str(),
        "shared_runs": text.company.get(),
    });
    let of_task = match text.task {
        Task::Embedding => json!({
            "pooling": text.pooling,
            "normalize": text.normalize,
            "dimensions": text.dimensions,
            "max_dimensions": text.max_dimensions,
        }),
        Task::Rerank | Task::Classify => json!({
            "pairs": text.pairs,
            "labels": text.labels,
            "activation": text.activation.as_str(),
        }),
        Task::Tag => json!({ "labels": text.labels }),
        Task::Sparse => json!({}),
    };
    if let (Value::Object(document), Value::Object(of_task)) = (&mut document, of_task) {
        document.extend(of_task);
    }
    document
}

/// How the model's rows are treated, how that is known and why.
pub(crate) fn rows_document(character: &Character) -> Value {
    let mut document = json!({
        "treated": character.rows.as_str(),
        "because": character.evidence.as_str(),
        "reason": character.rows_reason,
    });
    for (name, text) in [
        ("operator", &character.operator),
        ("warning", &character.warning),
    ] {
        if let Some(text) = text {
            document[name] = json!(text);
        }
    }
    document
}

/// What remembering costs and saves; a cost is absent until it is known.
fn cache_document(scorer: &Scorer) -> Value {
    let costs = scorer.costs();
    let mut document = json!({
        "policy": scorer.cache_policy().as_str(),
        "saved_seconds": costs.saved,
        "requests": costs.plans.iter().copied().collect::<BTreeMap<_, _>>(),
    });
    for (name, cost) in [
        ("row_cost_seconds", costs.row),
        ("local_lookup_cost_seconds", costs.local_lookup),
        ("redis_lookup_cost_seconds", costs.remote_lookup),
    ] {
        if let Some(cost) = cost {
            document[name] = json!(cost);
        }
    }
    document
}

/// The answer to `GET /`, by which the host finds out that the process listens. From memory, without waiting.
pub(super) fn alive() -> Reply {
    Reply::json(br#"{"status":"alive"}"#.to_vec())
}
