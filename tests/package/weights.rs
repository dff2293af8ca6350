//! The weights of a packaged text model lie in a file of their own, and its answers stay the same.

use std::fs;
use std::path::Path;

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};
use serde_json::json;

use super::answers::unzipped;
use super::{SMALL_PROGRAM, folder, package, text};
use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use crate::texts::copy;
use functions_host::host::FunctionsHost;

/// The fields of onnx.proto3 that the test changes: `ModelProto.graph`, `GraphProto.initializer` and a `TensorProto`.
const GRAPH: u32 = 7;
const INITIALIZER: u32 = 5;

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw: Vec<u8>,
}

/// A message whose fields of a tag are replaced.
fn replaced(message: &[u8], tag: u32, replace: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (mut rest, mut new) = (message, Vec::new());
    while !rest.is_empty() {
        let whole = rest;
        let (found, kind) = decode_key(&mut rest).unwrap();
        if found == tag && kind == WireType::LengthDelimited {
            let length = decode_varint(&mut rest).unwrap() as usize;
            let (content, after) = rest.split_at(length);
            let content = replace(content);
            encode_key(tag, kind, &mut new);
            encode_varint(content.len() as u64, &mut new);
            new.extend(content);
            rest = after;
        } else {
            skip_field(kind, found, &mut rest, Default::default()).unwrap();
            new.extend(&whole[..whole.len() - rest.len()]);
        }
    }
    new
}

/// The table of words with rows for many more of them, so that it is worth a file.
fn with_more_words(tensor: &[u8]) -> Vec<u8> {
    const ROWS: usize = 40_000;
    let found = Tensor::decode(tensor).unwrap();
    if found.name != "words" {
        return tensor.to_vec();
    }
    let width = found.dims[1];
    let mut raw = found.raw;
    raw.resize(ROWS * width as usize * size_of::<f32>(), 0);
    let dims = vec![ROWS as i64, width];
    Tensor { dims, raw, ..found }.encode_to_vec()
}

/// The small text model with a large table.
fn add_model(folder: &Path) {
    copy(&repository().join("tests/data/text/tiny"), folder);
    let file = folder.join("model.onnx");
    let small = fs::read(&file).unwrap();
    let large = replaced(&small, GRAPH, |graph| {
        replaced(graph, INITIALIZER, with_more_words)
    });
    fs::write(file, large).unwrap();
}

/// Vectors as their bytes in base64.
async fn vectors(host: &FunctionsHost) -> serde_json::Value {
    let texts = [
        "the cat is in the house",
        "a dog",
        "",
        "an invoice was paid late",
    ];
    let body = json!({ "input": texts, "model": "large", "encoding_format": "base64" }).to_string();
    let headers = [("content-type", "application/json")];
    let path = "/api/score/v1/embeddings";
    let answer = host.http("POST", path, &headers, body.as_bytes()).await;
    answer.expect_status(200).json()["data"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_lie_in_a_file_of_their_own_and_answers_have_the_same_bits() {
    let (own, out, zips) = (AppRoot::new(), folder(), folder());
    let model = own.path().join("models/large");
    add_model(&model);
    let zip = zips.path().join("app.zip");
    let (model_text, out_text, zip_text) = (text(&model), text(out.path()), text(&zip));
    package(&[
        "--model",
        &model_text,
        "--handler",
        SMALL_PROGRAM,
        "--out",
        &out_text,
        "--zip",
        &zip_text,
    ]);
    let unzipped = unzipped(&zip);
    let length = |root: &Path, file: &str| fs::metadata(root.join(file)).unwrap().len();
    assert!(length(&model, "model.onnx") > 1 << 20);
    assert!(length(unzipped.path(), "models/large/model.onnx") < 20_000);
    assert!(length(unzipped.path(), "models/large/model.onnx.data") > 1 << 20);
    let before = vectors(&in_process::start(&own, []).await).await;
    assert_eq!(before.as_array().unwrap().len(), 4);
    let after = vectors(&in_process::start(&AppRoot::of(unzipped), []).await).await;
    assert_eq!(before, after);
}
