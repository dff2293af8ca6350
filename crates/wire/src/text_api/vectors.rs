//! Writes vectors.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;

/// Uses wide instructions where the processor has them.
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

/// Bytes of a float as text, about: eight digits, a point, a sign and a comma.
const FLOAT_BYTES: usize = 12;

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
                let mut buffer = zmij::Buffer::new();
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
        let numbers = [
            0.1,
            -2.5e-8,
            0.0,
            -0.0,
            3.0,
            1e20,
            f32::MAX,
            f32::MIN_POSITIVE,
        ];
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
