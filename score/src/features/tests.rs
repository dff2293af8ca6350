use std::collections::HashMap;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::*;
use crate::model::FeatureFormat::Json;
use crate::store::StoreEntry;

const BUDGET: Duration = Duration::from_secs(2);

/// A store that holds what it is given, or fails.
#[derive(Default)]
struct FakeStore {
    values: HashMap<String, Bytes>,
    failure: Mutex<Option<StoreError>>,
    hangs: AtomicBool,
    asked: Mutex<Vec<Vec<String>>>,
    connects: AtomicUsize,
    /// Whether it refuses to tell kinds.
    secretive: AtomicBool,
}

impl FakeStore {
    fn holding(values: &[(&str, &'static str)]) -> Arc<Self> {
        let values = values.iter();
        Arc::new(Self {
            values: values
                .map(|(name, value)| ((*name).to_owned(), Bytes::from_static(value.as_bytes())))
                .collect(),
            ..Self::default()
        })
    }

    fn fail(&self, failure: Option<StoreError>) {
        *self.failure.lock().unwrap() = failure;
    }

    async fn act(&self) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        let failure = self.failure.lock().unwrap().clone();
        failure.map_or(Ok(()), Err)
    }
}

impl Store for FakeStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn connect(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        Box::pin(self.act())
    }

    fn get_many(
        &self,
        keys: Vec<String>,
        budget: Duration,
    ) -> BoxFuture<'_, Vec<Result<Option<Bytes>, StoreError>>> {
        let values: Vec<_> = keys
            .iter()
            .map(|key| {
                let value = self.values.get(key);
                value
                    .filter(|value| !value.is_empty() && !value.contains(&b'='))
                    .cloned()
            })
            .collect();
        if !keys[0].starts_with("f:probe") {
            self.asked.lock().unwrap().push(keys);
        }
        Box::pin(async move {
            let act = tokio::time::timeout(budget, self.act()).await;
            let failure = act.unwrap_or_else(|_| Err(StoreError::Unreachable("silent".into())));
            let values = values.into_iter();
            values
                .map(|value| failure.clone().map(|()| value))
                .collect()
        })
    }

    fn get_fields(
        &self,
        keys: Vec<String>,
        fields: Vec<String>,
        _: Duration,
    ) -> BoxFuture<'_, Vec<Result<Vec<Option<Bytes>>, StoreError>>> {
        // A hash is written `field=value`.
        let field = |key: &String, field: &String| {
            let text = std::str::from_utf8(self.values.get(key)?).unwrap();
            let (name, value) = text.split_once('=')?;
            (name == field).then(|| Bytes::copy_from_slice(value.as_bytes()))
        };
        let rows = keys
            .iter()
            .map(|key| Ok(fields.iter().map(|f| field(key, f)).collect()));
        let rows = rows.collect();
        Box::pin(async move { rows })
    }

    fn kinds(
        &self,
        keys: Vec<String>,
        _: Duration,
    ) -> BoxFuture<'_, Vec<Result<String, StoreError>>> {
        self.asked.lock().unwrap().push(keys.clone());
        let kind = |key: &String| match self.values.get(key) {
            _ if self.secretive.load(Ordering::Relaxed) => {
                Err(StoreError::Refused("NOPERM".into()))
            }
            None => Ok("none".to_owned()),
            Some(value) if value.contains(&b'=') => Ok("hash".to_owned()),
            Some(value) if value.is_empty() => Ok("list".to_owned()),
            Some(_) => Ok("string".to_owned()),
        };
        let kinds = keys.iter().map(kind).collect();
        Box::pin(async move { kinds })
    }

    fn set_many(
        &self,
        _: Vec<StoreEntry>,
        _: Duration,
    ) -> BoxFuture<'_, Vec<Result<(), StoreError>>> {
        unreachable!("features are only read")
    }
}

fn start(store: &Arc<FakeStore>) -> FeatureStore {
    let reads = FeatureReads {
        budget: BUDGET,
        max_reads: 4,
        probe: "f:probe".into(),
    };
    FeatureStore::start(store.clone(), reads)
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

fn unreachable() -> Option<StoreError> {
    Some(StoreError::Unreachable("connection refused".into()))
}

#[tokio::test(start_paused = true)]
async fn values_come_in_the_order_of_the_keys_and_each_is_read_once() {
    let store = FakeStore::holding(&[("f:a", "1"), ("f:b", "2")]);
    let features = start(&store);
    let values = features
        .get("f:", &keys(&["b", "a", "b"]), Json, &mut |_| true)
        .await
        .unwrap();
    assert_eq!(values, ["2", "1", "2"]);
    assert_eq!(*store.asked.lock().unwrap(), [keys(&["f:b", "f:a"])]);
    assert_eq!(features.stats().found.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn missing_keys_are_named_once_and_many_are_counted() {
    let features = start(&FakeStore::holding(&[("f:a", "1")]));
    let wanted = keys(&["x", "a", "y", "x"]);
    let error = features
        .get("f:", &wanted, Json, &mut |_| true)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), r#"no features are stored for "x", "y""#);
    let stats = features.stats();
    assert_eq!((stats.found.get(), stats.missing.get()), (1, 2));
    let many: Vec<String> = (0..13).map(|n| n.to_string()).collect();
    let error = features
        .get("f:", &many, Json, &mut |_| true)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.ends_with(r#""8", "9" and 3 more"#), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_first_connection_is_waited_for_but_not_one_that_failed() {
    let store = FakeStore::holding(&[("f:a", "1")]);
    let features = start(&store);
    assert!(
        features
            .get("f:", &keys(&["a"]), Json, &mut |_| true)
            .await
            .is_ok(),
        "not yet connected"
    );

    store.fail(unreachable());
    let features = start(&store);
    let start = Instant::now();
    for _ in 0..100 {
        let error = features
            .get("f:", &keys(&["a"]), Json, &mut |_| true)
            .await
            .unwrap_err();
        assert_eq!(error, FeatureError::Unavailable);
    }
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(features.stats().errors.get(), 100);
    assert!(store.connects.load(Ordering::Relaxed) < 10);
    store.fail(None);
    tokio::time::sleep(BUDGET).await;
    assert!(
        features
            .get("f:", &keys(&["a"]), Json, &mut |_| true)
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_takes_few_places_and_soon_none() {
    let store = FakeStore::holding(&[("f:a", "1")]);
    let features = start(&store);
    let wanted = keys(&["a"]);
    features
        .get("f:", &wanted, Json, &mut |_| true)
        .await
        .unwrap();
    store.hangs.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    let (features, wanted) = (&features, &wanted);
    let reads =
        (0..20).map(|_| async move { features.get("f:", wanted, Json, &mut |_| true).await });
    let outcomes = futures_util::future::join_all(reads).await;
    assert_eq!(begun.elapsed(), BUDGET);
    let overloaded = |outcome: &&Result<_, _>| **outcome == Err(FeatureError::Overloaded);
    assert_eq!(outcomes.iter().filter(overloaded).count(), 16);
    let begun = Instant::now();
    let error = features
        .get("f:", wanted, Json, &mut |_| true)
        .await
        .unwrap_err();
    assert_eq!(
        (error, begun.elapsed()),
        (FeatureError::Unavailable, Duration::ZERO)
    );
    store.hangs.store(false, Ordering::Relaxed);
    tokio::time::sleep(BUDGET).await;
    assert!(
        features
            .get("f:", wanted, Json, &mut |_| true)
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_stop_the_next_look_up() {
    let store = FakeStore::holding(&[("f:a", "1")]);
    let features = start(&store);
    features
        .get("f:", &keys(&["a"]), Json, &mut |_| true)
        .await
        .unwrap();
    store.fail(Some(StoreError::Refused("NOPERM".into())));
    for _ in 0..5 {
        assert!(
            features
                .get("f:", &keys(&["a"]), Json, &mut |_| true)
                .await
                .is_err()
        );
    }
    store.fail(None);
    assert!(
        features
            .get("f:", &keys(&["a"]), Json, &mut |_| true)
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_is_missing_is_asked_for_its_kind() {
    let store = FakeStore::holding(&[("f:a", "1"), ("f:hash", "x=1"), ("f:list", "")]);
    let features = start(&store);
    features
        .get("f:", &keys(&["a"]), Json, &mut |_| true)
        .await
        .unwrap();
    assert_eq!(store.asked.lock().unwrap().len(), 1);
    let error = features
        .get("f:", &keys(&["a", "hash", "b"]), Json, &mut |_| true)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), r#"no features are stored for "b""#);
    assert_eq!(store.asked.lock().unwrap()[2], keys(&["f:hash", "f:b"]));
    for (key, said) in [
        ("hash", "set format = \"hash\""),
        ("list", "a Redis list; expected a string"),
    ] {
        let error = features
            .get("f:", &keys(&[key]), Json, &mut |_| true)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(features.stats().missing.get(), 1);
    store.secretive.store(true, Ordering::Relaxed);
    let error = features
        .get("f:", &keys(&["hash"]), Json, &mut |_| true)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(r#"no features are stored for "hash" as"#),
        "{error}"
    );
    assert!(error.contains("+type"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_hash_may_lack_any_field_but_has_to_be_one() {
    let store = FakeStore::holding(&[("f:a", "x=1"), ("f:b", "y=2"), ("f:s", "1")]);
    let features = start(&store);
    let get = |names: &[&str]| {
        let names = keys(names);
        let features = &features;
        async move {
            features
                .get_fields("f:", &names, &keys(&["x"]), &mut |_| true)
                .await
        }
    };
    let rows = get(&["b", "a", "b"]).await.unwrap();
    assert_eq!(rows, [vec![None], vec![Some(Bytes::from("1"))], vec![None]]);
    let error = get(&["a", "c"]).await.unwrap_err();
    assert_eq!(error.to_string(), r#"no features are stored for "c""#);
    let error = get(&["a", "s"]).await.unwrap_err().to_string();
    assert!(
        error.contains(r#"stored for "s" are a Redis string; expected a hash"#),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_read_in_steps_until_their_values_do_not_fit() {
    let names: Vec<String> = (0..1000).map(|number| format!("f:{number}")).collect();
    let values: Vec<(&str, &'static str)> = names
        .iter()
        .map(|name| (name.as_str(), "1234567"))
        .collect();
    let store = FakeStore::holding(&values);
    let features = start(&store);
    let wanted: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let mut seen = Vec::new();
    let read = features
        .get("f:", &wanted, Json, &mut |bytes| {
            seen.push(bytes);
            true
        })
        .await;
    assert_eq!(read.unwrap().len(), 1000);
    assert_eq!(seen, [7 * Steps::FIRST, 7000]);
    let read = features
        .get("f:", &wanted, Json, &mut |bytes| bytes < 100)
        .await;
    assert_eq!(read.unwrap_err(), FeatureError::TooLarge);
    let asked: Vec<usize> = store.asked.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(asked, [Steps::FIRST, 1000 - Steps::FIRST, Steps::FIRST]);
}

#[test]
fn a_step_brings_about_as_many_bytes_as_it_may() {
    let read = |keys_each: usize, bytes: usize| {
        let mut steps = Steps::new(keys_each);
        let values = vec![Bytes::from(vec![0; bytes]); steps.keys * keys_each];
        steps.read(values.iter(), &mut |_| true).unwrap();
        steps.keys
    };
    assert_eq!(read(1, 78 << 10), Steps::BYTES / (78 << 10));
    assert_eq!(read(1, 16 << 20), 1);
    assert_eq!(read(1, 0), 64 * Steps::FIRST);
    assert_eq!((Steps::new(784).keys, Steps::new(10_000).keys), (5, 1));
}
