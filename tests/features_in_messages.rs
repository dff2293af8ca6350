//! Messages that name rows by key.

use serde_json::{Value, json};

use crate::features::{SECRET, affine_app, set, start};
use crate::support::in_process;
use crate::support::redis::RedisServer;
use functions_host::functions::add_functions;
use functions_host::invoke::Transport;
use functions_host::triggers::ServiceBusMessage;

#[tokio::test(flavor = "multi_thread")]
async fn messages_name_rows_by_key_too() {
    let (app, redis) = (affine_app("json"), RedisServer::start().await);
    add_functions(&app);
    set(&redis, "features:a", "[1,2,3]").await;
    set(
        &redis,
        "features:odd",
        format!("[{SECRET},\"x{SECRET}\",0]"),
    )
    .await;
    let host = start(&app, &redis).await;
    let bodies = [
        r#"{"keys":["a"]}"#,
        r#"{"keys":["gone"]}"#,
        r#"{"keys":["odd"]}"#,
    ];
    let sent = bodies.map(ServiceBusMessage::new);
    let outcome = host.deliver("scoreBatch", &sent, Transport::Chunked).await;
    let outcome = outcome.unwrap();
    let results = outcome.messages("result");
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["result"], json!([[3.0, 5.0, 7.0]]));
    let rejected = outcome.messages("rejected");
    let codes: Vec<&Value> = rejected.iter().map(|r| &r["reason"]["code"]).collect();
    assert_eq!(codes, ["features_not_found", "features_invalid"]);
    assert!(!rejected[1].to_string().contains(SECRET));

    // Without the store nothing is rejected: the message is given back when its time is over.
    redis.stop();
    let settings = [
        ("REDIS_URL", redis.url()),
        ("SCORE_MESSAGE_TIMEOUT", "2s".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let host = in_process::start(&app, settings).await;
    let refused = host.deliver("scoreMessage", &sent[..1], Transport::Chunked);
    assert!(refused.await.unwrap_err().contains("status 503"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_cannot_be_scored_for_now_does_not_hold_up_its_batch_for_ever() {
    let (app, redis) = (affine_app("json"), RedisServer::start().await);
    add_functions(&app);
    let settings = [
        ("REDIS_URL", redis.url()),
        ("SCORE_MESSAGE_BATCH_TIMEOUT", "1s".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let host = in_process::start(&app, settings).await;
    redis.stop();
    let batch = |delivery_count| {
        let bodies = [r#"{"data":[[1,2,3]]}"#, r#"{"keys":["a"]}"#];
        bodies.map(|body| ServiceBusMessage {
            delivery_count,
            ..ServiceBusMessage::new(body)
        })
    };
    let early = batch(4);
    let early = host.deliver("scoreBatch", &early, Transport::Chunked);
    assert!(early.await.unwrap_err().contains("status 503"));
    let late = batch(5);
    let late = host.deliver("scoreBatch", &late, Transport::Chunked);
    let late = late.await.unwrap();
    assert_eq!(late.messages("result").len(), 1);
    let rejected = late.messages("rejected");
    assert_eq!(rejected[0]["reason"]["code"], "features_unavailable");
}
