//! Versions of a model: which of them are served, side by side or one after the other, while requests come.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use functions_host::eventually;
use functions_host::host::FunctionsHost;
use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;

const JSON: (&str, &str) = ("content-type", "application/json");
const RELOAD: [(&str, &str); 2] = [("SCORE_RELOAD", "on"), ("SCORE_RELOAD_INTERVAL", "20ms")];

/// The file of y = 2x + 1, or of y = 3x + 1.
fn file(factor: u8) -> PathBuf {
    let name = ["affine.onnx", "affine_other.onnx"][usize::from(factor) - 2];
    repository().join("tests/data/models").join(name)
}

fn add(app: &AppRoot, folder: &str, factor: u8) {
    let folder = app.path().join("models").join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(file(factor), folder.join("model.onnx")).unwrap();
}

/// By what the model at that path multiplies; the status if that is no success.
async fn factor(host: &FunctionsHost, path: &str) -> Result<f64, u16> {
    let body = json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 1, 1] }] });
    let path = format!("/api/score/v2/models/{path}/infer");
    let answer = host
        .http("POST", &path, &[JSON], body.to_string().as_bytes())
        .await;
    match answer.status {
        200 => Ok(answer.at("/outputs/0/data/0").as_f64().unwrap() - 1.0),
        status => Err(status),
    }
}

async fn version(host: &FunctionsHost, name: &str) -> Value {
    let path = format!("/api/score/{name}");
    host.http("GET", &path, &[], b"").await.json()["version"].clone()
}

/// Waits until what was changed before is seen: the next change is seen in a later look.
async fn see_a_later_change(app: &AppRoot, host: &FunctionsHost) {
    add(app, "later", 3);
    eventually("the new model serves", async || {
        factor(host, "later").await == Ok(3.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_served_side_by_side_where_settings_or_model_toml_say_so() {
    let app = AppRoot::new();
    for name in ["all", "old", "pinned"] {
        add(&app, &format!("{name}/1"), 2);
        add(&app, &format!("{name}/02"), 3);
    }
    app.write("models/pinned/model.toml", "versions = [1]\n");
    app.write("models/old/model.toml", "versions = [3]\n");
    let host = in_process::start(&app, [("SCORE_VERSIONS", "2")]).await;
    assert_eq!(factor(&host, "all").await, Ok(3.0));
    assert_eq!(factor(&host, "all/versions/2").await, Ok(3.0));
    assert_eq!(factor(&host, "all/versions/1").await, Ok(2.0));
    assert_eq!(factor(&host, "all/versions/3").await, Err(404));
    let document = host.http("GET", "/api/score/v2/models/all", &[], b"").await;
    assert_eq!(document.at("/versions"), json!(["2", "1"]));
    assert_counted_by_version(&host).await;
    assert_eq!(factor(&host, "pinned").await, Ok(2.0));
    assert_eq!(factor(&host, "pinned/versions/2").await, Err(404));
    let refused = host.http("GET", "/api/score/old", &[], b"").await;
    assert_eq!(refused.status, 503);
    assert!(
        refused
            .text()
            .contains("there is no version 3; there are 2, 1")
    );
}

/// Metrics and statistics tell versions apart where there are several: of `all` version 2 has scored two rows, version 1 one.
async fn assert_counted_by_version(host: &FunctionsHost) {
    let metrics = host.http("GET", "/api/score/metrics", &[], b"").await;
    let metrics = metrics.expect_status(200).text();
    for line in [
        r#"score_rows_total{model="all",version="2"} 2"#,
        r#"score_rows_total{model="all",version="1"} 1"#,
        r#"score_model_up{model="all",version="1"} 1"#,
        r#"score_rows_total{model="pinned"} 0"#,
        r#"score_model_up{model="pinned"} 1"#,
        r#"score_model_up{model="old"} 0"#,
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    let plan = r#"score_cache_requests_total{model="all",version="1",plan=""#;
    assert!(metrics.contains(plan), "{metrics}");
    for (path, expected) in [
        (
            "stats",
            json!([["all", "2", 2], ["all", "1", 1], ["pinned", "1", 0]]),
        ),
        ("all/stats", json!([["all", "2", 2], ["all", "1", 1]])),
        ("all/versions/1/stats", json!([["all", "1", 1]])),
        ("pinned/stats", json!([["pinned", "1", 0]])),
    ] {
        let path = format!("/api/score/v2/models/{path}");
        let answer = host.http("GET", &path, &[], b"").await.expect_status(200);
        let told = answer.at("/model_stats");
        let told = told.as_array().unwrap().iter();
        let told = told.map(|of| json!([of["name"], of["version"], of["inference_count"]]));
        assert_eq!(told.collect::<Value>(), expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_model_that_failed_is_not_ready_where_all_have_to_serve() {
    let app = AppRoot::new();
    add(&app, "good", 2);
    app.write("models/broken/model.onnx", "no model");
    let host = in_process::start(&app, [("SCORE_READY", "all")]).await;
    assert_eq!(factor(&host, "good").await, Ok(2.0));
    let ready = host.http("GET", "/api/health/ready", &[], b"").await;
    assert_eq!((ready.status, &*ready.text()), (503, "failed"));
    let ready = host
        .http("GET", "/api/score/v2/health/ready", &[], b"")
        .await;
    assert_eq!(ready.status, 503);
}

/// The threads of a model's sessions.
fn threads_of(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|thread| thread.starts_with(name)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_over_when_it_is_ready_and_the_old_one_is_given_back() {
    let app = AppRoot::new();
    add(&app, "watched/1", 2);
    let settings = [RELOAD[0], RELOAD[1], ("SCORE_SESSIONS", "2")];
    let host = in_process::start(&app, settings).await;
    assert_eq!(factor(&host, "watched").await, Ok(2.0));
    // A thread gets its name after its start, which the first answer does not wait for.
    let has_two_sessions = async || threads_of("watched-") == 2;
    eventually("both sessions run", has_two_sessions).await;
    // As a copy leaves it while it is under way: requests are answered by the old version alone.
    let whole = fs::read(file(3)).unwrap();
    let new = app.path().join("models/watched/2");
    fs::create_dir(&new).unwrap();
    for end in [whole.len() / 3, whole.len() / 2] {
        fs::write(new.join("model.onnx"), &whole[..end]).unwrap();
        for _ in 0..5 {
            assert_eq!(factor(&host, "watched").await, Ok(2.0));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    fs::write(new.join("model.onnx"), &whole).unwrap();
    eventually("version 2 serves", async || {
        let factor = factor(&host, "watched").await.unwrap();
        assert!([2.0, 3.0].contains(&factor));
        factor == 3.0
    })
    .await;
    assert_eq!(version(&host, "watched").await, "2");
    assert_eq!(factor(&host, "watched/versions/1").await, Err(404));
    eventually("the sessions of version 1 end", has_two_sessions).await;
    // Without its folder it gives way to the one before.
    fs::remove_dir_all(&new).unwrap();
    eventually("version 1 serves", async || {
        factor(&host, "watched").await == Ok(2.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_never_replaces_what_serves() {
    let app = AppRoot::new();
    add(&app, "steady", 2);
    add(&app, "other", 2);
    let host = in_process::start(&app, RELOAD).await;
    assert_eq!(factor(&host, "steady").await, Ok(2.0));
    app.write("models/steady/model.onnx", "<html>404 Not Found</html>");
    app.write("models/steady/model.toml", "labels = 7");
    see_a_later_change(&app, &host).await;
    assert_eq!(factor(&host, "steady").await, Ok(2.0));
    let document = host.http("GET", "/api/score/openapi.json", &[], b"").await;
    assert!(document.text().contains("/api/score/later"));
    // A model that is taken away is no longer served, but the last one stays.
    fs::remove_dir_all(app.path().join("models/other")).unwrap();
    eventually("a removed model is gone", async || {
        factor(&host, "other").await == Err(404)
    })
    .await;
    fs::rename(app.path().join("models"), app.path().join("gone")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(factor(&host, "steady").await, Ok(2.0));
    fs::rename(app.path().join("gone"), app.path().join("models")).unwrap();
    fs::remove_file(app.path().join("models/steady/model.toml")).unwrap();
    fs::copy(file(3), app.path().join("models/steady/.new")).unwrap();
    let steady = app.path().join("models/steady");
    fs::rename(steady.join(".new"), steady.join("model.onnx")).unwrap();
    eventually("the mended model serves", async || {
        factor(&host, "steady").await == Ok(3.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_serves_stays_where_its_new_files_fail() {
    let app = AppRoot::new();
    add(&app, "m/1", 2);
    add(&app, "m/2", 3);
    let settings = [RELOAD[0], RELOAD[1], ("SCORE_VERSIONS", "2")];
    let host = in_process::start(&app, settings).await;
    assert_eq!(factor(&host, "m").await, Ok(3.0));
    app.write("models/m/2/model.onnx", "broken");
    see_a_later_change(&app, &host).await;
    for (path, found) in [("m", 3.0), ("m/versions/2", 3.0), ("m/versions/1", 2.0)] {
        assert_eq!(factor(&host, path).await, Ok(found), "{path}");
    }
    add(&app, "m/2", 2);
    eventually("the mended version serves", async || {
        factor(&host, "m").await == Ok(2.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stands_in_for_a_version_that_stays() {
    let app = AppRoot::new();
    add(&app, "m/1", 2);
    add(&app, "m/2", 3);
    let host = in_process::start(&app, RELOAD).await;
    assert_eq!(factor(&host, "m").await, Ok(3.0));
    app.write("models/m/2/model.onnx", "broken");
    see_a_later_change(&app, &host).await;
    assert_eq!(factor(&host, "m").await, Ok(3.0));
    let document = host.http("GET", "/api/score/v2/models/m", &[], b"").await;
    assert_eq!(document.at("/versions"), json!(["2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_versions_stand_in_for_those_that_cannot_be_loaded() {
    let app = AppRoot::new();
    add(&app, "m/1", 2);
    add(&app, "m/2", 3);
    app.write("models/m/3/model.onnx", "<html>404 Not Found</html>");
    for (most, served) in [("1", &["2"][..]), ("2", &["2", "1"])] {
        let host = in_process::start(&app, [("SCORE_VERSIONS", most)]).await;
        assert_eq!(factor(&host, "m").await, Ok(3.0));
        let document = host.http("GET", "/api/score/v2/models/m", &[], b"").await;
        assert_eq!(document.at("/versions"), json!(served));
        let answer = host.http("POST", "/api/score/v2/repository/index", &[], b"");
        let index = answer.await.expect_status(200).json();
        let failed = index
            .as_array()
            .unwrap()
            .iter()
            .find(|m| m["version"] == "3");
        assert_eq!(failed.unwrap()["state"], "UNAVAILABLE");
        assert_eq!(index.as_array().unwrap().len(), served.len() + 1);
        assert_eq!(factor(&host, "m/versions/3").await, Err(503));
    }
    // A failing version that comes later takes nothing away either.
    let settings = [RELOAD[0], RELOAD[1], ("SCORE_VERSIONS", "2")];
    let host = in_process::start(&app, settings).await;
    app.write("models/m/4/model.onnx", "broken");
    add(&app, "later", 3);
    eventually("the new model serves", async || {
        factor(&host, "later").await == Ok(3.0)
    })
    .await;
    for (path, found) in [("m", 3.0), ("m/versions/2", 3.0), ("m/versions/1", 2.0)] {
        assert_eq!(factor(&host, path).await, Ok(found), "{path}");
    }
}

/// As the kubelet writes volumes of config maps: files are links through `..data`, which is exchanged by a rename.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_links_is_exchanged_at_once() {
    let app = AppRoot::new();
    let folder = app.path().join("models/linked");
    let write = |data: &str, factor| {
        fs::create_dir_all(folder.join(data)).unwrap();
        fs::copy(file(factor), folder.join(data).join("model.onnx")).unwrap();
        symlink(data, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    write("..2024_01_01", 2);
    symlink("..data/model.onnx", folder.join("model.onnx")).unwrap();
    let host = in_process::start(&app, RELOAD).await;
    assert_eq!(factor(&host, "linked").await, Ok(2.0));
    write("..2024_01_02", 3);
    eventually("the new files serve", async || {
        factor(&host, "linked").await == Ok(3.0)
    })
    .await;
}
