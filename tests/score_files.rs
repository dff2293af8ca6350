//! `handler score` and files as others write them: batches for APIs, tables of other programs, runs that are killed.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::score_command::{Ended, Folder, result, row};
use crate::support::redis::RedisServer;

fn errors(folder: &Folder, name: &str) -> Vec<(u64, String)> {
    let lines = folder.json(name);
    let told = lines.iter().map(|error| {
        let message = error["reason"]["message"].as_str().unwrap().to_owned();
        (error["line"].as_u64().unwrap(), message)
    });
    told.collect()
}

#[test]
fn lines_for_an_api_get_the_answer_of_that_api() {
    let folder = Folder::new();
    let item = |id: &str, url: &str, body: Value| {
        json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string()
    };
    let mut other = json!({"custom_id": "a", "method": "GET", "url": "/v1/embeddings"});
    other["body"] = json!({"input": "a"});
    let lines = [
        item(
            "a",
            "/v1/embeddings",
            json!({"model": "tiny", "input": ["a", "b"], "encoding_format": "float"}),
        ),
        item("b", "/api/score/embed", json!({"inputs": "a"})),
        item("b", "/v1/tiny/embed", json!({"inputs": "a"})),
        item(
            "c",
            "/v1/chat/completions",
            json!({"model": "tiny", "messages": []}),
        ),
        item(
            "d",
            "/v1/embeddings",
            json!({"model": "text-embedding-3-small", "input": "a"}),
        ),
        item("e", "/v1/rerank", json!({"query": "a", "documents": ["b"]})),
        other.to_string(),
        item("f", "/v1/embeddings", json!({"input": [1, 2]})),
        // What is no request at all costs the others nothing.
        "[\"a\"".to_owned(),
        "{\"custom_id\": \"g\", \"params\": {\"input\": \"a\"}}".to_owned(),
        "\"a\"".to_owned(),
    ];
    folder.write("in.jsonl", lines.join("\n"));
    folder
        .score("--in in.jsonl --out out.jsonl", "tiny")
        .expect(1, "3 scored");
    let found = folder.json("out.jsonl");
    let body = &found[0]["response"]["body"];
    assert_eq!(
        (&found[0]["custom_id"], &found[0]["response"]["status_code"]),
        (&json!("a"), &json!(200))
    );
    assert_eq!(
        (&body["object"], &body["model"]),
        (&json!("list"), &json!("tiny"))
    );
    assert_eq!(body["data"].as_array().unwrap().len(), 2);
    assert!(body["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    let vector = &body["data"][0]["embedding"];
    assert_eq!(found[1]["response"]["body"], json!([vector]));
    assert_eq!(found[2]["result"], *vector);
    let told = errors(&folder, "out.jsonl.errors.jsonl");
    let expected = [
        (3, "nothing is served at \"/v1/tiny/embed\""),
        (4, "nothing is served at \"/v1/chat/completions\""),
        (
            5,
            "found \"text-embedding-3-small\"; the lines are scored with \"tiny\"",
        ),
        (6, "the task rerank"),
        (7, "expected POST, found \"GET\""),
        (8, "token ids"),
        (9, "not one JSON value"),
        (10, "no input \"custom_id\", \"params\""),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((line, message), (number, words)) in told.iter().zip(expected) {
        assert!(
            *line == number && message.contains(words),
            "{line}: {message}"
        );
    }
}

/// A line of OpenAI's batch form with so many short texts.
pub(crate) fn many_texts(id: usize, texts: usize) -> String {
    let input: Vec<String> = (0..texts).map(|text| format!("{}", text % 100)).collect();
    let body = json!({"input": input});
    json!({"custom_id": id, "url": "/v1/embeddings", "body": body}).to_string() + "\n"
}

/// A window whose results are more than are kept at a time is written part by part.
#[test]
fn lines_with_many_results_keep_their_order() {
    let folder = Folder::new();
    let lines = (0..40).map(|id| many_texts(id, 1000));
    folder.write("in.jsonl", lines.collect::<String>());
    folder
        .score("--in in.jsonl --out out.jsonl", "tiny")
        .expect(0, "40 scored");
    let found = folder.read("out.jsonl");
    assert!(found.len() > 5 << 20, "{} bytes", found.len());
    let first = folder.json("out.jsonl").remove(0)["response"]["body"].clone();
    assert_eq!(first["data"].as_array().unwrap().len(), 1000);
    for (id, line) in folder.json("out.jsonl").into_iter().enumerate() {
        assert_eq!(line["custom_id"], id);
        assert!(line["response"]["body"] == first, "line {}", id + 1);
    }
}

/// One decimal sign and one separator for a file, whatever the first lines of its windows look like.
#[test]
fn the_first_lines_of_a_table_say_how_all_of_it_is_written() {
    let folder = Folder::new();
    let row = |number: usize| match number % 1000 {
        0 => format!("{number}.5;0;1\n"),
        _ => format!("{number},5;0;1\n"),
    };
    folder.write("in.csv", (1..=3000).map(row).collect::<String>());
    folder
        .score("--in in.csv --out out.csv", "affine")
        .expect(1, "2997 scored");
    let told = errors(&folder, "out.csv.errors.jsonl");
    let numbers: Vec<u64> = told.iter().map(|(line, _)| *line).collect();
    assert_eq!(numbers, [1000, 2000, 3000]);
    assert!(
        told.iter()
            .all(|(_, message)| message.contains("the other decimal sign"))
    );
    assert!(
        folder
            .read("out.csv")
            .contains("\n1001,\"[2004.0,1.0,3.0]\"\n")
    );
}

/// Quotes that appear for the first time behind the first window, names and cells with ends of lines in them, words at the end.
#[test]
fn tables_of_other_programs() {
    let folder = Folder::new();
    let plain = "1,2,3\n".repeat(2100);
    let end = "\"4\",\"5\",6\n7,\"8,9\",1\n8,\"9\n\",1\n\nsource: \u{fc}ber\n";
    folder.write("in.csv", format!("\"a\nname\",b,c\n{plain}{end}"));
    folder
        .score("--in in.csv --out out.csv", "affine")
        .expect(1, "2102 scored");
    let text = folder.read("out.csv");
    assert!(
        text.ends_with("2103,\"[9.0,11.0,13.0]\"\n2105,\"[17.0,19.0,3.0]\"\n"),
        "{text}"
    );
    let told = errors(&folder, "out.csv.errors.jsonl");
    let numbers: Vec<u64> = told.iter().map(|(line, _)| *line).collect();
    assert_eq!(numbers, [2104, 2108]);
    // The first line separates by commas, so that the others are no rows.
    folder.write("mixed.csv", "1.5,3.5,1.4\n1;2;3\n1,5;2,5;3,5\n");
    folder
        .score("--in mixed.csv --out mixed.out.csv", "affine")
        .expect(1, "1 scored");
    let told = errors(&folder, "mixed.out.csv.errors.jsonl");
    assert_eq!((told[0].0, told[1].0, told.len()), (2, 3, 2), "{told:?}");
    // A byte of another encoding costs its line.
    let mut latin = b"1,2,3\n4,5,\xe9\n7,8,9\n".to_vec();
    latin.extend(b"10,11,12\r\n");
    folder.write("latin.csv", latin);
    folder
        .score("--in latin.csv --out latin.out.csv", "affine")
        .expect(1, "3 scored");
    assert_eq!(errors(&folder, "latin.out.csv.errors.jsonl")[0].0, 2);
    folder.write("pipes.csv", "a|b|c\n1|2|3\n");
    folder
        .score("--in pipes.csv --out pipes.out.csv", "affine")
        .expect(2, "expected a number");
}

#[test]
fn files_of_old_systems_and_pipes_that_are_closed() {
    let folder = Folder::new();
    folder.write("in.csv", "1,2,3\r4,5,6\r");
    folder
        .score("--in in.csv --out out.csv", "affine")
        .expect(2, "lines end with a carriage return alone");
    folder.write("in.jsonl", (1..=20_000).map(row).collect::<String>());
    let mut command = folder.command("--in in.jsonl --out - --errors e", "affine");
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ended = Ended::of(child.wait_with_output().unwrap());
    ended
        .expect(2, "- cannot be written")
        .expect_said("Broken pipe");
    // Without any input there is nothing to score.
    let mut command = folder.command("--in - --out none.jsonl", "affine");
    let ended = Ended::of(command.stdin(Stdio::null()).output().unwrap());
    ended.expect(0, "0 lines");
}

/// What is no text is told by its first bytes; an older output is kept until the input is understood.
#[test]
fn what_is_packed_or_no_text_is_refused_and_an_older_output_stays() {
    let folder = Folder::new();
    folder.write("out.csv", "old");
    folder.write("out.jsonl", "old");
    for (content, told) in [
        (&b"\x1f\x8b\x08\0rest"[..], "packed by gzip"),
        (b"\x28\xb5\x2f\xfdrest\n", "packed by zstd"),
        (b"PK\x03\x04rest\n", "zip file"),
        (b"PAR1rest\nPAR1", "Parquet"),
        (b"\xff\xfe1\0\n\0", "UTF-16"),
        (b"1\x00,\x002\x00\n\x00", "UTF-16"),
    ] {
        for format in ["csv", "jsonl"] {
            let name = format!("in.{format}");
            folder.write(&name, content);
            let arguments = format!("--in {name} --out out.{format} --force");
            folder.score(&arguments, "affine").expect(2, told);
            let arguments = format!("--in - --out out.{format} --force");
            let input = std::fs::File::open(folder.path(&name)).unwrap();
            let mut command = folder.command(&arguments, "affine");
            Ended::of(command.stdin(input).output().unwrap()).expect(2, told);
        }
    }
    folder.write("doubt.csv", "x\ny\n");
    folder
        .score("--in doubt.csv --out out.csv --force", "affine")
        .expect(2, "the first line");
    assert_eq!(
        [folder.read("out.csv"), folder.read("out.jsonl")],
        ["old"; 2]
    );
}

#[test]
fn outputs_that_are_no_files_or_the_same_file() {
    let folder = Folder::new();
    folder.write("in.jsonl", row(1) + "[2]\n" + &row(3));
    folder.write("out.jsonl", "old");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.path(name)).unwrap();
    link("in.jsonl", "to-in.jsonl");
    link("new.jsonl", "to-new.jsonl");
    link("out.jsonl", "to-out.jsonl");
    nix::unistd::mkfifo(&folder.path("pipe.jsonl"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (arguments, told) in [
        ("--out /dev/null", "needs --errors FILE"),
        ("--out /dev/stdout", "needs --errors FILE"),
        (
            "--out out.jsonl --errors - --force",
            "expected a file, found -",
        ),
        (
            "--out pipe.jsonl --errors e --resume",
            "--resume needs files",
        ),
        (
            "--out out.jsonl --errors pipe.jsonl --resume",
            "--resume needs files",
        ),
        ("--out to-in.jsonl --force", "the same file"),
        (
            "--out to-out.jsonl --errors out.jsonl --force",
            "the same file",
        ),
        ("--out new.jsonl --errors to-new.jsonl", "the same file"),
        (
            "--out out.jsonl --errors none/e --force",
            "none/e cannot be written",
        ),
        ("--out none/out.jsonl", "none/out.jsonl cannot be written"),
    ] {
        let arguments = format!("--in in.jsonl {arguments}");
        folder.score(&arguments, "affine").expect(2, told);
    }
    assert_eq!(folder.read("out.jsonl"), "old");
    assert_eq!(folder.json("in.jsonl").len(), 3);
    let expected = result(1, 1) + &result(3, 3);
    let ended = folder.score("--in in.jsonl --out /dev/stdout --errors e", "affine");
    assert_eq!(ended.expect(1, "2 scored").out, expected);
    folder
        .score("--in in.jsonl --out to-out.jsonl --force", "affine")
        .expect(1, "2 scored");
    assert_eq!(folder.read("out.jsonl"), expected);
}

/// Lines as editors, spreadsheets and broken disks leave them, each with its results and the lines that are refused.
#[test]
fn lines_of_strangers() {
    let folder = Folder::new();
    let csv = |line: u64| format!("{line},\"[3.0,5.0,7.0]\"\n");
    let json = |line: u64| format!("{{\"line\":{line},\"result\":[3.0,5.0,7.0]}}\n");
    for (content, results, refused) in [
        ("\u{feff}\"a\nx\",b,c\r\n1,2,3\r\n", vec![3], vec![]),
        ("a,b,c\n\n1,2,3\n\n\n1,2,3", vec![3, 6], vec![]),
        ("a,b,c\n", vec![], vec![]),
        ("a,b,c\n1,2,3,\n1,2,3\n1,2\n", vec![3], vec![2, 4]),
        ("a,b,c\n1,2\0,3\n1,2,3\n\0\0\0\0", vec![3], vec![2, 4]),
        ("a,b,c\n1,2,3\r4,5,6\n1,2,3\n", vec![3], vec![2]),
        ("a,b,c\n1,2,3\n\u{1a}", vec![2], vec![3]),
        (
            "a,b,c\n1,\u{a0}2,3\n1e400,2,3\n\"1,000\",2,3\n1e39,2,3\n",
            vec![2],
            vec![3, 4, 5],
        ),
        ("a;b;c\n1,0;2;3\n1.0;2;3\n", vec![2], vec![3]),
        ("a,a,c\n1,2,3\n", vec![2], vec![]),
        (" a , b\t, c \n 1 ,\t2, 3 \n", vec![2], vec![]),
        ("# made by a program\n1,2,3\n1,2,3\n", vec![], vec![]),
        ("\u{feff}[1,2,3]\r\n\r\n[1,2,3]", vec![1, 3], vec![]),
        (
            "[1,2,3]\n\0\0\0\n[1,2,3],\n[NaN,2,3]\n[1e400,2,3]\n",
            vec![1],
            vec![2, 3, 4, 5],
        ),
        ("[1,2,3]\u{2028}\n[1,2,3]\n", vec![2], vec![1]),
        ("[1,2,3]\n\u{feff}[1,2,3]\n", vec![1, 2], vec![]),
        (
            "\u{feff}\u{feff}a,\"\nb\",c\n1,2,3\n\u{feff}\"1\n\",2,3\n",
            vec![3, 4],
            vec![],
        ),
    ] {
        let is_json = content.starts_with(['[', '{']) || content.starts_with("\u{feff}[");
        let format = if is_json { "jsonl" } else { "csv" };
        folder.write("in", content);
        let arguments = format!("--in in --out out --format {format} --force");
        let ended = folder.score(&arguments, "affine");
        if content.starts_with('#') {
            ended.expect(2, "line 2 has 3 fields where the first line has 1");
            continue;
        }
        ended.expect(i32::from(!refused.is_empty()), "lines in");
        let expected: String = match is_json {
            true => results.into_iter().map(json).collect(),
            false => "line,y\n".to_owned() + &results.into_iter().map(csv).collect::<String>(),
        };
        assert_eq!(folder.read("out"), expected, "{content:?}");
        let told = errors(&folder, "out.errors.jsonl");
        let numbers: Vec<u64> = told.iter().map(|(line, _)| *line).collect();
        assert_eq!(numbers, refused, "{content:?}: {told:?}");
    }
}

/// Killed again and again: the output is that of an undisturbed run, and no row is computed twice but those in flight. With
/// `CHAOS=long` the file has a million rows.
#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_computes_no_row_twice() {
    #[allow(
        clippy::disallowed_methods,
        reason = "a wish of the tests, no setting of the program"
    )]
    let form = std::env::var("CHAOS");
    let (count, kills) = match form.as_deref() {
        Ok("long") => (1_000_000, 12),
        _ => (12_000, 3),
    };
    let redis = RedisServer::start().await;
    let folder = Folder::new();
    let line = |number: usize| match number % 1000 {
        0 => format!("[{number},0]\n"),
        _ => row(number),
    };
    folder.write("in.jsonl", (1..=count).map(line).collect::<String>());
    let scored = (1..=count).filter(|number| number % 1000 != 0);
    let expected: String = scored.map(|number| result(number, number)).collect();
    let run = || {
        let mut command = folder.command("--in in.jsonl --out out.jsonl --resume", "affine");
        command.env("REDIS_URL", redis.url());
        command.env("SCORE_CACHE_POLICY", "always");
        command
    };
    for kill in 1..=kills {
        let wanted = (expected.len() * kill / (kills + 1)) as u64;
        let mut child = run().spawn().unwrap();
        let written = || std::fs::metadata(folder.path("out.jsonl")).map_or(0, |found| found.len());
        while written() < wanted && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    Ended::of(run().output().unwrap()).expect(1, " failed");
    assert!(
        folder.read("out.jsonl") == expected,
        "another output than that of an undisturbed run"
    );
    let numbers: Vec<u64> = errors(&folder, "out.jsonl.errors.jsonl")
        .into_iter()
        .map(|(line, _)| line)
        .collect();
    let bad: Vec<u64> = (1000..=count as u64).step_by(1000).collect();
    assert_eq!(numbers, bad);
    let stores = stored_once(&redis).await;
    assert!(stores > count / 2, "{stores}");
}

/// How many results were stored, each of them once: what was written just before a kill may not be stored, but what is
/// stored is not computed again.
pub(crate) async fn stored_once(redis: &RedisServer) -> usize {
    let stats = redis.command(&[b"INFO", b"commandstats"]).await.text();
    let stores = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_set:calls="));
    let stores = stores.and_then(|calls| calls.split(',').next()?.parse().ok());
    let stores: usize = stores.unwrap();
    let keys = redis.key_count().await;
    assert_eq!(stores as i64, keys, "a row was computed twice");
    stores
}
