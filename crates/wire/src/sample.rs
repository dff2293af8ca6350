//! Requests of one row that a model can score as they are, in every dialect.

use score::{Dim, ElementType, KnownValues, ModelMetadata, NamedTensor, Shape, TensorSpec};
use serde_json::{Map, Value, json};

use crate::dialect::open_inference::OPEN_INFERENCE;
use crate::dialect::{Body, Dialect, azure_ml};
use crate::json::write::Nested;
use crate::{Declared, Limits, PayloadError, decode};

/// The most values of a sample. A larger one says less than the shape does, and makes the answer long.
const MAX_SAMPLE_ELEMENTS: usize = 10_000;

/// One row of an input; one row of one value if it declares no shape.
pub fn sample_shape(spec: &TensorSpec) -> Shape {
    let Some(dims) = &spec.shape else {
        return vec![1, 1];
    };
    let lengths = dims.iter().map(|dim| match dim {
        Dim::Fixed(n) => *n,
        Dim::Dynamic(_) => 1,
    });
    lengths.collect()
}

/// Sample rows that a file may have.
const MAX_SAMPLES: usize = 1000;

/// The tensors of sample rows, a JSON text with a list of them: each is what a row of `{"data": [...]}` is.
///
/// # Errors
/// What is wrong with which row, and what was expected.
pub fn read_samples(metadata: &ModelMetadata, rows: &str) -> Result<Vec<NamedTensor>, String> {
    if !rows.trim_start().starts_with('[') {
        return Err("expected a list of rows, as in {\"data\": [...]}".to_owned());
    }
    let body = format!("{{\"data\":{rows}}}");
    let limits = Limits {
        max_bytes: body.len(),
        max_nesting: 32,
        max_rows: MAX_SAMPLES,
    };
    match decode(body.as_bytes(), Declared::default(), metadata, limits) {
        Ok(Body::Rows(read)) if has_rows(&read.inputs) => Ok(read.inputs),
        Ok(_) => Err(format!("expected from 1 to {MAX_SAMPLES} rows")),
        Err(PayloadError::Invalid(error)) => Err(error.to_string()),
        Err(PayloadError::UnsupportedType(reason)) => Err(reason),
        Err(PayloadError::TooLarge | PayloadError::Stopped) => Err("they are too large".to_owned()),
    }
}

fn has_rows(inputs: &[NamedTensor]) -> bool {
    let mut rows = inputs.iter().map(|input| input.tensor.rows());
    rows.all(|rows| rows.is_none_or(|rows| (1..=MAX_SAMPLES).contains(&rows)))
}

/// The sample rows of a model as its file has them; none without such a file.
pub fn sample_rows(metadata: &ModelMetadata) -> Vec<Value> {
    let text = metadata.hints.samples.as_deref();
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// A request that the model can score as it is: its first sample, else one row of known categories, zeros, empty strings or
/// `false`. `None` for wide models.
pub fn sample_request(metadata: &ModelMetadata) -> Option<Value> {
    match sample_rows(metadata).into_iter().next() {
        Some(row) => Some(json!({ "data": [row] })),
        None => sample_in(&azure_ml::DATA, metadata),
    }
}

/// The same request in the Open Inference Protocol.
pub fn protocol_sample(metadata: &ModelMetadata) -> Option<Value> {
    sample_in(&OPEN_INFERENCE, metadata)
}

/// The same request in any dialect. `None` for wide models, and if the dialect cannot say it.
pub fn sample_in(dialect: &Dialect, metadata: &ModelMetadata) -> Option<Value> {
    let inputs = sample_values(metadata)?;
    filled(serde_json::from_str(dialect.sample).ok()?, &inputs)
}

/// The inputs of that request, each with the axis of rows. `None` for wide models.
pub(crate) fn sample_values(metadata: &ModelMetadata) -> Option<Vec<(&TensorSpec, Value)>> {
    let given = first_sample(metadata);
    let specs = metadata.signature.inputs.iter();
    let value = |spec: &TensorSpec| match &given {
        Some(given) => {
            let input = given.iter().find(|input| input.name == spec.name)?;
            let few = input.tensor.data().len() <= MAX_SAMPLE_ELEMENTS;
            few.then(|| serde_json::to_value(Nested::of(&input.tensor)).ok())?
        }
        None => one_row(spec, metadata.hints.categories.get(&spec.name)),
    };
    specs.map(|spec| Some((spec, value(spec)?))).collect()
}

fn first_sample(metadata: &ModelMetadata) -> Option<Vec<NamedTensor>> {
    let row = sample_rows(metadata).into_iter().next()?;
    read_samples(metadata, &json!([row]).to_string()).ok()
}

fn one_row(spec: &TensorSpec, categories: Option<&Vec<Option<KnownValues>>>) -> Option<Value> {
    let shape = sample_shape(spec);
    let count = score::element_count(&shape)?;
    let element = |column: usize| {
        let known = categories.and_then(|columns| columns.get(column)?.as_ref());
        let text = known.and_then(|known| known.texts.first());
        let number = known.and_then(|known| known.numbers.first());
        match (spec.element_type, text, number) {
            (ElementType::String, Some(text), _) => json!(text),
            (ElementType::Float32 | ElementType::Float64, _, Some(number)) => json!(number),
            (ElementType::Bool | ElementType::String, ..) | (.., None) => element_sample(spec),
            (.., Some(number)) => json!(*number as i64),
        }
    };
    if count > MAX_SAMPLE_ELEMENTS {
        return None;
    }
    let mut elements = (0..count).map(element);
    nested(&shape, &mut elements)
}

/// One element of an input.
pub(crate) fn element_sample(spec: &TensorSpec) -> Value {
    match spec.element_type {
        ElementType::Bool => json!(false),
        ElementType::String => json!(""),
        _ => json!(0),
    }
}

/// Elements in their shape.
fn nested(shape: &[usize], elements: &mut impl Iterator<Item = Value>) -> Option<Value> {
    let Some((length, inner)) = shape.split_first() else {
        return elements.next();
    };
    let parts = (0..*length).map(|_| nested(inner, elements));
    parts.collect::<Option<_>>().map(Value::Array)
}

/// A sample with values in place of the words that begin with `$` (see [`Dialect::sample`]).
fn filled(template: Value, inputs: &[(&TensorSpec, Value)]) -> Option<Value> {
    match template {
        Value::String(word) if word.starts_with('$') => part(&word, inputs),
        Value::Object(members) => {
            let members = members.into_iter();
            let members = members.map(|(name, value)| Some((name, filled(value, inputs)?)));
            Some(Value::Object(members.collect::<Option<_>>()?))
        }
        other => Some(other),
    }
}

fn part(word: &str, inputs: &[(&TensorSpec, Value)]) -> Option<Value> {
    let by_name = || object(inputs.iter().map(|(spec, value)| (*spec, value)));
    match (word, inputs) {
        ("$rows" | "$list" | "$cells", [(_, only)]) => Some(only.clone()),
        ("$names", [_]) => Some(json!([])),
        ("$rows" | "$columns", _) => Some(by_name()),
        ("$list" | "$records", _) => Some(json!([object(first_row(inputs)?)])),
        ("$cells", _) => {
            let row: Vec<&Value> = first_row(inputs)?.map(|(_, value)| value).collect();
            Some(json!([row]))
        }
        ("$names", _) => {
            let names: Vec<&str> = inputs.iter().map(|(spec, _)| spec.name.as_str()).collect();
            Some(json!(names))
        }
        ("$tensors", _) => Some(
            inputs
                .iter()
                .map(|(spec, value)| tensor(spec, value))
                .collect(),
        ),
        _ => None,
    }
}

fn object<'a>(values: impl Iterator<Item = (&'a TensorSpec, &'a Value)>) -> Value {
    let members = values.map(|(spec, value)| (spec.name.clone(), value.clone()));
    Value::Object(members.collect::<Map<_, _>>())
}

/// The first row of each input; `None` if an input has no rows.
fn first_row<'a>(
    inputs: &'a [(&'a TensorSpec, Value)],
) -> Option<impl Iterator<Item = (&'a TensorSpec, &'a Value)>> {
    let rows = inputs
        .iter()
        .map(|(spec, value)| Some((*spec, value.get(0)?)));
    let rows: Vec<_> = rows.collect::<Option<_>>()?;
    Some(rows.into_iter())
}

/// A tensor of the Open Inference Protocol.
fn tensor(spec: &TensorSpec, value: &Value) -> Value {
    json!({
        "name": spec.name,
        "datatype": spec.element_type.datatype(),
        "shape": sample_shape(spec),
        "data": value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{DIALECTS, keys::KEYS, texts::TEXTS};
    use crate::format::FORMATS;
    use crate::samples::{self, metadata, passengers, spec};
    use score::ModelSignature;

    #[test]
    fn the_protocols_example_has_one_row() {
        let x = spec("x", ElementType::Int8, &[-1, 2]);
        let example = protocol_sample(&metadata(ModelSignature::of_tensors(vec![x], vec![])));
        let input = json!({ "name": "x", "datatype": "INT8", "shape": [1, 2], "data": [[0, 0]] });
        assert_eq!(example, Some(json!({ "inputs": [input] })));
        let x = samples::undeclared("x", ElementType::Int8);
        let example = protocol_sample(&metadata(ModelSignature::of_tensors(vec![x], vec![])));
        let input = json!({ "name": "x", "datatype": "INT8", "shape": [1, 1], "data": [[0]] });
        assert_eq!(example, Some(json!({ "inputs": [input] })));
    }

    #[test]
    fn every_sample_is_read_by_its_own_dialect() {
        let one = |input| ModelSignature::of_tensors(vec![input], vec![]);
        for signature in [
            one(spec("x", ElementType::Float32, &[-1, 2])),
            one(spec("x", ElementType::Int64, &[-1, 1])),
            one(spec("text", ElementType::String, &[-1])),
            passengers(),
        ] {
            let metadata = metadata(signature);
            for dialect in DIALECTS {
                let takes_texts = metadata.signature.input("text").is_some();
                if std::ptr::eq(*dialect, &TEXTS) && !takes_texts {
                    continue;
                }
                let sample = sample_in(dialect, &metadata).unwrap().to_string();
                let limits = Limits {
                    max_bytes: sample.len(),
                    max_nesting: 8,
                    max_rows: 8,
                };
                let body = decode(sample.as_bytes(), Declared::default(), &metadata, limits);
                match body.unwrap_or_else(|error| panic!("{dialect:?}: {sample}: {error:?}")) {
                    Body::Keys(keys) => {
                        assert_eq!(keys, ["42"]);
                        assert!(std::ptr::eq(*dialect, &KEYS));
                    }
                    Body::Rows(read) => {
                        assert!(std::ptr::eq(read.answer.dialect, *dialect), "{sample}");
                        assert_eq!(read.inputs.len(), metadata.signature.inputs.len());
                    }
                }
            }
        }
    }

    #[test]
    fn known_categories_and_sample_rows_are_what_a_sample_has() {
        let mut metadata = metadata(passengers());
        let known = KnownValues {
            texts: vec!["female".into(), "male".into()],
            ..KnownValues::default()
        };
        let categories = &mut metadata.hints.categories;
        categories.insert("sex".into(), vec![Some(known)]);
        let sample = json!({ "data": { "age": [[0]], "sex": ["female"] } });
        assert_eq!(sample_request(&metadata), Some(sample));
        let rows = r#"[{"sex": "male", "age": 22.5}, {"sex": "female", "age": 1}]"#;
        metadata.hints.samples = Some(rows.into());
        let sample = json!({ "data": [{ "sex": "male", "age": 22.5 }] });
        assert_eq!(sample_request(&metadata), Some(sample));
        let sample = sample_in(&crate::dialect::mlflow::DATAFRAME_RECORDS, &metadata);
        let records = json!({ "dataframe_records": [{ "sex": "male", "age": [22.5] }] });
        assert_eq!(sample, Some(records));
        assert_eq!(
            read_samples(&metadata, rows).unwrap()[0].tensor.rows(),
            Some(2)
        );
        let wrong = |rows: &str| read_samples(&metadata, rows).unwrap_err();
        assert_eq!(
            wrong("{}"),
            "expected a list of rows, as in {\"data\": [...]}"
        );
        assert_eq!(wrong("[]"), "expected from 1 to 1000 rows");
        assert!(wrong(r#"[{"sex": "male", "age": "x"}]"#).contains("age"));
        assert!(!wrong("[1").is_empty());
    }

    #[test]
    fn a_dialect_of_rows_has_no_sample_for_an_input_without_rows() {
        let scalar = spec("factor", ElementType::Float64, &[]);
        let x = spec("x", ElementType::Float32, &[-1, 2]);
        let signature = ModelSignature::of_tensors(vec![x, scalar], vec![]);
        assert_eq!(
            sample_request(&metadata(signature.clone())),
            Some(json!({ "data": { "x": [[0, 0]], "factor": 0 } }))
        );
        assert_eq!(
            sample_in(
                &crate::dialect::mlflow::DATAFRAME_RECORDS,
                &metadata(signature)
            ),
            None
        );
    }

    /// What `page/src/table.ts` has to be.
    fn table_of_the_page() -> String {
        let dialects = DIALECTS
            .iter()
            .filter(|dialect| dialect.sample.contains('$'));
        let dialects = dialects.map(|dialect| {
            let sample: Value = serde_json::from_str(dialect.sample).unwrap();
            let label = format!("{}: {}", dialect.name, dialect.member);
            json!({ "label": label, "type": "application/json", "sample": sample, "under": dialect.under })
        });
        let formats = FORMATS.iter().filter_map(|format| {
            let (sample, label) = (format.sample?, format.content_types.first()?);
            Some(json!({ "label": label, "type": label, "sample": sample, "under": null }))
        });
        let rows: String = dialects
            .chain(formats)
            .map(|row| format!("  {row},\n"))
            .collect();
        format!(
            "// The dialects and formats that the page writes. The test the_page_has_the_table_of_dialects of the crate wire prints\n\
             // this file.\n\n\
             export const TABLE = [\n{rows}] as const;\n"
        )
    }

    #[test]
    fn the_page_has_the_table_of_dialects() {
        let expected = table_of_the_page();
        let same = include_str!("../../../page/src/table.ts") == expected;
        assert!(same, "page/src/table.ts: replace it by\n{expected}");
    }
}
