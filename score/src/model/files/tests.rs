use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;
use crate::model::{ModelFolder, ModelPlace};

/// A field of protobuf with so short a content that its length is one byte.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len())
        .ok()
        .filter(|length| *length < 128);
    [&[tag << 3 | 2, length.expect("a short field")], content].concat()
}

/// A model whose only initializer lies in the file of this name.
fn model(location: &str) -> Vec<u8> {
    let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
    // `data_location` is 1: external.
    let tensor = [field(13, &entry), vec![14 << 3, 1]].concat();
    field(7, &field(5, &tensor))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with_model(location: &str) -> Self {
        let new = Self(tempfile::tempdir().unwrap());
        new.write("m/model.onnx", &model(location));
        new
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    fn read(&self) -> Result<ModelFolder, LoadError> {
        ModelFolder::read(&ModelPlace::of_folder(&self.path("m")).unwrap())
    }
}

#[test]
fn external_data_of_any_name_is_digested_and_packaged() {
    for location in [
        "weights.md",
        "README.md",
        "weights.txt",
        "data/deep/weights.md",
        "./weights.md",
        ".weights",
        ".hidden/README.md",
        "model.toml.bin",
        "a b\\c.data",
        "weights",
    ] {
        let folder = Folder::with_model(location);
        let data = format!("m/{location}");
        folder.write(&data, b"one");
        let first = folder.read().unwrap();
        let digest = first.digest().unwrap();
        let plain = location.trim_start_matches("./");
        let listed = first
            .files
            .files
            .iter()
            .any(|(_, to)| to == Path::new(plain));
        assert!(listed, "{location}: {:?}", first.files);
        folder.write(&data, b"two");
        assert_ne!(
            folder.read().unwrap().digest().unwrap(),
            digest,
            "{location}"
        );
        // Through a link out of the folder, as downloads lie.
        folder.write("blob", b"one");
        fs::remove_file(folder.path(&data)).unwrap();
        symlink(folder.path("blob"), folder.path(&data)).unwrap();
        assert_eq!(
            folder.read().unwrap().digest().unwrap(),
            digest,
            "{location}"
        );
        folder.write("blob", b"two");
        assert_ne!(
            folder.read().unwrap().digest().unwrap(),
            digest,
            "{location}"
        );
    }
}

#[test]
fn a_card_that_is_no_data_is_neither() {
    let folder = Folder::with_model("weights.md");
    folder.write("m/weights.md", b"one");
    let digest = folder.read().unwrap().digest().unwrap();
    folder.write("m/README.md", b"a model card");
    let read = folder.read().unwrap();
    assert_eq!(
        (read.digest().unwrap(), read.files.files.len()),
        (digest, 2)
    );
}

#[test]
fn data_outside_of_the_folder_or_of_no_name_is_refused() {
    for (location, expected) in [
        ("../weights", "outside"),
        ("data/../../weights", "outside"),
        ("data/..", "outside"),
        ("/etc/passwd", "outside"),
        ("..", "outside"),
        ("..onnx", "is missing"),
        ("..\\weights", "is missing"),
        ("C:\\weights", "is missing"),
        ("a\0b", "cannot be read"),
        ("data", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("socket", "is not a regular file"),
        ("device", "is not a regular file"),
        ("circle", "leads nowhere"),
    ] {
        let folder = Folder::with_model(location);
        folder.write("weights", b"one");
        folder.write("m/data/weights", b"one");
        make_special(&folder);
        let refusal = folder.read().unwrap_err().to_string();
        assert!(refusal.contains(expected), "{location}: {refusal}");
    }
}

/// What is no file: a pipe, a socket, a link to a device, and links in a circle.
fn make_special(folder: &Folder) -> UnixListener {
    let pipe = folder.path("m/pipe");
    let made = std::process::Command::new("mkfifo").arg(pipe).status();
    assert!(made.unwrap().success());
    for (target, link) in [
        ("/dev/zero", "m/device"),
        ("circle2", "m/circle"),
        ("circle", "m/circle2"),
        (".", "m/here"),
        ("../m", "m/up"),
    ] {
        symlink(target, folder.path(link)).unwrap();
    }
    UnixListener::bind(folder.path("m/socket")).unwrap()
}

#[test]
fn what_is_no_file_is_neither_read_nor_packaged() {
    let folder = Folder::with_model("weights");
    folder.write("m/weights", b"one");
    let digest = folder.read().unwrap().digest().unwrap();
    let _socket = make_special(&folder);
    let read = folder.read().unwrap();
    assert_eq!(read.digest().unwrap(), digest);
    assert_eq!(read.files.files.len(), 2, "{:?}", read.files);
    assert_eq!(read.files.left_out.len(), 7, "{:?}", read.files.left_out);
}

#[test]
fn a_text_model_brings_the_files_that_it_is_read_from_through_links() {
    let folder = Folder::with_model("README.md");
    folder.write("m/README.md", b"weights");
    folder.write("blobs/tokenizer", b"{}");
    folder.write(
        "blobs/modules",
        br#"[{"path": "layer", "type": "models.Dense"}]"#,
    );
    folder.write("blobs/layer", b"weights");
    folder.write("blobs/secret", b"{}");
    fs::create_dir(folder.path("m/layer")).unwrap();
    for (target, link) in [
        ("../blobs/tokenizer", "m/tokenizer.json"),
        ("../blobs/modules", "m/modules.json"),
        ("../../blobs/layer", "m/layer/model.safetensors"),
        ("../blobs/secret", "m/secret.json"),
        ("../blobs/secret", "m/model.safetensors"),
    ] {
        symlink(target, folder.path(link)).unwrap();
    }
    let read = folder.read().unwrap();
    let names: Vec<_> = read
        .files
        .files
        .iter()
        .map(|(_, to)| to.display().to_string())
        .collect();
    let expected = [
        "README.md",
        "layer/model.safetensors",
        "model.onnx",
        "modules.json",
        "tokenizer.json",
    ];
    assert_eq!(names, expected);
    assert!(
        read.is_text && read.files.left_out.len() == 1,
        "{:?}",
        read.files.left_out
    );
}
