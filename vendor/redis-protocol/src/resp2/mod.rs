/// Decoding functions for `BytesMut` and slices.
pub mod decode;
/// Encoding functions for `BytesMut` and slices.
pub mod encode;
/// RESP2 frame types.
pub mod types;

pub(crate) mod utils;

