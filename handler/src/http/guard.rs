//! Who may ask: names of this server, pages in browsers, and keys. Checked before anything else of a request is looked at.
//!
//! A browser is the attacker's tool here: any page may send requests to a server on the same machine or network, and may give
//! that server's address a name of its own (DNS rebinding), after which it may read the answers too.

use score::quoted;
use tracing::debug;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::head::{Head, query_value};
use super::reply::Reply;
use super::route::Paths;
use crate::app::App;
use crate::config::Config;
use crate::problem::{ErrorCode, Problem};

/// The headers in which clients send keys: those of OpenAI, Azure OpenAI and Azure Functions.
const API_KEY: HeaderName = HeaderName::from_static("api-key");
const FUNCTIONS_KEY: HeaderName = HeaderName::from_static("x-functions-key");
/// Where a request comes from in a browser's view: <https://w3c.github.io/webappsec-fetch-metadata/>.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What pages of other origins may send beside what browsers let through always, and what such a page asks for.
const ALLOWED_HEADERS: &str = "content-type, authorization, api-key, x-functions-key, cache-control, content-encoding, \
                               inference-header-content-length, x-shape, x-datatype, traceparent, tracestate";
/// What pages of other origins may read of an answer.
const EXPOSED_HEADERS: &str = "X-Cache, Server-Timing, X-Request-Id, X-Truncated, X-Columns, \
                               Inference-Header-Content-Length, Retry-After";
/// How many bytes of names a preflight's answer repeats.
const MAX_ASKED_FOR: usize = 4096;

/// Checks who asks. Envelopes of the host are not checked, but what travels in them is, by [`check_key`].
///
/// # Errors
/// 401 without a key, 403 for another server's name and for pages of other origins, 400 for several names.
pub(super) fn check(
    app: &App,
    head: &Head,
    query: &str,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if !app.config.hosted {
        check_host(&app.config, head, headers)?;
        check_page(&app.config, &head.method, headers)?;
    }
    check_key(app, head, query, |name| Some(headers.get(name)?.as_bytes()))
}

/// On a loopback address, only the names of this machine are taken: another one may come from a page in a browser. No name
/// at all never does.
fn check_host(config: &Config, head: &Head, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(());
    };
    if !has_names(config) {
        return Ok(());
    }
    if hosts.next().is_some() {
        let message = "the request has several Host headers; expected one";
        return Err(Problem::bad_request(message).at("Host"));
    }
    let known = host
        .to_str()
        .is_ok_and(|host| config.allowed_hosts.take(host));
    if known || head.paths.is_open(&head.method, &head.path) {
        return Ok(());
    }
    let found = quoted(&String::from_utf8_lossy(host.as_bytes()));
    let message = format!(
        "{found} is not a name of this server; it is asked as localhost, 127.0.0.1 or [::1], and behind a reverse proxy by \
         the names in SCORE_ALLOWED_HOSTS"
    );
    Err(Problem::new(ErrorCode::Forbidden, message).at("Host"))
}

/// Whether only some names are taken.
fn has_names(config: &Config) -> bool {
    config.listen.ip().is_loopback() || !config.allowed_hosts.is_empty()
}

/// The statuses with which [`check`] refuses callers at a path: for want of a key, and for whom they ask or are.
pub(super) fn refusals(app: &App, paths: Paths, method: &Method, path: &str) -> Vec<u16> {
    if paths.is_open(method, path) {
        return Vec::new();
    }
    let asks_key = app.asks_key.then_some(401);
    let asks_who = !app.config.hosted && (*method == Method::POST || has_names(&app.config));
    asks_key
        .into_iter()
        .chain(asks_who.then_some(403))
        .collect()
}

/// Refuses what a page of another site sends, unless its origin is one of the setting's.
fn check_page(config: &Config, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let cross_site = |site: &HeaderValue| site.as_bytes().eq_ignore_ascii_case(b"cross-site");
    let refused = match *method {
        Method::POST => headers.get(FETCH_SITE).is_some_and(cross_site),
        Method::OPTIONS => is_preflight(method, headers),
        _ => false,
    };
    if !refused || shared_origin(config, headers).is_some() {
        return Ok(());
    }
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    let origin = quoted(&String::from_utf8_lossy(origin.unwrap_or(b"null")));
    let message = format!(
        "pages of the origin {origin} may not call this server; SCORE_CORS_ORIGINS has the origins that may"
    );
    Err(Problem::new(ErrorCode::Forbidden, message).at("Origin"))
}

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The request's origin, if its pages may call.
fn shared_origin<'a>(config: &Config, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    if !config.cors_origins.are_shared() {
        return None;
    }
    let origin = headers.get(header::ORIGIN)?;
    let known = origin
        .to_str()
        .is_ok_and(|origin| config.cors_origins.take(origin));
    known.then_some(origin)
}

/// Whether a body that is not labelled as gzip is taken as it is: a page needs no permission for such a body, and a small one
/// can become a large one. A forwarding host takes the label off, so that it proves nothing there.
pub(super) fn needs_label(config: &Config, headers: &HeaderMap) -> bool {
    !config.hosted && headers.contains_key(header::ORIGIN)
}

/// Checks the caller's key, where this program asks for one. `get` finds the first value of a header.
///
/// # Errors
/// 401 if there is none, or none of this server's.
pub(super) fn check_key<'a>(
    app: &App,
    head: &Head,
    query: &str,
    get: impl Fn(HeaderName) -> Option<&'a [u8]>,
) -> Result<(), Problem> {
    if !app.asks_key {
        return Ok(());
    }
    let authorization = get(header::AUTHORIZATION);
    let in_query = query_value(query, "code");
    let sent = [
        authorization.and_then(bearer),
        get(API_KEY),
        get(FUNCTIONS_KEY),
        in_query.as_deref().map(str::as_bytes),
    ];
    let mut sent = sent.into_iter().flatten().peekable();
    let none = sent.peek().is_none();
    if sent.any(|key| app.config.api_keys.admit(key))
        || head.paths.is_open(&head.method, &head.path)
    {
        return Ok(());
    }
    let message = match (none, authorization) {
        (false, _) => "the key is not one of this server's",
        (true, Some(_)) => {
            "the header Authorization has no key; expected \"Bearer\", a space and the key"
        }
        (true, None) => {
            "this server asks for a key; send it as \"Authorization: Bearer\", \"api-key\" or \"x-functions-key\""
        }
    };
    debug!(id = head.request_id, reason = message, "no key");
    Err(Problem::new(ErrorCode::Unauthorized, message))
}

/// The key of `Bearer <key>`, RFC 6750 section 2.1.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = authorization.split_at_checked(b"Bearer ".len())?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !key.is_empty()).then_some(key)
}

/// The answer to a browser that asks whether a page may call, if it may. It carries no key, and needs none.
pub(super) fn preflight(config: &Config, method: &Method, headers: &HeaderMap) -> Option<Reply> {
    if config.hosted || !is_preflight(method, headers) {
        return None;
    }
    shared_origin(config, headers)?;
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let asked = asked.and_then(|names| names.to_str().ok());
    let asked = asked.filter(|names| names.len() <= MAX_ASKED_FOR);
    // Clients name their runtime in headers of their own (x-stainless-os, user-agent); the origin is trusted with those.
    let allowed = match asked.map(str::trim) {
        None | Some("") => ALLOWED_HEADERS.to_owned(),
        Some(names) => format!("{ALLOWED_HEADERS}, {names}"),
    };
    let mut reply = Reply::empty(StatusCode::NO_CONTENT);
    reply.set_static(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST");
    reply.set(header::ACCESS_CONTROL_ALLOW_HEADERS, &allowed);
    reply.set_static(header::ACCESS_CONTROL_MAX_AGE, "600");
    Some(reply)
}

/// What an answer says to browsers about pages of other origins.
pub(super) struct Sharing {
    origin: Option<HeaderValue>,
    depends: bool,
}

impl Sharing {
    /// For the answer to a request with these headers.
    pub(super) fn of(config: &Config, headers: &HeaderMap) -> Self {
        let depends = !config.hosted && config.cors_origins.are_shared();
        let origin = match depends {
            true => shared_origin(config, headers).cloned(),
            false => None,
        };
        Self { origin, depends }
    }

    /// Adds it.
    pub(super) fn tell(self, reply: &mut Reply) {
        if !self.depends {
            return;
        }
        let vary = HeaderValue::from_static("Origin");
        reply.headers.append(header::VARY, vary);
        if let Some(origin) = self.origin {
            let headers = &mut reply.headers;
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}
