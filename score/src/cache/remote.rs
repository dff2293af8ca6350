//! The shared tier: look-ups with a time limit, writes after the answers, and a supervisor of the connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{Span, info, info_span, warn};

use super::codec;
use super::key::MemoKey;
use super::namespace::Namespace;
use super::{MemoStats, RemoteOptions};
use crate::store::{Gate, MemoStore, Pass, StoreEntry, StoreError};

/// Bytes of results that may wait to be written; what comes on top is dropped and counted.
const MAX_PENDING_BYTES: usize = 16 << 20;
/// Larger results are not worth a place in a shared store: they delay everything behind them on the connection.
const MAX_VALUE_BYTES: usize = 1 << 20;
/// Entries sent to the store at once.
const WRITE_CHUNK: usize = 256;
const WRITE_CHUNK_BYTES: usize = 1 << 20;
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than the store itself tries, so that no attempt is left behind.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(11);
/// How long an attempt to connect may be the only one.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// How long an existing connection may try to heal itself before it is replaced.
const HEAL_TIME: Duration = Duration::from_secs(1);
/// Traffic on an idle connection: Azure closes one that is silent for ten minutes.
const IDLE_PROBE: Duration = Duration::from_secs(60);
/// How many keys, which are never written, a probe asks for: enough to reach several nodes of a cluster.
const PROBE_KEYS: usize = 16;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// A fall within this time after the gate was opened counts as the same trouble.
const RELAPSE_TIME: Duration = Duration::from_secs(10);

/// What a store is read for.
enum Purpose {
    /// Remembered results.
    Results,
    /// Inference data.
    Features {
        /// A name below a prefix of theirs: others may not be readable.
        probe: String,
    },
}

impl Purpose {
    /// What the log calls the store.
    fn name(&self) -> &'static str {
        match self {
            Self::Results => "redis",
            Self::Features { .. } => "redis for features",
        }
    }

    /// What an outage means.
    fn without(&self) -> &'static str {
        match self {
            Self::Results => "scoring continues without it",
            Self::Features { .. } => "requests by key are refused",
        }
    }
}

/// Results of one request on their way to the store.
struct Pending {
    entries: Vec<StoreEntry>,
    /// Ends when they are written, or dropped.
    span: Span,
}

pub(crate) struct Remote {
    store: Arc<dyn MemoStore>,
    purpose: Purpose,
    gate: Gate,
    options: RemoteOptions,
    stats: MemoStats,
    writes: mpsc::UnboundedSender<Pending>,
    pending_bytes: AtomicUsize,
    /// Why the gate was shut last.
    trouble: Mutex<String>,
    /// Whether the first attempt to connect has come to an end.
    attempted: watch::Sender<bool>,
}

impl Remote {
    /// Starts the supervisor and the writer on the current tokio runtime. Returns at once, without waiting for the store.
    pub(super) fn start(
        store: Arc<dyn MemoStore>,
        options: RemoteOptions,
        stats: MemoStats,
    ) -> Arc<Self> {
        let (writes, queue) = mpsc::unbounded_channel();
        let remote = Self::new(store, Purpose::Results, options, stats, writes);
        tokio::spawn(keep(remote.clone()));
        tokio::spawn(write(remote.clone(), queue));
        remote
    }

    /// Starts the supervisor of a store that is only read with [`Remote::read`].
    pub(crate) fn start_reading(
        store: Arc<dyn MemoStore>,
        budget: Duration,
        probe: String,
    ) -> Arc<Self> {
        let options = RemoteOptions {
            budget,
            ttl: None,
            namespace: Namespace::default(),
        };
        let (writes, _) = mpsc::unbounded_channel();
        let (purpose, stats) = (Purpose::Features { probe }, MemoStats::default());
        let remote = Self::new(store, purpose, options, stats, writes);
        tokio::spawn(keep(remote.clone()));
        remote
    }

    fn new(
        store: Arc<dyn MemoStore>,
        purpose: Purpose,
        options: RemoteOptions,
        stats: MemoStats,
        writes: mpsc::UnboundedSender<Pending>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            purpose,
            gate: Gate::default(),
            options,
            stats,
            writes,
            pending_bytes: AtomicUsize::new(0),
            trouble: Mutex::default(),
            attempted: watch::Sender::new(false),
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.gate.is_open()
    }

    /// Fills the empty places of `found` with what the store knows of `keys`. A failure leaves them empty. `false` if the
    /// store was left alone.
    pub(super) async fn look_up(&self, keys: &[MemoKey], found: &mut [Option<Bytes>]) -> bool {
        let Some(pass) = self.gate.pass() else {
            return false;
        };
        let wanted: Vec<usize> = (0..keys.len()).filter(|i| found[*i].is_none()).collect();
        let namespace = &self.options.namespace;
        let names = wanted.iter().map(|i| keys[*i].to_redis(namespace));
        let start = Instant::now();
        let answers = self
            .store
            .get_many(names.collect(), self.options.budget)
            .await;
        self.stats.remote_reads.observe(start.elapsed());
        self.judge(pass, &answers);
        for (i, answer) in wanted.into_iter().zip(answers) {
            let value = answer.ok().flatten();
            found[i] = value.and_then(|value| self.open(&keys[i], &value));
        }
        true
    }

    /// Whether the store is there is what the gate has to know; a part that is not is no reason to do without the rest.
    fn judge<T>(&self, pass: Pass, answers: &[Result<T, StoreError>]) {
        let fault = answers.iter().find_map(|answer| answer.as_ref().err());
        let answered = answers.iter().any(Result::is_ok);
        if answered {
            self.gate.succeeded();
        }
        match fault {
            Some(fault) if answered || matches!(fault, StoreError::PartUnreachable(_)) => {
                self.stats.remote_errors.inc();
            }
            Some(fault) => self.failed(pass, fault),
            None => {}
        }
    }

    /// When what is asked now has to be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.options.budget
    }

    /// What `read` asks the store for, within the time that is left. At once an error while the store is known not to
    /// answer; only the very first attempt to connect is waited for. A refusal does not shut the gate: it may concern
    /// these names alone.
    pub(crate) async fn read<'a, T>(
        &'a self,
        until: Instant,
        read: impl FnOnce(&'a dyn MemoStore, Duration) -> BoxFuture<'a, Vec<Result<T, StoreError>>>,
    ) -> Result<Vec<T>, StoreError> {
        let mut attempted = self.attempted.subscribe();
        // Its sender lives in here, so only time can end this early.
        let _ = timeout_at(until, attempted.wait_for(|done| *done)).await;
        let Some(pass) = self.gate.pass() else {
            return Err(StoreError::Unreachable("not connected".to_owned()));
        };
        let budget = until.saturating_duration_since(Instant::now());
        let answers = read(&*self.store, budget).await;
        let answers: Result<Vec<_>, _> = answers.into_iter().collect();
        match &answers {
            Ok(_) => self.gate.succeeded(),
            Err(StoreError::Refused(_) | StoreError::PartUnreachable(_)) => {}
            Err(error @ StoreError::Unreachable(_)) => self.failed(pass, error),
        }
        answers
    }

    fn open(&self, key: &MemoKey, value: &Bytes) -> Option<Bytes> {
        let payload = codec::open(key, value);
        if payload.is_none() {
            self.stats.damaged.inc();
        }
        payload
    }

    /// Queues results to be written; never waits.
    pub(super) fn write_later(&self, entries: &[(MemoKey, Bytes)], ttl: Option<Duration>) {
        if !self.gate.is_open() {
            self.stats.dropped_writes.inc_by(entries.len() as u64);
            return;
        }
        let fits = |(_, payload): &&(MemoKey, Bytes)| payload.len() <= MAX_VALUE_BYTES;
        let fitting: Vec<_> = entries.iter().filter(fits).collect();
        let large = entries.len() - fitting.len();
        self.stats.dropped_writes.inc_by(large as u64);
        let bytes = fitting
            .iter()
            .map(|(_, payload)| entry_bytes(payload.len()))
            .sum();
        if self.pending_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_PENDING_BYTES {
            self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.stats.dropped_writes.inc_by(fitting.len() as u64);
            return;
        }
        let sealed = fitting.into_iter().map(|(key, payload)| StoreEntry {
            key: key.to_redis(&self.options.namespace),
            value: codec::seal(key, payload),
            ttl: ttl.or(self.options.ttl).map(jittered),
        });
        // Fails only while the runtime is being shut down.
        let _ = self.writes.send(Pending {
            entries: sealed.collect(),
            span: info_span!("cache write", score.keys = entries.len()),
        });
    }

    fn trouble(&self) -> MutexGuard<'_, String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, pass: Pass, error: &StoreError) {
        self.stats.remote_errors.inc();
        *self.trouble() = error.to_string();
        self.gate.failed(pass);
    }
}

/// What an entry takes while it waits: its payload, the seal, the key and the handles.
fn entry_bytes(payload_bytes: usize) -> usize {
    payload_bytes + 256
}

fn waiting_bytes(entries: &[StoreEntry]) -> usize {
    let payloads = entries
        .iter()
        .map(|entry| codec::payload_bytes(&entry.value));
    payloads.map(entry_bytes).sum()
}

/// Up to a tenth shorter or longer, so that what was written together does not expire together.
fn jittered(ttl: Duration) -> Duration {
    ttl.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Connects, opens the gate, waits for trouble, heals or replaces the connection; for ever.
async fn keep(remote: Arc<Remote>) {
    let mut announce = true;
    let mut relapses = Relapses::default();
    let name = remote.purpose.name();
    loop {
        connect(&remote, announce).await;
        remote.gate.open();
        remote.attempted.send_replace(true);
        if relapses.are_news() {
            info!("{name} connected");
        }
        while watch(&remote, &mut relapses).await {
            remote.gate.open();
            if relapses.are_news() {
                info!("{name} answers again");
            }
        }
        // A fall that was not worth a line may have become an outage.
        announce = !relapses.are_news();
    }
}

/// Falls soon after the gate was opened. A store may answer every probe and still be too slow for real look-ups; then
/// each further fall keeps the gate shut for longer.
#[derive(Default)]
struct Relapses {
    in_a_row: u32,
}

impl Relapses {
    fn note(&mut self, open_for: Duration) {
        self.in_a_row = if open_for < RELAPSE_TIME {
            self.in_a_row.saturating_add(1)
        } else {
            0
        };
    }

    /// What comes back every second is said only at first.
    fn are_news(&self) -> bool {
        self.in_a_row < 2
    }

    fn first_wait(&self) -> Duration {
        (FIRST_BACKOFF * 2u32.saturating_pow(self.in_a_row.min(10))).min(MAX_BACKOFF)
    }
}

/// Tries until a connection is there. What an attempt has sent into a dead network may stay without an answer long after
/// the network is back, so one that gets nowhere soon has another beside it; the first to succeed ends the others.
async fn connect(remote: &Remote, mut announce: bool) {
    let mut attempts = FuturesUnordered::new();
    let mut backoff = FIRST_BACKOFF;
    loop {
        let began = Instant::now();
        let pause = jittered(backoff);
        attempts.push(connect_once(remote));
        while let Ok(Some(outcome)) = timeout_at(began + STALLED_AFTER, attempts.next()).await {
            let Err(error) = outcome else {
                return;
            };
            remote.stats.remote_errors.inc();
            remote.attempted.send_replace(true);
            if announce {
                let (name, without) = (remote.purpose.name(), remote.purpose.without());
                warn!(%error, "{name} cannot be used, {without}");
                announce = false;
            }
        }
        sleep_until(began + pause).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// A server that lets us in may still refuse what we ask, so that is tried too.
async fn connect_once(remote: &Remote) -> Result<(), StoreError> {
    match timeout(CONNECT_TIMEOUT, remote.store.connect()).await {
        Ok(connected) => connected?,
        Err(_) => {
            let reason = format!("no connection within {CONNECT_TIMEOUT:?}");
            return Err(StoreError::Unreachable(reason));
        }
    }
    probe(remote).await
}

/// Waits until the gate shuts, then gives the connection time to heal. `true` if it answered again.
async fn watch(remote: &Remote, relapses: &mut Relapses) -> bool {
    let opened = Instant::now();
    while timeout(IDLE_PROBE, remote.gate.tripped()).await.is_err() {
        let Some(pass) = remote.gate.pass() else {
            continue;
        };
        match probe(remote).await {
            Ok(()) => remote.gate.succeeded(),
            Err(error) => remote.failed(pass, &error),
        }
    }
    relapses.note(opened.elapsed());
    if relapses.are_news() {
        let error = remote.trouble().clone();
        let (name, without) = (remote.purpose.name(), remote.purpose.without());
        warn!(%error, "{name} does not answer, {without}");
    }
    let give_up = Instant::now() + HEAL_TIME;
    let mut backoff = relapses.first_wait();
    while Instant::now() < give_up {
        sleep(jittered(backoff)).await;
        if probe(remote).await.is_ok() {
            return true;
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
    false
}

/// Does what requests do, on keys that are never written: a server that answers a PING may still refuse a GET.
async fn probe(remote: &Remote) -> Result<(), StoreError> {
    let name = match &remote.purpose {
        // It is never written.
        Purpose::Results => remote.options.namespace.probe_key(),
        Purpose::Features { probe } => probe.clone(),
    };
    // Several, since one part of the store may be gone; and one alone, which may be asked for in another way.
    let keys = (0..PROBE_KEYS).map(|i| format!("{name}:{i}")).collect();
    look_for(remote, keys).await?;
    match look_for(remote, vec![name]).await {
        // Others have answered, and this one costs only its own keys.
        Err(StoreError::PartUnreachable(_)) => Ok(()),
        outcome => outcome,
    }
}

/// Fails if none of the keys can be looked up.
async fn look_for(remote: &Remote, keys: Vec<String>) -> Result<(), StoreError> {
    let mut fault = StoreError::Unreachable("no answer to a probe".to_owned());
    for answer in remote.store.get_many(keys, remote.options.budget).await {
        match answer {
            Ok(_) => return Ok(()),
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

async fn write(remote: Arc<Remote>, mut queue: mpsc::UnboundedReceiver<Pending>) {
    let mut waiting = Vec::new();
    let mut refusing = false;
    while queue.recv_many(&mut waiting, 64).await > 0 {
        let (entries, spans): (Vec<Vec<StoreEntry>>, Vec<Span>) = waiting
            .drain(..)
            .map(|Pending { entries, span }| (entries, span))
            .unzip();
        let mut entries: Vec<StoreEntry> = entries.into_iter().flatten().collect();
        let bytes = waiting_bytes(&entries);
        while !entries.is_empty() {
            let chunk: Vec<_> = entries.drain(..chunk_length(&entries)).collect();
            let count = chunk.len() as u64;
            let (written, refusal) = write_chunk(&remote, chunk).await;
            remote.stats.writes.inc_by(written);
            remote.stats.dropped_writes.inc_by(count - written);
            match refusal {
                Some(reason) if !std::mem::replace(&mut refusing, true) => {
                    warn!(%reason, "redis refuses to store results");
                }
                None if written > 0 => refusing = false,
                _ => {}
            }
        }
        remote.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        drop(spans);
    }
}

/// As many entries as may travel together: large ones would hold up the look-ups behind them.
fn chunk_length(entries: &[StoreEntry]) -> usize {
    let mut bytes = 0;
    let fitting = entries.iter().take(WRITE_CHUNK).take_while(|entry| {
        bytes += entry.value.len();
        bytes <= WRITE_CHUNK_BYTES
    });
    fitting.count().max(1)
}

/// How many entries were written, and the words of a server that refuses some. With the gate shut nothing is tried.
async fn write_chunk(remote: &Remote, chunk: Vec<StoreEntry>) -> (u64, Option<String>) {
    let Some(pass) = remote.gate.pass() else {
        return (0, None);
    };
    let start = Instant::now();
    let outcomes = remote.store.set_many(chunk, WRITE_TIMEOUT).await;
    remote.stats.remote_writes.observe(start.elapsed());
    let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    let mut refusal = None;
    match outcomes.into_iter().find_map(Result::err) {
        Some(error @ StoreError::Unreachable(_)) if written == 0 => remote.failed(pass, &error),
        Some(error) => {
            remote.stats.remote_errors.inc();
            // Reads may well go on working, for example while the server's memory is full.
            if let StoreError::Refused(reason) = error {
                refusal = Some(reason);
            }
        }
        None => {}
    }
    (written, refusal)
}
