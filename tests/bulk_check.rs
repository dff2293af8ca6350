//! `make bulk-check`: a million rows and many texts, as files and as blobs, while the handler is killed again and again. It
//! needs a release build, which `TEST_PROGRAM` names, and takes minutes.
#![allow(
    clippy::print_stdout,
    reason = "what was measured is what the check is run for"
)]

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use functions_host::process::peak_memory;
use serde_json::json;

use crate::large_blobs::{IN, Lab, QUEUE, lines_of};
use crate::score_command::Folder;
use crate::score_files::{many_texts, stored_once};
use crate::support::redis::RedisServer;

const ROWS: usize = 1_000_000;
const COLUMNS: usize = 28;
const TEXTS: usize = 200_000;
/// Once it is up, the handler may live so long. A million rows take it a few seconds.
const KILLED_AFTER: Duration = Duration::from_secs(2);
const MIB: usize = 1 << 20;

/// Lines of which each thousandth cannot be scored.
struct Load {
    name: &'static str,
    model: &'static str,
    text: String,
    refused: Vec<u64>,
}

impl Load {
    /// A table with a header.
    fn rows() -> Self {
        let names: Vec<String> = (0..COLUMNS).map(|column| format!("f{column}")).collect();
        let rest = ",0.25,-1,7.5e-1".repeat(COLUMNS / 3);
        let mut text = names.join(",") + "\n";
        for line in 2..=ROWS + 1 {
            match line % 1000 {
                0 => text.push_str("no row\n"),
                _ => writeln!(text, "{line}{rest}").unwrap(),
            }
        }
        Self::of("rows.csv", "affine_wide", text)
    }

    fn texts() -> Self {
        let line = |line: usize| match line % 1000 {
            0 => "[]\n".to_owned(),
            _ => format!("\"the river and the {line}th house\"\n"),
        };
        Self::of("texts.jsonl", "tiny", (1..=TEXTS).map(line).collect())
    }

    fn of(name: &'static str, model: &'static str, text: String) -> Self {
        let lines = text.lines().count() as u64;
        Self {
            name,
            model,
            text,
            refused: (1000..=lines).step_by(1000).collect(),
        }
    }
}

/// What a run leaves: results and refusals.
type Left = (String, String);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes with a release build; make bulk-check runs it"]
async fn a_million_rows_and_many_texts_survive_kills() {
    for load in [Load::rows(), Load::texts()] {
        let files = Files::of(&load);
        let expected = files.undisturbed(&load);
        assert_eq!(lines_of(&expected.1), load.refused);
        assert!(files.under_kills(&load).await == expected, "by files");
        assert!(blobs_undisturbed(&load).await == expected, "by blobs");
        let found = blobs_under_kills(&load).await;
        assert!(found == expected, "by blobs under kills");
    }
}

/// A megabyte of requests whose answers are many times as long.
#[test]
#[ignore = "needs a release build; make bulk-check runs it"]
fn long_answers_take_no_more_memory() {
    let mut text = String::new();
    while text.len() < MIB {
        text += &many_texts(text.len(), 2000);
    }
    let load = Load::of("requests.jsonl", "tiny", text);
    let files = Files::of(&load);
    let begin = Instant::now();
    let (status, peak) = watched(spawned(&mut files.command(&load, "plain-")), None);
    assert_eq!(status, Some(0));
    let results = files.left(&load, "plain-").0;
    let (took, mib) = (begin.elapsed(), results.len() / MIB);
    println!("{}: {took:.1?}, results of {mib} MiB", load.name);
    assert!(mib > 15);
    check_peak(load.name, files.idle, peak);
}

/// The peak may be one and a half of the memory at rest and what docs/bulk.md says of windows.
fn check_peak(what: &str, idle: usize, peak: usize) {
    let cores = available_parallelism().unwrap().get();
    let windows = (cores + 3) * 7 * MIB + (cores + 1) * 12 * MIB;
    let most = idle * 3 / 2 + windows + if what.contains("blobs") { 24 * MIB } else { 0 };
    let [idle_mib, peak_mib, most_mib] = [idle, peak, most].map(|bytes| bytes / MIB);
    println!("{what}: at rest {idle_mib} MiB, peak {peak_mib} MiB, at most {most_mib} MiB");
    assert!(peak <= most, "{what}");
}

/// The command on files of a folder.
struct Files {
    folder: Folder,
    idle: usize,
}

impl Files {
    fn of(load: &Load) -> Self {
        let folder = Folder::new();
        folder.write(load.name, &load.text);
        folder.write("none.jsonl", "");
        let mut rest = folder.command("--in none.jsonl --out none", load.model);
        let (status, idle) = watched(spawned(&mut rest), None);
        assert_eq!(status, Some(0));
        Self { folder, idle }
    }

    fn command(&self, load: &Load, out: &str) -> Command {
        let (name, model) = (load.name, load.model);
        let arguments = format!("--in {name} --out {out}{name} --resume");
        let mut command = self.folder.command(&arguments, model);
        command.env("SCORE_L1_BYTES", "0");
        command
    }

    fn left(&self, load: &Load, out: &str) -> Left {
        let results = format!("{out}{}", load.name);
        let refusals = format!("{results}.errors.jsonl");
        (self.folder.read(&results), self.folder.read(&refusals))
    }

    fn undisturbed(&self, load: &Load) -> Left {
        let begin = Instant::now();
        let child = spawned(&mut self.command(load, "plain-"));
        let (status, peak) = watched(child, None);
        assert_eq!(status, Some(1));
        let what = format!("{} by files", load.name);
        println!("{what}: {:.1?}", begin.elapsed());
        check_peak(&what, self.idle, peak);
        self.left(load, "plain-")
    }

    async fn under_kills(&self, load: &Load) -> Left {
        let redis = RedisServer::start().await;
        let (begin, mut kills, mut most) = (Instant::now(), 0, 0);
        let status = loop {
            let mut command = self.command(load, "killed-");
            command.env("REDIS_URL", redis.url());
            let end = Instant::now() + KILLED_AFTER;
            let (status, peak) = watched(spawned(&mut command), Some(end));
            most = most.max(peak);
            match status {
                Some(status) => break status,
                None => kills += 1,
            }
        };
        assert_eq!(status, 1);
        let stores = stored_once(&redis).await;
        let what = format!("{} by files under {kills} kills", load.name);
        println!(
            "{what}: {:.1?}, {stores} results stored once",
            begin.elapsed()
        );
        check_peak(&what, self.idle, most);
        assert!(kills > 0, "it was too fast to be killed");
        self.left(load, "killed-")
    }
}

fn spawned(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits for a command, and kills it at some time. The result is its status, if it has ended, and its peak of memory.
fn watched(mut child: Child, end: Option<Instant>) -> (Option<i32>, usize) {
    let mut peak = 0;
    loop {
        peak = peak_memory(child.id() as i32).unwrap_or_default().max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), peak);
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            child.kill().unwrap();
            child.wait().unwrap();
            return (None, peak);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An app that works for so long in a call.
async fn lab(budget: &str, redis: Option<&RedisServer>) -> (Lab, usize) {
    let lab = Lab::start(|options| {
        let options = options
            .setting("SCORE_BLOBS_BUDGET", budget)
            .setting("SCORE_L1_BYTES", "0")
            .without("SCORE_MAX_ROWS");
        match redis {
            Some(redis) => options.setting("REDIS_URL", redis.url()),
            None => options,
        }
    })
    .await;
    for model in ["affine_wide", "tiny"] {
        let loaded = format!("model loaded.*{model}");
        lab.host
            .wait_for_log(&loaded, functions_host::PATIENCE)
            .await;
    }
    let idle = lab.host.peak_memory();
    (lab, idle)
}

fn upload(lab: &Lab, load: &Load) {
    let model = Some(json!({"model": load.model}));
    lab.blobs
        .upload((IN, load.name), load.text.as_bytes(), None, model);
    lab.name(load.name);
}

async fn blobs_undisturbed(load: &Load) -> Left {
    let (lab, idle) = lab("5s", None).await;
    upload(&lab, load);
    let begin = Instant::now();
    let calls = lab.work().await;
    let what = format!("{} by blobs in {calls} calls", load.name);
    println!("{what}: {:.1?}", begin.elapsed());
    check_peak(&what, idle, lab.host.peak_memory());
    lab.results(load.name)
}

async fn blobs_under_kills(load: &Load) -> Left {
    let redis = RedisServer::start().await;
    let (lab, idle) = lab("1s", Some(&redis)).await;
    upload(&lab, load);
    let begin = Instant::now();
    let (mut calls, mut kills, mut most) = (0, 0, 0);
    let mut next_kill = begin + KILLED_AFTER;
    while let Some(message) = lab.queue.take(QUEUE).pop() {
        lab.send(&message);
        let host = lab.host.clone();
        let killer = tokio::spawn(async move {
            tokio::time::sleep_until(next_kill.into()).await;
            host.kill();
        });
        let outcome = lab.call().await;
        killer.abort();
        calls += 1;
        if Instant::now() >= next_kill {
            kills += 1;
            lab.host.restart().await;
            next_kill = Instant::now() + KILLED_AFTER;
        } else {
            most = lab.host.peak_memory().max(most);
        }
        if outcome.is_err() {
            lab.send(&message);
        }
    }
    let stores = stored_once(&redis).await;
    let what = format!(
        "{} by blobs in {calls} calls under {kills} kills",
        load.name
    );
    println!(
        "{what}: {:.1?}, {stores} results stored once",
        begin.elapsed()
    );
    check_peak(&what, idle, most);
    assert!(kills > 0, "it was too fast to be killed");
    lab.results(load.name)
}
