//! Requests that fit the model, and those that do not.

use super::*;

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
    let (scorer, runs) = Plan::of_two_inputs().start(&cache(), tenfold);
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
