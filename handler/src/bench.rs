//! Ways into private rooms for `benches/micro`; not part of the shipped program.

use score::{InferenceResponse, ModelMetadata, NamedTensor};

use crate::payload::{self, Declared, Dialect, Limits};

/// The tensors of a body, `None` if it is not understood. `json_bytes` is where JSON ends and binary tensors begin.
pub fn decode(
    body: &[u8],
    content_type: &str,
    json_bytes: Option<usize>,
    metadata: &ModelMetadata,
) -> Option<Vec<NamedTensor>> {
    let declared = Declared {
        content_type: Some(content_type),
        json_bytes,
        ..Declared::default()
    };
    let limits = Limits {
        max_bytes: usize::MAX,
        max_nesting: 16,
        max_rows: usize::MAX,
    };
    let body = payload::decode(body, declared, metadata, limits).ok()?;
    body.rows().map(|decoded| decoded.inputs)
}

/// The answer to `{"data": ...}`.
pub fn encode(metadata: &ModelMetadata, response: &InferenceResponse) -> Option<Vec<u8>> {
    let encoded = payload::encode(&Dialect::Data, None, metadata, response).ok()?;
    Some(encoded.body)
}
