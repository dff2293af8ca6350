//! The envelope form: the host posts `{"Data", "Metadata"}` to `/<FunctionName>`.

use std::collections::BTreeMap;
use std::sync::Arc;

use warp::http::{HeaderName, Method};

use super::body::{BodyBytes, ReadRules};
use super::guard;
use super::head::Head;
use super::pace::Pace;
use super::reply::Reply;
use super::request;
use crate::app::App;
#[cfg(feature = "blobs")]
use crate::blobs;
use crate::blocking;
use crate::event::{self, Answered, Batch, Brought, Held, HostCall};
use crate::problem::Problem;
use crate::protocol::{
    Answer, Function, HttpRequestData, HttpResponseData, Invocation, InvocationResponse,
    LargeBlobTrigger, Source, Trigger,
};

/// Base64 adds a third and strings inside strings escape some characters twice; what carries a body within the limit
/// must pass.
const ENVELOPE_FACTOR: usize = 4;

/// How the envelope of a function is read.
pub(super) fn read_rules<'a>(app: &App, function: &'a Function) -> ReadRules<'a> {
    let config = &app.config;
    // A host that is short of processor time or memory may pause in the middle of a call. What it sends is not given up for
    // that as soon as a caller's body is: its messages would come again, and at last be dead letters.
    let pace = Pace::new(config.min_rate, config.timeout);
    let max_bytes = config.max_body_bytes.saturating_mul(ENVELOPE_FACTOR);
    let rules = ReadRules::at_most(max_bytes, pace);
    match &function.trigger {
        Trigger::Http { .. } | Trigger::LargeBlob(_) => rules,
        Trigger::Event(trigger) if trigger.many => ReadRules {
            max_bytes: config.max_body_bytes,
            wait: Some(config.message_batch_timeout),
            batch_of: Some(trigger),
            ..rules
        },
        Trigger::Event(trigger) => ReadRules {
            wait: Some(config.message_timeout),
            // A blob stays where it is, so that its name is enough to refuse it; a message would be lost.
            keep_tail: trigger.source == Source::Blob,
            ..rules
        },
    }
}

/// Runs one invocation. A failure tells the host to bring a message or blob again, or that its envelope is none.
pub(super) async fn invoke(
    app: &Arc<App>,
    function: &Function,
    head: &Head,
    host: HostCall<'_>,
    mut envelope: BodyBytes,
) -> Reply {
    match &function.trigger {
        Trigger::Http {
            request, response, ..
        } => {
            let outcome = call(app, request, response, host, &envelope.bytes).await;
            outcome.unwrap_or_else(|problem| request::refuse(app, head, problem))
        }
        Trigger::LargeBlob(trigger) => {
            let outcome = large_blob(app, trigger, host, &envelope.bytes).await;
            outcome.unwrap_or_else(|problem| request::failure(head, problem))
        }
        Trigger::Event(trigger) => {
            let size = match &envelope.batch {
                Some(batch) => batch.as_ref().map_or(0, Batch::bytes),
                None => envelope.bytes.len(),
            };
            let held = Held {
                since: envelope.since,
                room: envelope.room.take(),
            };
            let on_app = (&app.events, &*app.admission);
            let outcome = match envelope.batch.take() {
                _ if envelope.is_tail => {
                    event::refuse_oversized(on_app, trigger, host, &envelope.bytes)
                }
                Some(batch) => {
                    event::invoke(on_app, trigger, host, Brought::Many(batch), held).await
                }
                None => {
                    let one = Brought::One(&envelope.bytes);
                    event::invoke(on_app, trigger, host, one, held).await
                }
            };
            let reply = outcome.and_then(|Answered { response, held }| {
                let mut reply = blocking::apart(size, || written(&response))?;
                reply.held = Some(held);
                Ok(reply)
            });
            reply.unwrap_or_else(|problem| request::failure(head, problem))
        }
    }
}

/// A message that names a blob.
#[cfg(feature = "blobs")]
async fn large_blob(
    app: &App,
    trigger: &LargeBlobTrigger,
    host: HostCall<'_>,
    envelope: &[u8],
) -> Result<Reply, Problem> {
    let message = event::message(envelope, &trigger.binding, trigger.binary)?;
    let blobs = app.blobs.as_ref().ok_or_else(Problem::internal)?;
    written(&blobs::invoke(blobs, trigger, host, &message).await?)
}

/// The app does not start with such a function.
#[cfg(not(feature = "blobs"))]
async fn large_blob(
    _: &App,
    _: &LargeBlobTrigger,
    _: HostCall<'_>,
    _: &[u8],
) -> Result<Reply, Problem> {
    Err(Problem::internal())
}

/// A public request. The outer answer tells the host that the invocation went well; the caller's own status is inside.
async fn call(
    app: &Arc<App>,
    request: &str,
    response: &str,
    host: HostCall<'_>,
    envelope: &[u8],
) -> Result<Reply, Problem> {
    let mut held = app.admission.decoding.charge();
    // The body is taken out of it.
    held.settle(envelope.len())?;
    let (call, inner) = blocking::apart(envelope.len(), || {
        let call = read_call(request, envelope)?;
        let body = call.body();
        Ok::<_, Problem>((call, body))
    })?;
    let method = Method::from_bytes(call.method.as_bytes())
        .map_err(|_| Problem::bad_request(format!("Data.{request}.Method is not a method")))?;
    let header = |name: HeaderName| call.header(name.as_str()).map(str::to_owned);
    let mut head = Head::new(method, call.target(), host.id.to_owned(), header);
    head.json_only = true;
    head.origin = host.origin.or_of_sender(&head.origin).clone();
    let key = |name: HeaderName| call.header(name.as_str()).map(str::as_bytes);
    // Without a host, the envelope itself was checked.
    if app.config.hosted
        && let Err(problem) = guard::check_key(app, &head, call.target().1, key)
    {
        return wrap(response, request::refuse(app, &head, problem));
    }
    let limit = app.config.max_body_bytes;
    let reply = request::answer(app, &head, || async move {
        if inner.len() > limit {
            Err(Problem::too_large(limit))
        } else {
            Ok(inner.into())
        }
    })
    .await;
    // It is copied twice on its way into the answer.
    held.settle(reply.body.len().saturating_mul(4))?;
    let mut reply = wrap(response, reply)?;
    held.settle(reply.body.len())?;
    reply.held = Some(held);
    Ok(reply)
}

/// The caller's request inside an envelope.
fn read_call<'a>(binding: &str, envelope: &'a [u8]) -> Result<HttpRequestData<'a>, Problem> {
    let data = Invocation::parse(envelope)?.data(binding)?;
    serde_json::from_str(data.get())
        .map_err(|error| Problem::bad_request(format!("Data.{binding}: {error}")))
}

fn wrap(binding: &str, reply: Reply) -> Result<Reply, Problem> {
    let headers: BTreeMap<String, String> = reply
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    let value = Answer::Http(HttpResponseData {
        status_code: reply.status.as_u16(),
        headers,
        // Everything this program answers is text.
        body: String::from_utf8_lossy(&reply.body).into_owned(),
    });
    let mut answer = InvocationResponse::default();
    answer.put(binding, value);
    written(&answer)
}

fn written(answer: &InvocationResponse) -> Result<Reply, Problem> {
    let body = serde_json::to_vec(answer).map_err(|_| Problem::internal())?;
    Ok(Reply::json(body))
}
