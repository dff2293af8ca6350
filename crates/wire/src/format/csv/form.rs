//! How a table is written that comes in pieces: its first lines tell, and what they tell holds for all of it.

use score::{ElementType, ModelMetadata};

use super::header::{self, Header};
use super::separator;
use super::{header_of, next};
use crate::body::{Bounds, Declared, Limits, PayloadError, TableForm};
use crate::context::Context;
use crate::rows::columns::Layout;
use crate::watch::Unwatched;

/// Finds the form of a table in its first lines. The content type says whether one of them is a header. Lines with another
/// number of cells than the first are passed over.
///
/// # Errors
/// As [`decode`](crate::decode), where the separator or the header cannot be told.
pub fn table_form(
    first: &str,
    declared: Declared<'_>,
    metadata: &ModelMetadata,
    limits: Limits,
) -> Result<TableForm, PayloadError> {
    let watch = &Unwatched;
    let context = Context::new(metadata, Bounds { limits, watch }, "body");
    let (separator, text) = separator::find(context, first)?;
    let mut form = TableForm {
        separator: separator.byte(),
        decimal: None,
    };
    let mut lines = separator.lines(text);
    let Some(begin) = next(context, &mut lines)? else {
        return Ok(form);
    };
    let said = header_of(declared.content_type.unwrap_or_default())?;
    let (layout, row) = match header::find(context, &begin, separator, said)? {
        Header::None => (Layout::by_position(context, begin.len()), Some(begin)),
        Header::Unchecked => (Layout::by_position(context, begin.len()), None),
        Header::Names(layout) => (layout, None),
    };
    let (width, types, notation) = (layout.width, layout.types(), separator.notation());
    if !notation.decimal_comma {
        return Ok(form);
    }
    for record in row.into_iter().chain(lines.flatten()) {
        if record.len() != width {
            continue;
        }
        let numbers = record.iter().zip(&types);
        let mut numbers =
            numbers.filter(|(cell, ty)| **ty != ElementType::String && notation.is_value(cell));
        form.decimal = numbers.find_map(|(cell, _)| {
            let mut bytes = cell.bytes();
            bytes.find(|byte| matches!(byte, b',' | b'.'))
        });
        if form.decimal.is_some() {
            break;
        }
    }
    Ok(form)
}
