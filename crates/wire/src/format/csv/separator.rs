//! What separates the fields of a table.

use csv::StringRecord;
use score::{ElementType, ScoreError};

use super::next;
use super::quotes::is_wider;
use crate::context::Context;
use crate::json::bounded::MAX_NAMES;
use crate::rows::cells::Notation;
use crate::rows::columns::{Layout, expected_width};

/// What separates the fields of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Separator(u8);

impl Separator {
    pub(super) const COMMA: Self = Self(b',');
    const SEMICOLON: Self = Self(b';');
    pub(super) const TAB: Self = Self(b'\t');

    pub(super) fn of(byte: u8) -> Self {
        Self(byte)
    }

    pub(super) fn byte(self) -> u8 {
        self.0
    }

    pub(super) fn is(self, byte: u8) -> bool {
        self.0 == byte
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SEMICOLON => "semicolons",
            Self::TAB => "tabs",
            _ => "commas",
        }
    }

    pub(super) fn notation(self) -> Notation {
        let decimal_comma = self == Self::SEMICOLON;
        Notation { decimal_comma }
    }

    pub(super) fn lines(self, text: &str) -> csv::StringRecordsIntoIter<&[u8]> {
        let mut reader = csv::ReaderBuilder::new();
        let reader = reader.has_headers(false).flexible(true).delimiter(self.0);
        reader.from_reader(text.as_bytes()).into_records()
    }
}

/// Finds what separates, and where the table begins. Only what leaves no doubt is taken: that the model's columns come out,
/// or that one reading alone makes sense.
pub(super) fn find<'t>(
    context: Context<'_>,
    text: &'t str,
) -> Result<(Separator, &'t str), ScoreError> {
    use Separator as S;
    // What Excel takes as a word about the rest.
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let said = [S::COMMA, S::SEMICOLON, S::TAB]
        .into_iter()
        .find(|separator| {
            let sign = line.trim_matches('"').strip_prefix("sep=");
            sign.is_some_and(|sign| sign.as_bytes() == [separator.0])
        });
    if let Some(said) = said {
        let table = text[line.len()..].trim_start_matches(['\n', '\r']);
        check_width(context, table, &[said], expected_width(context))?;
        return Ok((said, table));
    }
    let width = expected_width(context);
    check_width(context, text, &[S::COMMA, S::SEMICOLON, S::TAB], width)?;
    let mut ways = Vec::new();
    for separator in [S::COMMA, S::SEMICOLON, S::TAB] {
        let first = next(context, &mut separator.lines(text))?;
        ways.extend(first.map(|first| (separator, first)));
    }
    // A comma is what separates if nothing does.
    ways.retain(|(separator, first)| *separator == S::COMMA || first.len() > 1);
    let fits = |first: &StringRecord| width.is_some_and(|width| first.len() == width);
    let any_fits = ways.iter().any(|(_, first)| fits(first));
    ways.retain(|(_, first)| {
        if any_fits {
            fits(first)
        } else {
            first.len() > 1
        }
    });
    if ways.len() > 1 {
        ways.retain(|(separator, first)| makes_sense(context, first, *separator));
    }
    match &ways[..] {
        [(only, _)] => Ok((*only, text)),
        [] if !line.contains([';', '\t', ',']) => Ok((S::COMMA, text)),
        _ => Err(context.wrong(
            "the separator is in doubt: the first line has several of ',', ';' and tab outside quotes; put fields in quotes, \
             send text/tab-separated-values, or name the separator in a line before it, such as sep=;",
        )),
    }
}

/// Refuses a table whose lines have more fields than any table of the model's.
pub(super) fn check_width(
    context: Context<'_>,
    text: &str,
    separators: &[Separator],
    expected: Option<usize>,
) -> Result<(), ScoreError> {
    // One more than expected is told by its line.
    let most = expected
        .map_or(0, |width| width.saturating_add(1))
        .max(MAX_NAMES);
    let wider = separators
        .iter()
        .find(|separator| is_wider(text, **separator, most));
    wider.map_or(Ok(()), |separator| {
        let by = separator.name();
        Err(context.wrong(format!(
            "a line has more than {most} fields, separated by {by}"
        )))
    })
}

/// Whether a first line is a header of names that are known, or a row in which all numbers are such.
fn makes_sense(context: Context<'_>, first: &StringRecord, separator: Separator) -> bool {
    let names: Vec<&str> = first.iter().map(str::trim).collect();
    if Layout::of_names(context, &names, true).is_ok() {
        return true;
    }
    let types = Layout::by_position(context, first.len()).types();
    let notation = separator.notation();
    let mut cells = first.iter().zip(&types);
    types.len() == first.len()
        && cells.all(|(cell, ty)| *ty == ElementType::String || notation.is_value(cell))
}
