//! `handler score`: files of any length, line by line.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::app_root::{program, repository, runtime_library};
use crate::support::redis::RedisServer;
use functions_host::PATIENCE;

/// A folder to score files in.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Vec<Value> {
        let text = self.read(name);
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }

    /// The command with a model of the tests, whose name is the last word.
    pub(crate) fn command(&self, arguments: &str, model: &str) -> Command {
        let mut command = Command::new(program());
        command
            .arg("score")
            .args(arguments.split_whitespace())
            .arg("--model")
            .arg(model_path(model))
            .env_clear()
            .env("ORT_DYLIB_PATH", runtime_library())
            .env("SCORE_MODEL_DIR", self.0.path())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn score(&self, arguments: &str, model: &str) -> Ended {
        Ended::of(self.command(arguments, model).output().unwrap())
    }
}

fn model_path(model: &str) -> PathBuf {
    match model {
        "tiny" => repository().join("tests/data/text/tiny"),
        _ => repository().join(format!("tests/data/models/{model}.onnx")),
    }
}

#[derive(Debug)]
pub(crate) struct Ended {
    status: Option<i32>,
    pub(crate) out: String,
    said: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn expect(self, status: i32, said: &str) -> Self {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert!(self.said.contains(said), "{said:?}: {self:?}");
        self
    }
}

/// y = 2x + 1.
pub(crate) fn row(number: usize) -> String {
    format!("[{number},0,1]\n")
}

pub(crate) fn result(number: usize, line: usize) -> String {
    format!(
        "{{\"line\":{line},\"result\":[{},1.0,3.0]}}\n",
        json!((2 * number + 1) as f32)
    )
}

fn rows(count: usize) -> String {
    (1..=count).map(row).collect()
}

fn results(count: usize) -> String {
    (1..=count).map(|number| result(number, number)).collect()
}

#[test]
fn rows_come_back_in_their_order_and_bad_lines_go_to_a_file_of_their_own() {
    let folder = Folder::new();
    let mut lines: Vec<Vec<u8>> = (1..=5000).map(|number| row(number).into_bytes()).collect();
    lines[999] = b"[1,2]\n".to_vec();
    lines[1999] = b"{\"x\": [1,\xff,2]}\n".to_vec();
    lines[2999] = b"\n".to_vec();
    lines[3999] = b"[1,2,3],[4,5,6]\n".to_vec();
    lines[4998] = b"{\"x\":[4999,0,1]}\n".to_vec();
    folder.write("in.jsonl", lines.concat());
    let ended = folder.score("--in in.jsonl --out out.jsonl", "affine");
    ended.expect(1, "4999 lines in ").expect_said(
        "4996 scored, 0 of them from the cache, 3 failed (see out.jsonl.errors.jsonl)",
    );
    let is_bad = |number: &usize| ![1000, 2000, 3000, 4000].contains(number);
    let expected: String = (1..=5000)
        .filter(is_bad)
        .map(|number| result(number, number))
        .collect();
    assert_eq!(folder.read("out.jsonl"), expected);
    let errors = folder.json("out.jsonl.errors.jsonl");
    let told: Vec<(&Value, &Value)> = errors
        .iter()
        .map(|error| (&error["line"], &error["original"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!(1000), &json!("[1,2]")),
            (&json!(2000), &json!("{\"x\": [1,\u{fffd},2]}")),
            (&json!(4000), &json!("[1,2,3],[4,5,6]")),
        ]
    );
    assert_eq!(errors[0]["reason"]["code"], "invalid_input");
    let said = errors[0]["reason"]["message"].as_str().unwrap();
    assert!(said.contains("expected") && said.contains('3'), "{said}");
    assert!(
        errors[2]["reason"]["message"]
            .as_str()
            .unwrap()
            .contains("not one JSON value")
    );
}

impl Ended {
    pub(crate) fn expect_said(self, said: &str) -> Self {
        assert!(self.said.contains(said), "{said:?}: {self:?}");
        self
    }
}

#[test]
fn a_row_that_the_model_refuses_costs_no_other_row() {
    let folder = Folder::new();
    folder.write("in.jsonl", "0\n9\n1\n");
    folder
        .score("--in in.jsonl --out out.jsonl", "gather")
        .expect(1, "1 failed");
    assert_eq!(
        folder.read("out.jsonl"),
        "{\"line\":1,\"result\":10.0}\n{\"line\":3,\"result\":11.0}\n"
    );
    assert_eq!(folder.json("out.jsonl.errors.jsonl")[0]["line"], 2);
}

#[test]
fn lines_of_openais_batch_form_are_requests_with_answers_in_it() {
    let folder = Folder::new();
    let item = |id: &str, body: Value| json!({"custom_id": id, "method": "POST", "url": "/api/score", "body": body});
    let lines = [
        item("a", json!({"instances": [[1, 2, 3], [0, 0, 0]]})),
        item("b", json!({"instances": [[1]]})),
        item("c", json!({"data": [[1, 2, 3]]})),
    ];
    folder.write("in.jsonl", lines.map(|line| format!("{line}\n")).concat());
    folder
        .score("--in in.jsonl --out out.jsonl", "affine")
        .expect(1, "2 scored");
    let found = folder.json("out.jsonl");
    assert_eq!(
        found[0],
        json!({
            "id": "line-1", "custom_id": "a", "error": null,
            "response": {"status_code": 200, "request_id": "line-1", "body": {"predictions": [[3.0, 5.0, 7.0], [1.0, 1.0, 1.0]]}},
        })
    );
    assert_eq!(found[1]["response"]["body"], json!([[3.0, 5.0, 7.0]]));
    let kept = folder.read("out.jsonl");
    let first = kept.lines().next().unwrap();
    folder.write("out.jsonl", format!("{first}\n"));
    folder
        .score("--in in.jsonl --out out.jsonl --resume", "affine")
        .expect(1, "");
    assert_eq!(folder.read("out.jsonl"), kept);
}

#[test]
fn tables_come_back_as_tables_with_a_column_for_each_output() {
    let folder = Folder::new();
    let setosa = "5.1,3.5,1.4,0.2";
    folder.write(
        "in.csv",
        format!("{setosa}\r\n{setosa}\n\n1,2,3\n\"5.1\",3.5,1.4,0.2"),
    );
    folder
        .score("--in in.csv --out out.csv", "zipmap")
        .expect(1, "3 scored");
    let text = folder.read("out.csv");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "line,output_label,output_probability");
    assert!(lines[1].starts_with("1,0,\"{\"\"0\"\":0."), "{text}");
    assert_eq!(lines[1].strip_prefix('1'), lines[2].strip_prefix('2'));
    assert_eq!(lines[1].strip_prefix('1'), lines[3].strip_prefix('5'));
    assert_eq!(folder.json("out.csv.errors.jsonl")[0]["line"], 4);
    // A header that says nothing to the model is one all the same.
    folder.write("named.csv", format!("sep=,\na,b,c,d\n{setosa}\n"));
    folder
        .score("--in named.csv --out named.out.csv", "zipmap")
        .expect(0, "1 lines");
    assert!(
        folder
            .read("named.out.csv")
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("3,0,")
    );
    folder.write("texts.csv", "a,b\nc,d\ne,f\n");
    let ended = folder.score("--in texts.csv --out texts.out.csv", "identity_string");
    ended.expect(2, "--header present says that it is a header");
    folder
        .score(
            "--in texts.csv --out texts.out.csv --header absent",
            "identity_string",
        )
        .expect(0, "3 scored");
    assert!(
        folder
            .read("texts.out.csv")
            .ends_with("3,\"[\"\"e\"\",\"\"f\"\"]\"\n"),
        "{}",
        folder.read("texts.out.csv")
    );
}

#[test]
fn texts_become_vectors() {
    let folder = Folder::new();
    folder.write("in.ndjson", "\"a\"\n\"b\"\n\"a\"\n");
    folder
        .score("--in in.ndjson --out - --errors e", "tiny")
        .expect(0, "3 scored");
    let out = folder
        .score("--in in.ndjson --out - --errors e", "tiny")
        .out;
    let found: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found[0]["result"], found[2]["result"]);
    assert_ne!(found[0]["result"], found[1]["result"]);
}

/// What programs and people leave in tables: no row of them is lost, and none is taken for two.
#[test]
fn no_row_of_a_table_is_lost_or_doubled() {
    let folder = Folder::new();
    let affine = |name: &str, text: &str, status: i32| {
        let (input, output) = (format!("{name}.csv"), format!("{name}.out.csv"));
        folder.write(&input, text);
        folder
            .score(&format!("--in {input} --out {output}"), "affine")
            .expect(status, "");
        folder.read(&output)
    };
    let one = "1,\"[3.0,1.0,3.0]\"\n";
    let blank = affine("blank", "1,0,1\n\n2,0,1\n", 0);
    assert!(
        blank.contains(one) && blank.contains("\n3,\"[5.0"),
        "{blank}"
    );
    let above = affine("above", "\n1,0,1\n2,0,1\n", 0);
    assert!(
        above.contains("\n2,\"[3.0") && above.contains("\n3,\"[5.0"),
        "{above}"
    );
    let marked = affine("marked", "\u{feff}\"1\",0,1\n2,0,1\n", 0);
    assert!(marked.contains(one), "{marked}");
    let quoted = affine("quoted", "\"sep=;\"\n1,5;0;1\n", 0);
    assert!(quoted.contains("\n2,\"[4.0"), "{quoted}");
    // A carriage return alone ends no line here, so that this record holds two rows.
    affine("returns", "1,0,1\n2,0,1\r3,0,1\n", 1);
    let refused = folder.json("returns.out.csv.errors.jsonl");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["line"], 2);
    let said = refused[0]["reason"]["message"].as_str().unwrap();
    assert!(said.contains("several rows"), "{said}");
}

#[test]
fn lines_of_an_earlier_run_that_failed_are_not_forgotten() {
    let folder = Folder::new();
    folder.write("in.jsonl", "[1,2]\n[1,0,1]\n");
    let arguments = "--in in.jsonl --out out.jsonl";
    folder.score(arguments, "affine").expect(1, "1 failed");
    let again = format!("{arguments} --resume");
    folder.score(&again, "affine").expect(1, "0 failed");
    // An output that ends inside of a character.
    let mut cut = folder.read("out.jsonl").into_bytes();
    cut.extend(b"{\"line\":3,\"result\":\"\xc3");
    folder.write("out.jsonl", cut);
    folder.score(&again, "affine").expect(1, "0 failed");
    assert_eq!(folder.read("out.jsonl"), result(1, 2));
}

#[test]
fn what_cannot_run_says_why_and_touches_nothing() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    folder.write("there.jsonl", "mine\n");
    folder.write("wide.csv", b"\xff\xfe1\0,\0");
    for (arguments, said) in [
        (
            "--in none.jsonl --out out.jsonl",
            "none.jsonl cannot be read",
        ),
        ("--in . --out out.jsonl", "it is a folder"),
        ("--in wide.csv --out out.csv", "UTF-16"),
        ("--in in.jsonl --out out.csv", "different formats"),
        ("--in - --out out.txt", "--format jsonl, csv or parquet"),
        ("--in in.jsonl --out -", "--errors FILE"),
        ("--in in.jsonl --out in.jsonl --force", "the same file"),
        (
            "--in in.jsonl --out out.jsonl --errors ./out.jsonl",
            "--out and --errors are the same file",
        ),
        (
            "--in in.jsonl --out out.jsonl --errors in.jsonl --force",
            "the same file",
        ),
        (
            "--in in.jsonl --out there.jsonl",
            "--resume, replace it with --force",
        ),
        ("--in in.jsonl --out there.jsonl --resume", "does not fit"),
        ("--in in.jsonl --out no/out.jsonl", "cannot be written"),
    ] {
        folder.score(arguments, "affine").expect(2, said);
    }
    folder
        .score("--in in.jsonl --out out.jsonl", "none")
        .expect(2, "there is no such file or folder");
    assert_eq!(folder.read("there.jsonl"), "mine\n");
    assert_eq!(folder.read("in.jsonl"), rows(3));
    folder
        .score("--in in.jsonl --out there.jsonl --force", "affine")
        .expect(0, "3 scored");
    assert_eq!(folder.read("there.jsonl"), results(3));
}

#[test]
fn long_lines_empty_files_and_full_disks() {
    let folder = Folder::new();
    let long = format!("[{}1]", "1,".repeat(5000));
    folder.write("in.jsonl", format!("{}{long}\n{}", row(1), row(3)));
    let mut command = folder.command("--in in.jsonl --out out.jsonl", "affine");
    let ended = Ended::of(
        command
            .env("SCORE_MAX_BODY_BYTES", "1000")
            .output()
            .unwrap(),
    );
    ended.expect(1, "2 scored");
    assert_eq!(folder.read("out.jsonl"), result(1, 1) + &result(3, 3));
    let errors = folder.json("out.jsonl.errors.jsonl");
    assert_eq!(errors[0]["reason"]["code"], "too_large");
    assert_eq!(errors[0]["original_bytes"], long.len() + 1);
    assert!(errors[0]["original"].as_str().unwrap().len() < 1100);

    folder.write("empty.jsonl", "");
    folder
        .score("--in empty.jsonl --out e.jsonl", "affine")
        .expect(0, "0 lines");
    assert_eq!(folder.read("e.jsonl"), "");
    folder.write("empty.csv", "a,b,c\n");
    folder
        .score("--in empty.csv --out e.csv", "affine")
        .expect(0, "0 lines");
    assert_eq!(folder.read("e.csv"), "line,y\n");

    let ended = folder.score("--in in.jsonl --out /dev/full --errors e --force", "affine");
    ended.expect(2, "/dev/full cannot be written");
}

/// Waits until the file has a first window of results.
fn wait_for_results(file: &Path) {
    let give_up = Instant::now() + PATIENCE;
    while fs::metadata(file).map_or(0, |found| found.len()) < 1000 {
        assert!(Instant::now() < give_up, "no results in {}", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A run whose input does not end before it is told to.
fn started(folder: &Folder, redis: Option<&RedisServer>) -> Child {
    let mut command = folder.command("--in - --out out.jsonl", "affine");
    if let Some(redis) = redis {
        command.env("REDIS_URL", redis.url());
    }
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(rows(3000).as_bytes()).unwrap();
    child.stdin = Some(input);
    wait_for_results(&folder.path("out.jsonl"));
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_it_goes_on_and_the_output_is_that_of_an_undisturbed_run() {
    let redis = RedisServer::start().await;
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5000));
    let mut child = started(&folder, Some(&redis));
    child.kill().unwrap();
    child.wait().unwrap();
    // As if the kill had come within a write.
    let kept = folder.read("out.jsonl");
    assert!(kept.len() > 1000 && results(3000).starts_with(&kept));
    folder.write("out.jsonl", &kept[..kept.len() - 7]);
    let resume = |url: String| {
        let mut command = folder.command("--in in.jsonl --out out.jsonl --resume", "affine");
        Ended::of(command.env("REDIS_URL", url).output().unwrap())
    };
    resume(redis.url()).expect(0, "0 failed");
    assert_eq!(folder.read("out.jsonl"), results(5000));
    // All is done: nothing is written again.
    resume(redis.url()).expect(0, "0 lines");
    assert_eq!(folder.read("out.jsonl"), results(5000));

    folder.write("in.jsonl", rows(5000).replace("[5000,", "[5001,"));
    resume(redis.url()).expect(2, "line 5000 has another result now");
    folder.write("in.jsonl", rows(100));
    resume(redis.url()).expect(2, "no row begins in line 5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_takes_everything_from_the_cache() {
    let redis = RedisServer::start().await;
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3000));
    let run = || {
        let mut command = folder.command("--in in.jsonl --out out.jsonl --force", "affine");
        let command = command.env("REDIS_URL", redis.url());
        Ended::of(
            command
                .env("SCORE_CACHE_POLICY", "always")
                .output()
                .unwrap(),
        )
    };
    run().expect(0, "3000 scored, 0 of them from the cache");
    assert_eq!(redis.key_count().await, 3000);
    run().expect(0, "3000 scored, 3000 of them from the cache");
    assert_eq!(folder.read("out.jsonl"), results(3000));
}

#[test]
fn ctrl_c_leaves_whole_lines() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5000));
    let mut child = started(&folder, None);
    // Standard input stays open.
    let _input = child.stdin.take();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    ended.expect(130, "--resume goes on from there");
    let kept = folder.read("out.jsonl");
    assert!(kept.ends_with('\n') && results(3000).starts_with(&kept));
    folder
        .score("--in in.jsonl --out out.jsonl --resume", "affine")
        .expect(0, "0 failed");
    assert_eq!(folder.read("out.jsonl"), results(5000));
}
