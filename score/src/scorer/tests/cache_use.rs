//! What a request may do with remembered results: use, refresh or bypass them.

use super::*;

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
    let outputs = whole.join(&scorer.stored, &[Some(payload)]);
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
