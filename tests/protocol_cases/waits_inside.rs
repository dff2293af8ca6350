//! What may pass is waited for inside: the host tries again without any pause, ten times within 0.2 seconds.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::scoring_app::{BODY, app};
use super::{JSON, LateApp, figure, test_model};
use crate::support::redis::RedisServer;
use functions_host::broker::EntityOptions;
use functions_host::cloud::Cloud;
use functions_host::functions::cloud;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::http1::{self, RawConnection};
use functions_host::invoke::Transport;
use functions_host::listener::Listener;
use functions_host::triggers::ServiceBusMessage;
use functions_host::{PATIENCE, eventually};

/// Much longer than ten tries take.
const TROUBLE: Duration = Duration::from_secs(6);
/// The queues of a function for single messages and of one for batches.
const QUEUES: [&str; 2] = ["messages", "batches"];

/// Queues with ten messages each.
fn filled(body: &str) -> Cloud {
    let cloud = cloud(EntityOptions::default());
    for (queue, number) in QUEUES
        .iter()
        .flat_map(|queue| (0..10).map(move |n| (queue, n)))
    {
        let message = ServiceBusMessage::new(body).with_id(&format!("m-{number}"));
        cloud.broker.send(queue, message).unwrap();
    }
    cloud
}

/// Everything was scored by its first delivery, and nothing before the trouble was over.
async fn assert_waited(cloud: &Cloud, listener: &Listener) {
    for queue in QUEUES {
        cloud.broker.wait_until_empty(queue, PATIENCE).await;
        assert!(
            cloud.broker.dead_letters(queue).is_empty(),
            "{:?}",
            listener.failures()
        );
        assert_eq!(
            cloud.broker.counters(queue).delivered,
            10,
            "{:?}",
            listener.failures()
        );
    }
    assert_eq!(cloud.broker.waiting("results").len(), 20);
    assert_eq!(cloud.broker.waiting("rejected").len(), 0);
}

/// Nothing is given back or scored while the trouble lasts.
async fn assert_waits(cloud: &Cloud) {
    tokio::time::sleep(TROUBLE).await;
    assert_eq!(cloud.broker.waiting("results").len(), 0);
    for queue in QUEUES {
        assert_eq!(cloud.broker.counters(queue).abandoned, 0, "{queue}");
        assert!(!cloud.broker.locked(queue).is_empty(), "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_models_that_load_longer_than_a_request_waits() {
    let late = LateApp::of(app(&["affine"]));
    let host = FunctionsHost::start(&late.app, [("SCORE_LOAD_TIMEOUT", "100ms")]).await;
    let cloud = filled(BODY);
    let listener = Listener::start(host, &cloud);
    assert_waits(&cloud).await;
    late.let_load().await;
    assert_waited(&cloud, &listener).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_room_that_other_bodies_take() {
    let settings = [
        ("SCORE_MAX_WAITING_BYTES", "8192"),
        // The other body may pause until the end of the test.
        ("SCORE_BODY_TIMEOUT", "10m"),
    ];
    let host = FunctionsHost::start(&app(&["affine"]), settings).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let headers = [JSON, ("Host", "x"), ("Content-Length", "8000")];
    let taking = RawConnection::open(host.port()).await.unwrap();
    let most = [
        http1::head("POST", "/api/score", &headers),
        vec![b' '; 7999],
    ]
    .concat();
    taking.send(&most).await.unwrap();
    eventually("the room is taken", async || {
        figure(&host, "score_body_bytes_in_use").await == 8192
    })
    .await;
    let cloud = filled(BODY);
    let listener = Listener::start(host, &cloud);
    assert_waits(&cloud).await;
    taking.reset().unwrap();
    assert_waited(&cloud, &listener).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_places_and_rows_that_other_requests_take() {
    tokio::join!(
        for_what_other_requests_take("SCORE_MAX_WAITING_ROWS"),
        for_what_other_requests_take("SCORE_MAX_REQUESTS"),
    );
}

/// With room for one request or one row.
async fn for_what_other_requests_take(setting: &str) {
    let app = app(&["affine"]);
    app.add_model("slow", test_model("slow"), Some("memoize = false\n"));
    let options = HostOptions::default()
        .setting("SCORE_DEFAULT_MODEL", "slow")
        .setting("SCORE_SESSIONS", "1")
        .setting("SCORE_MAX_BATCH_ROWS", "1")
        .setting(setting, "1");
    let host = Arc::new(FunctionsHost::start(&app, options).await);
    host.wait_for_log("model loaded.*slow", PATIENCE).await;
    // Callers who try again as soon as they are refused.
    let others = (0..3).map(|_| {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            loop {
                let body = br#"{"data":[[0,0,0,0]]}"#;
                host.http("POST", "/api/score", &[JSON], body).await;
            }
        })
    });
    let others: Vec<_> = others.collect();
    eventually("others are in work", async || {
        figure(&host, "score_requests_in_flight").await >= 1
    })
    .await;
    let sent: Vec<_> = (0..2)
        .map(|_| ServiceBusMessage::new(r#"{"data":[[1,2,3,4]]}"#))
        .collect();
    let batch = host.deliver("scoreBatch", &sent, Transport::Chunked);
    let one = host.deliver("scoreMessage", &sent[..1], Transport::Chunked);
    let over = async {
        tokio::time::sleep(TROUBLE).await;
        others.iter().for_each(tokio::task::JoinHandle::abort);
    };
    let (batch, one, ()) = tokio::join!(batch, one, over);
    assert_eq!(batch.unwrap().messages("result").len(), 2, "{setting}");
    assert_eq!(one.unwrap().messages("result").len(), 1, "{setting}");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_features_while_their_store_is_away() {
    let redis = RedisServer::start().await;
    redis.command(&[b"SET", b"features:a", br#"[1,2,3]"#]).await;
    let app = app(&[]);
    let by_key = "[features]\nprefix = \"features:\"\nformat = \"json\"\n";
    app.add_model("affine", test_model("affine"), Some(by_key));
    let options = HostOptions::default().setting("REDIS_URL", redis.url());
    let host = FunctionsHost::start(&app, options).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    redis.pause();
    let cloud = filled(&json!({"keys": ["a"]}).to_string());
    let listener = Listener::start(host, &cloud);
    assert_waits(&cloud).await;
    redis.resume();
    assert_waited(&cloud, &listener).await;
}
