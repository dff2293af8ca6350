//! What an ONNX file says of itself: its versions, and the files it keeps tensors in.
//!
//! Source: onnx.proto3 of ONNX, "Versioning" and "External Data".

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::onnx_proto::{Graph, Model, Node, SparseTensor, Tensor, text};
use super::{file_buf, kind};

/// What is of interest of an ONNX file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OnnxFile {
    /// The version of the file format.
    pub(super) ir_version: i64,
    /// The sets of operators by domain; the domain of ONNX itself is empty.
    pub(super) opsets: BTreeMap<String, i64>,
    /// The files beside it that hold tensors, with the bytes each must have at least.
    pub(super) data: BTreeMap<PathBuf, u64>,
}

impl OnnxFile {
    /// Reads all but the weights.
    ///
    /// # Errors
    /// If it cannot be read, or is not ONNX; the text says what it is instead.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let decoded = file_buf::decode::<Model>(path);
        let decoded = decoded.map_err(|error| format!("it cannot be read: {error}"))?;
        let model = decoded.map_err(|error| not_onnx(path, Some(&error)))?;
        let graph = model.graph.ok_or_else(|| not_onnx(path, None))?;
        let mut data = BTreeMap::new();
        graph.visit(&mut data);
        let nodes = model.functions.iter().flat_map(|function| &function.nodes);
        nodes.for_each(|node| node.visit(&mut data));
        let opsets = model.opsets.into_iter();
        Ok(Self {
            ir_version: model.ir_version,
            opsets: opsets
                .map(|o| (text(&o.domain).into_owned(), o.version))
                .collect(),
            data: data
                .into_iter()
                .map(|(location, bytes)| Ok((inside(&location)?, bytes)))
                .collect::<Result<_, String>>()?,
        })
    }

    /// Refuses a model whose external data is not there in full.
    ///
    /// # Errors
    /// The text names the file.
    pub(super) fn check_data(&self, folder: &Path) -> Result<(), String> {
        self.data.iter().try_for_each(|(name, needed)| {
            let path = folder.join(name);
            let shown = shortened(&name.to_string_lossy());
            let found = match fs::metadata(&path) {
                Ok(found) => found,
                Err(_) if path.symlink_metadata().is_ok() => {
                    return Err(format!("its external data {shown} is a link that leads nowhere"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(format!(
                        "its external data {shown} is missing: put that file beside it, under exactly this name"
                    ));
                }
                Err(error) => return Err(format!("its external data {shown} cannot be read: {error}")),
            };
            if !found.is_file() {
                return Err(format!("its external data {shown} is not a regular file"));
            }
            if found.len() >= *needed {
                return Ok(());
            }
            Err(match kind_of(&path, found.len()) {
                Some(kind) => format!("its external data {shown} is {kind}"),
                None => format!(
                    "its external data {shown} has {} bytes, and {needed} are expected: the download or copy was cut, or \
                     the file belongs to another model",
                    found.len()
                ),
            })
        })
    }
}

fn not_onnx(path: &Path, error: Option<&prost::DecodeError>) -> String {
    let bytes = fs::metadata(path).map_or(0, |found| found.len());
    if let Some(kind) = kind_of(path, bytes) {
        return format!("it is not an ONNX model but {kind}");
    }
    let Some(error) = error else {
        return "it is not an ONNX model: it holds no graph; it may be another protobuf file, such as a TensorFlow \
                saved_model.pb (convert it by tf2onnx), a Core ML model or an ONNX tensor"
            .to_owned();
    };
    let error = error.to_string();
    let ends_early = error.contains("underflow") || error.contains("invalid varint");
    match ends_early && starts_like_onnx(path) {
        true => format!(
            "it is cut off or damaged: {bytes} bytes are there, and the file says that more follow; fetch it again and \
             compare sizes"
        ),
        false => format!("it is not an ONNX model ({error})"),
    }
}

/// What the file is by its first bytes, where that can be told, and what to do.
pub(super) fn kind_of(path: &Path, bytes: u64) -> Option<String> {
    kind::describe(&head_of(path), bytes)
}

fn head_of(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    // One that cannot be read says nothing of its kind.
    let _ =
        File::open(path).and_then(|file| file.take(kind::HEAD_BYTES as u64).read_to_end(&mut head));
    head
}

/// Exporters write the version of the format first.
fn starts_like_onnx(path: &Path) -> bool {
    matches!(head_of(path)[..], [0x08, 1..=0x7f, ..])
}

/// The location without steps that lead nowhere; nothing outside of the model's folder is ever opened for it.
fn inside(location: &[u8]) -> Result<PathBuf, String> {
    let location = text(location);
    let mut path = PathBuf::new();
    for part in Path::new(&*location).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => {
                return Err(format!(
                    "its external data {} lies outside of its folder; save the model again with its data beside it \
                     (onnx.save_model with save_as_external_data and a location that is a file name)",
                    shortened(&location)
                ));
            }
        }
    }
    Ok(path)
}

/// A name as errors quote it.
fn shortened(name: &str) -> String {
    let start: String = name.chars().take(200).collect();
    format!("{start:?}")
}

/// Locations as they are written, with the bytes needed.
type Found = BTreeMap<Bytes, u64>;

impl Graph {
    fn visit(&self, found: &mut Found) {
        self.initializers.iter().for_each(|t| t.visit(found));
        self.sparse_initializers.iter().for_each(|t| t.visit(found));
        self.nodes.iter().for_each(|node| node.visit(found));
    }
}

impl Node {
    fn visit(&self, found: &mut Found) {
        for attribute in &self.attributes {
            let (tensors, graphs) = (&attribute.tensors, &attribute.graphs);
            tensors
                .iter()
                .chain(&attribute.tensor)
                .for_each(|t| t.visit(found));
            graphs
                .iter()
                .chain(&attribute.graph)
                .for_each(|g| g.visit(found));
            let sparse = attribute
                .sparse_tensors
                .iter()
                .chain(&attribute.sparse_tensor);
            sparse.for_each(|t| t.visit(found));
        }
    }
}

impl SparseTensor {
    fn visit(&self, found: &mut Found) {
        let both = self.values.iter().chain(&self.indices);
        both.for_each(|tensor| tensor.visit(found));
    }
}

impl Tensor {
    fn visit(&self, found: &mut Found) {
        if !self.is_external() {
            return;
        }
        let value = |key: &[u8]| {
            self.external_data
                .iter()
                .find(|e| e.key == key)
                .map(|e| &e.value)
        };
        let number = |key: &[u8]| {
            value(key)
                .and_then(|v| text(v).trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        if let Some(location) = value(b"location") {
            let needed = number(b"offset").saturating_add(number(b"length"));
            let most = found.entry(location.clone()).or_default();
            *most = needed.max(*most);
        }
    }
}

#[cfg(test)]
mod tests;
