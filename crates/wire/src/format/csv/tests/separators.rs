//! What separates fields, and how numbers are written then.

use super::*;

#[test]
fn the_first_line_shows_what_separates() {
    for (width, body, expected) in [
        (4, "1;2;3;4", &[1.0, 2.0, 3.0, 4.0][..]),
        (4, "a;b;c;d\n1;2;3;4\n", &[1.0, 2.0, 3.0, 4.0]),
        (4, "a;b;c;d\n1,5;2;3;4\n", &[1.5, 2.0, 3.0, 4.0]),
        (2, "1,5;2,5\n", &[1.5, 2.5]),
        (2, "1,5;2\n", &[1.5, 2.0]),
        (2, "1.5;2.5\n", &[1.5, 2.5]),
        (2, "1.5\t2.5\n", &[1.5, 2.5]),
        (2, "sep=;\n1,5;2\n", &[1.5, 2.0]),
        (2, "sep=,\r\n1.5,2\r\n", &[1.5, 2.0]),
        (2, "\"1.5\";\"2\"\n", &[1.5, 2.0]),
    ] {
        assert_eq!(read_one(width, body), floats(expected), "{body}");
    }
    let texts = signature(&[("x", ElementType::String, 1)]);
    let body = "x\ngood; very good\n";
    assert_eq!(
        read_plain(&texts, body).unwrap()["x"],
        words(&["good; very good"])
    );
}

#[test]
fn numbers_are_never_read_by_a_guess() {
    for (width, body, expected) in [
        (
            2,
            "1,5\t2,5\n",
            "decimal commas are read only where semicolons separate",
        ),
        (
            2,
            "1,5\t2,5\n3\t4\n",
            "line 1: expected a number, got \"1,5\"",
        ),
        (2, "\"1,5\",\"2,5\"\n3,4\n", "decimal commas"),
        (
            2,
            "1 000,2 000\n3,4\n",
            "body[0][0]: expected a number for float32, got \"1 000\"",
        ),
        (2, "12%,5%\n3,4\n", "body[0][0]: expected a number"),
        (
            2,
            "1.5;2\n3,5;4\n",
            "line 2: \"3,5\" where other numbers have the other decimal sign",
        ),
        (2, "1.234,5;2\n", "the separator is in doubt"),
        (3, "1,5;2,5\n", "line 1: expected a number, got \"5;2\""),
        (
            1,
            "1,5\n",
            "line 1 has 2 fields, separated by commas, where the model takes 1 columns",
        ),
        (1, "1;5\n2;6\n", "separator was taken to be commas"),
        (
            2,
            "1;2\n3\n",
            "line 2 has 1 fields where the first line has 2, separated by semicolons",
        ),
        (2, "a,b;c\td\n1,2;3\n", "the separator is in doubt"),
    ] {
        let refusal = read_one(width, body).unwrap_err();
        assert!(refusal.contains(expected), "{body}: {refusal}");
    }
    let texts = signature(&[("a", ElementType::String, 1), ("b", ElementType::String, 1)]);
    let refusal = read_plain(&texts, "x, y;z\n").unwrap_err();
    assert!(refusal.contains("the separator is in doubt"), "{refusal}");
    let mixed = signature(&[
        ("a", ElementType::String, 1),
        ("b", ElementType::Float32, 1),
    ]);
    let read = read_plain(&mixed, "Rome, Italy;1,5\n").unwrap();
    assert_eq!(read["a"], words(&["Rome, Italy"]));
}

#[test]
fn tabs_separate_where_the_content_type_says_so() {
    let read = |body: &str| {
        read_as(
            &matrix(2),
            &BTreeMap::new(),
            "text/tab-separated-values",
            body,
        )
    };
    assert_eq!(
        read("1\t2\n").unwrap().0["x"],
        TensorData::Float32(vec![1.0, 2.0])
    );
    assert!(read("1,2\n").unwrap_err().contains("separated by tabs"));
}

#[test]
fn no_cell_breaks_out_of_its_place() {
    let error = read_one(2, "1,2\n\"1],[2\",3\n").unwrap_err();
    assert!(error.contains("line 2: expected a number"), "{error}");
    let error = read_one(2, "1,2\n\"1]}[2\",3\n").unwrap_err();
    assert!(error.contains("body[1][0]: expected a number"), "{error}");
    assert!(
        read_one(2, "1,NA\n3,4\n")
            .unwrap_err()
            .contains("got \"NA\"")
    );
    assert!(read_one(2, "").unwrap_err().contains("the table is empty"));
}
