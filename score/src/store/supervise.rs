//! The supervisor of a store's connection: connects, opens the gate, notices outages, and connects again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::contract::{Store, StoreError};
use super::gate::{Gate, Pass};

/// Longer than the store itself tries, so that no attempt is left behind.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(11);
/// How long an attempt to connect may be the only one.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// How long an existing connection may try to heal itself before it is replaced.
const HEAL_TIME: Duration = Duration::from_secs(1);
/// Traffic on an idle connection: load balancers of cloud providers close one that is silent for a few minutes.
const IDLE_PROBE: Duration = Duration::from_secs(60);
/// How many keys that are never written a probe asks for: enough to reach several nodes of a cluster.
const PROBE_KEYS: usize = 16;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
/// Processes that lost their connection together do not connect again together.
const BACKOFF_SPREAD: f64 = 0.1;
/// An outage within this time after the gate was opened counts as the same one.
const RELAPSE_TIME: Duration = Duration::from_secs(10);

/// What a supervised store is used for.
pub(crate) struct Use {
    /// What the log calls the store, such as `redis for features`.
    pub(crate) name: String,
    /// What an outage means, for the log.
    pub(crate) without: &'static str,
    /// A key that is never written and that the store's user may read; probes add numbers to it.
    pub(crate) probe: String,
    /// How long one look-up may take.
    pub(crate) budget: Duration,
    /// Counts failures, those of the supervisor among them.
    pub(crate) errors: Counter,
}

/// A store behind its gate.
pub(crate) struct SupervisedStore {
    store: Arc<dyn Store>,
    used: Use,
    gate: Gate,
    /// Why the gate was shut last. Locked for one read or write at a time.
    trouble: Mutex<String>,
    /// Whether the first attempt to connect has come to an end.
    attempted: watch::Sender<bool>,
}

/// Owns the task that keeps a store connected, which ends when this is dropped.
pub(crate) struct Supervisor {
    store: Arc<SupervisedStore>,
    _task: AbortOnDropHandle<()>,
}

impl Supervisor {
    /// Starts the supervisor on the current tokio runtime. Returns at once: requests never wait for the store.
    pub(crate) fn start(store: Arc<dyn Store>, used: Use) -> Self {
        let store = Arc::new(SupervisedStore {
            store,
            used,
            gate: Gate::default(),
            trouble: Mutex::default(),
            attempted: watch::Sender::new(false),
        });
        let task = tokio::spawn(supervise(store.clone()));
        Self {
            store,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) fn store(&self) -> &Arc<SupervisedStore> {
        &self.store
    }
}

impl SupervisedStore {
    /// Whether requests may ask the store.
    pub(crate) fn is_up(&self) -> bool {
        self.gate.is_open()
    }

    /// Leave to ask the store, while it answers.
    pub(crate) fn pass(&self) -> Option<Pass> {
        self.gate.pass()
    }

    /// The store itself, for the holder of a pass.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// What the log calls the store.
    pub(crate) fn name(&self) -> &str {
        &self.used.name
    }

    /// How long one look-up may take.
    pub(crate) fn budget(&self) -> Duration {
        self.used.budget
    }

    /// Tells the gate what came of a look-up. Only a store without any answer counts for it: a part that is away is no
    /// reason to do without the rest.
    pub(crate) fn judge<T>(&self, pass: Pass, answers: &[Result<T, StoreError>]) {
        let fault = answers.iter().find_map(|answer| answer.as_ref().err());
        let answered = answers.iter().any(Result::is_ok);
        if answered {
            self.gate.succeeded();
        }
        match fault {
            Some(fault) if answered || matches!(fault, StoreError::PartUnreachable(_)) => {
                self.used.errors.inc();
            }
            Some(fault) => self.failed(pass, fault),
            None => {}
        }
    }

    /// Counts a failure and tells the gate.
    pub(crate) fn failed(&self, pass: Pass, error: &StoreError) {
        self.used.errors.inc();
        *self.trouble.lock() = error.to_string();
        if self.gate.failed(pass) {
            debug!(%error, "gate before {} shut", self.name());
        }
    }

    /// When what is asked now has to be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.budget()
    }

    /// What `read` asks the store for, within the time that is left. At once an error while the store is known not to
    /// answer; only the very first attempt to connect is waited for. A refusal does not shut the gate: it may concern
    /// these keys alone.
    pub(crate) async fn read<'a, T>(
        &'a self,
        until: Instant,
        read: impl FnOnce(&'a dyn Store, Duration) -> BoxFuture<'a, Vec<Result<T, StoreError>>>,
    ) -> Result<Vec<T>, StoreError> {
        let mut attempted = self.attempted.subscribe();
        // Its sender lives in here, so only time can end this early.
        let _ = timeout_at(until, attempted.wait_for(|done| *done)).await;
        let Some(pass) = self.pass() else {
            return Err(StoreError::Unreachable("not connected".to_owned()));
        };
        let budget = until.saturating_duration_since(Instant::now());
        let answers = read(self.store(), budget).await;
        let answers: Result<Vec<_>, _> = answers.into_iter().collect();
        match &answers {
            Ok(_) => self.gate.succeeded(),
            Err(StoreError::Refused(_) | StoreError::PartUnreachable(_)) => {}
            Err(error @ StoreError::Unreachable(_)) => self.failed(pass, error),
        }
        answers
    }

    fn open(&self) {
        self.gate.open();
        debug!("gate before {} opened", self.name());
    }
}

/// Connects, opens the gate, waits for an outage, and mends or replaces the connection; without end.
async fn supervise(store: Arc<SupervisedStore>) {
    let mut announce = true;
    let mut relapses = Relapses::default();
    loop {
        connect(&store, announce).await;
        store.open();
        store.attempted.send_replace(true);
        if relapses.are_news() {
            info!("{} connected", store.name());
        }
        while watch(&store, &mut relapses).await {
            store.open();
            if relapses.are_news() {
                info!("{} answers again", store.name());
            }
        }
        // A relapse that was not worth a line may have become an outage.
        announce = !relapses.are_news();
    }
}

/// Outages soon after the gate was opened. A store may answer every probe and still be too slow for real look-ups; then
/// each further outage keeps the gate shut for longer.
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

    /// What comes back every second is logged only at first.
    fn are_news(&self) -> bool {
        self.in_a_row < 2
    }

    fn backoff(&self) -> Backoff {
        BACKOFF.after(self.in_a_row)
    }
}

/// Tries until a connection is there. What an attempt has sent into a dead network may stay without an answer long after
/// the network is back, so after a second without progress another attempt starts in parallel; the first to succeed
/// ends the others.
async fn connect(store: &SupervisedStore, mut announce: bool) {
    let mut attempts = FuturesUnordered::new();
    let mut backoff = BACKOFF;
    loop {
        let began = Instant::now();
        let pause = backoff.next_pause_spread(BACKOFF_SPREAD);
        attempts.push(connect_once(store));
        while let Ok(Some(outcome)) = timeout_at(began + STALLED_AFTER, attempts.next()).await {
            let Err(error) = outcome else {
                return;
            };
            store.used.errors.inc();
            store.attempted.send_replace(true);
            if announce {
                let Use { name, without, .. } = &store.used;
                warn!(%error, "{name} cannot be used, {without}");
                announce = false;
            } else {
                debug!(%error, "{} cannot be used yet", store.name());
            }
        }
        sleep_until(began + pause).await;
    }
}

/// A server that lets us in may still refuse what we ask, so that is tried too.
async fn connect_once(store: &SupervisedStore) -> Result<(), StoreError> {
    match timeout(CONNECT_TIMEOUT, store.store.connect()).await {
        Ok(connected) => connected?,
        Err(_) => {
            let reason = format!("no connection within {CONNECT_TIMEOUT:?}");
            return Err(StoreError::Unreachable(reason));
        }
    }
    probe(store).await
}

/// Waits until the gate shuts, then gives the connection time to heal. `true` if it answered again.
async fn watch(store: &SupervisedStore, relapses: &mut Relapses) -> bool {
    let opened = Instant::now();
    while timeout(IDLE_PROBE, store.gate.tripped()).await.is_err() {
        let Some(pass) = store.pass() else {
            continue;
        };
        match probe(store).await {
            Ok(()) => store.gate.succeeded(),
            Err(error) => store.failed(pass, &error),
        }
    }
    relapses.note(opened.elapsed());
    if relapses.are_news() {
        let error = store.trouble.lock().clone();
        let Use { name, without, .. } = &store.used;
        warn!(%error, "{name} does not answer, {without}");
    }
    let give_up = Instant::now() + HEAL_TIME;
    let mut backoff = relapses.backoff();
    while Instant::now() < give_up {
        sleep(backoff.next_pause_spread(BACKOFF_SPREAD)).await;
        if probe(store).await.is_ok() {
            return true;
        }
    }
    debug!("connection to {} given up", store.name());
    false
}

/// Does what requests do, on keys that are never written: a server that answers a PING may still refuse a GET.
async fn probe(store: &SupervisedStore) -> Result<(), StoreError> {
    let name = &store.used.probe;
    // Several, since one part of the store may be gone; and one alone, which may be asked for in another way.
    let keys = (0..PROBE_KEYS).map(|i| format!("{name}:{i}")).collect();
    look_for(store, keys).await?;
    match look_for(store, vec![name.clone()]).await {
        // Others have answered, and this one costs only its own keys.
        Err(StoreError::PartUnreachable(_)) => Ok(()),
        outcome => outcome,
    }
}

/// Fails if none of the keys can be looked up.
async fn look_for(store: &SupervisedStore, keys: Vec<String>) -> Result<(), StoreError> {
    let mut fault = StoreError::Unreachable("no answer to a probe".to_owned());
    for answer in store.store.get_many(keys, store.budget()).await {
        match answer {
            Ok(_) => return Ok(()),
            Err(error) => fault = error,
        }
    }
    Err(fault)
}
