//! An output of the model as a column of its own type. Lists are lists of any depth; objects are JSON.

use std::io;
use std::str::FromStr;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;
use parquet::schema::types::{Type, TypePtr};
use score::{ElementType, ModelMetadata, OutputForm, OutputSpec, quoted};
use serde_json::value::RawValue;

/// The values of an output that are in no row group yet.
#[derive(Debug)]
pub(super) struct Output {
    name: String,
    kind: Kind,
    /// Lists around each value.
    depth: usize,
    values: Values,
    defined: Vec<i16>,
    repeated: Vec<i16>,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    /// Its bits, and whether it has a sign.
    Integer(i8, bool),
    Float,
    Double,
    Text,
    /// Objects, and what has no one depth, as texts: some tools read columns marked as JSON as bytes.
    Json,
}

#[derive(Debug)]
enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>, usize),
}

impl Kind {
    fn of(ty: ElementType) -> Self {
        use ElementType as E;
        match ty {
            E::Bool => Self::Bool,
            E::Int8 => Self::Integer(8, true),
            E::Int16 => Self::Integer(16, true),
            E::Int32 => Self::Integer(32, true),
            E::Int64 => Self::Integer(64, true),
            E::Uint8 => Self::Integer(8, false),
            E::Uint16 => Self::Integer(16, false),
            E::Uint32 => Self::Integer(32, false),
            E::Uint64 => Self::Integer(64, false),
            // No tool but a few reads columns of halves.
            E::Float16 | E::BFloat16 | E::Float32 => Self::Float,
            E::Float64 => Self::Double,
            E::String => Self::Text,
        }
    }

    fn values(self) -> Values {
        match self {
            Self::Bool => Values::Bool(Vec::new()),
            Self::Integer(64, _) => Values::Int64(Vec::new()),
            Self::Integer(..) => Values::Int32(Vec::new()),
            Self::Float => Values::Float(Vec::new()),
            Self::Double => Values::Double(Vec::new()),
            Self::Text | Self::Json => Values::Bytes(Vec::new(), 0),
        }
    }
}

impl Output {
    /// As the model declares it.
    pub(super) fn new(output: &OutputSpec, metadata: &ModelMetadata) -> Self {
        let tensor = match output.form {
            OutputForm::Tensor(at) => metadata.signature.outputs.get(at),
            _ => None,
        };
        let kind = tensor.map_or(Kind::Json, |tensor| Kind::of(tensor.element_type));
        let axes = tensor
            .and_then(|tensor| tensor.shape.as_ref())
            .map_or(0, Vec::len);
        Self {
            name: output.name.clone(),
            kind,
            depth: axes.saturating_sub(1),
            values: kind.values(),
            defined: Vec::new(),
            repeated: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Looks at the first result: a model's labels are texts in the stead of numbers, and not every model declares its shapes.
    pub(super) fn look_at(&mut self, json: &str) {
        if self.kind == Kind::Json {
            return;
        }
        let inner = json.trim_start_matches('[');
        let is_special = ["\"NaN\"", "\"Infinity\"", "\"-Infinity\""];
        let is_special = is_special.iter().any(|word| inner.starts_with(word));
        match inner.as_bytes().first() {
            None | Some(b']') => return,
            Some(b'{') => self.kind = Kind::Json,
            Some(b'"') if !is_special || !matches!(self.kind, Kind::Float | Kind::Double) => {
                self.kind = Kind::Text;
            }
            _ => {}
        }
        self.depth = match self.kind {
            Kind::Json => 0,
            _ => json.len() - inner.len(),
        };
        self.values = self.kind.values();
    }

    /// The column in the schema of the file.
    ///
    /// # Errors
    /// If the format has no such column.
    pub(super) fn field(&self) -> Result<TypePtr, ParquetError> {
        let physical = match &self.values {
            Values::Bool(_) => Physical::BOOLEAN,
            Values::Int32(_) => Physical::INT32,
            Values::Int64(_) => Physical::INT64,
            Values::Float(_) => Physical::FLOAT,
            Values::Double(_) => Physical::DOUBLE,
            Values::Bytes(..) => Physical::BYTE_ARRAY,
        };
        let logical = match self.kind {
            Kind::Integer(bit_width, is_signed) => Some(LogicalType::integer(bit_width, is_signed)),
            Kind::Text | Kind::Json => Some(LogicalType::String),
            _ => None,
        };
        let name = |level: usize| {
            if level == 0 {
                &self.name[..]
            } else {
                "element"
            }
        };
        let value = Type::primitive_type_builder(name(self.depth), physical);
        let value = value.with_repetition(Repetition::OPTIONAL);
        let mut field = Arc::new(value.with_logical_type(logical).build()?);
        for level in (0..self.depth).rev() {
            let list = Type::group_type_builder("list").with_repetition(Repetition::REPEATED);
            let list = list.with_fields(vec![field]).build()?;
            let group = Type::group_type_builder(name(level));
            let group = group.with_repetition(Repetition::OPTIONAL);
            let group = group.with_logical_type(Some(LogicalType::List));
            field = Arc::new(group.with_fields(vec![Arc::new(list)]).build()?);
        }
        Ok(field)
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Bool(values) => values.len(),
            Values::Int32(values) => 4 * values.len(),
            Values::Int64(values) => 8 * values.len(),
            Values::Float(values) => 4 * values.len(),
            Values::Double(values) => 8 * values.len(),
            Values::Bytes(values, bytes) => bytes + size_of::<ByteArray>() * values.len(),
        };
        values + 2 * (self.defined.len() + self.repeated.len())
    }

    /// Takes the value of the next row.
    ///
    /// # Errors
    /// If it does not fit the column.
    pub(super) fn push(&mut self, json: &str) -> io::Result<()> {
        self.push_at(json, 0, 0).ok_or_else(|| {
            let (name, found) = (quoted(&self.name), quoted(json));
            io::Error::other(format!("output {name}: {found} does not fit its column"))
        })
    }

    /// Takes a value within so many lists, and its repetition level. Each list and each value may be missing: two definition
    /// levels for a list, one for what it has.
    fn push_at(&mut self, json: &str, level: usize, repeated: i16) -> Option<()> {
        let mut defined = 2 * i16::try_from(level).ok()?;
        if json != "null" && level < self.depth {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            for (at, element) in elements.iter().enumerate() {
                let repeated = if at == 0 {
                    repeated
                } else {
                    i16::try_from(level).ok()? + 1
                };
                self.push_at(element.get(), level + 1, repeated)?;
            }
            if !elements.is_empty() {
                return Some(());
            }
            defined += 1;
        } else if json != "null" {
            self.push_value(json)?;
            defined += 1;
        }
        self.defined.push(defined);
        if self.depth > 0 {
            self.repeated.push(repeated);
        }
        Some(())
    }

    fn push_value(&mut self, json: &str) -> Option<()> {
        match &mut self.values {
            Values::Bool(values) => values.push(json.parse().ok()?),
            Values::Int32(values) => values.push(match self.kind {
                Kind::Integer(_, false) => json.parse::<u32>().ok()?.cast_signed(),
                _ => json.parse().ok()?,
            }),
            Values::Int64(values) => values.push(match self.kind {
                Kind::Integer(_, false) => json.parse::<u64>().ok()?.cast_signed(),
                _ => json.parse().ok()?,
            }),
            Values::Float(values) => values.push(number(json)?),
            Values::Double(values) => values.push(number(json)?),
            Values::Bytes(values, bytes) => {
                let text = match self.kind {
                    Kind::Text => serde_json::from_str(json).ok()?,
                    _ => json.to_owned(),
                };
                *bytes += text.len();
                values.push(ByteArray::from(text.into_bytes()));
            }
        }
        Some(())
    }

    /// Writes the values as the column of a row group, and has none then.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn write(
        &mut self,
        mut column: SerializedColumnWriter<'_>,
    ) -> Result<(), ParquetError> {
        let defined = Some(&self.defined[..]);
        let repeated = (self.depth > 0).then_some(&self.repeated[..]);
        match &self.values {
            Values::Bool(values) => column
                .typed::<BoolType>()
                .write_batch(values, defined, repeated),
            Values::Int32(values) => column
                .typed::<Int32Type>()
                .write_batch(values, defined, repeated),
            Values::Int64(values) => column
                .typed::<Int64Type>()
                .write_batch(values, defined, repeated),
            Values::Float(values) => column
                .typed::<FloatType>()
                .write_batch(values, defined, repeated),
            Values::Double(values) => column
                .typed::<DoubleType>()
                .write_batch(values, defined, repeated),
            Values::Bytes(values, _) => column
                .typed::<ByteArrayType>()
                .write_batch(values, defined, repeated),
        }?;
        column.close()?;
        self.values = self.kind.values();
        self.defined.clear();
        self.repeated.clear();
        Ok(())
    }
}

/// A number; those that JSON does not have are words.
fn number<T: FromStr>(json: &str) -> Option<T> {
    json.trim_matches('"').parse().ok()
}
