//! Tables: how records become a request, and results become records.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::io::{self, BufRead};

use memchr::{memchr, memchr3};
use score::ModelMetadata;
use serde::Deserialize;
use serde_json::value::RawValue;
use wire::{Declared, Limits, TableForm};

use super::Header;
use super::lines::{Line, Lines};
use super::run::{WINDOW_BYTES, WINDOW_LINES};
use crate::problem::Problem;

/// The columns of a table and of its results.
#[derive(Debug)]
pub(crate) struct Table {
    /// What stands before the rows of each request.
    head: Vec<u8>,
    header: Header,
    /// How cells are written, unless there are none.
    form: Option<TableForm>,
    /// The outputs of the model.
    columns: Vec<String>,
}

/// Records that are tried to find out whether the first line is a header.
const TRIED: usize = 8;

/// Why the form of a table cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// Of the reader behind the lines.
    #[error("the input cannot be read")]
    Input(#[from] io::Error),
    /// Lines that other programs of today would not end there.
    #[error(
        "lines end with a carriage return alone, as on old systems; convert the file, for example with tr '\\r' '\\n'"
    )]
    Returns,
    /// What the reader of tables says of the first records.
    #[error(
        "the first line: {0}; --header present says that it is a header, --header absent that it is a row"
    )]
    Doubt(String),
}

/// Reads the header of a table, if it has one, and how cells are written, which the first window tells of the whole file. The
/// rows behind the header come from `lines` as if they had not been read.
///
/// # Errors
/// If the lines cannot be read, or it cannot be told whether the first one is a header.
pub(crate) fn open_table<R: BufRead>(
    lines: &mut Lines<R>,
    header: Option<Header>,
    metadata: &ModelMetadata,
    limits: Limits,
) -> Result<Table, TableError> {
    let window = lines.window(WINDOW_LINES, WINDOW_BYTES)?;
    let first = window.map_or_else(Vec::new, |window| window.lines);
    if first.first().is_some_and(|line| has_return(&line.text)) {
        return Err(TableError::Returns);
    }
    let table = Table::of(&first, header, metadata, limits);
    let (table, skipped) = table.map_err(|problem| TableError::Doubt(problem.message))?;
    lines.put_back(first.into_iter().skip(skipped));
    Ok(table)
}

impl Table {
    /// The form of a table that begins with these records. With them goes how many of them are no rows.
    ///
    /// # Errors
    /// If it cannot be told whether the first record is a header.
    fn of(
        first: &[Line],
        header: Option<Header>,
        metadata: &ModelMetadata,
        limits: Limits,
    ) -> Result<(Self, usize), Problem> {
        let outputs = metadata.default_outputs.iter();
        let outputs = outputs.filter_map(|at| metadata.signature.declared.get(*at));
        let mut table = Self {
            head: Vec::new(),
            header: Header::Absent,
            form: None,
            columns: outputs.map(|output| output.name.clone()).collect(),
        };
        let mut skipped = 0;
        let says_separator = |line: &&Line| {
            let text = line.text.strip_prefix(b"\"").unwrap_or(&line.text);
            text.starts_with(b"sep=")
        };
        if let Some(line) = first.first().filter(says_separator) {
            table.head = [&line.text[..], b"\n"].concat();
            skipped = 1;
        }
        let Some(names) = first.get(skipped) else {
            return Ok((table, skipped));
        };
        table.header = match header {
            Some(header) => header,
            None => table.find_header(&first[skipped..], metadata, limits)?,
        };
        let said = table.head.len();
        if table.header == Header::Present {
            table.head.extend(&names.text);
            table.head.push(b'\n');
            skipped += 1;
        }
        table.form = table.find_form(&first[skipped..], metadata, limits)?;
        // The form says it for all lines.
        table.head.drain(..said);
        Ok((table, skipped))
    }

    /// How cells are written, by the first of these records that leaves no doubt and those behind it.
    fn find_form(
        &self,
        first: &[Line],
        metadata: &ModelMetadata,
        limits: Limits,
    ) -> Result<Option<TableForm>, Problem> {
        let mut refusal = None;
        for at in 0..first.len().min(TRIED) {
            let lines: Vec<&Line> = first[at..].iter().collect();
            let body = self.body(&lines);
            let text = String::from_utf8_lossy(&body);
            match wire::table_form(&text, self.declared(), metadata, limits) {
                Ok(form) => return Ok(Some(form)),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        let problem = refusal.map(|error| Problem::from_payload(error, limits.max_bytes));
        problem.map_or(Ok(None), Err)
    }

    /// The reader of tables decides, by the first record and another one that fits the model.
    fn find_header(
        &self,
        first: &[Line],
        metadata: &ModelMetadata,
        limits: Limits,
    ) -> Result<Header, Problem> {
        let declared = Declared {
            content_type: Some("text/csv"),
            ..Declared::default()
        };
        let Some(names) = first.first() else {
            return Ok(Header::Absent);
        };
        let mut refusal = None;
        // A line with a return may hold several rows, so that its count tells nothing.
        let others = first[1..].iter().filter(|row| !has_return(&row.text));
        let others = others.take(TRIED);
        let others = others.map(|row| vec![names, row]);
        for lines in others.chain([vec![names]]) {
            match wire::decode(&self.body(&lines), declared, metadata, limits) {
                Ok(read) if read.row_count() == lines.len() => return Ok(Header::Absent),
                Ok(_) => return Ok(Header::Present),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        if first.len() == 1 {
            return Ok(Header::Present);
        }
        let problem = refusal.map(|error| Problem::from_payload(error, limits.max_bytes));
        Err(problem.unwrap_or_else(Problem::internal))
    }

    /// A request with these records.
    pub(crate) fn body(&self, lines: &[&Line]) -> Vec<u8> {
        let bytes: usize = lines.iter().map(|line| line.text.len() + 1).sum();
        let mut body = Vec::with_capacity(self.head.len() + bytes);
        body.extend(&self.head);
        for line in lines {
            body.extend(&line.text);
            body.push(b'\n');
        }
        body
    }

    /// What the request says of itself.
    pub(crate) fn declared(&self) -> Declared<'static> {
        Declared {
            content_type: Some(match self.header {
                Header::Present => "text/csv; header=present",
                Header::Absent => "text/csv; header=absent",
            }),
            table: self.form,
            ..Declared::default()
        }
    }

    /// The header of the results.
    pub(crate) fn first_line(&self) -> Vec<u8> {
        let mut text = b"line".to_vec();
        for column in &self.columns {
            text.push(b',');
            quote(column, &mut text);
        }
        text.push(b'\n');
        text
    }

    /// A record with a result: a cell for each output, in which lists and objects are JSON.
    ///
    /// # Errors
    /// If the result does not have the outputs of the model.
    pub(crate) fn write(
        &self,
        number: u64,
        result: &RawValue,
        text: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        text.extend(number.to_string().as_bytes());
        if let [_] = &self.columns[..] {
            text.push(b',');
            cell(result, text);
        } else {
            let values: BTreeMap<Name<'_>, &RawValue> =
                serde_json::from_str(result.get()).map_err(|_| Problem::internal())?;
            for column in &self.columns {
                text.push(b',');
                let value = values.get(column.as_str());
                cell(value.ok_or_else(Problem::internal)?, text);
            }
        }
        text.push(b'\n');
        Ok(())
    }
}

/// Whether a carriage return stands outside of quotes.
fn has_return(text: &[u8]) -> bool {
    let mut quoted = false;
    text.iter().any(|byte| {
        quoted ^= *byte == b'"';
        *byte == b'\r' && !quoted
    })
}

/// The name of an output, which is copied only where it is written with escapes.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Borrow<str> for Name<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn cell(value: &RawValue, text: &mut Vec<u8>) {
    let json = value.get();
    let word = json.starts_with('"').then(|| serde_json::from_str(json));
    match word {
        // On one line, so that each record has one.
        Some(Ok(Name(word))) if !word.contains(char::is_control) => quote(&word, text),
        _ if json == "null" => {}
        _ => quote(json, text),
    }
}

fn quote(word: &str, text: &mut Vec<u8>) {
    let bytes = word.as_bytes();
    if memchr3(b',', b'"', b';', bytes)
        .or_else(|| memchr(b'\t', bytes))
        .is_none()
    {
        return text.extend(word.as_bytes());
    }
    text.push(b'"');
    text.extend(word.replace('"', "\"\"").as_bytes());
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_words_numbers_or_json() {
        let table = |columns: &[&str]| Table {
            head: Vec::new(),
            header: Header::Absent,
            form: None,
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        };
        let written = |table: &Table, json: &str| {
            let value: Box<RawValue> = serde_json::from_str(json).unwrap();
            let mut text = Vec::new();
            table.write(9, &value, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let one = table(&["label"]);
        for (json, expected) in [
            ("7", "9,7\n"),
            ("\"a,\\\"b\"", "9,\"a,\"\"b\"\n"),
            ("null", "9,\n"),
            ("[0.5,1]", "9,\"[0.5,1]\"\n"),
            ("\"a\\nb\"", "9,\"\"\"a\\nb\"\"\"\n"),
        ] {
            assert_eq!(written(&one, json), expected);
        }
        let two = table(&["p", "label"]);
        assert_eq!(
            written(&two, r#"{"label":1,"p":{"a":2}}"#),
            "9,\"{\"\"a\"\":2}\",1\n"
        );
        assert_eq!(two.first_line(), b"line,p,label\n");
    }
}
