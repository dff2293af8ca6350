//! Comma-separated values: `text/csv`, with or without a header.

use std::borrow::Cow;

use score::{ElementType, ModelSignature, NamedTensor, ScoreError};

use super::tabular::{self, Context};

const TARGET: &str = "body";

/// Reads a table. Its first line is a header if it names the model's inputs, or holds no value at all while the model
/// takes numbers.
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
        .from_reader(body);
    let mut records = reader
        .records()
        .map(|record| record.map_err(|error| ScoreError::invalid(TARGET, error.to_string())));
    let first = records.next().transpose()?;
    let header = first.as_ref().filter(|record| is_header(record, signature));
    let inputs = signature.inputs.iter();
    let own: Vec<&str> = inputs.map(|spec| spec.name.as_str()).collect();
    let names: Vec<&str> = match header {
        Some(header) => header.iter().map(str::trim).collect(),
        None => own.clone(),
    };
    // One input takes all columns, whatever they are called.
    let types: Vec<Option<ElementType>> = match &signature.inputs[..] {
        [only] => vec![Some(only.element_type)],
        _ => names
            .iter()
            .map(|name| signature.input(name).map(|spec| spec.element_type))
            .collect(),
    };
    let mut rows = String::from("[");
    let data = first.iter().filter(|_| header.is_none()).cloned().map(Ok);
    for record in data.chain(records) {
        if rows.len() > 1 {
            rows.push(',');
        }
        push_row(&mut rows, &record?, &types);
    }
    rows.push(']');
    let context = Context {
        signature,
        max_nesting,
        target: TARGET,
    };
    match &signature.inputs[..] {
        [only] if only.dims().len() == 1 => tabular::read_columns(context, &own, &rows),
        [only]
            if only.shape.is_none()
                || header.is_none()
                || names.iter().any(|name| *name != only.name) =>
        {
            tabular::read_text(context, &rows)
        }
        _ => tabular::read_columns(context, &names, &rows),
    }
}

fn is_header(record: &csv::StringRecord, signature: &ModelSignature) -> bool {
    let named = record
        .iter()
        .all(|cell| signature.input(cell.trim()).is_some());
    let numeric = signature
        .inputs
        .iter()
        .all(|spec| spec.element_type.size().is_some());
    // One value among the words, and it is a row with a mistake, not a header.
    let words = record.iter().any(|cell| !cell.trim().is_empty());
    named || (numeric && words && !record.iter().any(is_value))
}

fn is_value(cell: &str) -> bool {
    let cell = cell.trim();
    let word = cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false");
    word || cell.parse::<f64>().is_ok()
}

/// One line as a JSON array. What is no number and no truth value becomes a string, so that no cell can break out of
/// its place. The last type is that of all further columns.
fn push_row(rows: &mut String, record: &csv::StringRecord, types: &[Option<ElementType>]) {
    rows.push('[');
    for (position, cell) in record.iter().enumerate() {
        if position > 0 {
            rows.push(',');
        }
        let ty = types.get(position).or(types.last()).copied().flatten();
        rows.push_str(&token(cell, ty));
    }
    rows.push(']');
}

/// The cell as JSON for a column of that type, in the spellings of pandas too. Texts stay as they are, blanks included.
fn token(cell: &str, ty: Option<ElementType>) -> Cow<'_, str> {
    let text = |text: &str| Cow::Owned(serde_json::Value::from(text).to_string());
    let plain = cell.trim();
    match ty {
        Some(ElementType::String) => text(cell),
        Some(ElementType::Bool) => match plain {
            "true" | "True" | "TRUE" => Cow::Borrowed("true"),
            "false" | "False" | "FALSE" => Cow::Borrowed("false"),
            other => text(other),
        },
        _ if serde_json::from_str::<serde_json::Number>(plain).is_ok() => Cow::Borrowed(plain),
        _ => match plain.parse::<f64>() {
            Ok(value) if value.is_nan() => text("NaN"),
            Ok(f64::INFINITY) => text("Infinity"),
            Ok(f64::NEG_INFINITY) => text("-Infinity"),
            // `.5`, `+1`: numbers everywhere but in JSON.
            Ok(value) => Cow::Owned(value.to_string()),
            Err(_) => text(plain),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use score::{Dim, TensorData, TensorSpec};

    fn signature(inputs: &[(&str, ElementType, usize)]) -> ModelSignature {
        let inputs = inputs.iter().map(|(name, ty, width)| TensorSpec {
            name: (*name).into(),
            element_type: *ty,
            shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(*width)]),
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
    fn cells_are_read_as_their_column_wants_them() {
        let signature = signature(&[
            ("code", ElementType::String, 1),
            ("flag", ElementType::Bool, 1),
            ("x", ElementType::Float64, 1),
        ]);
        let body = "code,flag,x\n 012 ,True,inf\ntrue,false,.5\n\"a,\"\"b\",TRUE,nan\n";
        let read = read(body.as_bytes(), &signature, 16).unwrap();
        let data = |index: usize| read[index].tensor.data().clone();
        let codes = [" 012 ", "true", "a,\"b"].map(str::to_owned).to_vec();
        assert_eq!(data(0), TensorData::String(codes));
        assert_eq!(data(1), TensorData::Bool(vec![true, false, true]));
        let TensorData::Float64(x) = data(2) else {
            panic!("no floats");
        };
        assert_eq!(x[..2], [f64::INFINITY, 0.5]);
        assert!(x[2].is_nan());
    }

    #[test]
    fn a_list_of_single_values() {
        let mut signature = signature(&[("x", ElementType::Int64, 1)]);
        signature.inputs[0].shape = Some(vec![Dim::Dynamic(None)]);
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
        assert!(read_one("1,\n3,4\n").unwrap_err().contains("body[0][1]"));
        assert!(read_one("1,NA\n3,4\n").unwrap_err().contains("got \"NA\""));
        assert!(read_one("1\n").unwrap_err().contains("got [1,1]"));
    }
}
