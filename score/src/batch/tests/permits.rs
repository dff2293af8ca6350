//! How much may wait, and how it is given back.

use super::*;

#[tokio::test]
async fn too_many_waiting_rows_are_refused_at_once() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 4, 8).await;
    let _waiting = stage.submit(&[1, 2]);
    assert_eq!(stage.batcher.waiting_rows(), 3);
    assert!(matches!(
        stage.refusal(&[3, 4]).await,
        ScoreError::Overloaded
    ));
    assert_eq!(stage.batcher.waiting_rows(), 3);
}

#[tokio::test]
async fn a_smaller_job_still_finds_a_place_after_a_refusal() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 4, 8).await;
    let _waiting = stage.submit(&[1, 2]);
    stage.refusal(&[3, 4]).await;
    let small = stage.submit(&[5]);
    stage.run_freely().await;
    assert_eq!(answer(small).await, [50]);
}

#[tokio::test]
async fn finished_jobs_give_their_places_back() {
    let (stage, first) = Stage::occupied(Rows::Independent, 4, 8).await;
    let failing = stage.submit(&[1, 2, REFUSED]);
    stage.refusal(&[3]).await;
    for _ in 0..2 {
        stage.allow.send(()).unwrap();
    }
    outcome(first).await.unwrap();
    outcome(failing).await.unwrap_err();
    stage.until_waiting_rows_are(0).await;
    let next = stage.submit(&[3, 4, 5, 6]);
    stage.run_freely().await;
    assert_eq!(answer(next).await, [30, 40, 50, 60]);
}

#[tokio::test]
async fn a_job_without_rows_takes_a_place_too() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 2, 8).await;
    let empty = stage.submit(&[]);
    assert_eq!(stage.batcher.waiting_rows(), 2);
    stage.run_freely().await;
    assert!(answer(empty).await.is_empty());
}

#[tokio::test]
async fn a_cancelled_job_never_runs() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let before = stage.submit(&[1]);
    let cancelled = stage.submit(&[2]);
    let after = stage.submit(&[3]);
    cancel(cancelled).await;
    assert_eq!(stage.run_freely().await, [[1, 3]]);
    assert_eq!(answer(before).await, [10]);
    assert_eq!(answer(after).await, [30]);
}

#[tokio::test]
async fn a_cancelled_job_at_the_head_of_the_queue_never_runs() {
    let (stage, _first) = Stage::occupied(Rows::Together, 100, 8).await;
    cancel(stage.submit(&[1])).await;
    let after = stage.submit(&[2]);
    assert_eq!(stage.run_freely().await, [[2]]);
    assert_eq!(answer(after).await, [20]);
}

#[tokio::test]
async fn a_cancelled_job_gives_its_place_back_when_its_turn_comes() {
    let (stage, first) = Stage::occupied(Rows::Independent, 4, 8).await;
    cancel(stage.submit(&[1, 2, 3])).await;
    stage.allow.send(()).unwrap();
    outcome(first).await.unwrap();
    stage.until_waiting_rows_are(0).await;
}

#[tokio::test]
async fn a_job_cancelled_while_it_runs_gives_its_place_back() {
    let (stage, first) = Stage::occupied(Rows::Independent, 4, 8).await;
    cancel(first).await;
    assert_eq!(stage.batcher.waiting_rows(), 1, "it still runs");
    stage.allow.send(()).unwrap();
    stage.until_waiting_rows_are(0).await;
}

#[tokio::test]
async fn a_job_cancelled_during_a_shared_run_does_not_harm_the_others() {
    let (mut stage, _first) = Stage::occupied(Rows::Independent, 100, 8).await;
    let cancelled = stage.submit(&[1]);
    let other = stage.submit(&[2]);
    stage.allow.send(()).unwrap();
    assert_eq!(stage.next_run().await, [1, 2]);
    cancel(cancelled).await;
    stage.run_freely().await;
    assert_eq!(answer(other).await, [20]);
}

#[tokio::test]
async fn a_job_larger_than_the_queue_may_have_it_to_itself() {
    let mut stage = Stage::start(Rows::Independent, 2, 8);
    let large = stage.submit(&[1, 2, 3]);
    stage.next_run().await;
    assert!(matches!(stage.refusal(&[4]).await, ScoreError::Overloaded));
    stage.run_freely().await;
    assert_eq!(answer(large).await, [10, 20, 30]);
}

#[tokio::test]
async fn a_job_larger_than_the_queue_is_refused_while_others_wait() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 2, 8).await;
    assert!(matches!(
        stage.refusal(&[1, 2, 3]).await,
        ScoreError::Overloaded
    ));
}

#[tokio::test]
async fn a_caller_with_an_answer_finds_the_permits_free_again() {
    let stage = Stage::start(Rows::Independent, 2, 8);
    let Stage { batcher, allow, .. } = stage;
    drop(allow);
    for _ in 0..2000 {
        let tensor = Tensor::new(vec![2, 1], TensorData::Int64(vec![1, 2])).unwrap();
        batcher.run(arranged(tensor), 2).await.unwrap();
    }
}

#[tokio::test]
async fn abandoned_jobs_make_room_for_those_who_still_wait() {
    let (stage, first) = Stage::occupied(Rows::Independent, 4, 8).await;
    cancel(stage.submit(&[1, 2, 3])).await;
    let second = stage.submit(&[4, 5]);
    assert_eq!(stage.batcher.waiting_rows(), 3);
    assert_eq!(stage.run_freely().await, [[4, 5]]);
    outcome(first).await.unwrap();
    outcome(second).await.unwrap();
}
