//! `SCORE_CACHE_SECRET`: who can write to Redis cannot forge scores, and the secret is nowhere to be read.

use std::time::{Duration, Instant};

use crate::memo::{cache, score};
use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::redis::RedisServer;
use functions_host::PATIENCE;
use functions_host::host::FunctionsHost;
use twox_hash::XxHash3_128;

const SECRET: &str = "hunter2-hunter2-hunter2-hunter2!";
const OTHER: &str = "0123456789abcdef0123456789abcdef";

/// A handler without its in-process tier, so that every hit is one of Redis; connected.
async fn handler(app: &AppRoot, redis: &RedisServer, secret: &str) -> FunctionsHost {
    let url = redis.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("SCORE_CACHE_SECRET", secret),
        ("SCORE_L1_BYTES", "0"),
        ("REDIS_TIMEOUT", "2s"),
        ("SCORE_LOG_FILTER", "trace"),
    ];
    let host = FunctionsHost::start(app, settings).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    host
}

async fn get(redis: &RedisServer, key: &[u8]) -> Vec<u8> {
    let value = redis.command(&[b"GET", key]).await;
    value.bytes().expect("a string").to_vec()
}

async fn the_only_key(redis: &RedisServer) -> Vec<u8> {
    redis.wait_for_keys(1, PATIENCE).await;
    redis.keys("*").await.remove(0)
}

/// What lies under the key is computed again, rightly, and replaced by the entry.
async fn is_a_miss(
    (host, redis): (&FunctionsHost, &RedisServer),
    (key, good): (&[u8], &[u8]),
    digits: &Digits,
) {
    let answer = score(host, &digits.body([0])).await;
    assert_eq!(
        (cache(&answer), answer.json()),
        ("MISS", digits.answer([0]))
    );
    let give_up = Instant::now() + PATIENCE;
    while get(redis, key).await != good {
        assert!(Instant::now() < give_up, "not overwritten");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(cache(&score(host, &digits.body([0])).await), "HIT");
}

/// A valid entry without a secret: what anyone can make who knows the format.
fn unsigned(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(key).expect("a key is text");
    let unit = text.rsplit(':').next().expect("the digest of the unit");
    let unit = blake3::Hash::from_hex(unit).expect("hexadecimal");
    let seed = u64::from_le_bytes(unit.as_bytes()[..8].try_into().expect("eight bytes"));
    let checksum = XxHash3_128::oneshot_with_seed(seed, payload);
    [b"SM\x03", &checksum.to_be_bytes()[..], payload].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_unsigned_and_swapped_entries_are_misses_and_are_overwritten() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let host = handler(&app, &redis, SECRET).await;
    score(&host, &digits.body([1])).await;
    let other = get(&redis, &the_only_key(&redis).await).await;
    redis.command(&[b"FLUSHALL"]).await;
    score(&host, &digits.body([0])).await;
    let key = the_only_key(&redis).await;
    let good = get(&redis, &key).await;
    assert_eq!(&good[..3], b"SM\x02");

    let (mut flipped, mut relabelled) = (good.clone(), good.clone());
    *flipped.last_mut().unwrap() ^= 1;
    relabelled[2] = 3;
    let forged = unsigned(&key, &other[19..]);
    let mut signed_by_guess = forged.clone();
    signed_by_guess[2] = 2;
    let bad = [
        flipped,
        relabelled,
        forged,
        signed_by_guess,
        other,
        unsigned(&key, &good[19..]),
        good[..good.len() - 1].to_vec(),
        vec![],
    ];
    for value in bad {
        redis.command(&[b"SET", &key, &value]).await;
        is_a_miss((&host, &redis), (&key, &good), &digits).await;
    }
    // Another process with the same secret takes the entry.
    drop(host);
    let host = handler(&app, &redis, SECRET).await;
    assert_eq!(cache(&score(&host, &digits.body([0])).await), "HIT");
    let logs = host.logs();
    assert!(!logs.is_empty() && logs.iter().all(|line| !line.text.contains("hunter2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_or_none_costs_what_is_stored() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let mut last = Vec::new();
    // The first and the last one: none.
    for secret in ["", SECRET, OTHER, ""] {
        let host = handler(&app, &redis, secret).await;
        if last.is_empty() {
            score(&host, &digits.body([0])).await;
        } else {
            let answer = score(&host, &digits.body([0])).await;
            assert_eq!(
                (cache(&answer), answer.json()),
                ("MISS", digits.answer([0])),
                "{secret}"
            );
        }
        let key = the_only_key(&redis).await;
        let give_up = Instant::now() + PATIENCE;
        while get(&redis, &key).await == last {
            assert!(Instant::now() < give_up, "not overwritten");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        last = get(&redis, &key).await;
        assert_eq!(cache(&score(&host, &digits.body([0])).await), "HIT");
    }
    // As the rules in docs/cache.md say.
    let key = the_only_key(&redis).await;
    assert_eq!(last, unsigned(&key, &last[19..]));
}
