//! Text as it may be shown: what a caller or a file brings must neither begin a line nor steer a terminal.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;

use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::fmt::MakeWriter;

/// The text with control characters and other ends of lines written as JSON does; line feeds and tabs stay if `lines` says so.
pub(super) fn printable(text: &str, lines: bool) -> Cow<'_, str> {
    let steers = |c: char| {
        (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
            && !(lines && matches!(c, '\n' | '\t'))
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !steers(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Writing to a string cannot fail. None of them has more than four digits.
            c => drop(write!(shown, "\\u{:04x}", u32::from(c))),
        }
    }
    Cow::Owned(shown)
}

/// Writes each event as one line.
#[derive(Clone)]
pub(super) struct OneLine(pub(super) NonBlocking);

impl io::Write for OneLine {
    /// Takes a whole line: events are formatted before they are written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        match printable(text, false) {
            Cow::Borrowed(_) => self.0.write(line),
            Cow::Owned(shown) => {
                self.0.write_all(format!("{shown}\n").as_bytes())?;
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl MakeWriter<'_> for OneLine {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_a_line_or_steers_a_terminal() {
        for plain in ["", "a b", "caf\u{e9} \u{1f600} \\n \"x\""] {
            assert!(matches!(printable(plain, false), Cow::Borrowed(text) if text == plain));
        }
        let odd = "a\nb\r\tc\u{1b}[31m\0\u{7f}\u{9b}\u{85}\u{2028}";
        let shown = r"a\nb\r\tc\u001b[31m\u0000\u007f\u009b\u0085\u2028";
        assert_eq!(printable(odd, false), shown);
        let lines = shown.replace("\\n", "\n").replace("\\t", "\t");
        assert_eq!(printable(odd, true), lines);
    }
}
