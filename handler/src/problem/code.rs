//! The codes of errors: what callers, spans and the log are told, and what follows from each. `docs/requests.md` lists them.

use score::ErrorCode as ScoreCode;
use strum::VariantArray;
use wire::error_form::RefusalKind;

/// The kind of a [`Problem`](super::Problem). Two kinds may have the same name, if callers need not tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub(crate) enum ErrorCode {
    /// The body is malformed or does not fit the model.
    InvalidInput,
    /// The body holds nothing to work on.
    NothingToDo,
    /// A text has more tokens than the model sees, and is not to be cut.
    TextTooLong,
    /// The sender went away before its body was there. It has a status, but none is received.
    ClientClosed,
    /// No key was sent, or none of this server's.
    Unauthorized,
    /// The server does not answer under this name, or not to pages of this origin.
    Forbidden,
    /// No such path.
    NotFound,
    /// No such model, or no default one.
    UnknownModel,
    /// A key has no features.
    FeaturesNotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The body came too slowly.
    TooSlow,
    /// The body is too large.
    TooLarge,
    /// Path, query and headers are too large.
    HeadTooLarge,
    /// The body is of a type or in a coding that is not taken.
    UnsupportedMediaType,
    /// What is stored under a key does not fit the model.
    FeaturesInvalid,
    /// A fault of this program.
    Internal,
    /// Too much work is waiting.
    Overloaded,
    /// The result was not there in time.
    Timeout,
    /// Models are still being loaded.
    Loading,
    /// The model could not be loaded.
    ModelNotLoaded,
    /// Features cannot be read at the moment.
    FeaturesUnavailable,
    /// Features cannot be read because no Redis is set.
    NoFeatureStore,
}

/// Where the cause lies, and so who has to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The sender of the request or message.
    Caller,
    /// Too much work for the time there was: that passes by itself.
    Load,
    /// The operator of this program, with its models and settings.
    Handler,
    /// What the program depends on: Redis and what is stored there.
    Platform,
}

impl ErrorCode {
    /// The stable name in error bodies, rejections, spans and the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput | Self::NothingToDo => "invalid_input",
            Self::TextTooLong => "text_too_long",
            Self::ClientClosed => "client_closed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::UnknownModel => "unknown_model",
            Self::FeaturesNotFound => "features_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooSlow => "too_slow",
            Self::TooLarge | Self::HeadTooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::FeaturesInvalid => "features_invalid",
            Self::Internal => "internal",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Loading => "loading",
            Self::ModelNotLoaded => "model_not_loaded",
            Self::FeaturesUnavailable | Self::NoFeatureStore => "features_unavailable",
        }
    }

    /// The status of HTTP, RFC 9110 and RFC 6585.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::InvalidInput | Self::NothingToDo | Self::ClientClosed => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound | Self::UnknownModel | Self::FeaturesNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooSlow => 408,
            Self::TooLarge | Self::TextTooLong => 413,
            Self::UnsupportedMediaType => 415,
            Self::FeaturesInvalid => 422,
            Self::HeadTooLarge => 431,
            Self::Internal => 500,
            Self::Overloaded
            | Self::Timeout
            | Self::Loading
            | Self::ModelNotLoaded
            | Self::FeaturesUnavailable
            | Self::NoFeatureStore => 503,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(crate) fn may_be_retried(self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::Timeout | Self::Loading | Self::FeaturesUnavailable
        )
    }

    /// Its kind, as far as the forms of errors tell kinds apart.
    pub(crate) fn kind(self) -> RefusalKind {
        match self {
            Self::NothingToDo => RefusalKind::Empty,
            Self::InvalidInput => RefusalKind::Invalid,
            Self::TextTooLong => RefusalKind::TooLong,
            Self::TooLarge => RefusalKind::TooLarge,
            Self::NotFound | Self::UnknownModel | Self::FeaturesNotFound => RefusalKind::NotFound,
            Self::Overloaded | Self::Timeout | Self::Loading => RefusalKind::Busy,
            Self::ModelNotLoaded
            | Self::FeaturesInvalid
            | Self::FeaturesUnavailable
            | Self::NoFeatureStore => RefusalKind::Unavailable,
            Self::Internal => RefusalKind::Internal,
            Self::Unauthorized
            | Self::Forbidden
            | Self::ClientClosed
            | Self::MethodNotAllowed
            | Self::TooSlow
            | Self::HeadTooLarge
            | Self::UnsupportedMediaType => RefusalKind::Other,
        }
    }

    /// Who has to change something.
    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::InvalidInput
            | Self::NothingToDo
            | Self::TextTooLong
            | Self::ClientClosed
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::UnknownModel
            | Self::FeaturesNotFound
            | Self::MethodNotAllowed
            | Self::TooSlow
            | Self::TooLarge
            | Self::HeadTooLarge
            | Self::UnsupportedMediaType => Fault::Caller,
            Self::Overloaded | Self::Timeout => Fault::Load,
            Self::Internal | Self::Loading | Self::ModelNotLoaded | Self::NoFeatureStore => {
                Fault::Handler
            }
            Self::FeaturesInvalid | Self::FeaturesUnavailable => Fault::Platform,
        }
    }

    /// The names that callers may get to read, each once.
    pub(crate) fn names() -> Vec<&'static str> {
        let received = Self::VARIANTS.iter();
        let received = received.filter(|code| **code != Self::ClientClosed);
        let mut names: Vec<_> = received.map(|code| code.as_str()).collect();
        names.dedup();
        names
    }
}

impl From<ScoreCode> for ErrorCode {
    fn from(code: ScoreCode) -> Self {
        match code {
            ScoreCode::InvalidInput => Self::InvalidInput,
            ScoreCode::Overloaded => Self::Overloaded,
            ScoreCode::Timeout => Self::Timeout,
            ScoreCode::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Code, status, whether to try again, whose fault it is: rows of tables in the documentation.
    type Row = [String; 4];

    fn documented() -> BTreeSet<Row> {
        let text = include_str!("../../../docs/requests.md");
        let (_, table) = text.split_once("| `code` |").unwrap();
        let rows = table.lines().skip(2);
        let rows = rows.take_while(|line| line.starts_with("| `"));
        let row = |line: &str| {
            let mut cells = line.split('|').skip(1).map(|cell| cell.trim().to_owned());
            [(); 4].map(|()| cells.next().unwrap())
        };
        rows.map(row).collect()
    }

    #[test]
    fn the_documentation_lists_every_code_and_no_other() {
        let row = |code: &ErrorCode| {
            let status = match code {
                ErrorCode::ClientClosed => "none".to_owned(),
                code => code.status().to_string(),
            };
            let retry = if code.may_be_retried() { "yes" } else { "no" };
            let fault = match code.fault() {
                Fault::Caller => "caller",
                Fault::Load => "load",
                Fault::Handler => "handler",
                Fault::Platform => "platform",
            };
            let name = format!("`{}`", code.as_str());
            [name, status, retry.to_owned(), fault.to_owned()]
        };
        let all: BTreeSet<Row> = ErrorCode::VARIANTS.iter().map(row).collect();
        assert_eq!(documented(), all);
    }

    #[test]
    fn names_are_listed_once() {
        let names = ErrorCode::names();
        let all: BTreeSet<_> = names.iter().collect();
        assert_eq!(all.len(), names.len());
        assert!(!all.contains(&"client_closed"));
    }
}
