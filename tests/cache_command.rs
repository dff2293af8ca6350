//! `handler cache`: what operators see of remembered results, and how they remove them.

use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::Command;

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::fault_proxy::FaultProxy;
use crate::support::redis::{RedisOptions, RedisServer};
use crate::support::redis_cluster::RedisCluster;
use crate::support::resp;
use functions_host::PATIENCE;
use functions_host::host::{FunctionsHost, HostOptions};

const JSON: (&str, &str) = ("content-type", "application/json");
/// Keys that look like ours and are not.
const FOREIGN: [&str; 6] = [
    "session:1",
    "score:2:probe",
    "score:2:notes",
    "score:1:00000000000000ab:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
    "scores:2:00000000000000ab:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
    "score:2:00000000000000ab:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0g",
];

/// The program as an operator runs it: in the app folder, with these settings and nothing else.
pub(crate) fn program(app: &AppRoot, settings: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(app.path().join("bin/handler"));
    command
        .args(arguments)
        .current_dir(app.path())
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(app: &AppRoot, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let output = program(app, settings, arguments).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await;
    output.expect("the command ends").expect("it starts")
}

/// What it prints when all is well.
async fn answer(app: &AppRoot, url: &str, arguments: &[&str]) -> String {
    let output = run(app, &[("REDIS_URL", url)], arguments).await;
    let (said, warned) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{warned}");
    let progress = |line: &str| line.ends_with(" entries so far");
    assert!(warned.lines().all(progress), "{warned}");
    said
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

async fn stats(app: &AppRoot, url: &str) -> Value {
    let text = answer(app, url, &["cache", "stats", "--json"]).await;
    serde_json::from_str(&text).expect("JSON")
}

fn of_model<'a>(stats: &'a Value, name: &str) -> &'a Value {
    let digests = stats["digests"].as_array().expect("an array");
    let mut found = digests
        .iter()
        .filter(|d| d["models"] == serde_json::json!([name]));
    found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {stats}"))
}

/// Two models that take the same rows.
fn two_models() -> AppRoot {
    let (app, models) = (AppRoot::new(), repository().join("tests/data/models"));
    app.add_model("one", models.join("affine.onnx"), None);
    app.add_model("two", models.join("affine_other.onnx"), None);
    app
}

async fn serve(app: &AppRoot, url: &str) -> FunctionsHost {
    let host = FunctionsHost::start(app, [("REDIS_URL", url), ("SCORE_L1_BYTES", "0")]).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host
}

async fn score(host: &FunctionsHost, model: &str, rows: std::ops::Range<i64>) -> String {
    let rows: Vec<[i64; 3]> = rows.map(|n| [n, 0, 0]).collect();
    let body = serde_json::json!({ "data": rows }).to_string();
    let path = format!("/api/score/{model}");
    let answer = host.http("POST", &path, &[JSON], body.as_bytes()).await;
    let answer = answer.expect_status(200);
    answer.header("x-cache").expect("X-Cache").to_owned()
}

/// Entries of a model that no folder holds, and neighbours that are not ours.
async fn fill(redis: &RedisServer, model: &str, count: usize) {
    let keys: Vec<String> = (0..count)
        .map(|n| format!("score:2:{model}:{n:064x}"))
        .collect();
    for some in keys.chunks(1000) {
        let commands: Vec<[&[u8]; 5]> = some
            .iter()
            .map(|key| [&b"SET"[..], key.as_bytes(), b"0123456789", b"EX", b"1000"])
            .collect();
        let commands: Vec<&[&[u8]]> = commands.iter().map(|command| &command[..]).collect();
        resp::pipeline(redis.port(), &commands)
            .await
            .expect("redis-server is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_reaches_every_node_of_a_cluster() {
    let cluster = RedisCluster::start().await;
    a_purge_takes_one_model_and_leaves_the_other(&[("REDIS_URL", &cluster.url())]).await;
}

/// What must hold with any Redis, one server or a cluster, reached by these settings.
async fn a_purge_takes_one_model_and_leaves_the_other(settings: &[(&str, &str)]) {
    let app = two_models();
    let all = settings.iter().chain(&[("SCORE_L1_BYTES", "0")]);
    let options = all.fold(HostOptions::default(), |options, (name, value)| {
        options.setting(name, *value)
    });
    let host = FunctionsHost::start(&app, options).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    for (model, rows) in [("one", 0..200), ("two", 0..100)] {
        let give_up = Instant::now() + PATIENCE;
        while score(&host, model, rows.clone()).await != "HIT" {
            assert!(Instant::now() < give_up, "results are not remembered");
        }
    }
    let said = async |arguments: &[&str]| {
        let output = run(&app, settings, arguments).await;
        let (said, warned) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{said}{warned}");
        said
    };
    let figures = said(&["cache", "stats", "--json"]).await;
    let figures: Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(of_model(&figures, "one")["entries"], 200);
    assert_eq!(of_model(&figures, "two")["entries"], 100);
    let purged = said(&["cache", "purge", "--model", "one"]).await;
    assert!(
        purged.starts_with("removed 200 entries of model one ("),
        "{purged}"
    );
    assert_eq!(score(&host, "two", 0..100).await, "HIT");
    assert_eq!(score(&host, "one", 0..200).await, "MISS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_works_over_tls_with_a_password() {
    let redis = RedisServer::start_with(RedisOptions::default().tls().password("p+w/=x")).await;
    let authority = redis.ca_file().to_str().expect("UTF-8");
    let settings = [("REDIS_URL", &*redis.url()), ("REDIS_CA_FILE", authority)];
    a_purge_takes_one_model_and_leaves_the_other(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_models_entries_go_and_the_others_stay() {
    let (app, redis) = (two_models(), RedisServer::start().await);
    let url = redis.url();
    let host = serve(&app, &url).await;
    score(&host, "one", 0..30).await;
    score(&host, "two", 0..20).await;
    redis.wait_for_keys(50, PATIENCE).await;
    for key in FOREIGN {
        redis.command(&[b"SET", key.as_bytes(), b"x"]).await;
    }
    fill(&redis, "00000000000000ab", 7).await;

    let before = stats(&app, &url).await;
    assert_eq!(before["namespace"], "score");
    let one = of_model(&before, "one");
    // The seal, one output of three floats: 19 + 2 + 4 + 12 bytes.
    assert_eq!(
        (&one["entries"], &one["bytes"]),
        (&30.into(), &(30 * 37).into())
    );
    assert_eq!(one["lasting"], 0);
    let (day, left) = (86_400_000.0, &one["expire_in_ms"]);
    let (shortest, longest) = (left["shortest"].as_f64(), left["longest"].as_f64());
    assert!(
        shortest > Some(0.89 * day) && longest < Some(1.1 * day),
        "{left}"
    );
    assert_eq!(of_model(&before, "two")["entries"], 20);
    assert_eq!(before["digests"].as_array().unwrap().len(), 3);

    let table = answer(&app, &url, &["cache", "stats"]).await;
    let former = table
        .lines()
        .find(|line| line.starts_with("00000000000000ab"));
    let former = former.expect("a line for the model that is gone");
    assert!(
        former.contains(" 7 ") && former.contains("unknown"),
        "{table}"
    );
    assert_eq!(table.lines().count(), 4, "{table}");

    let dry = ["cache", "purge", "--model", "one", "--dry-run"];
    let said = answer(&app, &url, &dry).await;
    assert!(
        said.starts_with("would remove 30 entries of model one ("),
        "{said}"
    );
    assert_eq!(score(&host, "one", 0..30).await, "HIT");
    let said = answer(&app, &url, &dry[..4]).await;
    assert!(
        said.starts_with("removed 30 entries of model one ("),
        "{said}"
    );
    assert_eq!(score(&host, "two", 0..20).await, "HIT");
    assert_eq!(score(&host, "one", 0..30).await, "MISS");
    redis.wait_for_keys(63, PATIENCE).await;

    let said = answer(
        &app,
        &url,
        &["cache", "purge", "--model", "00000000000000ab"],
    )
    .await;
    assert!(
        said.starts_with("removed 7 entries of model 00000000000000ab "),
        "{said}"
    );
    let said = answer(&app, &url, &["cache", "purge", "--all"]).await;
    assert!(
        said.starts_with("removed 50 entries of all models"),
        "{said}"
    );
    let mut left: Vec<Vec<u8>> = FOREIGN.map(|key| key.as_bytes().to_vec()).into();
    left.sort();
    assert_eq!(redis.keys("*").await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_do_not_see_each_other() {
    let (app, redis) = (two_models(), RedisServer::start().await);
    let url = redis.url();
    let first = serve(&app, &url).await;
    score(&first, "one", 0..5).await;
    redis.wait_for_keys(5, PATIENCE).await;

    let settings = [
        ("REDIS_URL", url.as_str()),
        ("SCORE_CACHE_NAMESPACE", "score-2.eu"),
    ];
    let moved = FunctionsHost::start(&app, settings).await;
    moved.wait_for_log("redis connected", PATIENCE).await;
    assert_eq!(score(&moved, "one", 0..5).await, "MISS");
    redis.wait_for_keys(10, PATIENCE).await;
    assert_eq!(redis.keys("score-2.eu:2:*").await.len(), 5);

    let output = run(&app, &settings, &["cache", "purge", "--all"]).await;
    assert!(
        texts(&output)
            .0
            .starts_with("removed 5 entries of all models in namespace score-2.eu")
    );
    assert_eq!(score(&first, "one", 0..5).await, "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_entries_go_while_requests_are_served() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let url = redis.url();
    let host = serve(&app, &url).await;
    fill(&redis, "00000000000000ab", 20_000).await;
    // Neither a list nor a value without an end may be in the way.
    let odd = |n: u64| format!("score:2:00000000000000ab:{:064x}", u64::MAX - n);
    redis.command(&[b"LPUSH", odd(0).as_bytes(), b"x"]).await;
    redis
        .command(&[b"SET", odd(1).as_bytes(), b"0123456789"])
        .await;
    let before = stats(&app, &url).await;
    let digest = &before["digests"][0];
    assert_eq!(
        (&digest["entries"], &digest["bytes"], &digest["lasting"]),
        (&20_002.into(), &200_010.into(), &2.into())
    );

    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients = (0..8).map(|client| {
        let (host, digits, done, served) = (&host, &digits, &done, &served);
        async move {
            let mut row = client;
            while !done.load(Ordering::Relaxed) {
                let body = digits.body([row]);
                let answer = host.http("POST", "/api/score", &[JSON], &body).await;
                assert_eq!(answer.expect_status(200).json(), digits.answer([row]));
                served.fetch_add(1, Ordering::Relaxed);
                row = (row + 1) % 100;
            }
        }
    });
    let purge = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = served.load(Ordering::Relaxed);
        let arguments = ["cache", "purge", "--model", "00000000000000ab"];
        let output = run(&app, &[("REDIS_URL", &url)], &arguments).await;
        let meanwhile = served.load(Ordering::Relaxed) - before;
        done.store(true, Ordering::Relaxed);
        (output, meanwhile)
    };
    let (_, (output, meanwhile)) = tokio::join!(futures_util::future::join_all(clients), purge);
    let (said, _) = texts(&output);
    assert!(
        said.starts_with("removed 20002 entries of model 00000000000000ab"),
        "{said}"
    );
    assert!(meanwhile > 0, "no request was served");
    assert_eq!(redis.keys("score:2:00000000000000ab:*").await.len(), 0);
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

/// Peak resident memory of the command. `wait4` would tell it, had the standard library it.
#[cfg(target_os = "linux")]
async fn peak_kib(app: &AppRoot, url: &str, arguments: &[&str]) -> u64 {
    let mut child = program(app, &[("REDIS_URL", url)], arguments)
        .spawn()
        .expect("it starts");
    let status = format!("/proc/{}/status", child.id().expect("it runs"));
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(size.unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    peak
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_number_of_entries() {
    let (app, redis) = (two_models(), RedisServer::start().await);
    let arguments = ["cache", "purge", "--model", "00000000000000ab"];
    let mut peaks = Vec::new();
    for count in [2_000, 100_000] {
        fill(&redis, "00000000000000ab", count).await;
        peaks.push(peak_kib(&app, &redis.url(), &arguments).await);
        assert_eq!(redis.key_count().await, 0);
    }
    // The keys alone of 100,000 entries are 9 MB.
    assert!(peaks[1] < peaks[0] + 6 * 1024, "{peaks:?} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_or_with_one_that_is_down_it_says_so_and_ends() {
    let (app, redis) = (two_models(), RedisServer::start().await);
    let url = redis.url();
    let said = |output: Output| {
        let (answer, said) = texts(&output);
        assert_eq!(
            (output.status.code(), answer.as_str()),
            (Some(1), ""),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let commands = [&["cache", "stats"][..], &["cache", "purge", "--all"]];
    for arguments in commands {
        let unset = said(run(&app, &[], arguments).await);
        assert!(unset.contains("no Redis is set: set REDIS_URL"), "{unset}");
    }
    for frozen in [true, false] {
        match frozen {
            true => redis.pause(),
            false => redis.stop(),
        }
        let start = Instant::now();
        let settings = [("REDIS_URL", url.as_str())];
        let outputs = join_all(commands.map(|arguments| run(&app, &settings, arguments))).await;
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        for down in outputs.into_iter().map(said) {
            assert!(down.contains("error: redis at 127.0.0.1:"), "{down}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_purge_ends_at_once_and_can_be_run_again() {
    let (app, redis) = (two_models(), RedisServer::start().await);
    let (url, arguments) = (redis.url(), ["cache", "purge", "--all"]);
    fill(&redis, "00000000000000ab", 50_000).await;
    // Slow enough to be met at work, also on a busy machine: a hundred round trips.
    let far = FaultProxy::start(redis.port());
    far.delay(Duration::from_millis(100));
    let far = format!("redis://127.0.0.1:{}", far.port());
    let child = program(&app, &[("REDIS_URL", &far)], &arguments)
        .spawn()
        .expect("it starts");
    let started = Instant::now();
    while redis.key_count().await == 50_000 {
        assert!(started.elapsed() < PATIENCE, "nothing is removed");
    }
    // Not SIGINT, which background jobs of a shell, and all they start, ignore.
    let pid = Pid::from_raw(child.id().expect("it runs") as i32);
    kill(pid, Signal::SIGTERM).expect("it is still at work");
    let output = child.wait_with_output().await.expect("a child");
    assert_eq!(output.status.signal(), Some(Signal::SIGTERM as i32));
    let left = redis.key_count().await;
    assert!((1..50_000).contains(&left), "{left}");
    let said = answer(&app, &url, &arguments).await;
    assert!(
        said.starts_with(&format!("removed {left} entries")),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_refused_with_the_names_there_are() {
    let (app, redis) = (two_models(), RedisServer::start().await);
    let url = redis.url();
    app.write("models/broken/notes.txt", "no model");
    let refused = async |name: &str| {
        let arguments = ["cache", "purge", "--model", name];
        let output = run(&app, &[("REDIS_URL", &url)], &arguments).await;
        assert_eq!(output.status.code(), Some(1));
        texts(&output).1
    };
    let said = refused("three").await;
    assert!(
        said.contains(r#"no model "three"; there are: broken, one, two"#),
        "{said}"
    );
    assert!(refused("broken").await.contains("no model.onnx in it"));

    // Without the runtime the names are not known, but the counts are, and a digest can still be removed.
    fill(&redis, "00000000000000ab", 3).await;
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("ORT_DYLIB_PATH", "missing.so"),
    ];
    let output = run(&app, &settings, &["cache", "stats"]).await;
    let (table, warned) = texts(&output);
    assert!(table.contains("00000000000000ab        3"), "{table}");
    assert!(
        warned.contains("warning: no model is known: ONNX Runtime cannot be loaded"),
        "{warned}"
    );
    let arguments = ["cache", "purge", "--model", "00000000000000ab"];
    assert_eq!(
        run(&app, &settings, &arguments).await.status.code(),
        Some(0)
    );
    assert_eq!(redis.key_count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_version_need_no_settings_and_unknown_arguments_are_refused() {
    let app = AppRoot::bare();
    let program = |settings: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handler"));
        command.args(arguments).current_dir(app.path()).env_clear();
        command.envs(settings.iter().copied()).output()
    };
    let broken = [("SCORE_PORT", "web"), ("REDIS_URL", "x")];
    for (arguments, expected) in [
        (&["--help"][..], "cache"),
        (
            &["--version"],
            concat!("score-onnx ", env!("CARGO_PKG_VERSION")),
        ),
        (&["cache", "--help"], "purge"),
        (&["cache", "purge", "--help"], "SCORE_L1_BYTES"),
    ] {
        let output = program(&broken, arguments).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(texts(&output).0.contains(expected), "{arguments:?}");
    }
    for arguments in [&["start"][..], &["--port", "7071"], &["cache", "purge"]] {
        let output = program(&[], arguments).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let (answer, said) = texts(&output);
        assert!(answer.is_empty() && said.starts_with("error: "), "{said}");
    }
    let output = program(&broken, &["cache", "stats"]).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).1.contains(r#"setting SCORE_PORT="web""#));
}
