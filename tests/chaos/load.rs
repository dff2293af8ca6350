//! 32 clients that never stop, each asking a handler with a cache and one without by turns.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::oracle;
use functions_host::answer::Answer;
use functions_host::client::Request;
use functions_host::host::FunctionsHost;
use functions_host::http1;

const CLIENTS: u32 = 32;
/// Rows that come again and again.
pub(crate) const KNOWN_ROWS: u32 = 64;
/// Rows of a request that are among those; one more is new each time, so that there is something to write.
pub(crate) const KNOWN_PER_REQUEST: usize = 3;

/// Which handler was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Asked {
    Cached,
    WithoutCache,
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) asked: Asked,
    pub(crate) at: Instant,
    pub(crate) latency: Duration,
    /// Not a 200.
    pub(crate) failure: Option<String>,
    /// A 200 with another body than the oracle's.
    pub(crate) is_wrong: bool,
    /// Rows found; `None` if the cache was not asked.
    pub(crate) hits: Option<usize>,
}

/// The running load.
#[derive(Debug)]
pub(crate) struct Load {
    samples: Arc<Mutex<Vec<Sample>>>,
    done: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients. They are paced, not greedy: a machine at its limit would measure its own queues.
    pub(crate) fn start(
        cached: &Arc<FunctionsHost>,
        without_cache: &Arc<FunctionsHost>,
        pace: Duration,
    ) -> Self {
        let samples = Arc::new(Mutex::default());
        let done = Arc::new(AtomicBool::new(false));
        let fresh = Arc::new(AtomicU32::new(KNOWN_ROWS));
        let clients = (0..CLIENTS).map(|number| {
            tokio::spawn(client(Client {
                number,
                hosts: [cached.clone(), without_cache.clone()],
                pace,
                fresh: fresh.clone(),
                samples: Arc::clone(&samples),
                done: done.clone(),
            }))
        });
        Self {
            clients: clients.collect(),
            samples,
            done,
        }
    }

    /// The requests begun from `start` on and before `end`.
    pub(crate) fn samples(&self, start: Instant, end: Instant) -> Vec<Sample> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = samples.iter().filter(|s| s.at >= start && s.at < end);
        inside.cloned().collect()
    }

    /// Lets all requests end.
    pub(crate) async fn stop(self) {
        self.done.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
    }
}

struct Client {
    number: u32,
    hosts: [Arc<FunctionsHost>; 2],
    pace: Duration,
    fresh: Arc<AtomicU32>,
    samples: Arc<Mutex<Vec<Sample>>>,
    done: Arc<AtomicBool>,
}

async fn client(client: Client) {
    tokio::time::sleep(client.pace * client.number / CLIENTS).await;
    let mut ticks = interval(client.pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut random = fastrand::Rng::with_seed(client.number.into());
    while !client.done.load(Ordering::Relaxed) {
        ticks.tick().await;
        let mut rows = vec![client.fresh.fetch_add(1, Ordering::Relaxed)];
        rows.extend((0..KNOWN_PER_REQUEST).map(|_| random.u32(..KNOWN_ROWS)));
        let mut turns = [Asked::Cached, Asked::WithoutCache];
        random.shuffle(&mut turns);
        for asked in turns {
            let sample = ask(&client.hosts[asked as usize], asked, &rows).await;
            let mut samples = client
                .samples
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            samples.push(sample);
        }
    }
}

async fn ask(host: &FunctionsHost, asked: Asked, rows: &[u32]) -> Sample {
    let body = oracle::body(rows);
    let at = Instant::now();
    let answer = score(host, body).await;
    let latency = at.elapsed();
    let failure = (answer.status != 200).then(|| {
        let reason = answer.host_error.clone();
        format!("{} {}", answer.status, reason.unwrap_or(answer.text()))
    });
    Sample {
        asked,
        at,
        latency,
        is_wrong: failure.is_none() && answer.body != oracle::answer(rows),
        failure,
        hits: hits(&answer, rows.len()),
    }
}

/// Sends one request as the host forwards it, without the host's own work, which would be most of what is measured.
pub(crate) async fn score(host: &FunctionsHost, body: Vec<u8>) -> Answer {
    let length = body.len().to_string();
    let headers = [
        ("Host", "127.0.0.1"),
        ("X-Azure-Functions-InvocationId", "chaos"),
        ("Content-Type", "application/json"),
        ("Content-Length", &length),
    ];
    let head = http1::head("POST", "/api/score", &headers);
    let sent = host.client().send(&Request { head, body }).await;
    sent.unwrap_or_else(|failure| Answer::from_host(500, failure.to_string()))
}

/// How many of its rows an answer says were found; `None` if the cache was not asked.
pub(crate) fn hits(answer: &Answer, rows: usize) -> Option<usize> {
    match answer.header("x-cache")? {
        "HIT" => Some(rows),
        "MISS" => Some(0),
        partial => {
            let rest = partial.strip_prefix("PARTIAL; hits=")?;
            rest.split(',').next()?.parse().ok()
        }
    }
}

/// The nearest-rank 99th percentile; zero of nothing.
pub(crate) fn p99<'a>(samples: impl IntoIterator<Item = &'a Sample>, asked: Asked) -> Duration {
    let asked = samples.into_iter().filter(|sample| sample.asked == asked);
    let mut latencies: Vec<Duration> = asked.map(|sample| sample.latency).collect();
    latencies.sort_unstable();
    let rank = (latencies.len() * 99).div_ceil(100);
    latencies
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}
