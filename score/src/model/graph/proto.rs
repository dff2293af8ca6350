//! The members of an ONNX file that say how data flows through a model. All others are skipped, and the bytes of large
//! tensors too, which are empty here.
//!
//! Source of names and tags: onnx.proto3 of ONNX.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(message, repeated, tag = "8")]
    pub(super) opsets: Vec<Opset>,
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<Graph>,
    #[prost(message, repeated, tag = "25")]
    pub(super) functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Opset {
    #[prost(string, tag = "1")]
    pub(super) domain: String,
    #[prost(int64, tag = "2")]
    pub(super) version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Function {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) inputs: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub(super) outputs: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    pub(super) nodes: Vec<Node>,
    #[prost(message, repeated, tag = "9")]
    pub(super) opsets: Vec<Opset>,
    #[prost(string, tag = "10")]
    pub(super) domain: String,
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
    pub(super) inputs: Vec<Declared>,
    #[prost(message, repeated, tag = "12")]
    pub(super) outputs: Vec<Declared>,
    #[prost(message, repeated, tag = "15")]
    pub(super) sparse_initializers: Vec<SparseTensor>,
}

/// An input or output; its type is read from the session.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Declared {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(super) inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) operator: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub(super) domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int64, tag = "3")]
    pub(super) int: i64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) text: Bytes,
    #[prost(message, optional, tag = "5")]
    pub(super) tensor: Option<Tensor>,
    #[prost(message, optional, tag = "6")]
    pub(super) graph: Option<Graph>,
    #[prost(int64, repeated, tag = "8")]
    pub(super) ints: Vec<i64>,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub(super) texts: Vec<Bytes>,
    /// The attribute of the function around, whose value this one has.
    #[prost(string, tag = "21")]
    pub(super) reference: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SparseTensor {
    #[prost(message, optional, tag = "1")]
    pub(super) values: Option<Tensor>,
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
    #[prost(string, tag = "8")]
    pub(super) name: String,
    #[prost(bytes = "bytes", tag = "9")]
    pub(super) raw: Bytes,
    /// 1 for data outside of the file.
    #[prost(int32, tag = "14")]
    pub(super) location: i32,
}

/// Longer lists are never shapes, axes or indices of axes.
const MAX_NUMBERS: usize = 64;
const BOOL: i32 = 9;
const INT32: i32 = 6;
const INT64: i32 = 7;

impl Tensor {
    /// The numbers in a short list of integers or truth values; `None` for anything else.
    pub(super) fn numbers(&self) -> Option<Vec<i64>> {
        let count = self
            .dims
            .iter()
            .try_fold(1usize, |n, dim| n.checked_mul(usize::try_from(*dim).ok()?))?;
        if self.dims.len() > 1 || count > MAX_NUMBERS || self.location == 1 {
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
