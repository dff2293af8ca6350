//! What a file is that is not ONNX, by its first bytes, and what to do about it.

/// How many of the first bytes are looked at.
pub(super) const HEAD_BYTES: usize = 1024;

/// A kind of file: where its mark stands, the mark, what the file is called and the remedy.
type Kind = (usize, &'static [u8], &'static str, &'static str);

const FETCH_AGAIN: &str = "the download or copy was cut; fetch the file again";
const EXPORT_TORCH: &str = "export the model by torch.onnx.export";
const UNPACK: &str = "unpack it first";
const CONVERT_TREES: &str = "convert the model by onnxmltools";

const KINDS: &[Kind] = &[
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer",
        "run `git lfs pull` in the clone it comes from",
    ),
    (
        0,
        b"version https://hawser",
        "a Git LFS pointer",
        "run `git lfs pull` in the clone it comes from",
    ),
    (
        0,
        b"# xet version",
        "a Hugging Face Xet pointer",
        "download the file itself by `hf download`",
    ),
    (
        0,
        b"/annex/objects/",
        "a git-annex pointer",
        "run `git annex get` in the clone it comes from",
    ),
    (
        0,
        b"GGUF",
        "a GGUF file of llama.cpp",
        "export the original model to ONNX by optimum-cli export onnx",
    ),
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes .h5",
        "convert the model by tf2onnx or keras's model.export(..., format=\"onnx\")",
    ),
    (
        4,
        b"TFL3",
        "a TensorFlow Lite model",
        "convert it by python -m tf2onnx.convert --tflite",
    ),
    (
        4,
        b"ORTM",
        "a model in ONNX Runtime's own format (.ort)",
        "take the .onnx file that it was made from",
    ),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (
        0,
        b"\x93NUMPY",
        "a numpy array",
        "it is not a model; use the .onnx file",
    ),
    (
        0,
        b"CBM1",
        "a CatBoost model",
        "save it by save_model(..., format=\"onnx\")",
    ),
    (
        0,
        b"tree\nversion=",
        "a LightGBM model as text",
        CONVERT_TREES,
    ),
    (0, b"{L\0\0\0\0", "an XGBoost model (UBJSON)", CONVERT_TREES),
    (
        0,
        b"\x7fELF",
        "a program or shared library",
        "take the .onnx file",
    ),
    (
        0,
        &[0; 16],
        "a file that begins with zero bytes",
        FETCH_AGAIN,
    ),
];

/// What the file is and what to do, in the words `a Git LFS pointer (133 bytes): run ...`; `None` if its first bytes
/// say nothing.
pub(super) fn describe(head: &[u8], bytes: u64) -> Option<String> {
    if bytes == 0 {
        return Some(format!("an empty file: {FETCH_AGAIN}"));
    }
    let (what, remedy) = by_mark(head).or_else(|| by_text(head))?;
    Some(format!("{what} ({bytes} bytes): {remedy}"))
}

fn by_mark(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let found = |(place, mark, ..): &&Kind| {
        head.get(*place..)
            .is_some_and(|rest| rest.starts_with(mark))
    };
    if let Some((_, _, what, remedy)) = KINDS.iter().find(found) {
        return Some((what, remedy));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Some(zip(head));
    }
    // Protocols 2 to 5; the ones before are text.
    if head.first() == Some(&0x80)
        && head
            .get(1)
            .is_some_and(|protocol| (2..=5).contains(protocol))
    {
        let remedy =
            "convert a scikit-learn model by skl2onnx, a PyTorch model by torch.onnx.export";
        return Some(("a Python pickle", remedy));
    }
    // The length of a JSON header, then the header.
    if head.get(8..10) == Some(b"{\"") {
        let remedy = "it holds weights without a graph; export the model by optimum-cli export onnx or torch.onnx.export";
        return Some(("a safetensors file", remedy));
    }
    None
}

/// By the names of the first entries.
fn zip(head: &[u8]) -> (&'static str, &'static str) {
    let has = |name: &[u8]| head.windows(name.len()).any(|window| window == name);
    if has(b"data.pkl") || has(b"/code/") || has(b"constants.pkl") {
        (
            "a zip archive of PyTorch (torch.save or TorchScript)",
            EXPORT_TORCH,
        )
    } else if has(b"metadata.json") || has(b"config.json") {
        let remedy = "convert the model by tf2onnx or keras's model.export(..., format=\"onnx\")";
        ("a zip archive of Keras (.keras)", remedy)
    } else {
        ("a zip archive", UNPACK)
    }
}

fn by_text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = head.trim_ascii_start();
    let lower = text.to_ascii_lowercase();
    let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
    match text.first()? {
        b'<' if lower.starts_with(b"<!doctype html") || has(b"<html") => Some((
            "an HTML page",
            "download the file itself; a page for browsers was saved in its place, such as a login",
        )),
        b'<' if has(b"<pmml") => Some(("a PMML model", "convert the original model to ONNX")),
        b'<' if has(b"<net ") => Some(("an OpenVINO model", "export the original model to ONNX")),
        b'<' if lower.starts_with(b"<?xml") || has(b"<error>") => Some((
            "an XML file",
            "download the file itself; what came may be the error message of a storage account",
        )),
        b'{' | b'[' if std::str::from_utf8(&text[..text.len().min(64)]).is_ok() => Some((
            "a JSON file",
            "take the .onnx file; of an XGBoost model, convert it by onnxmltools; an error message is to be read",
        )),
        _ if is_text(text) => Some((
            "a text file",
            "take the .onnx file; what came may be an error message",
        )),
        _ => None,
    }
}

/// ONNX begins with a byte below the space.
fn is_text(head: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    head.iter().all(printable) && std::str::from_utf8(&head[..head.len().min(64)]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_first_bytes() {
        let mut tar = vec![b'm'; 257];
        tar.extend(b"ustar\0");
        let cases: [(&[u8], &str); 26] = [
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
                "git lfs pull",
            ),
            (b"# xet version 0\n", "hf download"),
            (b"/annex/objects/SHA256E-s1--aa.onnx\n", "git annex get"),
            (b"\n<!DOCTYPE html><html>", "an HTML page (22 bytes)"),
            (b"\xef\xbb\xbf<HTML>", "HTML"),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed",
                "storage account",
            ),
            (
                b"<?xml version=\"1.0\"?>\n<net name=\"m\" version=\"11\">",
                "OpenVINO",
            ),
            (b"<?xml version=\"1.0\"?><PMML version=\"4.4\">", "PMML"),
            (b"PK\x03\x04\x14\0archive/data.pkl", "PyTorch"),
            (b"PK\x03\x04\x14\0metadata.json", "Keras"),
            (
                b"PK\x03\x04\x14\0model.onnx",
                "a zip archive (16 bytes): unpack",
            ),
            (b"\x80\x04\x95\x10", "pickle"),
            (b"\x80\x02\x8a\x0a", "pickle"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"\x40\0\0\0\0\0\0\0{\"weight\":", "safetensors"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"\x1c\0\0\0TFL3", "tf2onnx.convert --tflite"),
            (b"\x1c\0\0\0ORTM", ".ort"),
            (b"\x1f\x8b\x08", "gzip"),
            (&tar, "tar"),
            (b"{\"learner\": {}}", "JSON"),
            (b"tree\nversion=v4\n", "LightGBM"),
            (b"CBM1", "CatBoost"),
            (b"Not Found", "a text file"),
            (&[0; 64], "zero bytes"),
            (b"", "empty"),
        ];
        for (head, expected) in cases {
            let said = describe(head, head.len() as u64).unwrap_or_default();
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn what_may_be_onnx_is_not_named() {
        for head in [&b"\x08\x0a\x12\x07pytorch"[..], b"\x3a\x00", b"\x08\x07"] {
            assert_eq!(describe(head, 9), None, "{head:?}");
        }
    }
}
