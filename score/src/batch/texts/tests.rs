//! Which texts share runs, and what becomes of those that fail or are given up.

use std::sync::mpsc::{Sender, channel};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::yield_now;

use super::fake::{BAD, FakeSession, FakeTexts, Seen};
use super::*;
use crate::tensor::TensorData;

type Asked = BoxFuture<'static, Result<Vec<f32>, ScoreError>>;

struct Stage {
    batcher: Arc<TextBatcher>,
    seen: Seen,
    /// Runs wait as long as it is there.
    hold: Option<Sender<()>>,
}

impl Stage {
    fn new(slots: Option<usize>) -> Self {
        let (hold, held) = channel();
        let seen = Seen::default();
        let session = FakeSession {
            seen: seen.clone(),
            rounded: false,
            hold: held,
        };
        let limits = BatchLimits {
            max_waiting_rows: 1000,
            max_batch_rows: 1,
            max_inline: Duration::ZERO,
        };
        let batcher = TextBatcher::start(
            "fake",
            Arc::new(FakeTexts { slots }),
            Box::new(session),
            Vec::new(),
            limits,
            BatchStats::default(),
        );
        Self {
            batcher: Arc::new(batcher.unwrap()),
            seen,
            hold: Some(hold),
        }
    }

    /// The lengths of texts, asked for in one request.
    fn ask(&self, lengths: &[usize]) -> Asked {
        let batcher = self.batcher.clone();
        let text = |length: &usize| Passage::from("x".repeat(*length));
        let texts: Vec<Passage> = lengths.iter().map(text).collect();
        async move {
            let mut found = vec![0.0; texts.len()];
            let done = |results: TextResults| {
                for (index, outputs) in results {
                    if let TensorData::Float32(values) = outputs[0].data() {
                        found[index] = values[0];
                    }
                }
                Ok(())
            };
            let options = TextOptions::default();
            batcher.run(texts, &options, Wanted::Outputs, done).await?;
            Ok(found)
        }
        .boxed()
    }

    /// The same, and it waits for a session or a run.
    fn waiting(&self, lengths: &[usize]) -> Asked {
        let mut asked = self.ask(lengths);
        assert!((&mut asked).now_or_never().is_none());
        asked
    }

    /// The same, and its first run has begun.
    async fn running(&self, lengths: &[usize]) -> Asked {
        let asked = self.waiting(lengths);
        while self.seen.runs().is_empty() {
            yield_now().await;
        }
        asked
    }

    fn release(&mut self) {
        self.hold = None;
    }

    /// The lengths of the texts in each run, once all have ended.
    fn runs(self) -> Vec<Vec<usize>> {
        drop(self.batcher);
        self.seen.runs()
    }
}

#[tokio::test]
async fn texts_of_all_requests_share_runs_by_length() {
    let mut stage = Stage::new(Some(32));
    let first = stage.running(&[1]).await;
    // Two requests wait meanwhile.
    let a = stage.waiting(&[8, 30, 3, 8]);
    let b = stage.waiting(&[9, 8, 40, 6]);
    stage.release();
    assert_eq!(first.await.unwrap(), [1.0]);
    assert_eq!(a.await.unwrap(), [8.0, 30.0, 3.0, 8.0]);
    assert_eq!(b.await.unwrap(), [9.0, 8.0, 40.0, 6.0]);
    // Equal length first, then the neighbour that pads least; what would pad more than it saves stays out.
    assert_eq!(
        stage.runs()[1..],
        [vec![8, 8, 8, 6], vec![9, 3], vec![30], vec![40]]
    );
}

#[tokio::test]
async fn without_leave_each_text_runs_alone() {
    let mut stage = Stage::new(None);
    let all = stage.ask(&[2, 2, 2]);
    stage.release();
    assert_eq!(all.await.unwrap(), [2.0, 2.0, 2.0]);
    assert_eq!(stage.runs(), [[2], [2], [2]]);
}

#[tokio::test]
async fn a_request_of_one_text_waits_for_one_run_of_a_long_request() {
    let mut stage = Stage::new(Some(8));
    let long = stage.running(&[8; 300]).await;
    let short = stage.waiting(&[1]);
    stage.release();
    short.await.unwrap();
    long.await.unwrap();
    let runs = stage.runs();
    assert!(runs[1..3].contains(&vec![1]), "{:?}", &runs[..4]);
}

#[tokio::test]
async fn a_text_that_fails_or_is_refused_costs_its_own_request_only() {
    let mut stage = Stage::new(Some(64));
    let first = stage.running(&[1]).await;
    let good = stage.waiting(&[BAD - 1, BAD + 1]);
    let bad = stage.waiting(&[2, BAD]);
    let long = stage.waiting(&[5, 5, 65]);
    stage.release();
    first.await.unwrap();
    assert_eq!(good.await.unwrap(), [12.0, 14.0]);
    let reason = bad.await.unwrap_err();
    assert!(matches!(&reason, ScoreError::ModelRejected(reason) if reason == "thirteen"));
    let refused = long.await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "text 2 has 65 tokens; the model sees at most 64: shorten it, or let it be cut"
    );
    assert_eq!(stage.batcher.waiting_texts(), 0);
}

#[tokio::test]
async fn texts_of_a_caller_who_has_gone_are_not_run() {
    let mut stage = Stage::new(Some(8));
    let first = stage.running(&[1]).await;
    drop(stage.waiting(&[7; 20]));
    let last = stage.waiting(&[2]);
    stage.release();
    first.await.unwrap();
    last.await.unwrap();
    assert_eq!(stage.batcher.waiting_texts(), 0);
    assert_eq!(stage.runs(), [[1], [2]]);
}
