//! Element types and typed buffers.

use std::fmt;

use bytes::{Buf, BufMut};
use half::{bf16, f16};

/// The type of a tensor's elements, by the names of the Open Inference Protocol (`FP32`) and of ONNX (`float32`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ElementType {
    Bool = 1,
    Int8 = 2,
    Int16 = 3,
    Int32 = 4,
    Int64 = 5,
    Uint8 = 6,
    Uint16 = 7,
    Uint32 = 8,
    Uint64 = 9,
    Float16 = 10,
    BFloat16 = 11,
    Float32 = 12,
    Float64 = 13,
    String = 14,
}

impl ElementType {
    /// Every element type.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Float16,
        Self::BFloat16,
        Self::Float32,
        Self::Float64,
        Self::String,
    ];

    /// Whether it is a floating-point number.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float16 | Self::BFloat16 | Self::Float32 | Self::Float64
        )
    }

    /// Bytes one element takes in a raw tensor; `None` for strings, which differ.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Int8 | Self::Uint8 => Some(1),
            Self::Int16 | Self::Uint16 | Self::Float16 | Self::BFloat16 => Some(2),
            Self::Int32 | Self::Uint32 | Self::Float32 => Some(4),
            Self::Int64 | Self::Uint64 | Self::Float64 => Some(8),
            Self::String => None,
        }
    }

    /// The name used by ONNX and numpy, such as `float32`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Float16 => "float16",
            Self::BFloat16 => "bfloat16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::String => "string",
        }
    }

    /// The `datatype` of the Open Inference Protocol, such as `FP32`.
    pub fn datatype(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Float16 => "FP16",
            Self::BFloat16 => "BF16",
            Self::Float32 => "FP32",
            Self::Float64 => "FP64",
            Self::String => "BYTES",
        }
    }

    /// The element type with this Open Inference Protocol name.
    pub fn from_datatype(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.datatype() == name)
    }

    /// The element type whose discriminant is `tag`.
    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| *ty as u8 == tag)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A flat buffer of elements of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TensorData {
    Bool(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Float16(Vec<f16>),
    BFloat16(Vec<bf16>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    String(Vec<String>),
}

/// Runs the same expression on the vector of any element type.
#[macro_export]
macro_rules! with_elements {
    ($data:expr, $vec:ident => $body:expr) => {
        match $data {
            $crate::TensorData::Bool($vec) => $body,
            $crate::TensorData::Int8($vec) => $body,
            $crate::TensorData::Int16($vec) => $body,
            $crate::TensorData::Int32($vec) => $body,
            $crate::TensorData::Int64($vec) => $body,
            $crate::TensorData::Uint8($vec) => $body,
            $crate::TensorData::Uint16($vec) => $body,
            $crate::TensorData::Uint32($vec) => $body,
            $crate::TensorData::Uint64($vec) => $body,
            $crate::TensorData::Float16($vec) => $body,
            $crate::TensorData::BFloat16($vec) => $body,
            $crate::TensorData::Float32($vec) => $body,
            $crate::TensorData::Float64($vec) => $body,
            $crate::TensorData::String($vec) => $body,
        }
    };
}

/// An element that can be written to and read from bytes. Numbers are little-endian, as every supported platform
/// holds them in memory; strings carry their length in bytes as a `u32`.
trait Element: Sized + Clone {
    fn put(slice: &[Self], out: &mut impl BufMut);
    /// Appends `count` elements; `None` if the bytes do not hold them.
    fn take(vec: &mut Vec<Self>, count: usize, bytes: &mut &[u8]) -> Option<()>;
}

macro_rules! plain_element {
    ($($ty:ty),*) => {$(
        impl Element for $ty {
            fn put(slice: &[Self], out: &mut impl BufMut) {
                out.put_slice(bytemuck::must_cast_slice(slice));
            }
            fn take(vec: &mut Vec<Self>, count: usize, bytes: &mut &[u8]) -> Option<()> {
                let (now, rest) = bytes.split_at_checked(count.checked_mul(size_of::<$ty>())?)?;
                vec.extend(now.chunks_exact(size_of::<$ty>()).map(bytemuck::pod_read_unaligned::<$ty>));
                *bytes = rest;
                Some(())
            }
        }
    )*};
}
plain_element!(i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64);

impl Element for bool {
    fn put(slice: &[Self], out: &mut impl BufMut) {
        out.put_slice(bytemuck::must_cast_slice(slice));
    }
    fn take(vec: &mut Vec<Self>, count: usize, bytes: &mut &[u8]) -> Option<()> {
        let (now, rest) = bytes.split_at_checked(count)?;
        for byte in now {
            vec.push(match byte {
                0 => false,
                1 => true,
                _ => return None,
            });
        }
        *bytes = rest;
        Some(())
    }
}

impl Element for String {
    fn put(slice: &[Self], out: &mut impl BufMut) {
        for text in slice {
            // No limit of this program lets a single string reach 4 GiB.
            out.put_u32_le(text.len() as u32);
            out.put_slice(text.as_bytes());
        }
    }
    fn take(vec: &mut Vec<Self>, count: usize, bytes: &mut &[u8]) -> Option<()> {
        for _ in 0..count {
            let length = bytes.try_get_u32_le().ok()? as usize;
            let (now, rest) = bytes.split_at_checked(length)?;
            vec.push(std::str::from_utf8(now).ok()?.to_owned());
            *bytes = rest;
        }
        Some(())
    }
}

macro_rules! from_vec {
    ($($variant:ident $ty:ty),*) => {$(
        impl From<Vec<$ty>> for TensorData {
            fn from(elements: Vec<$ty>) -> Self {
                Self::$variant(elements)
            }
        }
    )*};
}
from_vec!(
    Bool bool, Int8 i8, Int16 i16, Int32 i32, Int64 i64, Uint8 u8, Uint16 u16, Uint32 u32, Uint64 u64,
    Float16 f16, BFloat16 bf16, Float32 f32, Float64 f64, String String
);

impl TensorData {
    /// An empty buffer with room for `capacity` elements.
    pub fn with_capacity(ty: ElementType, capacity: usize) -> Self {
        match ty {
            ElementType::Bool => Self::Bool(Vec::with_capacity(capacity)),
            ElementType::Int8 => Self::Int8(Vec::with_capacity(capacity)),
            ElementType::Int16 => Self::Int16(Vec::with_capacity(capacity)),
            ElementType::Int32 => Self::Int32(Vec::with_capacity(capacity)),
            ElementType::Int64 => Self::Int64(Vec::with_capacity(capacity)),
            ElementType::Uint8 => Self::Uint8(Vec::with_capacity(capacity)),
            ElementType::Uint16 => Self::Uint16(Vec::with_capacity(capacity)),
            ElementType::Uint32 => Self::Uint32(Vec::with_capacity(capacity)),
            ElementType::Uint64 => Self::Uint64(Vec::with_capacity(capacity)),
            ElementType::Float16 => Self::Float16(Vec::with_capacity(capacity)),
            ElementType::BFloat16 => Self::BFloat16(Vec::with_capacity(capacity)),
            ElementType::Float32 => Self::Float32(Vec::with_capacity(capacity)),
            ElementType::Float64 => Self::Float64(Vec::with_capacity(capacity)),
            ElementType::String => Self::String(Vec::with_capacity(capacity)),
        }
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::Bool(_) => ElementType::Bool,
            Self::Int8(_) => ElementType::Int8,
            Self::Int16(_) => ElementType::Int16,
            Self::Int32(_) => ElementType::Int32,
            Self::Int64(_) => ElementType::Int64,
            Self::Uint8(_) => ElementType::Uint8,
            Self::Uint16(_) => ElementType::Uint16,
            Self::Uint32(_) => ElementType::Uint32,
            Self::Uint64(_) => ElementType::Uint64,
            Self::Float16(_) => ElementType::Float16,
            Self::BFloat16(_) => ElementType::BFloat16,
            Self::Float32(_) => ElementType::Float32,
            Self::Float64(_) => ElementType::Float64,
            Self::String(_) => ElementType::String,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        with_elements!(self, v => v.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `range` of `other`. Both have the same element type; otherwise nothing happens and `false` comes back.
    pub(crate) fn extend_from(&mut self, other: &Self, range: std::ops::Range<usize>) -> bool {
        macro_rules! same {
            ($($variant:ident),*) => {
                match (self, other) {
                    $((Self::$variant(to), Self::$variant(from)) => {
                        let Some(slice) = from.get(range) else { return false };
                        to.extend_from_slice(slice);
                        true
                    })*
                    _ => false,
                }
            };
        }
        same!(
            Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64, Float16, BFloat16,
            Float32, Float64, String
        )
    }

    /// The elements in `range` as they lie in memory, which is how [`TensorData::put_bytes`] writes them; `None` for
    /// strings.
    pub(crate) fn plain_bytes(&self, range: std::ops::Range<usize>) -> Option<&[u8]> {
        macro_rules! cast {
            ($($variant:ident),*) => {
                match self {
                    $(Self::$variant(v) => Some(bytemuck::must_cast_slice(&v[range])),)*
                    Self::String(_) => None,
                }
            };
        }
        cast!(
            Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64, Float16, BFloat16,
            Float32, Float64
        )
    }

    /// Reads elements as raw tensors hold them: little-endian numbers, booleans as 0 and 1, strings each with a `u32`
    /// length before it. `None` unless the bytes are exactly `count` valid elements.
    pub fn from_le_bytes(ty: ElementType, count: usize, bytes: &[u8]) -> Option<Self> {
        // Every element takes at least one byte.
        let mut data = Self::with_capacity(ty, count.min(bytes.len()));
        let mut rest = bytes;
        data.take_bytes(count, &mut rest)?;
        rest.is_empty().then_some(data)
    }

    /// Appends all elements as [`TensorData::from_le_bytes`] reads them.
    pub fn append_le_bytes(&self, out: &mut Vec<u8>) {
        self.put_bytes(0..self.len(), out);
    }

    /// Writes the elements in `range` as bytes (see [`TensorData::take_bytes`]).
    pub(crate) fn put_bytes(&self, range: std::ops::Range<usize>, out: &mut impl BufMut) {
        with_elements!(self, v => Element::put(&v[range], out));
    }

    /// Makes room for `count` elements more.
    pub(crate) fn reserve(&mut self, count: usize) {
        with_elements!(self, v => v.reserve_exact(count));
    }

    /// Appends `count` elements read from the front of `bytes`; `None` if they are not there or not valid.
    pub(crate) fn take_bytes(&mut self, count: usize, bytes: &mut &[u8]) -> Option<()> {
        with_elements!(self, v => Element::take(v, count, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_for_numbers_bools_and_strings() {
        let all = [
            TensorData::Float32(vec![1.5, -0.0, f32::MAX]),
            TensorData::Int64(vec![i64::MIN, 9_007_199_254_740_993]),
            TensorData::Bool(vec![true, false, true]),
            TensorData::Float16(vec![f16::from_f32(0.5)]),
            TensorData::String(vec!["käse".into(), String::new(), "🧀\u{2028}".into()]),
        ];
        for data in all {
            let mut bytes = Vec::new();
            data.put_bytes(0..data.len(), &mut bytes);
            let mut back = TensorData::with_capacity(data.element_type(), 0);
            let mut rest = &bytes[..];
            back.take_bytes(data.len(), &mut rest).unwrap();
            assert!(rest.is_empty());
            assert_eq!(back, data);
        }
    }

    #[test]
    fn refuses_bytes_that_hold_too_little_or_nonsense() {
        let mut floats = TensorData::with_capacity(ElementType::Float32, 0);
        assert!(floats.take_bytes(2, &mut &[0u8; 7][..]).is_none());
        assert!(floats.take_bytes(usize::MAX, &mut &[0u8; 7][..]).is_none());
        let mut bools = TensorData::with_capacity(ElementType::Bool, 0);
        assert!(bools.take_bytes(1, &mut &[2u8][..]).is_none());
        let mut strings = TensorData::with_capacity(ElementType::String, 0);
        assert!(
            strings
                .take_bytes(1, &mut &[9u8, 0, 0, 0, b'a'][..])
                .is_none()
        );
        assert!(
            strings
                .take_bytes(1, &mut &[1u8, 0, 0, 0, 0xff][..])
                .is_none()
        );
    }
}
