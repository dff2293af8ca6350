//! Why a request or a message got no result, from all kinds of errors below.

mod code;

use std::time::Duration;

use score::{FeatureError, ScoreError, quoted};
use serde::Serialize;
use wire::text_api::TextError;
use wire::{AnswerForm, PayloadError};

pub(crate) use self::code::{ErrorCode, Fault};
use crate::features::NoRows;
use crate::models::NoModel;
use crate::protocol::NotAnInvocation;

/// Why there is no result, with everything that its sender is told.
#[derive(Debug)]
pub(crate) struct Problem {
    /// What kind of problem it is; status, retry and fault follow from that.
    pub(crate) code: ErrorCode,
    /// For people; may quote what was sent.
    pub(crate) message: String,
    /// The member of the request it is about.
    pub(crate) target: Option<String>,
    /// The methods a path takes.
    pub(crate) allow: Option<&'static str>,
    /// The codings of bodies that are taken.
    pub(crate) accept_encoding: Option<&'static str>,
}

/// What a document says about a message, blob or line that has no result.
#[derive(Serialize)]
pub(crate) struct Reason<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
}

/// How long to wait before the next try where that may help.
const RETRY_AFTER_SECONDS: u32 = 1;

impl Problem {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            target: None,
            allow: None,
            accept_encoding: None,
        }
    }

    /// What a document says of it.
    pub(crate) fn reason(&self) -> Reason<'_> {
        Reason {
            code: self.code.as_str(),
            message: &self.message,
            target: self.target.as_deref(),
        }
    }

    /// The same about a member or header of the request.
    pub(crate) fn at(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    pub(crate) fn no_such_path(path: &str) -> Self {
        let path = quoted(path);
        let message = format!("nothing is served at {path}; scoring is at \"/api/score\"");
        Self::new(ErrorCode::NotFound, message)
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
                ErrorCode::MethodNotAllowed,
                format!("this path takes {allow}"),
            )
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            ErrorCode::TooLarge,
            format!("the body is larger than {limit} bytes (SCORE_MAX_BODY_BYTES)"),
        )
    }

    /// For a body that has come at less than the rate, or was held back for longer than the pause.
    pub(crate) fn too_slow(bytes_per_second: u64, pause: Duration) -> Self {
        Self::new(
            ErrorCode::TooSlow,
            format!(
                "the body came too slowly: {bytes_per_second} bytes or more are expected each second, with pauses of \
                 {pause:?} at most (SCORE_MIN_RATE, SCORE_BODY_TIMEOUT)"
            ),
        )
    }

    /// For a body that has not come whole in all the time it had.
    pub(crate) fn too_late(time: Duration) -> Self {
        Self::new(
            ErrorCode::TooSlow,
            format!("the body did not arrive within {time:?}"),
        )
    }

    /// For a body of the host's that would not fit if it were alone.
    pub(crate) fn beyond_all_room(bytes: usize) -> Self {
        let message = format!(
            "one call brings more than {bytes} bytes (SCORE_MAX_WAITING_BYTES): raise that, or set a smaller \
             maxMessageBatchSize in host.json"
        );
        Self::new(ErrorCode::TooLarge, message)
    }

    /// For a body that takes more memory, once it is read or answered, than there is for all of them.
    pub(crate) fn beyond_all_memory(bytes: usize) -> Self {
        let message = format!(
            "what the body holds takes more than the {bytes} bytes that there are for all requests \
             (SCORE_MAX_WAITING_BYTES): send fewer rows or smaller pictures at once"
        );
        Self::new(ErrorCode::TooLarge, message)
    }

    pub(crate) fn head_too_large(limit: usize) -> Self {
        Self::new(
            ErrorCode::HeadTooLarge,
            format!("path, query and headers are larger than {limit} bytes"),
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidInput, message)
    }

    /// For a body whose sender went away, or has at least closed its side of the connection.
    pub(crate) fn client_closed() -> Self {
        Self::new(
            ErrorCode::ClientClosed,
            "the connection ended before the body did",
        )
    }

    /// For a body in a coding that is not taken. `found` is the header's value.
    pub(crate) fn unknown_coding(found: &str) -> Self {
        let found = quoted(found);
        Self {
            accept_encoding: Some("gzip, identity"),
            target: Some("Content-Encoding".to_owned()),
            ..Self::new(
                ErrorCode::UnsupportedMediaType,
                format!(
                    "Content-Encoding {found} is not supported; send the body as gzip or identity, one coding at most"
                ),
            )
        }
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Overloaded, message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            ErrorCode::Internal,
            "the request failed inside the server; its log has the details under this request_id",
        )
    }

    /// For features that do not fit the model: not the caller's mistake, and no retry mends it.
    fn unfit_features(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::FeaturesInvalid, message)
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

    /// The status of HTTP.
    pub(crate) fn status(&self) -> u16 {
        self.code.status()
    }

    /// Whether trying again later may help.
    pub(crate) fn is_temporary(&self) -> bool {
        self.code.may_be_retried()
    }

    /// When to try again, if that may help.
    pub(crate) fn retry_after_seconds(&self) -> Option<u32> {
        self.is_temporary().then_some(RETRY_AFTER_SECONDS)
    }

    /// Whether its sender is gone, so that no answer arrives.
    pub(crate) fn is_client_closed(&self) -> bool {
        self.code == ErrorCode::ClientClosed
    }

    /// Whether there was too much work for the time there was.
    pub(crate) fn is_for_time(&self) -> bool {
        self.code.fault() == Fault::Load
    }

    /// Whether this program is at fault.
    pub(crate) fn is_internal(&self) -> bool {
        self.code == ErrorCode::Internal
    }

    /// For a body that cannot be read; `max_bytes` is the limit it may have exceeded.
    pub(crate) fn from_payload(error: PayloadError, max_bytes: usize) -> Self {
        match error {
            PayloadError::Invalid(error) => error.into(),
            PayloadError::TooLarge => Self::too_large(max_bytes),
            PayloadError::Stopped => Self::busy("the body was not read to its end"),
            PayloadError::UnsupportedType(message) => {
                Self::new(ErrorCode::UnsupportedMediaType, message)
            }
        }
    }
}

impl Problem {
    /// For texts that cannot be read; `max_bytes` is the limit that their body may have exceeded.
    pub(crate) fn from_texts(error: TextError, max_bytes: usize) -> Self {
        match error {
            TextError::Empty(error) => Self {
                code: ErrorCode::NothingToDo,
                ..error.into()
            },
            TextError::Payload(error) => Self::from_payload(error, max_bytes),
        }
    }
}

impl From<ScoreError> for Problem {
    fn from(error: ScoreError) -> Self {
        let code = match error {
            ScoreError::TextTooLong { .. } => ErrorCode::TextTooLong,
            _ => ErrorCode::from(error.code()),
        };
        // What the model did is no secret.
        if code == ErrorCode::Internal && !matches!(error, ScoreError::NoScore { .. }) {
            return Self::internal();
        }
        let mut problem = Self::new(code, error.to_string());
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
            NoRows::NoStore => {
                let message = "no Redis is set to read features from";
                Self::new(ErrorCode::NoFeatureStore, message)
            }
            NoRows::NotRead(error) => {
                let message = error.to_string();
                match error {
                    FeatureError::Missing { .. } => Self::new(ErrorCode::FeaturesNotFound, message),
                    FeatureError::OtherKind { .. } => Self::unfit_features(message),
                    FeatureError::Unavailable => Self::new(ErrorCode::FeaturesUnavailable, message),
                    FeatureError::Overloaded => Self::busy(message),
                    FeatureError::TooLarge => Self::new(ErrorCode::TooLarge, message),
                }
            }
            NoRows::NoMemory => Self::busy("there is no memory for the features of these keys"),
            NoRows::Unfit(unfit) => Self::unfit_features(unfit.to_string()),
            NoRows::TooLarge(limit) => Self::new(
                ErrorCode::TooLarge,
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
            NoModel::Loading => {
                let message = "models are still being loaded; try again shortly";
                Self::new(ErrorCode::Loading, message)
            }
            NoModel::Unnamed(message) | NoModel::OtherTask(message) => Self {
                target: Some("model".to_owned()),
                ..Self::bad_request(message)
            },
            NoModel::Unknown(message) => Self::new(ErrorCode::UnknownModel, message),
            NoModel::Broken(message) => Self::new(ErrorCode::ModelNotLoaded, message),
        }
    }
}
