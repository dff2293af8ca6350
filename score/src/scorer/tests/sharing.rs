//! Identical units that are requested at the same time: computed once, and every request gets its result.

use super::*;

/// Starts a request and lets it run until it waits for another request.
async fn started(
    scorer: &Arc<Scorer>,
    values: &'static [f32],
) -> tokio::task::JoinHandle<Result<InferenceResponse, ScoreError>> {
    let scorer = scorer.clone();
    let task = tokio::spawn(async move { scorer.score(request(values)).await });
    for _ in 0..20 {
        yield_now().await;
    }
    task
}

#[tokio::test]
async fn rows_in_work_are_computed_once_for_all_requests() {
    let (scorer, runs, allow) = held(Plan::default(), &cache());
    let scorer = Arc::new(scorer);
    let first = started(&scorer, &[1.0, 2.0]).await;
    let same = started(&scorer, &[2.0]).await;
    let more = started(&scorer, &[3.0, 1.0, 2.0]).await;
    drop(allow);
    let first = first.await.unwrap().unwrap();
    assert_eq!(
        (output(&first), first.cache),
        (vec![10.0, 20.0], asked(0, 2))
    );
    let same = same.await.unwrap().unwrap();
    assert_eq!((output(&same), same.cache), (vec![20.0], asked(1, 1)));
    let more = more.await.unwrap().unwrap();
    assert_eq!(
        (output(&more), more.cache),
        (vec![30.0, 10.0, 20.0], asked(2, 3))
    );
    // In one run or two, as the session's thread comes by.
    assert_eq!(runs.values().concat(), [1.0, 2.0, 3.0]);
    assert_eq!(scorer.cache.stats().shared.get(), 3);
}

#[tokio::test]
async fn requests_that_wait_for_each_other_both_end() {
    let (scorer, runs, allow) = held(Plan::default(), &cache());
    let scorer = Arc::new(scorer);
    let all = [
        started(&scorer, &[1.0, 2.0, 9.0]).await,
        started(&scorer, &[3.0, 1.0]).await,
        started(&scorer, &[2.0, 3.0, 4.0]).await,
        started(&scorer, &[4.0, 9.0]).await,
    ];
    drop(allow);
    let mut outputs = Vec::new();
    for task in all {
        outputs.push(output(&task.await.unwrap().unwrap()));
    }
    assert_eq!(
        outputs,
        [
            vec![10.0, 20.0, 90.0],
            vec![30.0, 10.0],
            vec![20.0, 30.0, 40.0],
            vec![40.0, 90.0]
        ]
    );
    assert_eq!(runs.values().concat().len(), 5, "each row once");
}

#[tokio::test]
async fn whole_requests_in_work_are_computed_once() {
    let (scorer, runs, allow) = held(Plan::together(), &cache());
    let scorer = Arc::new(scorer);
    let first = started(&scorer, &[1.0, 2.0]).await;
    let second = started(&scorer, &[1.0, 2.0]).await;
    drop(allow);
    assert_eq!(first.await.unwrap().unwrap().cache, asked(0, 1));
    assert_eq!(second.await.unwrap().unwrap().cache, asked(1, 1));
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_leader_that_is_cancelled_strands_nobody() {
    let (scorer, _, allow) = held(Plan::default(), &cache());
    let scorer = Arc::new(scorer);
    let leader = started(&scorer, &[1.0]).await;
    let followers = [
        started(&scorer, &[1.0]).await,
        started(&scorer, &[1.0, 2.0]).await,
    ];
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    drop(allow);
    for (task, expected) in followers.into_iter().zip([vec![10.0], vec![10.0, 20.0]]) {
        assert_eq!(output(&task.await.unwrap().unwrap()), expected);
    }
}

#[tokio::test]
async fn a_leader_that_fails_strands_nobody() {
    let mut failures = 1;
    let (scorer, allow) = {
        let (allow, allowed) = mpsc::channel::<()>();
        let mut plan = Plan::default();
        // Else both requests' own rows might share a run, and be tried again after it.
        plan.options.batch.max_batch_rows = 1;
        let (scorer, _) = plan.start(&cache(), move |inputs| {
            let _ = allowed.recv();
            if failures > 0 {
                failures -= 1;
                return Err(RunError::Failed("out of luck".into()));
            }
            tenfold(inputs)
        });
        (Arc::new(scorer), allow)
    };
    let leader = started(&scorer, &[1.0]).await;
    let follower = started(&scorer, &[1.0, 2.0]).await;
    drop(allow);
    assert!(leader.await.unwrap().is_err());
    assert_eq!(output(&follower.await.unwrap().unwrap()), [10.0, 20.0]);
}

#[tokio::test]
async fn a_leader_without_storable_results_strands_nobody() {
    let (allow, allowed) = mpsc::channel::<()>();
    // One output row for any number of rows: it belongs to none of them.
    let (scorer, _) = Plan::default().start(&cache(), move |inputs| {
        let _ = allowed.recv();
        Ok(vec![column(&[floats(&inputs[0]).iter().sum()])])
    });
    let scorer = Arc::new(scorer);
    let leader = started(&scorer, &[1.0, 2.0]).await;
    let follower = started(&scorer, &[2.0, 1.0]).await;
    drop(allow);
    assert_eq!(output(&leader.await.unwrap().unwrap()), [3.0]);
    assert_eq!(output(&follower.await.unwrap().unwrap()), [3.0]);
}

#[tokio::test]
async fn a_refresh_does_not_take_what_others_compute() {
    let (scorer, runs, allow) = held(Plan::default(), &cache());
    let scorer = Arc::new(scorer);
    let first = started(&scorer, &[1.0]).await;
    let fresh = {
        let scorer = scorer.clone();
        tokio::spawn(async move { scorer.score(request_using(CacheUse::Refresh, &[1.0])).await })
    };
    yield_now().await;
    drop(allow);
    assert!(first.await.unwrap().is_ok());
    assert_eq!(fresh.await.unwrap().unwrap().cache, asked(0, 1));
    assert_eq!(runs.values().concat().len(), 2);
}
