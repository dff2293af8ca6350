//! What the models answer to the document's own example requests.

use score::{CacheUse, InferenceRequest, Scorer, TextOptions};
use serde_json::Value;
use wire::{Declared, Limits};

use crate::models::Models;

/// Scores each model's example requests and puts the answers beside them. An example that the model does not take stays
/// without one.
pub(super) async fn add(document: &mut Value, models: &Models, limits: Limits) {
    for (name, scorer) in models.loaded() {
        for (request, answer) in [("request", "answer"), ("protocol", "protocol")] {
            let body = example(document, "requestBodies", name, request);
            let Some(body) = body.map(|body| body.to_string()) else {
                continue;
            };
            if let Some(answered) = score(scorer, body.as_bytes(), limits).await
                && let Some(place) = example_place(document, "responses", name, answer)
            {
                place["example"] = answered;
            }
        }
    }
}

async fn score(scorer: &Scorer, body: &[u8], limits: Limits) -> Option<Value> {
    let metadata = scorer.metadata();
    let body = wire::decode(body, Declared::default(), metadata, limits).ok()?;
    let decoded = body.rows()?;
    let request = InferenceRequest {
        inputs: decoded.inputs,
        cache: CacheUse::Bypass,
        joint: None,
        text: TextOptions::default(),
    };
    let response = scorer.score(request).await.ok()?;
    let encoded = wire::encode(&decoded.answer, None, metadata, &response).ok()?;
    serde_json::from_slice(&encoded.body).ok()
}

fn example<'a>(document: &'a mut Value, kind: &str, model: &str, part: &str) -> Option<&'a Value> {
    example_place(document, kind, model, part)?.get("example")
}

fn example_place<'a>(
    document: &'a mut Value,
    kind: &str,
    model: &str,
    part: &str,
) -> Option<&'a mut Value> {
    let components = document.get_mut("components")?.get_mut(kind)?;
    let component = components.get_mut(format!("{model}.{part}"))?;
    component.get_mut("content")?.get_mut("application/json")
}
