//! A Redis that sends what no Redis sends: the handler scores on, stays small and comes back when Redis does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::memo::{cache, score};
use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::redis::RedisServer;
use functions_host::host::FunctionsHost;
use functions_host::{PATIENCE, eventually};

/// What is sent instead of a reply: its head, and how often the rest follows.
#[derive(Clone)]
struct Attack {
    head: Vec<u8>,
    rest: Vec<u8>,
    times: usize,
}

impl Attack {
    fn new(head: impl Into<Vec<u8>>, rest: impl Into<Vec<u8>>, times: usize) -> Self {
        let (head, rest) = (head.into(), rest.into());
        Self { head, rest, times }
    }

    async fn send(&self, client: &mut TcpStream) -> std::io::Result<()> {
        client.write_all(&self.head).await?;
        for _ in 0..self.times {
            client.write_all(&self.rest).await?;
        }
        Ok(())
    }
}

/// Stands before a Redis and, while it is hostile, answers every command with the attack.
struct HostileRedis {
    port: u16,
    switch: Arc<Switch>,
}

#[derive(Default)]
struct Switch {
    is_hostile: AtomicBool,
    /// Attacks that were sent to their end, or as far as the client took them.
    sent: AtomicUsize,
}

impl HostileRedis {
    async fn start(redis: u16, attack: Attack) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let switch = Arc::new(Switch::default());
        let (shared, attack) = (switch.clone(), Arc::new(attack));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, redis, shared.clone(), attack.clone()));
            }
        });
        Self { port, switch }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn turn(&self, hostile: bool) {
        self.switch.is_hostile.store(hostile, Ordering::Relaxed);
    }

    fn attacks(&self) -> usize {
        self.switch.sent.load(Ordering::Relaxed)
    }
}

async fn serve(
    mut client: TcpStream,
    redis: u16,
    switch: Arc<Switch>,
    attack: Arc<Attack>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", redis)).await?;
    let (mut commands, mut replies) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            count = client.read(&mut commands) => match count? {
                0 => return Ok(()),
                _ if switch.is_hostile.load(Ordering::Relaxed) => {
                    let outcome = attack.send(&mut client).await;
                    switch.sent.fetch_add(1, Ordering::Relaxed);
                    outcome?;
                    // The connection stays open: what is incomplete may yet come.
                    return std::future::pending().await;
                }
                count => server.write_all(&commands[..count]).await?,
            },
            count = server.read(&mut replies) => match count? {
                0 => return Ok(()),
                count => client.write_all(&replies[..count]).await?,
            },
        }
    }
}

async fn survives(name: &str, attack: Attack) {
    let (digits, app, redis) = (
        Digits::load(),
        AppRoot::with_sample(),
        RedisServer::start().await,
    );
    let hostile = HostileRedis::start(redis.port(), attack).await;
    let url = hostile.url();
    let settings = [("REDIS_URL", url.as_str()), ("SCORE_L1_BYTES", "0")];
    let host = FunctionsHost::start(&app, settings).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    hostile.turn(true);
    let mut round = 0;
    // The handler connects again after an attack, and is attacked again.
    eventually(name, async || {
        round += 1;
        let answer = score(&host, &digits.body([round % 10])).await;
        // Without a cache in the process there is nothing to ask once Redis counts as down.
        assert!(["MISS", "BYPASS"].contains(&cache(&answer)), "{name}");
        assert_eq!(answer.json(), digits.answer([round % 10]), "{name}");
        hostile.attacks() > 1
    })
    .await;
    hostile.turn(false);
    let one = digits.body([1]);
    eventually(name, async || cache(&score(&host, &one).await) == "HIT").await;
    let peak = host.peak_memory();
    assert!(peak < 200 << 20, "{name}: {} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_inside_each_other() {
    survives("1,000 levels", Attack::new("", "*1\r\n".repeat(1_000), 1)).await;
    survives(
        "100,000 levels",
        Attack::new("", "*1\r\n".repeat(1_000), 100),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_of_300_mebibytes() {
    let attack = Attack::new("$314572800\r\n", vec![b'x'; 1 << 20], 300);
    survives("300 MiB announced and sent", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_without_an_end() {
    survives("a line", Attack::new("+", vec![b'x'; 1 << 20], 300)).await;
    let mebibyte = format!("$1048576\r\n{}\r\n", "x".repeat(1 << 20));
    survives("strings", Attack::new("*300\r\n", mebibyte, 300)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_of_two_billion() {
    survives(
        "array of 2^31",
        Attack::new("*2147483648\r\n", "$-1\r\n".repeat(100_000), 10),
    )
    .await;
    survives(
        "array of 65,536",
        Attack::new("*65536\r\n", "*0\r\n".repeat(65_535), 1),
    )
    .await;
}

/// The answer to `CLUSTER SLOTS` of a cluster with that many primaries.
fn slots(primaries: usize) -> Vec<u8> {
    let mut reply = format!("*{primaries}\r\n").into_bytes();
    for number in 0..primaries {
        let slot = number % 16_384;
        let host = format!("127.1.{}.{}", number / 250 % 250, number % 250 + 1);
        let range = format!(
            "*3\r\n:{slot}\r\n:{slot}\r\n*3\r\n${}\r\n{host}\r\n:{}\r\n$2\r\nid\r\n",
            host.len(),
            1_024 + number % 60_000
        );
        reply.extend_from_slice(range.as_bytes());
    }
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_of_thousands_of_nodes() {
    for primaries in [257, 4_000, 100_000] {
        survives(
            &format!("{primaries} primaries"),
            Attack::new(slots(primaries), "", 0),
        )
        .await;
    }
}
