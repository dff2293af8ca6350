//! Model folders as people have them: what is used, what is refused, and with which words.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;

const JSON: (&str, &str) = ("content-type", "application/json");

fn data(name: &str) -> Vec<u8> {
    fs::read(repository().join(format!("tests/data/models/{name}.onnx"))).unwrap()
}

fn handler(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handler"))
        .args(arguments)
        .env_clear()
        .env(
            "ORT_DYLIB_PATH",
            repository().join("bin/libonnxruntime.so.1"),
        )
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the handler starts")
}

/// What `handler check` says of a folder that it refuses.
fn refusal(folder: &Path, settings: &[(&str, &str)]) -> String {
    let output = handler(&["check", folder.to_str().unwrap()], settings);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn model_toml_beside_the_versions_counts_for_all_that_have_none() {
    let app = AppRoot::new();
    app.write(
        "models/shared/model.toml",
        "outputs = [\"output_label\"]\nlabels = [\"shared\"]",
    );
    app.write("models/shared/1/model.onnx", data("zipmap"));
    app.write(
        "models/own/model.toml",
        "outputs = [\"output_label\"]\nlabels = [\"shared\"]",
    );
    app.write("models/own/2/model.onnx", data("zipmap"));
    app.write("models/own/2/model.toml", "labels = [\"own\"]");
    let host = in_process::start(&app, []).await;
    let body = json!({ "data": [[5.1, 3.5, 1.4, 0.2]] }).to_string();
    for (name, place, expected) in [
        ("shared", "/0", "shared"),
        ("own", "/output_label/0", "own"),
    ] {
        let path = format!("/api/score/{name}");
        let answer = host.http("POST", &path, &[JSON], body.as_bytes()).await;
        assert_eq!(answer.expect_status(200).at(place), expected, "{name}");
    }
}

#[test]
fn what_is_not_a_usable_model_is_named_with_what_to_do() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = root.path().join("m");
    fs::create_dir(&folder).unwrap();
    let changed = |from: &[u8], to: &[u8]| {
        let mut model = data("affine");
        let place = model
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        model[place..place + from.len()].copy_from_slice(to);
        model
    };
    let affine = data("affine");
    for (content, expected) in [
        (
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "git lfs pull",
        ),
        (
            b"PK\x03\x04\x14\0model/data.pkl".to_vec(),
            "torch.onnx.export",
        ),
        (affine[..affine.len() / 2].to_vec(), "is cut off"),
        (
            changed(b"\x08\x09", b"\x08\x63"),
            "the file is of ONNX IR version 99 (with opset 18 of ai.onnx)",
        ),
        (
            changed(b"\x0a\x00\x10\x12", b"\x0a\x00\x10\x63"),
            "the file needs opset 99 of ai.onnx, and",
        ),
        (
            data("external"),
            r#"external data "model.weights" is missing"#,
        ),
        (
            data("custom_operator"),
            "the operator StringUpper is of the domain ai.onnx.contrib",
        ),
    ] {
        fs::write(folder.join("model.onnx"), content).unwrap();
        let said = refusal(&folder, &[]);
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains(".cc:") && !said.contains("std::"), "{said}");
    }
}

#[test]
fn libraries_of_operators_are_loaded_only_where_the_setting_allows_it() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = root.path().join("m");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("model.onnx"), data("custom_operator")).unwrap();
    fs::write(folder.join("model.toml"), "custom_ops = \"operators.so\"").unwrap();
    assert!(refusal(&folder, &[]).contains("there is no library \"operators.so\""));
    fs::write(folder.join("operators.so"), "no library").unwrap();
    assert!(refusal(&folder, &[]).contains("SCORE_CUSTOM_OPS=on allows that"));
    let said = refusal(&folder, &[("SCORE_CUSTOM_OPS", "on")]);
    assert!(
        said.contains("the library that custom_ops names cannot be used"),
        "{said}"
    );
    let app = root.path().join("app");
    let arguments = [
        "package",
        "--model",
        folder.to_str().unwrap(),
        "--trigger",
        "http",
        "--out",
        app.to_str().unwrap(),
    ];
    let output = handler(&[&arguments[..], &["--allow-glibc", "9.0"]].concat(), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("operators.so is not an ELF file"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_circles_and_hostile_links_cost_their_own_model_only() {
    let app = AppRoot::new();
    app.write("models/good/model.onnx", data("affine"));
    let models = app.path().join("models");
    for (target, link) in [
        (".", "good/circle"),
        ("..", "good/circle2"),
        (".", "circle"),
        ("/dev/zero", "good/zero"),
    ] {
        symlink(target, models.join(link)).unwrap();
    }
    for name in ["pipe", "options", "far"] {
        fs::create_dir(models.join(name)).unwrap();
    }
    fs::write(models.join("options/model.onnx"), data("affine")).unwrap();
    for pipe in ["pipe/model.onnx", "options/model.toml", "good/pipe"] {
        let made = Command::new("mkfifo").arg(models.join(pipe)).status();
        assert!(made.unwrap().success());
    }
    // The location `model.weights` becomes one of the same length that leads out of the folder.
    let mut far = data("external");
    let place = far
        .windows(13)
        .position(|window| window == b"model.weights")
        .unwrap();
    far[place..place + 13].copy_from_slice(b"../weights.so");
    fs::write(models.join("far/model.onnx"), far).unwrap();
    let host = in_process::start(&app, []).await;
    let body = br#"{"data":[[1,2,3]]}"#;
    let answer = host.http("POST", "/api/score/good", &[JSON], body).await;
    assert_eq!(answer.expect_status(200).json(), json!([[3.0, 5.0, 7.0]]));
    for (name, expected) in [
        ("pipe", "model.onnx is not a regular file"),
        ("options", "expected a text file"),
        ("far", "lies outside of its folder"),
        ("circle", "no model.onnx in it"),
    ] {
        let answer = host
            .http("POST", &format!("/api/score/{name}"), &[JSON], body)
            .await;
        let said = answer.expect_status(503).text();
        assert!(said.contains(expected), "{name}: {said}");
    }
}
