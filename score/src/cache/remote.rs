//! The shared tier: look-ups within a budget, and writes behind the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Span, info_span, warn};

use super::key::UnitKey;
use super::seal::{self, Seal};
use super::{CacheStats, RemoteOptions};
use crate::store::{Store, StoreEntry, StoreError, SupervisedStore, Supervisor, Use, spread_out};

/// Bytes of results that may wait to be written; what comes on top is dropped and counted.
const MAX_PENDING_BYTES: usize = 16 << 20;
/// Larger results are not worth storing: they delay everything behind them on the connection.
const MAX_VALUE_BYTES: usize = 1 << 20;
/// Entries sent to the store at once.
const WRITE_CHUNK: usize = 256;
const WRITE_CHUNK_BYTES: usize = 1 << 20;
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// How much shorter or longer entries are kept, so that what was written together does not expire together.
const TTL_SPREAD: f64 = 0.1;

/// Results of one request on their way to the store.
struct Pending {
    entries: Vec<StoreEntry>,
    /// Ends when they are written, or dropped.
    span: Span,
}

/// The shared tier of one cache.
pub(super) struct Remote {
    supervisor: Supervisor,
    seal: Seal,
    options: RemoteOptions,
    stats: CacheStats,
    writes: mpsc::UnboundedSender<Pending>,
    /// Bytes of the entries between [`Remote::write_later`] and the end of their write.
    pending_bytes: Arc<AtomicUsize>,
    /// Takes what is sent to `writes`; it ends when this is dropped.
    _writer: AbortOnDropHandle<()>,
}

impl Remote {
    /// Starts the supervisor and the writer on the current tokio runtime. Returns at once: requests never wait for the
    /// store.
    pub(super) fn start(store: Arc<dyn Store>, options: RemoteOptions, stats: CacheStats) -> Self {
        let used = Use {
            name: store.name().to_owned(),
            without: "scoring goes on without it",
            probe: options.namespace.probe_key(),
            budget: options.budget,
            errors: stats.remote_errors.clone(),
        };
        let supervisor = Supervisor::start(store, used);
        let (writes, queue) = mpsc::unbounded_channel();
        let pending_bytes = Arc::<AtomicUsize>::default();
        let writer = Writer {
            store: supervisor.store().clone(),
            stats: stats.clone(),
            pending_bytes: pending_bytes.clone(),
        };
        Self {
            supervisor,
            seal: Seal::new(options.secret.as_ref(), &options.namespace),
            options,
            stats,
            writes,
            pending_bytes,
            _writer: AbortOnDropHandle::new(tokio::spawn(writer.run(queue))),
        }
    }

    /// Bytes that wait to be written, or are being written.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_up(&self) -> bool {
        self.supervisor.store().is_up()
    }

    /// Fills the empty elements of `found` with what the store knows of `keys`. A failure leaves them empty. `false` if the
    /// store was not asked.
    pub(super) async fn look_up(&self, keys: &[UnitKey], found: &mut [Option<Bytes>]) -> bool {
        let supervised = self.supervisor.store();
        let Some(pass) = supervised.pass() else {
            return false;
        };
        let wanted: Vec<usize> = (0..keys.len()).filter(|i| found[*i].is_none()).collect();
        let namespace = &self.options.namespace;
        let names = wanted.iter().map(|i| keys[*i].to_redis(namespace));
        let start = Instant::now();
        let answers = supervised
            .store()
            .get_many(names.collect(), self.options.budget)
            .await;
        self.stats.remote_reads.observe(start.elapsed());
        supervised.judge(pass, &answers);
        for (i, answer) in wanted.into_iter().zip(answers) {
            if let Ok(Some(value)) = answer {
                found[i] = self.seal.open(&keys[i], &value);
                self.stats.damaged.inc_by(found[i].is_none().into());
            }
        }
        true
    }

    /// Queues results to be written; never waits.
    pub(super) fn write_later(&self, entries: &[(UnitKey, Bytes)], ttl: Option<Duration>) {
        if !self.is_up() {
            self.stats.dropped_writes.inc_by(entries.len() as u64);
            return;
        }
        let fits = |(_, payload): &&(UnitKey, Bytes)| payload.len() <= MAX_VALUE_BYTES;
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
        let ttl = ttl.or(self.options.ttl);
        let sealed = fitting.into_iter().map(|(key, payload)| StoreEntry {
            key: key.to_redis(&self.options.namespace),
            value: self.seal.close(key, payload),
            ttl: ttl.map(|ttl| spread_out(ttl, TTL_SPREAD)),
        });
        // Fails only while the runtime is being shut down.
        let _ = self.writes.send(Pending {
            entries: sealed.collect(),
            span: info_span!("cache write", score.keys = entries.len()),
        });
    }
}

/// What an entry takes while it waits: its payload, the seal, the key and the handles.
fn entry_bytes(payload_bytes: usize) -> usize {
    payload_bytes + 256
}

fn waiting_bytes(entries: &[StoreEntry]) -> usize {
    let payloads = entries
        .iter()
        .map(|entry| seal::payload_bytes(&entry.value));
    payloads.map(entry_bytes).sum()
}

/// Writes what waits, one chunk after the other.
struct Writer {
    store: Arc<SupervisedStore>,
    stats: CacheStats,
    pending_bytes: Arc<AtomicUsize>,
}

impl Writer {
    async fn run(self, mut queue: mpsc::UnboundedReceiver<Pending>) {
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
                let (written, refusal) = self.write_chunk(chunk).await;
                self.stats.writes.inc_by(written);
                self.stats.dropped_writes.inc_by(count - written);
                match refusal {
                    Some(reason) if !std::mem::replace(&mut refusing, true) => {
                        warn!(%reason, "{} refuses to store results", self.store.name());
                    }
                    None if written > 0 => refusing = false,
                    _ => {}
                }
            }
            self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
            drop(spans);
        }
    }

    /// How many entries were written, and the words of a server that refuses some. With the gate shut nothing is tried.
    async fn write_chunk(&self, chunk: Vec<StoreEntry>) -> (u64, Option<String>) {
        let Some(pass) = self.store.pass() else {
            return (0, None);
        };
        let start = Instant::now();
        let outcomes = self.store.store().set_many(chunk, WRITE_TIMEOUT).await;
        self.stats.remote_writes.observe(start.elapsed());
        let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        let mut refusal = None;
        match outcomes.into_iter().find_map(Result::err) {
            Some(error @ StoreError::Unreachable(_)) if written == 0 => {
                self.store.failed(pass, &error);
            }
            Some(error) => {
                self.stats.remote_errors.inc();
                // Reads may well go on working, for example while the server's memory is full.
                if let StoreError::Refused(reason) = error {
                    refusal = Some(reason);
                }
            }
            None => {}
        }
        (written, refusal)
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
