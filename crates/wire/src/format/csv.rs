//! Tables as text: `text/csv` (RFC 4180) with or without a header, also with semicolons or tabs, and
//! `text/tab-separated-values`.

mod form;
mod header;
mod quotes;
mod separator;

use csv::StringRecord;
use score::{ElementType, ModelSignature, ScoreError, TensorSpec, quoted};

use super::{Contents, Elements, Format, Read, XLS_MAGIC, ZIP_MAGIC};
use crate::body::PayloadError;
use crate::context::{Context, shown};
use crate::format::charset::parameter;
use crate::rows::columns::{Layout, expected_width};
use crate::rows::tabular::Table;
pub use form::table_form;
use header::Header;
use separator::Separator;

/// `text/csv`
pub(crate) static CSV: Format = TABLE;

/// What all tables share, and `text/csv` alone has.
const TABLE: Format = Format {
    body: "[a table](#tables-as-text)",
    answer: "the bare result",
    content_types: &["text/csv"],
    coding: None,
    // Browsers declare CSV as the last type where Excel is installed.
    aliases: &["application/csv", "text/x-csv", "application/vnd.ms-excel"],
    is_text: true,
    is_packed: false,
    elements: Elements::Separated(b",;\t\n\r"),
    recognises: |_, _| false,
    read: Some(|contents| read_declared(contents, false)),
    writing: None,
    described: |metadata| is_table(&metadata.signature).then(|| "One row per line.".to_owned()),
    sample: Some("$table"),
};

/// `text/tab-separated-values`
pub(crate) static TSV: Format = Format {
    body: "[a table](#tables-as-text) with tabs",
    content_types: &["text/tab-separated-values"],
    aliases: &[],
    read: Some(|contents| read_declared(contents, true)),
    sample: None,
    ..TABLE
};

/// What a content type says about a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Form {
    /// Whether the first line is a header, if the content type says so.
    header: Option<bool>,
    /// What separates cells, if that is known; otherwise the first line shows it.
    separator: Option<Separator>,
    /// The decimal sign of a table with semicolons, if that is known; otherwise the first one tells.
    decimal: Option<u8>,
}

/// Whether the first line is a header, if the content type says so.
///
/// # Errors
/// [`ScoreError::InvalidInput`] for a parameter `header` that is neither `present` nor `absent`.
fn header_of(content_type: &str) -> Result<Option<bool>, ScoreError> {
    match parameter(content_type, "header") {
        None => Ok(None),
        Some(word) if word.eq_ignore_ascii_case("present") => Ok(Some(true)),
        Some(word) if word.eq_ignore_ascii_case("absent") => Ok(Some(false)),
        Some(word) => {
            let word = shown(word);
            let message =
                format!("content type: header={word}; expected header=present or header=absent");
            Err(ScoreError::invalid("content-type", message))
        }
    }
}

fn read_declared(contents: &Contents<'_>, tabs: bool) -> Result<Read, PayloadError> {
    let content_type = contents.declared.content_type.unwrap_or_default();
    let header = header_of(content_type)?;
    let workbook = [ZIP_MAGIC, XLS_MAGIC];
    if workbook
        .iter()
        .any(|magic| contents.body.starts_with(magic))
    {
        return Err(PayloadError::UnsupportedType(format!(
            "content type {}: expected a table as text",
            quoted(content_type)
        )));
    }
    let known = contents.declared.table;
    let form = Form {
        header,
        separator: match known {
            Some(known) => Some(Separator::of(known.separator)),
            None => tabs.then_some(Separator::TAB),
        },
        decimal: known.and_then(|known| known.decimal),
    };
    let context = Context::new(contents.metadata, contents.bounds, "body");
    Ok(read(context, contents.body, form)?)
}

/// Whether each input is a column of a table, or the only one is a matrix.
fn is_table(signature: &ModelSignature) -> bool {
    let column = |spec: &TensorSpec| match &spec.shape {
        Some(dims) => dims.len() == 1 || spec.has_single_values(),
        None => true,
    };
    match &signature.inputs[..] {
        [] => false,
        [only] => only.dims().len() == 2 || column(only),
        all => all.iter().all(column),
    }
}

/// What separates the fields, given or found, and the text from the first line on.
fn separated<'t>(
    context: Context<'_>,
    text: &'t str,
    given: Option<Separator>,
) -> Result<(Separator, &'t str), ScoreError> {
    let Some(separator) = given else {
        return separator::find(context, text);
    };
    separator::check_width(context, text, &[separator], expected_width(context))?;
    Ok((separator, text))
}

/// Reads a table. Columns named in a header are put into the model's order.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the place; lines of the text count from 1, rows and columns of values from 0.
fn read(context: Context<'_>, body: &[u8], form: Form) -> Result<Read, ScoreError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        context.wrong(format!(
            "byte {at} is not UTF-8; name the encoding, such as text/csv; charset=windows-1252"
        ))
    })?;
    let (separator, text) = separated(context, text, form.separator)?;
    quotes::check(context, text, separator)?;
    let mut lines = separator.lines(text);
    let Some(first) = next(context, &mut lines)? else {
        return Err(context.wrong("the table is empty"));
    };
    let header = header::find(context, &first, separator, form.header)?;
    let by_position = matches!(header, Header::Unchecked);
    let (layout, data) = match header {
        Header::None => (Layout::by_position(context, first.len()), Some(first)),
        Header::Unchecked => (Layout::by_position(context, first.len()), None),
        Header::Names(layout) => (layout, None),
    };
    check_width(context, data.as_ref(), separator, layout.width)?;
    let (width, types) = (layout.width, layout.types());
    let mut rows = Rows {
        table: Table::new(context, layout),
        types,
        separator,
        marks: Marks {
            point: form.decimal == Some(b'.'),
            comma: form.decimal == Some(b','),
        },
    };
    let mut count = 0;
    let mut is_read = data.is_some();
    let mut record = data.unwrap_or_default();
    while is_read || read_next(context, &mut lines, &mut record)? {
        is_read = false;
        if record.len() != width {
            let (line, found) = (line_of(&record), record.len());
            let by = separator.name();
            return Err(context.wrong(format!(
                "line {line} has {found} fields where the first line has {width}, separated by {by}"
            )));
        }
        context.may_have_row(count)?;
        rows.push(context, &record)?;
        count += 1;
    }
    if count == 0 {
        return Err(no_row(context, separator));
    }
    let inputs = rows.table.finish()?;
    let by_position = by_position && width > 1;
    Ok(Read {
        inputs,
        by_position,
    })
}

/// The error for a header without rows.
fn no_row(context: Context<'_>, separator: Separator) -> ScoreError {
    let by = separator.name();
    context.wrong(format!(
        "the only line was taken for a header, its fields separated by {by}, and no row follows; where it is a row, say so: \
         text/csv; header=absent"
    ))
}

/// The error for a table without a header whose first line has another width than the model; the separator may be wrong.
fn check_width(
    context: Context<'_>,
    first: Option<&StringRecord>,
    separator: Separator,
    width: usize,
) -> Result<(), ScoreError> {
    let expected = expected_width(context).unwrap_or(width);
    match first.map(StringRecord::len) {
        Some(found) if found != expected => {
            let (by, takes) = (separator.name(), context.signature.describe_inputs());
            Err(context.wrong(format!(
                "line 1 has {found} fields, separated by {by}, where the model takes {expected} columns: {takes}; a \
                 separator within a field needs quotes around the field, and decimal commas are read where semicolons \
                 separate"
            )))
        }
        _ => Ok(()),
    }
}

fn next(
    context: Context<'_>,
    lines: &mut csv::StringRecordsIntoIter<&[u8]>,
) -> Result<Option<StringRecord>, ScoreError> {
    let record = lines.next().transpose();
    record.map_err(|error| context.wrong(error.to_string()))
}

/// The next record into the memory of the one before, if there is one.
fn read_next(
    context: Context<'_>,
    lines: &mut csv::StringRecordsIntoIter<&[u8]>,
    record: &mut StringRecord,
) -> Result<bool, ScoreError> {
    let read = lines.reader_mut().read_record(record);
    read.map_err(|error| context.wrong(error.to_string()))
}

fn line_of(record: &StringRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

/// Which decimal signs a table with semicolons has.
#[derive(Default)]
struct Marks {
    point: bool,
    comma: bool,
}

/// The rows of a table, before they become tensors.
struct Rows<'a> {
    table: Table<'a>,
    types: Vec<ElementType>,
    separator: Separator,
    marks: Marks,
}

impl Rows<'_> {
    fn push(&mut self, context: Context<'_>, record: &StringRecord) -> Result<(), ScoreError> {
        let notation = self.separator.notation();
        let mut tokens = Vec::with_capacity(record.len());
        for (position, cell) in record.iter().enumerate() {
            let ty = self
                .types
                .get(position)
                .copied()
                .unwrap_or(ElementType::String);
            let token = notation.token(cell, ty);
            if ty != ElementType::String {
                let is_value = match ty {
                    ElementType::Bool => notation.is_value(cell),
                    // What is no number became a text, and words for special numbers have no signs.
                    _ => !token.starts_with('"'),
                };
                self.check(context, record, (cell, is_value))?;
            }
            tokens.push(token);
        }
        self.table.push(&tokens, |token| token)
    }

    /// Refuses a table whose mistake another separator or decimal sign would explain.
    fn check(
        &mut self,
        context: Context<'_>,
        record: &StringRecord,
        (cell, is_value): (&str, bool),
    ) -> Result<(), ScoreError> {
        let has = |sign: u8| cell.bytes().any(|byte| byte == sign);
        if !cell
            .bytes()
            .any(|byte| matches!(byte, b',' | b';' | b'\t' | b'.'))
        {
            return Ok(());
        }
        let (line, by) = (line_of(record), self.separator.name());
        if !is_value {
            if !cell.trim().contains([',', ';', '\t']) {
                return Ok(());
            }
            return Err(context.wrong(format!(
                "line {line}: expected a number, got {}; the separator was taken to be {by}, and decimal commas are read \
                 only where semicolons separate",
                shown(cell)
            )));
        }
        self.marks.comma |= has(b',');
        self.marks.point |= has(b'.');
        if self.marks.comma && self.marks.point {
            return Err(context.wrong(format!(
                "line {line}: {} where other numbers have the other decimal sign; write all with a point or all with a comma",
                shown(cell)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
