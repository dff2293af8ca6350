//! Writes vectors.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

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
                // Writing to a vector cannot fail; what is not finite is null.
                let _ = serde_json::to_writer(out, vector);
            }
            Self::Base64 => {
                // Numbers lie in memory as they are sent: every supported platform is little-endian.
                let bytes: &[u8] = bytemuck::must_cast_slice(vector);
                out.push(b'"');
                let start = out.len();
                out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
                // It fits: the length is that of base64 with padding.
                let _ = BASE64_STANDARD.encode_slice(bytes, &mut out[start..]);
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
