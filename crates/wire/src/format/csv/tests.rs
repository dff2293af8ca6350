use std::collections::BTreeMap;

use score::{Dim, InputOptions, MissingValues, ModelSignature, TensorData, TensorSpec};

use super::*;

type Columns = BTreeMap<String, TensorData>;

fn signature(inputs: &[(&str, ElementType, usize)]) -> ModelSignature {
    let inputs = inputs.iter().map(|(name, ty, width)| TensorSpec {
        name: (*name).into(),
        element_type: *ty,
        shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(*width)]),
    });
    ModelSignature::of_tensors(inputs.collect(), vec![])
}

fn matrix(width: usize) -> ModelSignature {
    signature(&[("x", ElementType::Float32, width)])
}

fn read_as(
    signature: &ModelSignature,
    options: &BTreeMap<String, InputOptions>,
    content_type: &str,
    body: &str,
) -> Result<(Columns, bool), String> {
    let context = Context {
        signature,
        options,
        max_nesting: 16,
        max_rows: None,
        watch: &crate::watch::Unwatched,
        target: "body",
    };
    let header = header_of(content_type).map_err(|error| error.to_string())?;
    let tabs = TSV.has_type(content_type);
    let form = Form {
        header,
        separator: tabs.then_some(Separator::TAB),
        decimal: None,
    };
    let read = read(context, body.as_bytes(), form).map_err(|error| error.to_string())?;
    let inputs = read.inputs.into_iter();
    let inputs = inputs.map(|input| (input.name, input.tensor.into_parts().1));
    Ok((inputs.collect(), read.by_position))
}

fn read_plain(signature: &ModelSignature, body: &str) -> Result<Columns, String> {
    let read = read_as(signature, &BTreeMap::new(), "text/csv", body);
    read.map(|(columns, _)| columns)
}

fn read_one(width: usize, body: &str) -> Result<TensorData, String> {
    read_plain(&matrix(width), body).map(|mut columns| columns.remove("x").unwrap())
}

fn floats(values: &[f32]) -> Result<TensorData, String> {
    Ok(TensorData::Float32(values.to_vec()))
}

fn words(values: &[&str]) -> TensorData {
    TensorData::String(values.iter().map(|value| (*value).to_owned()).collect())
}

fn options(name: &str, options: InputOptions) -> BTreeMap<String, InputOptions> {
    BTreeMap::from([(name.to_owned(), options)])
}

fn named(columns: &[&str]) -> BTreeMap<String, InputOptions> {
    let columns = columns.iter().map(|name| (*name).to_owned()).collect();
    options(
        "x",
        InputOptions {
            columns,
            ..InputOptions::default()
        },
    )
}

#[test]
fn a_matrix_with_and_without_a_header() {
    let expected = floats(&[1.0, 2.5, -3.0, f32::INFINITY]);
    for body in [
        "1,2.5\n-3,Infinity\n",
        "a,b\r\n1, 2.5\r\n-3,Infinity",
        "1,2.5\r-3,inf\r",
    ] {
        assert_eq!(read_one(2, body), expected, "{body}");
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
    let read = read_plain(&signature, body).unwrap();
    assert_eq!(read["code"], words(&[" 012 ", "true", "a,\"b"]));
    assert_eq!(read["flag"], TensorData::Bool(vec![true, false, true]));
    let TensorData::Float64(x) = &read["x"] else {
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
        let read = read_plain(&signature, body).unwrap();
        assert_eq!(read["x"], TensorData::Int64(vec![1, 2]), "{body}");
    }
}

#[test]
fn columns_by_name_in_any_order_and_any_case() {
    let signature = signature(&[
        ("age", ElementType::Float32, 1),
        ("sex", ElementType::String, 1),
    ]);
    let expected = Columns::from([
        ("age".to_owned(), TensorData::Float32(vec![22.0])),
        ("sex".to_owned(), words(&["f, \"x\""])),
    ]);
    for body in [
        "sex,age\n\"f, \"\"x\"\"\",22\n",
        "SEX,Age\n\"f, \"\"x\"\"\",22\n",
        "22,\"f, \"\"x\"\"\"\n",
    ] {
        assert_eq!(read_plain(&signature, body), Ok(expected.clone()), "{body}");
    }
    for (body, expected) in [
        (
            "id,age,sex\n1,22,f\n",
            "the model has no input \"id\"; it takes \"age\" float32",
        ),
        ("age,age\n1,2\n", "\"age\" is given twice"),
        ("old,sex\n22,f\n", "no input \"old\""),
        (
            "22\n",
            "line 1 has 1 fields, separated by commas, where the model takes 2 columns",
        ),
    ] {
        let refusal = read_plain(&signature, body).unwrap_err();
        assert!(refusal.contains(expected), "{body}: {refusal}");
    }
}

#[test]
fn integers_are_exact_or_refused() {
    let read = |ty, cell: &str| {
        read_plain(&signature(&[("x", ty, 1)]), cell).map(|mut read| read.remove("x"))
    };
    for (cell, value) in [
        ("0012345678901234567", 12_345_678_901_234_567),
        ("+12345678901234567", 12_345_678_901_234_567),
        ("12345678901234567.", 12_345_678_901_234_567),
        ("-009223372036854775808", i64::MIN),
        ("09223372036854775807", i64::MAX),
        ("5.0", 5),
        ("1e3", 1000),
    ] {
        let expected = Ok(Some(TensorData::Int64(vec![value])));
        assert_eq!(read(ElementType::Int64, cell), expected, "{cell}");
    }
    let id = Ok(Some(TensorData::Uint64(vec![10_000_000_000_000_000_001])));
    assert_eq!(read(ElementType::Uint64, "010000000000000000001"), id);
    for (ty, cell, expected) in [
        (
            ElementType::Int64,
            "9223372036854775808",
            "out of range (-9223372036854775808 to 9223372036854775807)",
        ),
        (
            ElementType::Uint8,
            "300",
            "got 300, which is out of range (0 to 255)",
        ),
        (ElementType::Uint64, "-1", "out of range"),
        (
            ElementType::Int64,
            "5.5",
            "expected a whole number for int64, got 5.5",
        ),
        (
            ElementType::Int64,
            "4503599627370496.5",
            "expected a whole number",
        ),
        (
            ElementType::Int64,
            "5.0000000000000000001",
            "expected a whole number",
        ),
        (
            ElementType::Float32,
            "1e39",
            "got 1e39, which is out of range",
        ),
        (
            ElementType::Float64,
            "1e400",
            "got 1e400, which is out of range",
        ),
        (ElementType::Float16, "70000", "out of range"),
    ] {
        let refusal = read(ty, cell).unwrap_err();
        assert!(refusal.contains(expected), "{cell}: {refusal}");
    }
}

#[test]
fn floats_are_rounded_once() {
    // Halfway between two floats plus a little: a double on the way drops the little and rounds to even.
    let cell = "+01.00000017881393432617187499";
    assert_eq!(read_one(1, cell), floats(&[cell.parse().unwrap()]));
}

#[test]
fn the_content_type_tells_of_a_header() {
    let texts = signature(&[("x", ElementType::String, 1)]);
    let read = |content_type: &str, body: &str| {
        let read = read_as(&texts, &BTreeMap::new(), content_type, body);
        read.map(|(mut columns, _)| columns.remove("x").unwrap())
    };
    let review = "review\ngood\nbad\n";
    let rows = Ok(words(&["good", "bad"]));
    let lines = Ok(words(&["a\nb", "\n"]));
    assert_eq!(read("text/csv; header=absent", "\"a\nb\"\n\"\n\"\n"), lines);
    assert_eq!(read("text/csv; header=present", review), rows);
    assert_eq!(
        read("text/csv; charset=utf-8; Header=\"Present\"", review),
        rows
    );
    assert_eq!(
        read("text/csv; header=absent", "x\ny\n"),
        Ok(words(&["x", "y"]))
    );
    assert_eq!(read("text/csv", "X\ngood\nbad\n"), rows);
    assert_eq!(
        read("text/csv", "98101\ngood\n"),
        Ok(words(&["98101", "good"]))
    );
    for (content_type, body, expected) in [
        ("text/csv", review, "say text/csv; header=present"),
        ("text/csv", "good\n", "cannot be told"),
        (
            "text/csv; header=yes",
            review,
            "expected header=present or header=absent",
        ),
        ("text/csv; header=present", "x\n", "no row follows"),
        ("text/csv", "hello, world\n", "line 1 has 2 fields"),
        (
            "text/csv; header=absent",
            "a\n\"b\nc\n",
            "line 2: a quote is not closed",
        ),
        (
            "text/csv; header=absent",
            "\"5\" tv\"\n",
            "line 1: text follows a closing quote",
        ),
        (
            "text/csv; header=absent",
            "a\n\"x\ny\",z,\"w\"\nb\n\"c",
            "line 5: a quote is not closed",
        ),
    ] {
        let refusal = read(content_type, body).unwrap_err();
        assert!(
            refusal.contains(expected),
            "{content_type} {body}: {refusal}"
        );
    }
}

#[test]
fn numbers_that_count_up_may_be_a_header() {
    let refusal = read_one(3, "0,1,2\n5,6,7\n").unwrap_err();
    assert!(refusal.contains("as pandas numbers columns"), "{refusal}");
    assert_eq!(read_one(3, "0,2,1\n"), floats(&[0.0, 2.0, 1.0]));
    assert_eq!(read_one(2, "0,1\n"), floats(&[0.0, 1.0]));
    let said = |header: &str, body: &str| {
        let content_type = format!("text/csv; header={header}");
        read_as(&matrix(3), &BTreeMap::new(), &content_type, body).map(|(columns, by_position)| {
            assert!(!by_position);
            columns["x"].clone()
        })
    };
    assert_eq!(said("absent", "0,1,2\n"), floats(&[0.0, 1.0, 2.0]));
    assert_eq!(said("present", "2,0,1\n7,5,6\n"), floats(&[5.0, 6.0, 7.0]));
}

#[test]
fn named_columns_are_put_in_order() {
    let options = named(&["height", "weight", "x"]);
    let read = |content_type: &str, body: &str| {
        read_as(&matrix(3), &options, content_type, body).map(|(columns, by_position)| {
            assert!(!by_position);
            columns["x"].clone()
        })
    };
    let expected = floats(&[1.0, 2.0, 3.0]);
    for body in [
        "height,weight,x\n1,2,3\n",
        "X,weight,Height\n3,2,1\n",
        "weight;x;height\n2;3,0;1\n",
        "1,2,3\n",
    ] {
        assert_eq!(read("text/csv", body), expected, "{body}");
    }
    for (body, expected) in [
        (
            "height,weight,age\n1,2,3\n",
            "no input \"age\", and columns are missing: \"x\"; it takes \"x\" float32",
        ),
        ("height,x\n1,2\n", "columns are missing: \"weight\""),
        ("height,weight,x,id\n1,2,3,4\n", "no input \"id\""),
        ("a,b,c\n1,2,3\n", "no input \"a\", \"b\", \"c\""),
        (
            "height,weight,x\n1,tall,3\n",
            "body[0][1]: expected a number for float32, got \"tall\" (column \"weight\")",
        ),
    ] {
        for content_type in ["text/csv", "text/csv; header=present"] {
            let refusal = read(content_type, body).unwrap_err();
            assert!(refusal.contains(expected), "{body}: {refusal}");
        }
    }
}

#[test]
fn names_that_nothing_can_be_compared_with_are_told() {
    let read = |body: &str| read_as(&matrix(2), &BTreeMap::new(), "text/csv", body).unwrap();
    assert!(read("a,b\n1,2\n").1);
    assert!(!read("1,2\n").1);
}

#[test]
fn aliases_name_an_input() {
    let signature = signature(&[
        ("home_dest", ElementType::String, 1),
        ("fare", ElementType::Float32, 1),
    ]);
    let aliases = vec!["home.dest".to_owned()];
    let options = options(
        "home_dest",
        InputOptions {
            aliases,
            ..InputOptions::default()
        },
    );
    for body in [
        "fare,home.dest\n3,Bern\n",
        "home_dest,fare\nBern,3\n",
        "HOME.DEST,fare\nBern,3\n",
    ] {
        let (read, _) = read_as(&signature, &options, "text/csv", body).unwrap();
        assert_eq!(read["home_dest"], words(&["Bern"]), "{body}");
    }
    let twice = read_as(
        &signature,
        &options,
        "text/csv",
        "home_dest,home.dest\nBern,Bern\n",
    );
    assert!(
        twice
            .unwrap_err()
            .contains("input \"home_dest\" is given twice")
    );
}

#[test]
fn missing_values_are_nan_where_the_model_says_so() {
    let cells = [
        "", "NA", "null", "NULL", "#N/A", "<NA>", "n/a", "None", "-nan", " NA ",
    ];
    let missing = Some(MissingValues::Nan);
    let options = options(
        "x",
        InputOptions {
            missing,
            ..InputOptions::default()
        },
    );
    for cell in cells {
        let body = format!("1,{cell}\n{cell},2\n");
        let (read, _) = read_as(&matrix(2), &options, "text/csv", &body).unwrap();
        let TensorData::Float32(values) = &read["x"] else {
            panic!("no floats");
        };
        assert!(values[1].is_nan() && values[2].is_nan(), "{cell}");
        assert_eq!((values[0], values[3]), (1.0, 2.0));
    }
    let (read, _) = read_as(&matrix(2), &options, "text/csv", "NA,NA\n1,2\n").unwrap();
    assert_eq!(read["x"].len(), 4, "a row of missing values is no header");
    let refusal = read_one(2, "1,\n3,4\n").unwrap_err();
    assert!(
        refusal.contains("body[0][1]") && refusal.contains("missing = \"nan\""),
        "{refusal}"
    );
    assert!(read_as(&matrix(2), &options, "text/csv", "1,x\n").is_err());
}

mod separators;

#[test]
fn a_table_is_one_matrix_or_columns() {
    let of = |shapes: &[&[i64]]| {
        let inputs = shapes
            .iter()
            .map(|shape| crate::samples::spec("x", ElementType::Int64, shape));
        is_table(&ModelSignature::of_tensors(inputs.collect(), vec![]))
    };
    assert!(of(&[&[-1, 784]]));
    assert!(of(&[&[-1, 1], &[-1]]));
    assert!(!of(&[&[-1, 3, 2]]));
    assert!(!of(&[&[-1, 3], &[-1]]));
    assert!(!of(&[&[]]));
    assert!(!of(&[]));
    let undeclared = crate::samples::undeclared("x", ElementType::Int64);
    assert!(is_table(&ModelSignature::of_tensors(
        vec![undeclared],
        vec![]
    )));
}
