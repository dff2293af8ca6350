//! Why a request or an event got no result: one table from kinds of error to statuses.

use score::{ErrorCode, FeatureError, ScoreError};
use wire::{AnswerForm, PayloadError};

use crate::features::NoRows;
use crate::models::NoModel;
use crate::protocol::NotAnInvocation;

/// Characters of a request that a message quotes.
const MAX_QUOTED: usize = 200;

/// Why there is no result, with everything that its sender is told.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Of HTTP, RFC 9110.
    pub(crate) status: u16,
    /// Stable, for programs.
    pub(crate) code: &'static str,
    /// For people; may quote what was sent.
    pub(crate) message: String,
    /// The member of the request it is about.
    pub(crate) target: Option<String>,
    /// The methods a path takes.
    pub(crate) allow: Option<&'static str>,
    /// The codings of bodies that are taken.
    pub(crate) accept_encoding: Option<&'static str>,
    /// When to try again, if that may help.
    pub(crate) retry_after_seconds: Option<u32>,
}

/// The code of a request whose sender went away. It is a figure of its own: it has no status, since none is received.
const CLIENT_CLOSED: &str = "client_closed";

impl Problem {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            target: None,
            allow: None,
            accept_encoding: None,
            retry_after_seconds: None,
        }
    }

    pub(crate) fn no_such_path(path: &str) -> Self {
        let path: String = path.chars().take(MAX_QUOTED).collect();
        let message = format!("nothing is served at {path:?}; scoring is at \"/api/score\"");
        Self::new(404, "not_found", message)
    }

    pub(crate) fn method_not_allowed(get: bool, post: bool) -> Self {
        let allow = match (get, post) {
            (true, true) => "GET, HEAD, POST",
            (true, false) => "GET, HEAD",
            _ => "POST",
        };
        Self {
            allow: Some(allow),
            ..Self::new(
                405,
                "method_not_allowed",
                format!("this path takes {allow}"),
            )
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "too_large",
            format!("the body is larger than {limit} bytes (SCORE_MAX_BODY_BYTES)"),
        )
    }

    /// For a body of the host's that would not fit if it were alone.
    pub(crate) fn beyond_all_room(bytes: usize) -> Self {
        let message = format!(
            "one call brings more than {bytes} bytes (SCORE_MAX_WAITING_BYTES): raise that, or set a smaller \
             maxMessageBatchSize in host.json"
        );
        Self::new(413, "too_large", message)
    }

    pub(crate) fn head_too_large(limit: usize) -> Self {
        Self::new(
            431,
            "too_large",
            format!("path, query and headers are larger than {limit} bytes"),
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_input", message)
    }

    /// For a body whose sender went away, or has at least closed its side of the connection.
    pub(crate) fn client_closed() -> Self {
        Self::new(
            400,
            CLIENT_CLOSED,
            "the connection ended before the body did",
        )
    }

    /// For a body in a coding that is not taken. `found` is the header's value.
    pub(crate) fn unknown_coding(found: &str) -> Self {
        let found: String = found.chars().take(MAX_QUOTED).collect();
        Self {
            accept_encoding: Some("gzip, identity"),
            target: Some("Content-Encoding".to_owned()),
            ..Self::new(
                415,
                "unsupported_media_type",
                format!(
                    "Content-Encoding {found:?} is not taken; send the body as gzip or identity, one coding at most"
                ),
            )
        }
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self {
            retry_after_seconds: Some(1),
            ..Self::new(503, "overloaded", message)
        }
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            500,
            "internal",
            "the request failed inside the server; its log has the details under this request_id",
        )
    }

    fn without_features(message: &str) -> Self {
        Self {
            code: "features_unavailable",
            ..Self::busy(message)
        }
    }

    /// For features that do not fit the model: not the caller's mistake, and no retry mends it.
    fn unfit_features(message: impl Into<String>) -> Self {
        Self::new(422, "features_invalid", message)
    }

    /// For rows that were not scored.
    pub(crate) fn from_scoring(error: ScoreError, form: &AnswerForm) -> Self {
        match error {
            // The model's own words may quote what is stored.
            ScoreError::ModelRejected(_) if form.rows_are_stored() => {
                Self::unfit_features("the model could not process the features of these keys")
            }
            error => error.into(),
        }
    }

    /// Whether trying again later may help.
    pub(crate) fn is_temporary(&self) -> bool {
        self.retry_after_seconds.is_some()
    }

    /// Whether its sender is gone, so that no answer arrives.
    pub(crate) fn is_client_closed(&self) -> bool {
        self.code == CLIENT_CLOSED
    }

    /// Whether there was too much work for the time there was.
    pub(crate) fn is_for_time(&self) -> bool {
        let codes = [ErrorCode::Overloaded, ErrorCode::Timeout];
        codes.iter().any(|code| code.as_str() == self.code)
    }

    /// Whether this program is at fault.
    pub(crate) fn is_internal(&self) -> bool {
        self.status == 500
    }

    /// For a body that cannot be read; `max_bytes` is the limit it may have exceeded.
    pub(crate) fn from_payload(error: PayloadError, max_bytes: usize) -> Self {
        match error {
            PayloadError::Invalid(error) => error.into(),
            PayloadError::TooLarge => Self::too_large(max_bytes),
            PayloadError::UnsupportedType(message) => {
                Self::new(415, "unsupported_media_type", message)
            }
        }
    }
}

impl From<ScoreError> for Problem {
    fn from(error: ScoreError) -> Self {
        let status = match error.code() {
            ErrorCode::InvalidInput => 400,
            ErrorCode::Overloaded | ErrorCode::Timeout => 503,
            ErrorCode::Internal => return Self::internal(),
        };
        let mut problem = Self::new(status, error.code().as_str(), error.to_string());
        if status == 503 {
            problem.retry_after_seconds = Some(1);
        }
        if let ScoreError::InvalidInput { target, .. } = error {
            problem.target = target;
        }
        problem
    }
}

impl From<NoRows> for Problem {
    fn from(reason: NoRows) -> Self {
        match reason {
            NoRows::NotServed(message) => ScoreError::invalid("keys", message).into(),
            NoRows::Empty(error) => error.into(),
            NoRows::NoStore => Self {
                retry_after_seconds: None,
                ..Self::without_features("no Redis is set to read features from")
            },
            NoRows::NotRead(error) => {
                let message = error.to_string();
                match error {
                    FeatureError::Missing { .. } => Self::new(404, "features_not_found", message),
                    FeatureError::OtherKind { .. } => Self::unfit_features(message),
                    FeatureError::Unavailable => Self::without_features(&message),
                    FeatureError::Overloaded => Self::busy(message),
                }
            }
            NoRows::Unfit(unfit) => Self::unfit_features(unfit.to_string()),
            NoRows::TooLarge(limit) => Self::new(
                413,
                "too_large",
                format!(
                    "the features of these keys are larger than {limit} bytes (SCORE_MAX_BODY_BYTES)"
                ),
            ),
        }
    }
}

impl From<NotAnInvocation> for Problem {
    fn from(reason: NotAnInvocation) -> Self {
        Self::bad_request(reason.to_string())
    }
}

impl From<NoModel> for Problem {
    fn from(reason: NoModel) -> Self {
        match reason {
            NoModel::Loading => Self {
                code: "loading",
                ..Self::busy("models are still being loaded; try again shortly")
            },
            NoModel::Unknown(message) => Self::new(404, "unknown_model", message),
            NoModel::Broken(message) => Self::new(503, "model_not_loaded", message),
        }
    }
}
