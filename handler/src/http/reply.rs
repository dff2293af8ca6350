//! Answers, and the one table from kinds of error to statuses.

use bytes::Bytes;
use score::{ErrorCode, ScoreError};
use serde_json::json;
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use warp::reply::Response;

use crate::app::NoModel;
use crate::payload::PayloadError;

/// One answer, before it takes the form in which the request came.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    /// A JSON document.
    pub(super) fn json(body: Vec<u8>) -> Self {
        Self::typed(body, "application/json")
    }

    /// Text of the given content type.
    pub(super) fn typed(body: Vec<u8>, content_type: &'static str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self {
            status: StatusCode::OK,
            headers,
            body: Bytes::from(body),
        }
    }

    /// Adds a header; a value that no header can hold is left out.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Why a request got no result, with everything its answer says.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    target: Option<String>,
    allow: Option<&'static str>,
    retry_after_seconds: Option<u32>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            target: None,
            allow: None,
            retry_after_seconds: None,
        }
    }

    pub(super) fn no_such_path(path: &str) -> Self {
        let message = format!("nothing is served at {path:?}; scoring is at \"/api/score\"");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn method_not_allowed(get: bool, post: bool) -> Self {
        let allow = match (get, post) {
            (true, true) => "GET, HEAD, POST",
            (true, false) => "GET, HEAD",
            _ => "POST",
        };
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("this path takes {allow}"),
            )
        }
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than {limit} bytes (SCORE_MAX_BODY_BYTES)"),
        )
    }

    pub(super) fn head_too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "too_large",
            format!("path and headers are larger than {limit} bytes"),
        )
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_input", message)
    }

    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self {
            retry_after_seconds: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
        }
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request failed inside the server; its log has the details under this request_id",
        )
    }

    /// For a body that cannot be read; `max_bytes` is the limit it may have exceeded.
    pub(super) fn from_payload(error: PayloadError, max_bytes: usize) -> Self {
        match error {
            PayloadError::Invalid(error) => error.into(),
            PayloadError::TooLarge => Self::too_large(max_bytes),
            PayloadError::UnsupportedType(message) => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                message,
            ),
        }
    }

    /// The answer in the form the caller expects.
    pub(super) fn into_reply(self, request_id: &str, open_inference: bool) -> Reply {
        let body = if open_inference {
            json!({ "error": self.message })
        } else {
            let mut error = json!({ "code": self.code, "message": self.message });
            if let Some(target) = self.target {
                error["target"] = target.into();
            }
            error["request_id"] = request_id.into();
            json!({ "error": error })
        };
        let mut reply = Reply::json(body.to_string().into_bytes());
        reply.status = self.status;
        if let Some(allow) = self.allow {
            reply.set("allow", allow);
        }
        if let Some(seconds) = self.retry_after_seconds {
            reply.set("retry-after", &seconds.to_string());
        }
        reply
    }
}

impl From<ScoreError> for Problem {
    fn from(error: ScoreError) -> Self {
        let status = match error.code() {
            ErrorCode::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorCode::Overloaded | ErrorCode::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => return Self::internal(),
        };
        let mut problem = Self::new(status, error.code().as_str(), error.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after_seconds = Some(1);
        }
        if let ScoreError::InvalidInput { target, .. } = error {
            problem.target = target;
        }
        problem
    }
}

impl From<NoModel> for Problem {
    fn from(reason: NoModel) -> Self {
        match reason {
            NoModel::Loading => Self {
                code: "loading",
                ..Self::busy("models are still being loaded; try again shortly")
            },
            NoModel::Unknown(message) => Self::new(StatusCode::NOT_FOUND, "unknown_model", message),
            NoModel::Broken(message) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "model_not_loaded", message)
            }
        }
    }
}

/// The form that warp sends.
pub(super) fn to_response(reply: Reply) -> Response {
    let mut response = Response::new(reply.body.into());
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}
