//! Which texts share runs, and what becomes of those that fail or are given up.

use std::sync::mpsc::{Sender, channel};

use futures_util::FutureExt;
use tokio::task::yield_now;

use super::fake::{BAD, FakeSession, FakeTexts, Seen};
use super::*;
use crate::tensor::TensorData;

struct Stage {
    batcher: Arc<TextBatcher>,
    seen: Seen,
    hold: Sender<()>,
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
            vec![Box::new(session)],
            limits,
            BatchStats::default(),
        );
        Self {
            batcher: Arc::new(batcher.unwrap()),
            seen,
            hold,
        }
    }

    /// The lengths of texts, asked for in one request.
    fn ask(
        &self,
        lengths: &[usize],
    ) -> futures_util::future::BoxFuture<'static, Result<Vec<f32>, ScoreError>> {
        let batcher = self.batcher.clone();
        let text = |length: &usize| Passage::from("x".repeat(*length));
        let texts: Vec<Passage> = lengths.iter().map(text).collect();
        async move {
            let mut found = vec![0.0; texts.len()];
            let done = |results: TextResults| {
                for (place, outputs) in results {
                    if let TensorData::Float32(values) = outputs[0].data() {
                        found[place] = values[0];
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

    async fn began(&self, runs: usize) {
        while self.seen.runs().len() < runs {
            yield_now().await;
        }
    }

    fn release(self) -> Seen {
        self.seen.clone()
    }
}

#[tokio::test]
async fn texts_of_all_requests_share_runs_by_length() {
    let stage = Stage::new(Some(32));
    let mut first = stage.ask(&[1]);
    assert!((&mut first).now_or_never().is_none());
    stage.began(1).await;
    // Two requests wait meanwhile.
    let mut a = stage.ask(&[8, 30, 3, 8]);
    let mut b = stage.ask(&[9, 8, 40, 6]);
    assert!((&mut a).now_or_never().is_none() && (&mut b).now_or_never().is_none());
    let Stage {
        batcher,
        seen,
        hold,
    } = stage;
    drop(hold);
    assert_eq!(first.await.unwrap(), [1.0]);
    assert_eq!(a.await.unwrap(), [8.0, 30.0, 3.0, 8.0]);
    assert_eq!(b.await.unwrap(), [9.0, 8.0, 40.0, 6.0]);
    drop(batcher);
    // Equal length first, then the neighbour that pads least; what would pad more than it saves stays out.
    assert_eq!(
        seen.runs()[1..],
        [vec![8, 8, 8, 6], vec![9], vec![30], vec![40], vec![3]]
    );
}

#[tokio::test]
async fn without_leave_each_text_runs_alone() {
    let stage = Stage::new(None);
    let all = stage.ask(&[2, 2, 2]);
    let seen = stage.release();
    assert_eq!(all.await.unwrap(), [2.0, 2.0, 2.0]);
    assert_eq!(seen.runs(), [[2], [2], [2]]);
}

#[tokio::test]
async fn a_request_of_one_text_waits_for_one_run_of_a_long_request() {
    let stage = Stage::new(Some(8));
    let mut long = stage.ask(&[8; 300]);
    assert!((&mut long).now_or_never().is_none());
    stage.began(1).await;
    let mut short = stage.ask(&[1]);
    assert!((&mut short).now_or_never().is_none());
    let Stage {
        batcher,
        seen,
        hold,
    } = stage;
    drop(hold);
    short.await.unwrap();
    long.await.unwrap();
    drop(batcher);
    assert!(
        seen.runs()[1..3].contains(&vec![1]),
        "{:?}",
        &seen.runs()[..4]
    );
}

#[tokio::test]
async fn a_text_that_fails_or_is_refused_costs_its_own_request_only() {
    let stage = Stage::new(Some(64));
    let mut first = stage.ask(&[1]);
    assert!((&mut first).now_or_never().is_none());
    stage.began(1).await;
    let (mut good, mut bad) = (stage.ask(&[BAD - 1, BAD + 1]), stage.ask(&[2, BAD]));
    let mut long = stage.ask(&[5, 5, 65]);
    for asked in [&mut good, &mut bad, &mut long] {
        assert!(asked.now_or_never().is_none());
    }
    drop(stage.hold);
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
    let stage = Stage::new(Some(8));
    let mut first = stage.ask(&[1]);
    assert!((&mut first).now_or_never().is_none());
    stage.began(1).await;
    let mut gone = stage.ask(&[7; 20]);
    assert!((&mut gone).now_or_never().is_none());
    drop(gone);
    let mut last = stage.ask(&[2]);
    assert!((&mut last).now_or_never().is_none());
    let Stage {
        batcher,
        seen,
        hold,
    } = stage;
    drop(hold);
    first.await.unwrap();
    last.await.unwrap();
    assert_eq!(seen.runs(), [[1], [2]]);
    assert_eq!(batcher.waiting_texts(), 0);
}
