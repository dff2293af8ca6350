//! A public request, in whichever form it came.

use std::sync::Arc;
use std::time::Instant;

use percent_encoding::percent_decode_str;
use score::{CacheUse, Scorer, Times};
use tracing::field::Empty;
use tracing::{Instrument, Level, Span, debug, error, info, info_span, span_enabled};
use warp::http::{HeaderMap, HeaderName, Method, header};

use super::body::BodyBytes;
use super::reply::Reply;
use super::route::{self, ModelRef, Route};
use super::timing::server_timing;
use super::{info, page};
use crate::app::{App, Models, NoModel};
use crate::metrics;
use crate::payload::{self, Declared};
use crate::problem::Problem;
use crate::scoring::{self, CacheStatus, Call, Scored};
use crate::traces::Origin;

/// The header that carries the host's invocation id.
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON_BYTES: HeaderName = HeaderName::from_static("inference-header-content-length");
const SHAPE: HeaderName = HeaderName::from_static("x-shape");
const DATATYPE: HeaderName = HeaderName::from_static("x-datatype");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
const TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What the handlers need of a request beside its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    /// The public path, without query.
    pub(super) path: String,
    content_type: Option<String>,
    content_encoding: Option<String>,
    json_bytes: Option<usize>,
    shape: Option<String>,
    datatype: Option<String>,
    accept: Option<String>,
    cache: CacheUse,
    pub(super) request_id: String,
    received: Instant,
    /// The trace it is a part of, if that matters.
    pub(super) origin: Origin,
    /// Whether the answer has to be JSON, since it travels in an envelope.
    pub(super) json_only: bool,
    /// Whether it is an envelope of the host.
    pub(super) is_envelope: bool,
}

impl Head {
    /// For a request in the forwarded form.
    pub(super) fn forwarded(method: Method, target: (&str, &str), headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
        let mut head = Self::new(method, target, request_id(headers), text);
        if headers.contains_key(header::CONTENT_ENCODING) {
            // Lines of the same name are one list, RFC 9110 section 5.3.
            let lines = headers.get_all(header::CONTENT_ENCODING).iter();
            let lines: Vec<_> = lines
                .map(|line| String::from_utf8_lossy(line.as_bytes()))
                .collect();
            head.content_encoding = Some(lines.join(", "));
        }
        head
    }

    /// From path and query, and a look-up of headers.
    pub(super) fn new(
        method: Method,
        (path, query): (&str, &str),
        request_id: String,
        get: impl Fn(HeaderName) -> Option<String>,
    ) -> Self {
        let content_type = get(header::CONTENT_TYPE);
        let raw = content_type.as_deref().is_some_and(payload::is_raw);
        // Only raw bytes do not say this themselves.
        let named = |name: HeaderName, parameter: &str| {
            let given = raw.then(|| get(name).or_else(|| query_value(query, parameter)));
            given.flatten()
        };
        Self {
            shape: named(SHAPE, "shape"),
            datatype: named(DATATYPE, "datatype"),
            method,
            path: path.to_owned(),
            content_type,
            content_encoding: get(header::CONTENT_ENCODING),
            json_bytes: get(JSON_BYTES).and_then(|n| n.parse().ok()),
            accept: get(header::ACCEPT),
            cache: cache_use(get(header::CACHE_CONTROL).as_deref()),
            request_id,
            received: Instant::now(),
            origin: if span_enabled!(Level::INFO) {
                Origin::new(|name| get(HeaderName::from_bytes(name.as_bytes()).ok()?))
            } else {
                Origin::default()
            },
            json_only: false,
            is_envelope: false,
        }
    }

    /// What the headers say about the body and its answer.
    fn call(&self) -> Call<'_> {
        Call {
            id: &self.request_id,
            index: None,
            since: self.received,
            declared: Declared {
                content_type: self.content_type.as_deref(),
                content_encoding: self.content_encoding.as_deref(),
                json_bytes: self.json_bytes,
                shape: self.shape.as_deref(),
                datatype: self.datatype.as_deref(),
                wrapped: false,
            },
            accept: self.accept.as_deref(),
            cache: self.cache,
            json_only: self.json_only,
        }
    }
}

/// The value of a query parameter.
fn query_value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let value = percent_decode_str(value).decode_utf8().ok()?;
    Some(value.into_owned())
}

/// The host appends its own id to one that the client made up, so the last one counts.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get_all(INVOCATION_ID)
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next())
        .map(str::trim)
        .filter(|id| !id.is_empty() && id.len() <= 128)
        .map_or_else(made_up_id, str::to_owned)
}

/// Of a request that did not come through a host. It only has to tell requests apart, so no system call is made for it.
fn made_up_id() -> String {
    let random = fastrand::u128(..).to_ne_bytes();
    let id = uuid::Builder::from_random_bytes(random).into_uuid();
    // Without the detour through `format!`.
    let mut text = uuid::Uuid::encode_buffer();
    id.hyphenated().encode_lower(&mut text).to_owned()
}

/// `Cache-Control` of a request, RFC 9111 section 5.2.1.
fn cache_use(cache_control: Option<&str>) -> CacheUse {
    let directives = cache_control.unwrap_or_default().to_ascii_lowercase();
    let has = |name: &str| directives.split(',').any(|part| part.trim() == name);
    if has("no-store") {
        CacheUse::Bypass
    } else if has("no-cache") {
        CacheUse::Refresh
    } else {
        CacheUse::Normal
    }
}

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
        closed(app, head, metrics::UPLOAD);
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
    app.metrics.client_closed(during);
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
    app.metrics.count(function, model, reply.status.as_u16());
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

/// Other codings would be taken for the data themselves. RFC 9110 sections 8.4.1.3 and 8.4.1.
fn check_coding(coding: Option<&str>) -> Result<(), Problem> {
    let Some(coding) = coding else {
        return Ok(());
    };
    let known = |name: &str| {
        let all = ["identity", "gzip", "x-gzip"];
        all.iter().any(|one| name.eq_ignore_ascii_case(one))
    };
    // Empty elements of a list are none, RFC 9110 section 5.6.1.2.
    let mut names = coding
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    match (names.next(), names.next()) {
        (None, _) => Ok(()),
        (Some(name), None) if known(name) => Ok(()),
        _ => Err(Problem::unknown_coding(coding)),
    }
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

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    #[test]
    fn the_hosts_invocation_id_is_the_last_one() {
        let mut headers = HeaderMap::new();
        headers.append(INVOCATION_ID, HeaderValue::from_static("fake"));
        headers.append(INVOCATION_ID, HeaderValue::from_static("real"));
        assert_eq!(request_id(&headers), "real");
        headers.clear();
        headers.append(INVOCATION_ID, HeaderValue::from_static("fake, real"));
        assert_eq!(request_id(&headers), "real");
        headers.clear();
        assert_eq!(request_id(&headers).len(), 36);
    }

    #[test]
    fn raw_tensors_are_described_by_headers_or_the_query() {
        let named =
            |content_type: &'static str, headers: &[(&'static str, &'static str)], query| {
                let mut map = HeaderMap::new();
                map.insert("content-type", HeaderValue::from_static(content_type));
                for (name, value) in headers {
                    map.insert(*name, HeaderValue::from_static(value));
                }
                let head = Head::forwarded(Method::POST, ("/api/score", query), &map);
                (head.shape, head.datatype)
            };
        let owned = |text: &str| Some(text.to_owned());
        let octets = "application/octet-stream";
        let both = [("x-shape", "1,784"), ("x-datatype", "FP32")];
        assert_eq!(named(octets, &both, ""), (owned("1,784"), owned("FP32")));
        let query = "code=a%3D%3D&shape=1%2C784&datatype=float64";
        assert_eq!(
            named(octets, &[], query),
            (owned("1,784"), owned("float64"))
        );
        assert_eq!(
            named(octets, &both[..1], query),
            (owned("1,784"), owned("float64"))
        );
        assert_eq!(named(octets, &[], "code=1"), (None, None));
        assert_eq!(named("application/json", &both, query), (None, None));
    }

    #[test]
    fn one_coding_of_a_body_is_taken_and_lines_of_it_are_a_list() {
        let coding = |lines: &[&'static str]| {
            let mut map = HeaderMap::new();
            for line in lines {
                map.append("content-encoding", HeaderValue::from_static(line));
            }
            let head = Head::forwarded(Method::POST, ("/api/score", ""), &map);
            check_coding(head.content_encoding.as_deref())
        };
        for taken in [
            &[][..],
            &[""],
            &["gzip"],
            &["gzip, "],
            &["GZIP "],
            &["x-gzip"],
            &["identity"],
        ] {
            assert!(coding(taken).is_ok(), "{taken:?}");
        }
        for refused in [
            &["br"][..],
            &["gzip, gzip"],
            &["gzip", "gzip"],
            &["identity, gzip"],
            &["deflate"],
            &["zstd"],
            &["compress"],
            &["aws-chunked"],
            &["gzip;q=1.0"],
            &["utf-8"],
        ] {
            let problem = coding(refused).unwrap_err();
            assert_eq!(problem.status, 415, "{refused:?}");
            assert!(problem.message.contains("gzip or identity"), "{problem:?}");
            assert_eq!(problem.accept_encoding, Some("gzip, identity"));
        }
    }

    #[test]
    fn reads_cache_control() {
        assert_eq!(cache_use(None), CacheUse::Normal);
        assert_eq!(cache_use(Some("max-age=0, No-Cache")), CacheUse::Refresh);
        assert_eq!(cache_use(Some("no-cache, no-store")), CacheUse::Bypass);
    }
}
