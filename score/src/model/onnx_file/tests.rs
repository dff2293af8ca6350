use prost::Message;

use super::super::onnx_proto::{Attribute, EXTERNAL, Entry, Function, Opset};
use super::*;

fn tensor(location: &str, offset: u64, length: u64) -> Tensor {
    let entry = |key: &str, value: String| Entry {
        key: key.to_owned().into(),
        value: value.into(),
    };
    Tensor {
        external_data: vec![
            entry("offset", offset.to_string()),
            entry("location", location.to_owned()),
            entry("length", length.to_string()),
        ],
        data_location: EXTERNAL,
        ..Tensor::default()
    }
}

fn graph(initializer: Tensor, nodes: Vec<Node>) -> Graph {
    Graph {
        nodes,
        initializers: vec![initializer],
        ..Graph::default()
    }
}

fn node(inner: Graph) -> Node {
    let attribute = Attribute {
        graph: Some(inner),
        sparse_tensor: Some(SparseTensor {
            values: Some(tensor("sparse", 0, 4)),
            indices: None,
        }),
        ..Attribute::default()
    };
    Node {
        attributes: vec![attribute],
        ..Node::default()
    }
}

fn model(graph: Graph) -> Model {
    Model {
        ir_version: 10,
        graph: Some(graph),
        opsets: vec![Opset {
            domain: "ai.onnx.ml".into(),
            version: 3,
        }],
        functions: vec![],
    }
}

/// Reads bytes as a file of a folder of its own.
fn read(content: &[u8]) -> Result<OnnxFile, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    fs::write(&file, content).unwrap();
    OnnxFile::read(&file)
}

#[test]
fn tensors_are_found_wherever_they_hang() {
    let nodes = vec![node(graph(tensor("./data//inner", 0, 8), vec![]))];
    let mut model = model(graph(tensor("outer", 8, 4), nodes));
    model.functions = vec![Function {
        nodes: vec![node(graph(tensor("outer", 64, 4), vec![]))],
        ..Function::default()
    }];
    let mut here = tensor("/etc/passwd", 0, 1);
    here.data_location = 0;
    model.graph.as_mut().unwrap().initializers.push(here);
    let found = read(&model.encode_to_vec()).unwrap();
    let expected = [("data/inner", 8), ("outer", 68), ("sparse", 4)];
    assert_eq!(
        found.data,
        expected.map(|(name, bytes)| (name.into(), bytes)).into()
    );
    assert_eq!(found.ir_version, 10);
    assert_eq!(found.opsets["ai.onnx.ml"], 3);
}

#[test]
fn what_is_skipped_is_not_read_and_what_follows_it_is() {
    // Weights of 300 kB between two tensors, as field 9 of a tensor: raw_data.
    let mut weights = vec![0x4a, 0xe0, 0xa7, 0x12];
    weights.extend(vec![7; 300_000]);
    let mut graph = graph(tensor("first", 0, 1), vec![]).encode_to_vec();
    for tensor in [weights, tensor("last", 0, 2).encode_to_vec()] {
        graph.push(0x2a);
        prost::encode_length_delimiter(tensor.len(), &mut graph).unwrap();
        graph.extend(tensor);
    }
    let mut file = vec![0x08, 0x0a, 0x3a];
    prost::encode_length_delimiter(graph.len(), &mut file).unwrap();
    file.extend(graph);
    let found = read(&file).unwrap();
    assert_eq!(found.data, [("first".into(), 1), ("last".into(), 2)].into());
    for bytes in [4, 100, 200_000, file.len() - 1] {
        let refusal = read(&file[..bytes]).unwrap_err();
        assert!(
            refusal.contains(&format!("cut off or damaged: {bytes} bytes")),
            "{refusal}"
        );
    }
}

#[test]
fn data_outside_of_the_folder_is_refused() {
    for path in ["../weights", "/weights", "data/../../weights"] {
        let model = model(graph(tensor(path, 0, 1), vec![]));
        let refusal = read(&model.encode_to_vec()).unwrap_err();
        assert!(
            refusal.contains(path) && refusal.contains("outside"),
            "{refusal}"
        );
    }
}

#[test]
fn data_has_to_be_there_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("model.onnx_data");
    let model = OnnxFile {
        data: [("model.onnx_data".into(), 100)].into(),
        ..OnnxFile::default()
    };
    let refusal = || model.check_data(folder.path()).unwrap_err();
    assert!(refusal().contains("\"model.onnx_data\" is missing"));
    fs::write(&data, [1; 99]).unwrap();
    assert!(refusal().contains("has 99 bytes, and 100 are expected"));
    fs::write(&data, "version https://git-lfs.github.com/spec/v1").unwrap();
    assert!(refusal().contains("a Git LFS pointer"));
    fs::write(&data, [1; 100]).unwrap();
    assert_eq!(model.check_data(folder.path()), Ok(()));
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    assert!(refusal().contains("not a regular file"));
}

#[test]
fn what_is_not_onnx_is_said_with_what_it_is() {
    for (content, expected) in [
        (
            &b"PK\x03\x04\x14\0"[..],
            "not an ONNX model but a zip archive",
        ),
        (b"", "not an ONNX model but an empty file"),
        (b"\x08\x01\x12\x02ab", "TensorFlow"),
        (b"\x0a\x03abc\xff", "not an ONNX model ("),
    ] {
        let refusal = read(content).unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
    }
}
