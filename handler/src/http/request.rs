//! The answer to a public request, in whichever form it came.

use std::sync::Arc;

use score::CacheOutcome;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug, error, info, info_span};
use warp::http::{HeaderName, Method, header};
use wire::dialect::Operation;
use wire::error_form;

use super::body::BodyBytes;
use super::head::{Head, JSON_BYTES, check_coding};
use super::metrics::{self, Sources};
use super::reply::Reply;
use super::route::Route;
use super::timing::server_timing;
use super::{info, page, texts};
use crate::admission::{Visit, WhenFull, caught};
use crate::app::App;
use crate::counters::UPLOAD;
use crate::problem::Problem;
use crate::scoring::{self, CacheStatus, Scored};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
const TIMING: HeaderName = HeaderName::from_static("server-timing");
const COLUMNS: HeaderName = HeaderName::from_static("x-columns");

/// Answers a public request. `read_body` is called only for requests to score.
pub(super) async fn answer<F>(app: &Arc<App>, head: &Head, read_body: impl FnOnce() -> F) -> Reply
where
    F: Future<Output = Result<BodyBytes, Problem>>,
{
    let span = span(head);
    if span.is_disabled() {
        return answer_traced(app, head, read_body).await;
    }
    head.origin.adopt(&span);
    let reply = answer_traced(app, head, read_body)
        .instrument(span.clone())
        .await;
    let status = reply.status.as_u16();
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    reply
}

fn span_name(method: &Method, route: Option<&str>) -> String {
    let method = known(method).unwrap_or("HTTP");
    match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

/// A method, unless a caller has made it up: there would be as many names of spans as of those.
fn known(method: &Method) -> Option<&str> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
        Method::TRACE,
        Method::CONNECT,
    ];
    known.contains(method).then_some(method.as_str())
}

/// Names as in OpenTelemetry's conventions for HTTP servers and functions.
fn span(head: &Head) -> Span {
    // Taken apart only where the span is wanted, as all values below.
    let route = || head.paths.template(&head.path);
    info_span!(
        "request",
        otel.name = span_name(&head.method, route()),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = known(&head.method).unwrap_or("_OTHER"),
        http.route = route(),
        url.path = head.path,
        http.response.status_code = Empty,
        error.type = Empty,
        faas.trigger = "http",
        faas.invocation_id = head.request_id,
        score.model = Empty,
        score.rows = Empty,
        score.cache = Empty,
    )
}

async fn answer_traced<F>(app: &Arc<App>, head: &Head, read_body: impl FnOnce() -> F) -> Reply
where
    F: Future<Output = Result<BodyBytes, Problem>>,
{
    let route = match head.paths.find(&head.method, &head.path) {
        Ok(route) => route,
        Err(problem) => return refuse(app, head, problem),
    };
    let function = function_name(app, head, Some(&route));
    let mut visit = Visit::new(&app.admission, function, route.wanted(), head.received);
    // In a box: as a part of the futures around it, it would be copied each time that one of them is moved.
    let work = Box::pin(async {
        let mut room = None;
        let read_body = || async {
            let mut body = read_body().await?;
            room = body.room.take();
            Ok(body)
        };
        let mut reply = dispatch(app, head, &route, read_body, &mut visit).await?;
        if let (Some(room), None) = (room, &reply.held) {
            reply.hold(room).await?;
        }
        Ok(reply)
    });
    let mut reply = match caught(&head.request_id, work).await {
        Err(problem) if problem.is_client_closed() => return refuse(app, head, problem),
        outcome => {
            visit.end(&outcome);
            outcome.unwrap_or_else(|problem| refusal(app, head, visit.model(), problem))
        }
    };
    visit.count(reply.status.as_u16());
    reply.set(REQUEST_ID, &head.request_id);
    if !app.config.reveal {
        reply.headers.remove(CACHE);
        reply.headers.remove(TIMING);
    }
    reply
}

/// The answer to a request that is refused before it is known what it is for.
pub(super) fn refuse(app: &App, head: &Head, problem: Problem) -> Reply {
    Span::current().record("error.type", problem.code.as_str());
    if problem.is_client_closed() {
        closed(app, head, UPLOAD);
        return Reply::refusal(problem, &head.request_id, &error_form::OWN);
    }
    let route = head.paths.find(&head.method, &head.path).ok();
    let function = function_name(app, head, route.as_ref());
    let mut reply = refusal(app, head, None, problem);
    let counters = &app.admission.counters;
    counters.count(function, None, reply.status.as_u16());
    reply.set(REQUEST_ID, &head.request_id);
    reply
}

/// Counts a request whose client went away before it was answered.
pub(super) fn closed(app: &App, head: &Head, during: &'static str) {
    let (id, path) = (&head.request_id, &head.path);
    let ms = scoring::millis(head.received.elapsed());
    debug!(id, path, during, ms, "client closed the connection");
    app.admission.counters.client_closed(during);
}

/// The answer to a call whose messages have failed; they are counted already, each for itself.
pub(super) fn failure(head: &Head, problem: Problem) -> Reply {
    report(head, None, &problem);
    let form = head.paths.error_form(&head.path);
    let mut reply = Reply::refusal(problem, &head.request_id, form);
    reply.set(REQUEST_ID, &head.request_id);
    reply
}

fn refusal(app: &App, head: &Head, model: Option<&str>, problem: Problem) -> Reply {
    report(head, model, &problem);
    let with_page = page::is_beside_error(app.config.page, head, &problem);
    let mut reply = Reply::refusal(problem, &head.request_id, head.paths.error_form(&head.path));
    if with_page {
        page::put_into(&mut reply);
    }
    reply
}

/// The function a request belongs to, for metrics: of its own name, `score` for what is to be scored by the public path,
/// and `info` for everything else there, since probes and scrapes would make failures look rare.
fn function_name<'a>(app: &'a App, head: &Head, route: Option<&Route>) -> &'a str {
    match route {
        Some(route) if route.wanted().is_some() => "score",
        _ if head.paths.template(&head.path).is_some() => "info",
        _ if head.is_envelope => {
            let name = head.path.strip_prefix('/');
            let function = name.and_then(|name| app.function(name));
            function.map_or("none", |function| &function.name)
        }
        _ => "none",
    }
}

async fn dispatch<F>(
    app: &Arc<App>,
    head: &Head,
    route: &Route,
    read_body: impl FnOnce() -> F,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem>
where
    F: Future<Output = Result<BodyBytes, Problem>>,
{
    match route {
        // The others in boxes: what only they need would be copied with the future of every request for scores.
        Route::Score(_) => score(head, false, read_body, visit).await,
        Route::Invocations => Box::pin(score(head, true, read_body, visit)).await,
        Route::Text(target) if target.route.takes_texts() => {
            Box::pin(texts::answer(head, target, read_body, visit)).await
        }
        Route::Metrics => metrics(app, head.accept.as_deref()),
        Route::Protocol(Operation::Index, _) => {
            let index = async {
                let body = read_body().await?;
                info::index(app, &body.bytes).await
            };
            Box::pin(index).await
        }
        route => Box::pin(tell(app, head, route)).await,
    }
}

async fn score<F>(
    head: &Head,
    by_row: bool,
    read_body: impl FnOnce() -> F,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem>
where
    F: Future<Output = Result<BodyBytes, Problem>>,
{
    check_coding(head.content_encoding.as_deref())?;
    visit.find_early()?;
    let mut body = read_body().await?;
    let given = body.given();
    // Only now: a sender that takes its time must not hold the permit of one that does not.
    let mut call = head.call();
    call.declared.by_row = by_row;
    let scored = visit.score(WhenFull::Refuse, call, given);
    Ok(scored_reply(scored.await?))
}

/// Everything but scores and metrics: the page or the document, whichever the caller would rather have.
async fn tell(app: &App, head: &Head, route: &Route) -> Result<Reply, Problem> {
    let negotiated = page::is_beside(app.config.page, route);
    let page = match negotiated {
        true => page::find(&app.admission.models, route, head.accept.as_deref()),
        false => None,
    };
    let mut reply = match page {
        Some(reply) => reply,
        None => info::answer(app, head, route).await?,
    };
    if negotiated {
        reply.set_static(header::VARY, "accept");
    }
    // Many that are not read must not take more memory than there is.
    let mut held = app.admission.decoding.charge();
    held.settle(reply.body.len())?;
    reply.held = Some(held);
    Ok(reply)
}

fn metrics(app: &App, accept: Option<&str>) -> Result<Reply, Problem> {
    let sources = Sources {
        admission: app.admission.clone(),
        bodies: app.bodies.clone(),
        memo: app.memo.clone(),
    };
    let written = metrics::render(sources, accept);
    let (text, content_type) = written.map_err(|_| Problem::internal())?;
    let mut reply = Reply::typed(text.into_bytes(), content_type);
    reply.set_static(header::VARY, "accept");
    Ok(reply)
}

fn scored_reply(scored: Scored) -> Reply {
    let mut reply = Reply::typed(scored.answer.body, scored.answer.content_type);
    if let Some(length) = scored.answer.json_bytes {
        reply.set(JSON_BYTES, &length.to_string());
    }
    set_cache(&mut reply, scored.cache);
    if let Some(timing) = server_timing(scored.times.steps()) {
        reply.headers.insert(TIMING, timing);
    }
    reply.held = Some(scored.held);
    reply.set_truncated(scored.truncated);
    if scored.by_position {
        reply.set_static(COLUMNS, "by-position");
    }
    reply
}

pub(super) fn set_cache(reply: &mut Reply, outcome: CacheOutcome) {
    let cache = CacheStatus(outcome);
    match cache.word() {
        "PARTIAL" => reply.set(CACHE, &cache.to_string()),
        word => reply.set_static(CACHE, word),
    }
}

fn report(head: &Head, model: Option<&str>, problem: &Problem) {
    let (id, path, status) = (&head.request_id, &head.path, problem.status());
    let ms = scoring::millis(head.received.elapsed());
    if problem.is_internal() {
        error!(id, path, model, status, ms, "request failed");
    } else {
        // Without the message: it may quote the body.
        let code = problem.code.as_str();
        info!(id, path, model, status, code, ms, "request refused");
    }
}
