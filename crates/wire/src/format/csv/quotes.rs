//! Quotes around the fields of a table.

use memchr::memchr2_iter;
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
    if !text.contains('"') {
        return Ok(());
    }
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

/// Whether any line has more fields than that; the reader of the lines would hold all of them before it could tell.
pub(super) fn is_wider(text: &str, separator: Separator, most: usize) -> bool {
    // Without quotes a line is a record, and has no more fields than bytes.
    let mut start = 0;
    let mut is_short = |end| end - std::mem::replace(&mut start, end + 1) < most;
    let mut ends = memchr2_iter(b'\n', b'\r', text.as_bytes()).chain([text.len()]);
    if text.len() < most || !text.contains('"') && ends.all(&mut is_short) {
        return false;
    }
    let (mut fields, mut starts, mut quoted) = (1, true, false);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if quoted {
            // A quote that is written twice does not end the field.
            quoted = byte != b'"' || bytes.next_if_eq(&b'"').is_some();
            continue;
        }
        quoted = starts && byte == b'"';
        starts = separator.is(byte) || matches!(byte, b'\n' | b'\r');
        fields = match byte {
            b'\n' | b'\r' => 1,
            _ => fields + usize::from(separator.is(byte)),
        };
        if fields > most {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_as_the_reader_of_the_lines_counts_them() {
        for (text, fields) in [
            ("1,2,3,4", 4),
            ("1,2\n1,2,3\n1", 3),
            ("\"a,b\",c", 2),
            ("\"a\"\",\",c\n", 2),
            ("\"a\nb\",c,\"d\n,\",e", 4),
            ("a\",b,c\"", 3),
            (",,,", 4),
        ] {
            let most = Separator::COMMA
                .lines(text)
                .map(|line| line.unwrap().len())
                .max();
            assert_eq!(most, Some(fields), "{text}");
            assert!(is_wider(text, Separator::COMMA, fields - 1), "{text}");
            assert!(!is_wider(text, Separator::COMMA, fields), "{text}");
        }
    }
}
