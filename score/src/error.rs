//! What can go wrong while scoring, and whose fault it is.

use std::fmt;
use std::time::Duration;

/// Characters of a sender's text that an error quotes.
const MAX_QUOTED: usize = 200;

/// What a sender made up, for an error text: in quotation marks, with escapes for control characters, and cut.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// The words of a library that quote what a sender made up: without their middle where they are long, because their end says
/// what was expected and where.
pub fn shortened(words: impl fmt::Display) -> String {
    const KEPT: usize = MAX_QUOTED / 2;
    let words = words.to_string();
    let start = words.char_indices().nth(KEPT).map(|(end, _)| end);
    let end = words.char_indices().rev().nth(KEPT).map(|(start, _)| start);
    match (start, end) {
        (Some(start), Some(end)) if words.len() > 2 * MAX_QUOTED && start < end => {
            let (start, end) = (words.get(..start), words.get(end..));
            [start.unwrap_or_default(), end.unwrap_or_default()].join(" ... ")
        }
        _ => words,
    }
}

/// The kind of a [`ScoreError`]: what the edge of the program needs to choose a status and a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request does not fit the model; sending it again cannot help.
    InvalidInput,
    /// Too much work is waiting; the same request may succeed in a moment.
    Overloaded,
    /// The deadline passed before the result existed.
    Timeout,
    /// A fault of this program or of the runtime.
    Internal,
}

impl ErrorCode {
    /// The stable name callers see in error bodies and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

/// Why a request was not scored. The text is written for the caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScoreError {
    /// The request does not fit the model's signature.
    #[error("{message}")]
    InvalidInput {
        /// The place in the request, such as `inputs[0].data`.
        target: Option<String>,
        /// What was found there and what was expected.
        message: String,
    },
    /// The model itself refused the values, for example an index out of range.
    #[error("the model could not process these values: {0}")]
    ModelRejected(String),
    /// A text is longer than the model's limit, and is to be refused then.
    #[error("{}", too_long(*.row, *.part, *.tokens, *.limit))]
    TextTooLong {
        /// Its row in the request.
        row: usize,
        /// What is too long of that row.
        part: TextPart,
        /// The tokens of that part, special tokens included; `None` for one that has too many characters to count them.
        tokens: Option<usize>,
        /// Tokens that the model sees.
        limit: usize,
    },
    /// More rows are waiting than the limit allows.
    #[error("too many rows are waiting to be scored; try again shortly")]
    Overloaded,
    /// The result was not ready in time.
    #[error("not scored within {0:?}")]
    TimedOut(Duration),
    /// The results of all texts were not ready in time; those that were are stored.
    #[error(
        "not scored within {timeout:?}: {stored} of {texts} different texts are done and stored; send the request again for the \
         rest, or send fewer texts at once"
    )]
    TextsTimedOut {
        /// The time there was.
        timeout: Duration,
        /// Texts that are known now.
        stored: usize,
        /// All texts of the request that differ.
        texts: usize,
    },
    /// The logits or the vector of a text are no numbers, so that nothing can be made of them: a fault of the model.
    #[error(
        "the model {model} gave {value} for text {row}, of which no score or vector can be made: the model or its conversion is at \
         fault (float16 overflows so), and asking again does not help"
    )]
    NoScore {
        /// The name of the model.
        model: String,
        /// Its row in the request.
        row: usize,
        /// What it gave.
        value: f32,
    },
    /// A bug or a failure of the runtime; details belong in the log.
    #[error("{0}")]
    Internal(String),
}

impl ScoreError {
    /// An [`ScoreError::InvalidInput`] about one place in the request.
    pub fn invalid(target: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidInput {
            target: Some(target.into()),
            message: message.into(),
        }
    }

    /// The same where the rows it counts are the given ones of another count.
    pub(crate) fn at_rows(self, row_of: impl Fn(usize) -> Option<usize>) -> Self {
        match self {
            Self::TextTooLong {
                row,
                part,
                tokens,
                limit,
            } => Self::TextTooLong {
                row: row_of(row).unwrap_or(row),
                part,
                tokens,
                limit,
            },
            Self::NoScore { model, row, value } => Self::NoScore {
                model,
                row: row_of(row).unwrap_or(row),
                value,
            },
            other => other,
        }
    }

    /// The kind of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidInput { .. } | Self::ModelRejected(_) | Self::TextTooLong { .. } => {
                ErrorCode::InvalidInput
            }
            Self::Overloaded => ErrorCode::Overloaded,
            Self::TimedOut(_) | Self::TextsTimedOut { .. } => ErrorCode::Timeout,
            Self::Internal(_) | Self::NoScore { .. } => ErrorCode::Internal,
        }
    }
}

/// What is too long of a row of texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TextPart {
    /// Its only text.
    #[default]
    Text,
    /// Both texts of a pair together.
    Pair,
    /// The first text of a pair by itself, where only the second is cut.
    First,
    /// The second text of a pair by itself, where only the first is cut.
    Second,
}

fn too_long(row: usize, part: TextPart, tokens: Option<usize>, limit: usize) -> String {
    let long = match tokens {
        Some(tokens) => format!("has {tokens} tokens"),
        None => "has too many characters to count its tokens".to_owned(),
    };
    let (long_one, cut_one) = match part {
        TextPart::Text | TextPart::Pair => {
            let name = match part {
                TextPart::Pair => "pair",
                _ => "text",
            };
            return format!(
                "{name} {row} {long}; the model sees at most {limit}: shorten it, or let it be cut"
            );
        }
        TextPart::First => ("query", "text"),
        TextPart::Second => ("text", "query"),
    };
    format!(
        "the {long_one} of pair {row} {long}, special tokens included; the model sees at most {limit} of a pair, and only the \
         {cut_one} is cut (truncation_strategy): shorten the {long_one}"
    )
}

/// Why ONNX Runtime or a model could not be loaded. The text names the file and the remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The shared library of ONNX Runtime is missing or unusable.
    #[error("ONNX Runtime cannot be loaded from {path}: {reason}")]
    Runtime {
        /// The library that was tried.
        path: String,
        /// The loader's or the runtime's words.
        reason: String,
    },
    /// The model file cannot be read or the runtime refuses it.
    #[error("{path}: {reason}")]
    Model {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model wants or gives something that cannot be carried.
    #[error("{0}")]
    Unsupported(String),
    /// `model.toml` has a mistake.
    #[error("{path}: {reason}")]
    Options {
        /// The file.
        path: String,
        /// Line and meaning of the mistake.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_quoted_in_part() {
        assert_eq!(quoted("a\n\u{1b}"), r#""a\n\u{1b}""#);
        assert_eq!(
            quoted(&"\u{e9}".repeat(201)),
            format!("\"{}\"...", "\u{e9}".repeat(200))
        );
        let long = format!(
            "invalid type: \"{}\", expected a number",
            "\u{e9}".repeat(9000)
        );
        let shown = shortened(&long);
        assert!(shown.starts_with("invalid type: \"") && shown.ends_with("expected a number"));
        assert!(shown.chars().count() < 220, "{shown}");
        assert_eq!(shortened("short"), "short");
    }
}
