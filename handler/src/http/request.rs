//! The answer to a public request, in whichever form it came.

use std::sync::Arc;

use score::{Scorer, Times};
use tracing::field::Empty;
use tracing::{Instrument, Span, debug, error, info, info_span};
use warp::http::{HeaderName, Method, header};

use super::body::BodyBytes;
use super::head::{Head, JSON_BYTES, check_coding};
use super::reply::Reply;
use super::route::{self, ModelRef, Route};
use super::timing::server_timing;
use super::{info, metrics, page};
use crate::app::App;
use crate::counters;
use crate::models::{Models, NoModel};
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
    let route = route::template(&head.path);
    info_span!(
        "request",
        otel.name = span_name(&head.method, route),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = known(&head.method).unwrap_or("_OTHER"),
        http.route = route,
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
    let mut model = None;
    let route = route::find(&head.method, &head.path);
    let function = function_name(app, head, &route);
    let outcome = match route {
        Ok(route) => {
            let work = dispatch(app, head, route, read_body, &mut model);
            scoring::caught(&head.request_id, work).await
        }
        Err(problem) => Err(problem),
    };
    let name = model.as_ref().map(|(name, _)| name.as_str());
    let reply = match outcome {
        Ok(reply) => reply,
        Err(problem) if problem.is_client_closed() => return refuse(app, head, problem),
        Err(problem) => refusal(head, name, problem),
    };
    if let Some((_, times)) = &model {
        times.observe(head.received.elapsed());
    }
    finish(app, head, function, name, reply)
}

/// The answer to a request that is refused before anybody has looked at what it is for.
pub(super) fn refuse(app: &App, head: &Head, problem: Problem) -> Reply {
    if problem.is_client_closed() {
        Span::current().record("error.type", problem.code);
        closed(app, head, counters::UPLOAD);
        return Reply::refusal(problem, &head.request_id, false);
    }
    let function = function_name(app, head, &route::find(&head.method, &head.path));
    finish(app, head, function, None, refusal(head, None, problem))
}

/// Counts a request whose client went away before it was answered.
pub(super) fn closed(app: &App, head: &Head, during: &'static str) {
    let (id, path) = (&head.request_id, &head.path);
    let ms = scoring::millis(head.received.elapsed());
    debug!(id, path, during, ms, "client closed the connection");
    app.counters.client_closed(during);
}

/// The answer to a call whose messages have failed; they are counted already, each for itself.
pub(super) fn failure(head: &Head, problem: Problem) -> Reply {
    let mut reply = refusal(head, None, problem);
    reply.set(REQUEST_ID, &head.request_id);
    reply
}

fn refusal(head: &Head, model: Option<&str>, problem: Problem) -> Reply {
    Span::current().record("error.type", problem.code);
    report(head, model, &problem);
    let open_inference = route::speaks_open_inference(&head.path);
    Reply::refusal(problem, &head.request_id, open_inference)
}

fn finish(app: &App, head: &Head, function: &str, model: Option<&str>, mut reply: Reply) -> Reply {
    app.counters.count(function, model, reply.status.as_u16());
    reply.set(REQUEST_ID, &head.request_id);
    reply
}

/// The function a request belongs to, for figures: of its own name, `score` for what is to be scored by the public path,
/// and `info` for everything else there, since probes and scrapes would make failures look rare.
fn function_name<'a>(app: &'a App, head: &Head, route: &Result<Route, Problem>) -> &'a str {
    match route {
        Ok(Route::Score(_)) => "score",
        _ if route::template(&head.path).is_some() => "info",
        _ if head.is_envelope => {
            let name = head.path.strip_prefix('/');
            let function = name.and_then(|name| app.function(name));
            function.map_or("none", |function| &function.name)
        }
        _ => "none",
    }
}

/// Tells `found` which model answers, or would have answered what is refused before it is asked.
async fn dispatch<F>(
    app: &Arc<App>,
    head: &Head,
    route: Route,
    read_body: impl FnOnce() -> F,
    found: &mut Option<(String, Times)>,
) -> Result<Reply, Problem>
where
    F: Future<Output = Result<BodyBytes, Problem>>,
{
    let model = match route {
        Route::Score(model) => model,
        Route::Metrics => return figures(app, head.accept.as_deref()),
        route => return tell(app, head, route).await,
    };
    let outcome = score(app, head, &model, read_body, found).await;
    if outcome.is_err()
        && found.is_none()
        && let Ok(models) = app.models()
    {
        *found = find(&model, &models).ok().map(labelled);
    }
    outcome
}

async fn score<F>(
    app: &Arc<App>,
    head: &Head,
    model: &Option<ModelRef>,
    read_body: impl FnOnce() -> F,
    found: &mut Option<(String, Times)>,
) -> Result<Reply, Problem>
where
    F: Future<Output = Result<BodyBytes, Problem>>,
{
    check_coding(head.content_encoding.as_deref())?;
    // A model that is not there is told before the body is sent for. While models load, the body comes first.
    let loaded = app.models().ok();
    if let Some(models) = &loaded {
        find(model, models)?;
    }
    let body = read_body().await?;
    // Only now: a sender that takes its time must not hold the place of one that does not.
    let place = app.places.try_acquire();
    let _place = place.map_err(|_| Problem::busy("too many requests are in work"))?;
    let models = match loaded {
        Some(models) => models,
        None => app.models_when_loaded().await?,
    };
    let scorer = find(model, &models)?;
    *found = Some(labelled(scorer));
    let scored = scoring::score(app, &models, scorer, head.call(), &body.bytes).await?;
    Ok(scored_reply(scored))
}

fn find<'a>(model: &Option<ModelRef>, models: &'a Models) -> Result<&'a Scorer, NoModel> {
    match model {
        Some(model) => model.find(models),
        None => models.get(None),
    }
}

/// A model's name, and where its times are kept.
fn labelled(scorer: &Scorer) -> (String, Times) {
    let times = scorer.stats().requests.clone();
    (scorer.metadata().name.clone(), times)
}

/// Everything but scores and figures: the page or the document, whichever the caller would rather have.
async fn tell(app: &Arc<App>, head: &Head, route: Route) -> Result<Reply, Problem> {
    let negotiated = page::is_beside(app, &route);
    let mut reply = match page::find(app, &route, head.accept.as_deref()) {
        Some(reply) => reply,
        None => info::answer(app, route).await?,
    };
    if negotiated {
        reply.set_static(header::VARY, "accept");
    }
    Ok(reply)
}

fn figures(app: &Arc<App>, accept: Option<&str>) -> Result<Reply, Problem> {
    let written = metrics::render(app, accept);
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
    let cache = CacheStatus(scored.cache);
    match cache.word() {
        "PARTIAL" => reply.set(CACHE, &cache.to_string()),
        word => reply.set_static(CACHE, word),
    }
    if let Some(timing) = server_timing(scored.times.steps()) {
        reply.headers.insert(TIMING, timing);
    }
    if scored.by_position {
        reply.set_static(COLUMNS, "by-position");
    }
    reply
}

fn report(head: &Head, model: Option<&str>, problem: &Problem) {
    let (id, path, status) = (&head.request_id, &head.path, problem.status);
    let ms = scoring::millis(head.received.elapsed());
    if problem.is_internal() {
        error!(id, path, model, status, ms, "request failed");
    } else {
        // Without the message: it may quote the body.
        let code = problem.code;
        info!(id, path, model, status, code, ms, "request refused");
    }
}
