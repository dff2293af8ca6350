//! Quotes around the fields of a table.

use score::ScoreError;

use super::separator::Separator;
use crate::context::Context;

/// Refuses fields that begin with a quote and do not end with one: the reader of the lines would make one text of what
/// follows, or of several lines, without a word.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the line on which the field begins.
pub(super) fn check(
    context: Context<'_>,
    text: &str,
    separator: Separator,
) -> Result<(), ScoreError> {
    let wrong = |line: usize, what: &str| {
        Err(context.wrong(format!(
            "line {line}: {what}; a quote within a quoted field is written twice"
        )))
    };
    let (mut rest, mut line) = (text.as_bytes(), 1);
    while let Some(at) = next_quoted(rest, separator, &mut line) {
        let begins = line;
        rest = &rest[at + 1..];
        loop {
            let Some(end) = rest.iter().position(|byte| *byte == b'"') else {
                return wrong(begins, "a quote is not closed");
            };
            line += rest[..end].iter().filter(|byte| **byte == b'\n').count();
            let behind = rest.get(end + 1).copied();
            rest = rest.get(end + 1..).unwrap_or_default();
            match behind {
                Some(b'"') => rest = &rest[1..],
                None | Some(b'\n' | b'\r') => break,
                Some(byte) if separator.is(byte) => break,
                Some(_) => return wrong(begins, "text follows a closing quote"),
            }
        }
    }
    Ok(())
}

/// Where the next field begins with a quote, from the beginning or the end of a field on.
fn next_quoted(text: &[u8], separator: Separator, line: &mut usize) -> Option<usize> {
    let mut starts = true;
    for (at, byte) in text.iter().enumerate() {
        if starts && *byte == b'"' {
            return Some(at);
        }
        *line += usize::from(*byte == b'\n');
        starts = separator.is(*byte) || matches!(byte, b'\n' | b'\r');
    }
    None
}
