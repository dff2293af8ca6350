mod sharing;

use std::sync::{Mutex, mpsc};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::task::yield_now;

use super::*;
use crate::cache::{Namespace, RemoteOptions, Tiers};
use crate::model::{Evidence, RunError};
use crate::signature::{Dim, TensorSpec};
use crate::store::{Store, StoreEntry, StoreError};

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
    let mut plan = Plan::default();
    let (ty, shape) = (
        ElementType::Float32,
        plan.signature.inputs[0].dims().to_vec(),
    );
    plan.signature.inputs.push(spec("z", ty, shape));
    let (scorer, runs) = plan.start(&cache(), tenfold);
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
async fn refresh_computes_again_and_overwrites() {
    let (scorer, runs) = Plan::default().start(&cache(), counting());
    assert_eq!(output(&score(&scorer, &[1.0]).await), [101.0]);
    let refreshed = scorer
        .score(request_using(CacheUse::Refresh, &[1.0]))
        .await
        .unwrap();
    assert_eq!(output(&refreshed), [201.0]);
    assert_eq!(refreshed.cache, asked(0, 1));
    assert_eq!(output(&score(&scorer, &[1.0]).await), [201.0]);
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn refresh_overwrites_whichever_way_will_be_looked_for() {
    let mut plan = Plan::default();
    plan.options.cache = CachePolicy::Auto;
    let (scorer, _) = plan.start(&cache(), tenfold);
    let request = request_using(CacheUse::Refresh, &[1.0, 2.0]);
    let inputs = scorer.metadata.signature.arrange(request.inputs.clone());
    let whole = Units::whole(scorer.metadata.digest, &inputs.unwrap(), 2);
    assert!(scorer.cache.at_hand(&whole.keys[0]).is_none());
    scorer.score(request).await.unwrap();
    let payload = scorer.cache.at_hand(&whole.keys[0]).unwrap();
    let outputs = whole.join(&scorer.metadata.signature, &[Some(payload)]);
    assert_eq!(floats(&outputs.unwrap()[0]), [10.0, 20.0]);
}

#[tokio::test]
async fn bypass_does_not_read() {
    let (scorer, _) = Plan::default().start(&cache(), counting());
    score(&scorer, &[1.0]).await;
    let bypassed = scorer
        .score(request_using(CacheUse::Bypass, &[1.0]))
        .await
        .unwrap();
    assert_eq!(output(&bypassed), [201.0]);
    assert_eq!(bypassed.cache, CacheOutcome::Bypass);
}

#[tokio::test]
async fn bypass_does_not_write() {
    let cache = cache();
    let (scorer, _) = Plan::default().start(&cache, counting());
    scorer
        .score(request_using(CacheUse::Bypass, &[1.0]))
        .await
        .unwrap();
    assert_eq!(cache.local_bytes(), 0);
    assert_eq!(score(&scorer, &[1.0]).await.cache, asked(0, 1));
}

#[tokio::test]
async fn bypass_leaves_what_is_remembered_as_it_is() {
    let (scorer, _) = Plan::default().start(&cache(), counting());
    score(&scorer, &[1.0]).await;
    scorer
        .score(request_using(CacheUse::Bypass, &[1.0]))
        .await
        .unwrap();
    assert_eq!(output(&score(&scorer, &[1.0]).await), [101.0]);
}

#[tokio::test]
async fn a_model_that_is_not_memoized_bypasses_the_cache() {
    let cache = cache();
    let plan = Plan {
        memoize: false,
        ..Plan::default()
    };
    let (scorer, runs) = plan.start(&cache, tenfold);
    for _ in 0..2 {
        assert_eq!(score(&scorer, &[1.0]).await.cache, CacheOutcome::Bypass);
    }
    assert_eq!((runs.count(), cache.local_bytes()), (2, 0));
}

#[tokio::test]
async fn without_a_cache_every_request_bypasses_it() {
    let cache = Arc::new(Cache::new(0, None));
    let (scorer, runs) = Plan::default().start(&cache, tenfold);
    for _ in 0..2 {
        assert_eq!(score(&scorer, &[1.0]).await.cache, CacheOutcome::Bypass);
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_request_of_independent_rows_can_be_remembered_as_one() {
    let (scorer, runs) = Plan::default().start(&cache(), tenfold);
    for hits in [0, 3] {
        let inputs = request(&[1.0, 1.0, 3.0]).inputs;
        let inputs = scorer.metadata.signature.arrange(inputs).unwrap();
        let units = Units::whole(scorer.metadata.digest, &inputs, 3);
        let decision = Decision::default();
        let recall = scorer.recall(units, Tiers::All, &decision, Instant::now(), None);
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

/// A shared store that can be reached or not.
struct FakeStore {
    reachable: bool,
    values: Mutex<BTreeMap<String, Bytes>>,
}

impl FakeStore {
    fn new(reachable: bool) -> Arc<Self> {
        Arc::new(Self {
            reachable,
            values: Mutex::default(),
        })
    }

    /// The cache of one of the processes that share this store.
    fn cache(self: &Arc<Self>) -> Arc<Cache> {
        let options = RemoteOptions {
            budget: Duration::from_secs(60),
            ttl: None,
            namespace: Namespace::default(),
        };
        Arc::new(Cache::new(0, Some((self.clone(), options))))
    }
}

impl Store for FakeStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            match self.reachable {
                true => Ok(()),
                false => Err(StoreError::Unreachable("connection refused".into())),
            }
        })
    }

    fn get_many(
        &self,
        keys: Vec<String>,
        _budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Option<Bytes>, StoreError>>> {
        let values = self.values.lock().unwrap();
        let found = keys.iter().map(|key| Ok(values.get(key).cloned()));
        let found = found.collect();
        Box::pin(async { found })
    }

    fn set_many(
        &self,
        entries: Vec<StoreEntry>,
        _budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<(), StoreError>>> {
        let outcomes = vec![Ok(()); entries.len()];
        let entries = entries.into_iter().map(|entry| (entry.key, entry.value));
        self.values.lock().unwrap().extend(entries);
        Box::pin(async { outcomes })
    }
}

async fn until(reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            yield_now().await;
        }
    };
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, waiting).await.unwrap();
}

#[tokio::test]
async fn what_one_process_computes_another_finds_in_the_shared_store() {
    let store = FakeStore::new(true);
    let (here, there) = (store.cache(), store.cache());
    until(|| here.remote_is_up() == Some(true) && there.remote_is_up() == Some(true)).await;
    let (computing, _) = Plan::default().start(&here, tenfold);
    let (asking, runs) = Plan::default().start(&there, tenfold);
    let computed = score(&computing, &[1.0, 2.0]).await;
    until(|| here.stats().writes.get() == 2).await;
    let found = score(&asking, &[2.0, 1.0]).await;
    assert_eq!(found.cache, asked(2, 2));
    assert_eq!(output(&computed), [10.0, 20.0]);
    assert_eq!(output(&found), [20.0, 10.0]);
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_cache_that_is_out_of_reach_is_bypassed() {
    let (scorer, _) = Plan::default().start(&FakeStore::new(false).cache(), tenfold);
    let response = score(&scorer, &[1.0]).await;
    assert_eq!(response.cache, CacheOutcome::Bypass);
    assert_eq!(output(&response), [10.0]);
}

#[tokio::test]
async fn no_rows_give_outputs_without_rows() {
    let cache = cache();
    let (scorer, _) = Plan::default().start(&cache, tenfold);
    let response = score(&scorer, &[]).await;
    assert_eq!(response.outputs[0].tensor.shape(), [0, 1]);
    assert_eq!(response.rows, 0);
    assert_eq!(cache.local_bytes(), 0);
}

#[tokio::test]
async fn too_many_rows_are_refused_with_both_numbers() {
    let mut plan = Plan::default();
    plan.options.max_rows = 2;
    let (scorer, runs) = plan.start(&cache(), tenfold);
    let error = scorer.score(request(&[1.0, 2.0, 3.0])).await.unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::InvalidInput);
    assert_eq!(
        error.to_string(),
        "3 rows in one request; at most 2 are accepted"
    );
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_models_own_limit_of_rows_goes_before_that_of_the_app() {
    let mut plan = Plan::default();
    plan.options.max_rows = 2;
    plan.own.max_rows = Some(3);
    let (scorer, _) = plan.start(&cache(), tenfold);
    assert_eq!(score(&scorer, &[1.0, 2.0, 3.0]).await.rows, 3);
    scorer
        .score(request(&[1.0, 2.0, 3.0, 4.0]))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn as_many_rows_as_accepted_are_scored() {
    let mut plan = Plan::default();
    plan.options.max_rows = 2;
    let (scorer, _) = plan.start(&cache(), tenfold);
    assert_eq!(score(&scorer, &[1.0, 2.0]).await.rows, 2);
}

#[tokio::test]
async fn inputs_with_unequal_rows_are_refused_by_name() {
    let mut plan = Plan::default();
    let (ty, shape) = (
        ElementType::Float32,
        plan.signature.inputs[0].dims().to_vec(),
    );
    plan.signature.inputs.push(spec("z", ty, shape));
    let (scorer, runs) = plan.start(&cache(), tenfold);
    let uneven = InferenceRequest {
        inputs: vec![
            named("z", column(&[1.0, 2.0, 3.0])),
            named("x", column(&[1.0, 2.0])),
        ],
        ..InferenceRequest::default()
    };
    let error = scorer.score(uneven).await.unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::InvalidInput);
    assert_eq!(
        error.to_string(),
        r#"all inputs must have as many rows: "x" has 2, "z" has 3"#
    );
    assert_eq!(runs.count(), 0);
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

#[tokio::test]
async fn a_nul_in_a_string_is_refused_with_its_place() {
    let plan = echo_of(ElementType::String);
    let (scorer, runs) = plan.start(&cache(), |inputs| Ok(inputs.to_vec()));
    let strings = TensorData::String(vec!["fine".into(), "cut\0off".into()]);
    let error = scorer.score(request_of(strings)).await.unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::InvalidInput);
    assert_eq!(
        error.to_string(),
        r#"input "x": element 1 holds a NUL character, which the model cannot receive"#
    );
    assert_eq!(runs.count(), 0);
}

/// The first request is computed, the second remembered, the third mixed: `data` must come back the same each time.
async fn survives_the_cache(data: TensorData, other: TensorData) {
    let plan = echo_of(data.element_type());
    let (scorer, runs) = plan.start(&cache(), |inputs| Ok(inputs.to_vec()));
    for hits in [0, data.len()] {
        let response = scorer.score(request_of(data.clone())).await.unwrap();
        assert_eq!(response.cache, asked(hits, data.len()));
        assert_eq!(response.outputs[0].tensor.data(), &data);
    }
    let mut mixed = other;
    mixed.extend_from(&data, 0..data.len());
    let response = scorer.score(request_of(mixed.clone())).await.unwrap();
    assert_eq!(response.cache, asked(data.len(), mixed.len()));
    assert_eq!(response.outputs[0].tensor.data(), &mixed);
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn strings_survive_the_cache() {
    let texts = |all: &[&str]| TensorData::String(all.iter().map(|s| s.to_string()).collect());
    let data = texts(&["", "käse", "🧀\u{2028}\n", "\"quoted\""]);
    survives_the_cache(data, texts(&["new"])).await;
}

#[tokio::test]
async fn large_integers_survive_the_cache() {
    let data = TensorData::Int64(vec![i64::MIN, i64::MAX, 9_007_199_254_740_993, 0]);
    survives_the_cache(data, TensorData::Int64(vec![-1])).await;
}

#[tokio::test]
async fn bools_survive_the_cache() {
    // Only two different rows exist, so that nothing new is left for a mixed request.
    let data = TensorData::Bool(vec![true]);
    survives_the_cache(data, TensorData::Bool(vec![false])).await;
}

#[tokio::test]
async fn infinities_and_tiny_numbers_survive_the_cache() {
    let data = TensorData::Float64(vec![f64::INFINITY, -0.0, f64::MIN_POSITIVE, 5e-324]);
    survives_the_cache(data, TensorData::Float64(vec![0.1])).await;
}

#[tokio::test]
async fn all_outputs_come_in_the_models_order_from_the_cache_too() {
    let mut plan = Plan::default();
    let scores = vec![Dim::Dynamic(None), Dim::Fixed(2), Dim::Fixed(1)];
    plan.signature.outputs = vec![
        spec("label", ElementType::String, vec![Dim::Dynamic(None)]),
        spec("scores", ElementType::Float32, scores),
    ];
    let (scorer, runs) = plan.start(&cache(), |inputs| {
        let values = floats(&inputs[0]);
        let labels = values.iter().map(|v| format!("class {v}")).collect();
        let scores = values.iter().flat_map(|v| [*v, 1.0 - v]).collect();
        Ok(vec![
            Tensor::new(vec![values.len()], TensorData::String(labels)).unwrap(),
            Tensor::new(vec![values.len(), 2, 1], TensorData::Float32(scores)).unwrap(),
        ])
    });
    let first = score(&scorer, &[0.0, 1.0]).await;
    let second = score(&scorer, &[0.0, 1.0]).await;
    let names: Vec<&str> = second.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["label", "scores"]);
    assert_eq!(first.outputs, second.outputs);
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_failing_model_leaves_nothing_behind() {
    let cache = cache();
    let mut failures = 1;
    let (scorer, runs) = Plan::default().start(&cache, move |inputs| {
        if failures > 0 {
            failures -= 1;
            return Err(RunError::Failed("out of memory".into()));
        }
        tenfold(inputs)
    });
    let error = scorer.score(request(&[1.0])).await.unwrap_err();
    assert!(matches!(error, ScoreError::Internal(_)), "{error}");
    assert_eq!((cache.local_bytes(), scorer.stats().rows.get()), (0, 0));
    let again = score(&scorer, &[1.0]).await;
    assert_eq!((output(&again), again.cache), (vec![10.0], asked(0, 1)));
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn values_the_model_refuses_are_the_callers_fault() {
    let (scorer, _) = Plan::default().start(&cache(), |_| {
        Err(RunError::Rejected("index 7 out of range".into()))
    });
    let error = scorer.score(request(&[7.0])).await.unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::InvalidInput);
    assert!(error.to_string().contains("index 7 out of range"));
}

#[tokio::test]
async fn one_refused_row_fails_the_request_but_not_what_was_remembered() {
    let (scorer, _) = Plan::default().start(&cache(), |inputs| {
        if floats(&inputs[0]).contains(&7.0) {
            return Err(RunError::Rejected("index 7 out of range".into()));
        }
        tenfold(inputs)
    });
    score(&scorer, &[1.0]).await;
    scorer.score(request(&[1.0, 7.0])).await.unwrap_err();
    assert_eq!(score(&scorer, &[1.0]).await.cache, asked(1, 1));
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

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_given_up() {
    let cache = cache();
    let mut plan = Plan::default();
    plan.options.timeout = Duration::from_secs(3);
    let (scorer, _, _hold) = held(plan, &cache);
    let start = tokio::time::Instant::now();
    let error = scorer.score(request(&[1.0])).await.unwrap_err();
    assert!(matches!(error, ScoreError::TimedOut(after) if after == Duration::from_secs(3)));
    assert!(start.elapsed() < Duration::from_millis(3_010));
    assert_eq!(cache.local_bytes(), 0);
}

#[tokio::test]
async fn remembered_rows_are_answered_while_the_model_is_busy() {
    let (scorer, _, hold) = held(Plan::default(), &cache());
    hold.send(()).unwrap();
    score(&scorer, &[1.0]).await;
    let mut busy = Box::pin(scorer.score(request(&[2.0])));
    assert!((&mut busy).now_or_never().is_none());
    assert_eq!(score(&scorer, &[1.0]).await.cache, asked(1, 1));
    drop(hold);
    assert_eq!(output(&busy.await.unwrap()), [20.0]);
}

#[tokio::test]
async fn a_request_beyond_the_waiting_rows_is_refused_at_once() {
    let mut plan = Plan::default();
    plan.options.batch.max_waiting_rows = 2;
    let (scorer, _, _hold) = held(plan, &cache());
    let mut busy = Box::pin(scorer.score(request(&[1.0, 2.0])));
    assert!((&mut busy).now_or_never().is_none());
    assert_eq!(scorer.waiting_rows(), 2);
    let error = scorer.score(request(&[3.0])).await.unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::Overloaded);
}

#[tokio::test]
async fn remembered_rows_that_do_not_fit_each_other_are_computed_together() {
    let (scorer, runs) = Plan::default().start(&cache(), padded);
    score(&scorer, &[1.0]).await;
    score(&scorer, &[3.0]).await;
    let both = score(&scorer, &[1.0, 3.0]).await;
    assert_eq!(both.outputs[0].tensor.shape(), [2, 3]);
    assert_eq!(output(&both), [1.0, 1.0, 1.0, 3.0, 3.0, 3.0]);
    assert_eq!(both.cache, asked(0, 2));
    assert_eq!(scorer.stats().recomputed.get(), 1);
    assert_eq!(runs.values(), [vec![1.0], vec![3.0], vec![1.0, 3.0]]);
}

#[tokio::test]
async fn a_new_row_that_does_not_fit_the_remembered_ones_is_computed_with_them() {
    let (scorer, _) = Plan::default().start(&cache(), padded);
    score(&scorer, &[1.0]).await;
    let both = score(&scorer, &[1.0, 3.0]).await;
    assert_eq!(output(&both), [1.0, 1.0, 1.0, 3.0, 3.0, 3.0]);
    assert_eq!(scorer.stats().recomputed.get(), 1);
}

#[tokio::test]
async fn outputs_that_are_not_one_row_each_are_given_but_not_remembered() {
    let cache = cache();
    let (scorer, _) = Plan::default().start(&cache, |inputs| {
        let sum = floats(&inputs[0]).iter().sum();
        Ok(vec![column(&[sum])])
    });
    assert_eq!(output(&score(&scorer, &[1.0, 2.0]).await), [3.0]);
    assert_eq!(cache.local_bytes(), 0);
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

#[test]
fn features_must_suit_the_models_inputs() {
    use crate::model::FeatureOptions;
    let input = |element_type, shape: &[i64]| {
        let dim = |n: &i64| usize::try_from(*n).map_or(Dim::Dynamic(None), Dim::Fixed);
        spec("x", element_type, shape.iter().map(dim).collect())
    };
    let float = |shape| input(ElementType::Float32, shape);
    let text = || input(ElementType::String, &[-1, 2]);
    let undeclared = || TensorSpec {
        shape: None,
        ..float(&[])
    };
    let unfit = |format, inputs| {
        let mut options = ModelOptions::default();
        options.features = Some(FeatureOptions {
            prefix: "f:".into(),
            format,
        });
        features_unfit(&options, &ModelSignature::of_tensors(inputs, vec![]))
    };
    use FeatureFormat::{Hash, Json, Npy, Raw};
    for (format, inputs) in [
        (Json, vec![float(&[-1, 2]), text()]),
        (Npy, vec![float(&[-1, -1, -1])]),
        (Raw, vec![float(&[-1, -1, 2])]),
        (Hash, vec![float(&[-1, 1]), float(&[-1])]),
    ] {
        assert_eq!(unfit(format, inputs), None, "{format:?}");
    }
    for (format, inputs, said) in [
        (Json, vec![], "no input"),
        (Json, vec![float(&[-1, 2]), float(&[])], "has no rows"),
        (Json, vec![undeclared()], "does not declare what a row is"),
        (Raw, vec![float(&[-1, 2]), text()], "raw holds one input"),
        (
            Hash,
            vec![float(&[-1, 2])],
            "name its columns: columns = [...]",
        ),
        (Npy, vec![text()], "npy cannot hold a row of string [?,2]"),
        (Raw, vec![text()], "raw cannot hold"),
        (Raw, vec![float(&[-1, -1, -1])], "raw cannot hold"),
    ] {
        let reason = unfit(format, inputs).unwrap();
        assert!(reason.contains(said), "{reason}");
    }
}

#[test]
fn large_models_have_one_session_that_uses_all_cores() {
    let options = |sessions| ScorerOptions {
        sessions,
        cores: 4,
        ..Plan::default().options
    };
    assert_eq!(sessions_and_threads(1 << 20, options(None)), (4, 1));
    assert_eq!(sessions_and_threads(1 << 30, options(None)), (1, 4));
    assert_eq!(sessions_and_threads(1 << 30, options(Some(2))), (2, 1));
}
