//! Which columns of a file become cells of its rows, and how their values are found among its levels.

use std::collections::HashSet;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::schema::printer::print_schema;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type};
use score::quoted;

use super::ParquetInputError;

/// A column that becomes a cell of each row.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its position among the columns of a row group.
    pub(super) leaf: usize,
    pub(super) kind: Kind,
    /// The lists around each value, from the outside.
    pub(super) lists: Vec<List>,
    /// The definition level of a value that is there.
    pub(super) defined: i16,
}

/// A list around values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    /// The definition level from which on there is a list.
    pub(super) present: i16,
    /// The definition level from which on it has elements.
    pub(super) filled: i16,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float16,
    Float32,
    Float64,
    Text,
}

/// The columns of a file. The index that pandas writes as a column of its own is no column of the table.
///
/// # Errors
/// If a column holds what no model takes.
pub(super) fn columns_of(schema: &SchemaDescriptor) -> Result<Vec<Column>, ParquetInputError> {
    let mut columns = Vec::new();
    let mut names = HashSet::new();
    let mut leaf = 0;
    for (at, field) in schema.root_schema().get_fields().iter().enumerate() {
        let first = leaf;
        while leaf < schema.num_columns() && schema.get_column_root_idx(leaf) == at {
            leaf += 1;
        }
        if is_index(field.name()) || first == leaf {
            continue;
        }
        if !names.insert(field.name()) {
            return Err(ParquetInputError::Repeated(quoted(field.name())));
        }
        let column = column_of(field, first, &schema.column(first));
        columns
            .push(column.ok_or_else(|| {
                ParquetInputError::Column(quoted(field.name()), described(field))
            })?);
    }
    match columns.is_empty() {
        true => Err(ParquetInputError::NoColumns),
        false => Ok(columns),
    }
}

/// `__index_level_0__` and the like.
fn is_index(name: &str) -> bool {
    let level = name.strip_prefix("__index_level_");
    let level = level.and_then(|name| name.strip_suffix("__"));
    level.is_some_and(|level| level.parse::<u8>().is_ok())
}

fn column_of(field: &Arc<Type>, leaf: usize, description: &ColumnDescriptor) -> Option<Column> {
    let mut lists = Vec::new();
    let mut level = 0;
    let mut node = field.clone();
    loop {
        let before = level;
        let is_repeated = match node.get_basic_info().repetition() {
            Repetition::REQUIRED => false,
            Repetition::OPTIONAL => {
                level += 1;
                false
            }
            Repetition::REPEATED => {
                level += 1;
                true
            }
        };
        if is_repeated {
            let (present, filled) = (before, level);
            lists.push(List { present, filled });
        }
        if node.is_primitive() {
            return Some(Column {
                name: field.name().to_owned(),
                leaf,
                kind: kind_of(&node)?,
                lists,
                defined: description.max_def_level(),
            });
        }
        // A list is a group with a repeated group of one column in it, or in old files a repeated column.
        let [only] = node.get_fields() else {
            return None;
        };
        if !is_repeated && !is_list(&node) {
            return None;
        }
        let only = only.clone();
        node = only;
    }
}

fn is_list(node: &Type) -> bool {
    let info = node.get_basic_info();
    info.converted_type() == ConvertedType::LIST
        || matches!(info.logical_type_ref(), Some(LogicalType::List))
}

fn kind_of(node: &Type) -> Option<Kind> {
    use ConvertedType as C;
    let info = node.get_basic_info();
    let (logical, converted) = (info.logical_type_ref(), info.converted_type());
    match (node.get_physical_type(), converted) {
        (Physical::BOOLEAN, _) => Some(Kind::Bool),
        (Physical::FLOAT, _) => Some(Kind::Float32),
        (Physical::DOUBLE, _) => Some(Kind::Float64),
        (Physical::FIXED_LEN_BYTE_ARRAY, _) => {
            matches!(logical, Some(LogicalType::Float16)).then_some(Kind::Float16)
        }
        (Physical::INT32, C::UINT_8 | C::UINT_16 | C::UINT_32) => Some(Kind::Uint32),
        (Physical::INT64, C::UINT_64) => Some(Kind::Uint64),
        (Physical::INT32, C::INT_8 | C::INT_16 | C::INT_32) => Some(Kind::Int32),
        (Physical::INT64, C::INT_64) => Some(Kind::Int64),
        // A column without any value has a type of its own.
        (physical, C::NONE) if matches!(logical, None | Some(LogicalType::Unknown)) => {
            match physical {
                Physical::INT32 => Some(Kind::Int32),
                Physical::INT64 => Some(Kind::Int64),
                Physical::BYTE_ARRAY => Some(Kind::Text),
                _ => None,
            }
        }
        (Physical::BYTE_ARRAY, C::UTF8 | C::ENUM | C::JSON) => Some(Kind::Text),
        _ => None,
    }
}

/// The type as the format writes it, on one line.
fn described(field: &Type) -> String {
    let mut text = Vec::new();
    print_schema(&mut text, field);
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    let text = text.trim_end_matches(';');
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
