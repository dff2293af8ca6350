//! The whole way of one request, in reading order.

mod recall;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use crate::batch::{BatchLimits, BatchStats, Batcher, Ran};
use crate::cache::{Memo, ModelDigest};
use crate::cost::{Available, CachePolicy, CostFigures, Costs, Decision, Plan};
use crate::error::{LoadError, ScoreError};
use crate::histogram::Times;
use crate::model::{
    Character, FeatureFormat, Model, ModelFolder, ModelOptions, OnnxModel, Reading, Runtime,
    check_inputs, examine,
};
use crate::request::{CacheOutcome, CacheUse, InferenceRequest, InferenceResponse, Timings};
use crate::rows::{Rows, Units};
use crate::signature::{Arranged, ModelSignature};
use crate::tensor::{ElementType, NamedTensor, Tensor, TensorData};
use recall::Recall;

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
}

/// What is known about a loaded model.
#[derive(Debug, Clone)]
pub struct ModelMetadata {
    /// The name callers use.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Inputs and outputs.
    pub signature: ModelSignature,
    /// The outputs to answer with unless the caller asks for others, as indices into [`ModelSignature::declared`].
    pub default_outputs: Vec<usize>,
    /// What the probe found or `model.toml` says.
    pub character: Character,
    /// Whether results are remembered.
    pub memoize: bool,
    /// What `model.toml` says.
    pub options: ModelOptions,
    /// Digest of the model's files and of the runtime.
    pub digest: ModelDigest,
    /// How long loading and probing took, whose runs are the first ones of a session.
    pub load_time: Duration,
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
    /// How long scoring took from end to end, as the sender of the request sees it.
    pub requests: Times,
    /// What its sessions did.
    pub batch: BatchStats,
}

/// A loaded model with its cache: bytes of tensors in, tensors out.
pub struct Scorer {
    metadata: ModelMetadata,
    options: ScorerOptions,
    batcher: Batcher,
    memo: Arc<Memo>,
    costs: Costs,
    stats: ScorerStats,
}

impl Scorer {
    /// Loads a model, finds out its character and starts its threads. Blocks; not for an async thread.
    ///
    /// # Errors
    /// If the model cannot be loaded or `model.toml` names an output it does not have.
    pub fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        options: ScorerOptions,
        memo: Arc<Memo>,
    ) -> Result<Self, LoadError> {
        let start = Instant::now();
        let (sessions, threads) = sessions_and_threads(folder.bytes, options);
        let open = || OnnxModel::load(runtime, folder, threads);
        let mut first = open()?;
        let mut signature = first.signature().clone();
        let one_row_only = signature.takes_one_row_only();
        if one_row_only {
            signature.free_rows();
        }
        let default_outputs = choose_outputs(folder, &signature)?;
        check_inputs(&folder.options, &signature)
            .map_err(|reason| folder.wrong_options(&reason))?;
        if let Some(reason) = features_unfit(&folder.options, &signature) {
            return Err(folder.wrong_options(&format!("features: {reason}")));
        }
        let character = character(folder, &mut first, &signature, one_row_only)?;
        let mut models: Vec<Box<dyn Model>> = vec![Box::new(first)];
        for _ in 1..sessions {
            models.push(Box::new(open()?));
        }
        let metadata = ModelMetadata {
            name: folder.name.clone(),
            version: folder.version.clone(),
            options: folder.options_for(&signature),
            signature,
            default_outputs,
            memoize: folder
                .options
                .memoize
                .unwrap_or(character.deterministic == Some(true)),
            digest: ModelDigest::new(&folder.digest, runtime.build()).with_rows(character.rows),
            load_time: start.elapsed(),
            character,
        };
        Self::start(metadata, models, options, memo).map_err(|error| LoadError::Model {
            path: folder.file.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// Starts the threads of sessions that are loaded already.
    pub(crate) fn start(
        metadata: ModelMetadata,
        models: Vec<Box<dyn Model>>,
        options: ScorerOptions,
        memo: Arc<Memo>,
    ) -> std::io::Result<Self> {
        let rows = metadata.character.rows;
        let stats = ScorerStats::default();
        let sessions = stats.batch.clone();
        let batcher = Batcher::start(&metadata.name, models, rows, options.batch, sessions)?;
        let costs = Costs::new(match metadata.memoize {
            true => options.cache,
            false => CachePolicy::Off,
        });
        Ok(Self {
            metadata,
            options,
            batcher,
            memo,
            costs,
            stats,
        })
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
        self.batcher.waiting_rows()
    }

    /// Scores a request: all rows or none.
    ///
    /// # Errors
    /// [`ScoreError`] says whether the request, the load or this program is at fault.
    pub async fn score(&self, request: InferenceRequest) -> Result<InferenceResponse, ScoreError> {
        let work = self.score_in_time(request);
        match tokio::time::timeout(self.options.timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ScoreError::TimedOut(self.options.timeout)),
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
        let remember = self.metadata.memoize
            && self.options.cache != CachePolicy::Off
            && self.memo.is_available();
        let cache = if remember {
            request.cache
        } else {
            CacheUse::Bypass
        };
        let decision = if cache == CacheUse::Normal && rows > 0 {
            self.decide(&inputs, rows, independent)
        } else {
            Decision::default()
        };
        let tiers = decision.plan.tiers();
        let tiers = tiers.filter(|_| cache != CacheUse::Bypass && rows > 0);
        // A fresh result replaces the stored one under both keys, so that the next look-up finds it by row or by request.
        let renewed = tiers.filter(|_| {
            cache == CacheUse::Refresh
                && self.options.cache == CachePolicy::Auto
                && independent
                && rows > 1
        });
        let renewed =
            renewed.map(|tiers| (Units::whole(self.metadata.digest, &inputs, rows), tiers));
        let scored = if let Some(tiers) = tiers {
            let start = Instant::now();
            let units = if independent && matches!(decision.plan, Plan::Rows(_)) {
                Units::of_rows(self.metadata.digest, &inputs.tensors, rows)
            } else {
                Units::whole(self.metadata.digest, &inputs, rows)
            };
            let recall = match cache {
                CacheUse::Normal => {
                    let joint = request.joint.as_ref();
                    self.recall(units, tiers, &decision, start, joint).await
                }
                CacheUse::Refresh | CacheUse::Bypass => Recall::nothing(units, tiers, start),
            };
            // A request for a fresh result does not join the computation of another.
            let sharing = cache == CacheUse::Normal;
            self.score_units(inputs, recall, sharing).await?
        } else {
            self.compute_all(inputs, rows).await?
        };
        if let Some((whole, tiers)) = renewed
            && let Some(payloads) = whole.payloads(&scored.outputs, 1)
        {
            let entries = whole.keys.into_iter().zip(payloads).collect();
            self.memo
                .remember(entries, self.metadata.options.ttl, tiers);
        }
        self.stats.rows.inc_by(rows as u64);
        let names = self.metadata.signature.outputs.iter();
        Ok(InferenceResponse {
            outputs: names
                .zip(scored.outputs)
                .map(|(spec, tensor)| NamedTensor {
                    name: spec.name.clone(),
                    tensor,
                })
                .collect(),
            rows,
            cache: scored.cache,
            timings: scored.timings,
        })
    }

    fn decide(&self, inputs: &Arranged, rows: usize, independent: bool) -> Decision {
        let available = Available {
            local: self.memo.has_local(),
            remote: self.memo.remote_is_up() == Some(true),
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
        let mut rows = None;
        for (spec, tensor) in specs.iter().zip(&inputs.tensors) {
            let here = tensor.rows().unwrap_or(1);
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
        let limit = self
            .metadata
            .options
            .max_rows
            .unwrap_or(self.options.max_rows);
        if rows > limit {
            return Err(too_many_rows(rows, limit));
        }
        Ok(rows)
    }

    async fn run(&self, inputs: Arranged, rows: usize) -> Result<Ran, ScoreError> {
        let start = Instant::now();
        let ran = self.batcher.run(inputs, rows).await?;
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

/// From this size on a model has one session only: each has a copy of the weights.
const LARGE_MODEL_BYTES: u64 = 64 << 20;

/// How many sessions a model gets and on how many threads each computes. Small models gain nothing from a second thread
/// inside a run.
fn sessions_and_threads(model_bytes: u64, options: ScorerOptions) -> (usize, usize) {
    match options.sessions {
        Some(sessions) => (sessions.max(1), 1),
        None if model_bytes >= LARGE_MODEL_BYTES => (1, options.cores.max(1)),
        None => (options.cores.max(1), 1),
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

/// How a model's rows are treated, and whether it always says the same. Reads the ONNX file and runs the model.
///
/// # Errors
/// [`LoadError::Options`] if `model.toml` wants its rows treated in a way that the model does not allow.
fn character(
    folder: &ModelFolder,
    model: &mut OnnxModel,
    signature: &ModelSignature,
    one_row_only: bool,
) -> Result<Character, LoadError> {
    let reading = match std::fs::read(&folder.file) {
        Ok(file) => Reading::of(file, &signature.inputs, !signature.optional.is_empty()),
        Err(_) => Reading::nothing(signature.inputs.len()),
    };
    let found = examine(model, signature, one_row_only, &reading);
    let Some(rows) = folder.options.rows() else {
        return Ok(found);
    };
    match rows_unfit(rows, signature, one_row_only) {
        Some(reason) => Err(folder.wrong_options(&format!("rows: {reason}"))),
        None => Ok(found.declared(rows, &reading.proof)),
    }
}

/// Why the rows of a model cannot be treated as `model.toml` says.
fn rows_unfit(rows: Rows, signature: &ModelSignature, one_row_only: bool) -> Option<&'static str> {
    match rows {
        Rows::Together => None,
        Rows::Independent | Rows::Alone if !signature.has_dynamic_rows() => Some(
            "they cannot be cut apart, since axis 0 is not free in every input and output; remove the line",
        ),
        Rows::Independent if one_row_only => {
            Some("the model takes one row at a time; write \"alone\" or remove the line")
        }
        Rows::Independent | Rows::Alone => None,
    }
}

/// Why rows by key cannot be had for this model in that format.
fn features_unfit(options: &ModelOptions, signature: &ModelSignature) -> Option<String> {
    let format = options.features.as_ref()?.format;
    let inputs = &signature.inputs;
    if inputs.is_empty() {
        return Some("the model has no input".to_owned());
    }
    if let Some(spec) = inputs.iter().find(|spec| spec.dims().is_empty()) {
        let why = match spec.shape {
            Some(_) => "has no rows",
            None => "does not declare what a row is",
        };
        return Some(format!("input {:?} {why}; it is {spec}", spec.name));
    }
    if format == FeatureFormat::Json {
        return None;
    }
    if format == FeatureFormat::Hash {
        let unnamed = inputs
            .iter()
            .find(|spec| options.fields_of(spec).is_none())?;
        let name = &unnamed.name;
        return Some(format!(
            "hash needs a name for each value of a row, and input {name:?} is {unnamed}; name its columns: columns = [...] \
             in the table [inputs.{name}]"
        ));
    }
    let [spec] = &inputs[..] else {
        let takes = signature.describe_inputs();
        let format = format.as_str();
        return Some(format!(
            "{format} holds one input, and the model takes {takes}; use json"
        ));
    };
    let lengths = &spec.signed_shape()[1..];
    let fits = match format {
        FeatureFormat::Npy => !matches!(
            spec.element_type,
            ElementType::BFloat16 | ElementType::String
        ),
        // The number of bytes tells the length of one axis, not of several.
        _ => spec.element_type.size().is_some() && lengths.iter().filter(|n| **n < 0).count() < 2,
    };
    (!fits).then(|| format!("{} cannot hold a row of {spec}; use json", format.as_str()))
}

fn choose_outputs(
    folder: &ModelFolder,
    signature: &ModelSignature,
) -> Result<Vec<usize>, LoadError> {
    let Some(names) = &folder.options.outputs else {
        return Ok((0..signature.declared.len()).collect());
    };
    let by_name: BTreeMap<&str, usize> = signature
        .declared
        .iter()
        .enumerate()
        .map(|(index, spec)| (spec.name.as_str(), index))
        .collect();
    if names.is_empty() {
        return Err(folder.wrong_options("outputs: name at least one"));
    }
    if let Some((index, name)) = names
        .iter()
        .enumerate()
        .find(|(i, n)| names[..*i].contains(n))
    {
        return Err(folder.wrong_options(&format!("outputs: {name:?} is named again at {index}")));
    }
    names
        .iter()
        .map(|name| {
            by_name.get(name.as_str()).copied().ok_or_else(|| {
                let known: Vec<&str> = by_name.keys().copied().collect();
                folder.wrong_options(&format!(
                    "outputs: the model has no output {name:?}; it has {}",
                    known.join(", ")
                ))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
