//! Body in, body out: the one way that requests, messages and blobs take to a model and back.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use score::{
    CacheOutcome, CacheUse, EachResponse, FeatureStore, InferenceRequest, InferenceResponse,
    JointLookUp, ModelMetadata, NamedTensor, ScoreError, Scorer, TRUNCATED, TensorData,
    TextOptions, Timings,
};
use tracing::{Span, debug, error, info, info_span};
use wire::text_api::{Take, TextRequest};
use wire::{AnswerForm, Body, Declared, Decoded, Encoded, Limits, PayloadError, Watch};

use crate::blocking;
use crate::features;
use crate::limits::{Charge, Decoding, Given};
use crate::problem::Problem;

/// Answers from this size on are written beside the other work of their thread.
const LARGE_ELEMENTS: usize = 32 << 10;

/// What is known about a body beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// For the log: the host's invocation id, or one of our own.
    pub(crate) id: &'a str,
    /// For the log too: the place of a message in its batch.
    pub(crate) index: Option<usize>,
    /// When the request, message or blob came.
    pub(crate) since: Instant,
    /// What the body is written in.
    pub(crate) declared: Declared<'a>,
    /// The content type wanted for the answer.
    pub(crate) accept: Option<&'a str>,
    /// What it may do with remembered results.
    pub(crate) cache: CacheUse,
    /// Whether the answer has to be JSON, since it travels inside JSON.
    pub(crate) json_only: bool,
    /// For a message of a batch: its look-up in Redis leaves together with those of the others.
    pub(crate) joint: Option<&'a JointLookUp>,
}

/// What the settings say about scoring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// What a body may take.
    pub(crate) limits: Limits,
    /// What takes longer has a line in the log.
    pub(crate) log_slow: Duration,
}

/// A scored body.
#[derive(Debug)]
pub(crate) struct Scored {
    /// In the dialect of the body.
    pub(crate) answer: Encoded,
    /// Whether its columns were named, but nothing said what the model calls them, so that their order counted.
    pub(crate) by_position: bool,
    /// How many texts were cut.
    pub(crate) truncated: usize,
    /// How much of it was remembered.
    pub(crate) cache: CacheOutcome,
    /// Where the time went.
    pub(crate) times: Times,
    /// The memory of the answer, to be held until that is written.
    pub(crate) held: Charge,
}

/// Where the time of one body went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    decode: Duration,
    /// Only for rows that were named by key.
    fetch: Option<Duration>,
    score: Timings,
    encode: Duration,
    /// From the moment it came; more than the steps together where its bytes or the models were waited for.
    all: Duration,
}

impl Times {
    /// Names and milliseconds, in the order of the work.
    pub(crate) fn millis(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.steps().map(|(name, time)| (name, millis(time)))
    }

    /// Names and durations, in the order of the work.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let all = [
            ("decode", Some(self.decode)),
            ("features", self.fetch),
            ("cache", Some(self.score.cache)),
            ("queue", Some(self.score.queue)),
            ("infer", Some(self.score.infer)),
            ("encode", Some(self.encode)),
        ];
        all.into_iter()
            .filter_map(|(name, time)| Some((name, time?)))
    }
}

/// Scores a body and logs it. `store` is where rows lie that bodies name by key.
///
/// # Errors
/// [`Problem`] says whether the body, the load or this program is at fault. A fault of ours is logged here, with what its
/// sender is not told.
pub(crate) async fn score(
    (settings, decoding): (&Settings, &Decoding),
    store: Option<&FeatureStore>,
    scorer: &Arc<Scorer>,
    call: Call<'_>,
    body: Given<'_>,
) -> Result<Scored, Problem> {
    let metadata = scorer.metadata();
    let start = Instant::now();
    let limits = settings.limits;
    let at_once = decoding.read_at_once(body.bytes(), call.declared, &|body, declared, watch| {
        decode(limits, metadata, body, declared, watch)
    });
    let (body, mut held) = match at_once {
        Some(read) => read,
        // In boxes: what only large bodies and keys need would be copied with the future of every request.
        None => Box::pin(decode_apart(limits, decoding, scorer, call, body)).await?,
    };
    let body = body.map_err(|error| Problem::from_payload(error, limits.max_bytes))?;
    held.settle(scoring_bytes(body.bytes(), body.row_count(), metadata))?;
    let decoded = Instant::now();
    let decode = decoded - start;

    let Decoded {
        inputs,
        answer: form,
        by_position,
    } = match body {
        Body::Rows(decoded) => decoded,
        Body::Keys(keys) => Box::pin(fetch(limits, store, metadata, keys, &mut held)).await?,
    };
    let fetch = form.rows_are_stored().then(|| decoded.elapsed());
    let request = InferenceRequest {
        inputs,
        cache: call.cache,
        joint: call.joint.cloned(),
        text: TextOptions::default(),
    };
    let response = scorer.score(request).await.map_err(|error| {
        log_details(call.id, &error);
        Problem::from_scoring(error, &form)
    })?;

    let before = Before {
        decode,
        fetch,
        by_position,
    };
    let scored = answered(metadata, call, &form, &response, before, held)?;
    log(settings, call, &metadata.name, response.rows, &scored);
    Ok(scored)
}

/// What is known of a body before its scores.
struct Before {
    decode: Duration,
    fetch: Option<Duration>,
    by_position: bool,
}

/// Writes the answer; `held` is the memory of the body, and then that of the answer.
fn answered(
    metadata: &ModelMetadata,
    call: Call<'_>,
    form: &AnswerForm,
    response: &InferenceResponse,
    before: Before,
    mut held: Charge,
) -> Result<Scored, Problem> {
    let start = Instant::now();
    held.reach(wire::response_bytes(form, metadata, response))?;
    let answer = encode(form, metadata, call, response)?;
    held.settle(answer.body.len())?;
    let end = Instant::now();
    let times = Times {
        decode: before.decode,
        fetch: before.fetch,
        score: response.timings,
        encode: end - start,
        all: end - call.since,
    };
    let span = Span::current();
    if !span.is_disabled() {
        span.record("score.model", &metadata.name);
        span.record("score.rows", response.rows);
        span.record("score.cache", CacheStatus(response.cache).word());
    }
    Ok(Scored {
        answer,
        by_position: before.by_position,
        truncated: match metadata.text {
            Some(_) => truncated(response),
            None => 0,
        },
        cache: response.cache,
        times,
        held,
    })
}

/// How many texts a text model has cut.
pub(crate) fn truncated(response: &InferenceResponse) -> usize {
    let output = response.outputs.iter().find(|o| o.name == TRUNCATED);
    match output.map(|output| output.tensor.data()) {
        Some(TensorData::Bool(cut)) => cut.iter().filter(|cut| **cut).count(),
        _ => 0,
    }
}

/// Reads the body of a request for texts, and the memory that it takes.
///
/// # Errors
/// [`Problem`] says what is wrong with the body.
pub(crate) async fn read_texts(
    (settings, decoding): (&Settings, &Decoding),
    take: &'static Take,
    call: Call<'_>,
    body: Given<'_>,
) -> Result<(TextRequest, Charge), Problem> {
    let limits = settings.limits;
    let read = move |body: &[u8], declared: Declared<'_>, watch: &dyn Watch| {
        take.read(body, declared, limits, watch)
    };
    let (read, mut held) = decoding.read(body, call.declared, read).await?;
    let request = read.map_err(|error| Problem::from_texts(error, limits.max_bytes))?;
    held.settle(request.bytes())?;
    Ok((request, held))
}

/// Scores texts; what the model gives stays as it is stored.
///
/// # Errors
/// As [`score`].
pub(crate) async fn score_as_stored(
    scorer: &Scorer,
    call: Call<'_>,
    inputs: Vec<NamedTensor>,
    text: TextOptions,
) -> Result<InferenceResponse, Problem> {
    let request = of_texts(call, inputs, text);
    let response = scorer.score_as_stored(request).await;
    let response = response.map_err(|error| failed(call, error))?;
    told(scorer, call, response.rows, response.cache);
    Ok(response)
}

/// The same for results of different sizes.
///
/// # Errors
/// As [`score`].
pub(crate) async fn score_each(
    scorer: &Scorer,
    call: Call<'_>,
    inputs: Vec<NamedTensor>,
    text: TextOptions,
) -> Result<EachResponse, Problem> {
    let response = scorer.score_each(of_texts(call, inputs, text)).await;
    let response = response.map_err(|error| failed(call, error))?;
    told(scorer, call, response.texts.len(), response.cache);
    Ok(response)
}

fn of_texts(call: Call<'_>, inputs: Vec<NamedTensor>, text: TextOptions) -> InferenceRequest {
    InferenceRequest {
        inputs,
        cache: call.cache,
        joint: None,
        text,
    }
}

fn failed(call: Call<'_>, error: ScoreError) -> Problem {
    log_details(call.id, &error);
    Problem::from(error)
}

/// What the span and the log are told of texts that were scored.
fn told(scorer: &Scorer, call: Call<'_>, rows: usize, outcome: CacheOutcome) {
    let (model, cache) = (&scorer.metadata().name, CacheStatus(outcome));
    let span = Span::current();
    span.record("score.model", model);
    span.record("score.rows", rows);
    span.record("score.cache", cache.word());
    debug!(id = call.id, model, status = 200, rows, %cache, ms = millis(call.since.elapsed()), "scored");
}

/// The tensors of a body, or the keys of its rows.
fn decode(
    limits: Limits,
    metadata: &ModelMetadata,
    body: &[u8],
    declared: Declared<'_>,
    watch: &dyn Watch,
) -> Result<Body, PayloadError> {
    info_span!("decode", score.bytes = body.len())
        .in_scope(|| wire::decode_watched(body, declared, metadata, limits, watch))
}

/// The same, on a thread of its own, and the memory that it took.
async fn decode_apart(
    limits: Limits,
    decoding: &Decoding,
    scorer: &Arc<Scorer>,
    call: Call<'_>,
    body: Given<'_>,
) -> Result<(Result<Body, PayloadError>, Charge), Problem> {
    let scorer = scorer.clone();
    let read = move |body: &[u8], declared: Declared<'_>, watch: &dyn Watch| {
        decode(limits, scorer.metadata(), body, declared, watch)
    };
    decoding.read_apart(body, call.declared, read).await
}

/// The rows that a body only names, from the store, and memory for what scoring makes of them.
async fn fetch(
    limits: Limits,
    store: Option<&FeatureStore>,
    metadata: &ModelMetadata,
    keys: Vec<String>,
    held: &mut Charge,
) -> Result<Decoded, Problem> {
    let mut refusal = None;
    let mut take = |bytes| {
        let taken = held.reach(bytes);
        taken.map_err(|problem| refusal = Some(problem)).is_ok()
    };
    let fetched = features::fetch(store, limits, metadata, &keys, &mut take).await;
    let decoded = match (fetched, refusal) {
        (Err(_), Some(refusal)) => return Err(refusal),
        (fetched, _) => fetched?,
    };
    held.settle(scoring_bytes(
        decoded.bytes(),
        decoded.row_count(),
        metadata,
    ))?;
    Ok(decoded)
}

/// What a row costs beside its values where rows are cut apart: its key, what is looked up and what is stored for it.
const ROW_BYTES: usize = 512;

/// What the tensors of a body take while it is scored: themselves, a copy of the rows that are not remembered, and a copy of those that share
/// a run.
fn scoring_bytes(bytes: usize, rows: usize, metadata: &ModelMetadata) -> usize {
    const COPIES: usize = 3;
    let rows = match metadata.character.rows.are_cut_apart() {
        true => rows,
        false => 0,
    };
    let tensors = bytes.saturating_mul(COPIES);
    tensors.saturating_add(rows.saturating_mul(ROW_BYTES))
}

/// The answer in the dialect of its body.
fn encode(
    form: &AnswerForm,
    metadata: &ModelMetadata,
    call: Call<'_>,
    response: &InferenceResponse,
) -> Result<Encoded, Problem> {
    let elements: usize = response.outputs.iter().map(|o| o.tensor.data().len()).sum();
    let answer = info_span!("encode").in_scope(|| {
        blocking::apart_if(elements >= LARGE_ELEMENTS, || {
            wire::encode(form, call.accept, metadata, response)
        })
    });
    let answer = answer.map_err(|error| {
        log_details(call.id, &error);
        Problem::from(error)
    })?;
    if call.json_only && answer.content_type != "application/json" {
        return Err(Problem::bad_request(
            "a binary answer cannot travel in an envelope; ask for JSON, or switch request forwarding on",
        ));
    }
    Ok(answer)
}

/// At `debug`, because the host forwards every line of `info` to Application Insights, where each line costs money; at `info`
/// with all steps where it took long.
fn log(settings: &Settings, call: Call<'_>, model: &str, rows: usize, scored: &Scored) {
    macro_rules! line {
        ($level:ident, $($last:tt)+) => {
            $level!(
                id = call.id,
                index = call.index,
                model,
                status = 200,
                rows,
                cache = %CacheStatus(scored.cache),
                columns = scored.by_position.then_some("by position"),
                ms = millis(scored.times.all),
                $($last)+
            )
        };
    }
    if scored.times.all < settings.log_slow {
        line!(debug, "scored");
        return;
    }
    let steps = scored.times.millis();
    let steps: Vec<String> = steps.map(|(name, ms)| format!("{name}={ms}")).collect();
    line!(info, steps_ms = steps.join(" "), "scored slowly");
}

/// Milliseconds, as the log and answers have them; thousandths are as much as a clock tells.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// What the sender is not told belongs in the log.
fn log_details(id: &str, error: &ScoreError) {
    if let ScoreError::Internal(_) | ScoreError::NoScore { .. } = error {
        let reason = error.to_string();
        error!(id, reason, "scoring failed");
    }
}

/// How much was remembered, in words: `HIT`, `MISS`, `PARTIAL; hits=48, rows=64` or `BYPASS`.
pub(crate) struct CacheStatus(pub(crate) CacheOutcome);

impl CacheStatus {
    /// The first word.
    pub(crate) fn word(&self) -> &'static str {
        match self.0 {
            CacheOutcome::Bypass => "BYPASS",
            CacheOutcome::Asked { hits, rows } if hits == rows => "HIT",
            CacheOutcome::Asked { hits: 0, .. } => "MISS",
            CacheOutcome::Asked { .. } => "PARTIAL",
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self.0 {
            CacheOutcome::Asked { hits, rows } if hits != rows && hits != 0 => {
                write!(f, "; hits={hits}, rows={rows}")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_status_tells_hits_misses_and_parts() {
        let text = |hits, rows| CacheStatus(CacheOutcome::Asked { hits, rows }).to_string();
        assert_eq!(text(64, 64), "HIT");
        assert_eq!(text(0, 64), "MISS");
        assert_eq!(text(48, 64), "PARTIAL; hits=48, rows=64");
        assert_eq!(CacheStatus(CacheOutcome::Bypass).to_string(), "BYPASS");
    }
}
