//! Writes vectors.

use std::io::Write as _;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;

/// Uses wide instructions where the processor has them.
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

/// Bytes of a float as text, about: eight digits, `0.0`, a sign and a comma.
const FLOAT_BYTES: usize = 13;

/// How a vector is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VectorEncoding {
    /// An array of numbers, each the shortest text that is the same float32.
    #[default]
    Float,
    /// Little-endian float32 as base64.
    Base64,
}

impl VectorEncoding {
    /// About how many bytes so many numbers take.
    pub fn bytes(self, numbers: usize) -> usize {
        match self {
            Self::Float => numbers * FLOAT_BYTES,
            Self::Base64 => numbers * 16 / 3 + 8,
        }
    }

    /// Writes one vector.
    pub(super) fn write(self, vector: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::Float => {
                let mut buffer = ryu::Buffer::new();
                array(vector, out, |number, out| match number.is_finite() {
                    true => out.extend_from_slice(buffer.format_finite(*number).as_bytes()),
                    false => out.extend_from_slice(b"null"),
                });
            }
            Self::Base64 => {
                // Numbers lie in memory as they are sent: every supported platform is little-endian.
                let bytes: &[u8] = bytemuck::must_cast_slice(vector);
                out.push(b'"');
                let start = out.len();
                out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
                // It fits: the length is that of base64 with padding.
                let _ = BASE64.encode_slice(bytes, &mut out[start..]);
                out.push(b'"');
            }
        }
    }
}

/// A type of numbers in which Cohere's clients ask for vectors.
///
/// The numbers of one vector share a scale, by which the largest of them becomes 127: cosines stay as they are, but for
/// rounding. `binary` and `ubinary` have a bit for each number, 1 if it is above 0, the first number in the highest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmbeddingType {
    Float,
    Int8,
    /// `int8` and 128.
    Uint8,
    /// `ubinary` less 128.
    Binary,
    Ubinary,
    Base64,
}

impl EmbeddingType {
    /// All, by the names that clients give them.
    pub(super) const NAMES: [(&str, Self); 6] = [
        ("float", Self::Float),
        ("int8", Self::Int8),
        ("uint8", Self::Uint8),
        ("binary", Self::Binary),
        ("ubinary", Self::Ubinary),
        ("base64", Self::Base64),
    ];

    pub(super) fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        let found = names.find(|(_, of)| *of == self);
        found.map_or("", |(name, _)| name)
    }

    /// About how many bytes so many numbers take.
    pub(super) fn bytes(self, numbers: usize) -> usize {
        match self {
            Self::Float => VectorEncoding::Float.bytes(numbers),
            Self::Base64 => VectorEncoding::Base64.bytes(numbers),
            Self::Int8 | Self::Uint8 => numbers * 5,
            Self::Binary | Self::Ubinary => numbers,
        }
    }

    /// Writes one vector.
    pub(super) fn write(self, vector: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::Float => VectorEncoding::Float.write(vector, out),
            Self::Base64 => VectorEncoding::Base64.write(vector, out),
            Self::Int8 => integers(scaled(vector), out),
            Self::Uint8 => integers(scaled(vector).map(|number| number + 128), out),
            Self::Binary => integers(packed(vector).map(|byte| byte - 128), out),
            Self::Ubinary => integers(packed(vector), out),
        }
    }
}

/// Its numbers from -127 to 127.
fn scaled(vector: &[f32]) -> impl Iterator<Item = i16> {
    let most = vector
        .iter()
        .fold(0f32, |most, value| most.max(value.abs()));
    let scale = match most > 0.0 {
        true => 127.0 / most,
        false => 0.0,
    };
    vector
        .iter()
        .map(move |value| (value * scale).round() as i16)
}

/// The signs of its numbers, eight in a byte.
fn packed(vector: &[f32]) -> impl Iterator<Item = i16> {
    vector.chunks(8).map(|eight| {
        let bits = eight.iter().enumerate();
        bits.map(|(bit, value)| i16::from(*value > 0.0) << (7 - bit))
            .sum()
    })
}

fn integers(numbers: impl Iterator<Item = i16>, out: &mut Vec<u8>) {
    array(numbers, out, |number, out| {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{number}");
    });
}

/// Writes an array of what `each` writes for every item.
pub(super) fn array<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    mut each: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(b']');
}

/// Writes a text as JSON.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_written_as_by_the_usual_writers() {
        let numbers = [0.1, -2.5e-8, 0.0, -0.0, 3.0, f32::MIN_POSITIVE];
        let many: Vec<f32> = (0..99).map(|at| (at as f32).sin() / 20.0).collect();
        for vector in [&numbers[..], &many, &many[..1], &[]] {
            let mut out = Vec::new();
            VectorEncoding::Float.write(vector, &mut out);
            assert_eq!(out, serde_json::to_vec(vector).unwrap());
            out.clear();
            VectorEncoding::Base64.write(vector, &mut out);
            let bytes: &[u8] = bytemuck::must_cast_slice(vector);
            let expected = base64::prelude::BASE64_STANDARD.encode(bytes);
            assert_eq!(out, format!("\"{expected}\"").into_bytes());
        }
        let mut out = Vec::new();
        VectorEncoding::Float.write(&[f32::NAN, 1.5, f32::INFINITY], &mut out);
        assert_eq!(out, b"[null,1.5,null]");
    }
}
