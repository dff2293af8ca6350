//! Values of all types through the cache.

use super::*;

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
