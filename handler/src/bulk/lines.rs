//! The lines of a file of any length, in windows of bounded size.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use memchr::memchr;
use serde::{Deserialize, Serialize};

use super::Format;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How far a file is read or done: right behind the end of a line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Lines before it.
    pub(crate) line: u64,
    /// Bytes before it.
    pub(crate) byte: u64,
}

/// A row as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The line where it begins, from 1.
    pub(crate) number: u64,
    /// Without the end of the line; only the start of what is too long.
    pub(crate) text: Vec<u8>,
    /// Its bytes in the file.
    pub(crate) bytes: u64,
    /// Where it ends.
    pub(crate) end: Position,
}

impl Line {
    /// Whether there is nothing to score.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.trim_ascii().is_empty() && !self.is_cut()
    }

    /// Whether only its start is kept.
    pub(crate) fn is_cut(&self) -> bool {
        self.bytes > self.text.len() as u64 + 2
    }
}

/// Lines that are scored together.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// In the order of the file.
    pub(crate) lines: Vec<Line>,
    /// Where the last of them ends.
    pub(crate) end: Position,
}

impl Window {
    /// What its lines take.
    pub(super) fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.text.len()).sum()
    }
}

/// Reads line by line; a record of a table may have several.
pub(crate) struct Lines<R> {
    reader: R,
    format: Format,
    /// Of a longer line only the start is kept.
    max_bytes: usize,
    position: Position,
    /// Lines that come again.
    again: VecDeque<Line>,
}

impl<R: BufRead> Lines<R> {
    /// From the start of a file, or from where an earlier reader has stopped: the reader stands there already.
    pub(crate) fn new(reader: R, format: Format, max_bytes: usize, start: Position) -> Self {
        Self {
            reader,
            format,
            max_bytes,
            position: start,
            again: VecDeque::new(),
        }
    }

    /// What the lines come from.
    #[cfg(feature = "blobs")]
    pub(crate) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Lines that were read and are to come again, before all others.
    pub(crate) fn put_back(&mut self, lines: impl Iterator<Item = Line>) {
        self.again.extend(lines);
    }

    /// The next lines that are not blank, at most so many; they end with the one that reaches so many bytes. `None` at the
    /// end of the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn window(&mut self, rows: usize, bytes: usize) -> io::Result<Option<Window>> {
        let mut window = Window::default();
        let mut held = 0;
        while window.lines.len() < rows && held < bytes {
            let Some(line) = self.line()? else { break };
            // Tabs are empty cells of a table.
            let has_cells = self.format == Format::Csv && line.text.contains(&b'\t');
            if line.is_blank() && !has_cells {
                continue;
            }
            held += line.text.len();
            window.end = line.end;
            window.lines.push(line);
        }
        Ok((!window.lines.is_empty()).then_some(window))
    }

    /// The next line or record.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn line(&mut self) -> io::Result<Option<Line>> {
        if let Some(line) = self.again.pop_front() {
            return Ok(Some(line));
        }
        let mut line = Line {
            number: self.position.line + 1,
            text: Vec::new(),
            bytes: 0,
            end: self.position,
        };
        let mut cells = Cells::default();
        let mut is_start = true;
        while self.append(&mut line)? {
            // Also where files were joined that each begin with one.
            if std::mem::take(&mut is_start) && line.text.starts_with(BYTE_ORDER_MARK) {
                line.text.drain(..BYTE_ORDER_MARK.len());
                line.bytes -= BYTE_ORDER_MARK.len() as u64;
            }
            if self.format == Format::Jsonl || !cells.stay_open(&line.text) || line.is_cut() {
                break;
            }
        }
        if line.bytes == 0 {
            return Ok(None);
        }
        for end in [b'\n', b'\r'] {
            if line.text.last() == Some(&end) {
                line.text.pop();
            }
        }
        line.end = self.position;
        Ok(Some(line))
    }

    /// Appends up to the end of a line, if there is one.
    fn append(&mut self, line: &mut Line) -> io::Result<bool> {
        let mut found = false;
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(found);
            }
            found = true;
            let end = memchr(b'\n', bytes).map(|at| at + 1);
            let taken = end.unwrap_or(bytes.len());
            let kept = taken.min((self.max_bytes + 2).saturating_sub(line.text.len()));
            line.text.extend_from_slice(&bytes[..kept]);
            line.bytes += taken as u64;
            self.position.byte += taken as u64;
            self.reader.consume(taken);
            if end.is_some() {
                self.position.line += 1;
                return Ok(true);
            }
        }
    }
}

/// Whether a record goes on behind the end of a line: within quotes, which a cell can only begin with.
#[derive(Default)]
struct Cells {
    seen: usize,
    state: Cell,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Cell {
    #[default]
    Start,
    Plain,
    Quoted,
    /// A quote within quotes: the end of the cell, or the first of two.
    Quote,
}

impl Cells {
    fn stay_open(&mut self, text: &[u8]) -> bool {
        let new = &text[self.seen..];
        self.seen = text.len();
        if self.state != Cell::Quoted && memchr(b'"', new).is_none() {
            self.state = Cell::Start;
            return false;
        }
        for byte in new {
            self.state = match (self.state, byte) {
                (Cell::Start, b'"') | (Cell::Quote, b'"') => Cell::Quoted,
                (Cell::Quoted, b'"') => Cell::Quote,
                (Cell::Quoted, _) => Cell::Quoted,
                (_, b',' | b';' | b'\t' | b'\n') => Cell::Start,
                _ => Cell::Plain,
            };
        }
        self.state == Cell::Quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, format: Format, max_bytes: usize) -> Vec<(u64, String, bool)> {
        // A small buffer, so that lines come in pieces.
        let reader = io::BufReader::with_capacity(3, text.as_bytes());
        let mut lines = Lines::new(reader, format, max_bytes, Position::default());
        let mut found = Vec::new();
        while let Some(line) = lines.line().unwrap() {
            let text = String::from_utf8(line.text.clone()).unwrap();
            found.push((line.number, text, line.is_cut()));
        }
        assert_eq!(lines.position.byte, text.len() as u64);
        found
    }

    #[test]
    fn lines_end_as_on_any_system_and_long_ones_are_cut() {
        let found = all("\u{feff}[1]\r\n\n[2]\n0123456789abc\n[3]", Format::Jsonl, 8);
        let expected = [
            (1, "[1]", false),
            (2, "", false),
            (3, "[2]", false),
            (4, "0123456789", true),
            (5, "[3]", false),
        ];
        assert_eq!(
            found,
            expected.map(|(n, text, cut)| (n, text.to_owned(), cut))
        );
        assert_eq!(all("", Format::Jsonl, 8), []);
    }

    #[test]
    fn one_mark_of_the_byte_order_is_dropped_before_each_line() {
        let found = |text, format| -> Vec<String> {
            let found = all(text, format, 99).into_iter();
            found.map(|(_, text, _)| text).collect()
        };
        let joined = "\u{feff}[1]\n\u{feff}[2]\n\u{feff}";
        assert_eq!(found(joined, Format::Jsonl), ["[1]", "[2]"]);
        let twice = "\u{feff}\u{feff}a,\"\nx\"\n\u{feff}\"1\n\",2\n";
        let expected = ["\u{feff}a,\"\nx\"", "\"1\n\",2"];
        assert_eq!(found(twice, Format::Csv), expected);
    }

    #[test]
    fn records_of_a_table_have_lines_within_quotes_only() {
        let text = "a,b\n1,\"x\ny \"\"z\"\"\n\"\n2,5\" disk\n3,\"\"\n";
        let found = all(text, Format::Csv, 99);
        let expected = [
            (1, "a,b"),
            (2, "1,\"x\ny \"\"z\"\"\n\""),
            (5, "2,5\" disk"),
            (6, "3,\"\""),
        ];
        assert_eq!(found, expected.map(|(n, text)| (n, text.to_owned(), false)));
    }

    #[test]
    fn windows_are_bounded_by_rows_and_bytes_and_skip_blank_lines() {
        let text = "[1]\n\n[2]\n[3]\n  \n[4]\n";
        let mut lines = Lines::new(text.as_bytes(), Format::Jsonl, 99, Position::default());
        let mut numbers = |rows, bytes| {
            let window = lines.window(rows, bytes).unwrap()?;
            Some(
                window
                    .lines
                    .iter()
                    .map(|line| line.number)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(numbers(2, 99), Some(vec![1, 3]));
        assert_eq!(numbers(9, 1), Some(vec![4]));
        assert_eq!(numbers(9, 99), Some(vec![6]));
        assert_eq!(numbers(9, 99), None);
        // Tabs are empty cells.
        let table = "a\tb\n\t\n \n1\t2\n".as_bytes();
        let mut lines = Lines::new(table, Format::Csv, 99, Position::default());
        let window = lines.window(9, 99).unwrap().unwrap();
        let numbers = window.lines.iter().map(|line| line.number);
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 4]);
    }
}
