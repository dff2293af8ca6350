//! Texts through the scorer: what is stored of them, and when.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use super::shared_store::{FakeStore, until};
use super::*;
use crate::batch::fake::{FakeSession, FakeTexts, Seen};
use crate::text::{Activation, EMBEDDING, TEXT, TOKENS, TRUNCATED, Task, Truncate};

fn known(stored_as: ElementType) -> TextMetadata {
    TextMetadata {
        task: Task::Embedding,
        pairs: false,
        labels: Vec::new(),
        activation: Activation::None,
        pooling: "mean".into(),
        normalize: false,
        max_dimensions: 2,
        dimensions: 2,
        max_tokens: 64,
        max_chars: 64,
        truncate: Truncate::Right,
        prompt: "it is ".into(),
        prompts: BTreeMap::new(),
        tokenizer: "BPE",
        batch_tokens: 8,
        max_texts: 5,
        stored_as,
        company: Arc::new(OnceLock::new()),
    }
}

fn start(cache: &Arc<Cache>, stored_as: ElementType) -> (Scorer, Seen, Sender<()>) {
    let rows = || vec![Dim::Dynamic(None)];
    let vectors = vec![Dim::Dynamic(None), Dim::Fixed(2)];
    let signature = ModelSignature::of_tensors(
        vec![spec(TEXT, ElementType::String, rows())],
        vec![
            spec(EMBEDDING, ElementType::Float32, vectors),
            spec(TOKENS, ElementType::Int64, rows()),
            spec(TRUNCATED, ElementType::Bool, rows()),
        ],
    );
    let digest = ModelDigest::new(&blake3::hash(b"texts"), "1");
    let metadata = ModelMetadata {
        text: Some(known(stored_as)),
        ..ModelMetadata::new("fake", signature, Rows::Independent, digest)
    };
    let (hold, held) = channel();
    let seen = Seen::default();
    let session = FakeSession {
        seen: seen.clone(),
        rounded: stored_as == ElementType::Float16,
        hold: held,
    };
    let options = super::Plan::default().options;
    let scorer = Scorer::start_texts(
        metadata,
        Arc::new(FakeTexts { slots: Some(8) }),
        Box::new(session),
        Vec::new(),
        options,
        cache.clone(),
    );
    (scorer.unwrap(), seen, hold)
}

fn asking(texts: &[&str], text: TextOptions) -> InferenceRequest {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let tensor = Tensor::new(vec![texts.len()], TensorData::String(texts)).unwrap();
    InferenceRequest {
        inputs: vec![named(TEXT, tensor)],
        text,
        ..InferenceRequest::default()
    }
}

fn texts(texts: &[&str]) -> InferenceRequest {
    asking(texts, TextOptions::default())
}

#[tokio::test]
async fn a_text_has_one_entry_whatever_its_company_and_another_for_other_options() {
    let (scorer, seen, hold) = start(&cache(), ElementType::Float32);
    drop(hold);
    let scored = |request| async { scorer.score(request).await.unwrap() };
    let first = scored(texts(&["four", "four", "xx"])).await;
    assert_eq!(output(&first), [4.0, 0.1, 4.0, 0.1, 2.0, 0.1]);
    assert_eq!(first.cache, asked(0, 3));
    assert_eq!(scored(texts(&["xx", "four"])).await.cache, asked(2, 2));
    let prompt = |prompt: &str| TextOptions {
        prompt: Some(prompt.to_owned()),
        ..TextOptions::default()
    };
    let prompted = scored(asking(&["xx"], prompt("yyy"))).await;
    assert_eq!(output(&prompted), [5.0, 0.1]);
    assert_eq!(prompted.cache, asked(0, 1));
    assert_eq!(
        scored(asking(&["xx"], prompt("yyy"))).await.cache,
        asked(1, 1)
    );
    // What the model does anyway is no other option.
    assert_eq!(
        scored(asking(&["xx"], prompt("it is "))).await.cache,
        asked(1, 1)
    );
    // Both texts of the first request shared a run.
    assert_eq!(seen.runs().len(), 2);
}

#[tokio::test]
async fn hits_of_float16_have_the_bits_of_misses() {
    let ask = |stored_as| async move {
        let (scorer, _, hold) = start(&cache(), stored_as);
        drop(hold);
        let miss = scorer.score(texts(&["four"])).await.unwrap();
        let hit = scorer.score(texts(&["four"])).await.unwrap();
        let mut request = texts(&["four"]);
        request.cache = CacheUse::Bypass;
        let fresh = scorer.score(request).await.unwrap();
        assert_eq!((miss.cache, hit.cache), (asked(0, 1), asked(1, 1)));
        assert_eq!(
            (output(&miss), output(&fresh)),
            (output(&hit), output(&hit))
        );
        let size = scorer.score_as_stored(texts(&["four"])).await.unwrap();
        assert_eq!(size.outputs[0].tensor.element_type(), stored_as);
        output(&hit)
    };
    assert_eq!(ask(ElementType::Float32).await, [4.0, 0.1]);
    // The nearest number of float16.
    assert_eq!(ask(ElementType::Float16).await, [4.0, 0.099975586]);
}

#[tokio::test]
async fn a_stored_vector_of_another_length_is_a_miss() {
    let store = FakeStore::new(true);
    let cache = store.cache();
    until(|| cache.remote_is_up() == Some(true)).await;
    let (scorer, _, hold) = start(&cache, ElementType::Float32);
    drop(hold);
    scorer.score(texts(&["four", "xx"])).await.unwrap();
    until(|| cache.stats().writes.get() == 2).await;
    let unit = {
        let inputs = [Tensor::new(vec![1], TensorData::String(vec!["xx".into()])).unwrap()];
        let digest = scorer.metadata().digest;
        crate::cache::KeyMaker::for_rows(digest, &inputs).rows(&inputs, 1)[0]
    };
    for width in [0, 1, 3] {
        let outputs = [
            Tensor::new(vec![1, width], TensorData::Float32(vec![1.0; width])).unwrap(),
            Tensor::new(vec![1], TensorData::Int64(vec![2])).unwrap(),
            Tensor::new(vec![1], TensorData::Bool(vec![false])).unwrap(),
        ];
        let entry =
            crate::cache::Seal::Checksum.close(&unit, &crate::cache::encode_row(&outputs, 0));
        let name = unit.to_redis(&Namespace::default());
        assert!(store.values.lock().unwrap().insert(name, entry).is_some());
        let writes = cache.stats().writes.get();
        let found = scorer.score(texts(&["xx", "four"])).await.unwrap();
        assert_eq!(found.cache, asked(1, 2), "{width}");
        assert_eq!(output(&found), [2.0, 0.1, 4.0, 0.1]);
        until(|| cache.stats().writes.get() == writes + 1).await;
    }
    assert_eq!(cache.stats().damaged.get(), 3);
}

#[tokio::test]
async fn too_many_texts_are_refused() {
    let (scorer, _, _hold) = start(&cache(), ElementType::Float32);
    let error = scorer.score(texts(&["x"; 6])).await.unwrap_err();
    let expected = "6 texts in one request; at most 5 are accepted: send them in several requests";
    assert_eq!(error.to_string(), expected);
    let error = scorer.tokenize(vec![String::new(); 6], None, true).await;
    assert_eq!(error.unwrap_err().to_string(), expected);
    let long = scorer.tokenize(vec!["x".repeat(300_000)], None, true).await;
    assert!(long.unwrap_err().to_string().contains("at most 262144 are"));
}

#[tokio::test]
async fn what_is_done_when_the_time_ends_is_stored_and_the_error_says_so() {
    let (scorer, seen, hold) = start(&cache(), ElementType::Float32);
    let request = || texts(&["eight888", "seven77", "xx"]);
    let mut asked_for = Box::pin(scorer.score(request()));
    assert!((&mut asked_for).now_or_never().is_none());
    hold.send(()).unwrap();
    while seen.runs().len() < 2 {
        yield_now().await;
    }
    assert!((&mut asked_for).now_or_never().is_none());
    // The clock is stopped only now: the runs are made by other threads.
    tokio::time::pause();
    let error = asked_for.await.unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::Timeout);
    let text = error.to_string();
    assert!(
        text.contains("1 of 3 different texts are done and stored"),
        "{text}"
    );
    tokio::time::resume();
    drop(hold);
    let again = scorer.score(request()).await.unwrap();
    let hits = match again.cache {
        CacheOutcome::Asked { hits, .. } => hits,
        CacheOutcome::Bypass => 0,
    };
    assert!(hits >= 1, "{hits}");
}

#[tokio::test]
async fn vectors_of_tokens_and_the_tokenizer_alone() {
    let (scorer, _, hold) = start(&cache(), ElementType::Float32);
    drop(hold);
    let asked = vec!["four".to_owned(), "xx".to_owned()];
    let vectors = scorer.token_vectors(asked.clone(), TextOptions::default());
    let (vectors, cut) = vectors.await.unwrap();
    assert_eq!(
        (vectors[0].shape(), vectors[1].shape(), cut),
        (&[4, 2][..], &[2, 2][..], 0)
    );
    let tokens = scorer.tokenize(asked, None, false).await.unwrap();
    assert_eq!((tokens[0].len(), tokens[1][1].at), (4, (1, 2)));
    let decoded = scorer.decode(vec![vec![1, 1], vec![]], true).await;
    assert_eq!(decoded.unwrap(), ["xx", ""]);
    let unknown = scorer.decode(vec![vec![9]], true).await.unwrap_err();
    assert!(unknown.to_string().contains("id 9"), "{unknown}");
    let (tensors, _) = Plan::default().start(&super::cache(), tenfold);
    let error = tensors.decode(vec![vec![1]], true).await.unwrap_err();
    assert_eq!(error.to_string(), "the model takes no texts");
}
