//! Comma-separated values: `text/csv`, with or without a header.

use std::borrow::Cow;

use score::{ModelSignature, NamedTensor, ScoreError};

use super::tabular::{self, Context};

const TARGET: &str = "body";

/// Reads a table. Its first line is a header if it names the model's inputs or holds anything that is not a number
/// while the model takes numbers.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the place; lines are counted without the header, from 0.
pub(super) fn read(
    body: &[u8],
    signature: &ModelSignature,
    max_nesting: usize,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(body);
    let mut header = None;
    let mut rows = String::from("[");
    for (line, record) in reader.records().enumerate() {
        let record = record.map_err(|error| ScoreError::invalid(TARGET, error.to_string()))?;
        if line == 0 && is_header(&record, signature) {
            header = Some(record);
            continue;
        }
        if rows.len() > 1 {
            rows.push(',');
        }
        push_row(&mut rows, &record);
    }
    rows.push(']');
    let context = Context {
        signature,
        max_nesting,
        target: TARGET,
    };
    let inputs = signature.inputs.iter();
    let own: Vec<&str> = inputs.map(|spec| spec.name.as_str()).collect();
    let names: Vec<&str> = match &header {
        Some(header) => header.iter().collect(),
        None => own.clone(),
    };
    match &signature.inputs[..] {
        // A list of single values, whatever the column is called.
        [only] if only.shape.len() == 1 => tabular::read_columns(context, &own, &rows),
        // One matrix, whatever its columns are called.
        [only] if header.is_none() || names.iter().any(|name| *name != only.name) => {
            tabular::read_text(context, &rows)
        }
        _ => tabular::read_columns(context, &names, &rows),
    }
}

fn is_header(record: &csv::StringRecord, signature: &ModelSignature) -> bool {
    let named = record.iter().all(|cell| signature.input(cell).is_some());
    let numeric = signature
        .inputs
        .iter()
        .all(|spec| spec.element_type.size().is_some());
    named || (numeric && record.iter().any(|cell| !is_value(cell)))
}

fn is_value(cell: &str) -> bool {
    cell.parse::<f64>().is_ok() || matches!(cell, "true" | "false")
}

/// One line as a JSON array. What JSON would read as something else than a number or a truth value becomes a string,
/// so that no cell can break out of its place.
fn push_row(rows: &mut String, record: &csv::StringRecord) {
    rows.push('[');
    for (position, cell) in record.iter().enumerate() {
        if position > 0 {
            rows.push(',');
        }
        rows.push_str(&token(cell));
    }
    rows.push(']');
}

fn token(cell: &str) -> Cow<'_, str> {
    let plain = matches!(cell, "true" | "false")
        || serde_json::from_str::<serde_json::Number>(cell).is_ok();
    if plain {
        Cow::Borrowed(cell)
    } else {
        Cow::Owned(serde_json::Value::from(cell).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use score::{Dim, ElementType, TensorData, TensorSpec};

    fn signature(inputs: &[(&str, ElementType, usize)]) -> ModelSignature {
        let inputs = inputs.iter().map(|(name, ty, width)| TensorSpec {
            name: (*name).into(),
            element_type: *ty,
            shape: vec![Dim::Dynamic(None), Dim::Fixed(*width)],
        });
        ModelSignature::of_tensors(inputs.collect(), vec![])
    }

    fn read_one(body: &str) -> Result<TensorData, String> {
        let signature = signature(&[("x", ElementType::Float32, 2)]);
        let mut read = read(body.as_bytes(), &signature, 16).map_err(|e| e.to_string())?;
        Ok(read.remove(0).tensor.into_parts().1)
    }

    #[test]
    fn a_matrix_with_and_without_a_header() {
        let expected = Ok(TensorData::Float32(vec![1.0, 2.5, -3.0, f32::INFINITY]));
        for body in ["1,2.5\n-3,Infinity\n", "a,b\r\n1, 2.5\r\n-3,Infinity"] {
            assert_eq!(read_one(body), expected, "{body}");
        }
    }

    #[test]
    fn a_list_of_single_values() {
        let mut signature = signature(&[("x", ElementType::Int64, 1)]);
        signature.inputs[0].shape.pop();
        for body in ["1\n2\n", "x\n1\n2\n", "anything\n1\n2\n"] {
            let read = read(body.as_bytes(), &signature, 16).unwrap();
            assert_eq!(
                read[0].tensor.data(),
                &TensorData::Int64(vec![1, 2]),
                "{body}"
            );
        }
    }

    #[test]
    fn columns_by_name_in_any_order() {
        let signature = signature(&[
            ("age", ElementType::Float32, 1),
            ("sex", ElementType::String, 1),
        ]);
        let read = |body: &str| {
            let mut read = read(body.as_bytes(), &signature, 16).unwrap();
            read.sort_by(|a, b| a.name.cmp(&b.name));
            read.into_iter()
                .map(|input| input.tensor.into_parts().1)
                .collect::<Vec<_>>()
        };
        let expected = vec![
            TensorData::Float32(vec![22.0]),
            TensorData::String(vec!["f, \"x\"".into()]),
        ];
        assert_eq!(read("sex,age\n\"f, \"\"x\"\"\",22\n"), expected);
        assert_eq!(read("22,\"f, \"\"x\"\"\"\n"), expected);
    }

    #[test]
    fn no_cell_breaks_out_of_its_place() {
        let error = read_one("1,2\n\"1],[2\",3\n").unwrap_err();
        assert!(error.contains("body[1][0]: expected a number"), "{error}");
        assert!(read_one("1,2\n3\n").is_err());
        assert!(read_one("1\n").unwrap_err().contains("got [1,1]"));
    }
}
