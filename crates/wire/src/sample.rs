//! Requests of one row that a model can score as they are, in every dialect.

use score::{Dim, ElementType, ModelSignature, Shape, TensorSpec};
use serde_json::{Map, Value, json};

use crate::dialect::open_inference::OPEN_INFERENCE;
use crate::dialect::{Dialect, azure_ml};

/// The most values of a sample. A larger one says less than the shape does, and makes the answer long.
pub(crate) const MAX_SAMPLE_ELEMENTS: usize = 10_000;

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

/// A request that the model can score as it is: one row of zeros, empty strings or `false`. `None` for wide models.
pub fn sample_request(signature: &ModelSignature) -> Option<Value> {
    sample_in(&azure_ml::DATA, signature)
}

/// The same request in the Open Inference Protocol.
pub fn protocol_sample(signature: &ModelSignature) -> Option<Value> {
    sample_in(&OPEN_INFERENCE, signature)
}

/// The same request in any dialect. `None` for wide models, and if the dialect cannot say it.
pub fn sample_in(dialect: &Dialect, signature: &ModelSignature) -> Option<Value> {
    let specs = signature.inputs.iter();
    let inputs: Vec<(&TensorSpec, Value)> = specs
        .map(|spec| Some((spec, one_row(spec)?)))
        .collect::<Option<_>>()?;
    filled(serde_json::from_str(dialect.sample).ok()?, &inputs)
}

fn one_row(spec: &TensorSpec) -> Option<Value> {
    let shape = sample_shape(spec);
    let count = score::element_count(&shape)?;
    let nest = |inner, length: &usize| Value::Array(vec![inner; *length]);
    (count <= MAX_SAMPLE_ELEMENTS).then(|| shape.iter().rev().fold(element_sample(spec), nest))
}

/// One element of an input.
pub(crate) fn element_sample(spec: &TensorSpec) -> Value {
    match spec.element_type {
        ElementType::Bool => json!(false),
        ElementType::String => json!(""),
        _ => json!(0),
    }
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
    use crate::dialect::{Body, DIALECTS, keys::KEYS};
    use crate::format::FORMATS;
    use crate::samples::{self, metadata, passengers, spec};
    use crate::{Declared, Limits, decode};

    #[test]
    fn the_protocols_example_has_one_row() {
        let x = spec("x", ElementType::Int8, &[-1, 2]);
        let example = protocol_sample(&ModelSignature::of_tensors(vec![x], vec![]));
        let input = json!({ "name": "x", "datatype": "INT8", "shape": [1, 2], "data": [[0, 0]] });
        assert_eq!(example, Some(json!({ "inputs": [input] })));
        let x = samples::undeclared("x", ElementType::Int8);
        let example = protocol_sample(&ModelSignature::of_tensors(vec![x], vec![]));
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
                let sample = sample_in(dialect, &metadata.signature).unwrap().to_string();
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
    fn a_dialect_of_rows_has_no_sample_for_an_input_without_rows() {
        let scalar = spec("factor", ElementType::Float64, &[]);
        let x = spec("x", ElementType::Float32, &[-1, 2]);
        let signature = ModelSignature::of_tensors(vec![x, scalar], vec![]);
        assert_eq!(
            sample_request(&signature),
            Some(json!({ "data": { "x": [[0, 0]], "factor": 0 } }))
        );
        assert_eq!(
            sample_in(&crate::dialect::mlflow::DATAFRAME_RECORDS, &signature),
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
