//! Messages and blobs: one call of the host, from its envelope to the outputs.
//!
//! The answer decides what becomes of a message. 200 completes it, so it is only given when a result or a refusal is in
//! the outputs; anything else brings it back at once, so what may heal is waited for and what never will is refused.

mod batch;
mod delivery;
mod documents;
mod kept;
mod members;
mod payloads;
mod settle;
mod value;
mod window;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
#[cfg(feature = "blobs")]
use bytes::Bytes;
use score::JointLookUp;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug, info, info_span};

pub(crate) use self::batch::{Batch, BatchIntake};
use crate::admission::Admission;
use crate::blocking;
use crate::config::Config;
use crate::limits::{Charge, Room};
use crate::problem::Problem;
use crate::protocol::{
    Answer, EventTrigger, Invocation, InvocationResponse, NotAnInvocation, Output, OutputForm,
    Source,
};
use crate::scoring;
use crate::telemetry::traces::Origin;
use delivery::{Delivery, Metadata};
use kept::Kept;
use members::Members;
use payloads::Payload;
use window::Warned;

/// What calls with messages leave for later ones, and how long they may take.
pub(crate) struct Events {
    /// Results of messages whose batch came back.
    kept: Kept,
    /// When it was last said that batches take too long.
    warned: Warned,
    settings: Settings,
}

/// What the settings say about messages.
#[derive(Debug, Clone, Copy)]
struct Settings {
    /// How long a message or blob that came alone may take.
    message_timeout: Duration,
    /// The same for all messages of a batch.
    message_batch_timeout: Duration,
    /// What each body may have.
    max_body_bytes: usize,
    /// Rows of a full run of the model.
    max_batch_rows: usize,
    /// Permits, of which messages take half at most.
    max_requests: usize,
    /// Whether what is refused fails its call.
    fail_invalid: bool,
    /// Whether results say what was remembered.
    reveal: bool,
}

/// Of the room for bodies, the part that results of batches that came back may take beside it.
const KEPT_SHARE: usize = 16;

impl Events {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            kept: Kept::new(config.max_waiting_bytes / KEPT_SHARE),
            warned: Warned::default(),
            settings: Settings {
                message_timeout: config.message_timeout,
                message_batch_timeout: config.message_batch_timeout,
                max_body_bytes: config.max_body_bytes,
                max_batch_rows: config.max_batch_rows,
                max_requests: config.max_requests,
                fail_invalid: config.fail_invalid,
                reveal: config.reveal,
            },
        }
    }
}

/// What the host's request says beside the envelope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostCall<'a> {
    /// The name of the function that is called.
    pub(crate) function: &'a str,
    /// The invocation id.
    pub(crate) id: &'a str,
    /// The trace the call is a part of.
    pub(crate) origin: &'a Origin,
}

/// What becomes of one message or blob, if its call does not fail.
enum Settled {
    Scored(String),
    Rejected {
        document: String,
        line: String,
        status: u16,
        held: Charge,
    },
}

/// What the log and the metrics say about one message or blob.
struct About {
    /// Its place in the batch, if it came in one.
    index: Option<usize>,
    /// The name of its model, if that is loaded.
    model: Option<String>,
    ms: f64,
    /// Whether its model was run for it.
    computed: bool,
    /// Under which its result is kept if its batch fails.
    kept_as: Option<kept::Key>,
    /// The memory of its result.
    held: Option<Charge>,
}

/// What a call is answered with, and the memory that takes.
pub(crate) struct Answered {
    pub(crate) response: InvocationResponse,
    pub(crate) held: Charge,
}

/// How often a result is there until its call is answered: by itself, in the output, and in the answer.
const COPIES: usize = 3;

/// What a call brings.
pub(crate) enum Brought<'a> {
    /// An envelope with one message or blob.
    One(&'a [u8]),
    /// The messages of a batch, or why its envelope is none.
    Many(Result<Batch, NotAnInvocation>),
}

/// The room that bodies take, and when the first byte came.
pub(crate) struct Held {
    pub(crate) since: Instant,
    pub(crate) room: Option<Room>,
}

/// What became of one message or blob, and what is known about it.
type Outcome = (About, Result<Settled, Problem>);

/// The status it would have had as a request.
fn status(settled: &Result<Settled, Problem>) -> u16 {
    match settled {
        Ok(Settled::Scored(_)) => 200,
        Ok(Settled::Rejected { status, .. }) => *status,
        Err(problem) => problem.status(),
    }
}

/// Scores what one call brings.
///
/// # Errors
/// [`Problem`] for the whole call: the host then brings everything again, or dead-letters it.
pub(crate) async fn invoke(
    (events, admission): (&Events, &Admission),
    trigger: &EventTrigger,
    host: HostCall<'_>,
    brought: Brought<'_>,
    held: Held,
) -> Result<Answered, Problem> {
    let work = Work::new((events, admission), trigger, host);
    // It is not entered until it is known what it is a part of.
    let span = work.span();
    let bytes = match &brought {
        Brought::One(envelope) => envelope.len(),
        Brought::Many(batch) => batch.as_ref().map_or(0, Batch::bytes),
    };
    // For what is taken out of an envelope; the messages of a batch have their room already.
    let mut payload = admission.decoding.charge();
    let items = match brought {
        Brought::One(envelope) => payload
            .settle(envelope.len())
            .and_then(|()| blocking::apart(bytes, || read(trigger, envelope)))
            .map(|item| vec![item]),
        Brought::Many(batch) => blocking::apart(bytes, || Ok(batch?.into_items(trigger))),
    };
    let items = match items {
        Ok(items) => items,
        Err(problem) => {
            host.origin.adopt(&span);
            span.record("error.type", problem.code.as_str());
            span.record("otel.status_code", "ERROR");
            work.count(None, problem.status());
            return Err(problem);
        }
    };
    work.trace(&span, &items);
    let settling = work.settle_all(items, bytes, held);
    settling.instrument(span).await
}

/// The message or blob of an envelope.
fn read(trigger: &EventTrigger, envelope: &[u8]) -> Result<(Delivery, Payload), Problem> {
    let invocation = Invocation::parse(envelope)?;
    let data = invocation.data(&trigger.binding)?;
    let members = Members::read(invocation.metadata().as_bytes());
    let payload = payloads::one(data, trigger.binary);
    Ok((delivery_of_one(trigger, &members, &payload), payload))
}

/// The bytes of a message that came alone.
///
/// # Errors
/// If this is no envelope with one.
#[cfg(feature = "blobs")]
pub(crate) fn message(envelope: &[u8], binding: &str, binary: bool) -> Result<Bytes, Problem> {
    let data = Invocation::parse(envelope)?.data(binding)?;
    match payloads::one(data, binary) {
        Payload::Bytes(bytes) => Ok(bytes),
        Payload::NotBase64(_) | Payload::Cut => Err(Problem::bad_request(
            "the body is not base64, as its binding says",
        )),
    }
}

/// What is known about a message or blob that came alone.
fn delivery_of_one(trigger: &EventTrigger, members: &Members<'_>, payload: &Payload) -> Delivery {
    let metadata = match payload {
        Payload::Bytes(body) if !trigger.binary => Metadata::beside_text(members, body),
        _ => Metadata::new(members),
    };
    metadata.single(trigger.source)
}

/// Refuses a blob whose envelope is too large to be read; `tail` is its end, where the metadata stands. Failing would
/// only bring it again, and the blob itself stays where it is.
///
/// # Errors
/// If the function has no output for what is refused.
pub(crate) fn refuse_oversized(
    (events, admission): (&Events, &Admission),
    trigger: &EventTrigger,
    host: HostCall<'_>,
    tail: &[u8],
) -> Result<Answered, Problem> {
    let members = delivery::find_metadata(tail).unwrap_or_default();
    let delivery = Metadata::new(&members).single(trigger.source);
    let work = Work::new((events, admission), trigger, host);
    let span = work.span();
    work.trace_one(&span, &delivery);
    let _entered = span.enter();
    let problem = Problem::too_large(events.settings.max_body_bytes);
    span.record("error.type", problem.code.as_str());
    let about = About {
        index: None,
        model: work.found(&delivery),
        ms: work.ms(),
        computed: false,
        kept_as: None,
        held: None,
    };
    work.finish(vec![(about, work.reject(&delivery, problem, None))])
}

/// One call of the host.
struct Work<'a> {
    events: &'a Events,
    admission: &'a Admission,
    trigger: &'a EventTrigger,
    host: HostCall<'a>,
    start: Instant,
    /// The messages of a batch ask Redis together.
    joint: Option<JointLookUp>,
}

impl<'a> Work<'a> {
    fn new(
        (events, admission): (&'a Events, &'a Admission),
        trigger: &'a EventTrigger,
        host: HostCall<'a>,
    ) -> Self {
        Self {
            events,
            admission,
            trigger,
            host,
            start: Instant::now(),
            joint: trigger.many.then(JointLookUp::default),
        }
    }

    fn ms(&self) -> f64 {
        scoring::millis(self.start.elapsed())
    }

    /// Names as in OpenTelemetry's conventions for messaging and functions.
    fn span(&self) -> Span {
        let (trigger, system) = match self.trigger.source {
            Source::ServiceBus => ("pubsub", Some("servicebus")),
            Source::StorageQueue => ("pubsub", Some("azure_storage_queue")),
            Source::Blob => ("datasource", None),
        };
        info_span!(
            "event",
            otel.name = format!("process {}", self.host.function),
            otel.kind = "consumer",
            otel.status_code = Empty,
            error.type = Empty,
            faas.trigger = trigger,
            faas.invocation_id = self.host.id,
            faas.document.name = Empty,
            messaging.system = system,
            messaging.operation.type = system.map(|_| "process"),
            messaging.operation.name = system.map(|_| "process"),
            messaging.message.id = Empty,
            messaging.batch.message_count = Empty,
            score.model = Empty,
            score.rows = Empty,
            score.cache = Empty,
            score.outcome = Empty,
        )
    }

    /// A call that brings one message continues its sender's trace, or is linked to it; a batch has many senders.
    fn trace(&self, span: &Span, items: &[(Delivery, Payload)]) {
        if span.is_disabled() {
            return;
        }
        match items {
            [(delivery, _)] if !self.trigger.many => self.trace_one(span, delivery),
            _ => {
                span.record("messaging.batch.message_count", items.len());
                self.host.origin.adopt(span);
            }
        }
    }

    fn trace_one(&self, span: &Span, delivery: &Delivery) {
        if span.is_disabled() {
            return;
        }
        describe(span, self.trigger.source, delivery);
        let origin = self.host.origin.or_of_sender(&delivery.origin);
        origin.adopt(span);
        if *origin != delivery.origin {
            delivery.origin.link(span);
        }
    }

    /// Counts what became of each message. If one of them fails the call does, and all of them come again.
    fn finish(&self, outcomes: Vec<Outcome>) -> Result<Answered, Problem> {
        let failed = outcomes.iter().find(|(_, settled)| settled.is_err());
        let of_call = failed.map(|(_, settled)| status(settled));
        for (about, settled) in &outcomes {
            let status = of_call.unwrap_or_else(|| status(settled));
            self.count(about.model.as_deref(), status);
        }
        let outcomes = match failed {
            Some(_) => self.keep(outcomes),
            None => outcomes,
        };
        let settled = outcomes.into_iter();
        let settled = settled.map(|(about, settled)| Ok((about, settled?)));
        match settled.collect::<Result<Vec<_>, Problem>>() {
            Ok(settled) => Ok(self.respond(settled)),
            Err(problem) => {
                let span = Span::current();
                span.record("otel.status_code", "ERROR");
                if self.trigger.many {
                    // That of a message alone says so already.
                    span.record("error.type", problem.code.as_str());
                }
                Err(problem)
            }
        }
    }

    /// A message of a batch has a span of its own, linked to its sender's trace.
    fn span_of_one(&self, delivery: &Delivery) -> Span {
        if !self.trigger.many {
            return Span::current();
        }
        let span = info_span!(
            "message",
            otel.status_code = Empty,
            error.type = Empty,
            messaging.message.id = Empty,
            score.model = Empty,
            score.rows = Empty,
            score.cache = Empty,
            score.outcome = Empty,
        );
        describe(&span, self.trigger.source, delivery);
        delivery.origin.link(&span);
        span
    }

    /// The name of the model that would score it, if that is loaded.
    fn found(&self, delivery: &Delivery) -> Option<String> {
        let models = self.admission.models.now().ok()?;
        let scorer = models.get(delivery.model.as_deref()).ok()?;
        Some(scorer.metadata().name.clone())
    }

    fn count(&self, model: Option<&str>, status: u16) {
        self.admission
            .counters
            .count(self.host.function, model, status);
    }

    /// The answer that makes the host write all documents.
    fn respond(&self, settled: Vec<(About, Settled)>) -> Answered {
        let mut response = InvocationResponse::default();
        let mut all = self.admission.decoding.charge();
        let (mut results, mut rejected) = (Vec::new(), Vec::new());
        for (mut about, settled) in settled {
            if let Some(held) = about.held.take() {
                all.merge(held);
            }
            match settled {
                Settled::Scored(document) => results.push(document),
                Settled::Rejected {
                    document,
                    line,
                    held,
                    ..
                } => {
                    all.merge(held);
                    rejected.push(document);
                    let About {
                        index, model, ms, ..
                    } = about;
                    info!(id = self.host.id, index, model, ms, "{line}");
                    response.logs.push(line);
                }
            }
        }
        let (scored, refused) = (results.len(), rejected.len());
        debug!(
            id = self.host.id,
            ms = self.ms(),
            "scored {scored}, rejected {refused}"
        );
        if refused > 0 {
            // The host logs it as information, which costs as much as a line of our own.
            response
                .logs
                .push(format!("scored {scored}, rejected {refused}"));
        }
        self.admission
            .counters
            .settled(results.len(), rejected.len());
        put(&mut response, &self.trigger.results, results);
        if let Some(output) = &self.trigger.rejected {
            put(&mut response, output, rejected);
        }
        Answered {
            response,
            held: all,
        }
    }
}

fn describe(span: &Span, source: Source, delivery: &Delivery) {
    let Some(id) = &delivery.id else {
        return;
    };
    match source {
        Source::Blob => span.record("faas.document.name", id),
        Source::ServiceBus | Source::StorageQueue => span.record("messaging.message.id", id),
    };
}

/// Writes documents so that the host passes on exactly their bytes.
fn put(response: &mut InvocationResponse, output: &Output, documents: Vec<String>) {
    let value = match output.form {
        _ if documents.is_empty() => return,
        OutputForm::Messages => Answer::Messages(documents),
        OutputForm::Blob => Answer::Text(BASE64_STANDARD.encode(documents.concat())),
        OutputForm::TextBlob => Answer::Text(documents.concat()),
    };
    response.put(&output.binding, value);
}
