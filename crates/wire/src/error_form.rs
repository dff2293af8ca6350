//! The forms of errors. Every route has one; `reply` writes it and the OpenAPI document describes it.

use std::fmt;

use serde_json::{Value, json};

use crate::schema::open;

/// The kinds of refusals that forms tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request holds nothing to work on.
    Empty,
    /// The request is malformed or does not fit the model.
    Invalid,
    /// A text has more tokens than the model takes, and may not be cut.
    TooLong,
    /// The body is too large.
    TooLarge,
    /// No such path, model or key.
    NotFound,
    /// Too much work is waiting, models are still being loaded, or the time was up: another try may succeed.
    Busy,
    /// A model or what it depends on is out of order.
    Unavailable,
    /// A fault of this program.
    Internal,
    /// Any other: of the method, the type of the body, or a key.
    Other,
}

/// What a refusal says, in whichever form.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// Its kind.
    pub kind: RefusalKind,
    /// The status of HTTP, unless the form has another one for this kind.
    pub status: u16,
    /// The stable name of its kind.
    pub code: &'a str,
    /// For people.
    pub message: &'a str,
    /// The member of the request it is about.
    pub target: Option<&'a str>,
    /// The id under which the log has the request.
    pub request_id: &'a str,
}

/// One form of errors.
pub struct ErrorForm {
    /// What its names begin with among the OpenAPI document's components.
    pub name: &'static str,
    /// The status that this form's clients expect.
    pub status: fn(&Refusal<'_>) -> u16,
    /// The body.
    pub write: fn(&Refusal<'_>) -> Value,
    /// The body's schema; gets the names of all codes.
    pub schema: fn(&[&str]) -> Value,
}

impl fmt::Debug for ErrorForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorForm {:?}", self.name)
    }
}

impl PartialEq for ErrorForm {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ErrorForm {}

/// All forms.
pub static ERROR_FORMS: &[&ErrorForm] = &[
    &OWN,
    &TEXT,
    &MLFLOW,
    &OPENAI,
    &HUGGING_FACE,
    &OLLAMA,
    &COHERE,
];

/// Our own: an object with code, message and target.
pub static OWN: ErrorForm = ErrorForm {
    name: "",
    status: |refusal| refusal.status,
    write: |refusal| {
        let mut error = json!({ "code": refusal.code, "message": refusal.message });
        if let Some(target) = refusal.target {
            error["target"] = target.into();
        }
        error["request_id"] = refusal.request_id.into();
        json!({ "error": error })
    },
    schema: |codes| {
        let target = json!({ "type": "string", "description": "The position in the request." });
        let members = [
            ("code", json!({ "type": "string", "enum": codes })),
            ("message", message()),
            ("request_id", text()),
            ("target", target),
        ];
        open([("error", open(members, 3))], 1)
    },
};

/// A text, as in the Open Inference Protocol.
pub static TEXT: ErrorForm = TEXT_FORM;

const TEXT_FORM: ErrorForm = ErrorForm {
    name: "Protocol",
    status: |refusal| refusal.status,
    write: |refusal| json!({ "error": refusal.message }),
    schema: |_| open([("error", message())], 1),
};

/// Ollama's: a text. A text that may not be cut and is too long is a 400 there.
///
/// Source: `server/routes.go` of Ollama.
pub static OLLAMA: ErrorForm = ErrorForm {
    name: "Ollama",
    status: |refusal| match refusal.kind {
        RefusalKind::TooLong => 400,
        _ => refusal.status,
    },
    ..TEXT_FORM
};

/// Cohere's: a text as `message`. A text that may not be cut and is too long is a 400 there.
///
/// Source: "Errors" in Cohere's API reference.
pub static COHERE: ErrorForm = ErrorForm {
    name: "Cohere",
    status: |refusal| match refusal.kind {
        RefusalKind::TooLong => 400,
        _ => refusal.status,
    },
    write: |refusal| json!({ "message": refusal.message }),
    schema: |_| open([("message", text())], 1),
};

/// MLflow's: a message and the name of its kind.
///
/// Source: `mlflow/exceptions.py` and `mlflow/pyfunc/scoring_server`; the names are those of `databricks.proto`.
pub static MLFLOW: ErrorForm = ErrorForm {
    name: "Mlflow",
    status: |refusal| refusal.status,
    write: |refusal| {
        let code = match refusal.status {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "RESOURCE_DOES_NOT_EXIST",
            503 => "TEMPORARILY_UNAVAILABLE",
            500.. => "INTERNAL_ERROR",
            _ => "BAD_REQUEST",
        };
        json!({ "error_code": code, "message": refusal.message })
    },
    schema: |_| open([("error_code", text()), ("message", message())], 2),
};

/// OpenAI's: an object with message, type, param and code.
///
/// Source: "Error codes" in OpenAI's API reference.
pub static OPENAI: ErrorForm = ErrorForm {
    name: "OpenAi",
    status: |refusal| refusal.status,
    write: |refusal| {
        let kind = match refusal.status {
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": {
            "message": refusal.message, "type": kind, "param": refusal.target, "code": refusal.code,
        } })
    },
    schema: |codes| {
        let param =
            json!({ "type": ["string", "null"], "description": "The position in the request." });
        let members = [
            ("message", message()),
            (
                "type",
                json!({ "enum": ["invalid_request_error", "server_error"] }),
            ),
            ("param", param),
            ("code", json!({ "type": "string", "enum": codes })),
        ];
        open([("error", open(members, 4))], 1)
    },
};

/// Hugging Face's text-embeddings-inference: a text and its type. Its JavaScript client repeats a 503 at once and without
/// end, so what may succeed later is a 429.
///
/// Source: `ErrorType` in text-embeddings-inference (`router/src/lib.rs`, `router/src/http/types.rs`).
pub static HUGGING_FACE: ErrorForm = ErrorForm {
    name: "HuggingFace",
    status: |refusal| match refusal.kind {
        RefusalKind::Empty => 400,
        RefusalKind::Invalid => 422,
        RefusalKind::TooLong | RefusalKind::TooLarge => 413,
        RefusalKind::Busy => 429,
        RefusalKind::Unavailable | RefusalKind::Internal => 424,
        RefusalKind::NotFound | RefusalKind::Other => refusal.status,
    },
    write: |refusal| {
        let kind = match refusal.kind {
            RefusalKind::Empty => "Empty",
            RefusalKind::Busy => "Overloaded",
            RefusalKind::Unavailable | RefusalKind::Internal => "Backend",
            _ => "Validation",
        };
        json!({ "error": refusal.message, "error_type": kind })
    },
    schema: |_| {
        let kinds = ["Empty", "Overloaded", "Backend", "Validation"];
        open(
            [
                ("error", message()),
                ("error_type", json!({ "enum": kinds })),
            ],
            2,
        )
    },
};

fn text() -> Value {
    json!({ "type": "string" })
}

/// The text for people; Kiota makes it the message of the exception.
fn message() -> Value {
    json!({ "type": "string", "x-ms-primary-error-message": true })
}
