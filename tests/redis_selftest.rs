//! Tests of the private `redis-server` that other tests use.

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::redis::{RedisOptions, RedisServer};
use crate::support::resp::RespValue;

#[tokio::test]
async fn redis_keeps_and_loses_keys() {
    let redis = RedisServer::start().await;
    redis.command(&[b"SET", b"a\r\n", b"\0\xff"]).await;
    assert_eq!(
        redis.command(&[b"GET", b"a\r\n"]).await.bytes(),
        Some(b"\0\xff".as_slice())
    );
    assert_eq!(redis.wait_for_keys(1, Duration::from_secs(1)).await, 1);
    assert_eq!(redis.keys("*").await, [b"a\r\n"]);
    assert!(redis.info("total_commands_processed").await > 0);
    redis.restart().await;
    assert_eq!(redis.key_count().await, 0);
    redis.pause();
    let asked = Instant::now();
    let (reply, ()) = tokio::join!(redis.command(&[b"PING"]), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        redis.resume();
    });
    assert_eq!(reply, RespValue::Simple("PONG".to_owned()));
    assert!(asked.elapsed() >= Duration::from_millis(100));
    redis.stop();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).is_err());
}

#[tokio::test]
async fn redis_asks_for_the_password_and_speaks_tls() {
    let options = RedisOptions::default()
        .password("s3cret")
        .tls()
        .max_memory(10_000_000, "noeviction");
    let redis = RedisServer::start_with(options).await;
    assert_eq!(
        redis.url(),
        format!("rediss://:s3cret@localhost:{}", redis.tls_port())
    );
    assert_eq!(
        redis
            .command(&[b"CONFIG", b"GET", b"maxmemory"])
            .await
            .elements()[1]
            .text(),
        "10000000"
    );
    let refused = crate::support::resp::pipeline(redis.port(), &[&[b"PING"]])
        .await
        .unwrap();
    assert!(matches!(&refused[0], RespValue::Error(text) if text.starts_with("NOAUTH")));
    for file in [redis.ca_file(), redis.other_ca_file()] {
        assert!(
            std::fs::read_to_string(file)
                .unwrap()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
    }
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, redis.tls_port())).is_ok());
}
