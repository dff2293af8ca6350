//! `handler check` and `handler package`: what is packaged is the same every time; `answers` shows that it starts and answers.

mod answers;
mod heads;
mod weights;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use object::Endianness;
use object::read::elf::{ElfFile64, FileHeader};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app_root::repository;
use functions_host::host_config::read_json;

/// Newer than any that there is.
const ANY_GLIBC: [&str; 2] = ["--allow-glibc", "9.0"];
/// A small program, where it does not matter which.
const SMALL_PROGRAM: &str = "/bin/true";

fn handler(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handler"))
        .args(arguments)
        .env_clear()
        .env("ORT_DYLIB_PATH", library())
        .stdin(Stdio::null())
        .output()
        .expect("the handler starts")
}

fn library() -> PathBuf {
    repository().join("bin/libonnxruntime.so.1")
}

fn sample() -> String {
    text(&repository().join("models/mnist"))
}

fn model(name: &str) -> String {
    text(&repository().join(format!("tests/data/models/{name}.onnx")))
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

/// Runs `handler package`, which succeeds; the report.
fn package(arguments: &[&str]) -> String {
    let output = handler(&[&["package"], arguments, &ANY_GLIBC].concat());
    let (report, problems) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{problems}");
    report
}

/// The last line of what a command says that fails.
fn refusal(arguments: &[&str]) -> String {
    let output = handler(arguments);
    let (report, problems) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{report}{problems}");
    let last = problems.lines().last().expect("a line").to_owned();
    last.strip_prefix("error: ").expect("an error").to_owned()
}

/// All files with their modes, by relative name.
fn files(root: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
                continue;
            }
            let mode = path.symlink_metadata().unwrap().permissions().mode();
            let name = path.strip_prefix(root).unwrap();
            found.insert(text(name), mode);
        }
    }
    found
}

#[test]
fn equal_input_gives_equal_zips_and_bare_files_bring_what_belongs_to_them() {
    let root = folder();
    let place = |name: &str| root.path().join(name);
    fs::copy(model("external"), place("seven.onnx")).unwrap();
    fs::write(place("model.weights"), 7f32.to_le_bytes()).unwrap();
    fs::write(place("model.toml"), "max_rows = 9").unwrap();
    let seven = text(&place("seven.onnx"));
    let zips = ["one", "two"].map(|name| {
        let (out, zip) = (text(&place(name)), text(&place(&format!("{name}.zip"))));
        package(&[
            "--model",
            &seven,
            "--handler",
            SMALL_PROGRAM,
            "--out",
            &out,
            "--zip",
            &zip,
        ]);
        // Times must not matter, and the second comes within the same two seconds otherwise.
        std::thread::sleep(Duration::from_millis(2100));
        fs::read(zip).unwrap()
    });
    assert!(zips[0] == zips[1], "the zips differ");
    let shipped = files(&place("one"));
    for name in ["model.onnx", "model.weights", "model.toml"] {
        assert!(shipped.contains_key(&format!("models/seven/{name}")));
    }
    assert!(shipped.contains_key("score_http/function.json"));
    assert!(!shipped.contains_key("score_queue/function.json"));
    let again = ["package", "--model", &seven, "--handler", SMALL_PROGRAM];
    let out = text(&place("one"));
    let said = refusal(&[&again[..], &ANY_GLIBC, &["--out", &out]].concat());
    assert!(
        said.ends_with("is not empty; --force replaces it"),
        "{said}"
    );
    fs::write(place("one/left over"), "").unwrap();
    package(&[&again[1..], &["--out", &out, "--force"]].concat());
    assert_eq!(files(&place("one")), shipped);
}

/// The newest glibc that the dynamic symbols of a file ask for.
fn glibc_of(file: &Path) -> (u32, u32) {
    let content = fs::read(file).unwrap();
    let elf = ElfFile64::<Endianness>::parse(&*content).unwrap();
    let endian = elf.elf_header().endian().unwrap();
    let sections = elf.elf_section_table();
    let versions = sections.versions(endian, &*content).unwrap().unwrap();
    let symbols = elf.elf_dynamic_symbol_table();
    let names = symbols.enumerate().filter_map(|(index, _)| {
        let version = versions.version_index(endian, index).index();
        Some(versions.version(version).ok()??.name())
    });
    let releases = names.filter_map(|name| {
        let release = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
        let (major, minor) = release.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    releases.max().unwrap_or_default()
}

#[test]
fn a_handler_for_newer_systems_than_azures_is_refused_by_its_symbol_version() {
    let root = folder();
    let (out, affine) = (text(&root.path().join("app")), model("affine"));
    let arguments = ["package", "--model", &affine, "--out", &out];
    let (major, minor) = glibc_of(Path::new(env!("CARGO_BIN_EXE_handler")));
    if (major, minor) <= (2, 31) {
        assert_eq!(handler(&arguments).status.code(), Some(0));
        return;
    }
    let said = refusal(&arguments);
    for part in [
        format!("needs glibc {major}.{minor}"),
        format!("symbol version GLIBC_{major}.{minor}"),
        "make build-portable".to_owned(),
        format!("--allow-glibc {major}.{minor}"),
    ] {
        assert!(said.contains(&part), "{said}");
    }
    let too_little = format!("{major}.{}", minor - 1);
    refusal(&[&arguments[..], &["--allow-glibc", &too_little]].concat());
    assert_eq!(files(root.path()), BTreeMap::new());
    let enough = format!("{major}.{minor}");
    let output = handler(&[&arguments[..], &["--allow-glibc", &enough]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said);
}

#[test]
fn what_cannot_be_packaged_is_refused_in_one_line_and_leaves_nothing() {
    let root = folder();
    let inputs = folder();
    let [affine, tiny] = ["affine", "tiny_float"].map(model);
    let out = text(&root.path().join("app"));
    let script = text(&inputs.path().join("script"));
    fs::write(&script, "#!/bin/sh\n").unwrap();
    let twin = text(&inputs.path().join("affine.onnx"));
    fs::copy(&affine, &twin).unwrap();
    let absent = text(&inputs.path().join("absent.onnx"));
    let lost = text(&inputs.path().join("no/app.zip"));
    let occupied = text(inputs.path());
    let inside = format!("{out}/app.zip");
    let other_cpu = match std::env::consts::ARCH {
        "x86_64" => "aarch64",
        _ => "x86_64",
    };
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--model", &absent], &["absent.onnx", "no such file"]),
        (
            &["--model", &affine, &twin],
            &["two models are called \"affine\""],
        ),
        (
            &["--model", &script],
            &["expected a folder with a model.onnx"],
        ),
        (&["--model", &tiny], &["tiny_float", "cannot be served"]),
        (
            &["--model", &affine, "--trigger", "http,kafka"],
            &["\"kafka\"", "servicebus-topic"],
        ),
        (
            &["--model", &affine, "--zip", &lost],
            &["--zip", "cannot be written"],
        ),
        (
            &["--model", &affine, "--zip", &occupied],
            &["is not a file"],
        ),
        (&["--model", &affine, "--zip", &inside], &["lies in --out"]),
        (
            &["--model", &affine, "--handler", &script],
            &["not an ELF file"],
        ),
        (
            &["--model", &affine, "--handler", &absent],
            &["cannot be read"],
        ),
        (
            &["--model", &affine, "--target", other_cpu],
            &["the target is", other_cpu],
        ),
        (
            &["--model", &affine, "--target", "riscv"],
            &["x86_64, aarch64"],
        ),
    ];
    for (arguments, expected) in cases {
        let arguments = [&["package", "--out", &out], arguments, &ANY_GLIBC].concat();
        let said = refusal(&arguments);
        for part in expected {
            assert!(said.contains(part), "{said:?} has no {part:?}");
        }
        assert_eq!(files(root.path()), BTreeMap::new(), "{said}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "{said}");
    }
    let said = refusal(
        &[
            &["package", "--model", &affine, "--out", &occupied],
            &ANY_GLIBC[..],
        ]
        .concat(),
    );
    assert!(said.contains("is not empty"), "{said}");
}

#[test]
fn a_check_tells_what_was_found_out_and_all_problems_at_once() {
    let (sample, affine) = (sample(), model("affine"));
    let output = handler(&["check", &sample, &affine]);
    let (report, problems) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{problems}");
    for part in [
        "mnist (version 1): loaded in ",
        r#"inputs         "x" float32 [?,784]"#,
        "rows           independent (proved from the graph): ",
        "deterministic  yes",
        "memoize        yes",
        r#"sample         {"data":[[0,0,0]]}"#,
        "result         [[1.0,1.0,1.0]]",
    ] {
        assert!(report.contains(part), "{report}");
    }
    let [tiny, external] = ["tiny_float", "external"].map(model);
    let output = handler(&["check", "--json", &tiny, &affine, &external]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        document["models"][1]["sample_result"],
        json!([[1.0, 1.0, 1.0]])
    );
    assert_eq!(document["models"][1]["rows"]["treated"], "independent");
    assert_eq!(document["problems"].as_array().unwrap().len(), 2);
    let line = said(&output).1.lines().last().unwrap().to_owned();
    for part in ["error: ", "tiny_float", "model.weights\" is missing"] {
        assert!(line.contains(part), "{line}");
    }
    let models = text(&repository().join("models"));
    let output = handler(&["check", "--model-dir", &models]);
    assert_eq!(output.status.code(), Some(0));
    let empty = folder();
    let said = refusal(&["check", "--model-dir", &text(empty.path())]);
    assert!(said.starts_with("no model in "), "{said}");
}

#[test]
fn health_is_in_a_package_unless_it_is_left_out() {
    let target = folder();
    let place = |name: &str| target.path().join(name);
    let affine = model("affine");
    let with = ["--model", &affine, "--handler", SMALL_PROGRAM, "--out"];
    for (name, more, expected) in [
        ("with", &[][..], true),
        ("without", &["--no-health"], false),
    ] {
        let out = text(&place(name));
        package(&[&with[..], &[&*out], more].concat());
        let found = files(&place(name));
        let dockerfile = fs::read_to_string(place(name).join("Dockerfile")).unwrap();
        for word in ["live", "ready"] {
            let function = format!("score_health_{word}/function.json");
            assert_eq!(found.contains_key(&function), expected, "{name}");
            let copied = format!("COPY score_health_{word} score_health_{word}\n");
            assert_eq!(dockerfile.contains(&copied), expected, "{name}");
            if expected {
                let document = read_json(&place(name).join(function));
                let trigger = &document["bindings"][0];
                assert_eq!(trigger["authLevel"], "anonymous");
                assert_eq!(trigger["route"], format!("health/{word}"));
                assert_eq!(trigger["methods"], json!(["get"]));
            }
        }
    }
}
