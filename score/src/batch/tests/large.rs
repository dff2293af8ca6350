//! Jobs that are cut into parts, and rows that run alone.

use super::*;

#[tokio::test]
async fn a_large_job_is_cut_and_lets_others_in_between() {
    let (stage, _first) = Stage::occupied(Rows::Independent, 100, 2).await;
    let large = stage.submit(&[1, 2, 3, 4, 5]);
    let small = stage.submit(&[6, 7]);
    let runs = stage.run_freely().await;
    assert_eq!(runs, [vec![1, 2], vec![6, 7], vec![3, 4], vec![5]]);
    let ran = outcome(large).await.unwrap();
    assert_eq!(ran.outputs[0].shape(), [5, 1]);
    assert_eq!(ints(&ran.outputs[0]), [10, 20, 30, 40, 50]);
    assert_eq!(answer(small).await, [60, 70]);
}

#[tokio::test]
async fn the_parts_of_a_large_job_run_on_all_sessions() {
    let mut stage = Stage::with_sessions(2, Rows::Independent, 100, 2);
    let large = stage.submit(&[1, 2, 3, 4, 5]);
    let mut first = [stage.next_run().await, stage.next_run().await];
    first.sort();
    assert_eq!(first, [[1, 2], [3, 4]], "both at once");
    assert_eq!(stage.run_freely().await, [[5]]);
    assert_eq!(answer(large).await, [10, 20, 30, 40, 50]);
}

#[tokio::test]
async fn a_large_job_whose_parts_do_not_fit_runs_as_a_whole() {
    let stage = Stage::start(Rows::Independent, 100, 2);
    let large = stage.submit(&[1, 2, SHORTENS, 3]);
    assert_eq!(
        stage.run_freely().await.last(),
        Some(&vec![1, 2, SHORTENS, 3])
    );
    assert_eq!(answer(large).await, [10, 20, -40]);
}

#[tokio::test]
async fn rows_that_run_alone_share_no_run_and_come_back_in_order() {
    let (stage, _first) = Stage::occupied(Rows::Alone, 100, 8).await;
    let one = stage.submit(&[1]);
    let two = stage.submit(&[2, 3, 4]);
    assert_eq!(
        stage.run_freely().await,
        [vec![1], vec![2], vec![3], vec![4]]
    );
    assert_eq!(answer(one).await, [10]);
    let ran = outcome(two).await.unwrap();
    assert_eq!(ran.outputs[0].shape(), [3, 1]);
    assert_eq!(ints(&ran.outputs[0]), [20, 30, 40]);
}

#[tokio::test]
async fn rows_that_run_alone_are_spread_over_all_sessions() {
    let mut stage = Stage::with_sessions(2, Rows::Alone, 100, 8);
    let work = stage.submit(&[1, 2, 3, 4]);
    let mut first = [stage.next_run().await, stage.next_run().await];
    first.sort();
    assert_eq!(first, [[1], [3]], "both at once");
    let mut rest = stage.run_freely().await;
    rest.sort();
    assert_eq!(rest, [[2], [4]]);
    assert_eq!(answer(work).await, [10, 20, 30, 40]);
}

#[tokio::test]
async fn rows_that_run_alone_are_never_run_together_instead() {
    for (row, refused) in [(REFUSED, "refused"), (SHORTENS, "put together")] {
        let stage = Stage::start(Rows::Alone, 100, 8);
        let work = stage.submit(&[1, row, 2]);
        let runs = stage.run_freely().await;
        assert!(runs.iter().all(|run| run.len() == 1), "{runs:?}");
        let error = outcome(work).await.unwrap_err();
        assert!(matches!(error, ScoreError::ModelRejected(_)));
        assert!(error.to_string().contains(refused), "{error}");
    }
}

#[tokio::test]
async fn a_refused_row_refuses_the_whole_large_job() {
    let stage = Stage::start(Rows::Independent, 100, 2);
    let large = stage.submit(&[1, 2, REFUSED, 3, 4, 5]);
    let runs = stage.run_freely().await;
    assert_eq!(runs, [vec![1, 2], vec![REFUSED, 3]], "the rest is in vain");
    let refused = outcome(large).await.unwrap_err();
    assert!(matches!(refused, ScoreError::ModelRejected(_)));
}
