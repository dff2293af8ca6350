//! `handler check` and `handler package`: what is packaged starts, answers, and is the same every time.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use object::Endianness;
use object::read::elf::{ElfFile64, FileHeader};
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::ZipArchive;

use crate::protocol_cases::mistakes;
use crate::support::app_root::{AppRoot, repository};
use crate::support::funcignore::shipped_files;
use functions_host::PATIENCE;
use functions_host::broker::EntityOptions;
use functions_host::cloud::Cloud;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::host_config::read_json;
use functions_host::listener::Listener;
use functions_host::triggers::ServiceBusMessage;

const JSON: (&str, &str) = ("content-type", "application/json");
const BODY: &str = r#"{"data":[[1,2,3]]}"#;
/// Newer than any that there is.
const ANY_GLIBC: [&str; 2] = ["--allow-glibc", "9.0"];
const ALL: &str = "http,servicebus,servicebus-topic,storage-queue,blob";
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

/// What a zip deployment makes of it, with the modes of the entries.
fn unzipped(zip: &Path) -> TempDir {
    let folder = folder();
    let mut archive = ZipArchive::new(fs::File::open(zip).unwrap()).unwrap();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let path = folder.path().join(entry.enclosed_name().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(&path).unwrap();
        std::io::copy(&mut entry, &mut file).unwrap();
        let mode = entry.unix_mode().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

/// The app settings that the package lists, but those that are to be filled in.
fn settings(app: &Path) -> HostOptions {
    let list = fs::read_to_string(app.join("app-settings.json")).unwrap();
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let start = HostOptions::default().setting("SCORE_DEFAULT_MODEL", "affine");
    list.iter().fold(start, |options, entry| {
        let [name, value] = ["name", "value"].map(|member| entry[member].as_str().unwrap());
        match name.starts_with("SCORE_") {
            true => options.setting(name, value),
            false => options,
        }
    })
}

async fn answers_http(host: &FunctionsHost) {
    let answer = host.http("POST", "/api/score", &[JSON], BODY.as_bytes());
    assert_eq!(
        answer.await.expect_status(200).json(),
        json!([[3.0, 5.0, 7.0]])
    );
    let seven = fs::read(repository().join("examples/mnist/seven.json")).unwrap();
    let answer = host.http("POST", "/api/score/mnist", &[JSON], &seven).await;
    assert_eq!(answer.expect_status(200).json(), json!([7]));
}

async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn answers_messages_and_blobs(listener: &Listener, cloud: &Cloud) {
    let scores = json!([[3.0, 5.0, 7.0]]);
    for place in ["score", "score-requests"] {
        let message = ServiceBusMessage::new(BODY).with_id(place);
        cloud.broker.send(place, message).unwrap();
    }
    let results = wait_for("two results", || {
        let waiting = cloud.broker.waiting("score-results");
        (waiting.len() == 2).then_some(waiting)
    });
    for message in results.await {
        let document: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(document["result"], scores);
    }
    cloud.queues.put("score", BODY).unwrap();
    let stored = wait_for("stored result", || {
        cloud.queues.messages("score-results").pop()
    });
    let document: Value = serde_json::from_slice(&stored.await.body).unwrap();
    assert_eq!(document["result"], scores);
    cloud.blobs.put("incoming/one", BODY);
    let blob = wait_for("blob", || cloud.blobs.get("scored/one.json")).await;
    let document: Value = serde_json::from_slice(&blob.content).unwrap();
    assert_eq!(document["result"], scores);
    assert_eq!(listener.failures(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_with_all_triggers_answers_as_folder_and_as_zip() {
    let (out, zips) = (folder(), folder());
    let zip = zips.path().join("app.zip");
    let (out_text, zip_text) = (text(out.path()), text(&zip));
    let (sample, affine) = (sample(), model("affine"));
    let report = package(&[
        "--model",
        &sample,
        &affine,
        "--trigger",
        ALL,
        "--out",
        &out_text,
        "--zip",
        &zip_text,
    ]);
    for part in ["bin/handler", "models/affine", "total", "zip"] {
        assert!(report.contains(part), "{report}");
    }

    // The zip holds what the Core Tools would ship, and only the handler may be executed.
    let in_folder = files(out.path());
    let names: Vec<String> = in_folder.keys().cloned().collect();
    let unzipped = unzipped(&zip);
    let in_zip = files(unzipped.path());
    let shipped = shipped_files(out.path(), &names);
    assert_eq!(Vec::from_iter(in_zip.keys().cloned()), shipped);
    for (name, mode) in &in_zip {
        let expected = if name == "bin/handler" { 0o755 } else { 0o644 };
        assert_eq!(mode & 0o777, expected, "{name}");
        let [one, other] = [out.path(), unzipped.path()].map(|root| fs::read(root.join(name)));
        assert!(one.unwrap() == other.unwrap(), "{name} differs");
    }
    let dockerfile = fs::read_to_string(out.path().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains("\nFROM ${BASE}\n"));
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ")?.split(' ').next())
        .collect();
    for name in in_zip.keys() {
        let first = name.split('/').next().unwrap();
        assert!(copied.contains(&first), "{first} is not in the image");
    }

    assert_eq!(in_folder["bin/handler"] & 0o777, 0o755);
    // Bodies of a storage queue's messages come as they are, and none of their members passes for one of the message.
    let stored = read_json(&out.path().join("score_storage_queue/function.json"));
    assert_eq!(stored["bindings"][0]["dataType"], "binary");
    let host = read_json(&out.path().join("host.json"));
    assert_eq!(host["extensions"]["queues"]["messageEncoding"], "none");
    for name in in_zip
        .keys()
        .filter(|name| name.ends_with("/function.json"))
    {
        let document = read_json(&out.path().join(name));
        assert_eq!(
            mistakes(&document, "function.json", None),
            [""; 0],
            "{name}"
        );
    }

    let cloud = Cloud::default();
    for queue in ["score", "score-results", "score-rejected"] {
        cloud.broker.create_queue(queue, EntityOptions::default());
    }
    let options = EntityOptions::default();
    cloud
        .broker
        .create_topic("score-requests", &["score"], options);
    let settings = settings(out.path());
    let deployed = FunctionsHost::start(&AppRoot::of(unzipped), settings.clone()).await;
    answers_http(&deployed).await;
    let listener = Listener::start(deployed, &cloud);
    assert_eq!(listener.not_indexed(), [""; 0]);
    answers_messages_and_blobs(&listener, &cloud).await;

    let host = FunctionsHost::start(&AppRoot::of(out), settings).await;
    answers_http(&host).await;
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
