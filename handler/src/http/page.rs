//! The page where a person tries the model. Its sources and how it is built: `page/README.md`.

use bytes::Bytes;
use warp::http::{HeaderMap, Method, StatusCode, header};
use wire::accept::weight;

use super::head::Head;
use super::reply::Reply;
use super::route::Route;
use crate::config::Config;
use crate::models::{NoModel, Registry};
use crate::problem::{ErrorCode, Problem};

/// One self-contained document: styles and script are within.
const PAGE: &[u8] = include_bytes!("page/index.html");
/// What the page may do, with the digests of its script and style.
const POLICY: &str = include_str!("page/policy.txt");

/// Whether the path has a page beside its JSON document; `enabled` is what the settings say.
pub(super) fn is_beside(enabled: bool, route: &Route) -> bool {
    enabled && matches!(route, Route::Describe(_))
}

/// The page for a path that has one, if the caller would rather have it than the JSON document. With an unknown model the
/// page comes as that error's, so that its status is told.
pub(super) fn find(models: &Registry, route: &Route, accept: Option<&str>) -> Option<Reply> {
    if !accept.is_some_and(prefers_html) {
        return None;
    }
    if let Route::Describe(Some(name)) = route
        && let Ok(models) = models.now()
        && matches!(models.get(Some(name)), Err(NoModel::Unknown(_)))
    {
        return None;
    }
    Some(reply())
}

/// The answer to a browser that opens the root of a server without a host: the way to the page. A key in the query goes
/// along, and what lies in front of the root stays, as the address is a relative one.
pub(super) fn at_root(config: &Config, query: &str, headers: &HeaderMap) -> Option<Reply> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    if config.hosted || !config.page || !prefers_html(accept) {
        return None;
    }
    let address = match query {
        "" => "api/score".to_owned(),
        query => format!("api/score?{query}"),
    };
    let mut reply = Reply::empty(StatusCode::SEE_OTHER);
    reply.set(header::LOCATION, &address);
    reply.set_static(header::VARY, "accept");
    reply.set_static(header::CACHE_CONTROL, "no-store");
    reply.set_static(header::REFERRER_POLICY, "no-referrer");
    Some(reply)
}

/// Whether a person gets the page with an error: to send a key, to choose another model, or because only a page takes a
/// key out of the address bar.
pub(super) fn is_beside_error(enabled: bool, head: &Head, problem: &Problem) -> bool {
    let wanted = || head.accept.as_deref().is_some_and(prefers_html);
    let read = [Method::GET, Method::HEAD].contains(&head.method);
    let helps =
        head.has_code || [ErrorCode::Unauthorized, ErrorCode::UnknownModel].contains(&problem.code);
    let beside = || {
        head.paths
            .find(&head.method, &head.path)
            .is_ok_and(|at| is_beside(enabled, &at))
    };
    read && helps && wanted() && beside()
}

fn reply() -> Reply {
    let mut reply = Reply::typed(Vec::new(), "text/html");
    put_into(&mut reply);
    reply
}

/// Makes the page of an answer, whose status and other headers stay.
pub(super) fn put_into(reply: &mut Reply) {
    reply.body = Bytes::from_static(PAGE);
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // The address may hold a Functions key.
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        reply.set(name, value);
    }
}

/// Whether `Accept` weighs HTML higher than JSON; `*/*` alone does not.
fn prefers_html(accept: &str) -> bool {
    weight(accept, "text/html") > weight(accept, "application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_html_and_programs_json() {
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
             application/signed-exchange;v=b3;q=0.7",
            "text/html",
            "Text/HTML; charset=utf-8",
            "text/*",
            "application/json;q=0.1, text/html;q=0.2",
        ] {
            assert!(prefers_html(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "*",
            "application/json",
            "application/json, text/html",
            "application/json, text/plain, */*",
            "text/html;q=0",
            "text/html;q=0.5, */*",
            "text/html;q=often",
            "text/htmlx",
            "text/plain",
        ] {
            assert!(!prefers_html(accept), "{accept}");
        }
    }
}
