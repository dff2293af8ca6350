//! Matches the columns of a table to inputs: by name, by alias, by number, or by position.

use std::collections::BTreeMap;

use score::{ElementType, ScoreError, TensorSpec};

use crate::context::{Context, list, shown};

/// Which input every column of a table belongs to.
pub(crate) struct Layout<'a> {
    pub(crate) parts: Vec<Part<'a>>,
    /// The number of columns in all.
    pub(crate) width: usize,
}

/// The columns of one input.
pub(crate) struct Part<'a> {
    pub(crate) spec: &'a TensorSpec,
    /// The caller's name for it.
    pub(crate) label: String,
    /// The positions of its columns in the table, in the model's order.
    pub(crate) columns: Vec<usize>,
    /// Whether one column holds all of a row's values.
    pub(crate) whole: bool,
}

impl<'a> Layout<'a> {
    /// Columns by the names of inputs, their aliases and their columns; `fold` takes no account of case.
    ///
    /// # Errors
    /// [`ScoreError::InvalidInput`] for names that are unknown or given twice, and for columns that are missing.
    pub(crate) fn of_names<N: AsRef<str>>(
        context: Context<'a>,
        names: &[N],
        fold: bool,
    ) -> Result<Self, ScoreError> {
        let found = Found::new(context, names, fold)?;
        let mut claimed = vec![false; names.len()];
        let mut parts = Vec::new();
        let mut missing: Vec<&str> = Vec::new();
        for spec in context.specs() {
            let own = found.own(context, spec)?;
            let declared = context.columns_of(spec);
            let columns: Vec<usize> = declared.iter().filter_map(|name| found.at(name)).collect();
            // An input may have the same name as one of its columns.
            let is_own = columns.len() == 1 && own == columns.first().copied();
            let whole = columns.is_empty() || is_own;
            let columns = match own {
                Some(own) if whole => vec![own],
                _ => columns,
            };
            if columns.is_empty() {
                continue;
            }
            if !whole && columns.len() < declared.len() {
                let absent = declared.iter().filter(|name| found.at(name).is_none());
                missing.extend(absent.map(String::as_str));
            }
            for column in &columns {
                if std::mem::replace(&mut claimed[*column], true) {
                    let name = shown(names[*column].as_ref());
                    return Err(context.wrong(format!("{name} may mean several columns")));
                }
            }
            let label = match columns[..] {
                [only] if whole => names[only].as_ref().to_owned(),
                _ => spec.name.clone(),
            };
            parts.push(Part {
                spec,
                label,
                columns,
                whole,
            });
        }
        let unknown = names.iter().zip(&claimed).filter(|(_, claimed)| !**claimed);
        let unknown: Vec<&str> = unknown.map(|(name, _)| name.as_ref()).collect();
        if unknown.is_empty() && missing.is_empty() {
            let width = names.len();
            return Ok(Self { parts, width });
        }
        Err(misnamed(context, &unknown, &missing))
    }

    /// Columns named by numbers from 0, as pandas names those of a table without names.
    pub(crate) fn of_numbers<N: AsRef<str>>(context: Context<'a>, names: &[N]) -> Option<Self> {
        let [spec] = &context.signature.inputs[..] else {
            return None;
        };
        let width = names.len();
        if !context.columns_of(spec).is_empty() || is_list(spec) {
            return None;
        }
        let mut columns = vec![None; width];
        for (position, name) in names.iter().enumerate() {
            let number: usize = name.as_ref().parse().ok()?;
            columns.get_mut(number)?.get_or_insert(position);
        }
        let columns = columns.into_iter().collect::<Option<Vec<usize>>>()?;
        Some(Self::matrix(spec, columns))
    }

    /// Columns in the model's own order, without the inputs that have a value of their own. What a lone matrix has no names
    /// for may be of any number, `given`.
    pub(crate) fn by_position(context: Context<'a>, given: usize) -> Self {
        let inputs = &context.signature.inputs;
        if let [spec] = &inputs[..]
            && context.columns_of(spec).is_empty()
            && !is_list(spec)
        {
            return Self::matrix(spec, (0..given).collect());
        }
        let mut width = 0;
        let parts = inputs.iter().map(|spec| {
            let declared = context.columns_of(spec).len();
            let first = width;
            width += declared.max(1);
            Part {
                spec,
                label: spec.name.clone(),
                columns: (first..width).collect(),
                whole: declared == 0,
            }
        });
        let parts = parts.collect();
        Self { parts, width }
    }

    /// Makes a matrix of the only column, for an input that declares no shape and would take a list as well.
    pub(crate) fn into_matrix(mut self) -> Self {
        if let [part] = &mut self.parts[..]
            && part.spec.shape.is_none()
        {
            part.whole = false;
        }
        self
    }

    fn matrix(spec: &'a TensorSpec, columns: Vec<usize>) -> Self {
        let width = columns.len();
        let label = spec.name.clone();
        let part = Part {
            spec,
            label,
            columns,
            whole: false,
        };
        Self {
            parts: vec![part],
            width,
        }
    }

    /// Whether it is one matrix as it stands.
    pub(crate) fn is_plain(&self) -> bool {
        let in_order = |part: &Part<'_>| part.columns.iter().copied().eq(0..self.width);
        matches!(&self.parts[..], [part] if !part.whole && in_order(part))
    }

    /// The element type of every column.
    pub(crate) fn types(&self) -> Vec<ElementType> {
        let mut types = vec![ElementType::String; self.width];
        for part in &self.parts {
            for column in &part.columns {
                types[*column] = part.spec.element_type;
            }
        }
        types
    }
}

/// Whether an input has one value per row and no axis for columns.
fn is_list(spec: &TensorSpec) -> bool {
    spec.signed_shape().len() == 1
}

/// The number of columns in a row of all required inputs, if it is known.
pub(crate) fn expected_width(context: Context<'_>) -> Option<usize> {
    let [spec] = &context.signature.inputs[..] else {
        return Some(Layout::by_position(context, 0).width);
    };
    let declared = context.columns_of(spec).len();
    match spec.signed_shape()[..] {
        _ if declared > 0 => Some(declared),
        [_] => Some(1),
        [_, width] => usize::try_from(width).ok(),
        _ => None,
    }
}

/// Names and their positions.
struct Found {
    positions: BTreeMap<String, usize>,
    fold: bool,
}

impl Found {
    fn new<N: AsRef<str>>(
        context: Context<'_>,
        names: &[N],
        fold: bool,
    ) -> Result<Self, ScoreError> {
        let mut found = Self {
            positions: BTreeMap::new(),
            fold,
        };
        for (position, name) in names.iter().map(AsRef::as_ref).enumerate() {
            if found.positions.insert(found.key(name), position).is_some() {
                return Err(context.wrong(format!("{} is given twice", shown(name))));
            }
        }
        Ok(found)
    }

    fn key(&self, name: &str) -> String {
        if self.fold {
            name.to_lowercase()
        } else {
            name.to_owned()
        }
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.positions.get(&self.key(name)).copied()
    }

    /// The position of the input under its own name or an alias.
    fn own(&self, context: Context<'_>, spec: &TensorSpec) -> Result<Option<usize>, ScoreError> {
        let aliases = context
            .aliases_of(spec)
            .iter()
            .filter_map(|name| self.at(name));
        let mut all = self.at(&spec.name).into_iter().chain(aliases);
        let first = all.next();
        if all.any(|other| Some(other) != first) {
            return Err(context.wrong(format!("input {:?} is given twice", spec.name)));
        }
        Ok(first)
    }
}

fn misnamed(context: Context<'_>, unknown: &[&str], missing: &[&str]) -> ScoreError {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("the model has no input {}", list(unknown)));
    }
    if !missing.is_empty() {
        parts.push(format!("columns are missing: {}", list(missing)));
    }
    let takes = context.describe();
    context.wrong(format!("{}; it takes {takes}", parts.join(", and ")))
}
