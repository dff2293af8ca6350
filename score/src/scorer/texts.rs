//! Scoring of texts: each is remembered by itself, and stored as soon as its run ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::recall::{Recall, arrived, fail, land};
use super::{Engine, Scorer};
use crate::batch::{RanTexts, TextBatcher, TextResults, refusal};
use crate::cache::encode_row;
use crate::cost::{Decision, Plan};
use crate::error::ScoreError;
use crate::model::{Passage, Token, TokenizeError, Wanted};
use crate::request::{CacheOutcome, CacheUse, InferenceRequest, InferenceResponse, Timings};
use crate::rows::Units;
use crate::signature::Arranged;
use crate::tensor::{Tensor, TensorData};
use crate::text::{QUERY, TextOptions};

/// Numbers of token vectors in one answer: 32 MiB.
const MAX_TOKEN_NUMBERS: usize = 8 << 20;
/// Bytes of texts that one request may have taken apart into tokens: a tenth of a second's work.
const MAX_TOKENIZED_BYTES: usize = 256 << 10;
/// Bytes of a query, counted for each text that it stands for: 30 ms of digests.
const MAX_REPEATED_BYTES: usize = 64 << 20;
/// Ids that one request may have turned into texts.
const MAX_DECODED_IDS: usize = 256 << 10;

/// How far the texts of a request are, for the case that its time ends.
#[derive(Debug, Default)]
struct Progress {
    texts: AtomicUsize,
    stored: AtomicUsize,
}

impl Progress {
    fn begin(&self, texts: usize, known: usize) {
        self.texts.store(texts, Ordering::Relaxed);
        self.stored.store(known, Ordering::Relaxed);
    }

    /// What the caller hears when the time is over.
    fn timed_out(&self, timeout: Duration) -> ScoreError {
        match self.stored.load(Ordering::Relaxed) {
            0 => ScoreError::TimedOut(timeout),
            stored => ScoreError::TextsTimedOut {
                timeout,
                stored,
                texts: self.texts.load(Ordering::Relaxed),
            },
        }
    }
}

/// The texts of one request, and what it asks of them.
struct Texts<'a> {
    batcher: &'a TextBatcher,
    inputs: Arranged,
    options: TextOptions,
    progress: &'a Progress,
}

impl Texts<'_> {
    /// The texts of these rows; of a model that takes pairs, with the query of each.
    fn of_rows(&self, rows: impl Iterator<Item = Option<usize>>) -> Vec<Passage> {
        fn strings(input: Option<&Tensor>) -> &[String] {
            match input.map(Tensor::data) {
                Some(TensorData::String(texts)) => texts,
                _ => &[],
            }
        }
        let mut inputs = self.inputs.tensors.iter().rev();
        let (texts, queries) = (strings(inputs.next()), strings(inputs.next()));
        // One query for all rows is shared by them.
        let shared: Option<Arc<str>> = match queries {
            [one] => Some(one.as_str().into()),
            _ => None,
        };
        let query = |row: usize| Some(queries.get(row)?.as_str().into());
        let passage = |row: Option<usize>| Passage {
            query: shared.clone().or_else(|| query(row?)),
            text: row
                .and_then(|row| texts.get(row).cloned())
                .unwrap_or_default(),
        };
        rows.map(passage).collect()
    }
}

/// The results of a request's texts, before they are put together.
pub(super) struct Done {
    pub(super) rows: usize,
    pub(super) results: Results,
    pub(super) cache: CacheOutcome,
    pub(super) timings: Timings,
}

/// Where the results of texts lie.
pub(super) enum Results {
    /// Found or computed, and remembered.
    Remembered(Recall),
    /// Computed: for each text its tensors, of one row.
    Computed(Vec<Vec<Tensor>>),
}

impl Scorer {
    /// [`Scorer::score_texts`] within the time that a request may take.
    pub(super) async fn score_texts_in_time(
        &self,
        batcher: &TextBatcher,
        request: InferenceRequest,
    ) -> Result<Done, ScoreError> {
        let timeout = self.options.timeout;
        let progress = Progress::default();
        // In a box: the futures of other requests would be as large.
        let work = Box::pin(self.score_texts(batcher, request, &progress));
        let outcome = tokio::time::timeout(timeout, work).await;
        outcome.unwrap_or_else(|_| Err(progress.timed_out(timeout)))
    }

    /// The steps of [`Scorer::score`] for texts.
    async fn score_texts(
        &self,
        batcher: &TextBatcher,
        request: InferenceRequest,
        progress: &Progress,
    ) -> Result<Done, ScoreError> {
        let inputs = self.metadata.signature.arrange(request.inputs)?;
        let rows = self.count_rows(&inputs, true)?;
        refuse_long_query(&inputs, rows)?;
        let options = match &self.metadata.text {
            Some(known) => request.text.other_than(known),
            None => request.text,
        };
        let cache = match self.may_remember() {
            true => request.cache,
            false => CacheUse::Bypass,
        };
        let mut decision = match cache {
            CacheUse::Normal if rows > 0 => self.decide(&inputs, rows, true),
            _ => Decision::default(),
        };
        // A text is always found by itself, in any company.
        if let Plan::Request(tiers) = decision.plan {
            decision.plan = Plan::Rows(tiers);
        }
        let tiers = decision.plan.tiers();
        let tiers = tiers.filter(|_| cache != CacheUse::Bypass && rows > 0);
        let digest = self.metadata.digest;
        let start = Instant::now();
        let units = tiers.map(|_| Units::of_rows(digest, &inputs.tensors, &options, rows));
        let texts = Texts {
            batcher,
            inputs,
            options,
            progress,
        };
        let done = match (tiers, units) {
            (Some(tiers), Some(units)) => {
                let joint = request.joint.as_ref();
                let recall = self
                    .recall(cache, units, tiers, &decision, start, joint)
                    .await;
                // A caller who wants it fresh does not take it from other requests.
                let sharing = cache == CacheUse::Normal;
                self.score_remembered(&texts, recall, sharing).await?
            }
            _ => self.compute_unremembered(&texts, rows).await?,
        };
        self.stats.rows.inc_by(rows as u64);
        Ok(done)
    }

    async fn score_remembered(
        &self,
        texts: &Texts<'_>,
        mut recall: Recall,
        mut sharing: bool,
    ) -> Result<Done, ScoreError> {
        let mut missing = recall.missing();
        let all = recall.units.keys.len();
        texts.progress.begin(all, all - missing.len());
        while !missing.is_empty() {
            let shares = self.share(&mut recall, missing, sharing);
            if !shares.mine.is_empty() {
                let computed = self.compute_texts(texts, &mut recall, &shares.mine).await;
                if let Err(error) = computed {
                    fail(shares.lead);
                    return Err(error);
                }
            }
            land(shares.lead, &recall.found);
            if !shares.others.is_empty() {
                sharing &= arrived(shares.others, &mut recall).await;
            }
            missing = recall.missing();
        }
        Ok(Done {
            rows: recall.units.rows(),
            cache: recall.outcome(),
            timings: recall.timings,
            results: Results::Remembered(recall),
        })
    }

    /// Puts results of one shape together.
    pub(super) fn stacked(&self, done: Done) -> Result<InferenceResponse, ScoreError> {
        let unlike = || ScoreError::Internal("results of texts differ in shape".to_owned());
        let rows = done.rows;
        let outputs = match done.results {
            Results::Remembered(recall) => recall.units.join(&self.stored, &recall.found),
            Results::Computed(found) => {
                let stack = |output: usize| {
                    let empty = TensorData::with_capacity(self.stored[output].element_type, 0);
                    let tensor = match rows {
                        0 => Tensor::new(vec![0], empty).ok(),
                        _ => Tensor::stack(found.iter().filter_map(|row| row.get(output))),
                    };
                    tensor.filter(|tensor| tensor.rows() == Some(rows))
                };
                (0..self.stored.len()).map(stack).collect()
            }
        };
        Ok(InferenceResponse {
            outputs: self.named(outputs.ok_or_else(unlike)?),
            rows,
            cache: done.cache,
            timings: done.timings,
        })
    }

    /// Computes the texts of these units. What a run gives is stored at once, so that it is not lost if the time ends.
    async fn compute_texts(
        &self,
        texts: &Texts<'_>,
        recall: &mut Recall,
        wanted: &[usize],
    ) -> Result<(), ScoreError> {
        let rows = wanted.iter().map(|unit| recall.units.row_of(*unit));
        let missing = texts.of_rows(rows);
        let ttl = self.metadata.options.ttl;
        let start = Instant::now();
        let mut done = |results: TextResults| {
            let start = Instant::now();
            let mut entries = Vec::with_capacity(results.len());
            for (place, outputs) in results {
                let unit = wanted.get(place).copied();
                let unit = unit.ok_or_else(|| ScoreError::Internal("no such text".to_owned()))?;
                let payload = encode_row(&outputs, 0);
                entries.push((recall.units.keys[unit], payload.clone()));
                recall.found[unit] = Some(payload);
                recall.computed[unit] = true;
            }
            let count = entries.len();
            self.cache.remember(entries, ttl, recall.tiers);
            self.costs.stored(count, start.elapsed());
            texts.progress.stored.fetch_add(count, Ordering::Relaxed);
            Ok(())
        };
        let run = texts
            .batcher
            .run(missing, &texts.options, Wanted::Outputs, &mut done);
        let ran = run.await;
        let row_of = |place: usize| recall.units.row_of(*wanted.get(place)?);
        let ran = ran.map_err(|error| error.at_rows(row_of))?;
        self.ran_texts(ran, wanted.len(), start);
        recall.timings = recall.timings.and_texts(&ran);
        Ok(())
    }

    async fn compute_unremembered(
        &self,
        texts: &Texts<'_>,
        rows: usize,
    ) -> Result<Done, ScoreError> {
        let start = Instant::now();
        let all = texts.of_rows((0..rows).map(Some));
        let mut found: Vec<Vec<Tensor>> = vec![Vec::new(); rows];
        let done = |results: TextResults| {
            for (place, outputs) in results {
                if let Some(found) = found.get_mut(place) {
                    *found = outputs;
                }
            }
            Ok(())
        };
        let run = texts
            .batcher
            .run(all, &texts.options, Wanted::Outputs, done);
        let ran = run.await?;
        self.ran_texts(ran, rows, start);
        Ok(Done {
            rows,
            results: Results::Computed(found),
            cache: CacheOutcome::Bypass,
            timings: Timings::default().and_texts(&ran),
        })
    }

    fn ran_texts(&self, ran: RanTexts, texts: usize, start: Instant) {
        self.costs.ran(ran.texts, ran.infer, start.elapsed());
        self.stats.computed_rows.inc_by(texts as u64);
    }

    /// The vectors of the tokens of each text, float32 `[tokens,width]`, special tokens included; and how many of the texts
    /// were cut. They are not remembered.
    ///
    /// # Errors
    /// As [`Scorer::score`]; also where the model takes no texts or its file gives no vectors of tokens, and for more than
    /// 8,388,608 numbers.
    pub async fn token_vectors(
        &self,
        texts: Vec<String>,
        options: TextOptions,
    ) -> Result<(Vec<Tensor>, usize), ScoreError> {
        let batcher = self.text_batcher()?;
        self.refuse_too_many(texts.len())?;
        let (mut numbers, mut cut) = (0usize, 0);
        let mut found: Vec<Option<Tensor>> = vec![None; texts.len()];
        let done = |results: TextResults| {
            for (place, mut outputs) in results {
                let tensor = outputs.pop();
                numbers += tensor.as_ref().map_or(0, |tensor| tensor.data().len());
                let is_cut = |was: Tensor| *was.data() == TensorData::Bool(vec![true]);
                cut += usize::from(outputs.pop().is_some_and(is_cut));
                if let Some(found) = found.get_mut(place) {
                    *found = tensor;
                }
            }
            match numbers > MAX_TOKEN_NUMBERS {
                false => Ok(()),
                true => Err(ScoreError::invalid(
                    "inputs",
                    format!(
                        "the vectors of all tokens are more than {MAX_TOKEN_NUMBERS} numbers; send fewer texts"
                    ),
                )),
            }
        };
        let texts = texts.into_iter().map(Passage::from).collect();
        let run = batcher.run(texts, &options, Wanted::TokenVectors, done);
        let timeout = self.options.timeout;
        let ran = tokio::time::timeout(timeout, run).await;
        ran.unwrap_or(Err(ScoreError::TimedOut(timeout)))?;
        let missing = || ScoreError::Internal("a text has no result".to_owned());
        let found = found.into_iter().collect::<Option<_>>();
        Ok((found.ok_or_else(missing)?, cut))
    }

    /// The tokens of each text, which is not cut. `prompt` is put in front of it instead of the model's own; `special`:
    /// with special tokens.
    ///
    /// # Errors
    /// If the model takes no texts, there are too many or they have more than 262,144 bytes, or the tokenizer fails.
    pub async fn tokenize(
        &self,
        texts: Vec<String>,
        prompt: Option<String>,
        special: bool,
    ) -> Result<Vec<Vec<Token>>, ScoreError> {
        self.refuse_too_many(texts.len())?;
        let prompted = prompt.as_ref().map_or(0, String::len);
        let bytes: usize = texts.iter().map(|text| text.len() + prompted).sum();
        if bytes > MAX_TOKENIZED_BYTES {
            return Err(ScoreError::invalid(
                "inputs",
                format!(
                    "{bytes} bytes of text; at most {MAX_TOKENIZED_BYTES} are taken apart at once"
                ),
            ));
        }
        let model = self.text_batcher()?.model().clone();
        let each = move |text: &String| model.tokens(text, prompt.as_deref(), special);
        self.apart(texts, each).await
    }

    /// The text of each list of token ids.
    ///
    /// # Errors
    /// If the model takes no texts, there are too many ids or lists, or an id is not in the vocabulary.
    pub async fn decode(
        &self,
        ids: Vec<Vec<u32>>,
        skip_special: bool,
    ) -> Result<Vec<String>, ScoreError> {
        self.refuse_too_many(ids.len())?;
        let count: usize = ids.iter().map(Vec::len).sum();
        if count > MAX_DECODED_IDS {
            return Err(ScoreError::invalid(
                "ids",
                format!("{count} ids; at most {MAX_DECODED_IDS} are decoded at once"),
            ));
        }
        let model = self.text_batcher()?.model().clone();
        let each = move |ids: &Vec<u32>| model.decode(ids, skip_special);
        self.apart(ids, each).await
    }

    /// Work of the tokenizer alone, for one request at a time, on a thread that may block.
    async fn apart<T: Send + 'static, R: Send + 'static>(
        &self,
        items: Vec<T>,
        each: impl Fn(&T) -> Result<R, TokenizeError> + Send + 'static,
    ) -> Result<Vec<R>, ScoreError> {
        let turn = Arc::clone(self.text_batcher()?.tokenizing());
        let timeout = self.options.timeout;
        let failed = || ScoreError::Internal("the tokenizer failed".to_owned());
        let work = async {
            let turn = turn.acquire_owned().await.map_err(|_| failed())?;
            let work = tokio::task::spawn_blocking(move || {
                // Given back when the work ends, even if its request has gone.
                let _turn = turn;
                let items = items.iter().enumerate();
                let results =
                    items.map(|(row, item)| each(item).map_err(|error| refusal(error, row)));
                results.collect()
            });
            work.await.map_err(|_| failed())?
        };
        let done = tokio::time::timeout(timeout, work).await;
        done.unwrap_or(Err(ScoreError::TimedOut(timeout)))
    }

    fn refuse_too_many(&self, texts: usize) -> Result<(), ScoreError> {
        let limit = self.row_limit();
        match texts > limit {
            true => Err(self.too_many_rows(texts, limit)),
            false => Ok(()),
        }
    }

    pub(super) fn text_batcher(&self) -> Result<&TextBatcher, ScoreError> {
        match &self.engine {
            Engine::Texts(batcher) => Ok(batcher),
            Engine::Tensors(_) => Err(ScoreError::invalid("model", "the model takes no texts")),
        }
    }
}

/// A query that stands for all rows is digested with each of them.
fn refuse_long_query(inputs: &Arranged, rows: usize) -> Result<(), ScoreError> {
    let [query, _] = &inputs.tensors[..] else {
        return Ok(());
    };
    let TensorData::String(queries) = query.data() else {
        return Ok(());
    };
    match &queries[..] {
        [one] if one.len().saturating_mul(rows) > MAX_REPEATED_BYTES => Err(ScoreError::invalid(
            QUERY,
            format!(
                "the query of {} bytes for {rows} texts is too long; send a shorter query or fewer texts",
                one.len()
            ),
        )),
        _ => Ok(()),
    }
}

impl Timings {
    /// With those of texts on top.
    fn and_texts(self, ran: &RanTexts) -> Self {
        Self {
            cache: self.cache,
            queue: self.queue + ran.queue,
            infer: self.infer + ran.infer,
        }
    }
}
