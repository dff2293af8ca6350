//! `handler score` with Parquet files: those of other programs, damaged ones, and what becomes of results.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use functions_host::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parquet::data_type::{ByteArrayType, DataType, FloatType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::printer::print_schema;

use crate::score_command::{Ended, Folder};
use crate::support::app_root::repository;

impl Folder {
    fn take(&self, name: &str) {
        let file = repository().join("tests/data/parquet").join(name);
        fs::copy(file, self.path(name)).unwrap();
    }

    /// Rows as the crate prints them.
    fn rows(&self, name: &str) -> Vec<String> {
        let reader = SerializedFileReader::new(File::open(self.path(name)).unwrap()).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        rows.map(|row| row.unwrap().to_string()).collect()
    }

    fn schema(&self, name: &str) -> String {
        let reader = SerializedFileReader::new(File::open(self.path(name)).unwrap()).unwrap();
        let mut text = Vec::new();
        print_schema(&mut text, reader.metadata().file_metadata().schema());
        let text = String::from_utf8(text).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn refusals(&self, name: &str) -> Vec<(u64, String)> {
        let lines = self.json(&format!("{name}.errors.jsonl"));
        let told = lines.iter().map(|error| {
            let message = error["reason"]["message"].as_str().unwrap().to_owned();
            (error["line"].as_u64().unwrap(), message)
        });
        told.collect()
    }

    /// A file with row groups of `groups` rows, whose columns the closure writes one after the other.
    fn parquet(
        &self,
        name: &str,
        schema: &str,
        groups: usize,
        mut write: impl FnMut(usize, &mut SerializedRowGroupWriter<'_, File>),
    ) {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = File::create(self.path(name)).unwrap();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
        for group in 0..groups {
            let mut columns = writer.next_row_group().unwrap();
            write(group, &mut columns);
            columns.close().unwrap();
        }
        writer.close().unwrap();
    }
}

fn column<T: DataType>(
    columns: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    defined: Option<&[i16]>,
) {
    let mut column = columns.next_column().unwrap().unwrap();
    let written = column.typed::<T>().write_batch(values, defined, None);
    written.unwrap();
    column.close().unwrap();
}

/// y = 2x + 1, of a row group with 1,000 rows: the number of the row, 0 and 1. The first row of the file has no number.
const NUMBERS: &str = "message m { optional float a; required int64 b; required int64 c; }";

fn numbers(group: usize, columns: &mut SerializedRowGroupWriter<'_, File>) {
    let first = usize::from(group == 0);
    let values: Vec<f32> = (first..1000)
        .map(|at| (1000 * group + at + 1) as f32)
        .collect();
    let mut defined = vec![1; 1000];
    defined[0] -= first as i16;
    column::<FloatType>(columns, &values, Some(&defined));
    column::<Int64Type>(columns, &[0; 1000], None);
    column::<Int64Type>(columns, &[1; 1000], None);
}

#[test]
fn parquet_of_other_programs() {
    let folder = Folder::new();
    let expected = |number: usize| {
        let y = 2.0 * number as f32 / 4.0 + 1.0;
        format!("{{line: {number}, y: [{y:.1}, 1.0, 3.0]}}")
    };
    let all: Vec<String> = (1..=40).map(expected).collect();
    for name in ["polars", "duckdb", "duckdb_v2", "fastparquet", "vectors"] {
        let (input, output) = (format!("{name}.parquet"), format!("{name}.out.parquet"));
        folder.take(&input);
        let arguments = format!("--in {input} --out {output}");
        folder.score(&arguments, "affine").expect(0, "40 scored");
        assert_eq!(folder.rows(&output), all, "{name}");
    }
    // An index is no column, and a row without a value costs no other row its number.
    folder.take("pandas.parquet");
    let arguments = "--in pandas.parquet --out p.parquet";
    folder.score(arguments, "affine").expect(1, "39 scored");
    let but_one = all.iter().filter(|row| !row.starts_with("{line: 3,"));
    assert_eq!(
        folder.rows("p.parquet"),
        but_one.cloned().collect::<Vec<_>>()
    );
    let refused = &folder.json("p.parquet.errors.jsonl")[0];
    assert_eq!(
        (&refused["line"], &refused["original"]),
        (&3.into(), &"[0.75,0.0,null]".into())
    );
    folder.take("texts.parquet");
    let arguments = "--in texts.parquet --out t.parquet";
    folder
        .score(arguments, "identity_string")
        .expect(0, "40 scored");
    assert_eq!(
        folder.rows("t.parquet")[38],
        "{line: 39, y: [\"text 0012\", \"ééé\"]}"
    );
}

#[test]
fn numbers_and_texts_come_and_go_unchanged() {
    let folder = Folder::new();
    let pair = |name: &str,
                schema: &str,
                write: &dyn Fn(&mut SerializedRowGroupWriter<'_, File>),
                model: &str| {
        let schema = format!("message m {{ {schema} }}");
        folder.parquet(name, &schema, 1, |_, columns| write(columns));
        let arguments = format!("--in {name} --out {name}.out.parquet");
        folder.score(&arguments, model).expect(0, "");
        folder.rows(&format!("{name}.out.parquet")).join(" ")
    };
    let big = [(1 << 53) + 1, i64::MIN];
    let write = |columns: &mut SerializedRowGroupWriter<'_, File>| {
        column::<Int64Type>(columns, &big, None);
        column::<Int64Type>(columns, &[-1, 0], None);
    };
    assert_eq!(
        pair(
            "i.parquet",
            "required int64 a; required int64 b;",
            &write,
            "identity_int64"
        ),
        "{line: 1, y: [9007199254740993, -1]} {line: 2, y: [-9223372036854775808, 0]}"
    );
    let unsigned = "required int64 a (UINT_64); required int64 b (UINT_64);";
    let write = |columns: &mut SerializedRowGroupWriter<'_, File>| {
        column::<Int64Type>(columns, &[-1], None);
        column::<Int64Type>(columns, &[0], None);
    };
    assert_eq!(
        pair("u.parquet", unsigned, &write, "identity_uint64"),
        "{line: 1, y: [18446744073709551615, 0]}"
    );
    assert!(
        folder
            .schema("u.parquet.out.parquet")
            .contains("INT64 element (INTEGER(64,false))")
    );
    // A float is not the double with the same digits.
    let write = |columns: &mut SerializedRowGroupWriter<'_, File>| {
        column::<FloatType>(columns, &[0.1, f32::NEG_INFINITY], None);
        column::<FloatType>(columns, &[f32::NAN, 0.3], None);
    };
    let floats = "required float a; required float b;";
    assert_eq!(
        pair("d.parquet", floats, &write, "identity_float64"),
        "{line: 1, y: [0.10000000149011612, NaN]} {line: 2, y: [-inf, 0.30000001192092896]}"
    );
    assert_eq!(
        pair("f.parquet", floats, &write, "identity_float32"),
        "{line: 1, y: [0.1, NaN]} {line: 2, y: [-inf, 0.3]}"
    );
    let write = |columns: &mut SerializedRowGroupWriter<'_, File>| {
        column::<ByteArrayType>(columns, &["a\"\n,b".into(), "".into()], None);
        column::<ByteArrayType>(columns, &["1.50".into(), "ü".into()], None);
    };
    assert_eq!(
        pair(
            "s.parquet",
            "required binary a (UTF8); required binary b;",
            &write,
            "identity_string"
        ),
        "{line: 1, y: [\"a\"\n,b\", \"1.50\"]} {line: 2, y: [\"\", \"ü\"]}"
    );
}

#[test]
fn columns_by_name_and_outputs_of_every_kind() {
    let folder = Folder::new();
    // In another order than the model's.
    let schema = "message m { required int32 f; required binary c (UTF8); required boolean d;
        required group e (LIST) { repeated group list { optional double element; } }
        required int64 b; optional group a (LIST) { repeated group list { optional float element; } } }";
    folder.parquet("in.parquet", schema, 1, |_, columns| {
        column::<parquet::data_type::Int32Type>(columns, &[7, 8], None);
        column::<ByteArrayType>(columns, &["t".into(), "u".into()], None);
        column::<parquet::data_type::BoolType>(columns, &[true, false], None);
        let mut lists = columns.next_column().unwrap().unwrap();
        let doubles = lists.typed::<parquet::data_type::DoubleType>();
        doubles
            .write_batch(&[0.1, 0.2, 0.3, 0.4], Some(&[2; 4]), Some(&[0, 1, 0, 1]))
            .unwrap();
        lists.close().unwrap();
        column::<Int64Type>(columns, &[5, 6], None);
        let mut lists = columns.next_column().unwrap().unwrap();
        // The second row has no list.
        lists
            .typed::<FloatType>()
            .write_batch(&[1.0, 2.0], Some(&[3, 3, 0]), Some(&[0, 1, 0]))
            .unwrap();
        lists.close().unwrap();
    });
    let arguments = "--in in.parquet --out out.parquet";
    folder.score(arguments, "mixed").expect(1, "1 scored");
    assert_eq!(
        folder.rows("out.parquet"),
        [
            "{line: 1, sum: [6.0, 7.0], echo: \"t\", both: true, wide: [0.05, 0.1], twice: 14, next: [6]}"
        ]
    );
    let refused = &folder.json("out.parquet.errors.jsonl")[0];
    assert_eq!(refused["original"], "[8,\"u\",false,[0.3,0.4],6,null]");
    // Maps and texts of labels.
    let schema =
        "message m { required float p; required float q; required float r; required float s; }";
    folder.parquet("z.parquet", schema, 1, |_, columns| {
        for value in [1.0, 2.0, 3.0, 4.0] {
            column::<FloatType>(columns, &[value], None);
        }
    });
    folder
        .score("--in z.parquet --out z.out.parquet", "zipmap")
        .expect(0, "1 scored");
    let row = &folder.rows("z.out.parquet")[0];
    assert!(
        row.starts_with("{line: 1, output_label: 2, output_probability: \"{\"0\":0.0"),
        "{row}"
    );
    // One column of texts, for a model of texts.
    folder.parquet(
        "t.parquet",
        "message m { optional binary body (UTF8); }",
        1,
        |_, columns| {
            column::<ByteArrayType>(columns, &["a".into(), "a".into()], Some(&[1, 0, 1]));
        },
    );
    folder
        .score("--in t.parquet --out t.out.parquet", "tiny")
        .expect(1, "2 scored");
    let vectors = folder.rows("t.out.parquet");
    assert_eq!(
        vectors[0].strip_prefix("{line: 1, embedding: ["),
        vectors[1].strip_prefix("{line: 3, embedding: [")
    );
    assert!(
        vectors[0].starts_with("{line: 1, embedding: ["),
        "{vectors:?}"
    );
}

/// Names that are the numbers of columns, as pandas writes a table without names.
#[test]
fn columns_in_another_order_than_that_of_the_model() {
    let folder = Folder::new();
    let write = |name: &str, names: [u8; 3]| {
        let [a, b, c] = names.map(|name| format!("required float {name};"));
        let schema = format!("message m {{ {a} {b} {c} }}");
        folder.parquet(name, &schema, 1, |_, columns| {
            for value in [0.0, 0.0, 1.0] {
                column::<FloatType>(columns, &[value, value + 2.0], None);
            }
        });
        let output = format!("{name}.out.parquet");
        let arguments = format!("--in {name} --out {output}");
        folder.score(&arguments, "affine").expect(0, "2 scored");
        folder.rows(&output)
    };
    let rows = write("straight.parquet", [0, 1, 2]);
    let expected = [
        "{line: 1, y: [1.0, 1.0, 3.0]}",
        "{line: 2, y: [5.0, 5.0, 7.0]}",
    ];
    assert_eq!(rows, expected);
    let rows = write("turned.parquet", [1, 2, 0]);
    let expected = [
        "{line: 1, y: [3.0, 1.0, 1.0]}",
        "{line: 2, y: [7.0, 5.0, 5.0]}",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn rows_of_many_row_groups_come_back_in_their_order() {
    let folder = Folder::new();
    folder.parquet("in.parquet", NUMBERS, 5, numbers);
    folder
        .score("--in in.parquet --out out.parquet", "affine")
        .expect(1, "4999 scored");
    let expected: Vec<String> = (2..=5000)
        .map(|number| {
            format!(
                "{{line: {number}, y: [{:.1}, 1.0, 3.0]}}",
                (2 * number + 1) as f32
            )
        })
        .collect();
    assert_eq!(folder.rows("out.parquet"), expected);
    assert_eq!(folder.refusals("out.parquet").len(), 1);
    assert!(!folder.path("out.parquet.part").exists());
    // A row longer than a body may be is not scored.
    folder.parquet(
        "long.parquet",
        "message m { required binary a (UTF8); required binary b; }",
        1,
        |_, columns| {
            column::<ByteArrayType>(
                columns,
                &["a".into(), "b".repeat(5000).as_str().into(), "c".into()],
                None,
            );
            column::<ByteArrayType>(
                columns,
                &["".into(), "".into(), b"\xff\xfe".to_vec().into()],
                None,
            );
        },
    );
    let mut command = folder.command("--in long.parquet --out l.parquet", "identity_string");
    let ended = command.env("SCORE_MAX_BODY_BYTES", "1000").output();
    Ended::of(ended.unwrap()).expect(1, "1 scored");
    let told = folder.refusals("l.parquet");
    assert!(
        told[0].0 == 2 && told[0].1.contains("at most 1000 are read"),
        "{told:?}"
    );
    assert!(told[1].0 == 3 && told[1].1.contains("UTF-8"), "{told:?}");
}

#[test]
fn parquet_that_cannot_be_scored_says_why_and_leaves_nothing() {
    let folder = Folder::new();
    for name in ["dates.parquet", "lz4.parquet", "polars.parquet"] {
        folder.take(name);
    }
    let whole = fs::read(folder.path("polars.parquet")).unwrap();
    folder.write("cut.parquet", &whole[..whole.len() / 2]);
    folder.write("text.parquet", "a,b\n1,2\n");
    folder.write("empty.parquet", "");
    let mut damaged = whole.clone();
    damaged[4..120].fill(0xff);
    folder.write("damaged.parquet", damaged);
    folder.write("in.csv", "1,2,3\n");
    folder.write("there.parquet", "mine");
    let twice = "message m { required float a; required float a; }";
    folder.parquet("twice.parquet", twice, 0, |_, _| {});
    for (arguments, said) in [
        (
            "--in twice.parquet --out o.parquet",
            "column \"a\" stands in the file more than once",
        ),
        (
            "--in dates.parquet --out o.parquet",
            "dates.parquet: column \"when\": expected numbers, truth values, texts or lists of these, found OPTIONAL INT64 when (TIMESTAMP(MICROS,false)); leave the column out",
        ),
        (
            "--in lz4.parquet --out o.parquet",
            "packed with LZ4_RAW; expected snappy, zstd, gzip or nothing",
        ),
        (
            "--in damaged.parquet --out o.parquet",
            ".parquet: not a Parquet file that can be read",
        ),
        ("--in - --out o.parquet", "--in - cannot be Parquet"),
        (
            "--in polars.parquet --out - --errors e",
            "--out - cannot be Parquet",
        ),
        (
            "--in polars.parquet --out o.parquet --resume",
            "--resume cannot continue a Parquet file",
        ),
        ("--in polars.parquet --out o.csv", "different formats"),
        ("--in in.csv --out o.parquet", "different formats"),
        (
            "--in polars.parquet --out o.txt --format csv",
            "it is a Parquet file",
        ),
        (
            "--in polars.parquet --out /dev/null --errors e",
            "it is no file",
        ),
        (
            "--in polars.parquet --out there.parquet",
            "there.parquet exists: replace it with --force",
        ),
        (
            "--in polars.parquet --out polars.parquet --force",
            "the same file",
        ),
        (
            "--in polars.parquet --out o.parquet --errors o.parquet.part",
            "where the results are written first",
        ),
        (
            "--in none.parquet --out o.parquet",
            "none.parquet cannot be read",
        ),
    ] {
        folder.score(arguments, "affine").expect(2, said);
    }
    for name in ["cut", "text", "empty"] {
        let arguments = format!("--in {name}.parquet --out o.parquet");
        let said = format!("{name}.parquet: not a Parquet file that can be read");
        folder.score(&arguments, "affine").expect(2, &said);
    }
    let arguments = "--in polars.parquet --out o.parquet";
    let refused = folder.score(arguments, "mixed");
    refused.expect(
        2,
        "polars.parquet: no row can be scored: input \"a\": expected float32 [?,2], got [1]",
    );
    for name in ["o.parquet", "o.parquet.part", "there.parquet.part"] {
        assert!(!folder.path(name).exists(), "{name}");
    }
    assert_eq!(folder.read("there.parquet"), "mine");
    let replaced = "--in polars.parquet --out there.parquet --force";
    let other = File::create(folder.path("there.parquet.part")).unwrap();
    other.lock().unwrap();
    folder.write("there.parquet.errors.jsonl", "of the other run");
    let refused = folder.score(replaced, "affine");
    refused.expect(2, "there.parquet.part: another run writes it");
    assert_eq!(
        folder.read("there.parquet.errors.jsonl"),
        "of the other run"
    );
    drop(other);
    folder.score(replaced, "affine").expect(0, "40 scored");
    assert_eq!(folder.rows("there.parquet").len(), 40);
}

/// Waits until a first window is done.
fn wait_for_refusals(file: &Path) {
    let give_up = Instant::now() + PATIENCE;
    while fs::metadata(file).map_or(0, |found| found.len()) == 0 {
        assert!(
            Instant::now() < give_up,
            "no refusals in {}",
            file.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_is_stopped_or_finds_no_room_leaves_no_half_file() {
    let folder = Folder::new();
    folder.parquet("in.parquet", NUMBERS, 100, numbers);
    let mut command = folder.command("--in in.parquet --out out.parquet", "affine");
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for_refusals(&folder.path("out.parquet.errors.jsonl"));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    ended.expect(130, "no results are kept, --force starts again");
    // The system's error in the stead of its signal.
    let handler = env!("CARGO_BIN_EXE_handler");
    let mut full = std::process::Command::new("sh");
    let wanted = folder.command("--in in.parquet --out out.parquet --force", "affine");
    full.arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f 8; exec {handler} \"$@\""))
        .arg("sh");
    full.args(wanted.get_args()).current_dir(folder.path(""));
    full.envs(
        wanted
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let ended = Ended::of(full.output().unwrap());
    ended.expect(
        2,
        "out.parquet cannot be written; no results are kept: File too large",
    );
    for name in ["out.parquet", "out.parquet.part"] {
        assert!(!folder.path(name).exists(), "{name}");
    }
}
