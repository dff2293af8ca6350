//! The messages and blobs this app writes: results, and what was refused.

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use score::CacheOutcome;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::delivery::Delivery;
use crate::problem::{Problem, Reason};
use crate::scoring::{CacheStatus, Scored};

#[derive(Serialize)]
struct ResultDocument<'a> {
    #[serde(flatten)]
    origin: Origin<'a>,
    model: &'a str,
    /// How many texts were cut, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<usize>,
    result: &'a RawValue,
    #[serde(flatten)]
    course: Option<Course>,
}

/// How the result came about.
#[derive(Serialize)]
struct Course {
    cache: Cache,
    timings_ms: Map<String, Value>,
}

#[derive(Serialize)]
struct RejectedDocument<'a> {
    #[serde(flatten)]
    origin: Origin<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    reason: Reason<'a>,
    /// Base64; `None` if it was too large to be read.
    body: Option<String>,
    delivery_count: Option<u64>,
    time: String,
}

/// What ties a document to the message or blob it is about.
#[derive(Serialize)]
struct Origin<'a> {
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

#[derive(Serialize)]
struct Cache {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hits: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
}

impl<'a> Origin<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        Self {
            id: delivery.id.as_deref(),
            correlation_id: delivery.correlation_id.as_deref(),
            traceparent: delivery.origin.parent.as_deref(),
        }
    }
}

impl Course {
    fn of(scored: &Scored) -> Self {
        let (hits, rows) = match scored.cache {
            CacheOutcome::Asked { hits, rows } => (Some(hits), Some(rows)),
            CacheOutcome::Bypass => (None, None),
        };
        let timings = scored.times.millis();
        Self {
            cache: Cache {
                status: CacheStatus(scored.cache).word(),
                hits,
                rows,
            },
            timings_ms: timings
                .map(|(name, ms)| (name.to_owned(), ms.into()))
                .collect(),
        }
    }
}

/// The result of one message or blob, on one line. `reveal`: whether it says what was remembered, and how long each step took.
///
/// # Errors
/// If the answer is not JSON.
pub(super) fn result(
    delivery: &Delivery,
    model: &str,
    scored: &Scored,
    reveal: bool,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&ResultDocument {
        origin: Origin::of(delivery),
        model,
        truncated: (scored.truncated > 0).then_some(scored.truncated),
        result: serde_json::from_slice(&scored.answer.body)?,
        course: reveal.then(|| Course::of(scored)),
    })
}

/// Why a message or blob was refused, with its body.
///
/// # Errors
/// Never in fact: all of it is text.
pub(super) fn rejected(
    delivery: &Delivery,
    problem: &Problem,
    body: Option<&[u8]>,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&RejectedDocument {
        origin: Origin::of(delivery),
        model: delivery.model.as_deref(),
        reason: problem.reason(),
        body: body.map(|bytes| BASE64_STANDARD.encode(bytes)),
        delivery_count: delivery.delivery_count,
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
    })
}
