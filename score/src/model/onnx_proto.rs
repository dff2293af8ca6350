//! The members of an ONNX file that anything here reads. All others are skipped, and the bytes of large tensors too, which are
//! empty here (see [`file_buf`](super::file_buf)).
//!
//! Names are bytes, since the runtime takes files whose names are no UTF-8.
//!
//! Source of names and tags: onnx.proto3 of ONNX.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    /// The version of the file format.
    #[prost(int64, tag = "1")]
    pub(super) ir_version: i64,
    #[prost(message, repeated, tag = "8")]
    pub(super) opsets: Vec<Opset>,
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<Graph>,
    #[prost(message, repeated, tag = "25")]
    pub(super) functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Opset {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) domain: Bytes,
    #[prost(int64, tag = "2")]
    pub(super) version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Function {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) name: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub(super) inputs: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(super) outputs: Vec<Bytes>,
    #[prost(message, repeated, tag = "7")]
    pub(super) nodes: Vec<Node>,
    #[prost(message, repeated, tag = "9")]
    pub(super) opsets: Vec<Opset>,
    #[prost(bytes = "bytes", tag = "10")]
    pub(super) domain: Bytes,
    #[prost(message, repeated, tag = "11")]
    pub(super) defaults: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(super) nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub(super) initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(super) inputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub(super) outputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "15")]
    pub(super) sparse_initializers: Vec<SparseTensor>,
}

/// An input or output.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfo {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) name: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(super) ty: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(message, optional, tag = "1")]
    pub(super) tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorType {
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Shape>,
}

/// Whether there is one counts; its lengths are read from the session.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Shape {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) inputs: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(super) outputs: Vec<Bytes>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) name: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) operator: Bytes,
    #[prost(message, repeated, tag = "5")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(bytes = "bytes", tag = "7")]
    pub(super) domain: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) name: Bytes,
    #[prost(int64, tag = "3")]
    pub(super) int: i64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) text: Bytes,
    #[prost(message, optional, tag = "5")]
    pub(super) tensor: Option<Tensor>,
    #[prost(message, optional, tag = "6")]
    pub(super) graph: Option<Graph>,
    #[prost(float, repeated, tag = "7")]
    pub(super) floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub(super) ints: Vec<i64>,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub(super) texts: Vec<Bytes>,
    #[prost(message, repeated, tag = "10")]
    pub(super) tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(super) graphs: Vec<Graph>,
    #[prost(message, optional, tag = "22")]
    pub(super) sparse_tensor: Option<SparseTensor>,
    #[prost(message, repeated, tag = "23")]
    pub(super) sparse_tensors: Vec<SparseTensor>,
    /// Which of its members has the value.
    #[prost(int32, tag = "20")]
    pub(super) kind: i32,
    /// The attribute of the function around, whose value this one has.
    #[prost(bytes = "bytes", tag = "21")]
    pub(super) reference: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SparseTensor {
    #[prost(message, optional, tag = "1")]
    pub(super) values: Option<Tensor>,
    #[prost(message, optional, tag = "2")]
    pub(super) indices: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub(super) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(int32, repeated, tag = "5")]
    pub(super) int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub(super) int64_data: Vec<i64>,
    #[prost(bytes = "bytes", tag = "8")]
    pub(super) name: Bytes,
    #[prost(bytes = "bytes", tag = "9")]
    pub(super) raw: Bytes,
    /// Where the bytes are, if [`Tensor::is_external`].
    #[prost(message, repeated, tag = "13")]
    pub(super) external_data: Vec<Entry>,
    #[prost(int32, tag = "14")]
    pub(super) data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// The tags of fields that are looked for in files which are copied field by field; those of the messages above.
pub(super) mod tags {
    /// `Model::graph`.
    pub(in super::super) const GRAPH: u32 = 7;
    /// `Graph::initializers`.
    pub(in super::super) const INITIALIZER: u32 = 5;
    /// `Tensor::raw`.
    pub(in super::super) const RAW_DATA: u32 = 9;
    /// `Graph::nodes`.
    pub(in super::super) const NODE: u32 = 1;
    /// `Node::operator`.
    pub(in super::super) const OPERATOR: u32 = 4;
    /// `Node::attributes`.
    pub(in super::super) const ATTRIBUTE: u32 = 5;
}

/// A name or another text.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The `kind` of an attribute that is a text.
pub(super) const STRING_ATTRIBUTE: i32 = 3;

/// The value of `data_location` for tensors in other files. What is left in the entries of others does not count.
pub(super) const EXTERNAL: i32 = 1;

/// Longer lists are never shapes, axes or indices of axes.
const MAX_NUMBERS: usize = 64;
const BOOL: i32 = 9;
pub(super) const STRING: i32 = 8;
const INT32: i32 = 6;
const INT64: i32 = 7;

impl Tensor {
    /// Whether its bytes are in another file.
    pub(super) fn is_external(&self) -> bool {
        self.data_location == EXTERNAL
    }

    /// Whether its elements are texts.
    pub(super) fn is_text(&self) -> bool {
        self.data_type == STRING
    }

    /// The numbers in a short list of integers or truth values; `None` for anything else.
    pub(super) fn numbers(&self) -> Option<Vec<i64>> {
        let count = self
            .dims
            .iter()
            .try_fold(1usize, |n, dim| n.checked_mul(usize::try_from(*dim).ok()?))?;
        if self.dims.len() > 1 || count > MAX_NUMBERS || self.is_external() {
            return None;
        }
        let raw = &self.raw;
        let numbers: Vec<i64> = match self.data_type {
            INT64 if raw.is_empty() => self.int64_data.clone(),
            INT64 => raw
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .collect(),
            INT32 | BOOL if raw.is_empty() => {
                self.int32_data.iter().map(|n| i64::from(*n)).collect()
            }
            INT32 => raw
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from(i32::from_le_bytes(*b)))
                .collect(),
            BOOL => raw.iter().map(|b| i64::from(*b)).collect(),
            _ => return None,
        };
        (numbers.len() == count).then_some(numbers)
    }
}
