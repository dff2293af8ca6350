mod large;
mod permits;

use std::sync::{Mutex, mpsc};

use futures_util::FutureExt;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc as async_mpsc;
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::histogram::Times;
use crate::model::RunError;
use crate::signature::ModelSignature;
use crate::tensor::TensorData;

/// A row that the model refuses, together with every row that shares its run.
const REFUSED: i64 = -1;
/// A row on which the model fails for another reason.
const FAILS: i64 = -2;
/// A row on which the model panics.
const PANICS: i64 = -3;
/// A row that makes the model forget its last row.
const SHORTENS: i64 = -4;

/// Gives every row times ten. Tells of each run when it starts and lets it end when it is allowed to.
struct Fake {
    signature: ModelSignature,
    started: async_mpsc::UnboundedSender<Vec<i64>>,
    allowed: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Model for Fake {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Tensor], _given: &[usize]) -> Result<Vec<Tensor>, RunError> {
        let values = ints(&inputs[0]);
        let _ = self.started.send(values.clone());
        // Fails once the other end is dropped: then everything may run.
        let _ = self.allowed.lock().unwrap().recv();
        if values.contains(&REFUSED) {
            return Err(RunError::Rejected("a refused value".into()));
        }
        if values.contains(&FAILS) {
            return Err(RunError::Failed("out of memory".into()));
        }
        if values.contains(&PANICS) {
            // Unlike panic!() this prints nothing.
            std::panic::resume_unwind(Box::new("the model's own bug"));
        }
        let mut answer: Vec<i64> = values.iter().map(|value| value * 10).collect();
        let mut shape = inputs[0].shape().to_vec();
        if values.contains(&SHORTENS) {
            shape[0] -= 1;
            answer.truncate(shape.iter().product());
        }
        Ok(vec![Tensor::new(shape, TensorData::Int64(answer)).unwrap()])
    }
}

fn arranged(tensor: Tensor) -> Arranged {
    Arranged {
        tensors: vec![tensor],
        given: vec![],
    }
}

/// The batcher with a view of its runs and the means to hold them.
struct Stage {
    batcher: Arc<Batcher>,
    started: async_mpsc::UnboundedReceiver<Vec<i64>>,
    allow: mpsc::Sender<()>,
    stats: BatchStats,
}

impl Stage {
    fn start(rows: Rows, max_waiting_rows: usize, max_batch_rows: usize) -> Self {
        Self::with_sessions(1, rows, max_waiting_rows, max_batch_rows)
    }

    fn with_sessions(
        sessions: usize,
        rows: Rows,
        max_waiting_rows: usize,
        max_batch_rows: usize,
    ) -> Self {
        let (starting, started) = async_mpsc::unbounded_channel();
        let (allow, allowed) = mpsc::channel();
        let allowed = Arc::new(Mutex::new(allowed));
        let model = || -> Box<dyn Model> {
            Box::new(Fake {
                signature: ModelSignature::default(),
                started: starting.clone(),
                allowed: allowed.clone(),
            })
        };
        let models = (0..sessions).map(|_| model()).collect();
        let limits = BatchLimits {
            max_waiting_rows,
            max_batch_rows,
            max_inline: Duration::ZERO,
        };
        let stats = BatchStats::default();
        Self {
            batcher: Arc::new(Batcher::start("fake", models, rows, limits, stats.clone()).unwrap()),
            started,
            allow,
            stats,
        }
    }

    /// Occupies the session with the row 0, so that everything after it waits.
    async fn occupied(rows: Rows, max_waiting_rows: usize, max_batch_rows: usize) -> (Self, Work) {
        let mut stage = Self::start(rows, max_waiting_rows, max_batch_rows);
        let first = stage.submit(&[0]);
        assert_eq!(stage.next_run().await, [0]);
        (stage, first)
    }

    /// Puts a job of one-column rows into the queue.
    fn submit(&self, rows: &[i64]) -> Work {
        self.submit_tensor(vec![rows.len(), 1], rows)
    }

    fn submit_tensor(&self, shape: Vec<usize>, values: &[i64]) -> Work {
        let batcher = self.batcher.clone();
        let rows = shape[0];
        let tensor = Tensor::new(shape, TensorData::Int64(values.to_vec())).unwrap();
        let mut work = Box::pin(async move { batcher.run(arranged(tensor), rows).await });
        // The first poll puts the job into the queue.
        assert!((&mut work).now_or_never().is_none(), "refused at once");
        tokio::spawn(work)
    }

    /// What the batcher says to a job that it does not take.
    async fn refusal(&self, rows: &[i64]) -> ScoreError {
        let tensor = Tensor::new(vec![rows.len(), 1], TensorData::Int64(rows.to_vec())).unwrap();
        let refused = self
            .batcher
            .run(arranged(tensor), rows.len())
            .now_or_never();
        refused.expect("it waits").unwrap_err()
    }

    /// The rows of the next run, once it starts.
    async fn next_run(&mut self) -> Vec<i64> {
        soon(self.started.recv()).await.unwrap()
    }

    /// Lets everything run. Returns the rows of each run to come, once all work is done.
    async fn run_freely(self) -> Vec<Vec<i64>> {
        let Self {
            batcher,
            mut started,
            allow,
            ..
        } = self;
        drop((batcher, allow));
        let mut runs = Vec::new();
        while let Some(run) = soon(started.recv()).await {
            runs.push(run);
        }
        runs
    }

    /// A job's place is given back a moment after its answer.
    async fn until_waiting_rows_are(&self, rows: usize) {
        soon(async {
            while self.batcher.waiting_rows() != rows {
                yield_now().await;
            }
        })
        .await;
    }
}

/// Makes a test that would hang fail.
async fn soon<F: Future>(work: F) -> F::Output {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, work).await.expect("it hangs")
}

type Work = JoinHandle<Result<Ran, ScoreError>>;

fn ints(tensor: &Tensor) -> Vec<i64> {
    match tensor.data() {
        TensorData::Int64(values) => values.clone(),
        other => panic!("{other:?}"),
    }
}

async fn outcome(work: Work) -> Result<Ran, ScoreError> {
    soon(work).await.unwrap()
}

async fn answer(work: Work) -> Vec<i64> {
    ints(&outcome(work).await.unwrap().outputs[0])
}

async fn cancel(work: Work) {
    work.abort();
    assert!(work.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_job_runs_and_gets_its_outputs() {
    let stage = Stage::start(Rows::Independent, 100, 8);
    let work = stage.submit(&[1, 2, 3]);
    assert_eq!(stage.run_freely().await, [[1, 2, 3]]);
    let ran = outcome(work).await.unwrap();
    assert_eq!(ran.outputs[0].shape(), [3, 1]);
    assert_eq!(ints(&ran.outputs[0]), [10, 20, 30]);
}

#[tokio::test]
async fn jobs_that_wait_together_share_a_run_and_get_their_own_rows() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let one = stage.submit(&[1]);
    let two = stage.submit(&[2, 3]);
    let three = stage.submit(&[4]);
    assert_eq!(stage.run_freely().await, [[1, 2, 3, 4]]);
    assert_eq!(answer(three).await, [40]);
    assert_eq!(answer(two).await, [20, 30]);
    assert_eq!(answer(one).await, [10]);
}

#[tokio::test]
async fn a_shared_run_ends_at_its_limit_of_rows() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 4).await;
    for row in 1..=5 {
        stage.submit(&[row]);
    }
    let runs = stage.run_freely().await;
    assert_eq!(runs, [vec![1, 2, 3, 4], vec![5]]);
}

#[tokio::test]
async fn a_job_that_does_not_fit_starts_the_next_run() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 4).await;
    let one = stage.submit(&[1, 2, 3]);
    let two = stage.submit(&[4, 5]);
    let three = stage.submit(&[6]);
    let runs = stage.run_freely().await;
    assert_eq!(runs, [vec![1, 2, 3], vec![4, 5, 6]]);
    assert_eq!(answer(one).await, [10, 20, 30]);
    assert_eq!(answer(two).await, [40, 50]);
    assert_eq!(answer(three).await, [60]);
}

#[tokio::test]
async fn an_idle_session_runs_at_once_what_is_known_to_be_short() {
    let mut stage = Stage::start(Rows::Independent, 100, 2);
    let unknown = stage.submit(&[1]);
    stage.next_run().await;
    stage.allow.send(()).unwrap();
    assert_eq!(answer(unknown).await, [10]);
    let limits = stage.batcher.limits;
    let Some(batcher) = Arc::get_mut(&mut stage.batcher) else {
        panic!("the batcher is still shared");
    };
    batcher.limits = BatchLimits {
        max_inline: Duration::from_secs(60),
        ..limits
    };
    let run = |rows: &[i64]| {
        let tensor = Tensor::new(vec![rows.len(), 1], TensorData::Int64(rows.to_vec())).unwrap();
        let batcher = stage.batcher.clone();
        let rows = rows.len();
        async move { batcher.run(arranged(tensor), rows).await }
    };
    // The session goes back a moment after its answer.
    soon(async {
        let minute = Duration::from_secs(60);
        while stage.batcher.queue.take_free(1, minute).is_none() {
            yield_now().await;
        }
    })
    .await;
    stage.allow.send(()).unwrap();
    let short = run(&[2, 3, 4]).now_or_never().expect("it does not wait");
    assert_eq!(ints(&short.unwrap().outputs[0]), [20, 30, 40]);
    assert_eq!(stage.batcher.waiting_rows(), 0);

    stage.allow.send(()).unwrap();
    let panicked = run(&[PANICS]).now_or_never().expect("it does not wait");
    assert!(matches!(panicked, Err(ScoreError::Internal(_))));

    let mut busy = Box::pin(run(&[5]));
    let taken = stage.batcher.queue.take_free(1, Duration::from_secs(60));
    assert!(taken.is_some());
    assert!((&mut busy).now_or_never().is_none(), "no session is free");
    drop(taken);
    stage.allow.send(()).unwrap();
    assert_eq!(ints(&soon(busy).await.unwrap().outputs[0]), [50]);
}

#[tokio::test]
async fn rows_that_belong_together_never_share_a_run() {
    let (stage, _first) = Stage::occupied(Rows::Together, 100, 8).await;
    let one = stage.submit(&[1]);
    let two = stage.submit(&[2]);
    assert_eq!(stage.run_freely().await, [[1], [2]]);
    assert_eq!(answer(one).await, [10]);
    assert_eq!(answer(two).await, [20]);
}

#[tokio::test]
async fn rows_of_another_shape_do_not_share_a_run() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let narrow = stage.submit_tensor(vec![1, 2], &[1, 2]);
    let wide = stage.submit_tensor(vec![1, 3], &[3, 4, 5]);
    let wide_too = stage.submit_tensor(vec![1, 3], &[6, 7, 8]);
    let runs = stage.run_freely().await;
    assert_eq!(runs, [vec![1, 2], vec![3, 4, 5, 6, 7, 8]]);
    assert_eq!(answer(narrow).await, [10, 20]);
    assert_eq!(answer(wide).await, [30, 40, 50]);
    assert_eq!(answer(wide_too).await, [60, 70, 80]);
}

#[tokio::test]
async fn a_failing_shared_run_is_repeated_one_by_one() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let good = stage.submit(&[1, 2]);
    let bad = stage.submit(&[REFUSED]);
    let also_good = stage.submit(&[3]);
    let runs = stage.run_freely().await;
    assert_eq!(
        runs,
        [vec![1, 2, REFUSED, 3], vec![1, 2], vec![REFUSED], vec![3]]
    );
    assert_eq!(answer(good).await, [10, 20]);
    assert!(matches!(
        outcome(bad).await,
        Err(ScoreError::ModelRejected(_))
    ));
    assert_eq!(answer(also_good).await, [30]);
}

#[tokio::test]
async fn a_shared_run_that_loses_rows_is_repeated_one_by_one() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let good = stage.submit(&[1]);
    let odd = stage.submit(&[SHORTENS, 2]);
    assert_eq!(stage.run_freely().await.len(), 3);
    assert_eq!(answer(good).await, [10]);
    assert_eq!(answer(odd).await, [-40]);
}

#[tokio::test]
async fn a_panic_in_a_shared_run_ends_only_the_guilty_job() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let good = stage.submit(&[1]);
    let bad = stage.submit(&[PANICS]);
    assert_eq!(stage.run_freely().await.len(), 3);
    assert_eq!(answer(good).await, [10]);
    assert!(matches!(outcome(bad).await, Err(ScoreError::Internal(_))));
}

#[tokio::test]
async fn the_thread_goes_on_after_a_panic() {
    let mut stage = Stage::start(Rows::Independent, 100, 8);
    let bad = stage.submit(&[PANICS]);
    stage.next_run().await;
    stage.allow.send(()).unwrap();
    let error = outcome(bad).await.unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::Internal);
    let next = stage.submit(&[1]);
    assert_eq!(stage.run_freely().await, [[1]]);
    assert_eq!(answer(next).await, [10]);
}

#[tokio::test]
async fn a_refusal_by_the_model_is_the_callers_fault_and_a_failure_is_not() {
    let (stage, _first) = Stage::occupied(Rows::Together, 100, 8).await;
    let refused = stage.submit(&[REFUSED]);
    let failed = stage.submit(&[FAILS]);
    stage.run_freely().await;
    let (refused, failed) = (
        outcome(refused).await.unwrap_err(),
        outcome(failed).await.unwrap_err(),
    );
    assert_eq!(refused.code(), crate::ErrorCode::InvalidInput);
    assert_eq!(failed.code(), crate::ErrorCode::Internal);
    assert_eq!(failed.to_string(), "out of memory");
}

/// How many times a histogram holds.
fn count(times: &Times) -> u64 {
    let (mut registry, mut text) = (Registry::default(), String::new());
    registry.register("times", "Times", times.histogram().clone());
    encode(&mut text, &registry).unwrap();
    let count = text.lines().find_map(|l| l.strip_prefix("times_count "));
    count.unwrap().parse().unwrap()
}

#[tokio::test]
async fn runs_that_fail_are_counted_as_all_others_are() {
    let (stage, first) = Stage::occupied(Rows::Independent, 100, 10).await;
    let refused = stage.submit(&[REFUSED]);
    let good = stage.submit(&[1]);
    let stats = stage.stats.clone();
    assert_eq!(stage.run_freely().await.len(), 3);
    assert!(outcome(refused).await.is_err());
    for work in [first, good] {
        answer(work).await;
    }
    // The first one, both together, and each of the two alone.
    assert_eq!(count(&stats.runs), 4);
    assert_eq!(count(&stats.waits), 3, "one for each job");
}

#[tokio::test]
async fn each_session_runs_a_job_of_its_own() {
    let mut stage = Stage::with_sessions(2, Rows::Together, 100, 8);
    let one = stage.submit(&[1]);
    let two = stage.submit(&[2]);
    let mut running = Vec::new();
    for _ in 0..2 {
        running.extend(stage.next_run().await);
    }
    running.sort_unstable();
    assert_eq!(running, [1, 2], "both run before either may end");
    stage.run_freely().await;
    assert_eq!((answer(one).await, answer(two).await), (vec![10], vec![20]));
}

#[tokio::test]
async fn a_job_that_does_not_fit_goes_to_the_next_free_session() {
    let mut stage = Stage::with_sessions(2, Rows::Independent, 100, 2);
    for row in [1, 2] {
        stage.submit(&[row]);
        assert_eq!(stage.next_run().await, [row]);
    }
    stage.submit(&[3]);
    stage.submit(&[4, 5]);
    for _ in 0..2 {
        stage.allow.send(()).unwrap();
    }
    let mut running = [stage.next_run().await, stage.next_run().await];
    running.sort_unstable();
    assert_eq!(running, [vec![3], vec![4, 5]]);
}

#[tokio::test]
async fn the_time_in_the_queue_is_measured() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let one = stage.submit(&[1]);
    let two = stage.submit(&[2]);
    let submitted = Instant::now();
    let busy = Duration::from_millis(2);
    while submitted.elapsed() < busy {
        std::hint::spin_loop();
    }
    stage.run_freely().await;
    assert!(outcome(one).await.unwrap().queue >= busy);
    assert!(outcome(two).await.unwrap().queue >= busy);
}

#[tokio::test]
async fn work_that_waits_is_done_even_if_the_last_handle_goes() {
    let (stage, first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let waiting = stage.submit(&[1]);
    assert_eq!(stage.run_freely().await, [[1]]);
    assert_eq!(answer(first).await, [0]);
    assert_eq!(answer(waiting).await, [10]);
}

#[tokio::test]
async fn the_threads_end_with_the_last_handle() {
    let Stage {
        batcher,
        mut started,
        allow: _allow,
        ..
    } = Stage::with_sessions(2, Rows::Independent, 100, 8);
    drop(batcher);
    assert_eq!(soon(started.recv()).await, None, "both models are dropped");
}

#[tokio::test]
async fn a_job_cancelled_during_the_repeat_one_by_one_never_runs() {
    let (mut stage, first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let refused = stage.submit(&[REFUSED]);
    let cancelled = stage.submit(&[2]);
    stage.allow.send(()).unwrap();
    assert_eq!(stage.next_run().await, [REFUSED, 2]);
    stage.allow.send(()).unwrap();
    assert_eq!(stage.next_run().await, [REFUSED]);
    cancel(cancelled).await;
    assert_eq!(stage.run_freely().await, Vec::<Vec<i64>>::new());
    outcome(first).await.unwrap();
    outcome(refused).await.unwrap_err();
}
