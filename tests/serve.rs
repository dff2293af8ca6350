//! `handler serve`: models from anywhere, each by one command.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::app_root::{repository, runtime_library};
use functions_host::PATIENCE;
use functions_host::client::{Client, Request};
use functions_host::port;

fn handler(arguments: &[&str], here: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handler"));
    command
        .arg("serve")
        .args(arguments)
        .env_clear()
        .env("ORT_DYLIB_PATH", runtime_library())
        .env("TMPDIR", here.join("tmp"))
        .current_dir(here)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A folder with a model in every form that people have one in.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new()
        .prefix("my models ")
        .tempdir()
        .unwrap();
    let models = repository().join("tests/data/models");
    let here = folder.path();
    fs::create_dir(here.join("tmp")).unwrap();
    let put = |from: &str, to: &str| {
        fs::create_dir_all(here.join(to).parent().unwrap()).unwrap();
        fs::copy(models.join(from), here.join(to)).unwrap();
    };
    for (from, to) in [
        ("external.onnx", "files/seven.onnx"),
        ("affine.onnx", "files/affine.onnx"),
        ("affine.onnx", "bare/any.onnx"),
        ("affine.onnx", "versions/1/model.onnx"),
        ("affine.onnx", "versions/3/model.onnx"),
        ("affine.onnx", "many/one/model.onnx"),
        ("affine.onnx", "many/two/1/model.onnx"),
    ] {
        put(from, to);
    }
    fs::write(here.join("files/model.weights"), 7f32.to_le_bytes()).unwrap();
    fs::write(here.join("files/large.bin"), "of something else").unwrap();
    std::os::unix::fs::symlink(repository().join("tests/data/text/tiny"), here.join("tiny"))
        .unwrap();
    fs::create_dir(here.join("none")).unwrap();
    fs::write(here.join("none/model.pkl"), b"\x80\x04\x95").unwrap();
    folder
}

/// Waits until the models are loaded.
fn ready(child: &mut Child) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.map(Result::unwrap) {
        if line.contains("ready: http://127.0.0.1:") {
            return;
        }
        said.push(line);
    }
    panic!("it ended: {said:#?}");
}

async fn get(client: &Client, path: &str) -> Value {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes();
    let answer = client
        .send(&Request {
            head,
            body: Vec::new(),
        })
        .await
        .unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

/// The names of the models that serve.
async fn served(arguments: &[&str], here: &Path) -> Vec<String> {
    let port = port::free();
    let port_text = port.to_string();
    let mut child = handler(&[arguments, &["--port", &port_text]].concat(), here)
        .spawn()
        .unwrap();
    ready(&mut child);
    let client = Client::new(port, PATIENCE);
    let index = get(&client, "/v1/models").await;
    let models = index["data"]
        .as_array()
        .unwrap_or_else(|| panic!("{index}"));
    let names = models
        .iter()
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect();
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    assert_eq!(output.await.unwrap().status.code(), Some(0));
    let left = fs::read_dir(here.join("tmp")).unwrap().flatten();
    // ONNX Runtime keeps a file of its own there.
    let left = left.filter(|entry| entry.path().is_dir()).count();
    assert_eq!(left, 0, "the links are gone");
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_any_form_is_served_by_one_command() {
    let folder = folder();
    for (arguments, expected) in [
        (&["files/seven.onnx"][..], &["seven"][..]),
        (&["./bare/"], &["bare"]),
        (&["versions"], &["versions"]),
        (&["versions/3"], &["versions"]),
        (&["many"], &["one", "two"]),
        (&["tiny"], &["tiny"]),
        (
            &["files/affine.onnx", "many", "tiny"],
            &["affine", "one", "tiny", "two"],
        ),
    ] {
        assert_eq!(
            served(arguments, folder.path()).await,
            expected,
            "{arguments:?}"
        );
    }
}

#[test]
fn what_cannot_be_served_is_told_with_the_reason() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (arguments, reason) in [
        (
            &["nowhere.onnx"][..],
            "model nowhere.onnx: there is no such file or folder",
        ),
        (
            &["none"],
            "no model.onnx in it; model.pkl is a Python pickle",
        ),
        (
            &["none/model.pkl"],
            "expected a folder with a model.onnx, or a file *.onnx",
        ),
        (&["bare", "versions/3"], "name the folder of its versions"),
        (
            &["bare", "./bare"],
            "two models are called \"bare\": bare and ./bare; rename one",
        ),
        (
            &["bare", "--port", &port],
            "another port is chosen by SCORE_PORT, or by --port",
        ),
        (
            &["bare", "--port", "http"],
            "invalid value 'http' for '--port <PORT>'",
        ),
    ] {
        let output = handler(arguments, folder.path())
            .env("SCORE_BIND_TIMEOUT", "1ms")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(reason), "{arguments:?}: {said}");
        assert!(matches!(output.status.code(), Some(1 | 2)));
    }
    let mut without = handler(&["bare"], folder.path());
    let output = without
        .env_remove("ORT_DYLIB_PATH")
        .env("SCORE_PORT", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ONNX Runtime is missing"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}
