//! What a request asks for must be a path: refused here is what no route can be compared with.

use warp::http::{HeaderValue, Method, Request, Uri, header};
use warp::reply::Response;

use super::connection::RequestBody;
use super::head::Head;
use super::reply::to_response;
use super::request;
use crate::app::App;
use crate::problem::{ErrorCode, Problem};

/// Checks the form of a request's target, RFC 9112 section 3.2: a path, or a whole URL as proxies send it.
///
/// # Errors
/// 405 for `CONNECT`, which asks for a tunnel; 400 for `*` and for a host without a path.
pub(super) fn check(method: &Method, uri: &Uri) -> Result<(), Problem> {
    if method == Method::CONNECT {
        return Err(Problem {
            allow: Some("GET, HEAD, POST"),
            ..Problem::new(
                ErrorCode::MethodNotAllowed,
                "CONNECT asks for a tunnel, and this server opens none",
            )
        });
    }
    if uri.path().starts_with('/') {
        return Ok(());
    }
    Err(Problem::bad_request(
        "the request's target has no path; expected one such as \"/api/score\"",
    ))
}

/// Of a whole URL, its host counts instead of the header's: RFC 9112 section 3.2.2.
pub(super) fn settle_host<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority() else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// The answer to a request whose target is refused.
pub(super) fn refuse(app: &App, request: &Request<RequestBody>, problem: Problem) -> Response {
    let target = (request.uri().path(), "");
    let head = Head::forwarded(request.method().clone(), target, request.headers());
    let mut reply = request::refuse(app, &head, problem);
    // A body may follow, which is not read.
    reply.set_static(header::CONNECTION, "close");
    to_response(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_and_whole_urls_are_targets() {
        let status = |method: Method, target: &str| {
            let checked = check(&method, &target.parse().unwrap());
            checked.map_err(|problem| problem.status())
        };
        for target in ["/", "/api/score?a=*", "http://x/api/score", "http://x"] {
            assert_eq!(status(Method::GET, target), Ok(()), "{target}");
        }
        assert_eq!(status(Method::OPTIONS, "*"), Err(400));
        assert_eq!(status(Method::GET, "x:80"), Err(400));
        for target in ["/", "/api/score", "x:80"] {
            assert_eq!(status(Method::CONNECT, target), Err(405), "{target}");
        }
    }
}
