//! What a reader of rows needs beside the text, and names for error texts.

use std::collections::BTreeMap;

use score::{InputOptions, ModelMetadata, ModelSignature, ScoreError, TensorSpec};

use crate::body::Bounds;
use crate::watch::{self, Watch};

/// Rows between two looks at whether the reading is over.
const WATCHED_ROWS: usize = 256;

/// The error for more rows than are accepted, of which not all have been counted.
pub(crate) fn too_many_rows(most: usize) -> ScoreError {
    let message = format!("more than {most} rows in one request; at most {most} are accepted");
    ScoreError::invalid("inputs", message)
}

/// What a reader of rows needs beside the text.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) signature: &'a ModelSignature,
    /// What `model.toml` says about inputs.
    pub(crate) options: &'a BTreeMap<String, InputOptions>,
    pub(crate) max_nesting: usize,
    /// The rows that a request may have, where its rows are independent or `model.toml` bounds them.
    pub(crate) max_rows: Option<usize>,
    pub(crate) watch: &'a dyn Watch,
    /// The member that holds the rows, such as `data`.
    pub(crate) target: &'a str,
}

impl<'a> Context<'a> {
    pub(crate) fn new(metadata: &'a ModelMetadata, bounds: Bounds<'a>, target: &'a str) -> Self {
        Self {
            signature: &metadata.signature,
            options: &metadata.options.inputs,
            max_nesting: bounds.limits.max_nesting,
            max_rows: bounds.max_rows(metadata),
            watch: bounds.watch,
            target,
        }
    }

    pub(crate) fn options_of(self, spec: &TensorSpec) -> Option<&'a InputOptions> {
        self.options.get(&spec.name)
    }

    /// The names of the input's columns, if `model.toml` gives them. Those of other inputs than a matrix are the fields of
    /// a hash alone.
    pub(crate) fn columns_of(self, spec: &TensorSpec) -> &'a [String] {
        let options = self.options_of(spec).filter(|_| spec.may_be_matrix());
        options.map_or(&[], |options| &options.columns)
    }

    /// Whether the columns of any input have names.
    pub(crate) fn names_columns(self) -> bool {
        self.specs().any(|spec| !self.columns_of(spec).is_empty())
    }

    pub(crate) fn aliases_of(self, spec: &TensorSpec) -> &'a [String] {
        self.options_of(spec)
            .map_or(&[], |options| &options.aliases)
    }

    pub(crate) fn specs(self) -> impl Iterator<Item = &'a TensorSpec> {
        let Self { signature, .. } = self;
        signature.inputs.iter().chain(&signature.optional)
    }

    /// Whether an input or a column has that name; `fold` takes no account of case.
    pub(crate) fn knows(self, name: &str, fold: bool) -> bool {
        let folded = name.to_lowercase();
        let same = |own: &String| own == name || (fold && own.to_lowercase() == folded);
        self.specs().any(|spec| {
            let mut others = self.columns_of(spec).iter().chain(self.aliases_of(spec));
            same(&spec.name) || others.any(same)
        })
    }

    /// Called once the number of rows is known, before they are read.
    ///
    /// # Errors
    /// [`ScoreError::InvalidInput`] if there are too many.
    pub(crate) fn may_have_rows(self, rows: usize) -> Result<(), ScoreError> {
        match self.max_rows {
            Some(most) if rows > most => Err(too_many_rows(most)),
            _ => Ok(()),
        }
    }

    /// Called once for each row, before it is kept.
    ///
    /// # Errors
    /// [`ScoreError::InvalidInput`] if it is one row too many, or the reading is over.
    pub(crate) fn may_have_row(self, index: usize) -> Result<(), ScoreError> {
        if self.max_rows.is_some_and(|most| index >= most) {
            return Err(too_many_rows(index));
        }
        match index % WATCHED_ROWS == WATCHED_ROWS - 1 && self.watch.is_over() {
            true => Err(watch::stopped()),
            false => Ok(()),
        }
    }

    pub(crate) fn wrong(self, message: impl AsRef<str>) -> ScoreError {
        let message = format!("{}: {}", self.target, message.as_ref());
        ScoreError::invalid(self.target, message)
    }

    /// The inputs with all the names they go by.
    pub(crate) fn describe(self) -> String {
        let named = |spec| self.columns_of(spec).len() + self.aliases_of(spec).len() > 0;
        if !self.specs().any(named) {
            return self.signature.describe_inputs();
        }
        let one = |spec: &TensorSpec| {
            let mut text = format!("{:?}", spec.name);
            for alias in self.aliases_of(spec) {
                text += &format!(" or {alias:?}");
            }
            text += &format!(" {spec}");
            let columns = self.columns_of(spec);
            if !columns.is_empty() {
                text += &format!(" with columns {}", list(columns));
            }
            text
        };
        self.specs().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// A list of names for an error text, cut to a readable length.
pub(crate) fn list<N: AsRef<str>>(names: &[N]) -> String {
    const MOST: usize = 20;
    let first = names.iter().take(MOST).map(|name| shown(name.as_ref()));
    let text = first.collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MOST) {
        Some(more) if more > 0 => format!("{text} and {more} more"),
        _ => text,
    }
}

/// A name that a caller made up, in quotes.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
