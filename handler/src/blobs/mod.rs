//! Blobs of any length, which this program reads and writes itself, since the host would put all of one into a single body.
//!
//! The messages of a storage queue name them: Event Grid puts one there for each new blob. A call works for a time below that
//! of functions and hands the rest to the next one by a message to the same queue. Results are blocks until the last line is
//! done, so half of them is never seen; what a call has written is named in its message and nowhere else. So a message that
//! comes twice, or after the blob has changed, does no harm: its blocks are not used, and expire. A block whose name is a digest of
//! the message vouches for it, since the right to write to the queue is not the right to write results.

mod account;
mod message;
mod output;
mod reader;
mod storage;
mod transport;
mod work;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use score::{Cache, quoted};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{Instrument, Span, field::Empty, info, info_span, warn};

use crate::admission::Admission;
use crate::config::{BlobSettings, Config};
use crate::event::HostCall;
use crate::limits::body_limits;
use crate::problem::{ErrorCode, Problem};
use crate::protocol::{Answer, InvocationResponse, LargeBlobTrigger};
use account::{Account, AccountError};
use message::{Job, Message};
use storage::{Place, Storage};
use transport::Http;
use work::{Outcome, Shared, Time, work};

/// The part of a call's time that windows in work get when it is used up, and the least of it.
const GRACE: u32 = 8;
const LEAST_GRACE: Duration = Duration::from_secs(5);
/// How long a call waits before it fails for an account that cannot be used: the host tries five times without a pause.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a message may have: a queue takes less.
const MOST_MESSAGE_BYTES: usize = 128 << 10;

/// What calls about large blobs share.
pub(crate) struct Blobs {
    account: Result<Account, AccountError>,
    /// Made for the first call.
    http: Mutex<Option<Arc<Http>>>,
    settings: BlobSettings,
    shared: Arc<Shared>,
    /// One blob at a time: its windows keep all cores busy.
    turn: Arc<Semaphore>,
    /// Threads of their own: a window takes longer than the tasks of those that serve requests may.
    runtime: Option<Runtime>,
}

impl Blobs {
    /// # Errors
    /// If threads cannot be started.
    pub(crate) fn new(
        config: &Config,
        admission: &Arc<Admission>,
        cache: &Arc<Cache>,
    ) -> anyhow::Result<Self> {
        let account = Account::of(&config.blobs);
        if let Err(error) = &account {
            warn!("large blobs cannot be scored: {error}");
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(config.cores)
            .thread_name("blobs")
            .enable_all()
            .build()
            .context("the async runtime for large blobs cannot be started")?;
        Ok(Self {
            account,
            http: Mutex::default(),
            settings: config.blobs.clone(),
            shared: Arc::new(Shared {
                admission: admission.clone(),
                cache: cache.clone(),
                limits: body_limits(config),
                max_rows: config.max_rows,
                at_once: config.cores + 1,
                scored: config.blobs.scored.clone(),
                rejected: config.blobs.rejected.clone(),
            }),
            turn: Arc::new(Semaphore::new(1)),
            runtime: Some(runtime),
        })
    }

    fn storage(&self) -> Result<Storage, String> {
        let account = self.account.as_ref().map_err(|error| error.to_string())?;
        let http = {
            let mut kept = self.http.lock();
            match &*kept {
                Some(http) => http.clone(),
                None => {
                    let http = Http::new().map_err(|error| {
                        format!("the system's certificates cannot be read: {error}")
                    })?;
                    kept.insert(Arc::new(http)).clone()
                }
            }
        };
        let client = account.client(http).map_err(|error| error.to_string())?;
        Ok(Storage(client))
    }

    /// Why no large blob can be scored with these settings, if none can.
    pub(crate) fn problem(config: &Config) -> Option<String> {
        let account = Account::of(&config.blobs);
        account.err().map(|error| error.to_string())
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        // Waiting for threads is not allowed among tasks.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Works on the blob that a message names, for a time. The answer has a message for the next call if there is more to do.
///
/// # Errors
/// [`Problem`] if the host is to bring the message again.
pub(crate) async fn invoke(
    blobs: &Blobs,
    trigger: &LargeBlobTrigger,
    host: HostCall<'_>,
    body: &[u8],
) -> Result<InvocationResponse, Problem> {
    let span = info_span!(
        "event",
        otel.name = format!("process {}", host.function),
        otel.kind = "consumer",
        otel.status_code = Empty,
        error.type = Empty,
        faas.trigger = "pubsub",
        faas.invocation_id = host.id,
        faas.document.name = Empty,
        messaging.system = "azure_storage_queue",
        score.outcome = Empty,
    );
    host.origin.adopt(&span);
    let call = settle(blobs, host.id, body).instrument(span.clone());
    let outcome = call.await;
    let status = outcome
        .as_ref()
        .map_or_else(Problem::status, |told| told.status);
    let counters = &blobs.shared.admission.counters;
    counters.count(host.function, None, status);
    let told = outcome.inspect_err(|problem| {
        span.record("error.type", problem.code.as_str());
        span.record("otel.status_code", "ERROR");
    })?;
    let mut response = InvocationResponse::default();
    response.logs.extend(told.line);
    if let Some(job) = told.next {
        let text = serde_json::to_string(&job).map_err(|_| Problem::internal())?;
        response.put(&trigger.next.binding, Answer::Messages(vec![text]));
    }
    Ok(response)
}

/// What the host is told.
struct Told {
    /// As of a request.
    status: u16,
    line: Option<String>,
    next: Option<Job>,
}

async fn settle(blobs: &Blobs, id: &str, body: &[u8]) -> Result<Told, Problem> {
    let told = |status, line: String| {
        info!(id, "{line}");
        Ok(Told {
            status,
            line: Some(line),
            next: None,
        })
    };
    if body.len() > MOST_MESSAGE_BYTES {
        return Err(Problem::new(
            ErrorCode::TooLarge,
            format!(
                "the message is larger than {MOST_MESSAGE_BYTES} bytes: expected an event of a storage account, or the name of a \
                 blob, in the 64 KiB that a storage queue takes"
            ),
        ));
    }
    let (places, job) = match message::read(body) {
        Ok(Message::Blob { places, job }) => (places, job),
        Ok(Message::Nothing(why)) => return told(200, format!("nothing to do: {why}")),
        // It would be as wrong each time, and the queue for such messages keeps it.
        Err(why) => return Err(Problem::bad_request(why)),
    };
    let incoming = &blobs.settings.incoming;
    let places: Vec<Place> = places
        .into_iter()
        .filter(|place| place.container == *incoming)
        .collect();
    let name = job.blob.clone();
    if places.is_empty() {
        return told(
            200,
            format!(
                "nothing to do: {} is not in the container {incoming:?}",
                quoted(&name)
            ),
        );
    }
    Span::current().record("faas.document.name", name.as_str());
    let outcome = call(blobs, places, job).await?;
    let word = match &outcome {
        Outcome::Done(_) => "scored",
        Outcome::DoneBefore => "scored before",
        Outcome::Next(_) => "continued",
        Outcome::Gone => "gone",
        Outcome::Refused(_) => "rejected",
    };
    Span::current().record("score.outcome", word);
    let name = quoted(&name);
    match outcome {
        Outcome::Done(done) => told(
            200,
            format!(
                "blob {name}: scored {} lines, rejected {}",
                done.scored, done.failed
            ),
        ),
        Outcome::DoneBefore => told(200, format!("blob {name}: scored before")),
        Outcome::Gone => told(200, format!("blob {name}: is not there any more")),
        Outcome::Refused(problem) => told(
            problem.status(),
            format!("blob {name}: rejected: {}", problem.code.as_str()),
        ),
        Outcome::Next(job) => Ok(Told {
            status: 200,
            line: None,
            next: Some(job),
        }),
    }
}

async fn call(blobs: &Blobs, places: Vec<Place>, job: Job) -> Result<Outcome, Problem> {
    let now = Instant::now();
    let enough = now + blobs.settings.budget;
    let time = Time {
        enough,
        over: enough + (blobs.settings.budget / GRACE).max(LEAST_GRACE),
    };
    let storage = match blobs.storage() {
        Ok(storage) => Arc::new(storage),
        Err(reason) => return Err(failed(time, Problem::new(ErrorCode::Internal, reason)).await),
    };
    let Ok(turn) = timeout_at(enough, blobs.turn.clone().acquire_owned()).await else {
        return Ok(Outcome::Next(job));
    };
    let shared = blobs.shared.clone();
    let runtime = blobs.runtime.as_ref().ok_or_else(Problem::internal)?;
    // Ends with this future: a host that is gone takes no message for the rest.
    let mut working = JoinSet::new();
    let work = async move {
        let outcome = work(&shared, storage, (places, job), time).await;
        drop(turn);
        outcome
    };
    working.spawn_on(work.in_current_span(), runtime.handle());
    match working.join_next().await {
        Some(Ok(Ok(outcome))) => Ok(outcome),
        Some(Ok(Err(problem))) => Err(failed(time, problem).await),
        _ => Err(Problem::internal()),
    }
}

/// The problem, after a pause.
async fn failed(time: Time, problem: Problem) -> Problem {
    warn!("a large blob cannot be scored: {}", problem.message);
    sleep_until(time.enough.min(Instant::now() + PATIENCE)).await;
    problem
}
