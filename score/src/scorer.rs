//! The whole way of one request, in reading order.

mod each;
mod load;
mod metadata;
mod recall;
mod samples;
mod texts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use crate::batch::{BatchLimits, BatchStats, Batcher, Ran, TextBatcher};
use crate::cache::Cache;
use crate::cost::{Available, CachePolicy, CostFigures, Costs, Decision, Plan};
use crate::error::ScoreError;
use crate::histogram::Times;
use crate::model::{Model, OpenSession, TextModel, TextSession};
use crate::request::{CacheOutcome, CacheUse, InferenceRequest, InferenceResponse, Timings};
use crate::rows::Units;
use crate::signature::{Arranged, ModelSignature, TensorSpec};
use crate::tensor::{NamedTensor, Tensor, TensorData};
use crate::text::{QUERY, TextOptions};
pub use each::{EachResponse, StoredText};
pub use load::check_options;
pub use metadata::ModelMetadata;
pub use samples::SampleReader;

/// How a model is run.
#[derive(Debug, Clone, Copy)]
pub struct ScorerOptions {
    /// Sessions, each of which computes one run at a time; `None` for as many as suit the model's size.
    pub sessions: Option<usize>,
    /// Processor cores to use.
    pub cores: usize,
    /// Rows one request may hold.
    pub max_rows: usize,
    /// How long a request may wait and compute.
    pub timeout: Duration,
    /// How work waits and travels.
    pub batch: BatchLimits,
    /// When remembered results are looked up.
    pub cache: CachePolicy,
    /// What reads the sample rows beside a model, so that it is tried with them; without it they have no effect.
    pub samples: Option<SampleReader>,
}

/// What a model did so far. Cloning shares the counters.
#[derive(Debug, Clone, Default)]
pub struct ScorerStats {
    /// Rows of all requests that were scored.
    pub rows: Counter,
    /// Rows the model itself computed.
    pub computed_rows: Counter,
    /// Results that could not be put together from remembered parts and were computed as a whole.
    pub recomputed: Counter,
    /// How long requests, messages and blobs took from end to end, as their senders see it.
    pub requests: Times,
    /// The same of those that got no result.
    pub refused: Times,
    /// What its sessions did.
    pub batch: BatchStats,
}

/// A loaded model with its cache: bytes of tensors in, tensors out.
pub struct Scorer {
    metadata: ModelMetadata,
    options: ScorerOptions,
    engine: Engine,
    /// The outputs as they are remembered.
    stored: Vec<TensorSpec>,
    cache: Arc<Cache>,
    costs: Costs,
    stats: ScorerStats,
}

/// What computes.
enum Engine {
    /// The sessions of a model of tensors.
    Tensors(Batcher),
    /// Those of a text model.
    Texts(TextBatcher),
}

impl Scorer {
    /// Starts the threads of sessions that are loaded already, one for each of `models`, which are sessions of one model.
    /// The threads end when this is dropped.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn start(
        metadata: ModelMetadata,
        models: Vec<Box<dyn Model>>,
        options: ScorerOptions,
        cache: Arc<Cache>,
    ) -> std::io::Result<Self> {
        let rows = metadata.character.rows;
        let stats = ScorerStats::default();
        let sessions = stats.batch.clone();
        let batcher = Batcher::start(&metadata.name, models, rows, options.batch, sessions)?;
        Ok(Self::with_engine(
            metadata,
            Engine::Tensors(batcher),
            options,
            cache,
            stats,
        ))
    }

    /// The same for the sessions of a text model, which share `model`: the first one, and those that are opened behind the
    /// first answer. `metadata` has to say what is known of the texts.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn start_texts(
        metadata: ModelMetadata,
        model: Arc<dyn TextModel>,
        first: Box<dyn TextSession>,
        later: Vec<OpenSession>,
        options: ScorerOptions,
        cache: Arc<Cache>,
    ) -> std::io::Result<Self> {
        let stats = ScorerStats::default();
        let (name, sessions_did) = (&metadata.name, stats.batch.clone());
        let batcher = TextBatcher::start(name, model, first, later, options.batch, sessions_did)?;
        Ok(Self::with_engine(
            metadata,
            Engine::Texts(batcher),
            options,
            cache,
            stats,
        ))
    }

    fn with_engine(
        metadata: ModelMetadata,
        engine: Engine,
        options: ScorerOptions,
        cache: Arc<Cache>,
        stats: ScorerStats,
    ) -> Self {
        let costs = Costs::new(match metadata.memoize {
            true => options.cache,
            false => CachePolicy::Off,
        });
        let outputs = &metadata.signature.outputs;
        let stored = match &metadata.text {
            Some(text) => text.stored_outputs(outputs),
            None => outputs.clone(),
        };
        Self {
            metadata,
            options,
            engine,
            stored,
            cache,
            costs,
            stats,
        }
    }

    /// What is known about the model.
    pub fn metadata(&self) -> &ModelMetadata {
        &self.metadata
    }

    /// What the model did so far.
    pub fn stats(&self) -> &ScorerStats {
        &self.stats
    }

    /// When remembered results are looked up.
    pub fn cache_policy(&self) -> CachePolicy {
        self.options.cache
    }

    /// What rows and look-ups have cost so far.
    pub fn costs(&self) -> CostFigures {
        self.costs.figures()
    }

    /// Rows that wait for a session or are in one.
    pub fn waiting_rows(&self) -> usize {
        match &self.engine {
            Engine::Tensors(batcher) => batcher.waiting_rows(),
            Engine::Texts(batcher) => batcher.waiting_texts(),
        }
    }

    /// Scores a request: all rows or none.
    ///
    /// # Errors
    /// [`ScoreError`] says whether the request, the load or this program is at fault.
    pub async fn score(&self, request: InferenceRequest) -> Result<InferenceResponse, ScoreError> {
        let Some(text) = &self.metadata.text else {
            let mut response = self.score_as_stored(request).await?;
            let ModelMetadata {
                signature, options, ..
            } = &self.metadata;
            signature.finish(options, &mut response.outputs);
            return Ok(response);
        };
        if !text.task.has_one_shape() {
            return Box::pin(self.score_in_json(text, request)).await;
        }
        let mut response = self.score_as_stored(request).await?;
        let finished = text.finish(response.outputs);
        let unlike = || ScoreError::Internal("stored results are of another model".to_owned());
        response.outputs = finished.ok_or_else(unlike)?;
        Ok(response)
    }

    /// The same with the vectors or logits of a text model as they are stored, for answers in another form than the usual one.
    ///
    /// # Errors
    /// As [`Scorer::score`]; also for a text model whose results have [different shapes](crate::Task::has_one_shape).
    pub async fn score_as_stored(
        &self,
        request: InferenceRequest,
    ) -> Result<InferenceResponse, ScoreError> {
        let timeout = self.options.timeout;
        match &self.engine {
            Engine::Tensors(_) => {
                let work = self.score_in_time(request);
                let outcome = tokio::time::timeout(timeout, work).await;
                outcome.unwrap_or(Err(ScoreError::TimedOut(timeout)))
            }
            Engine::Texts(batcher) => {
                let done = self.score_texts_in_time(batcher, request).await?;
                self.stacked(done)
            }
        }
    }

    async fn score_in_time(
        &self,
        request: InferenceRequest,
    ) -> Result<InferenceResponse, ScoreError> {
        let inputs = self.metadata.signature.arrange(request.inputs)?;
        refuse_nul(&self.metadata.signature, &inputs)?;
        let independent = self.is_cuttable(&inputs);
        let rows = self.count_rows(&inputs, independent)?;
        let cache = match self.may_remember() {
            true => request.cache,
            false => CacheUse::Bypass,
        };
        let decision = match cache {
            CacheUse::Normal if rows > 0 => self.decide(&inputs, rows, independent),
            _ => Decision::default(),
        };
        let tiers = decision.plan.tiers();
        let tiers = tiers.filter(|_| cache != CacheUse::Bypass && rows > 0);
        // A caller who asks for a fresh result gets it the next time too, whichever way it is looked for.
        let refreshed = tiers.filter(|_| {
            cache == CacheUse::Refresh
                && self.options.cache == CachePolicy::Auto
                && independent
                && rows > 1
        });
        let refreshed = refreshed.map(|tiers| (self.units(&inputs, rows, false), tiers));
        let scored = if let Some(tiers) = tiers {
            let start = Instant::now();
            let by_rows = independent && matches!(decision.plan, Plan::Rows(_));
            let units = self.units(&inputs, rows, by_rows);
            let joint = request.joint.as_ref();
            let recall = self
                .recall(cache, units, tiers, &decision, start, joint)
                .await;
            // A caller who wants it fresh does not take it from other requests.
            let sharing = cache == CacheUse::Normal;
            self.score_units(inputs, recall, sharing).await?
        } else {
            self.compute_all(inputs, rows).await?
        };
        if let Some((whole, tiers)) = refreshed
            && let Some(payloads) = whole.payloads(&scored.outputs, 1)
        {
            let entries = whole.keys.into_iter().zip(payloads).collect();
            self.cache
                .remember(entries, self.metadata.options.ttl, tiers);
        }
        self.stats.rows.inc_by(rows as u64);
        Ok(InferenceResponse {
            outputs: self.named(scored.outputs),
            rows,
            cache: scored.cache,
            timings: scored.timings,
        })
    }

    /// Whether results of this model are looked up and remembered at present.
    fn may_remember(&self) -> bool {
        self.metadata.memoize && self.options.cache != CachePolicy::Off && self.cache.is_available()
    }

    /// The request in one unit, or one for each row.
    fn units(&self, inputs: &Arranged, rows: usize, by_rows: bool) -> Units {
        let digest = self.metadata.digest;
        match by_rows {
            true => Units::of_rows(digest, &inputs.tensors, &TextOptions::default(), rows),
            false => Units::whole(digest, inputs, rows),
        }
    }

    fn named(&self, outputs: Vec<Tensor>) -> Vec<NamedTensor> {
        let named = self
            .stored
            .iter()
            .zip(outputs)
            .map(|(spec, tensor)| NamedTensor {
                name: spec.name.clone(),
                tensor,
            });
        named.collect()
    }

    fn decide(&self, inputs: &Arranged, rows: usize, independent: bool) -> Decision {
        let available = Available {
            local: self.cache.has_local(),
            remote: self.cache.remote_is_up() == Some(true),
        };
        self.costs
            .plan(&inputs.tensors, independent.then_some(rows), available)
    }

    /// Whether the request's rows may be cut apart. An optional input has no rows, so with one they may not.
    fn is_cuttable(&self, inputs: &Arranged) -> bool {
        self.metadata.character.rows.are_cut_apart() && inputs.given.is_empty()
    }

    /// Rows for limits, queues and metrics: the length of axis 0, or 1 where rows belong together.
    fn count_rows(&self, inputs: &Arranged, independent: bool) -> Result<usize, ScoreError> {
        if !independent {
            let most = inputs
                .tensors
                .iter()
                .filter_map(Tensor::rows)
                .max()
                .unwrap_or(1);
            return match self.metadata.options.max_rows {
                Some(limit) if most > limit => Err(too_many_rows(most, limit)),
                _ => Ok(1),
            };
        }
        let specs = &self.metadata.signature.inputs;
        let takes_pairs = self.metadata.text.as_ref().is_some_and(|text| text.pairs);
        let mut rows = None;
        for (spec, tensor) in specs.iter().zip(&inputs.tensors) {
            let here = tensor.rows().unwrap_or(1);
            if takes_pairs && spec.name == QUERY && here == 1 {
                // It stands for all rows.
                continue;
            }
            match rows {
                None => rows = Some((&spec.name, here)),
                Some((_, before)) if before == here => {}
                Some((name, before)) => {
                    return Err(ScoreError::invalid(
                        "inputs",
                        format!(
                            "all inputs must have as many rows: {name:?} has {before}, {:?} has {here}",
                            spec.name
                        ),
                    ));
                }
            }
        }
        let rows = rows.map_or(1, |(_, rows)| rows);
        let limit = self.row_limit();
        if rows > limit {
            return Err(self.too_many_rows(rows, limit));
        }
        Ok(rows)
    }

    /// Rows that one request may have.
    fn row_limit(&self) -> usize {
        let general = self.options.max_rows;
        let texts = self.metadata.text.as_ref().map(|text| text.max_texts);
        let own = self
            .metadata
            .options
            .max_rows
            .or(texts.map(|most| most.min(general)));
        own.unwrap_or(general)
    }

    fn too_many_rows(&self, rows: usize, limit: usize) -> ScoreError {
        match self.metadata.text {
            None => too_many_rows(rows, limit),
            // Each API has a name of its own for the member with the texts.
            Some(_) => ScoreError::InvalidInput {
                target: None,
                message: format!(
                    "{rows} texts in one request; at most {limit} are accepted: send them in several requests"
                ),
            },
        }
    }

    async fn run(&self, inputs: Arranged, rows: usize) -> Result<Ran, ScoreError> {
        let start = Instant::now();
        let Engine::Tensors(batcher) = &self.engine else {
            return Err(ScoreError::Internal("texts have no tensors".to_owned()));
        };
        let ran = batcher.run(inputs, rows).await?;
        self.costs.ran(ran.rows, ran.infer, start.elapsed());
        self.stats.computed_rows.inc_by(rows as u64);
        Ok(ran)
    }

    async fn compute_all(&self, inputs: Arranged, rows: usize) -> Result<Scored, ScoreError> {
        let ran = self.run(inputs, rows).await?;
        Ok(Scored {
            timings: Timings::default().and(&ran),
            outputs: ran.outputs,
            cache: CacheOutcome::Bypass,
        })
    }
}

fn too_many_rows(rows: usize, limit: usize) -> ScoreError {
    let message = format!("{rows} rows in one request; at most {limit} are accepted");
    ScoreError::invalid("inputs", message)
}

struct Scored {
    outputs: Vec<Tensor>,
    cache: CacheOutcome,
    timings: Timings,
}

impl Timings {
    /// With those of a run on top.
    fn and(self, ran: &Ran) -> Self {
        Self {
            cache: self.cache,
            queue: self.queue + ran.queue,
            infer: self.infer + ran.infer,
        }
    }
}

/// The runtime ends a string at a NUL: what follows would be lost without a word.
fn refuse_nul(signature: &ModelSignature, inputs: &Arranged) -> Result<(), ScoreError> {
    let optional = inputs.given.iter().map(|index| &signature.optional[*index]);
    let specs = signature.inputs.iter().chain(optional);
    for (spec, tensor) in specs.zip(&inputs.tensors) {
        if let TensorData::String(values) = tensor.data()
            && let Some(position) = values.iter().position(|text| text.contains('\0'))
        {
            let message = format!(
                "input {:?}: element {position} holds a NUL character, which the model cannot receive",
                spec.name
            );
            return Err(ScoreError::invalid("inputs", message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
