//! What may lie under our keys.

use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture, ready};

use super::fault::Effect::Misses;
use super::fault::Fault;
use super::pair::Pair;
use crate::support::resp::{RespValue, pipeline};

/// The commands that spoil the value of a key.
type Spoil = fn(&[u8], Vec<u8>) -> Vec<Vec<Vec<u8>>>;

/// All of them; they go on for as long as the fault does, since the handler overwrites what it cannot use.
pub(crate) fn list() -> Vec<Fault<Pair>> {
    vec![
        Fault::new("bits flipped at random", Misses, |p| spoil(p, flip), stop),
        Fault::new("values truncated", Misses, |p| spoil(p, truncate), stop),
        Fault::new("another program's data", Misses, |p| spoil(p, usurp), stop),
    ]
}

fn flip(key: &[u8], mut value: Vec<u8>) -> Vec<Vec<Vec<u8>>> {
    if !value.is_empty() {
        let position = fastrand::usize(..value.len());
        value[position] ^= 1 << fastrand::u8(..8);
    }
    vec![command(&[b"SET", key, &value, b"KEEPTTL"])]
}

fn truncate(key: &[u8], mut value: Vec<u8>) -> Vec<Vec<Vec<u8>>> {
    value.truncate(fastrand::usize(..=value.len().saturating_sub(1)));
    vec![command(&[b"SET", key, &value, b"KEEPTTL"])]
}

fn usurp(key: &[u8], _: Vec<u8>) -> Vec<Vec<Vec<u8>>> {
    let theirs = match fastrand::u8(..4) {
        0 => command(&[b"RPUSH", key, b"a", b"b"]),
        1 => command(&[b"HSET", key, b"field", b"value"]),
        2 => command(&[b"SADD", key, b"member"]),
        _ => command(&[b"SET", key, br#"{"y":[3.0,5.0,7.0]}"#]),
    };
    vec![command(&[b"DEL", key]), theirs]
}

fn command(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

fn spoil(pair: &Pair, how: Spoil) -> LocalBoxFuture<'_, ()> {
    let port = pair.primary().port();
    let task = tokio::spawn(async move {
        loop {
            spoil_all(port, how).await.expect("redis-server is there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut mischief = pair.mischief.lock().unwrap_or_else(PoisonError::into_inner);
    *mischief = Some(task);
    ready(()).boxed_local()
}

fn stop(pair: &Pair) -> LocalBoxFuture<'_, ()> {
    let mut mischief = pair.mischief.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(task) = mischief.take() {
        task.abort();
    }
    ready(()).boxed_local()
}

async fn spoil_all(port: u16, how: Spoil) -> std::io::Result<()> {
    let keys = send(port, &[command(&[b"KEYS", b"score:*"])]).await?;
    let keys: Vec<&[u8]> = keys[0]
        .elements()
        .iter()
        .filter_map(RespValue::bytes)
        .collect();
    let gets: Vec<_> = keys.iter().map(|key| command(&[b"GET", key])).collect();
    let values = send(port, &gets).await?;
    let spoilt: Vec<_> = keys
        .iter()
        .zip(values)
        .filter_map(|(key, value)| match value {
            RespValue::Bulk(value) => Some(how(key, value)),
            _ => None,
        })
        .flatten()
        .collect();
    send(port, &spoilt).await.map(|_| ())
}

async fn send(port: u16, commands: &[Vec<Vec<u8>>]) -> std::io::Result<Vec<RespValue>> {
    let commands: Vec<Vec<&[u8]>> = commands
        .iter()
        .map(|words| words.iter().map(Vec::as_slice).collect())
        .collect();
    let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
    pipeline(port, &commands).await
}
