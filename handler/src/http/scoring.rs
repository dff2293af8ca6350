//! One scoring request: body in, body out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use score::{CacheOutcome, InferenceRequest, ScoreError, Timings};
use tracing::{error, info};

use super::reply::{Problem, Reply};
use super::request::Head;
use super::route::ModelRef;
use crate::app::App;
use crate::payload::{self, Decoded};

/// Bodies from this size on are read and written beside the other requests of their thread, not before them.
const LARGE_BYTES: usize = 256 << 10;
/// The same for answers.
const LARGE_ELEMENTS: usize = 32 << 10;
const JSON: &str = "application/json";

/// Scores a body with the named model or the default one.
pub(super) async fn score(
    app: &Arc<App>,
    head: &Head,
    model: Option<&ModelRef>,
    body: &[u8],
) -> Result<Reply, Problem> {
    let models = app.models_when_loaded().await?;
    let scorer = match model {
        Some(model) => model.find(&models)?,
        None => models.get(None)?,
    };
    let metadata = scorer.metadata();

    let start = Instant::now();
    let large = body.len() >= LARGE_BYTES || payload::is_packed(body);
    let limits = app.limits();
    let decoded = apart_if(large, || {
        payload::decode(body, head.declared(), metadata, limits)
    });
    let decoded = decoded.map_err(|error| Problem::from_payload(error, limits.max_bytes))?;
    let decode = start.elapsed();

    let Decoded { inputs, dialect } = decoded;
    let request = InferenceRequest {
        inputs,
        cache: head.cache,
    };
    let response = scorer.score(request).await.map_err(|e| logged(head, e))?;

    let start = Instant::now();
    let elements: usize = response.outputs.iter().map(|o| o.tensor.data().len()).sum();
    let accept = head.accept.as_deref();
    let answer = apart_if(elements >= LARGE_ELEMENTS, || {
        payload::encode(&dialect, accept, metadata, &response)
    })
    .map_err(|error| logged(head, error))?;
    if head.text_only && answer.content_type != JSON {
        return Err(Problem::bad_request(
            "a binary answer cannot travel in an envelope; ask for JSON, or switch request forwarding on",
        ));
    }
    let encode = start.elapsed();

    info!(
        id = head.request_id,
        model = metadata.name,
        status = 200,
        rows = response.rows,
        cache = %CacheHeader(response.cache),
        ms = millis(decode + encode + total(&response.timings)),
        "scored"
    );
    let mut reply = Reply::typed(answer.body, answer.content_type);
    if let Some(length) = answer.json_bytes {
        reply.set("inference-header-content-length", &length.to_string());
    }
    reply.set("x-cache", &CacheHeader(response.cache).to_string());
    reply.set(
        "server-timing",
        &server_timing(decode, &response.timings, encode),
    );
    Ok(reply)
}

/// Runs work that keeps the thread busy for a while without holding up the thread's other tasks.
fn apart_if<T>(large: bool, work: impl FnOnce() -> T) -> T {
    if large {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// What the caller is not told belongs in the log.
fn logged(head: &Head, error: ScoreError) -> Problem {
    if let ScoreError::Internal(reason) = &error {
        error!(id = head.request_id, reason, "scoring failed");
    }
    error.into()
}

struct CacheHeader(CacheOutcome);

impl std::fmt::Display for CacheHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            CacheOutcome::Bypass => f.write_str("BYPASS"),
            CacheOutcome::Asked { hits, rows } if hits == rows => f.write_str("HIT"),
            CacheOutcome::Asked { hits: 0, .. } => f.write_str("MISS"),
            CacheOutcome::Asked { hits, rows } => write!(f, "PARTIAL; hits={hits}, rows={rows}"),
        }
    }
}

fn server_timing(decode: Duration, timings: &Timings, encode: Duration) -> String {
    format!(
        "decode;dur={:.3}, cache;dur={:.3}, queue;dur={:.3}, infer;dur={:.3}, encode;dur={:.3}",
        millis(decode),
        millis(timings.cache),
        millis(timings.queue),
        millis(timings.infer),
        millis(encode),
    )
}

fn total(timings: &Timings) -> Duration {
    timings.cache + timings.queue + timings.infer
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_header_tells_hits_misses_and_parts() {
        let text = |hits, rows| CacheHeader(CacheOutcome::Asked { hits, rows }).to_string();
        assert_eq!(text(64, 64), "HIT");
        assert_eq!(text(0, 64), "MISS");
        assert_eq!(text(48, 64), "PARTIAL; hits=48, rows=64");
        assert_eq!(CacheHeader(CacheOutcome::Bypass).to_string(), "BYPASS");
    }
}
