//! Rows that are stored in Redis hashes: one field for each column, its value as text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use score::{
    Dim, ElementType, InputOptions, ModelMetadata, NamedTensor, Shape, Tensor, TensorSpec,
};
use serde_json::Value;

use super::{Unfit, stacked};
use crate::json::element::{Element, with_element_type};
use crate::json::missing::is_missing_cell;

/// The fields that make up a row, and how to read them.
pub struct HashReader<'a> {
    specs: &'a [TensorSpec],
    inputs: &'a BTreeMap<String, InputOptions>,
    /// The fields of each input.
    fields: Vec<Vec<&'a str>>,
}

impl<'a> HashReader<'a> {
    /// The reader for a model whose options were checked when it was loaded.
    pub fn new(metadata: &'a ModelMetadata) -> Self {
        let specs = &metadata.signature.inputs;
        let fields = specs.iter();
        let fields = fields.map(|spec| metadata.options.fields_of(spec).unwrap_or_default());
        Self {
            fields: fields.collect(),
            inputs: &metadata.options.inputs,
            specs,
        }
    }

    /// The names of all fields, in the order in which [`HashReader::read`] takes their values.
    pub fn fields(&self) -> Vec<String> {
        let all = self.fields.iter().flatten();
        all.map(|field| (*field).to_owned()).collect()
    }

    /// Makes the tensors of all rows out of the values of the fields, one list for each key.
    ///
    /// # Errors
    /// [`Unfit`] names the first key and field that is missing or whose value does not fit.
    pub fn read(
        &self,
        keys: &[String],
        rows: &[Vec<Option<Bytes>>],
    ) -> Result<Vec<NamedTensor>, Unfit> {
        let mut columns: Vec<Vec<Tensor>> = vec![Vec::new(); self.specs.len()];
        for (key, row) in keys.iter().zip(rows) {
            let mut rest = &row[..];
            for ((column, spec), fields) in columns.iter_mut().zip(self.specs).zip(&self.fields) {
                let values;
                (values, rest) = rest.split_at(fields.len().min(rest.len()));
                let tensor = read_input(spec, self.inputs.get(&spec.name), fields, values);
                column.push(tensor.map_err(|expected| Unfit {
                    key: key.clone(),
                    expected,
                })?);
            }
        }
        Ok(stacked(self.specs, &columns))
    }
}

/// The one row of an input. The error says in which field a value was wrong, and what was expected.
fn read_input(
    spec: &TensorSpec,
    options: Option<&InputOptions>,
    fields: &[&str],
    values: &[Option<Bytes>],
) -> Result<Tensor, String> {
    let ty = spec.element_type;
    let takes_missing = options.is_some_and(|options| options.missing.is_some());
    let wrong = |field: &str| format!("{ty} as text in the field {field:?} of the hash");
    let (shape, data) = with_element_type!(ty, T => {
        let elements = fields.iter().zip(values).map(|(field, value)| {
            let value = value.as_ref();
            let value = value.ok_or_else(|| format!("{}, which it lacks", wrong(field)))?;
            let element = token(value, ty).and_then(|token| T::parse(&token).ok());
            // An absent field may be misspelt in model.toml; an empty field was written empty.
            let missing = || <T as Element>::NAN.filter(|_| takes_missing && is_missing_cell(value));
            element.or_else(missing).ok_or_else(|| wrong(field))
        });
        let elements: Result<Vec<T>, String> = elements.collect();
        elements.map(|elements| (row_shape(spec, fields.len()), elements))
    })?;
    Tensor::new(shape, data).map_err(|_| format!("{} fields", fields.len()))
}

/// The shape of one row with `count` values.
fn row_shape(spec: &TensorSpec, count: usize) -> Shape {
    let axes = spec.dims().get(1..).unwrap_or_default();
    let fixed = axes.iter().filter_map(|axis| match axis {
        Dim::Fixed(length) => Some(*length),
        Dim::Dynamic(_) => None,
    });
    let free = count.checked_div(fixed.product()).unwrap_or_default();
    let lengths = axes.iter().map(|axis| match axis {
        Dim::Fixed(length) => *length,
        Dim::Dynamic(_) => free,
    });
    std::iter::once(1).chain(lengths).collect()
}

/// A value as a JSON token, in the spellings of the clients that write hashes: .NET's has 1 and 0 for truth values,
/// Python's float has `nan` and `inf`. Texts stay as they are.
fn token(value: &[u8], ty: ElementType) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?;
    let plain = text.trim();
    Some(Cow::Borrowed(match ty {
        // The model cannot receive such a value.
        ElementType::String if text.contains('\0') => return None,
        ElementType::String => return Some(Cow::Owned(Value::from(text).to_string())),
        ElementType::Bool => match plain {
            "1" | "true" | "True" | "TRUE" => "true",
            "0" | "false" | "False" | "FALSE" => "false",
            _ => return None,
        },
        _ => match plain.to_ascii_lowercase().as_str() {
            "nan" => "\"NaN\"",
            "inf" | "+inf" | "infinity" => "\"Infinity\"",
            "-inf" | "-infinity" => "\"-Infinity\"",
            _ => plain,
        },
    }))
}

#[cfg(test)]
mod tests {
    use score::{ModelSignature, TensorData};

    use super::*;
    use crate::samples::{metadata, spec};

    fn model(inputs: Vec<TensorSpec>, options: &str) -> ModelMetadata {
        let mut metadata = metadata(ModelSignature::of_tensors(inputs, vec![]));
        metadata.options = toml_options(options);
        metadata
    }

    fn toml_options(columns: &str) -> score::ModelOptions {
        let mut options = score::ModelOptions::default();
        let names = columns.split(',').filter(|name| !name.is_empty());
        let input = score::InputOptions {
            columns: names.map(str::to_owned).collect(),
            ..Default::default()
        };
        options.inputs.insert("x".into(), input);
        options
    }

    fn read(metadata: &ModelMetadata, rows: &[&[Option<&str>]]) -> Result<Vec<TensorData>, String> {
        let keys: Vec<String> = (0..rows.len()).map(|n| format!("k{n}")).collect();
        let bytes =
            |value: &Option<&str>| value.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let rows: Vec<Vec<_>> = rows
            .iter()
            .map(|row| row.iter().map(bytes).collect())
            .collect();
        let read = HashReader::new(metadata).read(&keys, &rows);
        let data = |named: NamedTensor| named.tensor.into_parts().1;
        read.map(|read| read.into_iter().map(data).collect())
            .map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn fields_are_columns_or_inputs_of_one_value() {
        let inputs = vec![
            spec("x", ElementType::Float32, &[-1, 2]),
            spec("n", ElementType::Int64, &[-1]),
            spec("flag", ElementType::Bool, &[-1, 1]),
            spec("name", ElementType::String, &[-1, 1]),
        ];
        let model = model(inputs, "height,weight");
        assert_eq!(
            HashReader::new(&model).fields(),
            ["height", "weight", "n", "flag", "name"]
        );
        let rows: [&[Option<&str>]; 2] = [
            &[
                Some("1.5"),
                Some("-inf"),
                Some("9007199254740993"),
                Some("1"),
                Some(" \"käse\" "),
            ],
            &[
                Some(" 2e0\n"),
                Some("3"),
                Some("4.0"),
                Some("False"),
                Some(""),
            ],
        ];
        let expected = vec![
            TensorData::Float32(vec![1.5, f32::NEG_INFINITY, 2.0, 3.0]),
            TensorData::Int64(vec![9_007_199_254_740_993, 4]),
            TensorData::Bool(vec![true, false]),
            TensorData::String(vec![" \"käse\" ".into(), String::new()]),
        ];
        assert_eq!(read(&model, &rows), Ok(expected));
    }

    #[test]
    fn a_free_axis_is_as_long_as_the_columns_are_many() {
        let model = model(vec![spec("x", ElementType::Float32, &[-1, -1])], "a,b,c");
        let rows = [Bytes::from("1"), Bytes::from("2"), Bytes::from("nan")].map(Some);
        let read = HashReader::new(&model)
            .read(&["k".to_owned()], &[rows.to_vec()])
            .unwrap();
        assert_eq!(read[0].tensor.shape(), [1, 3]);
    }

    #[test]
    fn values_that_are_missing_are_nan_where_the_model_takes_them() {
        let mut model = model(vec![spec("x", ElementType::Float32, &[-1, 2])], "a,b");
        let row = [&[Some(" "), Some("None")][..]];
        assert!(read(&model, &row).is_err());
        let input = model.options.inputs.get_mut("x").unwrap();
        input.missing = Some(score::MissingValues::Nan);
        let read_row = read(&model, &row).map(|read| format!("{read:?}"));
        assert_eq!(read_row.as_deref(), Ok("[Float32([NaN, NaN])]"));
        for wrong in [[Some("1"), None], [Some("1"), Some("none of it")]] {
            assert!(read(&model, &[&wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_field_that_is_missing_or_wrong_is_named_but_not_quoted() {
        let model = model(
            vec![spec("x", ElementType::Float32, &[-1, 2])],
            "height,weight",
        );
        let missing = read(&model, &[&[Some("1"), None]]).unwrap_err();
        let expected = r#"the features stored for "k0" do not fit: expected float32 as text in the field "weight" of the hash"#;
        assert_eq!(missing, format!("{expected}, which it lacks"));
        for wrong in ["5314159x", "", "1,5", "[1]", "1e39"] {
            let error = read(
                &model,
                &[&[Some("1"), Some("2")], &[Some("1"), Some(wrong)]],
            );
            assert_eq!(error.unwrap_err(), expected.replace("k0", "k1"), "{wrong}");
        }
    }
}
