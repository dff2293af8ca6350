//! Answers.

use bytes::Bytes;
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use warp::reply::Response;
use wire::error_form::{ErrorForm, Refusal};

use super::unread;
use crate::limits::Charge;
use crate::problem::{ErrorCode, Problem};

/// How many texts of the request were cut.
const TRUNCATED: HeaderName = HeaderName::from_static("x-truncated");

/// One answer, before it takes the form in which the request came.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The memory of the body, to be held until it is written.
    pub(super) held: Option<Charge>,
}

impl Reply {
    /// A JSON document.
    pub(super) fn json(body: impl Into<Bytes>) -> Self {
        Self::typed(body, "application/json")
    }

    /// Text of the given content type.
    pub(super) fn typed(body: impl Into<Bytes>, content_type: &'static str) -> Self {
        // Those of an answer with scores, without growing.
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        // Answers are one caller's own, and never what a browser makes of their first bytes.
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self {
            status: StatusCode::OK,
            headers,
            body: body.into(),
            held: None,
        }
    }

    /// Nothing but a status.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            held: None,
        }
    }

    /// Adds a header; a value that no header can hold is left out.
    pub(super) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// Says how many texts were cut, if any.
    pub(super) fn set_truncated(&mut self, count: usize) {
        if count > 0 {
            self.set(TRUNCATED, &count.to_string());
        }
    }

    /// Adds a header of a value that is known beforehand.
    pub(super) fn set_static(&mut self, name: HeaderName, value: &'static str) {
        self.headers.insert(name, HeaderValue::from_static(value));
    }

    /// The answer to a request that got no result, in the form the caller expects.
    pub(super) fn refusal(problem: Problem, request_id: &str, form: &ErrorForm) -> Self {
        let refusal = Refusal {
            kind: problem.code.kind(),
            status: problem.status(),
            code: problem.code.as_str(),
            message: &problem.message,
            target: problem.target.as_deref(),
            request_id,
        };
        let (status, body) = ((form.status)(&refusal), (form.write)(&refusal));
        let retry_after = problem.retry_after_seconds();
        let mut reply = Self::json(body.to_string().into_bytes());
        reply.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if problem.code == ErrorCode::Unauthorized {
            // RFC 9110 section 11.6.1; browsers ask people for nothing by it.
            reply.set_static(header::WWW_AUTHENTICATE, "Bearer realm=\"score\"");
        }
        if let Some(allow) = problem.allow {
            reply.set(header::ALLOW, allow);
        }
        if let Some(codings) = problem.accept_encoding {
            reply.set_static(header::ACCEPT_ENCODING, codings);
        }
        if let Some(seconds) = retry_after {
            reply.set(header::RETRY_AFTER, &seconds.to_string());
        }
        reply
    }
}

/// The form that warp sends.
pub(super) fn to_response(reply: Reply) -> Response {
    let body = unread::until_written(reply.body, reply.held);
    let mut response = Response::new(body.into());
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}
