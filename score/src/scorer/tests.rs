mod cache_use;
mod faults;
mod inputs;
mod loading;
mod shared_store;
mod sharing;
mod texts;
mod values;

use std::sync::{Mutex, mpsc};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::task::yield_now;

use super::*;
use crate::cache::{ModelDigest, Namespace, RemoteOptions, Tiers};
use crate::model::{Character, Evidence, Hints, ModelOptions, RunError};
use crate::signature::{Dim, Rows, TensorSpec};
use crate::store::{Store, StoreEntry, StoreError};
use crate::tensor::ElementType;
use crate::text::{TextMetadata, TextOptions};

/// The inputs of every run of a model, in order.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Vec<Vec<Tensor>>>>);

impl Runs {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The values of the first input, run by run.
    fn values(&self) -> Vec<Vec<f32>> {
        let runs = self.0.lock().unwrap();
        runs.iter().map(|inputs| floats(&inputs[0])).collect()
    }
}

type Answer = Result<Vec<Tensor>, RunError>;

struct Fake<F> {
    signature: ModelSignature,
    runs: Runs,
    answer: F,
}

impl<F: FnMut(&[Tensor]) -> Answer + Send> Model for Fake<F> {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Tensor], _given: &[usize]) -> Answer {
        self.runs.0.lock().unwrap().push(inputs.to_vec());
        (self.answer)(inputs)
    }
}

/// A model before it is started.
struct Plan {
    signature: ModelSignature,
    rows: Rows,
    memoize: bool,
    digest: &'static str,
    options: ScorerOptions,
    /// What its `model.toml` says.
    own: ModelOptions,
}

impl Default for Plan {
    /// One column of floats in, one out.
    fn default() -> Self {
        let column = || vec![Dim::Dynamic(None), Dim::Fixed(1)];
        Self {
            signature: ModelSignature::of_tensors(
                vec![spec("x", ElementType::Float32, column())],
                vec![spec("y", ElementType::Float32, column())],
            ),
            rows: Rows::Independent,
            memoize: true,
            digest: "model",
            options: ScorerOptions {
                sessions: Some(1),
                cores: 1,
                max_rows: 100,
                timeout: Duration::from_secs(10),
                batch: BatchLimits {
                    max_waiting_rows: 100,
                    max_batch_rows: 8,
                    max_inline: Duration::ZERO,
                },
                cache: CachePolicy::Always,
                samples: None,
            },
            own: ModelOptions::default(),
        }
    }
}

impl Plan {
    fn together() -> Self {
        Self {
            rows: Rows::Together,
            ..Self::default()
        }
    }

    /// A second column of floats in, `z`.
    fn of_two_inputs() -> Self {
        let mut plan = Self::default();
        let column = plan.signature.inputs[0].dims().to_vec();
        let second = spec("z", ElementType::Float32, column);
        plan.signature.inputs.push(second);
        plan
    }

    fn start(
        self,
        cache: &Arc<Cache>,
        answer: impl FnMut(&[Tensor]) -> Answer + Send + 'static,
    ) -> (Scorer, Runs) {
        let runs = Runs::default();
        let model = Fake {
            signature: self.signature.clone(),
            runs: runs.clone(),
            answer,
        };
        let metadata = ModelMetadata {
            name: "fake".into(),
            default_outputs: (0..self.signature.outputs.len()).collect(),
            signature: self.signature,
            character: Character {
                rows: self.rows,
                evidence: Evidence::Declared,
                rows_reason: "the test says so".into(),
                operator: None,
                warning: None,
                deterministic: Some(true),
            },
            memoize: self.memoize,
            options: self.own,
            version: "1".into(),
            digest: ModelDigest::new(&blake3::hash(self.digest.as_bytes()), "1"),
            text: None,
            hints: Hints::default(),
            load_time: Duration::ZERO,
        };
        let models: Vec<Box<dyn Model>> = vec![Box::new(model)];
        let scorer = Scorer::start(metadata, models, self.options, cache.clone()).unwrap();
        (scorer, runs)
    }
}

fn spec(name: &str, element_type: ElementType, shape: Vec<Dim>) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        element_type,
        shape: Some(shape),
    }
}

fn cache() -> Arc<Cache> {
    Arc::new(Cache::new(1 << 20, None))
}

fn column(values: &[f32]) -> Tensor {
    Tensor::new(vec![values.len(), 1], TensorData::Float32(values.to_vec())).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    match tensor.data() {
        TensorData::Float32(values) => values.clone(),
        other => panic!("{other:?}"),
    }
}

fn named(name: &str, tensor: Tensor) -> NamedTensor {
    NamedTensor {
        name: name.into(),
        tensor,
    }
}

fn request(values: &[f32]) -> InferenceRequest {
    request_using(CacheUse::Normal, values)
}

fn request_using(cache: CacheUse, values: &[f32]) -> InferenceRequest {
    InferenceRequest {
        inputs: vec![named("x", column(values))],
        cache,
        joint: None,
        text: TextOptions::default(),
    }
}

async fn score(scorer: &Scorer, values: &[f32]) -> InferenceResponse {
    scorer.score(request(values)).await.unwrap()
}

fn output(response: &InferenceResponse) -> Vec<f32> {
    floats(&response.outputs[0].tensor)
}

fn asked(hits: usize, rows: usize) -> CacheOutcome {
    CacheOutcome::Asked { hits, rows }
}

/// A model that gives back a column of strings as it came.
fn echo_of(ty: ElementType) -> Plan {
    let column = || vec![Dim::Dynamic(None)];
    Plan {
        signature: ModelSignature::of_tensors(
            vec![spec("x", ty, column())],
            vec![spec("y", ty, column())],
        ),
        ..Plan::default()
    }
}

fn request_of(data: TensorData) -> InferenceRequest {
    let tensor = Tensor::new(vec![data.len()], data).unwrap();
    InferenceRequest {
        inputs: vec![named("x", tensor)],
        ..InferenceRequest::default()
    }
}

/// A model that waits for leave before it answers.
fn held(plan: Plan, cache: &Arc<Cache>) -> (Scorer, Runs, mpsc::Sender<()>) {
    let (allow, allowed) = mpsc::channel();
    let (scorer, runs) = plan.start(cache, move |inputs| {
        let _ = allowed.recv();
        tenfold(inputs)
    });
    (scorer, runs, allow)
}

/// Every row times ten.
fn tenfold(inputs: &[Tensor]) -> Answer {
    let values = floats(&inputs[0]);
    let answer: Vec<f32> = values.iter().map(|value| value * 10.0).collect();
    Ok(vec![column(&answer)])
}

/// Every row plus the number of the run, so that old answers differ from new ones.
fn counting() -> impl FnMut(&[Tensor]) -> Answer + Send {
    let mut run = 0.0;
    move |inputs| {
        run += 100.0;
        let values = floats(&inputs[0]);
        let answer: Vec<f32> = values.iter().map(|value| value + run).collect();
        Ok(vec![column(&answer)])
    }
}

/// Every row less the mean of all.
fn centred(inputs: &[Tensor]) -> Answer {
    let values = floats(&inputs[0]);
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let answer: Vec<f32> = values.iter().map(|value| value - mean).collect();
    Ok(vec![column(&answer)])
}

/// Every row as wide as the largest value of its run, as a model does that pads texts to the longest.
fn padded(inputs: &[Tensor]) -> Answer {
    let values = floats(&inputs[0]);
    let width = values.iter().fold(0.0f32, |a, b| a.max(*b)) as usize;
    let answer = values.iter().flat_map(|value| vec![*value; width]);
    let answer = TensorData::Float32(answer.collect());
    Ok(vec![
        Tensor::new(vec![values.len(), width], answer).unwrap(),
    ])
}

#[tokio::test]
async fn a_repeated_request_is_answered_alike_without_a_run() {
    let (scorer, runs) = Plan::default().start(&cache(), tenfold);
    let first = score(&scorer, &[1.0, 2.0]).await;
    let second = score(&scorer, &[1.0, 2.0]).await;
    assert_eq!((first.cache, second.cache), (asked(0, 2), asked(2, 2)));
    assert_eq!(output(&first), [10.0, 20.0]);
    assert_eq!(first.outputs, second.outputs);
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn only_new_rows_run() {
    let (scorer, runs) = Plan::default().start(&cache(), tenfold);
    score(&scorer, &[1.0, 2.0]).await;
    let half = score(&scorer, &[1.0, 3.0, 2.0, 4.0]).await;
    assert_eq!(half.cache, asked(2, 4));
    assert_eq!(output(&half), [10.0, 30.0, 20.0, 40.0]);
    assert_eq!(runs.values(), [[1.0, 2.0], [3.0, 4.0]]);
}

#[tokio::test]
async fn scored_and_computed_rows_are_counted_apart() {
    let (scorer, _) = Plan::default().start(&cache(), tenfold);
    score(&scorer, &[1.0, 2.0]).await;
    score(&scorer, &[1.0, 3.0, 2.0]).await;
    let stats = scorer.stats();
    assert_eq!((stats.rows.get(), stats.computed_rows.get()), (5, 3));
    assert_eq!(stats.recomputed.get(), 0);
}

#[tokio::test]
async fn equal_rows_of_a_request_are_computed_once() {
    let (scorer, runs) = Plan::default().start(&cache(), tenfold);
    let response = score(&scorer, &[2.0, 1.0, 2.0, 2.0, 1.0]).await;
    assert_eq!(output(&response), [20.0, 10.0, 20.0, 20.0, 10.0]);
    assert_eq!(response.cache, asked(0, 5));
    assert_eq!(runs.values(), [[2.0, 1.0]]);
}

#[tokio::test]
async fn a_remembered_row_that_occurs_twice_is_two_hits() {
    let (scorer, _) = Plan::default().start(&cache(), tenfold);
    score(&scorer, &[1.0]).await;
    let response = score(&scorer, &[1.0, 2.0, 1.0]).await;
    assert_eq!(response.cache, asked(2, 3));
}

#[tokio::test]
async fn remembered_rows_come_back_in_the_order_of_the_request() {
    let (scorer, runs) = Plan::default().start(&cache(), tenfold);
    score(&scorer, &[1.0, 2.0, 3.0]).await;
    let response = score(&scorer, &[3.0, 1.0, 2.0]).await;
    assert_eq!(output(&response), [30.0, 10.0, 20.0]);
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn different_requests_share_their_common_rows() {
    let (scorer, runs) = Plan::default().start(&cache(), tenfold);
    score(&scorer, &[1.0, 2.0]).await;
    let other = score(&scorer, &[2.0, 3.0]).await;
    assert_eq!(other.cache, asked(1, 2));
    assert_eq!(output(&other), [20.0, 30.0]);
    assert_eq!(runs.values(), [vec![1.0, 2.0], vec![3.0]]);
}

#[tokio::test]
async fn zero_and_negative_zero_are_different_rows() {
    let (scorer, _) = Plan::default().start(&cache(), tenfold);
    score(&scorer, &[0.0]).await;
    let negative = score(&scorer, &[-0.0]).await;
    assert_eq!(negative.cache, asked(0, 1));
    assert!(output(&negative)[0].is_sign_negative());
}

#[tokio::test]
async fn inputs_are_taken_in_any_order() {
    let (scorer, runs) = Plan::of_two_inputs().start(&cache(), tenfold);
    let (x, z) = (named("x", column(&[1.0])), named("z", column(&[2.0])));
    let mut outcomes = Vec::new();
    for inputs in [vec![x.clone(), z.clone()], vec![z, x]] {
        let request = InferenceRequest {
            inputs,
            ..InferenceRequest::default()
        };
        outcomes.push(scorer.score(request).await.unwrap().cache);
    }
    assert_eq!(outcomes, [asked(0, 1), asked(1, 1)]);
    assert_eq!(runs.values(), [[1.0]]);
}

#[tokio::test]
async fn a_request_of_independent_rows_can_be_remembered_as_one() {
    let (scorer, runs) = Plan::default().start(&cache(), tenfold);
    for hits in [0, 3] {
        let inputs = request(&[1.0, 1.0, 3.0]).inputs;
        let inputs = scorer.metadata.signature.arrange(inputs).unwrap();
        let units = Units::whole(scorer.metadata.digest, &inputs, 3);
        let decision = Decision::default();
        let recall = scorer.recall(
            CacheUse::Normal,
            units,
            Tiers::All,
            &decision,
            Instant::now(),
            None,
        );
        let scored = scorer.score_units(inputs, recall.await, true);
        let scored = scored.await.unwrap();
        assert_eq!(scored.cache, asked(hits, 3));
        assert_eq!(floats(&scored.outputs[0]), [10.0, 10.0, 30.0]);
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn rows_that_belong_together_are_remembered_as_one() {
    let (scorer, runs) = Plan::together().start(&cache(), centred);
    let first = score(&scorer, &[1.0, 3.0]).await;
    let second = score(&scorer, &[1.0, 3.0]).await;
    assert_eq!((first.cache, second.cache), (asked(0, 1), asked(1, 1)));
    assert_eq!((first.rows, second.rows), (1, 1));
    assert_eq!(output(&second), [-1.0, 1.0]);
    assert_eq!(first.outputs, second.outputs);
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn rows_that_belong_together_are_not_taken_from_other_requests() {
    let (scorer, runs) = Plan::together().start(&cache(), centred);
    score(&scorer, &[1.0, 3.0]).await;
    let other = score(&scorer, &[1.0, 5.0]).await;
    assert_eq!(other.cache, asked(0, 1));
    assert_eq!(output(&other), [-2.0, 2.0]);
    assert_eq!(runs.values(), [[1.0, 3.0], [1.0, 5.0]]);
}

#[tokio::test]
async fn the_order_of_rows_that_belong_together_matters() {
    let (scorer, _) = Plan::together().start(&cache(), centred);
    score(&scorer, &[1.0, 3.0]).await;
    let turned = score(&scorer, &[3.0, 1.0]).await;
    assert_eq!(turned.cache, asked(0, 1));
    assert_eq!(output(&turned), [1.0, -1.0]);
}

#[tokio::test]
async fn refresh_overwrites_rows_that_belong_together() {
    let (scorer, _) = Plan::together().start(&cache(), counting());
    score(&scorer, &[1.0]).await;
    scorer
        .score(request_using(CacheUse::Refresh, &[1.0]))
        .await
        .unwrap();
    let third = score(&scorer, &[1.0]).await;
    assert_eq!((output(&third), third.cache), (vec![201.0], asked(1, 1)));
}

#[tokio::test]
async fn a_remembered_whole_that_is_nonsense_is_computed_anew_and_replaced() {
    let cache = cache();
    let (scorer, runs) = Plan::together().start(&cache, centred);
    let inputs = Arranged {
        tensors: vec![column(&[1.0, 3.0])],
        given: vec![],
    };
    let key = Units::whole(scorer.metadata().digest, &inputs, 1).keys[0];
    let nonsense = Bytes::from_static(b"nonsense");
    cache.remember(vec![(key, nonsense)], None, Tiers::All);
    let first = score(&scorer, &[1.0, 3.0]).await;
    assert_eq!(
        (output(&first), first.cache),
        (vec![-1.0, 1.0], asked(0, 1))
    );
    assert_eq!(score(&scorer, &[1.0, 3.0]).await.cache, asked(1, 1));
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_model_with_another_digest_never_sees_old_entries() {
    let cache = cache();
    let (old, _) = Plan::default().start(&cache, tenfold);
    let plan = Plan {
        digest: "the same name, other weights",
        ..Plan::default()
    };
    let (new, runs) = plan.start(&cache, counting());
    score(&old, &[1.0]).await;
    let response = score(&new, &[1.0]).await;
    assert_eq!(response.cache, asked(0, 1));
    assert_eq!(output(&response), [101.0]);
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn the_same_model_loaded_again_finds_its_entries() {
    let cache = cache();
    let (before, _) = Plan::default().start(&cache, tenfold);
    score(&before, &[1.0]).await;
    drop(before);
    let (after, runs) = Plan::default().start(&cache, tenfold);
    assert_eq!(score(&after, &[1.0]).await.cache, asked(1, 1));
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn requests_at_the_same_time_get_their_own_answers() {
    let (scorer, _) = Plan::default().start(&cache(), tenfold);
    let requests = (0..50).map(|n| n as f32).map(|n| {
        let scorer = &scorer;
        async move {
            let response = score(scorer, &[n, n + 1.0]).await;
            assert_eq!(output(&response), [n * 10.0, (n + 1.0) * 10.0]);
        }
    });
    join_all(requests).await;
    assert_eq!(scorer.stats().rows.get(), 100);
}
