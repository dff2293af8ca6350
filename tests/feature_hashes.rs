//! Rows stored in Redis hashes, and values of other Redis types than a model reads.

use serde_json::json;

use crate::features::{
    SECRET, affine_app, cache, code, features, model, post, says_nothing_of, score, set,
    start_with_log,
};
use crate::support::app_root::AppRoot;
use crate::support::in_process;
use crate::support::redis::{RedisOptions, RedisServer};
use crate::support::redis_cluster::RedisCluster;

/// Rows of three floats in hashes.
fn hashes_app() -> AppRoot {
    let app = AppRoot::new();
    let columns = "[inputs.x]\ncolumns = [\"height\", \"weight\", \"age\"]\n";
    let options = format!("{}{columns}", features("features:", "hash"));
    app.add_model("affine", model("affine"), Some(&options));
    app
}

async fn hset(redis: &RedisServer, key: &str, fields: &[&str]) {
    let key = format!("features:{key}");
    let head = ["HSET", &key];
    let words: Vec<&[u8]> = head
        .iter()
        .chain(fields)
        .map(|word| word.as_bytes())
        .collect();
    redis.command(&words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_are_rows_by_the_names_of_columns() {
    let redis = RedisServer::start().await;
    let host = start_with_log(&hashes_app(), &redis).await;
    hset(
        &redis,
        "a",
        &["weight", "2", "height", "1", "other", "x", "age", "3.0"],
    )
    .await;
    hset(
        &redis,
        "b",
        &["height", "nan", "weight", "1e1", "age", "-0.5"],
    )
    .await;
    let answer = score(&host, &["b", "a", "b"]).await.expect_status(200);
    let b = json!(["NaN", 21.0, 0.0]);
    assert_eq!(answer.json(), json!([b, [3.0, 5.0, 7.0], b]));
    let sent = post(&host, "/api/score", &json!({ "data": [[1, 2, 3]] })).await;
    assert_eq!(cache(&sent), "HIT");

    hset(&redis, "lacks", &["height", SECRET, "weight", "2"]).await;
    hset(&redis, "none", &["other", SECRET]).await;
    hset(
        &redis,
        "wrong",
        &["height", "1", "weight", &format!("x{SECRET}"), "age", "3"],
    )
    .await;
    set(&redis, "features:text", format!("[{SECRET}]")).await;
    for (key, said) in [
        ("lacks", r#"in the field "age" of the hash, which it lacks"#),
        (
            "none",
            r#"in the field "height" of the hash, which it lacks"#,
        ),
        (
            "wrong",
            r#"expected float32 as text in the field "weight" of the hash"#,
        ),
        ("text", r#"are a Redis string; expected a hash"#),
    ] {
        let answer = score(&host, &["a", key]).await.expect_status(422);
        assert_eq!(code(&answer), "features_invalid");
        let message = answer.at("/error/message");
        assert!(message.as_str().unwrap().contains(said), "{message}");
        says_nothing_of(SECRET, &host, &answer);
    }
    let answer = score(&host, &["text", "gone"]).await.expect_status(404);
    let expected = r#"no features are stored for "gone""#;
    assert_eq!(answer.at("/error/message"), expected);

    let before = redis.info("total_commands_processed").await;
    score(&host, &["a", "b"]).await.expect_status(200);
    let after = redis.info("total_commands_processed").await;
    // Two HMGET, one MGET of remembered results, and the INFO that asks.
    assert!(after - before <= 4, "{}", after - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_redis_type_than_the_format_reads_is_told() {
    let redis = RedisServer::start().await;
    let host = start_with_log(&affine_app("json"), &redis).await;
    hset(&redis, "hash", &["height", SECRET]).await;
    set(&redis, "features:axis", "[[1,2,3]]").await;
    let answer = score(&host, &["axis"]).await.expect_status(200);
    assert_eq!(answer.json(), json!([[3.0, 5.0, 7.0]]));
    // One key is asked for by GET and several by MGET, which answer in different ways.
    for keys in [&["hash"][..], &["axis", "hash"]] {
        let answer = score(&host, keys).await.expect_status(422);
        let message = answer.at("/error/message");
        let message = message.as_str().unwrap();
        assert!(
            message.contains(r#"stored for "hash" are a Redis hash; expected a string"#),
            "{message}"
        );
        assert!(
            message.contains(r#"set format = "hash" in the table [features]"#),
            "{message}"
        );
        says_nothing_of(SECRET, &host, &answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_need_few_rights_and_say_what_they_cannot_know() {
    let redis = RedisServer::start_with(RedisOptions::default().password("p")).await;
    for (user, rights) in [("full", &["+type"][..]), ("least", &[])] {
        let fixed = [
            "ACL",
            "SETUSER",
            user,
            "on",
            ">q",
            "+get",
            "+mget",
            "+hmget",
            "~features:*",
        ];
        let words = fixed.iter().chain(rights).map(|word| word.as_bytes());
        redis.command(&words.collect::<Vec<_>>()).await;
    }
    hset(&redis, "a", &["height", "1", "weight", "2", "age", "3"]).await;
    for (user, hint) in [("full", false), ("least", true)] {
        let url = redis.url().replace(":p@", &format!("{user}:q@"));
        let host = in_process::start(&hashes_app(), [("REDIS_URL", url.as_str())]).await;
        score(&host, &["a"]).await.expect_status(200);
        let answer = score(&host, &["gone"]).await.expect_status(404);
        assert_eq!(answer.text().contains("(+type)"), hint, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_of_a_cluster_are_read_from_all_its_shards() {
    let cluster = RedisCluster::start().await;
    let url = cluster.url();
    let host = in_process::start(&hashes_app(), [("REDIS_URL", url.as_str())]).await;
    let keys: Vec<String> = (0..30).map(|key| key.to_string()).collect();
    for key in &keys {
        for primary in 0..3 {
            // Those that do not have its slot say so.
            hset(
                cluster.node(primary),
                key,
                &["height", key, "weight", "0", "age", "1"],
            )
            .await;
        }
    }
    let wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
    let answer = score(&host, &wanted).await.expect_status(200);
    assert_eq!(answer.at("/29"), json!([59.0, 1.0, 3.0]));
    let answer = score(&host, &["0", "gone"]).await.expect_status(404);
    assert_eq!(
        answer.at("/error/message"),
        r#"no features are stored for "gone""#
    );
}

also_forwarded! {
    hashes_are_rows_by_the_names_of_columns,
    another_redis_type_than_the_format_reads_is_told,
    hashes_need_few_rights_and_say_what_they_cannot_know,
    hashes_of_a_cluster_are_read_from_all_its_shards,
}
