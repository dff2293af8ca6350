//! Models that fail, take too long, or give what is no row.

use super::*;

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
