//! Rewriting an ONNX file so that its weights lie in a file beside it, which the runtime maps instead of copying: a session
//! opens in half the time and takes half the memory.
//!
//! The messages on the way to the weights are copied field by field, with all else that they hold. Source: onnx.proto3 of ONNX,
//! `ModelProto`, `GraphProto`, `TensorProto`, "External Data".

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{
    WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint,
};

use super::onnx_proto::tags::{GRAPH, INITIALIZER, RAW_DATA};
use super::onnx_proto::{EXTERNAL, Entry, Tensor};
use crate::error::LoadError;

/// Smaller tensors stay: the runtime reads shapes and constants of some of them while it loads.
const MIN_TENSOR_BYTES: usize = 4096;
/// Below this there is nothing to gain.
const MIN_BYTES: usize = 1 << 20;
/// A page of memory.
const ALIGNMENT: usize = 4096;
/// No message of protobuf is longer.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Moves the weights of an ONNX file into a file `<name>.data` beside it, and returns its path. `None` where nothing is gained:
/// for small models, and those that keep their weights in another file already. The same file always gives the same two.
///
/// # Errors
/// If the file is no ONNX model or cannot be written.
pub fn move_weights_out(file: &Path) -> Result<Option<PathBuf>, LoadError> {
    let failed = |reason: String| LoadError::Model {
        path: file.display().to_string(),
        reason,
    };
    let io = |error: std::io::Error| failed(error.to_string());
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".data");
    let data = file.with_file_name(&name);
    let length = fs::metadata(file).map_err(io)?.len();
    let (Some(location), false, false) = (name.to_str(), data.exists(), length > MAX_FILE_BYTES)
    else {
        return Ok(None);
    };
    let content = fs::read(file).map_err(io)?;
    let mut weights = Weights {
        location,
        parts: Vec::new(),
        end: 0,
    };
    let model = rewritten(&content, GRAPH, |graph| {
        rewritten(graph, INITIALIZER, |tensor| weights.take(tensor))
    });
    let model = model.map_err(|error| failed(format!("not an ONNX model: {error}")))?;
    if weights.end < MIN_BYTES {
        return Ok(None);
    }
    weights.write(&data).map_err(io)?;
    fs::write(file, model).map_err(io)?;
    Ok(Some(data))
}

/// Weights that leave the file, in order.
struct Weights<'a> {
    location: &'a str,
    parts: Vec<(usize, &'a [u8])>,
    end: usize,
}

impl<'a> Weights<'a> {
    /// A tensor without its bytes, if it has enough of them.
    fn take(&mut self, tensor: &'a [u8]) -> Result<Vec<u8>, String> {
        let mut bytes = None;
        let mut rest = Vec::with_capacity(128);
        for field in Fields(tensor) {
            let field = field?;
            match field.content {
                Some(content) if field.tag == RAW_DATA => bytes = Some(content),
                _ => rest.put_slice(field.whole),
            }
        }
        let Some(bytes) = bytes.filter(|bytes| bytes.len() >= MIN_TENSOR_BYTES) else {
            return Ok(tensor.to_vec());
        };
        // A text is never external.
        if Tensor::decode(&rest[..]).map_err(words)?.is_text() {
            return Ok(tensor.to_vec());
        }
        let offset = self.end.next_multiple_of(ALIGNMENT);
        self.parts.push((offset, bytes));
        self.end = offset + bytes.len();
        let entry = |key: &'static str, value: &str| Entry {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        // Fields of one message may be written one after another.
        let pointer = Tensor {
            external_data: vec![
                entry("location", self.location),
                entry("offset", &offset.to_string()),
                entry("length", &bytes.len().to_string()),
            ],
            data_location: EXTERNAL,
            ..Tensor::default()
        };
        rest.extend(pointer.encode_to_vec());
        Ok(rest)
    }

    fn write(&self, to: &Path) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create_new(to)?);
        let mut at = 0;
        for (offset, bytes) in &self.parts {
            file.write_all(&vec![0; offset - at])?;
            file.write_all(bytes)?;
            at = offset + bytes.len();
        }
        file.flush()
    }
}

/// A message whose fields with this tag are replaced.
pub(super) fn rewritten<'a>(
    message: &'a [u8],
    tag: u32,
    mut replace: impl FnMut(&'a [u8]) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, String> {
    let mut new = Vec::new();
    for field in Fields(message) {
        let field = field?;
        match field.content {
            Some(content) if field.tag == tag => put_bytes(tag, &replace(content)?, &mut new),
            _ => new.put_slice(field.whole),
        }
    }
    Ok(new)
}

pub(super) fn put_bytes(tag: u32, bytes: &[u8], to: &mut Vec<u8>) {
    to.reserve(bytes.len() + 2 * encoded_len_varint(u64::MAX));
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(bytes.len() as u64, to);
    to.put_slice(bytes);
}

/// One field of a message.
pub(super) struct Field<'a> {
    pub(super) tag: u32,
    /// Of a message, text or list of bytes.
    pub(super) content: Option<&'a [u8]>,
    /// With its key and length.
    pub(super) whole: &'a [u8],
}

/// The fields of a message, in their order.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, String> {
        let all = self.0;
        let mut rest = all;
        let (tag, kind) = decode_key(&mut rest).map_err(words)?;
        let content = match kind {
            WireType::Varint => decode_varint(&mut rest).map(|_| None).map_err(words)?,
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(words)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Some(advance(&mut rest, length)?)
            }
            WireType::SixtyFourBit => advance(&mut rest, 8).map(|_| None)?,
            WireType::ThirtyTwoBit => advance(&mut rest, 4).map(|_| None)?,
            WireType::StartGroup | WireType::EndGroup => {
                return Err("it has groups, which ONNX does not use".to_owned());
            }
        };
        self.0 = rest;
        Ok(Field {
            tag,
            content,
            whole: &all[..all.len() - rest.len()],
        })
    }
}

fn words(error: prost::DecodeError) -> String {
    error.to_string()
}

fn advance<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest
        .split_at_checked(count)
        .ok_or("it ends within a field")?;
    *rest = left;
    Ok(taken)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.0.has_remaining() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::super::onnx_proto::{Graph, Model, Node, STRING};
    use super::*;

    /// A model whose initializers are the given tensors, between other fields.
    fn model(tensors: &[(i32, Vec<u8>)]) -> Vec<u8> {
        let tensor = |(kind, bytes): &(i32, Vec<u8>)| Tensor {
            data_type: *kind,
            name: "name".into(),
            raw: bytes.clone().into(),
            ..Tensor::default()
        };
        let node = Node {
            name: "a node".into(),
            ..Node::default()
        };
        let graph = Graph {
            nodes: vec![node],
            initializers: tensors.iter().map(tensor).collect(),
            ..Graph::default()
        };
        let model = Model {
            ir_version: 10,
            graph: Some(graph),
            ..Model::default()
        };
        let mut bytes = model.encode_to_vec();
        // A field that is not read here.
        put_bytes(14, b"metadata", &mut bytes);
        bytes
    }

    #[test]
    fn long_tensors_move_out_and_all_else_stays() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("model.onnx");
        let weights: Vec<u8> = (0..MIN_BYTES).map(|at| at as u8).collect();
        let tensors = [
            (1, vec![1; 100]),
            (1, vec![2; 5000]),
            (STRING, vec![3; 9000]),
            (1, weights.clone()),
        ];
        fs::write(&file, model(&tensors)).unwrap();
        let data = move_weights_out(&file).unwrap().unwrap();
        assert_eq!(data, root.path().join("model.onnx.data"));
        let moved = fs::read(&data).unwrap();
        assert_eq!(
            (&moved[..5000], &moved[8192..]),
            (&[2; 5000][..], &weights[..])
        );
        let left = fs::read(&file).unwrap();
        assert!(left.len() < 10_000);
        let text = String::from_utf8_lossy(&left);
        assert!(text.ends_with("metadata") && text.contains("a node"));
        assert_eq!(text.matches("model.onnx.data").count(), 2);
        assert!(text.contains("8192") && text.contains("1048576"));
        // What lies outside already stays there.
        assert_eq!(move_weights_out(&file).unwrap(), None);
        assert_eq!(fs::read(&file).unwrap(), left);
    }

    #[test]
    fn a_small_model_and_what_is_no_model_stay_as_they_are() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("model.onnx");
        let small = model(&[(1, vec![7; 5000])]);
        fs::write(&file, &small).unwrap();
        assert_eq!(move_weights_out(&file).unwrap(), None);
        assert_eq!(fs::read(&file).unwrap(), small);
        let mut cut = model(&[(1, vec![7; MIN_BYTES])]);
        cut.truncate(MIN_BYTES / 2);
        fs::write(&file, &cut).unwrap();
        let error = move_weights_out(&file).unwrap_err().to_string();
        assert!(error.contains("not an ONNX model"), "{error}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
