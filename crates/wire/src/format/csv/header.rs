//! Whether a table begins with a header, and what it says.

use csv::StringRecord;
use score::{ElementType, ScoreError};

use super::separator::Separator;
use crate::context::{Context, list};
use crate::json::missing::is_missing_cell;
use crate::rows::columns::{Layout, expected_width};

/// What the first line of a table is.
pub(super) enum Header<'a> {
    /// A row.
    None,
    /// Names that tell where each column belongs.
    Names(Layout<'a>),
    /// Names of the columns of a matrix that has none in the model.
    Unchecked,
}

/// Finds out what the first line is, unless it is `said` whether it is a header.
///
/// # Errors
/// [`ScoreError::InvalidInput`] for names that are not the model's, and where the line could be either.
pub(super) fn find<'a>(
    context: Context<'a>,
    first: &StringRecord,
    separator: Separator,
    said: Option<bool>,
) -> Result<Header<'a>, ScoreError> {
    if said == Some(false) {
        return Ok(Header::None);
    }
    let names: Vec<&str> = first.iter().map(str::trim).collect();
    let exact = Layout::of_names(context, &names, false);
    let unfit =
        match exact.or_else(|error| Layout::of_names(context, &names, true).map_err(|_| error)) {
            // Without a declared shape a table is a matrix, even if it has one column called like the input.
            Ok(layout) => return Ok(Header::Names(layout.into_matrix())),
            Err(error) => error,
        };
    let numbered = Layout::of_numbers(context, &names);
    let inputs = &context.signature.inputs;
    // One input takes all columns, under any names.
    let named_at_will = inputs.len() == 1 && !context.names_columns();
    if said == Some(true) {
        return match numbered {
            Some(layout) => Ok(Header::Names(layout)),
            None if named_at_will => Ok(Header::Unchecked),
            None => Err(unfit),
        };
    }
    let unknown = Unknown {
        names: &names,
        counts_up: numbered.is_some_and(|layout| layout.is_plain() && layout.width > 2),
        named_at_will,
        unfit,
    };
    unknown.decide(context, separator)
}

/// A first line whose cells are not the names of the model's columns.
struct Unknown<'a> {
    names: &'a [&'a str],
    /// Whether it counts from 0, as pandas numbers columns without names.
    counts_up: bool,
    /// Whether any names will do.
    named_at_will: bool,
    /// Why they are not the model's.
    unfit: ScoreError,
}

impl Unknown<'_> {
    fn decide<'a>(
        self,
        context: Context<'a>,
        separator: Separator,
    ) -> Result<Header<'a>, ScoreError> {
        let names = self.names;
        let notation = separator.notation();
        let missing = context
            .options
            .values()
            .any(|input| input.missing.is_some());
        let is_value = |cell: &&str| {
            notation.is_like_value(cell) || (missing && is_missing_cell(cell.as_bytes()))
        };
        if names.iter().any(is_value) {
            return if self.counts_up {
                Err(undecided(
                    context,
                    "counts from 0, as pandas numbers columns",
                ))
            } else {
                // One value among the words, and it is a row with a mistake, not a header.
                Ok(Header::None)
            };
        }
        let is_number = |ty: ElementType| ty != ElementType::String;
        let mut inputs = context.signature.inputs.iter();
        let takes_numbers = inputs.any(|spec| is_number(spec.element_type));
        let known = |name: &&str| context.knows(name, true);
        match () {
            // A line of empty cells names nothing.
            () if names.iter().all(|name| name.is_empty()) => Ok(Header::None),
            () if takes_numbers && self.named_at_will => Ok(Header::Unchecked),
            () if takes_numbers || names.iter().any(known) => Err(self.unfit),
            () if expected_width(context).is_some_and(|width| width != names.len()) => {
                Ok(Header::None)
            }
            () => Err(undecided(
                context,
                &format!("holds words alone ({})", list(names)),
            )),
        }
    }
}

fn undecided(context: Context<'_>, why: &str) -> ScoreError {
    let takes = context.signature.describe_inputs();
    context.wrong(format!(
        "whether the first line is a header cannot be told, since it {why}; say text/csv; header=present or \
         text/csv; header=absent (the model takes {takes})"
    ))
}
